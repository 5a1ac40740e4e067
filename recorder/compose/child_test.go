package compose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
)

// fake is a Composer whose FFmpeg is a shell script. The folder of the script is in $DIR.
func fake(t *testing.T, script string, change ...func(*compose.Config)) (*compose.Composer, string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "ffmpeg")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nDIR="+dir+"\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return composer(t, append(change, func(c *compose.Config) { c.FFmpegPath = path })...), dir
}

func card() recorder.VideoJob {
	return recorder.VideoJob{RecordingID: "rec", Segment: 7, Canvas: recorder.Size{W: 64, H: 48}, FPS: 30, Frames: 3, MaxKbps: 500, PausedCard: true}
}

func TestChildExits(t *testing.T) {
	t.Parallel()
	c, _ := fake(t, `i=0; while [ $i -lt 400 ]; do echo "noise noise noise $i" >&2; i=$((i+1)); done; echo "the last word" >&2; exit 3`)
	err := c.Video(t.Context(), card(), io.Discard)
	var exit *compose.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Signal != 0 {
		t.Fatalf("error is %v, want an *ExitError with code 3", err)
	}
	if !strings.HasSuffix(exit.Stderr, "the last word") || len(exit.Stderr) > 4<<10 || !strings.Contains(err.Error(), "segment 7") {
		t.Errorf("%d bytes of stderr, error %v", len(exit.Stderr), err)
	}
}

func TestChildDiesOfASignal(t *testing.T) {
	t.Parallel()
	c, _ := fake(t, `kill -SEGV $$`)
	var exit *compose.ExitError
	if err := c.Video(t.Context(), card(), io.Discard); !errors.As(err, &exit) || exit.Signal != syscall.SIGSEGV || exit.Code != -1 {
		t.Errorf("error is %v, want an *ExitError with SIGSEGV", err)
	}
}

func TestChildRefusesToStart(t *testing.T) {
	t.Parallel()
	c := composer(t, func(c *compose.Config) { c.FFmpegPath = "/nowhere/ffmpeg" })
	err := c.Video(t.Context(), card(), io.Discard)
	var start *compose.StartError
	if !errors.As(err, &start) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "install FFmpeg") {
		t.Errorf("error is %v, want a *StartError that says what to do", err)
	}
}

// A child that ignores SIGTERM and everything else is killed, with all that it started.
func TestChildRefusesToDie(t *testing.T) {
	t.Parallel()
	c, dir := fake(t, `exec 9>$DIR/alive; trap '' TERM; sleep 1000 & echo started; wait; wait`, func(c *compose.Config) { c.TermGrace = 50 * time.Millisecond })
	gone := alive(t, dir)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the call was aborted")
	// The script's output arrives only once it runs.
	err := c.Audio(ctx, recorder.AudioJob{Mode: recorder.MixMono, Kbps: 48, Tracks: []recorder.AudioTrack{{Kind: recorder.AgentAudio, Source: blocked{}}}},
		writer(func([]byte) error { cancel(reason); return nil }), nil)
	if !errors.Is(err, reason) {
		t.Errorf("error is %v, want the cause", err)
	}
	gone()
}

// alive makes a named pipe that scripts hold open as long as they live. The returned function waits until none does.
func alive(t *testing.T, dir string) (gone func()) {
	t.Helper()
	path := filepath.Join(dir, "alive")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return func() {
		t.Helper()
		_ = f.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadAll(f); err != nil {
			t.Errorf("a process is left: %v", err)
		}
	}
}

type blocked struct{}

func (blocked) Next(ctx context.Context) (recorder.AudioPacket, error) {
	<-ctx.Done()
	return recorder.AudioPacket{}, ctx.Err()
}
func (blocked) Close() error { return nil }

type writer func([]byte) error

func (w writer) Write(p []byte) (int, error) { return len(p), w(p) }

// A child that moves nothing is killed, though nobody keeps it waiting.
func TestChildStalls(t *testing.T) {
	t.Parallel()
	c, _ := fake(t, `echo "stuck in a driver" >&2; exec sleep 1000`, func(c *compose.Config) { c.StallTimeout = 300 * time.Millisecond })
	var stall *compose.StallError
	err := c.Video(t.Context(), card(), io.Discard)
	if !errors.As(err, &stall) || stall.Stderr != "stuck in a driver" || stall.Timeout != 300*time.Millisecond {
		t.Errorf("error is %v, want a *StallError", err)
	}
}

// A child that was stopped (SIGSTOP) uses no time and takes no SIGTERM; it is killed.
func TestStoppedChildStalls(t *testing.T) {
	t.Parallel()
	c, dir := fake(t, `exec 9>$DIR/alive; kill -STOP $$; exec sleep 1000`, func(c *compose.Config) {
		c.StallTimeout, c.TermGrace = 300*time.Millisecond, 50*time.Millisecond
	})
	gone := alive(t, dir)
	var stall *compose.StallError
	if err := c.Video(t.Context(), card(), io.Discard); !errors.As(err, &stall) {
		t.Errorf("error is %v, want a *StallError", err)
	}
	gone()
}

// A source that has nothing for long is no stall of the child: live calls are quiet.
func TestQuietSourceIsNoStall(t *testing.T) {
	t.Parallel()
	c, _ := fake(t, `cat <&3 >/dev/null; echo done`, func(c *compose.Config) { c.StallTimeout = 500 * time.Millisecond })
	source := &lateAudio{wait: time.After(1200 * time.Millisecond)}
	var out bytes.Buffer
	if err := c.Audio(t.Context(), recorder.AudioJob{Mode: recorder.MixMono, Kbps: 48, Tracks: []recorder.AudioTrack{{Kind: recorder.AgentAudio, Source: source}}}, &out, nil); err != nil {
		t.Fatal(err)
	}
	if out.String() != "done\n" {
		t.Errorf("output is %q", out.String())
	}
}

// lateAudio has nothing until its time has come, and then ends.
type lateAudio struct{ wait <-chan time.Time }

func (l *lateAudio) Next(ctx context.Context) (recorder.AudioPacket, error) {
	select {
	case <-l.wait:
		return recorder.AudioPacket{}, io.EOF
	case <-ctx.Done():
		return recorder.AudioPacket{}, ctx.Err()
	}
}
func (l *lateAudio) Close() error { return nil }

// A child that ends before it has read everything is judged by its exit, not by the broken pipe.
func TestChildStopsReading(t *testing.T) {
	t.Parallel()
	c, _ := fake(t, `exit 0`)
	source := &opus{packets: 200_000}
	job := recorder.AudioJob{Mode: recorder.MixMono, Kbps: 48, Tracks: []recorder.AudioTrack{{Kind: recorder.AgentAudio, Source: source}}}
	if err := c.Audio(t.Context(), job, io.Discard, nil); err != nil {
		t.Errorf("error is %v, want none", err)
	}
	if source.given >= source.packets {
		t.Error("all packets were taken: the test proves nothing")
	}
}

func TestBrokenEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is full")
	t.Run("source", func(t *testing.T) {
		t.Parallel()
		c, dir := fake(t, `exec 9>$DIR/alive; cat <&3 >/dev/null; exec sleep 1000`)
		gone := alive(t, dir)
		job := recorder.AudioJob{Mode: recorder.MixMono, Kbps: 48, Tracks: []recorder.AudioTrack{{Kind: recorder.AgentAudio, Source: &opus{packets: 10, end: broken}}}}
		if err := c.Audio(t.Context(), job, io.Discard, nil); !errors.Is(err, broken) {
			t.Errorf("error is %v, want the source's", err)
		}
		gone()
	})
	t.Run("consumer", func(t *testing.T) {
		t.Parallel()
		c, dir := fake(t, `exec 9>$DIR/alive; while :; do echo more; done`)
		gone := alive(t, dir)
		job := recorder.AudioJob{Mode: recorder.MixMono, Kbps: 48, Tracks: []recorder.AudioTrack{{Kind: recorder.AgentAudio, Source: blocked{}}}}
		if err := c.Audio(t.Context(), job, writer(func([]byte) error { return broken }), nil); !errors.Is(err, broken) {
			t.Errorf("error is %v, want the consumer's", err)
		}
		gone()
	})
}

// What a child leaves behind would hold the pipes open; it is ended with its parent.
func TestGrandchildren(t *testing.T) {
	t.Parallel()
	c, dir := fake(t, `exec 9>$DIR/alive; sleep 1000 & exit 4`)
	gone := alive(t, dir)
	var exit *compose.ExitError
	if err := c.Video(t.Context(), card(), io.Discard); !errors.As(err, &exit) || exit.Code != 4 {
		t.Errorf("error is %v, want exit code 4", err)
	}
	gone()
}

// The child is niced, in its own group, dies with us, and does not see our environment.
func TestChildIsSetApart(t *testing.T) {
	t.Setenv("DUALREC_TEST_SECRET", "hunter2")
	c, dir := fake(t, `head -c1 <&3 >/dev/null; cat /proc/$$/stat > $DIR/stat; env > $DIR/env; exit 0`, func(c *compose.Config) { c.Nice = 7 })
	job := recorder.AudioJob{Mode: recorder.MixMono, Kbps: 48, Tracks: []recorder.AudioTrack{{Kind: recorder.AgentAudio, Source: &opus{packets: 1}}}}
	if err := c.Audio(t.Context(), job, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(b), " ")
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest) // state, ppid, pgrp …; nice is field 19 of all (proc(5))
	if f[2] != pid || f[16] != "7" {
		t.Errorf("process group %s of %s, nice %s, want its own group and 7", f[2], pid, f[16])
	}
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil || strings.Contains(string(env), "hunter2") {
		t.Errorf("the child sees our environment (%v)", err)
	}
}

func TestAlreadyCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := composer(t).Video(ctx, card(), io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
}

// FFmpeg that delivers another number of frames than planned is found out, whatever its exit code. Output frames are
// counted, also where only some of them are encoded.
func TestWrongFrameCount(t *testing.T) {
	t.Parallel()
	const two = `printf '\000\000\001\147abc\000\000\001\150d\000\000\001\145\210x\000\000\001\101\232y'; echo "a frame was lost" >&2`
	var count *compose.FrameCountError
	for _, tt := range []struct {
		name, script string
		repeat       compose.Switch
		got          int64
	}{
		{"every frame encoded", two, compose.Off, 2},
		{"one too many encoded", two, compose.On, 4},
		{"none encoded", `echo "a frame was lost" >&2`, compose.On, 0},
	} {
		c, _ := fake(t, tt.script, func(c *compose.Config) { c.RepeatFrames = tt.repeat })
		if err := c.Video(t.Context(), card(), io.Discard); !errors.As(err, &count) || count.Count != (recorder.FrameCountError{Want: 3, Got: tt.got}) || count.Stderr != "a frame was lost" {
			t.Errorf("%s: error is %v, want a *FrameCountError of %d instead of 3", tt.name, err, tt.got)
		}
	}
	core, isError := any(&recorder.FrameCountError{}).(error)
	if inner := errors.Unwrap(count); isError && (inner == nil || fmt.Sprintf("%T", inner) != fmt.Sprintf("%T", core)) {
		t.Errorf("inside is %T, want the core's own error", inner)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	found, err := composer(t).Probe(t.Context())
	if err != nil || !strings.HasPrefix(found.Version, "ffmpeg version ") || len(found.Missing) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	poor, _ := fake(t, `case "$2" in -version) echo "ffmpeg version 4.4";; -encoders) echo " A....D aac  AAC"; echo " A..... pcm_s16le x"; echo " A.... pcm_u8 x";; *) exec ffmpeg "$@";; esac`)
	found, err = poor.Probe(t.Context())
	var missing *compose.MissingError
	if !errors.As(err, &missing) || len(found.Missing) != 1 || found.Missing[0] != "encoder libx264" || found.Version != "ffmpeg version 4.4" {
		t.Errorf("%+v, %v, want encoder libx264 missing", found, err)
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := compose.New(compose.Config{Nice: 40, QP: 90, Preset: "warp", StallTimeout: -1, KeyframeInterval: time.Hour, RepeatFrames: 9}, slog.New(slog.DiscardHandler))
	for _, want := range []string{"nice 40", "qp 90", `"warp"`, "stall timeout", "keyframe interval", "repeat frames"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}
