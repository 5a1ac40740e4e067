package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/harness"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// sdkFolder is the mediasoup SDK, compiled with its tests.
var sdkFolder = sync.OnceValues(func() (string, error) {
	root, err := harness.Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "sdk", "mediasoup")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	steps := [][]string{{"run", "--silent", "build"}, {"run", "--silent", "compile"}}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "typescript")); err != nil {
		steps = append([][]string{{"ci", "--no-audit", "--no-fund", "--loglevel=error"}}, steps...)
	}
	for _, args := range steps {
		cmd := exec.CommandContext(ctx, "npm", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("npm %v in %s: %w: %s", args, dir, err, out)
		}
	}
	return dir, nil
})

// sdkReport is what sdk/mediasoup/test/live.ts prints.
type sdkReport struct {
	RecordingID string
	Capture     string
	PlayedMs    int
	Tracks      []struct {
		Track, ProducerID string
		Forwarding        bool
	}
	Events []struct {
		Type, Track, Reason string
		Error               json.RawMessage
	}
}

// TestSDK: the package that SFU authors install records a call through the real program: start, a webcam that goes off, a
// share that is restarted, a customer who joins, a repeated attachment, a card number, stop.
func TestSDK(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	dir, err := sdkFolder()
	if err != nil {
		t.Fatal(err)
	}
	s.set(t, "sdk", "--resolution", "FIT_1080P")
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join("build", "test", "live.js"), nextCall())
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DUALREC_URL="+s.URL+"/graphql", "DUALREC_API_KEY="+s.service)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("live.js: %v: %s", err, out)
	}
	var r sdkReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("live.js printed %.200q: %v", out, err)
	}
	for _, e := range r.Events {
		if e.Type != "attached" && (e.Type != "detached" || e.Track != "webcam" || e.Reason != "producerclose") {
			t.Errorf("event %+v, error %s", e, e.Error)
		}
	}
	for _, track := range r.Tracks {
		if want := track.Track != "webcam"; track.Forwarding != want {
			t.Errorf("%s is forwarded: %v, want %v", track.Track, track.Forwarding, want)
		}
	}
	if r.Capture != "RECORDING" {
		t.Errorf("before stop the recording is %s", r.Capture)
	}

	v := s.await(t, r.RecordingID, "AVAILABLE")
	if v.DurationMs < 6000 { // what it waits for in between, less a margin: a busy machine only makes it longer
		t.Errorf("recorded %d ms of %d", v.DurationMs, r.PlayedMs)
	}
	for kind, least := range map[string]float64{"SCREEN": 300, "WEBCAM": 50, "AGENT_AUDIO": 200, "CUSTOMER_AUDIO": 100} {
		if track := v.track(kind); track.Stats.Packets < least || track.Stats.DroppedMalformed > 0 {
			t.Errorf("%s: %+v", kind, track.Stats)
		}
	}
	paused, joined := 0, false
	for _, g := range v.Gaps {
		if g.Kind == "PAUSED" && g.Detail == "PAYMENT" && g.ToMs-g.FromMs >= 600 {
			paused++
		}
		joined = joined || g.Kind == "MISSING" && g.Track == "CUSTOMER_AUDIO" && g.FromMs == 0
	}
	if paused == 0 || !joined {
		t.Errorf("the ledger has %d pauses and a customer who joins: %v: %+v", paused, joined, v.Gaps)
	}
	file := s.fetch(t, r.RecordingID)
	p, err := mediacheck.File(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if err := mediacheck.Decodes(t.Context(), file); err != nil {
		t.Error(err)
	}
	if math.Abs(float64(p.DurationMs-v.DurationMs)) > 100 {
		t.Errorf("the file is %d ms, the recording %d ms", p.DurationMs, v.DurationMs)
	}
}
