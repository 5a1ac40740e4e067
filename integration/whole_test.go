package integration_test

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/mediacheck"
	"github.com/dualrec/dualrec/integration/reference"
)

// The regions of the default layout.
var (
	screenLeft  = mediacheck.Rect{X: 0, Y: 0, W: 1920, H: 1080}
	webcamRight = mediacheck.Rect{X: 1920, Y: 180, W: 1280, H: 720}
	// whiteBox is what flashes on the captured screen, with a margin.
	whiteBox = mediacheck.Rect{X: 810, Y: 450, W: 300, H: 180}
)

// whole is a captured call that was recorded from beginning to end, once for all tests that look at it.
type whole struct {
	player.Result
	media *player.Call
}

var wholes sync.Map // name of the capture → func() (whole, error)

func wholeCall(t *testing.T, name string) whole {
	t.Helper()
	s, media := theSite(t), capture(t, name)
	record, _ := wholes.LoadOrStore(name, sync.OnceValues(func() (whole, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 9*time.Minute)
		defer cancel()
		res, err := player.Run(ctx, player.Config{Endpoint: s.URL + "/graphql", APIKey: s.service, PlaybackKey: s.reviewer, Call: media,
			ExternalID: "whole-" + name, Queue: "sales", Agent: "agent-17", Out: filepath.Join(workDir, name+".mp4")})
		return whole{res, media}, err
	}))
	w, err := record.(func() (whole, error))()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestWholeCall: 30 s of a real browser, every promise that the file itself can prove.
func TestWholeCall(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"chrome-vp8", "chrome-h264"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := wholeCall(t, name)
			if w.Capture != "AVAILABLE" {
				t.Fatalf("the recording is %s", w.Capture)
			}
			t.Run("file", func(t *testing.T) { checkFile(t, w) })
			t.Run("skew", func(t *testing.T) { checkSkew(t, w.Out, screenLeft, webcamRight, 15) })
			t.Run("screen as sent", func(t *testing.T) {
				likeSource(t, w.Out, w.media, "SCREEN", screenLeft, 30, 1000, 10400, 14600, 25500)
			})
			t.Run("webcam as sent", func(t *testing.T) {
				likeSource(t, w.Out, w.media, "WEBCAM", webcamRight, 30, 1000, 10400, 18600, 25500)
			})
			t.Run("nothing lost", func(t *testing.T) { checkNothingLost(t, w) })
		})
	}
}

func checkFile(t *testing.T, w whole) {
	p, err := mediacheck.File(t.Context(), w.Out)
	if err != nil {
		t.Fatal(err)
	}
	played := player.Period(w.media)
	checkDuration(t, p.DurationMs, played, time.Duration(w.MaxLateMs*float64(time.Millisecond)))
	if math.Abs(float64(w.DurationMs)-float64(p.DurationMs)) > 40 {
		t.Errorf("%d ms in the file, %d ms in the API", p.DurationMs, w.DurationMs)
	}
	if (p.Profile != "High" && p.Profile != "Main") || p.VideoCodec != "h264" || p.PixFmt != "yuv420p" || p.Width != 3200 || p.Height != 1080 ||
		p.FPS != 30 || p.NominalFPS != 30 || p.VideoStart != 0 || p.ColorSpace != "bt709" || p.ColorRange != "tv" {
		t.Errorf("video: %+v", p)
	}
	if frames := int(math.Round(float64(p.DurationMs) * 30 / 1000)); p.VideoFrames < frames-1 || p.VideoFrames > frames+1 {
		t.Errorf("%d frames in %d ms", p.VideoFrames, p.DurationMs)
	}
	if p.AudioCodec != "aac" || p.AudioProfile != "LC" || p.AudioRate != 48000 || p.AudioChannels != 1 || p.AudioStart != 0 {
		t.Errorf("sound: %+v", p)
	}
	if fast, err := mediacheck.Faststart(w.Out); err != nil || !fast {
		t.Errorf("faststart %v, error %v", fast, err)
	}
}

// checkDuration allows 100 ms, and what the player was late on a busy machine: the call lasted that much longer.
func checkDuration(t *testing.T, ms int, played, late time.Duration) {
	t.Helper()
	if d := time.Duration(ms)*time.Millisecond - played; d < -100*time.Millisecond || d > 100*time.Millisecond+late {
		t.Errorf("the recording lasts %d ms, the call played %v and the player was %v late", ms, played, late)
	}
}

// checkSkew decodes everything (a complaint of the decoder fails) and pairs beeps with flashes in both pictures.
func checkSkew(t *testing.T, path string, screen, webcam mediacheck.Rect, markers int) {
	t.Helper()
	scale := float64(screen.W) / 1920
	scaled := func(v int) int { return int(float64(v)*scale) &^ 1 }
	box := mediacheck.Rect{X: screen.X + scaled(whiteBox.X), Y: screen.Y + scaled(whiteBox.Y), W: scaled(whiteBox.W), H: scaled(whiteBox.H)}
	lumas, err := mediacheck.Lumas(t.Context(), path, box, webcam)
	if err != nil {
		t.Fatal(err)
	}
	sound, err := mediacheck.Sound(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	beeps := mediacheck.Beeps(sound)
	if len(beeps) != markers {
		t.Errorf("%d beeps, want %d", len(beeps), markers)
	}
	for i, what := range []string{"screen", "webcam"} {
		flashes := mediacheck.Flashes(lumas[i], 30)
		skews, missing := mediacheck.Skews(flashes, beeps)
		t.Logf("%s: skews %.0f ms", what, skews)
		if missing > 0 || len(flashes) != markers {
			t.Errorf("%s: %d beeps without a flash, %d flashes, want %d", what, missing, len(flashes), markers)
		}
		for n, s := range skews {
			if math.Abs(s) > 80 {
				t.Errorf("%s: skew of marker %d is %.0f ms", what, n, s)
			}
		}
	}
}

// likeSource compares a region of a recording with the pictures that were sent, at instants of recording time. The one
// that is shown must be within three pictures of the one that is due.
func likeSource(t *testing.T, path string, media *player.Call, kind string, region mediacheck.Rect, fps float64, atMs ...int) {
	t.Helper()
	for _, ms := range atMs {
		got, err := similarity(t.Context(), path, media, kind, region, fps, ms)
		if err != nil {
			t.Fatal(err)
		}
		if got < 0.9 {
			t.Errorf("%s at %d ms: similarity with the source %.3f, want at least 0.9", kind, ms, got)
		}
		t.Logf("%s at %d ms: similarity %.3f", kind, ms, got)
	}
}

func similarity(ctx context.Context, path string, media *player.Call, kind string, region mediacheck.Rect, fps float64, ms int) (float64, error) {
	source, err := sourceOf(media, kind)
	if err != nil {
		return 0, err
	}
	start, err := reference.Start(media)
	if err != nil {
		return 0, err
	}
	frame := int(math.Round(float64(ms) * fps / 1000))
	shown, err := mediacheck.Grey(ctx, path, frame, fps, region)
	if err != nil {
		return 0, err
	}
	due := source.ShownAt(start + time.Duration(float64(frame)/fps*float64(time.Second)))
	candidates, err := source.Decode(ctx, due-3, due+3, region.W, region.H)
	if err != nil {
		return 0, err
	}
	best, least := 0, math.Inf(1)
	for i, c := range candidates {
		if d := mediacheck.Distance(shown, c, region.W); d < least {
			best, least = i, d
		}
	}
	return mediacheck.SSIM(shown, candidates[best], region.W), nil
}

func sourceOf(media *player.Call, kind string) (*reference.Source, error) {
	for _, t := range media.Tracks {
		if t.Kind() == kind {
			return reference.Of(t)
		}
	}
	return nil, fmt.Errorf("the call has no %s", kind)
}

// checkNothingLost compares what the recorder counted with what was sent.
func checkNothingLost(t *testing.T, w whole) {
	v, err := theSite(t).look(t.Context(), w.RecordingID)
	if err != nil {
		t.Fatal(err)
	}
	for _, sent := range w.Tracks {
		got := v.track(sent.Kind)
		if uint64(got.Stats.Packets) != sent.Sent.RTP || got.Stats.Lost != 0 || got.Stats.DroppedForeign != 0 || got.Stats.DroppedMalformed != 0 || got.State != "CLOSED" {
			t.Errorf("%s: sent %d packets, the recorder says %+v", sent.Kind, sent.Sent.RTP, got)
		}
	}
	if v.HasGaps || len(v.Gaps) > 0 {
		t.Errorf("gaps in an undisturbed call: %+v", v.Gaps)
	}
	if v.Width != 3200 || v.Height != 1080 || int64(v.SizeBytes) != w.Bytes {
		t.Errorf("the API says %dx%d and %.0f bytes, the file has %d bytes", v.Width, v.Height, v.SizeBytes, w.Bytes)
	}
}

// TestClimbingWebcam: the webcam of the H.264 call begins at 320x180 and grows to 1280x720 in four steps. Right after each
// step the picture is the new one at its full place, neither broken nor frozen.
func TestClimbingWebcam(t *testing.T) {
	t.Parallel()
	w := wholeCall(t, "chrome-h264")
	start, err := reference.Start(w.media)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []int{1959, 3998, 8042, 14065} { // testdata/media/chrome-h264/README.md
		at := step - int(start.Milliseconds())
		likeSource(t, w.Out, w.media, "WEBCAM", webcamRight, 30, at+70, at+300)
	}
}
