package compose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
)

// encodeEveryFrame is the plain way, against which repeating is judged.
func encodeEveryFrame(c *compose.Config) { c.RepeatFrames = compose.Off }

// renderWith renders with a quantizer of its own, so that both ways encode alike.
func renderWith(t *testing.T, job recorder.VideoJob, change ...func(*compose.Config)) []byte {
	t.Helper()
	job.RecordingID, job.QP, job.MaxKbps = "rec", 28, 4000
	if job.FPS == 0 {
		job.FPS = 30
	}
	var out bytes.Buffer
	if err := composer(t, change...).Video(t.Context(), job, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// pictures returns the MD5 of every decoded picture. The decoder takes no offence and gives all it has, or the test fails.
func pictures(t *testing.T, annexB []byte, flags ...string) []string {
	t.Helper()
	args := append([]string{"-v", "warning", "-flags", "output_corrupt", "-err_detect", "explode", "-threads", "1"}, flags...)
	args = append(args, "-f", "h264", "-i", "pipe:0", "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "pipe:1")
	var sums []string
	for line := range strings.Lines(string(ffmpegSilent(t, annexB, args...))) {
		if !strings.HasPrefix(line, "#") {
			fields := strings.Split(strings.TrimSpace(line), ",")
			sums = append(sums, strings.TrimSpace(fields[len(fields)-1]))
		}
	}
	return sums
}

// moment is a job whose pictures change now and then; changed are the slots on which they do.
type moment struct {
	name    string
	job     func() recorder.VideoJob
	changed []int64
}

func moments(t *testing.T) []moment {
	t.Helper()
	screen, cam := recorder.Size{W: 320, H: 180}, recorder.Size{W: 160, H: 96}
	wide, whole := recorder.Size{W: 480, H: 180}, recorder.Rect{W: 320, H: 180}
	side := recorder.Rect{X: 320, Y: 42, W: 160, H: 96}
	s := encode(t, recorder.VP8, "testsrc2=s=320x180:r=30,noise=alls=30:allf=t", screen, 40)
	w := encode(t, recorder.H264, "testsrc2=s=160x96:r=30,noise=alls=30:allf=t", cam, 40)
	every := func(step, n int64) (slots []int64) {
		for i := range n {
			slots = append(slots, i*step)
		}
		return slots
	}
	return []moment{
		{"a still screen", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: screen, Frames: 100, Regions: []recorder.Region{s.region(whole, s.at(-4, -2, 0))}}
		}, []int64{0}},
		{"a screen now and then", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: screen, Frames: 75, Regions: []recorder.Region{s.region(whole, s.at(0, 1, 2, 20, 21, 50, 50, 50, 73, 80))}}
		}, []int64{0, 1, 2, 20, 21, 50, 73}},
		{"it begins late", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: screen, Frames: 40, Regions: []recorder.Region{s.region(whole, s.at(7, 39))}}
		}, []int64{0, 7, 39}},
		{"a webcam of half the rate", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: wide, Frames: 70, Regions: []recorder.Region{s.region(whole, s.at(0, 9, 31)), w.region(side, w.at(every(2, 35)...))}}
		}, []int64{0, 2, 4, 6, 8, 9, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 31, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62, 64, 66, 68}},
		{"picture in picture", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: screen, Frames: 60, Regions: []recorder.Region{s.region(whole, s.at(0, 30)), w.region(recorder.Rect{X: 200, Y: 100, W: 100, H: 60}, w.at(0, 10, 31))}}
		}, []int64{0, 10, 30, 31}},
		{"a placeholder", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: wide, Frames: 60, Regions: []recorder.Region{s.region(whole, s.at(0, 30)), {Rect: side, Kind: recorder.Webcam}}}
		}, []int64{0, 30}},
		{"a pause", func() recorder.VideoJob { return recorder.VideoJob{Canvas: wide, Frames: 60, PausedCard: true} }, []int64{0}},
		{"five frames a second", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: screen, FPS: 5, Frames: 50, Regions: []recorder.Region{s.region(whole, s.at(0, 12, 13, 40))}}
		}, []int64{0, 12, 13, 40}},
	}
}

// Every decoded picture of a segment with repeats is that of an encoded frame, held: bit by bit what the encoder's own
// stream of only those frames decodes to, and, but for what an encoder does to a still picture, what the plain way shows.
func TestRepeatedFramesAreHeldFrames(t *testing.T) {
	t.Parallel()
	for _, tt := range moments(t) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			job := tt.job()
			out := renderWith(t, job)
			got := pictures(t, out)
			if int64(len(got)) != job.Frames {
				t.Fatalf("%d frames, want %d", len(got), job.Frames)
			}
			for slot := int64(1); slot < job.Frames; slot++ {
				held := !slices.Contains(tt.changed, slot)
				if held && got[slot] != got[slot-1] {
					t.Errorf("frame %d is not the one before, though nothing changes", slot)
				}
				if late := slot == 7 && tt.name == "it begins late"; !held && !late && got[slot] == got[slot-1] {
					t.Errorf("frame %d is still the one before", slot)
				}
			}
			plain := renderWith(t, tt.job(), encodeEveryFrame)
			if len(out) > len(plain)+int(job.Frames) {
				t.Errorf("%d bytes with repeats, %d without", len(out), len(plain))
			}
			if !bytes.Equal(parameterSets(out), parameterSets(plain)) {
				t.Errorf("parameter sets are % x, without repeats % x", parameterSets(out), parameterSets(plain))
			}
			alike(t, out, plain)
		})
	}
}

// alike fails unless two streams show the same at every moment.
func alike(t *testing.T, a, b []byte) {
	t.Helper()
	gray := func(annexB []byte) []byte {
		return ffmpeg(t, annexB, "-f", "h264", "-i", "pipe:0", "-fps_mode", "passthrough", "-vf", "scale=24:12:flags=area,format=gray", "-f", "rawvideo", "pipe:1")
	}
	pa, pb := gray(a), gray(b)
	if len(pa) != len(pb) {
		t.Fatalf("%d and %d bytes of pictures", len(pa), len(pb))
	}
	for i := range pa {
		if d := int(pa[i]) - int(pb[i]); d > 4 || d < -4 {
			t.Fatalf("frame %d differs by %d from the plain way", i/(24*12), d)
		}
	}
}

// The pictures that were encoded are those of the encoder, untouched: taken alone, they decode to the same.
func TestEncodedFramesAreUntouched(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 320, H: 180}
	whole := recorder.Rect{W: 320, H: 180}
	c := encode(t, recorder.VP8, "testsrc2=s=320x180:r=30,noise=alls=30:allf=t", size, 40)
	slots := make([]int64, 40)
	dense := make([]int64, 40)
	for i := range slots {
		slots[i], dense[i] = int64(i*i/3), int64(i)
	}
	slots[1], slots[2] = 1, 2
	spread := pictures(t, renderWith(t, recorder.VideoJob{Canvas: size, Frames: 530, Regions: []recorder.Region{c.region(whole, c.at(slots...))}}, longGOP))
	close := pictures(t, renderWith(t, recorder.VideoJob{Canvas: size, Frames: 40, Regions: []recorder.Region{c.region(whole, c.at(dense...))}}, longGOP))
	for i, slot := range slots {
		for at, end := slot, int64(530); at < end; at++ {
			if i < 39 {
				end = slots[i+1]
			}
			if spread[at] != close[i] {
				t.Fatalf("output frame %d is not encoded frame %d", at, i)
			}
		}
	}
}

func longGOP(c *compose.Config) { c.KeyframeInterval = time.Minute }

// A keyframe that is due while nothing changes is encoded, on its time.
func TestKeyframesBetweenRepeats(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 320, H: 180}
	c := encode(t, recorder.VP8, "testsrc2=s=320x180:r=30,noise=alls=30:allf=t", size, 40)
	for _, fps := range []int{30, 15, 24} {
		job := func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: size, FPS: fps, Frames: 100, Regions: []recorder.Region{c.region(recorder.Rect{W: 320, H: 180}, c.at(0, 1, 40, 41, 42, 77))}}
		}
		often := func(c *compose.Config) { c.KeyframeInterval = 700 * time.Millisecond }
		out := renderWith(t, job(), often)
		want := keyframes(t, renderWith(t, job(), often, encodeEveryFrame))
		if got := keyframes(t, out); !slices.Equal(got, want) || len(got) < 4 {
			t.Errorf("at %d frames a second keyframes are %v, the plain way %v", fps, got, want)
		}
		if n := len(pictures(t, out)); n != 100 {
			t.Errorf("%d frames, want 100", n)
		}
	}
}

// keyframes are the numbers of the pictures that are IDR.
func keyframes(t *testing.T, annexB []byte) (keys []int) {
	t.Helper()
	n := 0
	for _, unit := range bytes.Split(annexB, []byte{0, 0, 1})[1:] {
		switch unit[0] & 31 {
		case 5:
			keys, n = append(keys, n), n+1
		case 1:
			n++
		}
	}
	return keys
}

// Segments of either way join by copy.
func TestBothWaysJoin(t *testing.T) {
	t.Parallel()
	list := moments(t)
	screen, now := list[0], list[1]
	joined := slices.Concat(renderWith(t, now.job()), renderWith(t, now.job(), encodeEveryFrame), renderWith(t, screen.job()), renderWith(t, now.job()))
	got := pictures(t, joined)
	if want := 75 + 75 + 100 + 75; len(got) != want {
		t.Fatalf("%d frames, want %d", len(got), want)
	}
	if !slices.Equal(got[:75], got[250:]) {
		t.Error("the same segment decodes otherwise behind others")
	}
	if n, err := composer(t).CheckVideo(t.Context(), bytes.NewReader(joined)); n != 325 || err != nil {
		t.Errorf("the check says %d frames, %v", n, err)
	}
}

// Encoders whose streams take no repeated pictures encode every frame, and say so once.
func TestFallsBackToEveryFrame(t *testing.T) {
	t.Parallel()
	for _, preset := range []string{"veryfast", "medium"} {
		t.Run(preset, func(t *testing.T) {
			t.Parallel()
			tt := moments(t)[1]
			var log bytes.Buffer
			c, err := compose.New(compose.Config{Preset: preset}, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				var out bytes.Buffer
				job := tt.job()
				job.FPS, job.MaxKbps = 30, 4000
				if err := c.Video(t.Context(), job, &out); err != nil {
					t.Fatal(err)
				}
				if n := len(pictures(t, out.Bytes())); n != 75 {
					t.Errorf("%d frames, want 75", n)
				}
			}
			if n := strings.Count(log.String(), "unchanged frames are encoded too"); n != 1 {
				t.Errorf("said %d times, want once: %s", n, log.String())
			}
		})
	}
}

// The rate counts over output frames: one lively moment in a quiet segment is no reason for a coarser picture.
func TestQuietSegmentKeepsItsQuality(t *testing.T) {
	t.Parallel()
	tt := moments(t)[1]
	render := func(kbps int) []byte {
		job := tt.job()
		job.RecordingID, job.FPS, job.Frames, job.MaxKbps = "rec", 30, 300, kbps
		var out bytes.Buffer
		if err := composer(t).Video(t.Context(), job, &out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	free := render(100_000)
	if average := len(free) * 8 / 1000 / 10; !bytes.Equal(free, render(average+20)) {
		t.Errorf("a cap of %d kbps changes a segment of %d", average+20, average)
	}
	if tight := render(100); len(tight)*8/1000/10 > 100 {
		t.Errorf("%d bytes in 10 s are more than 100 kbps", len(tight))
	}
}

// All sources are read before anything is rendered, side by side: one that fails ends the wait for the others, and the
// caller hears of the failure and not of its consequences.
func TestSourceFailsWhileAnotherWaits(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 64, H: 48}
	c := encode(t, recorder.VP8, numbered(size, 18), size, 8)
	broken := errors.New("the journal is damaged")
	waits := make(chan struct{})
	failing := &failingFrames{frames: frames{list: c.frames[:3]}, wait: waits, err: broken}
	patient := &waiting{frames: frames{list: c.frames[:2]}, wait: make(chan struct{}), waits: func() { close(waits) }}
	job := recorder.VideoJob{RecordingID: "rec", Canvas: recorder.Size{W: 128, H: 48}, FPS: 30, Frames: 30, MaxKbps: 500, Regions: []recorder.Region{
		c.region(recorder.Rect{W: 64, H: 48}, patient), c.region(recorder.Rect{X: 64, W: 64, H: 48}, failing)}}
	err := composer(t).Video(t.Context(), job, io.Discard)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "region 1") {
		t.Errorf("error is %v, want the source's", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the worker stops")
	job.Regions = []recorder.Region{c.region(recorder.Rect{W: 64, H: 48}, &waiting{frames: frames{list: c.frames[:2]}, wait: make(chan struct{}), waits: func() { cancel(stop) }})}
	if err := composer(t).Video(ctx, job, io.Discard); !errors.Is(err, stop) {
		t.Errorf("error is %v, want the cause of the cancellation", err)
	}
}

// failingFrames ends with an error instead of io.EOF.
type failingFrames struct {
	frames
	wait chan struct{}
	err  error
}

func (f *failingFrames) Next(ctx context.Context) (recorder.Frame, error) {
	frame, err := f.frames.Next(ctx)
	if errors.Is(err, io.EOF) {
		<-f.wait
		return frame, f.err
	}
	return frame, err
}

func TestFramesOfEveryCanvasRepeat(t *testing.T) {
	t.Parallel()
	for _, canvas := range []recorder.Size{{W: 16, H: 16}, {W: 18, H: 34}, {W: 640, H: 360}, {W: 1920, H: 1080}, {W: 3200, H: 1080}} {
		t.Run(fmt.Sprint(canvas), func(t *testing.T) {
			t.Parallel()
			// 40 frames let frame_num wrap more than once.
			sums := pictures(t, renderWith(t, recorder.VideoJob{Canvas: canvas, Frames: 40, PausedCard: true}))
			if len(sums) != 40 || len(slices.Compact(sums)) != 1 {
				t.Errorf("%d frames, want 40 alike", len(sums))
			}
		})
	}
}
