package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/dualrec/dualrec/recorder"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bus is a NATS server in this process.
func bus(t *testing.T) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{ServerName: "test", DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS is not ready")
	}
	return srv
}

func connect(t *testing.T, srv *server.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// fake is a recorder that does what a test says.
type fake struct {
	name string

	mu     sync.Mutex
	got    []any // commands in the order in which they came
	live   map[string]recorder.LiveRecording
	err    error
	block  chan struct{} // not nil: commands wait for it, or for their context
	called chan string   // not nil: told when a command has come
	panics bool
}

func (f *fake) do(ctx context.Context, cmd any) error {
	f.mu.Lock()
	f.got = append(f.got, cmd)
	err, block, called, panics := f.err, f.block, f.called, f.panics
	f.mu.Unlock()
	if called != nil {
		called <- fmt.Sprintf("%T", cmd)
	}
	if panics {
		panic("a bug")
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (f *fake) Start(ctx context.Context, c recorder.StartCommand) (string, error) {
	if err := f.do(ctx, c); err != nil {
		return "", err
	}
	id := "rec_" + f.name + "_" + c.ExternalSessionID
	f.put(recorder.LiveRecording{TenantID: c.TenantID, RecordingID: id, Status: recorder.LiveStatus{Capture: recorder.Pending}})
	return id, nil
}

func (f *fake) Attach(ctx context.Context, c recorder.AttachCommand) (string, error) {
	return "trk_1", f.do(ctx, c)
}
func (f *fake) Detach(ctx context.Context, c recorder.DetachCommand) error { return f.do(ctx, c) }
func (f *fake) Pause(ctx context.Context, c recorder.PauseCommand) error {
	if err := f.do(ctx, c); err != nil {
		return err
	}
	f.put(recorder.LiveRecording{TenantID: c.TenantID, RecordingID: c.RecordingID, Status: recorder.LiveStatus{Capture: recorder.Paused}})
	return nil
}
func (f *fake) Resume(ctx context.Context, c recorder.ResumeCommand) error { return f.do(ctx, c) }
func (f *fake) SetLayout(ctx context.Context, c recorder.LayoutCommand) error {
	return f.do(ctx, c)
}
func (f *fake) Stop(ctx context.Context, c recorder.StopCommand) error { return f.do(ctx, c) }

func (f *fake) put(r recorder.LiveRecording) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live == nil {
		f.live = map[string]recorder.LiveRecording{}
	}
	f.live[r.RecordingID] = r
}

func (f *fake) remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.live, id)
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) commands() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]any(nil), f.got...)
}

func (f *fake) Live(tenantID, recordingID string) (recorder.LiveStatus, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.live[recordingID]
	if !ok || r.TenantID != tenantID {
		return recorder.LiveStatus{}, false
	}
	return r.Status, true
}

func (f *fake) LiveRecordings() (out []recorder.LiveRecording) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.live {
		out = append(out, r)
	}
	return out
}

func (f *fake) Totals() recorder.Totals { return recorder.Totals{Live: len(f.LiveRecordings())} }

// catalog holds rows of recordings.
type catalog struct {
	mu   sync.Mutex
	rows []recorder.RecordingRow
	err  error
}

func (c *catalog) add(r recorder.RecordingRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows = append(c.rows, r)
}

func (c *catalog) find(is func(recorder.RecordingRow) bool) (recorder.RecordingRow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return recorder.RecordingRow{}, c.err
	}
	for _, r := range c.rows {
		if is(r) {
			return r, nil
		}
	}
	return recorder.RecordingRow{}, fmt.Errorf("catalog: %w", recorder.ErrNotFound)
}

func (c *catalog) Recording(_ context.Context, tenantID, id string) (recorder.RecordingRow, error) {
	return c.find(func(r recorder.RecordingRow) bool { return r.TenantID == tenantID && r.ID == id })
}

func (c *catalog) Started(_ context.Context, tenantID, external string) (recorder.RecordingRow, error) {
	return c.find(func(r recorder.RecordingRow) bool { return r.TenantID == tenantID && r.ExternalSessionID == external })
}

// world is one process of the API and its recorders.
type world struct {
	t       *testing.T
	nats    *server.Server
	catalog *catalog
	client  *Client
}

func newWorld(t *testing.T, cfg ClientConfig) *world {
	t.Helper()
	w := &world{t: t, nats: bus(t), catalog: &catalog{}}
	var err error
	if w.client, err = NewClient(connect(t, w.nats), cfg, w.catalog); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.client.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// running is one recorder process.
type running struct {
	*fake
	server *Server
	nc     *nats.Conn
	stop   func() // in order; idempotent
}

// recorder starts one and waits until the client knows it.
func (w *world) recorder(name string, c Capacity) *running {
	w.t.Helper()
	before := w.client.Nodes()
	r := &running{fake: &fake{name: name}, nc: connect(w.t, w.nats)}
	var err error
	r.server, err = NewServer(r.nc, ServerConfig{Name: name, Capacity: func() Capacity { return c }, Beat: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}, r.fake)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.server.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("recorder %s ended with %v", name, err)
		}
	})
	w.t.Cleanup(r.stop)
	w.until("the client knows "+name, func() bool { return w.client.Nodes() > before })
	return r
}

// kill takes the recorder off the bus as kill -9 would.
func (r *running) kill() {
	r.nc.Close()
	r.stop()
}

// until waits for something that a message brings about.
func (w *world) until(what string, so func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !so() {
		select {
		case <-tick.C:
		case <-limit:
			w.t.Fatal("never came about: " + what)
		}
	}
}

func start(session string) recorder.StartCommand {
	return recorder.StartCommand{TenantID: "ten_a", ExternalSessionID: session, Queue: "sales", Agent: "ann", Tracks: []recorder.TrackKind{recorder.AgentAudio}}
}
