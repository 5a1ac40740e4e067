package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// TestLayouts: what a queue is set to is what its recordings look like.
func TestLayouts(t *testing.T) {
	t.Parallel()
	full := mediacheck.Rect{W: 1920, H: 1080}
	for _, c := range []struct {
		queue          string
		flags          []string
		width          int
		screen, webcam mediacheck.Rect // zero: not shown
		strip          mediacheck.Rect
		dark           []mediacheck.Rect // where the ground must show
	}{
		{queue: "fit", flags: []string{"--resolution", "FIT_1080P"}, width: 1920, screen: screenFit, webcam: webcamFit,
			dark: []mediacheck.Rect{{W: 1920, H: 210}, {Y: 870, W: 1920, H: 210}, {X: 1160, Y: 220, W: 750, H: 98}}},
		{queue: "pip", flags: []string{"--layout", "PICTURE_IN_PICTURE"}, width: 1920, screen: full, webcam: mediacheck.Rect{X: 1416, Y: 786, W: 480, H: 270}},
		{queue: "screen", flags: []string{"--layout", "SCREEN_ONLY"}, width: 1920, screen: full},
		{queue: "waveform", flags: []string{"--waveform"}, width: 3200, screen: mediacheck.Rect{X: 106, Y: 0, W: 1706, H: 960},
			webcam: mediacheck.Rect{X: 1920, Y: 120, W: 1280, H: 720}, strip: mediacheck.Rect{Y: 960, W: 3200, H: 120},
			dark: []mediacheck.Rect{{W: 100, H: 950}, {X: 1930, W: 1260, H: 114}}},
	} {
		t.Run(c.queue, func(t *testing.T) {
			t.Parallel()
			s := theSite(t)
			s.set(t, c.queue, c.flags...)
			call := s.startCall(t, capture(t, "chrome-vp8"), player.StartInput{Queue: c.queue})
			call.play(6 * time.Second)
			v, path := call.finish()
			p, err := mediacheck.File(t.Context(), path)
			if err != nil || p.Width != c.width || p.Height != 1080 || v.Width != c.width || p.FPS != 30 {
				t.Errorf("%+v, the API says %dx%d, error %v", p, v.Width, v.Height, err)
			}
			checkDuration(t, p.DurationMs, 6*time.Second, call.late)
			likeSource(t, path, call.media, "SCREEN", c.screen, 30, 1000, 5400)
			if c.webcam.W > 0 {
				likeSource(t, path, call.media, "WEBCAM", c.webcam, 30, 1000, 5400)
			}
			checkDark(t, path, c.dark)
			checkStrip(t, path, c.strip)
			still(t, path, 165, "layout-"+c.queue+".png")
		})
	}
}

// still keeps one frame for people to look at, if DUALREC_STILLS names a folder.
func still(t *testing.T, path string, frame int, name string) {
	t.Helper()
	if dir := os.Getenv("DUALREC_STILLS"); dir != "" {
		if err := mediacheck.Still(t.Context(), path, frame, 30, filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func checkDark(t *testing.T, path string, rects []mediacheck.Rect) {
	t.Helper()
	for _, r := range rects {
		grey, err := mediacheck.Grey(t.Context(), path, 60, 30, r)
		if err != nil {
			t.Fatal(err)
		}
		if mean := mediacheck.Mean(grey); mean > 45 || mediacheck.Variance(grey) > 20 {
			t.Errorf("%+v is not an even dark ground: mean %.0f, variance %.1f", r, mean, mediacheck.Variance(grey))
		}
	}
}

// checkStrip: the strip shows the sound. Within a beep (the second is at 3.8 s of recording time) it is full, between beeps
// nearly empty.
func checkStrip(t *testing.T, path string, strip mediacheck.Rect) {
	t.Helper()
	if strip.W == 0 {
		return
	}
	lumas, err := mediacheck.Lumas(t.Context(), path, strip)
	if err != nil {
		t.Fatal(err)
	}
	least, most := lumas[0][0], lumas[0][0]
	for _, v := range lumas[0] {
		least, most = min(least, v), max(most, v)
	}
	grey, err := mediacheck.Grey(t.Context(), path, 118, 30, strip)
	if err != nil {
		t.Fatal(err)
	}
	if most-least < 2 || mediacheck.Variance(grey) < 50 {
		t.Errorf("the strip's mean goes from %.1f to %.1f, its variance in a beep is %.1f: it does not show the sound", least, most, mediacheck.Variance(grey))
	}
}

// TestAudioOnly: pictures are neither composed nor stored. FFmpeg is a script that notes how it was called.
func TestAudioOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	notes, script := filepath.Join(dir, "calls"), filepath.Join(dir, "ffmpeg")
	body := fmt.Sprintf("#!/bin/sh\necho \"$*\" >> '%s'\nexec ffmpeg \"$@\"\n", notes)
	if err := os.WriteFile(script, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, harness.Options{Args: []string{"--ffmpeg", script}})
	s.set(t, "voice", "--layout", "AUDIO_ONLY")
	called := func() string {
		raw, err := os.ReadFile(notes)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	probes := called() // the server looks at its FFmpeg when it starts
	call := s.startCall(t, capture(t, "chrome-vp8"), player.StartInput{Queue: "voice"})
	call.play(8 * time.Second)
	v, path := call.finish()
	during := strings.TrimPrefix(called(), probes)
	if strings.Contains(during, "264") || strings.Contains(during, "rawvideo") || !strings.Contains(during, "aac") {
		t.Errorf("FFmpeg was called with\n%s", during)
	}
	p, err := mediacheck.File(t.Context(), path)
	if err != nil || p.VideoCodec != "" || p.AudioCodec != "aac" {
		t.Errorf("%+v, error %v", p, err)
	}
	checkDuration(t, p.DurationMs, 8*time.Second, call.late)
	sound, err := mediacheck.Sound(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if beeps := mediacheck.Beeps(sound); len(beeps) != 4 {
		t.Errorf("beeps at %.2f s, want 4", beeps)
	}
	dual := wholeCall(t, "chrome-vp8")
	voice, both := v.SizeBytes/float64(v.DurationMs), float64(dual.Bytes)/float64(dual.DurationMs)
	if voice > both/5 {
		t.Errorf("%.1f kbit/s are more than a fifth of the dual recording's %.1f", 8*voice, 8*both)
	}
}
