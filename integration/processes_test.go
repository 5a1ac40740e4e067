package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
)

// encoders lists the FFmpeg processes that a server has now.
func encoders(server int) (pids []int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (comm) state ppid …; comm may hold anything
		open, shut := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
		if open < 0 || shut < open {
			continue
		}
		rest := strings.Fields(string(raw[shut+1:]))
		if string(raw[open+1:shut]) != "ffmpeg" || len(rest) < 2 || rest[1] != strconv.Itoa(server) || rest[0] == "Z" {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(raw[:open])))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// signal sends a signal to all FFmpeg processes of a server and tells how many there were.
func (s *site) signal(to syscall.Signal) (n int, err error) {
	pids, err := encoders(s.Pid())
	for _, pid := range pids {
		switch e := syscall.Kill(pid, to); {
		case e == nil:
			n++
		case !errors.Is(e, syscall.ESRCH):
			err = errors.Join(err, fmt.Errorf("signal FFmpeg: %w", e))
		}
	}
	return n, err
}

// TestEncodersAreKilled: kill -9 of every FFmpeg again and again during a call costs nothing but work.
func TestEncodersAreKilled(t *testing.T) {
	t.Parallel()
	const length = 10 * second
	s := newSite(t, harness.Options{})
	m := dual(length, player.RepairNone)
	c := s.startMade(t, m, player.StartInput{}, nil)
	killed := make(chan int, 10)
	kill := func() error {
		n, err := s.signal(syscall.SIGKILL)
		killed <- n
		return err
	}
	var what []during
	for at := 4 * second; at < length; at += 700 * time.Millisecond {
		what = append(what, during{at, kill})
	}
	c.playMade(m, what...)
	close(killed)
	total := 0
	for n := range killed {
		total += n
	}
	if total == 0 {
		t.Error("there was no FFmpeg to kill")
	}
	r := c.finishMade(m)
	r.checkOtherGaps(t)
	for _, kind := range []string{"SCREEN", "WEBCAM"} {
		r.checkEveryPicture(t, m, kind, 0, length-most)
	}
}

// TestEncodersAreHeld: FFmpeg gets no processor for a while. What is captured meanwhile is composed later.
func TestEncodersAreHeld(t *testing.T) {
	t.Parallel()
	const length = 10 * second
	s := newSite(t, harness.Options{})
	m := dual(length, player.RepairNone)
	c := s.startMade(t, m, player.StartInput{}, nil)
	letGo := hold(t, s)
	c.playMade(m, during{8 * second, func() error { letGo(); return nil }})
	r := c.finishMade(m)
	r.checkOtherGaps(t)
	for _, kind := range []string{"SCREEN", "WEBCAM"} {
		r.checkEveryPicture(t, m, kind, 0, length-most)
		if got, want := uint64(r.v.track(kind).Stats.Packets), c.senderOf(kind).Sent().RTP; got != want {
			t.Errorf("%s: %d packets of %d were received", kind, got, want)
		}
	}
}
