package integration_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// journals is the size of what a recording's tracks have on the disk.
func (s *site) journals(id string) (int64, error) {
	found, err := filepath.Glob(filepath.Join(s.Data, "spool", id, "*.journal"))
	if err != nil {
		return 0, err
	}
	var total int64
	tracks := 0
	for _, path := range found {
		if strings.HasPrefix(filepath.Base(path), "events") {
			continue
		}
		st, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		total += st.Size()
		tracks++
	}
	if tracks == 0 {
		return 0, fmt.Errorf("recording %s has no journals of tracks in the spool", id)
	}
	return total, nil
}

// TestPause: what is said and shown during a pause reaches neither the disk nor the file, which shows a neutral card of
// equal length.
func TestPause(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	s.set(t, "payments", "--resolution", "FIT_1080P")
	c := s.startCall(t, capture(t, "chrome-vp8"), player.StartInput{Queue: "payments"})
	var early, late int64
	var began time.Time
	var pausedAt, resumedAt time.Duration
	size := func(to *int64) func() error {
		return func() (err error) { *to, err = s.journals(c.started.ID); return err }
	}
	command := func(name string, in input, at *time.Duration) func() error {
		return func() error {
			in["recordingId"] = c.started.ID
			p, err := s.do(t.Context(), s.service, name, in)
			*at = time.Since(began)
			if err == nil && name == "pauseRecording" && p.Recording.Capture != "PAUSED" {
				err = fmt.Errorf("after the pause the recording is %s", p.Recording.Capture)
			}
			return err
		}
	}
	began = time.Now()
	c.play(12*time.Second,
		during{6500 * time.Millisecond, command("pauseRecording", input{"reason": "PAYMENT"}, &pausedAt)},
		during{8 * time.Second, size(&early)}, // what came before is flushed within a second
		during{9400 * time.Millisecond, size(&late)},
		during{9600 * time.Millisecond, command("resumeRecording", input{}, &resumedAt)})
	v, path := c.finish()
	if early != late || early == 0 {
		t.Errorf("the journals grew from %d to %d bytes during the pause", early, late)
	}
	checkDuration(t, v.DurationMs, 12*time.Second, c.late)
	checkPauseGap(t, v, pausedAt, resumedAt)
	checkCard(t, path, pausedAt, resumedAt)
	likeSource(t, path, c.media, "SCREEN", screenFit, 30, 1000, 5500, 10500, 11500)
	likeSource(t, path, c.media, "WEBCAM", webcamFit, 30, 1000, 5500, 10500, 11500)
	still(t, path, 30*8, "paused.png")
}

func checkPauseGap(t *testing.T, v view, from, to time.Duration) {
	t.Helper()
	n := 0
	for _, g := range v.Gaps {
		if g.Kind != "PAUSED" {
			continue
		}
		n++
		if math.Abs(float64(g.FromMs)-float64(from.Milliseconds())) > 400 || math.Abs(float64(g.ToMs)-float64(to.Milliseconds())) > 400 {
			t.Errorf("the pause was from %v to %v, the gap says %+v", from, to, g)
		}
	}
	if n == 0 {
		t.Errorf("no gap of kind PAUSED in %+v", v.Gaps)
	}
}

// checkCard: from a little after the pause to a little before its end both regions are one unmoving picture that is not the
// last one before, and there is silence.
func checkCard(t *testing.T, path string, pausedAt, resumedAt time.Duration) {
	t.Helper()
	from, to := pausedAt+300*time.Millisecond, resumedAt-300*time.Millisecond
	first, last := int(from.Seconds()*30), int(to.Seconds()*30)
	lumas, err := mediacheck.Lumas(t.Context(), path, screenFit, webcamFit)
	if err != nil {
		t.Fatal(err)
	}
	for i, region := range []mediacheck.Rect{screenFit, webcamFit} {
		if v := mediacheck.Variance(lumas[i][first:last]); v > 0.5 {
			t.Errorf("region %+v moves during the pause: variance %.2f", region, v)
		}
		before, err := mediacheck.Grey(t.Context(), path, 30*6, 30, region)
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range []int{first, (first + last) / 2, last} {
			card, err := mediacheck.Grey(t.Context(), path, frame, 30, region)
			if err != nil {
				t.Fatal(err)
			}
			if d := mediacheck.Distance(card, before, region.W); d < 3 {
				t.Errorf("frame %d of the pause looks like the call before: they differ by %.1f", frame, d)
			}
		}
	}
	sound, err := mediacheck.Sound(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	loudest := 0.0
	for _, v := range sound[int(from.Seconds()*48000):int(to.Seconds()*48000)] {
		loudest = max(loudest, math.Abs(v))
	}
	if loudest > 0.002 {
		t.Errorf("a sample of %.4f during the pause", loudest)
	}
	if beeps := mediacheck.Beeps(sound); len(beeps) != 5 {
		t.Errorf("beeps at %.2f s, want those of 2, 4, 6, 10 and 12 s", beeps)
	}
}
