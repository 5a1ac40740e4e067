package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dualrec/dualrec/recorder"
)

// Recorder is what a Server puts on the bus; *recorder.Service is one.
type Recorder interface {
	Start(ctx context.Context, c recorder.StartCommand) (recordingID string, err error)
	Attach(ctx context.Context, c recorder.AttachCommand) (trackID string, err error)
	Detach(ctx context.Context, c recorder.DetachCommand) error
	Pause(ctx context.Context, c recorder.PauseCommand) error
	Resume(ctx context.Context, c recorder.ResumeCommand) error
	SetLayout(ctx context.Context, c recorder.LayoutCommand) error
	Stop(ctx context.Context, c recorder.StopCommand) error
	Live(tenantID, recordingID string) (status recorder.LiveStatus, ok bool)
	LiveRecordings() []recorder.LiveRecording
	Totals() recorder.Totals
}

// ServerConfig says which node it is. Name is needed.
type ServerConfig struct {
	Name     string          // of the node, unique among all recorders of one database
	Capacity func() Capacity // what it can still take; called once a beat. Nil: nothing is known
	Beat     time.Duration   // how often it tells that it is there, and how its recordings are; default 1 s
	Commands int             // that run at once; further ones wait; default 256
	Log      *slog.Logger
}

func (c ServerConfig) withDefaults() ServerConfig {
	if c.Capacity == nil {
		c.Capacity = func() Capacity { return Capacity{} }
	}
	if c.Beat <= 0 {
		c.Beat = time.Second
	}
	if c.Commands <= 0 {
		c.Commands = 256
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// ErrName: the node cannot be had under this name; the text says why.
var ErrName = errors.New("node: bad node name")

const (
	probeTimeout = 500 * time.Millisecond // for another node of the same name to answer
	endTimeout   = 5 * time.Second        // for commands that run when the server ends
	flushTimeout = 2 * time.Second
	itemBytes    = 128 << 10 // of live recordings in one message
	maxEnded     = 1024      // changes that wait to be told; beyond, the next round tells
)

// Server puts a recorder on the bus. Make it with NewServer, start it with Run.
type Server struct {
	nc       *nats.Conn
	cfg      ServerConfig
	rec      Recorder
	instance instance
	revision atomic.Uint64

	slots chan struct{} // one token per command that runs
	wake  chan struct{}

	mu      sync.Mutex
	ready   bool              // a first round has told what the node can take
	last    status            // without items: what a beat says
	changed map[string]string // recording id → tenant
}

// NewServer checks the settings. rec must live until Run has returned.
func NewServer(nc *nats.Conn, cfg ServerConfig, rec Recorder) (*Server, error) {
	if cfg.Name == "" || len(cfg.Name) > maxName {
		return nil, fmt.Errorf("%w: it must have 1 to %d bytes", ErrName, maxName)
	}
	cfg = cfg.withDefaults()
	s := &Server{nc: nc, cfg: cfg, rec: rec, instance: instance{time.Now().UTC(), rand.Text()},
		changed: map[string]string{}, slots: make(chan struct{}, cfg.Commands), wake: make(chan struct{}, 1)}
	s.last = status{Version: version, Node: cfg.Name, Instance: s.instance}
	return s, nil
}

// Changed has what is known of a recording told at once, instead of with the next beat. It never blocks.
func (s *Server) Changed(tenantID, recordingID string) {
	s.mu.Lock()
	if len(s.changed) < maxEnded {
		s.changed[recordingID] = tenantID
	}
	s.mu.Unlock()
	s.wakeUp()
}

func (s *Server) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run answers commands until ctx ends. Then it says good-bye, so that nothing new is placed here, lets running commands
// end (for a bounded time) and returns; the recorder itself can be stopped afterwards. While the bus cannot be reached it
// waits: recordings go on.
func (s *Server) Run(ctx context.Context) error {
	commands := make(chan *nats.Msg, s.cfg.Commands)
	sub, err := s.nc.ChanSubscribe(commandSubject(s.cfg.Name), commands)
	if err != nil {
		return fmt.Errorf("node: listen for commands: %w", err)
	}
	hello, err := s.nc.Subscribe(helloSubject, func(*nats.Msg) { s.wakeUp() })
	if err != nil {
		return errors.Join(fmt.Errorf("node: listen for greetings: %w", err), sub.Unsubscribe())
	}
	var tellers sync.WaitGroup
	tellers.Go(func() { s.rounds(ctx) })
	tellers.Go(func() { s.beats(ctx) })
	work, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var running sync.WaitGroup
	s.accept(ctx, work, commands, &running)
	tellers.Wait()
	err = s.leave(sub, hello)
	for len(commands) > 0 { // came before the subscription ended
		s.begin(work, <-commands, &running)
	}
	stop := time.AfterFunc(endTimeout, end)
	defer stop.Stop()
	running.Wait()
	return errors.Join(err, s.flush())
}

// Alone asks whether another recorder answers under this node's name: ErrName. It must be asked before the recorder runs,
// which takes the recordings of its name for its own.
func (s *Server) Alone(ctx context.Context) error {
	if !s.nc.IsConnected() {
		return nil // nobody can be asked
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	data, err := encode(request{Version: version, Op: opHello, TimeoutMS: probeTimeout.Milliseconds()})
	if err != nil {
		return err
	}
	if _, err := s.nc.RequestWithContext(ctx, commandSubject(s.cfg.Name), data); err == nil {
		return fmt.Errorf("%w: another recorder that runs answers to %q: give each its own --node", ErrName, s.cfg.Name)
	}
	return nil
}

func (s *Server) accept(ctx, work context.Context, commands <-chan *nats.Msg, running *sync.WaitGroup) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-commands:
			s.begin(work, m, running)
		}
	}
}

// begin starts a command as soon as one more may run. As many again wait; what is beyond is dropped by the bus client,
// and its caller told that there was no answer in time.
func (s *Server) begin(ctx context.Context, m *nats.Msg, running *sync.WaitGroup) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	running.Go(func() {
		defer func() { <-s.slots }()
		data, err := encode(s.answer(ctx, m.Data))
		if err == nil {
			err = m.Respond(data)
		}
		if err != nil {
			s.cfg.Log.Error("answer to a command", "node", s.cfg.Name, "err", err)
		}
	})
}

// answer carries out one command. It never fails: what goes wrong is in the reply.
func (s *Server) answer(ctx context.Context, data []byte) reply {
	out := reply{Version: version, Instance: s.instance}
	req, err := decodeRequest(data)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, req.timeout())
		defer cancel()
		err = s.carryOut(ctx, req, &out)
	}
	if errors.Is(err, ErrVersion) || errors.Is(err, ErrMessage) {
		s.cfg.Log.Error("command that this recorder cannot read", "node", s.cfg.Name, "op", req.Op, "err", err)
		err = &recorder.CommandError{Code: recorder.CodeUnavailable, Msg: "the recorder of this call runs another version: retry; the operator must bring all to one"}
	}
	var known bool
	reference := rand.Text()
	if out.Error, known = errorToWire(err, reference); !known {
		s.cfg.Log.Error("command failed", "node", s.cfg.Name, "op", req.Op, "reference", reference, "err", err)
	}
	return out
}

// carryOut calls the recorder. A panic is an error of this one command.
func (s *Server) carryOut(ctx context.Context, req request, out *reply) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("node: %s panicked: %v\n%s", req.Op, p, debug.Stack())
		}
	}()
	switch req.Op {
	case opHello:
		return nil
	case opStart:
		return run(req, func(c recorder.StartCommand) error {
			c.Metadata = orNothing(c.Metadata)
			out.ID, err = s.rec.Start(ctx, c)
			s.show(out, c.TenantID, out.ID)
			return err
		})
	case opAttach:
		return run(req, func(c recorder.AttachCommand) error {
			c.RTPParameters = orNothing(c.RTPParameters)
			out.ID, err = s.rec.Attach(ctx, c)
			s.show(out, c.TenantID, c.RecordingID)
			return err
		})
	case opDetach:
		return run(req, func(c recorder.DetachCommand) error {
			defer s.show(out, c.TenantID, c.RecordingID)
			return s.rec.Detach(ctx, c)
		})
	case opPause:
		return run(req, func(c recorder.PauseCommand) error {
			defer s.show(out, c.TenantID, c.RecordingID)
			return s.rec.Pause(ctx, c)
		})
	case opResume:
		return run(req, func(c recorder.ResumeCommand) error {
			defer s.show(out, c.TenantID, c.RecordingID)
			return s.rec.Resume(ctx, c)
		})
	case opLayout:
		return run(req, func(c recorder.LayoutCommand) error {
			defer s.show(out, c.TenantID, c.RecordingID)
			return s.rec.SetLayout(ctx, c)
		})
	case opStop:
		return run(req, func(c recorder.StopCommand) error {
			defer s.show(out, c.TenantID, c.RecordingID)
			return s.rec.Stop(ctx, c)
		})
	}
	return fmt.Errorf("%w: unknown command %.20q", ErrMessage, req.Op)
}

func run[C any](req request, f func(C) error) error {
	var c C
	if err := decodeJSON(req.Command, &c, true); err != nil {
		return err
	}
	return f(c)
}

// orNothing is what JSON makes null of.
func orNothing(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// show puts into the reply how the recording is now, keys included: who commands it must see what the command did.
func (s *Server) show(out *reply, tenantID, recordingID string) {
	if recordingID == "" {
		return
	}
	revision := s.revision.Add(1)
	if st, ok := s.rec.Live(tenantID, recordingID); ok {
		it := newItem(revision, tenantID, recordingID, st)
		out.Live = &it
	}
}

// rounds tells how all recordings are, once a beat, and of those that changed at once.
func (s *Server) rounds(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Beat)
	defer tick.Stop()
	for whole := true; ; {
		if whole {
			s.round()
			tick.Reset(s.cfg.Beat) // however long it took, others get on with their work before the next
		} else {
			s.news()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			whole = true
		case <-s.wake:
			s.mu.Lock()
			whole = len(s.changed) == 0 // woken by a greeting
			s.mu.Unlock()
		}
	}
}

// beats tells that the node is there, whatever the recordings are waiting for.
func (s *Server) beats(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.mu.Lock()
			ready := s.ready
			s.mu.Unlock()
			if ready {
				s.tell(nil, 0)
			}
		}
	}
}

func (s *Server) round() {
	capacity, totals := s.cfg.Capacity(), s.rec.Totals()
	s.mu.Lock()
	s.last.Capacity, s.last.Totals, s.ready = capacity, totals, true
	clear(s.changed) // the round tells of all
	s.mu.Unlock()
	since := s.revision.Add(1)
	var items []item
	for _, r := range s.rec.LiveRecordings() {
		items = append(items, newItem(since, r.TenantID, r.RecordingID, r.Status))
	}
	s.tellAll(items, since)
}

// news tells of the recordings that changed.
func (s *Server) news() {
	s.mu.Lock()
	changed := s.changed
	s.changed = map[string]string{}
	s.mu.Unlock()
	var items []item
	for id, tenant := range changed {
		revision := s.revision.Add(1)
		st, ok := s.rec.Live(tenant, id)
		it := newItem(revision, tenant, id, st)
		it.Ended = !ok
		items = append(items, it)
	}
	if len(items) > 0 {
		s.tellAll(items, 0)
	}
}

// tellAll cuts what is told into messages.
func (s *Server) tellAll(items []item, whole uint64) {
	var part []json.RawMessage
	size := 0
	for _, it := range items {
		it.SRTP = nil // keys are for who commands, not for everyone
		raw, err := encode(it)
		if err != nil {
			s.cfg.Log.Error("tell of a live recording", "node", s.cfg.Name, "recording_id", it.RecordingID, "err", err)
			continue
		}
		if len(part) == maxItems || len(part) > 0 && size+len(raw) > itemBytes {
			s.tell(part, 0)
			part, size = nil, 0
		}
		part, size = append(part, raw), size+len(raw)
	}
	s.tell(part, whole)
}

// tell publishes. What is lost on the way is told again with the next beat.
func (s *Server) tell(items []json.RawMessage, whole uint64) {
	s.mu.Lock()
	out := s.last
	s.mu.Unlock()
	out.Whole = whole
	s.publish(struct {
		status
		Items []json.RawMessage `json:"items,omitempty"` // in place of status.Items
	}{out, items})
}

func (s *Server) publish(out any) {
	if !s.nc.IsConnected() {
		return // not kept for later: it would be old then
	}
	data, err := encode(out)
	if err == nil {
		err = s.nc.Publish(statusSubject(s.cfg.Name), data)
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.cfg.Log.Warn("tell how this recorder is", "node", s.cfg.Name, "err", err)
	}
}

// leave tells that nothing may be placed here any more and ends the subscriptions.
func (s *Server) leave(subs ...*nats.Subscription) error {
	s.mu.Lock()
	s.last.Draining = true
	s.mu.Unlock()
	s.tell(nil, 0)
	var errs []error
	for _, sub := range subs {
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			errs = append(errs, fmt.Errorf("node: unsubscribe: %w", err))
		}
	}
	return errors.Join(append(errs, s.flush())...)
}

// flush waits until the bus has what was said. A bus that is away has no use for it.
func (s *Server) flush() error {
	if !s.nc.IsConnected() {
		return nil
	}
	err := s.nc.FlushTimeout(flushTimeout)
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) && s.nc.IsConnected() {
		return fmt.Errorf("node: say good-bye: %w", err)
	}
	return nil
}
