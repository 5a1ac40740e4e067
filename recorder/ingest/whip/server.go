package whip

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Recordings is what sessions publish into; *recorder.Service is one. Errors are *recorder.CommandError,
// *recorder.StateError or the sentinels of package recorder; every other error is internal and its text is not shown.
type Recordings interface {
	// Expected lists the track kinds that a live recording was started with.
	Expected(ctx context.Context, tenantID, recordingID string) ([]recorder.TrackKind, error)
	Publish(ctx context.Context, c recorder.PublishCommand) (trackID string, err error)
	Unpublish(ctx context.Context, c recorder.UnpublishCommand) error
}

// Gate knows who may publish.
type Gate interface {
	// Admit looks at the request's bearer credential. An error that is a *Refusal is shown; any other is internal.
	Admit(r *http.Request, recordingID string) (Publisher, error)
}

// Publisher is who publishes.
type Publisher struct {
	TenantID string
	// Kinds are the tracks that the publisher may feed; nil: all.
	Kinds []recorder.TrackKind
	// Near tells whether the publisher's media may come from an address; nil: from anywhere.
	Near  func(netip.Addr) bool
	Actor recorder.Actor
}

// Server holds all sessions of this node. Create it with New, and Close it. All methods are safe for concurrent use.
type Server struct {
	cfg        Config
	recordings Recordings
	gate       Gate
	log        *slog.Logger
	endpoint   *endpoint

	base  context.Context // ends when Close is called
	stop  context.CancelCauseFunc
	tasks sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	starting map[string]int      // sessions that are being made, by recording
	sessions map[string]*session // by id
	count    uint64
}

// New binds the UDP port.
func New(ctx context.Context, cfg Config, recordings Recordings, gate Gate, log *slog.Logger) (*Server, error) {
	err := cfg.Validate()
	if recordings == nil || gate == nil || log == nil {
		err = errors.Join(err, errors.New("whip: recordings, a gate and a logger are required"))
	}
	if err != nil {
		return nil, err
	}
	e, err := listen(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, recordings: recordings, gate: gate, log: log, endpoint: e, starting: map[string]int{}, sessions: map[string]*session{}}
	s.base, s.stop = context.WithCancelCause(context.Background())
	return s, nil
}

// Close ends all sessions and waits for them. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	s.stop(errShutDown)
	s.tasks.Wait()
	if again {
		return nil
	}
	return s.endpoint.close()
}

// Sessions is how many sessions there are, those included that are not connected yet.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Port is the UDP port.
func (s *Server) Port() int { return s.endpoint.port() }

// request is an admitted request for a session.
type request struct {
	recordingID, trackID string
	side                 Side
	who                  Publisher
}

// open answers an offer and lets the session run.
func (s *Server) open(ctx context.Context, q request, raw []byte) (*session, string, error) {
	expected, err := s.recordings.Expected(ctx, q.who.TenantID, q.recordingID)
	if err != nil {
		return nil, "", err
	}
	o, err := readOffer(raw)
	if err != nil {
		return nil, "", err
	}
	chosen, err := o.choose(q.side, expected, q.who.may)
	if err != nil {
		return nil, "", err
	}
	if err := s.reserve(q.recordingID); err != nil {
		return nil, "", err
	}
	defer s.release(q.recordingID)
	life, end := context.WithCancelCause(s.base)
	n, answer, err := s.newSession(ctx, o, chosen, q, end)
	if err != nil {
		end(err)
		return nil, "", err
	}
	s.register(life, n)
	return n, answer, nil
}

func (p Publisher) may(kind recorder.TrackKind) bool {
	return p.Kinds == nil || slices.Contains(p.Kinds, kind)
}

// mayEnd tells whether the publisher may feed all that a session feeds.
func (p Publisher) mayEnd(n *session) bool {
	return !slices.ContainsFunc(n.streams, func(st *stream) bool { return !p.may(st.kind) })
}

// reserve takes a place for a session that is being made. Close waits until it is given back by release.
func (s *Server) reserve(recordingID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		r := refuse(http.StatusServiceUnavailable, codeUnavailable, "the recorder is shutting down: retry")
		r.RetryAfter = 5 * time.Second
		return r
	}
	of, all := s.starting[recordingID], len(s.sessions)
	for _, n := range s.starting {
		all += n
	}
	for _, n := range s.sessions {
		if n.recordingID == recordingID {
			of++
		}
	}
	var full *Refusal
	switch {
	case of >= s.cfg.MaxPerRecording:
		full = refuse(http.StatusServiceUnavailable, string(recorder.CodeCapacity), "this recording has %d sessions, which is the limit: DELETE old ones, or wait until they are given up", of)
	case all >= s.cfg.MaxSessions:
		full = refuse(http.StatusServiceUnavailable, string(recorder.CodeCapacity), "this recorder has as many sessions as it takes: retry later or on another recorder")
	default:
		s.starting[recordingID]++
		s.tasks.Add(1)
		return nil
	}
	full.RetryAfter = s.cfg.ConnectWithin
	return full
}

// release gives back a place of reserve, whatever became of the session.
func (s *Server) release(recordingID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting[recordingID]--; s.starting[recordingID] == 0 {
		delete(s.starting, recordingID)
	}
	s.tasks.Done()
}

// register lets a session run. Its place is still reserved, so that Close waits for it.
func (s *Server) register(life context.Context, n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	n.number = s.count
	s.sessions[n.id] = n
	s.tasks.Go(func() {
		n.run(life, s.cfg.ConnectWithin, s.replace)
		n.end(nil)
		s.mu.Lock()
		delete(s.sessions, n.id)
		s.mu.Unlock()
	})
}

// replace ends the older sessions that published what this one publishes now. One that also feeds what this publisher
// may not feed loses its tracks to the recording alone, and goes on with the others.
func (s *Server) replace(by *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.sessions {
		if n.recordingID == by.recordingID && n.side == by.side && n.trackID == by.trackID && n.number < by.number && by.who.mayEnd(n) {
			n.end(errReplaced)
		}
	}
}

// find is the session of a URL.
func (s *Server) find(q request, id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.sessions[id]
	if n == nil || n.recordingID != q.recordingID || n.side != q.side || n.who.TenantID != q.who.TenantID || !q.who.mayEnd(n) {
		return nil, refuse(http.StatusNotFound, codeNotFound, "there is no such session: it has ended, or the URL is wrong")
	}
	return n, nil
}
