package whip

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dualrec/dualrec/recorder"
)

// Media types of RFC 9725.
const (
	typeSDP      = "application/sdp"
	typeFragment = "application/trickle-ice-sdpfrag"
)

// Prefix is where Handler is mounted.
const Prefix = "/whip/"

// Handler serves
//
//	POST           /whip/{recordingId}/{screen|webcam}
//	PATCH, DELETE  /whip/{recordingId}/{screen|webcam}/{session}
//	OPTIONS        on both
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(Prefix+"{recording}/{side}", s.endpointURL)
	mux.HandleFunc(Prefix+"{recording}/{side}/{session}", s.sessionURL)
	mux.HandleFunc(Prefix, func(w http.ResponseWriter, r *http.Request) {
		s.crossOrigin(w, r)
		noSuchURL().write(w)
	})
	return mux
}

func noSuchURL() *Refusal {
	return refuse(http.StatusNotFound, codeNotFound, "there is nothing at this URL: want %s{recordingId}/screen or %s{recordingId}/webcam", Prefix, Prefix)
}

// crossOrigin lets pages of the allowed origins read the answer.
func (s *Server) crossOrigin(w http.ResponseWriter, r *http.Request) {
	if len(s.cfg.AllowedOrigins) == 0 {
		return
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); slices.Contains(s.cfg.AllowedOrigins, origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Location, ETag, Accept-Patch, Retry-After, Link")
	}
}

// options answers a preflight and whoever asks what may be done here. It needs no credential: browsers send none.
func (s *Server) options(w http.ResponseWriter, methods string) {
	h := w.Header()
	h.Set("Accept-Post", typeSDP)
	h.Set("Allow", methods)
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}

const (
	endpointMethods = "OPTIONS, POST"
	sessionMethods  = "DELETE, OPTIONS, PATCH"
)

func wrongMethod(w http.ResponseWriter, methods string) *Refusal {
	w.Header().Set("Allow", methods)
	return refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "this URL takes %s", methods)
}

func (s *Server) endpointURL(w http.ResponseWriter, r *http.Request) {
	s.crossOrigin(w, r)
	var err error
	switch r.Method {
	case http.MethodOptions:
		s.options(w, endpointMethods)
		return
	case http.MethodPost:
		err = s.post(w, r)
	default:
		err = wrongMethod(w, endpointMethods)
	}
	s.finish(w, r, err)
}

func (s *Server) sessionURL(w http.ResponseWriter, r *http.Request) {
	s.crossOrigin(w, r)
	var err error
	switch r.Method {
	case http.MethodOptions:
		w.Header().Set("Accept-Patch", typeFragment)
		s.options(w, sessionMethods)
		return
	case http.MethodPatch:
		err = s.patch(w, r)
	case http.MethodDelete:
		err = s.delete(w, r)
	default:
		err = wrongMethod(w, sessionMethods)
	}
	s.finish(w, r, err)
}

// finish answers a request that was refused.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		return
	}
	refusal, known := judge(err)
	if !known && r.Context().Err() == nil {
		s.log.Error("whip request failed", "method", r.Method, "err", err)
	} else if refusal.Err != nil {
		s.log.Info("whip request refused", "method", r.Method, "code", refusal.Code, "err", err)
	}
	refusal.write(w)
}

// admit reads the URL and asks the gate.
func (s *Server) admit(r *http.Request) (request, error) {
	q := request{recordingID: r.PathValue("recording"), side: Side(r.PathValue("side")), trackID: r.URL.Query().Get("trackId")}
	who, err := s.gate.Admit(r, q.recordingID)
	if err != nil {
		return q, err
	}
	q.who = who
	if q.side != ScreenSide && q.side != WebcamSide {
		return q, noSuchURL()
	}
	return q, nil
}

// post begins a session (RFC 9725 §4.2).
func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	q, err := s.admit(r)
	if err != nil {
		return err
	}
	if !isType(r, typeSDP) {
		w.Header().Set("Accept-Post", typeSDP)
		return refuse(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "send the offer with Content-Type: %s", typeSDP)
	}
	if !accepts(r, typeSDP) {
		return refuse(http.StatusNotAcceptable, "NOT_ACCEPTABLE", "the answer is %s: send Accept: %s, or no Accept", typeSDP, typeSDP)
	}
	raw, err := s.body(w, r)
	if err != nil {
		return err
	}
	n, answer, err := s.open(r.Context(), q, raw)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", typeSDP)
	h.Set("Cache-Control", "no-store")
	h.Set("Location", Prefix+url.PathEscape(q.recordingID)+"/"+string(q.side)+"/"+n.id)
	h.Set("ETag", n.etag)
	h.Set("Accept-Patch", typeFragment)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, answer) // a client that is gone never connects, and is given up
	return nil
}

// patch takes candidates (RFC 9725 §4.3.2) and refuses an ICE restart (§4.3.3).
func (s *Server) patch(w http.ResponseWriter, r *http.Request) error {
	q, err := s.admit(r)
	if err != nil {
		return err
	}
	n, err := s.find(q, r.PathValue("session"))
	if err != nil {
		return err
	}
	if !isType(r, typeFragment) {
		w.Header().Set("Accept-Patch", typeFragment)
		return refuse(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "send the fragment with Content-Type: %s", typeFragment)
	}
	raw, err := s.body(w, r)
	if err != nil {
		return err
	}
	f, err := readFragment(raw)
	if err != nil {
		return err
	}
	restart := f.ufrag != "" && f.ufrag != n.secrets.ufrag || f.pwd != "" && f.pwd != n.secrets.pwd
	switch match := strings.TrimSpace(r.Header.Get("If-Match")); {
	case match == "":
		return refuse(http.StatusPreconditionRequired, "PRECONDITION_REQUIRED", "send If-Match with the session's ETag")
	case restart && (match == "*" || match == n.etag):
		return unsupported("ICE restarts are not done here: DELETE this session and POST a new offer; the recording goes on")
	case match != n.etag:
		return refuse(http.StatusPreconditionFailed, "PRECONDITION_FAILED", "If-Match is not this session's ETag")
	}
	w.Header().Set("ETag", n.etag)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// delete ends a session and answers when its tracks are detached (RFC 9725 §4.2).
func (s *Server) delete(w http.ResponseWriter, r *http.Request) error {
	q, err := s.admit(r)
	if err != nil {
		return err
	}
	n, err := s.find(q, r.PathValue("session"))
	if err != nil {
		return err
	}
	n.end(errDeleted)
	select {
	case <-n.done:
		w.WriteHeader(http.StatusOK)
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// body reads what was sent, up to the limit.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.MaxBody))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return nil, refuse(http.StatusRequestEntityTooLarge, "TOO_LARGE", "the body is larger than %d bytes, which is the limit", s.cfg.MaxBody)
	}
	if err != nil {
		return nil, malformed("the body could not be read")
	}
	return raw, nil
}

func isType(r *http.Request, want string) bool {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && got == want
}

// accepts tells whether an Accept header (RFC 9110 §12.5.1) lets a type through.
func accepts(r *http.Request, want string) bool {
	header := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(header) == "" {
		return true
	}
	family, _, _ := strings.Cut(want, "/")
	for part := range strings.SplitSeq(header, ",") {
		got, params, err := mime.ParseMediaType(part)
		if err != nil || got != want && got != "*/*" && got != family+"/*" {
			continue
		}
		if q, given := params["q"]; given {
			if weight, err := strconv.ParseFloat(q, 64); err != nil || weight <= 0 {
				continue
			}
		}
		return true
	}
	return false
}

var _ Recordings = (*recorder.Service)(nil)
