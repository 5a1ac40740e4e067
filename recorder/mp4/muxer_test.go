package mp4_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/dualrec/dualrec/recorder"
	mux "github.com/dualrec/dualrec/recorder/mp4"
)

const priming = 1024

func dualInput(t *testing.T) recorder.MuxInput {
	t.Helper()
	return recorder.MuxInput{FPS: 30, Canvas: recorder.Size{W: 160, H: 96},
		Segments:  []recorder.SegmentSource{segment(segmentA(t), 75), segment(segmentB(t), 40)},
		Audio:     recorder.AudioStream{Open: opener(sound(t)), Priming: priming},
		Duration:  recorder.Micros(115 * 1_000_000 / 30),
		CreatedAt: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Title: "Gespräch 42"}
}

func muxed(t *testing.T, in recorder.MuxInput) ([]byte, recorder.MuxResult) {
	t.Helper()
	var out bytes.Buffer
	result, err := mux.New().Mux(t.Context(), in, &out)
	if err != nil {
		t.Fatal(err)
	}
	if result.Size != int64(out.Len()) {
		t.Errorf("Size is %d, written were %d bytes", result.Size, out.Len())
	}
	return out.Bytes(), result
}

func seconds(t *testing.T, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatalf("ffprobe said %q where a number belongs", s)
	}
	return f
}

func TestDualFileByFFprobe(t *testing.T) {
	t.Parallel()
	in := dualInput(t)
	file, result := muxed(t, in)
	if result.VideoFrames != 115 || result.Width != 160 || result.Height != 96 || result.AudioSamples != 115*1600 {
		t.Errorf("result is %+v", result)
	}
	path := save(t, file)
	p := ffprobe(t, path, "-count_packets")
	if len(p.Streams) != 2 {
		t.Fatalf("%d streams, want 2", len(p.Streams))
	}
	v, a := p.Streams[0], p.Streams[1]
	if v.CodecName != "h264" || v.NbRead != "115" || v.NbFrames != "115" || v.RFrameRate != "30/1" {
		t.Errorf("video: %+v", v)
	}
	if v.ColorSpace != "bt709" || v.ColorRange != "tv" || v.AspectRatio != "1:1" {
		t.Errorf("colour: %+v", v)
	}
	if a.CodecName != "aac" {
		t.Errorf("audio: %+v", a)
	}
	for _, s := range p.Streams {
		if seconds(t, s.StartTime) != 0 {
			t.Errorf("%s starts at %s, want 0", s.CodecType, s.StartTime)
		}
		if d := seconds(t, s.Duration) - in.Duration.Duration().Seconds(); d > 0.001 || d < -0.001 {
			t.Errorf("%s lasts %s, want %s", s.CodecType, s.Duration, in.Duration)
		}
	}
	if p.Format.Tags["title"] != in.Title || p.Format.Tags["creation_time"] != "2026-03-04T05:06:07.000000Z" {
		t.Errorf("tags: %v", p.Format.Tags)
	}
}

// The decoded pictures and sound of the file must be those of the inputs: same pictures in the same order, and the
// sound shifted by nothing.
func TestDualFileDecodes(t *testing.T) {
	t.Parallel()
	file, _ := muxed(t, dualInput(t))
	path := save(t, file)
	got := run(t, nil, "ffmpeg", "-i", path, "-map", "0:v", "-f", "framemd5", "-fps_mode", "passthrough", "pipe:1")
	want := append(md5s(t, segmentA(t)), md5s(t, segmentB(t))...)
	if g := lastFields(got); !equal(g, want) {
		t.Errorf("%d decoded pictures are not the %d of the segments in their order", len(g), len(want))
	}

	pcm := run(t, nil, "ffmpeg", "-i", path, "-map", "0:a", "-f", "s16le", "-ac", "1", "pipe:1")
	// Without the container FFmpeg does not know of the priming, so it stands before the sound.
	raw := run(t, bytes.NewReader(sound(t)), "ffmpeg", "-f", "aac", "-i", "pipe:0", "-f", "s16le", "-ac", "1", "pipe:1")[priming*2:]
	if n := len(pcm) / 2; n < 115*1600 || n >= 115*1600+1024 {
		t.Errorf("%d samples decoded, want %d", n, 115*1600)
	}
	for i := range 115 * 1600 {
		a, b := int(int16(pcm[2*i])|int16(pcm[2*i+1])<<8), int(int16(raw[2*i])|int16(raw[2*i+1])<<8)
		if a-b > 1 || b-a > 1 {
			t.Fatalf("sample %d is %d in the file and %d in the stream", i, a, b)
		}
	}
}

func md5s(t *testing.T, annexB []byte) []string {
	t.Helper()
	return lastFields(run(t, bytes.NewReader(annexB), "ffmpeg", "-f", "h264", "-i", "pipe:0", "-f", "framemd5", "-fps_mode", "passthrough", "pipe:1"))
}

func lastFields(framemd5 []byte) (sums []string) {
	for line := range strings.Lines(string(framemd5)) {
		if !strings.HasPrefix(line, "#") {
			f := strings.Split(strings.TrimSpace(line), ",")
			sums = append(sums, strings.TrimSpace(f[len(f)-1]))
		}
	}
	return sums
}

func equal(a, b []string) bool {
	return len(a) > 0 && strings.Join(a, " ") == strings.Join(b, " ")
}

// A player without seeking reads the file from a pipe: the index stands first, and the tracks take turns.
func TestFileStreams(t *testing.T) {
	t.Parallel()
	file, _ := muxed(t, dualInput(t))
	if got := topBoxes(t, file); got != "ftyp moov mdat" {
		t.Errorf("boxes are %s", got)
	}
	run(t, bytes.NewReader(file), "ffmpeg", "-i", "pipe:0", "-f", "null", "-")

	parsed, err := mp4.DecodeFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var offsets [2][]uint32
	for i, trak := range parsed.Moov.Traks {
		offsets[i] = trak.Mdia.Minf.Stbl.Stco.ChunkOffset
		for _, e := range trak.Mdia.Minf.Stbl.Stsc.Entries {
			length := float64(e.SamplesPerChunk) / 30
			if i == 1 {
				length = float64(e.SamplesPerChunk) * 1024 / 48000
			}
			if length > 1 {
				t.Errorf("track %d has chunks of %.2f s", i+1, length)
			}
		}
	}
	for i := 1; i < len(offsets[0]); i++ {
		between := 0
		for _, a := range offsets[1] {
			if a > offsets[0][i-1] && a < offsets[0][i] {
				between++
			}
		}
		if between == 0 {
			t.Errorf("no audio stands between the video chunks %d and %d", i-1, i)
		}
	}
	stbl := parsed.Moov.Traks[0].Mdia.Minf.Stbl
	if got := fmt.Sprint(stbl.Stss.SampleNumber); got != "[1 31 61 76 106]" {
		t.Errorf("keyframes are %s", got)
	}
}

func topBoxes(t *testing.T, file []byte) string {
	t.Helper()
	var names []string
	for len(file) >= 8 {
		size := int(file[0])<<24 | int(file[1])<<16 | int(file[2])<<8 | int(file[3])
		names = append(names, string(file[4:8]))
		if size < 8 || size > len(file) {
			t.Fatalf("box %s has %d of %d bytes", file[4:8], size, len(file))
		}
		file = file[size:]
	}
	return strings.Join(names, " ")
}

// Samples of an avc1 track hold slices only; the parameter sets stand in avcC.
func TestSamplesHoldSlicesOnly(t *testing.T) {
	t.Parallel()
	file, _ := muxed(t, dualInput(t))
	out := run(t, bytes.NewReader(file), "ffmpeg", "-i", "pipe:0", "-map", "0:v", "-c", "copy", "-f", "data", "pipe:1")
	for frame := 0; len(out) > 4; frame++ {
		n := int(out[0])<<24 | int(out[1])<<16 | int(out[2])<<8 | int(out[3])
		if kind := out[4] & 31; kind != 1 && kind != 5 {
			t.Fatalf("NAL unit %d has type %d", frame, kind)
		}
		out = out[4+n:]
	}
}

func TestAudioOnly(t *testing.T) {
	t.Parallel()
	in := recorder.MuxInput{Duration: 3_500_000, Audio: recorder.AudioStream{Open: opener(encodeAudio(t, 4, 2)), Priming: priming}}
	file, result := muxed(t, in)
	if result.AudioSamples != 168000 || result.VideoFrames != 0 {
		t.Errorf("result is %+v", result)
	}
	p := ffprobe(t, save(t, file))
	if len(p.Streams) != 1 || seconds(t, p.Streams[0].Duration) != 3.5 || seconds(t, p.Format.Duration) != 3.5 {
		t.Errorf("ffprobe says %+v", p)
	}
	if string(file[8:12]) != "M4A " {
		t.Errorf("brand is %q", file[8:12])
	}
	run(t, bytes.NewReader(file), "ffmpeg", "-i", "pipe:0", "-f", "null", "-")
}

func TestVideoOnly(t *testing.T) {
	t.Parallel()
	in := dualInput(t)
	in.Audio = recorder.AudioStream{}
	file, _ := muxed(t, in)
	if p := ffprobe(t, save(t, file)); len(p.Streams) != 1 || p.Streams[0].NbFrames != "115" {
		t.Errorf("ffprobe says %+v", p)
	}
}

func TestEveryFrameRate(t *testing.T) {
	t.Parallel()
	for _, fps := range []int{5, 10, 15, 24, 30} {
		t.Run(fmt.Sprint(fps), func(t *testing.T) {
			t.Parallel()
			in := recorder.MuxInput{FPS: fps, Canvas: recorder.Size{W: 64, H: 48}, Duration: recorder.Micros(7 * 1_000_000 / fps),
				Segments: []recorder.SegmentSource{segment(encodeVideo(t, "64x48", fps, 7), 7)}}
			file, _ := muxed(t, in)
			p := ffprobe(t, save(t, file))
			if p.Streams[0].RFrameRate != fmt.Sprintf("%d/1", fps) {
				t.Errorf("rate is %s", p.Streams[0].RFrameRate)
			}
		})
	}
}

func TestShortAudioIsNoError(t *testing.T) {
	t.Parallel()
	in := dualInput(t)
	in.Audio.Open = opener(encodeAudio(t, 1, 1))
	_, result := muxed(t, in)
	if result.AudioSamples < 48000 || result.AudioSamples > 50000 {
		t.Errorf("%d samples are presented, want about 48000", result.AudioSamples)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	other := once(func(t *testing.T) []byte { return encodeVideo(t, "96x160", 30, 40) })
	tests := []struct {
		name   string
		change func(*testing.T, *recorder.MuxInput)
		check  func(error) bool
		says   string
	}{
		{"nothing", func(_ *testing.T, in *recorder.MuxInput) { in.Segments, in.Audio.Open = nil, nil }, is(mux.ErrEmpty), "nothing to write"},
		{"other parameter sets", func(t *testing.T, in *recorder.MuxInput) { in.Segments[1] = segment(other(t), 40) },
			as[*mux.ParameterSetError], "segment 1 has another SPS 0"},
		{"other canvas", func(_ *testing.T, in *recorder.MuxInput) { in.Canvas.W = 320 }, as[*mux.SegmentError], "the canvas is 320x96"},
		{"frame missing", func(t *testing.T, in *recorder.MuxInput) { in.Segments[0] = segment(segmentA(t), 76) },
			as[*mux.FrameCountError], "segment 0 has 75 frames, want 76"},
		{"no keyframe first", func(t *testing.T, in *recorder.MuxInput) {
			b := segmentA(t)
			in.Segments[0] = segment(b[bytes.Index(b, []byte{0, 0, 1, 0x41})-1:], 75)
		}, as[*mux.SegmentError], "does not begin with a keyframe"},
		{"empty segment", func(_ *testing.T, in *recorder.MuxInput) { in.Segments[1].Frames = 0 }, as[*mux.SegmentError], "leave it out"},
		{"not H.264", func(t *testing.T, in *recorder.MuxInput) { in.Segments[0] = segment(sound(t), 75) }, is(mux.ErrAnnexB), "start code"},
		{"another duration", func(_ *testing.T, in *recorder.MuxInput) { in.Duration += 40_000 }, as[*mux.DurationError], "missing or doubled"},
		{"no duration", func(_ *testing.T, in *recorder.MuxInput) { in.Duration = 0 }, func(err error) bool { return err != nil }, "duration"},
		{"no rate", func(_ *testing.T, in *recorder.MuxInput) { in.FPS = 0 }, func(err error) bool { return err != nil }, "frames a second"},
		{"not ADTS", func(t *testing.T, in *recorder.MuxInput) { in.Audio.Open = opener(segmentA(t)) }, is(mux.ErrADTS), "syncword"},
		{"cut ADTS", func(t *testing.T, in *recorder.MuxInput) { in.Audio.Open = opener(sound(t)[:len(sound(t))-3]) }, is(mux.ErrADTS), "ends within frame"},
		{"only priming", func(t *testing.T, in *recorder.MuxInput) { in.Audio.Open = opener(sound(t)[:7+lenOfFirst(sound(t))]) }, is(mux.ErrADTS), "priming"},
		{"unreadable", func(_ *testing.T, in *recorder.MuxInput) {
			in.Segments[1].Open = func() (io.ReadCloser, error) { return nil, errBroken }
		}, is(errBroken), "open segment 1"},
		{"long title", func(_ *testing.T, in *recorder.MuxInput) { in.Title = strings.Repeat("x", 2000) }, func(err error) bool { return err != nil }, "title"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := dualInput(t)
			tt.change(t, &in)
			_, err := mux.New().Mux(t.Context(), in, io.Discard)
			if !tt.check(err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v (%T), want one that says %q", err, err, tt.says)
			}
		})
	}
}

var errBroken = errors.New("disk on fire")

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func lenOfFirst(adts []byte) int {
	return (int(adts[3]&3)<<11 | int(adts[4])<<3 | int(adts[5])>>5) - 7
}

// The second pass must not write a file whose index lies.
func TestChangedInput(t *testing.T) {
	t.Parallel()
	in := dualInput(t)
	opened := 0
	a, b := segmentA(t), encodeVideo(t, "160x96", 30, 75, "-crf", "40")
	in.Segments[0].Open = func() (io.ReadCloser, error) {
		if opened++; opened == 1 {
			return io.NopCloser(bytes.NewReader(a)), nil
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	if _, err := mux.New().Mux(t.Context(), in, io.Discard); !errors.Is(err, mux.ErrChanged) {
		t.Errorf("error is %v, want ErrChanged", err)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	if _, err := mux.New().Mux(ctx, dualInput(t), io.Discard); !errors.Is(err, errBroken) {
		t.Errorf("error is %v, want the cause", err)
	}
}

type failingWriter struct{ left int }

func (f *failingWriter) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// Every input that was opened is closed, whatever fails.
func TestClosesInputs(t *testing.T) {
	t.Parallel()
	in := dualInput(t)
	open := 0
	counted := func(b []byte) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) {
			open++
			return &countedCloser{Reader: bytes.NewReader(b), open: &open}, nil
		}
	}
	in.Segments[0].Open, in.Segments[1].Open, in.Audio.Open = counted(segmentA(t)), counted(segmentB(t)), counted(sound(t))
	for _, w := range []io.Writer{io.Discard, &failingWriter{left: 20000}, &failingWriter{left: 100}} {
		_, err := mux.New().Mux(t.Context(), in, w)
		if failed := w != io.Discard; failed != (err != nil) {
			t.Errorf("error is %v", err)
		}
		if open != 0 {
			t.Errorf("%d inputs are still open", open)
		}
	}
}

type countedCloser struct {
	io.Reader
	open *int
}

func (c *countedCloser) Close() error { *c.open--; return nil }
