package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

const natsToken = "integration-nats-token"

// pair is an API and a recorder, two processes that share a database, keys, objects and a NATS.
type pair struct {
	*site    // the API
	recorder *harness.Server
	nats     string
}

func newPair(t *testing.T, database string) *pair {
	t.Helper()
	port, err := harness.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{nats: fmt.Sprintf("127.0.0.1:%d", port)}
	env := []string{"DUALREC_NATS_TOKEN=" + natsToken}
	data := filepath.Join(t.TempDir(), "api")
	if database == "" {
		database = "sqlite:" + filepath.Join(data, "dualrec.db")
	}
	p.site = newSite(t, harness.Options{Data: data, Database: database, Env: env,
		Args: []string{"--role", "api", "--nats-listen", p.nats, "--metrics-token", metricsToken, "--ffmpeg", "/nonexistent"}})
	p.recorder, err = harness.New(harness.Options{Bin: program, Data: filepath.Join(t.TempDir(), "recorder"), Database: database, Env: env,
		Args: []string{"--role", "recorder", "--node", "recorder-1", "--nats", "nats://" + p.nats, "--keys", filepath.Join(data, "keys"),
			"--objects", filepath.Join(data, "objects"), "--metrics-token", metricsToken}})
	if err != nil {
		t.Fatal(err)
	}
	p.start(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := p.recorder.Stop(ctx); err != nil {
			t.Errorf("the recorder did not end well: %v", err)
		}
		if t.Failed() {
			log := p.recorder.Log.String()
			t.Logf("the recorder's log ends with:\n%s", log[max(0, len(log)-8000):])
		}
	})
	return p
}

// start starts the recorder and waits until the API knows it.
func (p *pair) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.recorder.Start(ctx); err != nil {
		t.Fatal(err)
	}
	p.knows(t, 1)
}

func (p *pair) knows(t *testing.T, nodes int) {
	t.Helper()
	want := fmt.Sprintf("\ndualrec_recorder_nodes %d\n", nodes)
	eventually(t, time.Minute, "the API knows so many recorders: "+want, func() bool {
		a := get(t, http.MethodGet, p.URL+"/metrics", "Authorization", "Bearer "+metricsToken)
		return a.status == http.StatusOK && strings.Contains(string(a.body), want)
	})
}

// TestSeparateRecorder: the API's process places a call on the recorder's, shows and commands it while it lives, and plays
// it from the store that both share.
func TestSeparateRecorder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db, err := harness.StartPostgres(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	p := newPair(t, db.URL)
	p.set(t, "apart", "--resolution", "FIT_1080P")
	floor := p.watch(t, p.admin, floorQuery, input{})
	rival := p.watch(t, p.rival, floorQuery, input{})
	eventually(t, 20*time.Second, "both floors have a snapshot", func() bool {
		a, _ := floor.seen()
		b, _ := rival.seen()
		return len(a) > 0 && len(b) > 0
	})
	in := player.StartInput{ExternalSessionID: nextCall(), Queue: "apart"}
	c := p.startCall(t, capture(t, "chrome-vp8"), in)
	id := c.started.ID
	c.play(8*time.Second,
		during{2 * time.Second, func() error { return p.livesElsewhere(t, id) }},
		during{3 * time.Second, func() error { return p.act(t.Context(), "pauseRecording", input{"recordingId": id, "reason": "HOLD"}) }},
		during{4 * time.Second, func() error { return p.act(t.Context(), "resumeRecording", input{"recordingId": id}) }},
		during{5 * time.Second, func() error { return p.othersMayNot(t.Context(), id) }},
		during{5500 * time.Millisecond, func() error {
			return p.act(t.Context(), "setLayout", input{"recordingId": id, "layout": "SIDE_BY_SIDE"})
		}},
		during{6 * time.Second, func() error { return startsNoOther(t.Context(), c, in) }})
	v, path := c.finish()
	checkDuration(t, v.DurationMs, 8*time.Second, c.late)
	checkSkew(t, path, screenFit, webcamFit, 3)
	if err := mediacheck.Decodes(t.Context(), path); err != nil {
		t.Error(err)
	}
	eventually(t, 20*time.Second, "the floor has told the call's end", func() bool { return inOrder(floor.captures(id), "RECORDING", "removed") })
	if got := floor.captures(id); !inOrder(got, "RECORDING", "PAUSED", "RECORDING", "removed") {
		t.Errorf("the floor told %v", got)
	}
	if events, err := rival.seen(); err != "" || strings.Contains(fmt.Sprintf("%+v", events), id) {
		t.Errorf("another tenant's floor shows the call, or ended: %s", err)
	}
	if n := p.movies(t, id); n != 1 {
		t.Errorf("%d videos in the shared store", n)
	}
	p.apart(t)
}

// startsNoOther: a session that is started again has the recording that it has.
func startsNoOther(ctx context.Context, c *call, in player.StartInput) error {
	in.Agent, in.Tracks = "agent-17", []string{"AGENT_AUDIO"}
	same, err := c.api.Start(ctx, in)
	if err == nil && same.ID != c.started.ID {
		err = fmt.Errorf("the same session again: %s, want %s", same.ID, c.started.ID)
	}
	return err
}

// livesElsewhere: the API shows statistics that only the recorder has, and both processes count the call.
func (p *pair) livesElsewhere(t *testing.T, id string) error {
	eventually(t, 20*time.Second, "the API shows live statistics", func() bool {
		v, err := p.look(t.Context(), id)
		return err == nil && v.Capture == "RECORDING" && v.track("SCREEN").State == "ACTIVE" && v.track("SCREEN").Stats.Packets > 0 && v.track("WEBCAM").Stats.Packets > 0
	})
	for name, url := range map[string]string{"API": p.URL, "recorder": p.recorder.URL} {
		if a := get(t, http.MethodGet, url+"/metrics", "Authorization", "Bearer "+metricsToken); !strings.Contains(string(a.body), "\ndualrec_live_recordings 1\n") {
			return fmt.Errorf("the %s does not count the call: status %d", name, a.status)
		}
	}
	return nil
}

// othersMayNot: a tenant commands nothing of another's, whichever process would carry it out.
func (p *pair) othersMayNot(ctx context.Context, id string) error {
	for _, c := range []struct {
		name string
		in   input
	}{{"pauseRecording", input{"recordingId": id, "reason": "HOLD"}}, {"stopRecording", input{"recordingId": id}}} {
		got, top, err := p.mutate(ctx, p.rival, c.name, c.in)
		if err != nil || len(top) > 0 || len(got.UserErrors) != 1 || got.UserErrors[0].Code != "NOT_FOUND" {
			return fmt.Errorf("another tenant's %s: %+v, %v, %w", c.name, got.UserErrors, top, err)
		}
	}
	return nil
}

// apart: each process serves its own part alone, and the bus nobody without the token.
func (p *pair) apart(t *testing.T) {
	t.Helper()
	for url, want := range map[string]int{p.recorder.URL + "/graphql": 404, p.recorder.URL + "/media/v1/x/video.mp4": 404, p.recorder.URL + "/": 404,
		p.recorder.URL + "/healthz": 200, p.recorder.URL + "/readyz": 200, p.recorder.URL + "/metrics": 401, p.URL + "/graphql?query={__typename}": 401} {
		if a := get(t, http.MethodGet, url); a.status != want {
			t.Errorf("%s: status %d, want %d", url, a.status, want)
		}
	}
	for _, dir := range []string{"spool", "node"} {
		if _, err := os.Stat(filepath.Join(p.Data, dir)); err == nil {
			t.Errorf("the API's folder has %s", dir)
		}
	}
	for _, opts := range [][]nats.Option{nil, {nats.Token("a-wrong-token-of-the-bus")}} {
		if nc, err := nats.Connect("nats://"+p.nats, opts...); err == nil {
			nc.Close()
			t.Errorf("the bus lets in a client with %d credentials", len(opts))
		}
	}
	stranger, err := harness.New(harness.Options{Bin: program, Data: filepath.Join(t.TempDir(), "stranger"), Database: p.Database,
		Env: []string{"DUALREC_NATS_TOKEN=a-wrong-token-of-the-bus"}, Args: []string{"--role", "recorder", "--nats", "nats://" + p.nats,
			"--keys", filepath.Join(p.Data, "keys"), "--objects", filepath.Join(p.Data, "objects")}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := stranger.Start(ctx); err == nil || !strings.Contains(stranger.Log.String(), "Authorization Violation") {
		t.Errorf("a recorder with a wrong token: %v", err)
		stranger.Kill()
	}
	twin, err := harness.New(harness.Options{Bin: program, Data: filepath.Join(t.TempDir(), "twin"), Database: p.Database, Env: []string{"DUALREC_NATS_TOKEN=" + natsToken},
		Args: []string{"--role", "recorder", "--node", "recorder-1", "--nats", "nats://" + p.nats, "--keys", filepath.Join(p.Data, "keys"), "--objects", filepath.Join(p.Data, "objects")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := twin.Start(ctx); err == nil || !strings.Contains(twin.Log.String(), "--node") {
		t.Errorf("a second recorder of the same name: %v", err)
		twin.Kill()
	}
}

// TestSeparateRecorderDies: on a shared SQLite file. Without its recorder the API refuses commands at once and keeps
// answering; with it, the same call can be commanded and others are recorded, also across an end of the API.
func TestSeparateRecorderDies(t *testing.T) {
	t.Parallel()
	p := newPair(t, "")
	c := p.startCall(t, capture(t, "chrome-vp8", "mic"), player.StartInput{Queue: "sales", Layout: "AUDIO_ONLY"})
	c.play(3 * time.Second)
	p.recorder.Kill()
	for name, in := range map[string]input{"pauseRecording": {"recordingId": c.started.ID, "reason": "HOLD"}, "stopRecording": {"recordingId": c.started.ID},
		"startRecording": {"externalSessionId": nextCall(), "queue": "sales", "agent": "agent-17", "tracks": []string{"AGENT_AUDIO"}}} {
		got, top, err := p.mutate(t.Context(), p.service, name, in)
		if err != nil || len(top) > 0 || len(got.UserErrors) != 1 || got.UserErrors[0].Code != "UNAVAILABLE" {
			t.Errorf("%s without a recorder: %+v, %v, %v", name, got.UserErrors, top, err)
			continue
		}
		if text := got.UserErrors[0].Message; !strings.Contains(text, "is not there") && !strings.Contains(text, "no recorder is there") {
			t.Errorf("%s waited for an answer: %s", name, text)
		}
	}
	if v, err := p.look(t.Context(), c.started.ID); err != nil || v.ID != c.started.ID {
		t.Errorf("the API does not answer without its recorder: %v", err)
	}
	p.knows(t, 0)
	p.start(t)
	again := p.startCall(t, capture(t, "chrome-vp8", "mic"), player.StartInput{Queue: "sales", Layout: "AUDIO_ONLY"})
	again.play(2*time.Second, during{time.Second, func() error { p.site.Kill(); return nil }}) // the API dies, and the call goes on
	p.again(t)
	p.knows(t, 1)
	v, path := again.finish()
	if v.DurationMs < 1900 {
		t.Errorf("of 2 s, the API gone in between, %d ms are there", v.DurationMs)
	}
	if err := mediacheck.Decodes(t.Context(), path); err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, "the first call can be commanded again", func() bool {
		return p.act(t.Context(), "pauseRecording", input{"recordingId": c.started.ID, "reason": "HOLD"}) == nil
	})
	c.stop()
	if v := p.await(t, c.started.ID, "AVAILABLE"); v.DurationMs < 1900 {
		t.Errorf("of 3 s before the end %d ms are there", v.DurationMs)
	}
	p.fetch(t, c.started.ID)
}
