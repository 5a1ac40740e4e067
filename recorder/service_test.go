package recorder_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/depacketize"
	"github.com/dualrec/dualrec/recorder/spool"
)

// The service is tested with a real spool and real depacketizers; network, database, FFmpeg and store are
// hand-written and can be told to fail.

type memCatalog struct {
	mu       sync.Mutex
	rows     map[string]*recorder.RecordingRow
	byCall   map[string]string
	finished map[string]recorder.FinishRow
	failed   map[string]recorder.Transition
	changed  chan struct{}
	down     error
	step     func(what string) // told before every write; may be nil
}

func newMemCatalog() *memCatalog {
	return &memCatalog{rows: map[string]*recorder.RecordingRow{}, byCall: map[string]string{}, finished: map[string]recorder.FinishRow{},
		failed: map[string]recorder.Transition{}, changed: make(chan struct{}, 1)}
}

func (c *memCatalog) signal() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *memCatalog) Profile(context.Context, string, string) (recorder.Profile, error) {
	p := recorder.DefaultProfile()
	p.SegmentSeconds = 2
	return p, c.down
}

func (c *memCatalog) Begin(_ context.Context, b recorder.BeginRow) (recorder.RecordingRow, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := b.TenantID + "/" + b.ExternalSessionID
	if id, ok := c.byCall[call]; ok && c.rows[id].Capture != recorder.Aborted && c.rows[id].Capture != recorder.Failed {
		return *c.rows[id], false, nil
	}
	c.byCall[call] = b.RecordingID
	c.rows[b.RecordingID] = &recorder.RecordingRow{TenantID: b.TenantID, ID: b.RecordingID, Capture: recorder.Pending, Node: b.Node, CreatedAt: time.Now()}
	return *c.rows[b.RecordingID], true, nil
}

func (c *memCatalog) Recording(_ context.Context, tenant, id string) (recorder.RecordingRow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.rows[id]
	if !ok || r.TenantID != tenant {
		return recorder.RecordingRow{}, recorder.ErrNotFound
	}
	return *r, nil
}

func (c *memCatalog) Transition(_ context.Context, t recorder.Transition) error {
	c.at(string(t.To))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.transition(t)
}

// at tells a test that something is about to be written.
func (c *memCatalog) at(what string) {
	if c.step != nil {
		c.step(what)
	}
}

// copy and restore stand for a database that survives its recorder.
func (c *memCatalog) copy() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, err := json.Marshal(memTables{c.rows, c.byCall})
	if err != nil {
		panic(err)
	}
	return data
}

type memTables struct {
	Rows   map[string]*recorder.RecordingRow
	ByCall map[string]string
}

func (c *memCatalog) restore(t *testing.T, data []byte) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var m memTables
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	c.rows, c.byCall = m.Rows, m.ByCall
}

// ended waits for the recording's end and tells which.
func (c *memCatalog) ended(t *testing.T, id string) recorder.CaptureState {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !c.state(id).Ended() {
		select {
		case <-c.changed:
		case <-deadline:
			t.Fatalf("recording is %s, waited for its end", c.state(id))
		}
	}
	return c.state(id)
}

// transition is called with mu held.
func (c *memCatalog) transition(t recorder.Transition) error {
	defer c.signal()
	r, ok := c.rows[t.RecordingID]
	if !ok || r.TenantID != t.TenantID {
		return recorder.ErrNotFound
	}
	if !slices.Contains(t.From, r.Capture) && r.Capture != t.To {
		return &recorder.StateError{RecordingID: t.RecordingID, Is: r.Capture, Want: t.From}
	}
	r.Capture = t.To
	if t.To == recorder.Failed || t.To == recorder.Aborted {
		c.failed[t.RecordingID] = t
	}
	return nil
}

func (c *memCatalog) SaveTrack(context.Context, string, string, recorder.TrackRow) error { return nil }
func (c *memCatalog) RegisterCopy(_ context.Context, _, _ string, r recorder.CopyRow) error {
	c.at("register " + string(r.Role))
	return nil
}

// Finish writes state and facts at once, as a database's transaction does: whoever sees the state has the facts.
func (c *memCatalog) Finish(_ context.Context, f recorder.FinishRow) error {
	c.at("finish")
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.transition(f.Transition); err != nil {
		return err
	}
	c.finished[f.RecordingID] = f
	return nil
}

// facts is what a recording was finished with.
func (c *memCatalog) facts(id string) recorder.FinishRow {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.finished[id]
}

// failure is what a recording failed or was aborted with.
func (c *memCatalog) failure(id string) recorder.Transition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed[id]
}

func (c *memCatalog) Unfinished(_ context.Context, node string) ([]recorder.RecordingRow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []recorder.RecordingRow
	for _, r := range c.rows {
		if r.Node == node && !r.Capture.Ended() {
			out = append(out, *r)
		}
	}
	return out, nil
}

func (c *memCatalog) state(id string) recorder.CaptureState {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.rows[id]; ok {
		return r.Capture
	}
	return ""
}

// wait returns once the recording is in the state.
func (c *memCatalog) wait(t *testing.T, id string, want recorder.CaptureState) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		got := c.state(id)
		if got == want {
			return
		}
		if got.Ended() {
			t.Fatalf("recording is %s (%+v), waited for %s", got, c.failure(id), want)
		}
		select {
		case <-c.changed:
		case <-deadline:
			t.Fatalf("recording is %s, waited for %s", c.state(id), want)
		}
	}
}

// lines is a network: each lease keeps its sink, and the test sends into it.
type lines struct {
	mu     sync.Mutex
	leases []*line
	full   bool
	taken  bool                         // ports of earlier leases are another program's
	refuse map[recorder.TrackKind]error // what attaching fails with
}

type line struct {
	req      recorder.LeaseRequest
	ports    recorder.Endpoint
	mu       sync.Mutex
	attached recorder.Attachment // the last one
	refuse   error
	held     bool
	heldOver bool // it was held when it was attached
	released time.Time
	sink     recorder.Sink
	ssrc     uint32
	asked    int
	closed   bool
	n        uint64
}

func (l *lines) Lease(_ context.Context, req recorder.LeaseRequest) (recorder.Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full && len(l.leases) > 0 {
		return nil, recorder.ErrNoPorts
	}
	if req.RTPPort != 0 && l.taken {
		return nil, fmt.Errorf("%w: port %d is another program's", recorder.ErrNoPorts, req.RTPPort)
	}
	n := &line{req: req, refuse: l.refuse[req.Kind], ports: recorder.Endpoint{IP: "127.0.0.1", RTPPort: req.RTPPort, RTCPPort: req.RTCPPort}}
	if req.RTPPort == 0 {
		n.ports.RTPPort, n.ports.RTCPPort = 20000+2*len(l.leases), 20001+2*len(l.leases)
	}
	l.leases = append(l.leases, n)
	return n, nil
}

// of is the newest lease of a kind.
func (l *lines) of(kind recorder.TrackKind) *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range slices.Backward(l.leases) {
		if n.req.Kind == kind {
			return n
		}
	}
	return nil
}

func (n *line) Endpoint() recorder.Endpoint {
	return n.ports
}
func (n *line) Attach(a recorder.Attachment) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse != nil {
		return n.refuse
	}
	n.sink, n.ssrc, n.attached, n.heldOver = a.Sink, a.Params.SSRC, a, n.held
	return nil
}
func (n *line) Detach() { n.mu.Lock(); n.sink = nil; n.mu.Unlock() }
func (n *line) Hold()   { n.mu.Lock(); n.held = true; n.mu.Unlock() }
func (n *line) Release(at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held, n.released = false, at
}
func (n *line) RequestKeyframe() { n.mu.Lock(); n.asked++; n.mu.Unlock() }
func (n *line) Stats() recorder.NetStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return recorder.NetStats{SSRC: n.ssrc, Packets: n.n}
}
func (n *line) Close() error { n.mu.Lock(); n.sink, n.closed = nil, true; n.mu.Unlock(); return nil }

// send delivers one Opus packet of 20 ms.
func (n *line) send(seq int, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sink == nil || n.held {
		return
	}
	p := []byte{0x80, 100, byte(seq >> 8), byte(seq), 0, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0xff, 0xfe}
	ts := uint32(seq) * 960
	p[4], p[5], p[6], p[7] = byte(ts>>24), byte(ts>>16), byte(ts>>8), byte(ts)
	p[8], p[9], p[10], p[11] = byte(n.ssrc>>24), byte(n.ssrc>>16), byte(n.ssrc>>8), byte(n.ssrc)
	n.sink.Packet(at, recorder.PacketRTP, p)
	n.n++
}

// scribe composes by counting: a segment's text is its number of frames.
type scribe struct {
	segmentErr func(segment int) error
	audioErr   func() error
	hold       chan struct{}           // segments wait until it is closed; nil: they do not
	watch      func(recorder.VideoJob) // sees every segment; may be nil
}

func (s *scribe) Video(ctx context.Context, job recorder.VideoJob, out io.Writer) error {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.watch != nil {
		s.watch(job)
	}
	if s.segmentErr != nil && !job.PausedCard {
		if err := s.segmentErr(job.Segment); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%d frames", job.Frames)
	return err
}

func (s *scribe) Audio(ctx context.Context, job recorder.AudioJob, adts, peaks io.Writer) error {
	if s.audioErr != nil {
		if err := s.audioErr(); err != nil {
			return err
		}
	}
	for _, t := range job.Tracks {
		for {
			if _, err := t.Source.Next(ctx); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
		}
	}
	_, err := io.WriteString(adts, "sound")
	return err
}

// CheckVideo counts what Frames gave: one byte a frame.
func (s *scribe) CheckVideo(_ context.Context, r io.Reader) (int64, error) {
	return io.Copy(io.Discard, r)
}

func (s *scribe) CheckFile(context.Context, io.Reader) (recorder.FileFacts, error) {
	return recorder.FileFacts{}, nil
}

// binder muxes by writing JSON; what it writes it can inspect.
type binder struct {
	facts func(recorder.MovieFacts) (recorder.MovieFacts, error) // nil: the truth
}

type book struct {
	Pictures int64
	Duration recorder.Micros
}

func (binder) Mux(_ context.Context, in recorder.MuxInput, w io.Writer) (recorder.MuxResult, error) {
	b := book{Duration: in.Duration}
	for _, s := range in.Segments {
		r, err := s.Open()
		if err != nil {
			return recorder.MuxResult{}, err
		}
		r.Close()
		b.Pictures += s.Frames
	}
	return recorder.MuxResult{VideoFrames: b.Pictures}, json.NewEncoder(w).Encode(b)
}

func (m binder) Inspect(r io.ReaderAt, size int64) (recorder.Movie, error) {
	var b book
	err := json.NewDecoder(io.NewSectionReader(r, 0, size)).Decode(&b)
	if err != nil || m.facts == nil {
		return b, err
	}
	f, err := m.facts(b.Facts())
	return toldBook{b, f}, err
}

// toldBook says what a test wants to hear.
type toldBook struct {
	book
	facts recorder.MovieFacts
}

func (b toldBook) Facts() recorder.MovieFacts { return b.facts }

func (b book) Facts() recorder.MovieFacts {
	return recorder.MovieFacts{VideoFrames: b.Pictures, VideoDuration: b.Duration, AudioDuration: b.Duration, Faststart: true}
}
func (b book) Frames(from, n int64) (io.Reader, error) {
	return bytes.NewReader(make([]byte, min(n, b.Pictures-from))), nil
}
func (b book) LastKeyframe() int64 { return max(0, b.Pictures-60) }

// shelf is an object store that may be down.
type shelf struct {
	mu   sync.Mutex
	down error
	keys []string
	step func(what string) // told before a put; may be nil
}

func (s *shelf) Put(_ context.Context, key string, r io.ReadSeeker, size int64, _ []byte) (recorder.ObjectInfo, error) {
	if s.step != nil {
		s.step("put")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return recorder.ObjectInfo{}, s.down
	}
	n, err := io.Copy(io.Discard, r)
	if n != size {
		err = fmt.Errorf("got %d bytes of %d", n, size)
	}
	s.keys = append(s.keys, key)
	return recorder.ObjectInfo{Key: key, Size: n}, err
}

func (s *shelf) Open(context.Context, string) (recorder.Object, error) {
	return nil, recorder.ErrObjectNotFound
}
func (s *shelf) Stat(context.Context, string) (recorder.ObjectInfo, error) {
	return recorder.ObjectInfo{}, recorder.ErrObjectNotFound
}
func (s *shelf) Delete(context.Context, string) error { return nil }

func (s *shelf) set(err error) { s.mu.Lock(); s.down = err; s.mu.Unlock() }

// carrier wraps keys by carrying them.
type carrier struct{ err error }

func (c *carrier) Wrap(_ context.Context, k kms.DataKey, _ kms.WrapContext) (kms.WrappedKey, error) {
	return kms.WrappedKey{Provider: "test", Ciphertext: k.Bytes()}, c.err
}
func (c *carrier) Unwrap(_ context.Context, w kms.WrappedKey, _ kms.WrapContext) (kms.DataKey, error) {
	return kms.DataKeyFromBytes(w.Ciphertext)
}

type quiet struct{}

func (quiet) Notify(recorder.Change) {}

type noPeaks struct{}

func (noPeaks) Write(p []byte) (int, error) { return len(p), nil }
func (noPeaks) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, "{}")
	return int64(n), err
}

// world is a service with everything around it; run starts it, and may be called again after its stop.
type world struct {
	t       *testing.T
	root    string
	catalog *memCatalog
	net     *lines
	scribe  *scribe
	shelf   *shelf
	keys    *carrier
	shift   atomic.Int64 // of the service's clock, in ns
	mux     func(recorder.MovieFacts) (recorder.MovieFacts, error)
	svc     *recorder.Service
	spool   *spool.Spool
	tune    func(*recorder.Config, *recorder.Deps, *spool.Config) // may be nil
	ids     int
}

func newWorld(t *testing.T) *world {
	return &world{t: t, root: t.TempDir(), catalog: newMemCatalog(), net: &lines{}, scribe: &scribe{}, shelf: &shelf{}, keys: &carrier{}}
}

func (w *world) run() (stop func()) {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	cfg, sc := recorder.Config{UploadRetry: 20 * time.Millisecond, Rest: time.Millisecond, Workers: 2}, spool.Config{Root: w.root, MinFreeBytes: 1}
	deps := recorder.Deps{Catalog: w.catalog,
		Receiver: w.net, Depacketizers: depacketize.Set{}, Composer: w.scribe, Muxer: binder{w.mux}, Store: w.shelf, Keys: w.keys,
		Notifier: quiet{}, Logger: log, Now: w.now, NewPeaks: func() recorder.PeakWriter { return noPeaks{} }, AudioPriming: 1024,
		NewID: func(prefix string) string { w.ids++; return fmt.Sprintf("%s_%04d", prefix, w.ids) }}
	if w.tune != nil {
		w.tune(&cfg, &deps, &sc)
	}
	sp, err := spool.New(sc, log)
	if err != nil {
		w.t.Fatal(err)
	}
	w.spool, deps.Spool = sp, sp
	if w.svc, err = recorder.New(cfg, deps); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	started := make(chan struct{})
	go func() { close(started); done <- w.svc.Run(ctx) }()
	<-started
	for { // Run has begun once a command is accepted
		_, err := w.svc.Start(ctx, recorder.StartCommand{})
		var ce *recorder.CommandError
		if errors.As(err, &ce) && ce.Code == recorder.CodeInvalidInput {
			break
		}
	}
	w.waitRunning()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		if err := sp.Close(); err != nil {
			w.t.Error(err)
		}
	})
}

// waitRunning starts a probe call until the service takes it: before Run has set itself up it says UNAVAILABLE.
func (w *world) waitRunning() {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for n := 0; ; n++ {
		id, err := w.svc.Start(w.t.Context(), recorder.StartCommand{TenantID: "ten_probe", ExternalSessionID: fmt.Sprint("probe", w.ids, n), Queue: "q", Agent: "a",
			Tracks: []recorder.TrackKind{recorder.CustomerAudio}})
		if err == nil {
			if err := w.svc.Stop(w.t.Context(), recorder.StopCommand{TenantID: "ten_probe", RecordingID: id}); err != nil {
				w.t.Fatal(err)
			}
			w.catalog.wait(w.t, id, recorder.Failed)
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("service does not run: %v", err)
		}
	}
}

var me = recorder.Actor{Kind: "api_key", ID: "k1"}

func (w *world) start(session string, tracks ...recorder.TrackKind) string {
	w.t.Helper()
	id, err := w.svc.Start(w.t.Context(), startOf(session, tracks...))
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func startOf(session string, tracks ...recorder.TrackKind) recorder.StartCommand {
	return recorder.StartCommand{TenantID: "ten_1", ExternalSessionID: session, Queue: "q", Agent: "a", Tracks: tracks, Actor: me}
}

func opus(ssrc uint32) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"codecs":[{"mimeType":"audio/opus","payloadType":100,"clockRate":48000,"channels":2}],"encodings":[{"ssrc":%d}],"rtcp":{"cname":"c"}}`, ssrc))
}

func (w *world) attach(id string, kind recorder.TrackKind, ssrc uint32) error {
	_, err := w.svc.Attach(w.t.Context(), recorder.AttachCommand{TenantID: "ten_1", RecordingID: id, Kind: kind, RTPParameters: opus(ssrc),
		Source: recorder.Source{IP: "127.0.0.1", RTPPort: 5000}, Actor: me})
	return err
}

func (w *world) stop(id string) {
	w.t.Helper()
	if err := w.svc.Stop(w.t.Context(), recorder.StopCommand{TenantID: "ten_1", RecordingID: id, Actor: me}); err != nil {
		w.t.Fatal(err)
	}
}

// now is the service's clock.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) }

// pass lets time pass for the service.
func (w *world) pass(d time.Duration) { w.shift.Add(int64(d)) }

// say sends n packets, which takes their time.
func (w *world) say(kind recorder.TrackKind, from, n int) {
	for i := range n {
		w.talk(kind, from+i, 1, w.now())
		w.pass(20 * time.Millisecond)
	}
}

// talk sends n packets of 20 ms from an instant on.
func (w *world) talk(kind recorder.TrackKind, from, n int, at time.Time) {
	l := w.net.of(kind)
	for i := range n {
		l.send(from+i, at.Add(time.Duration(i)*20*time.Millisecond))
	}
}

func wantCode(t *testing.T, err error, code recorder.ErrorCode) {
	t.Helper()
	var ce *recorder.CommandError
	if !errors.As(err, &ce) || ce.Code != code {
		t.Errorf("error %v, want code %s", err, code)
	}
}

func TestStartIsIdempotentPerCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Cleanup(w.run())
	a := w.start("call-1", recorder.AgentAudio)
	if b := w.start("call-1", recorder.AgentAudio); a != b {
		t.Errorf("the same call got %s and %s", a, b)
	}
	st, ok := w.svc.Live("ten_1", a)
	if !ok || len(st.Tracks) != 1 || st.Tracks[0].Endpoint.RTPPort == 0 {
		t.Errorf("live status %+v, %v", st, ok)
	}
	if _, ok := w.svc.Live("ten_2", a); ok {
		t.Error("another tenant sees the live recording")
	}
}

func TestStartRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Cleanup(w.run())
	_, err := w.svc.Start(t.Context(), startOf("x"))
	wantCode(t, err, recorder.CodeInvalidInput)

	w.keys.err = kms.ErrKeyUnavailable
	_, err = w.svc.Start(t.Context(), startOf("no-key", recorder.AgentAudio))
	wantCode(t, err, recorder.CodeUnavailable)
	w.keys.err = nil

	w.net.full = true
	_, err = w.svc.Start(t.Context(), startOf("no-ports", recorder.AgentAudio, recorder.CustomerAudio))
	wantCode(t, err, recorder.CodeCapacity)
	id := w.catalog.byCall["ten_1/no-ports"]
	if got := w.catalog.state(id); got != recorder.Aborted {
		t.Errorf("the recording without ports is %s, want ABORTED", got)
	}
	if _, live := w.svc.Live("ten_1", id); live {
		t.Error("it is live")
	}
}

func TestAttachRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Cleanup(w.run())
	id := w.start("call", recorder.AgentAudio, recorder.CustomerAudio)
	wantCode(t, w.attach(id, recorder.Screen, 1), recorder.CodeInvalidInput) // opus on a screen
	wantCode(t, w.attach("rec_none", recorder.AgentAudio, 1), recorder.CodeNotFound)
	_, err := w.svc.Attach(t.Context(), recorder.AttachCommand{TenantID: "ten_2", RecordingID: id, Kind: recorder.AgentAudio, RTPParameters: opus(1), Source: recorder.Source{RTPPort: 1}})
	wantCode(t, err, recorder.CodeNotFound)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Errorf("attaching the same again: %v", err)
	}
	wantCode(t, w.attach(id, recorder.CustomerAudio, 7), recorder.CodeConflict)
	if err := w.svc.Stop(t.Context(), recorder.StopCommand{TenantID: "ten_1", RecordingID: id, Actor: me}); err != nil {
		t.Fatal(err)
	}
	var se *recorder.StateError
	if err := w.attach(id, recorder.AgentAudio, 8); !errors.As(err, &se) {
		t.Errorf("attach after stop: %v, want a StateError", err)
	}
	w.catalog.wait(t, id, recorder.Failed)
	if got := *w.catalog.failure(id).Patch.FailureCode; got != "NO_MEDIA" {
		t.Errorf("failure %s, want NO_MEDIA", got)
	}
}

// TestWholeCall records sound, pauses, and follows the recording to AVAILABLE; the store is down at first.
func TestWholeCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Cleanup(w.run())
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	w.talk(recorder.AgentAudio, 0, 50, time.Now().Add(-time.Second))
	if err := w.svc.Pause(t.Context(), recorder.PauseCommand{TenantID: "ten_1", RecordingID: id, Reason: recorder.PausePayment, Actor: me}); err != nil {
		t.Fatal(err)
	}
	if w.catalog.state(id) != recorder.Paused {
		t.Errorf("state %s, want PAUSED", w.catalog.state(id))
	}
	w.talk(recorder.AgentAudio, 50, 50, time.Now()) // dropped before the disk
	if err := w.svc.Resume(t.Context(), recorder.ResumeCommand{TenantID: "ten_1", RecordingID: id, Actor: me}); err != nil {
		t.Fatal(err)
	}
	w.shelf.set(recorder.ErrStoreUnavailable)
	if err := w.svc.Stop(t.Context(), recorder.StopCommand{TenantID: "ten_1", RecordingID: id, Actor: me}); err != nil {
		t.Fatal(err)
	}
	if err := w.svc.Stop(t.Context(), recorder.StopCommand{TenantID: "ten_1", RecordingID: id, Actor: me}); err != nil {
		t.Errorf("stopping again: %v", err)
	}
	w.catalog.wait(t, id, recorder.Uploading)
	w.shelf.set(nil)
	w.catalog.wait(t, id, recorder.Available)
	f := w.catalog.facts(id)
	if f.AudioCodec != "aac" || f.DurationUs <= 0 || len(f.Copies) != 3 || !slices.ContainsFunc(f.Gaps, func(g recorder.GapRow) bool { return g.Kind == recorder.GapPaused }) {
		t.Errorf("finish row %+v", f)
	}
	for _, c := range f.Copies {
		if !c.Stored || len(c.CiphertextSHA256) != 32 || c.FileID == "" {
			t.Errorf("copy %+v", c)
		}
	}
}

// TestAPauseEndsForWhoIsNotAttached: the track was detached in the pause. Who attaches after it is recorded.
func TestAPauseEndsForWhoIsNotAttached(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Cleanup(w.run())
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	if err := w.svc.Pause(t.Context(), recorder.PauseCommand{TenantID: "ten_1", RecordingID: id, Reason: recorder.PausePayment, Actor: me}); err != nil {
		t.Fatal(err)
	}
	if err := w.svc.Detach(t.Context(), recorder.DetachCommand{TenantID: "ten_1", RecordingID: id, Kind: recorder.AgentAudio, Actor: me}); err != nil {
		t.Fatal(err)
	}
	if err := w.svc.Resume(t.Context(), recorder.ResumeCommand{TenantID: "ten_1", RecordingID: id, Actor: me}); err != nil {
		t.Fatal(err)
	}
	if err := w.attach(id, recorder.AgentAudio, 8); err != nil {
		t.Fatal(err)
	}
	if w.net.of(recorder.AgentAudio).held {
		t.Error("the track is paused for ever")
	}
}

// TestPauseKeepsEverythingFromTheSpool compares the spool's journal before and after packets of a pause.
func TestPauseKeepsEverythingFromTheSpool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.run()
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	w.talk(recorder.AgentAudio, 0, 10, time.Now())
	if err := w.svc.Pause(t.Context(), recorder.PauseCommand{TenantID: "ten_1", RecordingID: id, Reason: recorder.PausePayment, Actor: me}); err != nil {
		t.Fatal(err)
	}
	w.talk(recorder.AgentAudio, 10, 500, time.Now())
	stop()
	if got := w.records(id, recorder.LegName(0)); got != 10 {
		t.Errorf("the journal holds %d packets, want the 10 from before the pause", got)
	}
}

// records counts a journal's records in the spool of a stopped service.
func (w *world) records(id, journal string) (n int) {
	w.t.Helper()
	w.each(id, journal, func(recorder.Record) { n++ })
	return n
}

// each reads a journal in the spool of a stopped service.
func (w *world) each(id, journal string, f func(recorder.Record)) {
	w.t.Helper()
	sp, err := spool.New(spool.Config{Root: w.root, MinFreeBytes: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	defer sp.Close()
	h, err := sp.Header(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := kms.DataKeyFromBytes(h.WrappedKey.Ciphertext)
	if err != nil {
		w.t.Fatal(err)
	}
	folder, err := sp.Open(w.t.Context(), id, key)
	if err != nil {
		w.t.Fatal(err)
	}
	defer folder.Close()
	r, err := folder.Read(journal, recorder.Position{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	for {
		rec, _, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		f(rec)
	}
}

// TestAnotherProcessFinishes ends the process in mid-call and once more while the store is down; the third one
// makes the recording available, and nothing is left in the spool.
func TestAnotherProcessFinishes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.run()
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	w.say(recorder.AgentAudio, 0, 100)
	stop()

	w.shelf.set(recorder.ErrStoreUnavailable)
	stop = w.run()
	w.stop(id)
	w.catalog.wait(t, id, recorder.Uploading)
	stop()

	w.shelf.set(nil)
	stop = w.run()
	w.catalog.wait(t, id, recorder.Available)
	stop()
	if d := time.Duration(w.catalog.facts(id).DurationUs) * time.Microsecond; d < 1900*time.Millisecond || d > time.Minute {
		t.Errorf("the recording lasts %v, want 2 s and what the test took", d)
	}
	sp, err := spool.New(spool.Config{Root: w.root, MinFreeBytes: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	if left, err := sp.List(t.Context()); err != nil || slices.Contains(left, id) {
		t.Errorf("the spool still holds %v, %v", left, err)
	}
}

// TestFailedSegmentsKeepTheSpool: a card takes the place of what cannot be rendered; nothing is thrown away.
func TestFailedSegmentsKeepTheSpool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.scribe.segmentErr = func(int) error { return errors.New("no memory") }
	stop := w.run()
	id := w.record("call")
	w.catalog.wait(t, id, recorder.Partial)
	stop()
	f := w.catalog.facts(id)
	if len(f.Segments) == 0 || f.Segments[0].Paused || !slices.ContainsFunc(f.Gaps, func(g recorder.GapRow) bool { return g.Kind == recorder.GapFrozen }) {
		t.Errorf("finish row %+v", f)
	}
	if n := w.records(id, recorder.LegName(0)); n != 100 {
		t.Errorf("the spool holds %d packets, want all 100", n)
	}
}

// TestComposingIsTriedAgain: the muxer fails at first, and a check refuses the file once.
func TestComposingIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var n atomic.Int32
	w.mux = func(m recorder.MovieFacts) (recorder.MovieFacts, error) {
		switch n.Add(1) {
		case 1:
			return m, errors.New("disk full")
		case 2:
			m.VideoFrames++
		}
		return m, nil
	}
	t.Cleanup(w.run())
	id := w.record("call")
	w.catalog.wait(t, id, recorder.Available)
	if n.Load() != 3 {
		t.Errorf("%d attempts, want 3", n.Load())
	}
}

// TestSoundIsRenderedAgain: three failures while the call runs do not cost the recording.
func TestSoundIsRenderedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var n atomic.Int32
	w.scribe.audioErr = func() error {
		if n.Add(1) <= 3 {
			return errors.New("no processes")
		}
		return nil
	}
	t.Cleanup(w.run())
	w.catalog.wait(t, w.record("call"), recorder.Available)
}

// TestFailedStartIsNotRemembered: the SFU that tries again gets a recording that records.
func TestFailedStartIsNotRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Cleanup(w.run())
	w.net.full = true
	_, err := w.svc.Start(t.Context(), startOf("call", recorder.AgentAudio, recorder.CustomerAudio))
	wantCode(t, err, recorder.CodeCapacity)
	w.net.full = false
	id := w.start("call", recorder.AgentAudio, recorder.CustomerAudio)
	if _, live := w.svc.Live("ten_1", id); !live {
		t.Error("the second start gave a recording that is not live")
	}
}

// TestBookkeepingDoesNotLengthenTheCall: a recording taken over twice ends where its packets end, however late that is.
func TestBookkeepingDoesNotLengthenTheCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shift.Store(int64(-time.Hour))
	stop := w.run()
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	w.talk(recorder.AgentAudio, 0, 100, time.Now().Add(-time.Hour))
	stop()
	w.shift.Store(0)
	w.shelf.set(recorder.ErrStoreUnavailable)
	for range 2 {
		stop = w.run()
		w.catalog.wait(t, id, recorder.Uploading)
		stop()
	}
	w.shelf.set(nil)
	t.Cleanup(w.run())
	w.catalog.wait(t, id, recorder.Available)
	if d := time.Duration(w.catalog.facts(id).DurationUs) * time.Microsecond; d > 2200*time.Millisecond {
		t.Errorf("the recording lasts %v, want 2 s and what the test took", d)
	}
}

// TestAttachWhileDraining must be refused, whenever it comes.
func TestAttachWhileDraining(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.run()
	id := w.start("call", recorder.AgentAudio)
	stop()
	wantCode(t, w.attach(id, recorder.AgentAudio, 7), recorder.CodeUnavailable)
}

// TestCommandsToTheWrongRecorder: a stop that stops nothing must not say that it did.
func TestCommandsToTheWrongRecorder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Cleanup(w.run())
	w.catalog.mu.Lock()
	w.catalog.rows["rec_there"] = &recorder.RecordingRow{TenantID: "ten_1", ID: "rec_there", Capture: recorder.Recording, Node: "node-2"}
	w.catalog.mu.Unlock()
	wantCode(t, w.svc.Stop(t.Context(), recorder.StopCommand{TenantID: "ten_1", RecordingID: "rec_there"}), recorder.CodeUnavailable)
	wantCode(t, w.attach("rec_there", recorder.AgentAudio, 7), recorder.CodeUnavailable)
}

// record makes a call of two seconds of sound and stops it.
func (w *world) record(session string) string {
	w.t.Helper()
	id := w.start(session, recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		w.t.Fatal(err)
	}
	w.talk(recorder.AgentAudio, 0, 100, time.Now().Add(-2*time.Second))
	if err := w.svc.Stop(w.t.Context(), recorder.StopCommand{TenantID: "ten_1", RecordingID: id, Actor: me}); err != nil {
		w.t.Fatal(err)
	}
	return id
}

// TestRowsWithoutAFolderAreClosed: the spool's disk was replaced.
func TestRowsWithoutAFolderAreClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.catalog.rows["rec_lost"] = &recorder.RecordingRow{TenantID: "ten_1", ID: "rec_lost", Capture: recorder.Recording, Node: "node-1"}
	t.Cleanup(w.run())
	w.catalog.wait(t, "rec_lost", recorder.Failed)
	if got := *w.catalog.failure("rec_lost").Patch.FailureCode; got != "SPOOL_LOST" {
		t.Errorf("failure %s, want SPOOL_LOST", got)
	}
}
