package graph

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/tenancy"
	"github.com/dualrec/dualrec/events/eventstest"
	"github.com/dualrec/dualrec/recorder"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// house is a server over a real catalog, with fakes for what carries out commands.
type house struct {
	t      *testing.T
	db     *ent.Client
	bus    *eventstest.Memory
	rec    *fakeRecorder
	play   *fakePlayback
	ingest *fakeIngest
	rev    *fakeReviews
	auth   *fakeAuth
	log    *lockedBuffer
	api    http.Handler
	url    string
	a, b   *estate
}

func newHouse(t *testing.T, cfg Config) *house {
	t.Helper()
	h := &house{t: t, db: openDB(t), bus: eventstest.NewMemory("e1", 0), play: &fakePlayback{}, ingest: &fakeIngest{}, log: &lockedBuffer{}}
	h.rec = &fakeRecorder{db: h.db, live: map[string]recorder.LiveStatus{}}
	h.rev = &fakeReviews{db: h.db}
	h.a, h.b = seed(t, h.db, "acme"), seed(t, h.db, "zeta")
	h.auth = &fakeAuth{people: map[string]auth.Principal{}, asked: make(chan struct{})}
	for _, role := range auth.Role("").Values() {
		h.auth.people["a-"+role] = auth.Principal{TenantID: h.a.tenant, Subject: "acme-agent", Role: auth.Role(role), Queues: []string{auth.AllQueues}}
		h.auth.people["b-"+role] = auth.Principal{TenantID: h.b.tenant, Subject: "zeta-agent", Role: auth.Role(role), Queues: []string{auth.AllQueues}}
	}
	cfg.PublicURL = "https://rec.example.com/"
	if cfg.Tick == 0 {
		cfg.Tick = time.Millisecond
	}
	handler, err := NewHandler(cfg, Deps{Recorder: h.rec, Playback: h.play, Ingest: h.ingest, Reviews: h.rev, Reader: h.db, Events: h.bus, Auth: h.auth,
		Log: slog.New(slog.NewTextHandler(h.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(handler)
	h.api, h.url = handler, srv.URL
	t.Cleanup(func() {
		srv.Client().CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		srv.Close()
	})
	return h
}

// template is an empty catalog, made once and copied by every test.
var template = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "graph")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "c.db")
	client, err := connect(path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(client.Schema.Create(tenancy.AcrossTenants(context.Background())), client.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func connect(path string) (*ent.Client, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&_pragma=synchronous(OFF)&_time_format=sqlite&_timezone=UTC")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return ent.NewClient(ent.Driver(entsql.OpenDB(dialect.SQLite, db))), nil
}

func openDB(t *testing.T) *ent.Client {
	t.Helper()
	empty, err := template()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "c.db")
	if err := os.WriteFile(path, empty, 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := connect(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// estate is what a tenant owns in tests. Every text in it contains the tenant's name.
type estate struct {
	name, tenant, queue, agent, session, recording, track, bookmark, comment, qaLink string
	db                                                                               *ent.Client
	ctx                                                                              context.Context
}

var epoch = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func seed(t *testing.T, db *ent.Client, name string) *estate {
	t.Helper()
	ctx := tenancy.AcrossTenants(context.WithoutCancel(t.Context()))
	e := &estate{name: name, db: db}
	e.tenant = db.Tenant.Create().SetName(name).SetSlug(name).SaveX(ctx).ID
	e.ctx = tenancy.With(context.WithoutCancel(t.Context()), e.tenant)
	e.queue = db.Queue.Create().SetTenantID(e.tenant).SetName(name + "-queue").SaveX(ctx).ID
	e.agent = db.Agent.Create().SetTenantID(e.tenant).SetExternalID(name + "-agent").SetDisplayName(name + "-person").SaveX(ctx).ID
	r := e.call(name+"-call", epoch, recorder.Recording)
	e.recording, e.session = r.ID, r.SessionID
	e.track = db.Track.Create().SetTenantID(e.tenant).SetRecordingID(r.ID).SetKind(recorder.Screen).SetCodec("VP8").
		SetEndpointIP("192.0.2.7").SetEndpointRtpPort(40000).SetEndpointRtcpPort(40001).SetPackets(7).SaveX(ctx).ID
	db.Gap.Create().SetTenantID(e.tenant).SetRecordingID(r.ID).SetTrackID(e.track).SetKind(recorder.GapLost).SetFromUs(1_500_000).SetToUs(2_000_000).SetPackets(3).SetDetail(name + "-gap").SaveX(ctx)
	db.Gap.Create().SetTenantID(e.tenant).SetRecordingID(r.ID).SetKind(recorder.GapPaused).SetFromUs(0).SetToUs(1_000).SaveX(ctx)
	db.Segment.Create().SetTenantID(e.tenant).SetRecordingID(r.ID).SetIdx(0).SetFromFrame(0).SetToFrame(300).SetLayout(recorder.SideBySide).SaveX(ctx)
	db.Tag.Create().SetTenantID(e.tenant).SetRecordingID(r.ID).SetName(name + "-tag").SetStartedAt(epoch).SaveX(ctx)
	db.Tag.Create().SetTenantID(e.tenant).SetRecordingID(r.ID).SetName("vip").SetStartedAt(epoch).SaveX(ctx)
	e.bookmark = db.Bookmark.Create().SetTenantID(e.tenant).SetRecordingID(r.ID).SetAtUs(1_234_000).SetLabel(name + "-mark").SetAuthorKind("user").SetAuthorID(name + "-author").SaveX(ctx).ID
	e.comment = db.Comment.Create().SetTenantID(e.tenant).SetRecordingID(r.ID).SetBookmarkID(e.bookmark).SetAtUs(1_234_000).SetBody(name + "-remark").SetAuthorKind("user").SetAuthorID(name + "-author").SaveX(ctx).ID
	e.qaLink = db.QALink.Create().SetTenantID(e.tenant).SetRecordingID(r.ID).SetExternalSystem(name + "-qa").SetExternalID(name + "-card").SetScore(80).SaveX(ctx).ID
	return e
}

// call makes a session with one recording.
func (e *estate) call(external string, at time.Time, state recorder.CaptureState) *ent.Recording {
	return e.callIn(e.queue, external, at, state)
}

func (e *estate) callIn(queueID, external string, at time.Time, state recorder.CaptureState) *ent.Recording {
	ctx := tenancy.AcrossTenants(e.ctx)
	s := e.db.Session.Create().SetTenantID(e.tenant).SetExternalID(external).SetQueueID(queueID).SetAgentID(e.agent).
		SetCustomerID(e.name + "-customer").SetMetadata(json.RawMessage(`{"k":"` + e.name + `-meta"}`)).SetStartedAt(at).SaveX(ctx)
	return e.db.Recording.Create().SetTenantID(e.tenant).SetSessionID(s.ID).SetQueueID(queueID).SetAgentID(e.agent).
		SetCustomerID(e.name + "-customer").SetClient(e.name + "-client").SetSessionType(e.name + "-type").SetNode("n1").
		SetCapture(state).SetStartedAt(at).SetLayout(recorder.SideBySide).SetResolution(recorder.Native).
		SetProfile(recorder.DefaultProfile()).SaveX(ctx)
}

func (e *estate) ids() []string {
	return []string{e.tenant, e.queue, e.agent, e.session, e.recording, e.track, e.bookmark, e.comment, e.qaLink}
}

type answer struct {
	status int
	raw    string
	Data   map[string]any
	Errors []struct {
		Message    string
		Path       []any
		Extensions map[string]any
	}
}

// code is the code of the first top-level error.
func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	c, _ := a.Errors[0].Extensions["code"].(string)
	return c
}

// at walks into the data by names and, for lists, numbers.
func (a answer) at(path ...any) any {
	var v any = a.Data
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (h *house) do(token, query string, vars map[string]any) answer {
	h.t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": vars})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.send(http.MethodPost, token, body, "application/json")
}

func (h *house) send(method, token string, body []byte, accept string) answer {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.url, bytes.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", accept)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(res.Body); err != nil {
		h.t.Fatal(err)
	}
	a := answer{status: res.StatusCode, raw: raw.String()}
	if err := json.Unmarshal(raw.Bytes(), &a); err != nil {
		h.t.Fatalf("answer is not JSON: %s", a.raw)
	}
	return a
}

// must is do for operations that are expected to work.
func (h *house) must(token, query string, vars map[string]any) answer {
	h.t.Helper()
	a := h.do(token, query, vars)
	if a.status != http.StatusOK || len(a.Errors) > 0 {
		h.t.Fatalf("status %d: %s", a.status, a.raw)
	}
	return a
}

// fakeRecorder writes rows as the catalog does, or fails as told.
type fakeRecorder struct {
	db *ent.Client

	mu      sync.Mutex
	err     error
	started []recorder.StartCommand
	attach  []recorder.AttachCommand
	paused  []recorder.PauseCommand
	calls   []string
	live    map[string]recorder.LiveStatus
	startID string
}

func (f *fakeRecorder) note(name, tenant, recording string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf("%s %s %s", name, tenant, recording))
	return f.err
}

func (f *fakeRecorder) Start(_ context.Context, c recorder.StartCommand) (string, error) {
	if err := f.note("start", c.TenantID, c.ExternalSessionID); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = append(f.started, c)
	return f.startID, c.Validate()
}

func (f *fakeRecorder) Attach(_ context.Context, c recorder.AttachCommand) (string, error) {
	f.mu.Lock()
	f.attach = append(f.attach, c)
	f.mu.Unlock()
	if _, err := recorder.ParseRTPParameters(c.RTPParameters, c.Kind); err != nil {
		return "", err
	}
	return "", f.note("attach", c.TenantID, c.RecordingID)
}

func (f *fakeRecorder) Detach(_ context.Context, c recorder.DetachCommand) error {
	return f.note("detach", c.TenantID, c.RecordingID)
}

func (f *fakeRecorder) Pause(_ context.Context, c recorder.PauseCommand) error {
	f.mu.Lock()
	f.paused = append(f.paused, c)
	f.mu.Unlock()
	return f.note("pause", c.TenantID, c.RecordingID)
}

func (f *fakeRecorder) Resume(_ context.Context, c recorder.ResumeCommand) error {
	return f.note("resume", c.TenantID, c.RecordingID)
}

func (f *fakeRecorder) SetLayout(_ context.Context, c recorder.LayoutCommand) error {
	return f.note("layout "+string(c.Layout), c.TenantID, c.RecordingID)
}

func (f *fakeRecorder) Stop(_ context.Context, c recorder.StopCommand) error {
	return f.note("stop", c.TenantID, c.RecordingID)
}

func (f *fakeRecorder) Live(tenantID, recordingID string) (recorder.LiveStatus, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.live[tenantID+"/"+recordingID]
	return s, ok
}

type fakePlayback struct {
	mu      sync.Mutex
	got     []GrantCommand
	revoked []RevokeCommand
	err     error
}

func (f *fakePlayback) Revoke(_ context.Context, c RevokeCommand) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = append(f.revoked, c)
	return f.err
}

func (f *fakePlayback) Grant(_ context.Context, c GrantCommand) (Grant, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, c)
	g := Grant{IDs: []string{"video-grant", "waveform-grant"}, WaveformURL: "https://rec.example.com/media/w", ExpiresAt: epoch.Add(c.TTL), RefreshAfter: epoch}
	if c.Video {
		g.VideoURL = "https://rec.example.com/media/v"
	}
	return g, f.err
}

type fakeReviews struct {
	db  *ent.Client
	err error
}

func (f *fakeReviews) CreateBookmark(ctx context.Context, c BookmarkCommand) (string, error) {
	if f.err != nil {
		return "", f.err
	}
	b, err := f.db.Bookmark.Create().SetTenantID(c.TenantID).SetRecordingID(c.RecordingID).SetAtUs(int64(c.At)).SetNillableToUs((*int64)(c.To)).
		SetLabel(c.Label).SetColor(c.Color).SetAuthorKind(c.Actor.Kind).SetAuthorID(c.Actor.ID).Save(ctx)
	if err != nil {
		return "", err
	}
	return b.ID, nil
}

func (f *fakeReviews) AddComment(ctx context.Context, c CommentCommand) (string, error) {
	if f.err != nil {
		return "", f.err
	}
	q := f.db.Comment.Create().SetTenantID(c.TenantID).SetRecordingID(c.RecordingID).SetAtUs(int64(c.At)).SetBody(c.Body).
		SetAuthorKind(c.Actor.Kind).SetAuthorID(c.Actor.ID)
	if c.BookmarkID != "" {
		q.SetBookmarkID(c.BookmarkID)
	}
	m, err := q.Save(ctx)
	if err != nil {
		return "", err
	}
	return m.ID, nil
}

// fakeAuth knows people by token.
type fakeAuth struct {
	mu     sync.Mutex
	people map[string]auth.Principal
	err    error
	asked  chan struct{} // whoever reads it is told of each question
}

// change changes what is known while the server runs.
func (f *fakeAuth) change(how func(f *fakeAuth)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(f)
}

func (f *fakeAuth) find(header string) (auth.Principal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case f.asked <- struct{}{}:
	default:
	}
	if f.err != nil {
		return auth.Principal{}, f.err
	}
	p, ok := f.people[strings.TrimPrefix(header, "Bearer ")]
	if !ok {
		return p, fmt.Errorf("%w: secret-detail", auth.ErrUnauthenticated)
	}
	return p, nil
}

func (f *fakeAuth) FromRequest(r *http.Request) (auth.Principal, error) {
	return f.find(r.Header.Get("Authorization"))
}

func (f *fakeAuth) ConnectionInit(_ context.Context, payload map[string]any, _ netip.Addr) (auth.Principal, error) {
	text, _ := payload["Authorization"].(string)
	return f.find(text)
}

func (f *fakeAuth) Source(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.99") }

var (
	_ Authenticator = (*auth.Authenticator)(nil)
	_ Recorder      = (*fakeRecorder)(nil)
	_ Recorder      = (*recorder.Service)(nil)
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var errSecret = errors.New("secret internal detail")

// fakeIngest issues tokens that say what was asked for.
type fakeIngest struct {
	mu    sync.Mutex
	asked []IngestTokenCommand
}

func (f *fakeIngest) IssueIngestToken(_ context.Context, c IngestTokenCommand) (IngestToken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, c)
	return IngestToken{Token: "token", ScreenURL: "https://rec/whip/" + c.RecordingID + "/screen", WebcamURL: "https://rec/whip/" + c.RecordingID + "/webcam",
		ExpiresAt: epoch.Add(c.TTL)}, nil
}
