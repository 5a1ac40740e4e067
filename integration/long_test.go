package integration_test

import (
	"context"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// TestTenMinutes plays a captured call over and over, with time going on. The video is there soon after the call, because
// composing follows it; its rate is bounded; and the last marker is as much in time as the first.
func TestTenMinutes(t *testing.T) {
	if !long {
		t.Skip("ten minutes: set DUALREC_LONG=1, or run make test-long")
	}
	t.Parallel()
	const length = 10 * time.Minute
	s, media := theSite(t), capture(t, "chrome-vp8")
	ctx, cancel := context.WithTimeout(t.Context(), length+5*time.Minute)
	defer cancel()
	out := filepath.Join(t.TempDir(), "call.mp4")
	res, err := player.Run(ctx, player.Config{Endpoint: s.URL + "/graphql", APIKey: s.service, PlaybackKey: s.reviewer, Call: media,
		ExternalID: nextCall(), Queue: "sales", Agent: "agent-17", Duration: length, Loop: true, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	rate := float64(res.Bytes) * 8 / float64(res.DurationMs)
	t.Logf("%d ms, %.0f kbit/s, the video was there %d ms after the call", res.DurationMs, rate, res.ReadyMs)
	if math.Abs(float64(res.DurationMs)-float64(length.Milliseconds())) > 100 {
		t.Errorf("%d ms, the call had %v", res.DurationMs, length)
	}
	if rate > 2500 {
		t.Errorf("%.0f kbit/s are more than 2500", rate)
	}
	if res.ReadyMs > 60_000 {
		t.Errorf("the video was there %d ms after the call", res.ReadyMs)
	}
	sound, err := mediacheck.Sound(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	beeps := len(mediacheck.Beeps(sound))
	if want := int(length / (2 * time.Second)); beeps < want-3 || beeps > want { // a pass is a little longer than its 15 markers
		t.Errorf("%d beeps, want %d", beeps, want)
	}
	checkSkew(t, out, screenLeft, webcamRight, beeps)
}
