package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/dualrec/dualrec/integration/mediacheck"
)

// facts are what was measured of one video.
type facts struct {
	RecordingID  string  `json:"recordingId"`
	DurationMs   int     `json:"durationMs"`
	VideoCodec   string  `json:"videoCodec"`
	AudioCodec   string  `json:"audioCodec"`
	Width        int     `json:"width"`
	Height       int     `json:"height"`
	FPS          float64 `json:"fps"`
	SizeBytes    int64   `json:"sizeBytes"`
	ComposeLagMs int     `json:"composeLagMs"`
	AVSkewMs     float64 `json:"avSkewMs"`
}

func (f facts) sentence(out string) string {
	return fmt.Sprintf("%s: %.1f s of %s + %s, %dx%d at %g frames/s, %.1f MB (%.2f Mbit/s), sound and pictures at most %.0f ms apart",
		out, float64(f.DurationMs)/1000, f.VideoCodec, f.AudioCodec, f.Width, f.Height, f.FPS,
		float64(f.SizeBytes)/1e6, float64(f.SizeBytes)*8/1e3/float64(f.DurationMs), f.AVSkewMs)
}

// What a dual recording must be.
const (
	canvasWidth, canvasHeight = 3200, 1080
	framesPerSecond           = 30
	maxSkewMs                 = 80
	maxDurationOffMs          = 1000 // of the video from the call that was played
)

// Where the captured calls flash white (testdata/media/*/README.md), on the canvas; FFmpeg's W:H:X:Y. The webcam's
// rectangle lies inside the picture, the screen's around its box.
const (
	webcamMarker = "800:400:2160:340"
	screenMarker = "300:180:810:450"
)

// measure asks media tools about a fetched video and refuses one that is not as promised.
func (d *demo) measure(ctx context.Context, c *call) error {
	path := filepath.Join(d.out, c.out)
	d.screen.say("Measuring %s", path)
	p, err := mediacheck.File(ctx, path)
	if err != nil {
		return err
	}
	c.facts = facts{RecordingID: c.result.RecordingID, DurationMs: p.DurationMs, VideoCodec: p.VideoCodec, AudioCodec: p.AudioCodec,
		Width: p.Width, Height: p.Height, FPS: math.Round(p.FPS*1000) / 1000, SizeBytes: p.SizeBytes, ComposeLagMs: c.lagMs}
	if err := c.check(); err != nil {
		return err
	}
	if front, err := mediacheck.Faststart(path); err != nil || !front {
		return errors.Join(errors.New("the index does not stand in front of the media"), err)
	}
	if err := mediacheck.Decodes(ctx, path); err != nil {
		return err
	}
	c.facts.AVSkewMs, err = skew(ctx, path, p.FPS, markers(c.result.PlayedMs))
	return err
}

func (c *call) check() error {
	f := c.facts
	var errs []error
	if f.VideoCodec != "h264" || f.AudioCodec != "aac" {
		errs = append(errs, fmt.Errorf("codecs are %q and %q, not h264 and aac", f.VideoCodec, f.AudioCodec))
	}
	if f.Width != canvasWidth || f.Height != canvasHeight || math.Abs(f.FPS-framesPerSecond) > 0.01 {
		errs = append(errs, fmt.Errorf("the picture is %dx%d at %g frames/s, not %dx%d at %d", f.Width, f.Height, f.FPS, canvasWidth, canvasHeight, framesPerSecond))
	}
	if off := math.Abs(float64(f.DurationMs) - float64(c.result.PlayedMs)); off > maxDurationOffMs {
		errs = append(errs, fmt.Errorf("it lasts %d ms, and the call %d ms", f.DurationMs, c.result.PlayedMs))
	}
	return errors.Join(errs...)
}

// markers is how many flashes and beeps a call of this length has at least: one every 2 s, the first after 2 s. The
// last may be cut off.
func markers(playedMs int64) int { return max(1, int(playedMs/2000)-1) }

// skew is the largest distance of a flash from its beep, of webcam and screen.
func skew(ctx context.Context, path string, fps float64, want int) (float64, error) {
	sound, err := mediacheck.Sound(ctx, path)
	if err != nil {
		return 0, err
	}
	beeps := mediacheck.Beeps(sound)
	largest := 0.0
	for _, region := range []struct{ name, crop string }{{"webcam", webcamMarker}, {"screen", screenMarker}} {
		luma, err := mediacheck.Luma(ctx, path, region.crop)
		if err != nil {
			return 0, err
		}
		skews, missing := mediacheck.Skews(mediacheck.Flashes(luma, fps), beeps)
		if len(skews) < want {
			return 0, fmt.Errorf("the %s shows %d flashes with a beep, at least %d were expected (%d beeps, %d without a flash)", region.name, len(skews), want, len(beeps), missing)
		}
		largest = math.Max(largest, mediacheck.MaxAbs(skews))
	}
	if largest > maxSkewMs {
		return largest, fmt.Errorf("sound and pictures are %.0f ms apart, more than %d ms", largest, maxSkewMs)
	}
	return math.Round(largest*10) / 10, nil
}
