package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"go.uber.org/goleak"
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
		{"everything", []string{"-bin", bin, "-out", "o", "-media", "m", "-keep"}, nil},
		{"several mistakes at once", []string{"-bin", "nowhere", "-out", "/", "extra"}, []string{"nowhere", "make build", `-out "/"`, `"extra"`}},
		{"an empty folder name", []string{"-bin", bin, "-out", ""}, []string{"-out"}},
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

// TestFailuresAreTold runs a server that refuses to start, and a call that is not there.
func TestFailuresAreTold(t *testing.T) {
	t.Parallel()
	media := filepath.Join("..", "..", "testdata", "media")
	for _, tc := range []struct {
		name, script, media string
		want                []string
	}{
		{"no calls", "exit 0", t.TempDir(), []string{"tracks.json"}},
		{"a server that ends", "echo the disk is on fire; exit 3", media, []string{"ended before it was ready", "exit status 3", "the disk is on fire"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			bin := filepath.Join(t.TempDir(), "server")
			if err := os.WriteFile(bin, []byte("#!/bin/sh\n"+tc.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), []string{"-bin", bin, "-out", filepath.Join(t.TempDir(), "out"), "-media", tc.media}, &stdout, &stderr)
			if code != exitFailed || stdout.Len() != 0 {
				t.Errorf("exit code %d, standard output %q", code, stdout.String())
			}
			for _, w := range tc.want {
				if !strings.Contains(stderr.String(), w) {
					t.Errorf("%q is missing in: %s", w, stderr.String())
				}
			}
		})
	}
}

// TestClearTouchesNothingElse: -out may be a folder with other things in it.
func TestClearTouchesNothingElse(t *testing.T) {
	t.Parallel()
	d := &demo{options: options{out: t.TempDir()}}
	write := func(name string) string {
		path := filepath.Join(d.out, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := []string{write("call.mp4"), write("call-h264.mp4"), write("data/dualrec.db")}
	mine := write("holiday.mp4")
	for range 2 { // the second time there is nothing to remove
		if err := d.clear(); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range old {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestCheckRefusesOtherVideos(t *testing.T) {
	t.Parallel()
	good := facts{DurationMs: 30067, VideoCodec: "h264", AudioCodec: "aac", Width: 3200, Height: 1080, FPS: 30}
	for _, tc := range []struct {
		name   string
		change func(*facts)
		want   string // none: fine
	}{
		{"as promised", func(*facts) {}, ""},
		{"no sound", func(f *facts) { f.AudioCodec = "" }, "codecs"},
		{"another canvas", func(f *facts) { f.Width = 1920 }, "1920x1080"},
		{"another rate", func(f *facts) { f.FPS = 29.97 }, "29.97"},
		{"cut off", func(f *facts) { f.DurationMs = 20000 }, "20000 ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := call{facts: good, result: player.Result{PlayedMs: 30010}}
			tc.change(&c.facts)
			err := c.check()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestProgressLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := newScreen(&out)
	if s.terminal {
		t.Fatal("a buffer passed for a terminal")
	}
	s.progress("a", player.Progress{Phase: "start"})
	s.progress("b", player.Progress{Phase: "play", At: time.Second, Total: time.Minute}) // too soon
	s.progress("a", player.Progress{Phase: "done", Capture: "AVAILABLE"})
	s.say("end of %s", "it")
	s.terminal = true
	s.progress("b", player.Progress{Phase: "compose", Capture: "FINALIZING", LagMs: 1500})
	s.say("next")
	want := "  a: starting\n  a: AVAILABLE | b: 1 of 60 s\nend of it\n\r\x1b[K  a: AVAILABLE | b: FINALIZING, 1.5 s to compose\nnext\n"
	if out.String() != want {
		t.Errorf("%q\nwant %q", out.String(), want)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	if got := tail("1\n2\n3\n", 2); got != "2\n3" {
		t.Errorf("%q", got)
	}
	if got := tail("1", 2); got != "1" {
		t.Errorf("%q", got)
	}
}
