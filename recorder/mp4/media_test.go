package mp4_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

// run starts FFmpeg or ffprobe and returns its standard output; anything on standard error fails the test.
func run(t *testing.T, stdin io.Reader, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed: install FFmpeg: %v", name, err)
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"-v", "error"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes()
}

// encodeVideo makes one segment as the composer makes them.
func encodeVideo(t *testing.T, size string, fps, frames int, extra ...string) []byte {
	t.Helper()
	args := []string{"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=s=%s:r=%d", size, fps), "-frames:v", fmt.Sprint(frames),
		"-threads", "1", "-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "cabac=1", "-bf", "0", "-g", fmt.Sprint(fps), "-pix_fmt", "yuv420p"}
	return run(t, nil, "ffmpeg", append(append(args, extra...), "-f", "h264", "pipe:1")...)
}

func encodeAudio(t *testing.T, seconds float64, channels int) []byte {
	t.Helper()
	return run(t, nil, "ffmpeg", "-f", "lavfi", "-i", fmt.Sprintf("sine=f=440:r=48000:d=%g", seconds), "-ac", fmt.Sprint(channels),
		"-c:a", "aac", "-b:a", "48k", "-f", "adts", "pipe:1")
}

// The inputs are encoded once and shared; tests only read them.
var (
	segmentA = once(func(t *testing.T) []byte { return encodeVideo(t, "160x96", 30, 75) })
	segmentB = once(func(t *testing.T) []byte { return encodeVideo(t, "160x96", 30, 40, "-vf", "negate") })
	sound    = once(func(t *testing.T) []byte { return encodeAudio(t, 5, 1) })
)

func once(make func(*testing.T) []byte) func(*testing.T) []byte {
	var o sync.Once
	var b []byte
	return func(t *testing.T) []byte {
		o.Do(func() { b = make(t) })
		if len(b) == 0 {
			t.Fatal("the input could not be made")
		}
		return b
	}
}

func segment(b []byte, frames int64) recorder.SegmentSource {
	return recorder.SegmentSource{Frames: frames, Open: opener(b)}
}

func opener(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

type probe struct {
	Streams []struct {
		CodecName   string `json:"codec_name"`
		CodecType   string `json:"codec_type"`
		StartTime   string `json:"start_time"`
		Duration    string `json:"duration"`
		NbRead      string `json:"nb_read_packets"`
		RFrameRate  string `json:"r_frame_rate"`
		ColorRange  string `json:"color_range"`
		ColorSpace  string `json:"color_space"`
		AspectRatio string `json:"sample_aspect_ratio"`
		Width       int    `json:"width"`
		Height      int    `json:"height"`
		NbFrames    string `json:"nb_frames"`
	} `json:"streams"`
	Format struct {
		StartTime string            `json:"start_time"`
		Duration  string            `json:"duration"`
		Tags      map[string]string `json:"tags"`
	} `json:"format"`
}

func ffprobe(t *testing.T, path string, extra ...string) probe {
	t.Helper()
	args := append([]string{"-of", "json", "-show_streams", "-show_format"}, extra...)
	var p probe
	if err := json.Unmarshal(run(t, nil, "ffprobe", append(args, path)...), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func save(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.mp4")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
