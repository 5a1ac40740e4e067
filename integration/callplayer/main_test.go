package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
		want []string // in the error; none: fine
	}{
		{"the least", []string{"-api-key", "k"}, nil},
		{"two dashes and everything", []string{"--api-key=k", "--speed=2", "--loop", "--duration=10m", "--tracks=mic", "--queue=q", "--agent=a",
			"--external-id=x", "--out=o.mp4", "--rtcp-mux", "--layout=SCREEN_ONLY", "--source-ip=127.0.0.2", "--timeout=1m", "--plain"}, nil},
		{"several mistakes at once", []string{"-api-key", "", "-speed", "0", "-loop", "extra"}, []string{"-api-key", "-speed 0", "-duration", `"extra"`}},
		{"an unknown flag", []string{"-nope"}, []string{"-nope"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o, err := parse(tc.args, io.Discard)
			for _, w := range tc.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %v does not name %s", err, w)
				}
			}
			if len(tc.want) == 0 && (err != nil || o.config.ExternalID == "") {
				t.Errorf("error %v, %+v", err, o)
			}
		})
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"endpoint", "api-key", "playback-key", "call", "tracks", "external-id", "queue", "agent", "speed", "duration", "loop", "rtcp-mux", "source-ip", "out", "timeout"} {
		if !strings.Contains(stderr.String(), "\n  -"+name+" ") && !strings.Contains(stderr.String(), "\n  -"+name+"\n") {
			t.Errorf("-%s is not explained", name)
		}
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	const call = "../../testdata/media/chrome-vp8"
	for _, tc := range []struct {
		name string
		args []string
		want int
		text string
	}{
		{"wrong flags", []string{"-api-key", "k", "-speed", "-1"}, exitUsage, "-speed"},
		{"no such call", []string{"-api-key", "k", "-call", "nowhere"}, exitUsage, "nowhere"},
		{"no such track", []string{"-api-key", "k", "-call", call, "-tracks", "slides"}, exitUsage, "slides"},
		{"no recorder", []string{"-api-key", "k", "-call", call, "-endpoint", "http://127.0.0.1:1/graphql"}, exitFailed, "startRecording"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), tc.args, &stdout, &stderr)
			if code != tc.want || !strings.Contains(stderr.String(), tc.text) || stdout.Len() != 0 {
				t.Errorf("exit code %d, want %d; %s%s", code, tc.want, stderr.String(), stdout.String())
			}
		})
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	steps := []player.Progress{
		{Phase: "start"},
		{Phase: "play", At: 250 * time.Millisecond, Total: 3661 * time.Second, Sent: 9},
		{Phase: "play", At: time.Second, Total: 3661 * time.Second, Sent: 10},
		{Phase: "compose", Capture: "FINALIZING", LagMs: 1500},
		{Phase: "done", Capture: "AVAILABLE"},
	}
	const first = "playing 0:00:00 of 1:01:01, 9 packets sent, 0 keyframes asked for"
	const second = "playing 0:00:01 of 1:01:01, 10 packets sent, 0 keyframes asked for"
	for _, tc := range []struct {
		name     string
		terminal bool
		want     string
	}{
		{"plain", false, "starting the recording\n" + first + "\nwaiting: FINALIZING, 1.5 s behind\ndone: AVAILABLE\n"},
		{"terminal", true, "\r\x1b[Kstarting the recording\r\x1b[K" + first + "\r\x1b[K" + second + "\r\x1b[Kwaiting: FINALIZING, 1.5 s behind\r\x1b[Kdone: AVAILABLE\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			p := newProgress(&out, false)
			if p.terminal {
				t.Fatal("a buffer passed for a terminal")
			}
			at := time.Unix(0, 0)
			p.terminal, p.now = tc.terminal, func() time.Time { return at }
			for _, s := range steps {
				p.tell(s)
			}
			p.end()
			if out.String() != tc.want {
				t.Errorf("%q\nwant %q", out.String(), tc.want)
			}
		})
	}
}

func TestPlainProgressRepeats(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out, true)
	at := time.Unix(0, 0)
	p.now = func() time.Time { return at }
	for range 11 {
		p.tell(player.Progress{Phase: "play"})
		at = at.Add(time.Second)
	}
	if n := strings.Count(out.String(), "\n"); n != 3 { // at 0, 5 and 10 s
		t.Errorf("%d lines", n)
	}
}
