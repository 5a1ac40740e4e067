package compose_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// composer is one with the real FFmpeg; a run that hangs fails in 20 seconds.
func composer(t testing.TB, change ...func(*compose.Config)) *compose.Composer {
	t.Helper()
	cfg := compose.Config{StallTimeout: 20 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	c, err := compose.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ffmpeg runs the real one for making inputs and judging outputs.
func ffmpeg(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	out, said, err := runFFmpeg(t, stdin, args)
	if err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return out
}

// ffmpegSilent is ffmpeg that has nothing to say either.
func ffmpegSilent(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	out, said, err := runFFmpeg(t, stdin, args)
	if err != nil || said != "" {
		t.Fatalf("ffmpeg %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return out
}

func runFFmpeg(t testing.TB, stdin []byte, args []string) (out []byte, said string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", append([]string{"-v", "error", "-nostats"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	err = cmd.Run()
	return stdout.Bytes(), stderr.String(), err
}

// clip is an encoded track.
type clip struct {
	codec  recorder.Codec
	size   recorder.Size
	frames []recorder.Frame // slots count up from 0
}

var codecArgs = map[recorder.Codec][]string{
	recorder.VP8: {"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "0", "-lag-in-frames", "0", "-b:v", "4M", "-g", "999", "-f", "ivf"},
	recorder.VP9: {"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-b:v", "4M", "-g", "999", "-f", "ivf"},
	recorder.H264: {"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-crf", "18", "-g", "999",
		"-x264-params", "aud=1:scenecut=0", "-f", "h264"},
}

var (
	clipMu sync.Mutex
	clips  = map[string]clip{}
)

// encode makes a clip of a lavfi source as WebRTC would send it: BT.601, untagged. Clips are made once.
func encode(t testing.TB, codec recorder.Codec, source string, size recorder.Size, frames int, filter ...string) clip {
	t.Helper()
	clipMu.Lock()
	defer clipMu.Unlock()
	key := fmt.Sprint(codec, source, size, frames, filter)
	if c, ok := clips[key]; ok {
		return c
	}
	vf := strings.Join(append(filter, "scale=out_color_matrix=bt601:out_range=tv", "format=yuv420p"), ",")
	args := append([]string{"-f", "lavfi", "-i", source, "-frames:v", fmt.Sprint(frames), "-vf", vf, "-threads", "1"}, codecArgs[codec]...)
	raw := ffmpeg(t, nil, append(args, "pipe:1")...)
	c := clip{codec: codec, size: size}
	split := splitIVF
	if codec == recorder.H264 {
		split = splitAUD
	}
	for i, data := range split(t, raw) {
		c.frames = append(c.frames, recorder.Frame{Slot: int64(i), Key: i == 0, Data: data})
	}
	if len(c.frames) != frames {
		t.Fatalf("%d frames encoded, want %d", len(c.frames), frames)
	}
	clips[key] = c
	return c
}

func splitIVF(t testing.TB, b []byte) (frames [][]byte) {
	t.Helper()
	for b = b[32:]; len(b) >= 12; {
		n := int(binary.LittleEndian.Uint32(b))
		frames, b = append(frames, b[12:12+n]), b[12+n:]
	}
	return frames
}

// splitAUD splits at access unit delimiters, which the encoder was told to write.
func splitAUD(t testing.TB, b []byte) (frames [][]byte) {
	t.Helper()
	for _, part := range bytes.Split(b, []byte{0, 0, 0, 1, 9})[1:] {
		frames = append(frames, append([]byte{0, 0, 0, 1, 9}, part...))
	}
	return frames
}

// frames is a recorder.FrameSource over a slice.
type frames struct {
	list   []recorder.Frame
	buf    []byte
	closed bool
}

func (f *frames) Next(ctx context.Context) (recorder.Frame, error) {
	clear(f.buf) // data of the last frame is no longer valid: whoever kept it sees zeros
	if err := ctx.Err(); err != nil {
		return recorder.Frame{}, err
	}
	if len(f.list) == 0 {
		return recorder.Frame{}, io.EOF
	}
	next := f.list[0]
	f.list = f.list[1:]
	f.buf = append(f.buf[:0], next.Data...)
	next.Data = f.buf
	return next, nil
}

func (f *frames) Close() error { f.closed = true; return nil }

// at gives the clip's frames new slots: the i-th frame goes to slots[i]; frames beyond are left out.
func (c clip) at(slots ...int64) recorder.FrameSource {
	f := &frames{}
	for i, slot := range slots {
		frame := c.frames[i]
		frame.Slot = slot
		f.list = append(f.list, frame)
	}
	return f
}

func (c clip) source() recorder.FrameSource { return &frames{list: c.frames} }

func (c clip) region(rect recorder.Rect, source recorder.FrameSource) recorder.Region {
	return recorder.Region{Rect: rect, Kind: recorder.Screen, Source: source, Codec: c.codec, SourceSize: c.size}
}

func render(t testing.TB, job recorder.VideoJob) []byte {
	t.Helper()
	if job.FPS == 0 {
		job.FPS = 30
	}
	if job.MaxKbps == 0 {
		job.MaxKbps = 4000
	}
	job.RecordingID = "rec"
	var out bytes.Buffer
	if err := composer(t).Video(t.Context(), job, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// picture decodes one output frame to RGB by the stream's own colour tags.
func picture(t testing.TB, annexB []byte, size recorder.Size, frame int) []byte {
	t.Helper()
	all := ffmpeg(t, annexB, "-f", "h264", "-i", "pipe:0", "-vf", fmt.Sprintf("select=eq(n\\,%d),scale=in_color_matrix=bt709:in_range=tv", frame),
		"-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1")
	if len(all) != size.W*size.H*3 {
		t.Fatalf("frame %d has %d bytes, want %s", frame, len(all), size)
	}
	return all
}

type rgb struct{ r, g, b int }

func pixel(pic []byte, size recorder.Size, x, y int) rgb {
	i := (y*size.W + x) * 3
	return rgb{int(pic[i]), int(pic[i+1]), int(pic[i+2])}
}

func (c rgb) near(o rgb, tolerance int) bool {
	d := func(a, b int) bool { return a-b <= tolerance && b-a <= tolerance }
	return d(c.r, o.r) && d(c.g, o.g) && d(c.b, o.b)
}

func ffprobe(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ffprobe", append([]string{"-v", "error", "-of", "default=nw=1"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe: %v\n%s", err, out)
	}
	return string(out)
}
