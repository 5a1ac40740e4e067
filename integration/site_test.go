package integration_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
)

// site is a running server with two tenants.
type site struct {
	*harness.Server
	service, reviewer, admin string // API keys of tenant acme
	rival                    string // ADMIN key of tenant rival
}

// openSite starts a server on an empty data folder and makes its tenants.
func openSite(ctx context.Context, o harness.Options) (*site, error) {
	srv, err := harness.New(o)
	if err != nil {
		return nil, err
	}
	if err := srv.Start(ctx); err != nil {
		return nil, err
	}
	s := &site{Server: srv}
	err = errors.Join(s.Tenant(ctx, "acme"), s.Tenant(ctx, "rival"))
	for _, k := range []struct {
		to           *string
		tenant, role string
	}{{&s.service, "acme", "SERVICE"}, {&s.reviewer, "acme", "REVIEWER"}, {&s.admin, "acme", "ADMIN"}, {&s.rival, "rival", "ADMIN"}} {
		if err == nil {
			*k.to, err = s.APIKey(ctx, k.tenant, k.role)
		}
	}
	if err != nil {
		srv.Kill()
		return nil, err
	}
	return s, nil
}

// newSite is a server for one test alone.
func newSite(t *testing.T, o harness.Options) *site {
	t.Helper()
	o.Bin = program
	if o.Data == "" {
		o.Data = filepath.Join(t.TempDir(), "data")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := openSite(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("the server did not end well: %v", err)
		}
	})
	failed(t, s)
	return s
}

// failed prints the end of the server's log if the test fails.
func failed(t *testing.T, s *site) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		log := s.Log.String()
		t.Logf("the server's log ends with:\n%s", log[max(0, len(log)-8000):])
	})
}

// set makes or changes a queue of tenant acme.
func (s *site) set(t *testing.T, queue string, flags ...string) {
	t.Helper()
	if _, err := s.Command(t.Context(), append([]string{"queue", "set", queue, "--tenant", "acme"}, flags...)...); err != nil {
		t.Fatal(err)
	}
}

// view is a recording as the API shows it.
type view struct {
	ID            string
	Capture       string
	CaptureReason string
	DurationMs    int
	ComposeLagMs  int
	SizeBytes     float64
	Width, Height int
	HasGaps       bool
	Gaps          []gap
	Tracks        []track
	ViewURL       string
	Failure       *struct{ Code, Message string }
}

type gap struct {
	Kind, Track, Detail string
	FromMs, ToMs        int
	Packets             int
}

type track struct {
	Kind, State, Codec string
	Stats              struct {
		Packets, Lost, Duplicates, Reordered, DroppedForeign, DroppedMalformed, Keyframes, KeyframesAsked float64
	}
}

func (v view) track(kind string) track {
	for _, t := range v.Tracks {
		if t.Kind == kind {
			return t
		}
	}
	return track{}
}

const viewFields = `id capture captureReason durationMs composeLagMs sizeBytes width height hasGaps viewUrl failure { code message }
	gaps { kind track fromMs toMs packets detail }
	tracks { kind state codec stats { packets lost duplicates reordered droppedForeign droppedMalformed keyframes keyframesAsked } }`

// look asks for a recording.
func (s *site) look(ctx context.Context, id string) (view, error) {
	var out struct{ Recording *view }
	err := s.MustQuery(ctx, s.admin, `query($id: ID!) { recording(id: $id) { `+viewFields+` } }`, map[string]any{"id": id}, &out)
	if err == nil && out.Recording == nil {
		err = fmt.Errorf("there is no recording %s", id)
	}
	if err != nil {
		return view{}, err
	}
	return *out.Recording, nil
}

var ended = []string{"AVAILABLE", "PARTIAL", "FAILED", "ABORTED"}

// await waits until a recording is in one of the states. Another state in which nothing more happens ends the test.
func (s *site) await(t *testing.T, id string, states ...string) view {
	t.Helper()
	var v view
	eventually(t, 6*time.Minute, "recording "+id+" is "+strings.Join(states, " or "), func() bool {
		var err error
		if v, err = s.look(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(ended, v.Capture) && !slices.Contains(states, v.Capture) {
			t.Fatalf("recording %s is %s (%s, %+v), want %v", id, v.Capture, v.CaptureReason, v.Failure, states)
		}
		return slices.Contains(states, v.Capture)
	})
	return v
}

// fetch downloads the video of a recording through a signed URL.
func (s *site) fetch(t *testing.T, id string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "call.mp4")
	api := player.API{Endpoint: s.URL + "/graphql", Key: s.reviewer}
	url, err := api.Grant(t.Context(), id)
	if err == nil {
		_, err = api.Download(t.Context(), url, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// eventually asks ten times a second until it is so.
func eventually(t *testing.T, limit time.Duration, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !so() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("waiting until %s: %v", what, t.Context().Err())
		case <-deadline:
			t.Fatalf("after %v still not true: %s", limit, what)
		}
	}
}

// captures are read once.
var captures sync.Map // name → func() (*player.Call, error)

func capture(t *testing.T, name string, sources ...string) *player.Call {
	t.Helper()
	load, _ := captures.LoadOrStore(name, sync.OnceValues(func() (*player.Call, error) {
		root, err := harness.Root()
		if err != nil {
			return nil, err
		}
		return player.Load(filepath.Join(root, "testdata", "media", name))
	}))
	c, err := load.(func() (*player.Call, error))()
	if err == nil && len(sources) > 0 {
		c, err = c.Select(sources...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// call is one call that a test plays step by step.
type call struct {
	t       *testing.T
	site    *site
	media   *player.Call
	api     player.API
	started player.Started
	senders []*player.Sender
	suite   string        // of SRTP; empty: plain
	late    time.Duration // how much the player fell behind, on a busy machine
}

var callNumber atomic.Int64

// nextCall is a name for a call that no other has.
func nextCall() string { return fmt.Sprintf("call-%d", callNumber.Add(1)) }

// startCall starts a recording for a capture and attaches its tracks. in is completed.
func (s *site) startCall(t *testing.T, media *player.Call, in player.StartInput) *call {
	t.Helper()
	c := s.openCall(t, media, in)
	for i, track := range media.Tracks {
		c.attach(track, c.senders[i])
	}
	return c
}

// openCall starts a recording for a capture, with a sender for each of its tracks, and attaches none.
func (s *site) openCall(t *testing.T, media *player.Call, in player.StartInput) *call {
	t.Helper()
	c := &call{t: t, site: s, media: media, suite: in.SRTPCryptoSuite, api: player.API{Endpoint: s.URL + "/graphql", Key: s.service}}
	t.Cleanup(c.close)
	if in.ExternalSessionID == "" {
		in.ExternalSessionID = nextCall()
	}
	if in.Queue == "" {
		in.Queue = "sales"
	}
	in.Agent = "agent-17"
	if len(in.Tracks) == 0 {
		for _, t := range media.Tracks {
			if !slices.Contains(in.Tracks, t.Kind()) {
				in.Tracks = append(in.Tracks, t.Kind())
			}
		}
	}
	var err error
	if c.started, err = c.api.Start(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for _, track := range media.Tracks {
		c.senders = append(c.senders, c.sender(track.Kind()))
	}
	return c
}

func (c *call) ingest(kind string) player.Ingest {
	c.t.Helper()
	for _, t := range c.started.Tracks {
		if t.Kind == kind && t.Ingest != nil {
			return *t.Ingest
		}
	}
	c.t.Fatalf("the recording has no ingest address for %s", kind)
	return player.Ingest{}
}

// sender makes a pair of sockets that is connected to the address of a track.
func (c *call) sender(kind string) *player.Sender {
	c.t.Helper()
	s, err := player.NewSender("127.0.0.1", false)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = s.Close() })
	to := c.ingest(kind)
	if err := s.Connect(to.IP, to.RTPPort, to.RTCPPort); err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *call) attach(track player.Track, s *player.Sender) {
	c.t.Helper()
	if err := c.tryAttach(track, s); err != nil {
		c.t.Fatal(err)
	}
}

// tryAttach may be called from any goroutine.
func (c *call) tryAttach(track player.Track, s *player.Sender) error {
	rtp, rtcp := s.Ports()
	from := player.Source{IP: "127.0.0.1", RTPPort: rtp, RTCPPort: rtcp}
	if c.suite == "" {
		return c.api.Attach(c.t.Context(), c.started.ID, track.Kind(), track.RTPParameters, from)
	}
	random := make([]byte, 64)
	_, _ = rand.Read(random) // it never fails
	ours, err := player.NewSRTPParameters(c.suite, random)
	if err != nil {
		return err
	}
	for _, t := range c.started.Tracks {
		if t.Kind != track.Kind() {
			continue
		}
		if t.Ingest == nil || t.Ingest.SRTPParameters == nil {
			return fmt.Errorf("the ingest address of %s has no srtpParameters", t.Kind)
		}
		if err := s.Secure(ours, *t.Ingest.SRTPParameters); err != nil {
			return err
		}
	}
	return c.api.AttachSecure(c.t.Context(), c.started.ID, track.Kind(), track.RTPParameters, from, &ours)
}

// during is something to do at an instant of the call, while it goes on.
type during struct {
	at time.Duration
	do func() error
}

// play plays the capture in real time up to d and returns when everything that was to be done meanwhile is done.
func (c *call) play(d time.Duration, what ...during) {
	c.t.Helper()
	c.playWith(d, func(s player.Scheduled) { c.senders[s.Track].Send(s.Packet) }, what...)
}

func (c *call) playWith(d time.Duration, send func(player.Scheduled), what ...during) {
	c.t.Helper()
	timeline, err := player.Timeline(c.media, d, d > player.Period(c.media))
	if err != nil {
		c.t.Fatal(err)
	}
	c.playTimeline(timeline, send, what...)
}

func (c *call) playTimeline(timeline iter.Seq[player.Scheduled], send func(player.Scheduled), what ...during) {
	c.t.Helper()
	var err error
	var wg sync.WaitGroup
	errs := make(chan error, len(what))
	c.late, err = player.Play(c.t.Context(), timeline, 1, func(s player.Scheduled) error {
		for len(what) > 0 && s.At >= what[0].at {
			do := what[0].do
			what = what[1:]
			wg.Go(func() { errs <- do() })
		}
		send(s)
		return nil
	})
	wg.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	if err == nil && len(what) > 0 {
		err = fmt.Errorf("the call is over before %v", what[0].at)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *call) stop() {
	c.t.Helper()
	if err := c.api.Stop(c.t.Context(), c.started.ID); err != nil {
		c.t.Fatal(err)
	}
}

// finish stops the call and waits for its video.
func (c *call) finish() (view, string) {
	c.t.Helper()
	c.stop()
	v := c.site.await(c.t, c.started.ID, "AVAILABLE")
	return v, c.site.fetch(c.t, c.started.ID)
}

// close leaves no recording open behind a test that failed.
func (c *call) close() {
	if c.started.ID == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = c.api.Stop(ctx, c.started.ID) // the server may be gone by now
}

// payload is what every mutation answers.
type payload struct {
	UserErrors player.UserErrors
	Recording  *view
	Track      *struct{ ID, State string }
	Grant      *struct{ VideoURL, WaveformURL, ExpiresAt, RefreshAfter string }
	Bookmark   *struct{ ID string }
	Comment    *struct{ ID string }
}

var selections = map[string]string{
	"startRecording": "recording { id }", "attachTrack": "track { id state }", "detachTrack": "track { id state }",
	"pauseRecording": "recording { id capture }", "resumeRecording": "recording { id capture }", "stopRecording": "recording { id capture }", "setLayout": "recording { id }",
	"grantPlayback":  "grant { videoUrl waveformUrl expiresAt refreshAfter }",
	"createBookmark": "bookmark { id }", "addComment": "comment { id }",
}

// mutate runs one mutation.
func (s *site) mutate(ctx context.Context, bearer, name string, input map[string]any) (payload, []harness.GraphQLError, error) {
	var out struct{ Payload payload }
	query := fmt.Sprintf("mutation($input: %s%sInput!) { payload: %s(input: $input) { %s userErrors { field message code } } }",
		strings.ToUpper(name[:1]), name[1:], name, selections[name])
	top, err := s.Query(ctx, bearer, query, map[string]any{"input": input}, &out)
	return out.Payload, top, err
}

// must runs a mutation that has to succeed.
func (s *site) must(t *testing.T, bearer, name string, input map[string]any) payload {
	t.Helper()
	p, err := s.do(t.Context(), bearer, name, input)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *site) do(ctx context.Context, bearer, name string, input map[string]any) (payload, error) {
	p, top, err := s.mutate(ctx, bearer, name, input)
	switch {
	case err != nil:
	case len(top) > 0:
		err = fmt.Errorf("%s: %s (%v)", name, top[0].Message, top[0].Extensions)
	case len(p.UserErrors) > 0:
		err = fmt.Errorf("%s: %w", name, p.UserErrors)
	}
	return p, err
}
