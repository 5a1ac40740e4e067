package playback

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dualrec/dualrec/kms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is everything outside: rows, objects and the audit log, in memory.
type world struct {
	mu       sync.Mutex
	rows     map[string]GrantStatus
	files    map[Ref]*file
	views    []View
	events   []string // in order
	checkErr error
	openErr  error
	auditErr error
	now      time.Time
	onClosed func()
}

type file struct {
	stored []byte
	key    kms.FileKey
	sum    [32]byte
	onRead func(off int64)
}

func newWorld() *world {
	return &world{rows: map[string]GrantStatus{}, files: map[Ref]*file{}, now: issued}
}

func (w *world) note(event string) { w.events = append(w.events, event) }

func (w *world) Create(_ context.Context, g Grant) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.checkErr != nil {
		return w.checkErr
	}
	w.note("create")
	w.rows[g.ID] = GrantStatus{Grant: g}
	return nil
}

func (w *world) Check(_ context.Context, id string) (GrantStatus, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("check")
	if w.checkErr != nil {
		return GrantStatus{}, w.checkErr
	}
	row, ok := w.rows[id]
	if !ok {
		return GrantStatus{}, ErrGrantNotFound
	}
	return row, nil
}

func (w *world) Revoke(_ context.Context, tenantID, id, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	row, ok := w.rows[id]
	if !ok || row.Grant.TenantID != tenantID {
		return ErrGrantNotFound
	}
	row.Revoked = true
	w.rows[id] = row
	return nil
}

func (w *world) Viewed(_ context.Context, v View) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.auditErr != nil {
		return w.auditErr
	}
	row := w.rows[v.Grant.ID]
	if !row.Viewed {
		w.note("viewed")
		w.views = append(w.views, v)
		row.Viewed = true
		w.rows[v.Grant.ID] = row
	}
	return nil
}

func (w *world) Open(_ context.Context, ref Ref) (Artifact, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("open")
	if w.openErr != nil {
		return Artifact{}, w.openErr
	}
	f, ok := w.files[ref]
	if !ok {
		return Artifact{}, ErrNotFound
	}
	r, err := kms.NewReader(bytes.NewReader(f.stored), int64(len(f.stored)), f.key)
	if err != nil {
		return Artifact{}, err
	}
	return Artifact{Content: watched{r, f.onRead}, Closer: closer(w.closed), Digest: f.sum[:], ModTime: issued.Add(-time.Hour)}, nil
}

func (w *world) closed() {
	w.mu.Lock()
	w.note("closed")
	done := w.onClosed
	w.mu.Unlock()
	if done != nil {
		done()
	}
}

func (w *world) change(f func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

func (w *world) onRead(ref Ref, f func(off int64)) {
	w.change(func(w *world) { w.files[ref].onRead = f })
}

func (w *world) recordedViews() []View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.views)
}

func (w *world) recordedEvents() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

func (w *world) changeRow(id string, f func(*GrantStatus)) {
	w.change(func(w *world) { row := w.rows[id]; f(&row); w.rows[id] = row })
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

type closer func()

func (c closer) Close() error { c(); return nil }

type watched struct {
	Content
	onRead func(off int64)
}

func (w watched) ReadAt(p []byte, off int64) (int, error) {
	if w.onRead != nil {
		w.onRead(off)
	}
	return w.Content.ReadAt(p, off)
}

// content is n bytes that do not repeat.
func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

func seal(t testing.TB, plain []byte) *file {
	t.Helper()
	dek, err := kms.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := dek.FileKey("rec-1/video.mp4", "blob")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := kms.NewWriter(&out, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &file{stored: out.Bytes(), key: key, sum: w.Sum().SHA256}
}

var theVideo = Ref{"t1", "rec-1", Video}

// theatre is a service with a server, a world and one grant on one video.
type theatre struct {
	*world
	t      testing.TB
	svc    *Service
	server *httptest.Server
	plain  []byte
	file   *file
	issued Issued
	log    *bytes.Buffer
}

func openTheatre(t testing.TB, plain []byte, change func(*Config)) *theatre {
	t.Helper()
	w := newWorld()
	cfg := DefaultConfig()
	cfg.Now = w.clock
	if change != nil {
		change(&cfg)
	}
	th := &theatre{world: w, t: t, plain: plain, file: seal(t, plain), log: &bytes.Buffer{}}
	w.files[theVideo] = th.file
	signer := testSigner(t, testKey(t, 0))
	var err error
	th.svc, err = New(cfg, Ports{Signer: signer, Grants: w, Artifacts: w, Audit: w}, slog.New(slog.NewTextHandler(&lockedWriter{w: th.log}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	th.server = httptest.NewUnstartedServer(th.svc.Handler())
	th.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	th.server.Start()
	t.Cleanup(th.server.Close)
	th.issued, err = th.svc.Grant(t.Context(), Request{TenantID: "t1", RecordingID: "rec-1", Asset: Video, Viewer: "alice", Purpose: "review"})
	if err != nil {
		t.Fatal(err)
	}
	return th
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

type reply struct {
	status int
	header http.Header
	body   []byte
	err    error // of reading the body
}

func (th *theatre) do(method, url string, header ...string) reply {
	th.t.Helper()
	req, err := http.NewRequestWithContext(th.t.Context(), method, th.server.URL+url, nil)
	if err != nil {
		th.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := th.server.Client().Do(req)
	if err != nil {
		th.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, body, errors.Join(err, res.Body.Close())}
}

func (th *theatre) get(header ...string) reply {
	th.t.Helper()
	return th.do(http.MethodGet, th.issued.URL, header...)
}
