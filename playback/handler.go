package playback

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Handler serves signed URLs. Mount it at PathPrefix; any path that is not a signed URL is refused all the same.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	headers := s.headers(r)
	for k, v := range headers {
		w.Header()[k] = v
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		s.preflight(w, r)
		return
	default:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		writeRefusal(w, refusal{http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", 0})
		return
	}
	if err := s.play(w, r, headers); err != nil {
		s.refuse(w, r, err)
	}
}

// headers are on every response, refusals included.
func (s *Service) headers(r *http.Request) http.Header {
	h := http.Header{
		"Cache-Control":                {"private, no-store"},
		"X-Content-Type-Options":       {"nosniff"},
		"Cross-Origin-Resource-Policy": {s.cfg.ResourcePolicy},
		"Referrer-Policy":              {"no-referrer"},
		"Content-Security-Policy":      {"default-src 'none'; sandbox"},
	}
	if len(s.cfg.AllowedOrigins) == 0 {
		return h
	}
	h.Set("Vary", "Origin")
	if origin := r.Header.Get("Origin"); slices.Contains(s.cfg.AllowedOrigins, origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After")
	}
	return h
}

// preflight answers CORS preflights, which carry no credentials and learn nothing about the URL.
func (s *Service) preflight(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET, HEAD, OPTIONS")
	if w.Header().Get("Access-Control-Allow-Origin") != "" {
		w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD")
		w.Header().Set("Access-Control-Allow-Headers", "Range, If-Range, If-None-Match, If-Match")
		w.Header().Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}

// play checks the request in the order of docs/formats/signed-url.md and serves it. An error means that nothing was sent yet.
func (s *Service) play(w http.ResponseWriter, r *http.Request, headers http.Header) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	claim, err := s.ports.Signer.Verify(r.URL.EscapedPath(), s.cfg.Now())
	if err != nil {
		return err
	}
	status, err := s.check(ctx, claim)
	if err != nil {
		return err
	}
	address := s.cfg.ClientIP(r).Unmap().WithZone("")
	if status.Grant.IP.IsValid() && status.Grant.IP.Unmap() != address {
		return fmt.Errorf("%w: the grant is for another address", ErrForbidden)
	}
	out := &writer{ResponseWriter: w, headers: headers, timeout: s.cfg.WriteTimeout, control: http.NewResponseController(w),
		hold: s.holder(ctx, claim)}
	if err := s.streams.add(claim.GrantID, out); err != nil {
		return err
	}
	defer s.streams.remove(claim.GrantID, out)
	return s.send(ctx, out, r, status, address)
}

// check reads the grant's row and compares it with what was signed.
func (s *Service) check(ctx context.Context, claim Claim) (GrantStatus, error) {
	status, err := s.ports.Grants.Check(ctx, claim.GrantID)
	switch {
	case errors.Is(err, ErrGrantNotFound):
		return status, fmt.Errorf("%w: no row", ErrForbidden)
	case err != nil:
		return status, fmt.Errorf("playback: check the grant: %w", err)
	case !claim.Matches(status.Grant):
		return status, fmt.Errorf("%w: the row is not what was signed", ErrForbidden)
	case status.Revoked:
		return status, fmt.Errorf("%w: revoked", ErrForbidden)
	}
	return status, nil
}

// holder returns the check that a running response makes before each piece.
func (s *Service) holder(ctx context.Context, claim Claim) func() error {
	next := s.cfg.Now().Add(s.cfg.RecheckEvery)
	return func() error {
		now := s.cfg.Now()
		if !now.Before(claim.ExpiresAt) {
			return ErrExpired
		}
		if now.Before(next) {
			return nil
		}
		next = now.Add(s.cfg.RecheckEvery)
		_, err := s.check(ctx, claim)
		return err
	}
}

// send opens the artifact, records the first view and lets net/http answer.
func (s *Service) send(ctx context.Context, out *writer, r *http.Request, status GrantStatus, address netip.Addr) error {
	g := status.Grant
	a, err := s.ports.Artifacts.Open(ctx, Ref{TenantID: g.TenantID, RecordingID: g.RecordingID, Asset: g.Asset})
	if err != nil {
		return fmt.Errorf("playback: open the artifact: %w", err)
	}
	body := newReader(a.Content, s.cfg.ReadAhead)
	defer func() { s.closeArtifact(ctx, g, a, body) }()
	if len(a.Digest) != sha256.Size {
		return fmt.Errorf("playback: the artifact's digest has %d bytes, want %d", len(a.Digest), sha256.Size)
	}
	if r.Method == http.MethodGet && !status.Viewed {
		if err := s.ports.Audit.Viewed(ctx, s.view(g, r, address)); err != nil {
			return fmt.Errorf("playback: record the view: %w", err)
		}
	}
	s.answer(ctx, out, r, g, a, body)
	return nil
}

func (s *Service) closeArtifact(ctx context.Context, g Grant, a Artifact, body *reader) {
	_ = body.finish() // seen in answer
	if a.Closer == nil {
		return
	}
	if err := a.Closer.Close(); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "artifact does not close", grantAttrs(g, err)...)
	}
}

func (s *Service) view(g Grant, r *http.Request, address netip.Addr) View {
	agent := strings.ToValidUTF8(r.UserAgent(), "")
	if len(agent) > maxField {
		agent = strings.ToValidUTF8(agent[:maxField], "")
	}
	return View{Grant: g, At: s.cfg.Now().UTC(), Address: address, UserAgent: agent}
}

// answer hands over to http.ServeContent. A body that ends early must not look like a shorter file, so the connection ends with it.
func (s *Service) answer(ctx context.Context, out *writer, r *http.Request, g Grant, a Artifact, body *reader) {
	name, mediaType := g.Asset.file()
	h := out.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Disposition", string(g.Disposition)+`; filename="`+name+`"`)
	h.Set("ETag", etag(a))
	h.Set("Accept-Ranges", "bytes")
	if !limitRanges(out, r, a.Content.Size(), s.cfg.MaxRanges) {
		return
	}
	http.ServeContent(out, r, "", a.ModTime, body)
	err := out.finish()
	if err == nil {
		err = body.finish()
	}
	if err != nil {
		s.log.LogAttrs(ctx, cutLevel(err), "playback response cut", grantAttrs(g, err)...)
		panic(http.ErrAbortHandler)
	}
}

// cutLevel: an expired or revoked grant is nothing to look into, a damaged file is.
func cutLevel(err error) slog.Level {
	if errors.Is(err, ErrExpired) || errors.Is(err, ErrForbidden) || errors.Is(err, context.Canceled) {
		return slog.LevelInfo
	}
	return slog.LevelError
}

// limitRanges corrects what net/http leaves open in RFC 9110 §14: ranges exist for GET only, an unknown unit is
// ignored, and the last zero bytes of a file cannot be had. It refuses more ranges than allowed, which the RFC permits.
func limitRanges(w *writer, r *http.Request, size int64, limit int) bool {
	ranges := r.Header.Get("Range")
	unit, list, _ := strings.Cut(ranges, "=")
	if ranges == "" || r.Method != http.MethodGet || !strings.EqualFold(unit, "bytes") {
		r.Header.Del("Range")
		return true
	}
	code := "TOO_MANY_RANGES"
	if strings.Count(list, ",") < limit {
		list, code = withoutEmptySuffixes(list), "RANGE_NOT_SATISFIABLE"
		if list != "" {
			r.Header.Set("Range", "bytes="+list)
			return true
		}
	}
	w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
	w.refuse(refusal{http.StatusRequestedRangeNotSatisfiable, code, 0})
	return false
}

// withoutEmptySuffixes drops the ranges "-0", which are valid and never satisfiable.
func withoutEmptySuffixes(list string) string {
	kept := slices.DeleteFunc(strings.Split(list, ","), func(spec string) bool {
		suffix, ok := strings.CutPrefix(strings.TrimSpace(spec), "-")
		return ok && suffix != "" && strings.Trim(suffix, "0") == ""
	})
	return strings.Join(kept, ",")
}

// etag is strong: the stored file's digest names the plaintext's bytes too. It is hashed so that it does not tell the digest.
func etag(a Artifact) string {
	sum := sha256.Sum256(append([]byte("dualrec/etag/v1\x00"), a.Digest...))
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// refusal is an answer without media.
type refusal struct {
	status     int
	code       string
	retryAfter int // seconds; 0: none
}

// refusals is the one table from errors to answers. What is not in it is UNAVAILABLE, and never says more.
var refusals = []struct {
	err error
	refusal
}{
	{ErrExpired, refusal{http.StatusForbidden, "EXPIRED", 0}},
	{ErrForbidden, refusal{http.StatusForbidden, "FORBIDDEN", 0}},
	{errTooManyStreams, refusal{http.StatusTooManyRequests, "TOO_MANY_STREAMS", 1}},
	{errBusy, refusal{http.StatusServiceUnavailable, "BUSY", 5}},
	{ErrNotFound, refusal{http.StatusNotFound, "NOT_FOUND", 0}},
	{ErrNotReady, refusal{http.StatusServiceUnavailable, "NOT_READY", 10}},
	{ErrKeyUnavailable, refusal{http.StatusServiceUnavailable, "KEY_UNAVAILABLE", 60}},
}

func (s *Service) refuse(w http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	for _, known := range refusals {
		if errors.Is(err, known.err) {
			s.log.LogAttrs(ctx, slog.LevelDebug, "playback refused", slog.String("code", known.code), slog.Any("error", err))
			writeRefusal(w, known.refusal)
			return
		}
	}
	if ctx.Err() == nil {
		s.log.LogAttrs(ctx, slog.LevelError, "playback failed", slog.Any("error", err))
	}
	writeRefusal(w, refusal{http.StatusServiceUnavailable, "UNAVAILABLE", 5})
}

func writeRefusal(w http.ResponseWriter, f refusal) {
	body := `{"error":{"code":"` + f.code + `"}}` + "\n"
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(f.retryAfter))
	}
	w.WriteHeader(f.status)
	_, _ = io.WriteString(w, body) // a client that is gone needs no refusal
}

func grantAttrs(g Grant, err error) []slog.Attr {
	return []slog.Attr{slog.String("recording_id", g.RecordingID), slog.String("grant_id", g.ID), slog.Any("error", err)}
}
