package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFlags(t *testing.T) {
	t.Parallel()
	bin, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		want []string // in the error; none: fine
	}{
		{"the least", []string{"-bin", bin}, nil},
		{"everything", []string{"-bin", bin, "-media", "m", "-duration", "1m", "-long"}, nil},
		{"several mistakes at once", []string{"-bin", "nowhere", "-duration", "1s", "extra"}, []string{"nowhere", "-duration 1s", `"extra"`}},
		{"an unknown flag", []string{"-nope"}, []string{"-nope"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(tc.args, io.Discard)
			if (err == nil) != (len(tc.want) == 0) {
				t.Fatalf("error %v", err)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %v does not name %s", err, w)
				}
			}
		})
	}
}

const statLine = "4711 (a) b (c)) S 17 4711 4711 0 -1 4194560 1500 200 0 0 250 125 1000 2000 20 0 9 0 123456 2000000000 5000 18446744073709551615 1 1\n"

func TestParseStat(t *testing.T) {
	t.Parallel()
	got, err := parseStat([]byte(statLine))
	want := stat{pid: 4711, parent: 17, self: 3750 * time.Millisecond, reaped: 30 * time.Second, rssPages: 5000}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for name, line := range map[string]string{"empty": "", "no name": "1 2 3", "cut off": "1 (x) S 2 3", "no number": strings.Replace(statLine, " 250 ", " x ", 1)} {
		if got, err := parseStat([]byte(line)); !errors.Is(err, errStat) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("1 () ) S"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := parseStat(raw); err != nil && !errors.Is(err, errStat) {
			t.Errorf("%v", err)
		}
	})
}

// TestKernel holds the parser against the kernel's own words about this process and a child of it.
func TestKernel(t *testing.T) {
	t.Parallel()
	me, err := statOf(os.Getpid())
	if err != nil || me.pid != os.Getpid() || me.parent != os.Getppid() || me.rssMB() < 1 {
		t.Errorf("%+v, %v", me, err)
	}
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	kids, err := children(os.Getpid())
	if err != nil || !slices.ContainsFunc(kids, func(s stat) bool { return s.pid == child.Process.Pid }) {
		t.Errorf("%d is not among %+v, %v", child.Process.Pid, kids, err)
	}
}

func capture(t *testing.T) *player.Call {
	t.Helper()
	c, err := player.Load(filepath.Join("..", "..", "testdata", "media", "chrome-vp8"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTrackAsFile writes a captured track as a file and lets FFmpeg decode it; testdata's README counts the frames.
func TestTrackAsFile(t *testing.T) {
	t.Parallel()
	path, err := writeTrack(t.TempDir(), capture(t), "webcam", 1280, 720)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=codec_name,width,height,nb_read_frames", "-of", "csv=p=0", path).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "vp8,1280,720,901" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestHead draws a moment of the head, sends it as the webcam, and takes it out again.
func TestHead(t *testing.T) {
	t.Parallel()
	const length = time.Second
	path := filepath.Join(t.TempDir(), "head.ivf")
	frames, err := synthesize(t.Context(), path, 200*time.Millisecond, length)
	if err != nil {
		t.Fatal(err)
	}
	if len(frames) != 30 || !bytes.Equal(frames[0].data, frames[6].data) || bytes.Equal(frames[0].data, frames[1].data) {
		t.Fatalf("%d frames, want 30: six and their repetition", len(frames))
	}
	captured := capture(t)
	call, err := withWebcam(captured, frames)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(call.Tracks, func(t player.Track) bool { return t.Source == "webcam" })
	back, err := assemble(call.Tracks[i].Packets)
	if err != nil || len(back) != len(frames) {
		t.Fatalf("%d frames of %d, %v", len(back), len(frames), err)
	}
	for n := range frames {
		if !bytes.Equal(back[n].data, frames[n].data) || back[n].ms != frames[n].ms {
			t.Fatalf("frame %d is another at %d ms, not at %d ms", n, back[n].ms, frames[n].ms)
		}
	}
	reports := func(c *player.Call) (n int) {
		for _, p := range c.Tracks[i].Packets {
			if p.RTCP {
				n++
			}
		}
		return n
	}
	if reports(call) == 0 || reports(call) != reports(captured) {
		t.Errorf("%d RTCP packets of %d are left", reports(call), reports(captured))
	}
}

func TestIVF(t *testing.T) {
	t.Parallel()
	frames := []frame{{0, []byte("one")}, {33, nil}, {66, []byte("three")}}
	raw := writeIVF(frames, 16, 8)
	got, err := readIVF(raw)
	if err != nil || len(got) != 3 || string(got[2].data) != "three" || got[2].ms != 66 {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range raw {
		if n == ivfHeader || n == ivfHeader+ivfFrameHeader+3 || n == ivfHeader+2*ivfFrameHeader+3 {
			continue // between frames: an IVF file has no end mark
		}
		if _, err := readIVF(raw[:n]); !errors.Is(err, errIVF) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func FuzzReadIVF(f *testing.F) {
	f.Add(writeIVF([]frame{{0, []byte("one")}}, 16, 8))
	f.Add([]byte("DKIF"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		frames, err := readIVF(raw)
		if err != nil && !errors.Is(err, errIVF) {
			t.Errorf("%v", err)
		}
		if len(frames)*ivfFrameHeader > len(raw) {
			t.Errorf("%d frames in %d bytes", len(frames), len(raw))
		}
	})
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := report{seconds: 20, capture: 0.004, streamsCPU: 0.002, streamsMB: 300, flood: []floodStep{{1000, 0.1, 0}, {2000, 0.2, 0}, {4000, 0.3, 7}}, idleMB: 50, liveMB: 250, childrenMB: 40, layouts: []usage{
		{name: "side by side 3200x1080", seconds: 20, compose: 0.32, readyS: 4, mbps: 2, bytesPerSecond: 250e3},
		{name: "audio only", seconds: 20, bytesPerSecond: 10e3}}}
	want := map[string][]string{
		"capture, CPU s/s":                    {"0.0050", "0.0040", "met"},
		"compose, CPU s/s":                    {"0.160", "0.320", "missed: 2.0 times as much"},
		"stop→AVAILABLE, s":                   {"5.0", "4.0", "met"},
		"rate, Mbit/s":                        {"2.50", "2.00", "met"},
		"memory per live recording, MB":       {"40.0", "50.0", "missed: 1.2 times as much"},
		"the same with FFmpeg, MB":            {"40.0", "60.0", "missed: 1.5 times as much"},
		"audio-only file, part of a dual one": {"0.200", "0.040", "met"},

		"sustained live streams per CPU (at least)": {"12.5", "9.4", "missed: 0.75 of it"},
	}
	rows := r.aims()
	if len(rows) != len(want) {
		t.Errorf("%d rows: %v", len(rows), rows)
	}
	for _, row := range rows {
		if !slices.Equal(row[1:4], want[row[0]]) {
			t.Errorf("%s: %v, want %v", row[0], row[1:4], want[row[0]])
		}
	}
	var out bytes.Buffer
	r.print(&out)
	for _, w := range []string{"audio only", "-long measures", "with 4 live calls 250 MB", "102 streams at once", "2000 a second without loss", "10000 per second and core", "first loss at 4000 a second (7 packets)"} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("%q is missing in\n%s", w, out.String())
		}
	}
	out.Reset()
	report{}.print(&out)
	if out.Len() != 0 {
		t.Errorf("a report of nothing says %q", out.String())
	}
}
