package mp4_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/mp4"
)

func muxedMovie(t *testing.T) []byte {
	t.Helper()
	open := func(b []byte) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	}
	var out bytes.Buffer
	_, err := mp4.New().Mux(t.Context(), recorder.MuxInput{FPS: 30, Canvas: recorder.Size{W: 160, H: 96}, Duration: recorder.Micros(3_833_333),
		Segments:  []recorder.SegmentSource{{Frames: 75, Open: open(segmentA(t))}, {Frames: 40, Open: open(segmentB(t))}},
		Audio:     recorder.AudioStream{Open: open(sound(t)), Priming: 1024},
		CreatedAt: time.Unix(1700000000, 0)}, &out)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestInspectReadsWhatMuxWrote(t *testing.T) {
	t.Parallel()
	file := muxedMovie(t)
	m, err := mp4.New().Inspect(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	f := m.Facts()
	want := recorder.Micros(3_833_333)
	if f.VideoFrames != 115 || f.Width != 160 || f.Height != 96 || !f.Faststart ||
		f.VideoDuration-want > 1000 || want-f.VideoDuration > 1000 || f.AudioDuration-want > 1000 || want-f.AudioDuration > 1000 {
		t.Errorf("facts %+v", f)
	}
	last := m.LastKeyframe()
	for _, tc := range []struct{ from, n, frames int64 }{{0, 115, 115}, {0, 20, 20}, {75, 10, 10}, {last, 1000, 115 - last}} {
		r, err := m.Frames(tc.from, tc.n)
		if err != nil {
			t.Fatal(err)
		}
		out := run(t, r, "ffprobe", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", "-f", "h264", "pipe:0")
		if got := strings.TrimSpace(string(out)); got != strconv.FormatInt(tc.frames, 10) {
			t.Errorf("frames from %d: %s decode, want %d", tc.from, got, tc.frames)
		}
	}
}

func TestInspectRefuses(t *testing.T) {
	t.Parallel()
	file := muxedMovie(t)
	for name, bad := range map[string][]byte{
		"empty":        nil,
		"garbage":      bytes.Repeat([]byte{0xff}, 100),
		"cut in moov":  file[:200],
		"cut in mdat":  file[:len(file)-10],
		"without mdat": file[:bytes.Index(file, []byte("mdat"))-4],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := mp4.New().Inspect(bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, mp4.ErrMovie) {
				t.Errorf("Inspect: %v, want ErrMovie", err)
			}
		})
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08moov\x00\x00\x00\x08mdat"))
	f.Add([]byte("\x00\x00\x00\x01moov\x00\x00\x00\x00\x00\x00\x00\x10"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := mp4.New().Inspect(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if r, err := m.Frames(0, 10); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20)) // any error is fine, a panic is not
		}
	})
}

// TestFramesWithInstantsOfTheirOwn muxes a video of variable frame rate and asks ffprobe for the instants.
func TestFramesWithInstantsOfTheirOwn(t *testing.T) {
	t.Parallel()
	open := func(b []byte) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	}
	times := make([]recorder.Micros, 75)
	for i := range times {
		times[i] = recorder.Micros(i * 40_000)
		if i > 50 {
			times[i] += 700_000 // one picture is shown for 0.74 s
		}
	}
	in := recorder.MuxInput{FPS: 30, Duration: 5_000_000, Times: times, Segments: []recorder.SegmentSource{{Frames: 75, Open: open(segmentA(t))}},
		Audio: recorder.AudioStream{Open: open(sound(t)), Priming: 1024}}
	path := filepath.Join(t.TempDir(), "v.mp4")
	var out bytes.Buffer
	if _, err := mp4.New().Mux(t.Context(), in, &out); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(run(t, nil, "ffprobe", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0", path)))
	if len(got) != 75 || got[0] != "0.000000" || got[50] != "2.000000" || got[51] != "2.740000" || got[74] != "3.660000" {
		t.Errorf("instants %v", got)
	}
	facts, err := mp4.New().Inspect(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil || facts.Facts().VideoDuration != 5_000_000 {
		t.Errorf("Inspect: %+v, %v", facts, err)
	}
	for name, change := range map[string]func(*recorder.MuxInput){
		"too few":       func(in *recorder.MuxInput) { in.Times = times[:74] },
		"not from 0":    func(in *recorder.MuxInput) { in.Times = append([]recorder.Micros{1}, times[1:]...) },
		"not growing":   func(in *recorder.MuxInput) { in.Times = append(append([]recorder.Micros{}, times[:74]...), times[73]) },
		"after the end": func(in *recorder.MuxInput) { in.Duration = times[74] },
	} {
		bad := in
		change(&bad)
		if _, err := mp4.New().Mux(t.Context(), bad, io.Discard); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
