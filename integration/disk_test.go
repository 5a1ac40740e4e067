package integration_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
)

// smallDisk is a file system of 128 MiB.
type smallDisk struct{ dir string }

func newSmallDisk(t *testing.T) smallDisk {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	switch err := syscall.Mount("dualrec-test", dir, "tmpfs", 0, "size=128m,mode=0700"); {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		t.Skipf("a small file system cannot be mounted here (%v): run as root", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the server has ended, which was started later
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return smallDisk{dir}
}

// server's disk is watched with levels that fit its size.
func (d smallDisk) server(t *testing.T) *site {
	t.Helper()
	return newSite(t, harness.Options{Data: filepath.Join(d.dir, "data"), Args: []string{"--spool-free", "50331648,33554432,16777216", "--spool-reserve", "8388608"}})
}

// fill leaves so many bytes free.
func (d smallDisk) fill(leave int64) func() error {
	return func() error {
		var st syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &st); err != nil {
			return err
		}
		ballast := int64(st.Bavail)*st.Bsize - leave
		if ballast <= 0 {
			return fmt.Errorf("only %d bytes are free before %d are to be left", int64(st.Bavail)*st.Bsize, leave)
		}
		f, err := os.Create(filepath.Join(d.dir, "ballast"))
		if err != nil {
			return err
		}
		defer f.Close()
		err = syscall.Fallocate(int(f.Fd()), 0, 0, ballast)
		if leave == 0 { // others have written meanwhile: the rest in small pieces
			for size := int64(1 << 16); size >= 4096; size /= 2 {
				for err == nil || errors.Is(err, syscall.ENOSPC) && size > 4096 {
					if err = syscall.Fallocate(int(f.Fd()), 0, ballast, size); err != nil {
						break
					}
					ballast += size
				}
			}
			if errors.Is(err, syscall.ENOSPC) {
				err = nil
			}
		}
		return err
	}
}

func (d smallDisk) free() error { return os.Remove(filepath.Join(d.dir, "ballast")) }

// TestDiskRunsLow: where there is little room left webcams are given up first and new recordings refused; the rest of the
// call is whole, the ledger says why, and with room again the webcam is back.
func TestDiskRunsLow(t *testing.T) {
	t.Parallel()
	d := newSmallDisk(t)
	s := d.server(t)
	const length = 10 * second
	m := dual(length, player.RepairNone)
	c := s.startMade(t, m, player.StartInput{}, nil)
	refused := make(chan error, 1)
	c.playMade(m, during{3 * second, d.fill(24 << 20)},
		during{5 * second, func() error {
			_, err := c.api.Start(t.Context(), player.StartInput{ExternalSessionID: nextCall(), Queue: madeQueue, Agent: "agent-18", Tracks: []string{"SCREEN"}})
			refused <- err
			return nil
		}},
		during{5500 * time.Millisecond, d.free})
	r := c.finishMade(m)
	var refusal player.UserErrors
	if err := <-refused; !errors.As(err, &refusal) || refusal[0].Code != "CAPACITY" {
		t.Errorf("a recording was to be refused for want of room, got %v", err)
	}
	r.checkDropped(t, "WEBCAM", 3*second, 5500*time.Millisecond)
	r.checkOtherGaps(t, "DROPPED WEBCAM", "FROZEN WEBCAM")
	r.checkEveryPicture(t, m, "SCREEN", 0, length-most)
}

// TestDiskIsFull: from one moment to the next not a byte can be written. Sound goes on from a reserve, pictures end, and the
// ledger says so; what had been captured is not lost.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	d := newSmallDisk(t)
	s := d.server(t)
	const length, full = 11 * second, 4 * second
	m := dual(length, player.RepairNone)
	c := s.startMade(t, m, player.StartInput{}, nil)
	c.playMade(m, during{full, d.fill(0)}, during{8 * second, d.free})
	r := c.finishMade(m)
	for _, kind := range []string{"SCREEN", "WEBCAM"} {
		r.checkDropped(t, kind, full, length)
		r.checkEveryPicture(t, m, kind, 0, full-second)
	}
	r.checkOtherGaps(t, "DROPPED", "FROZEN")
	heard := 0
	for _, at := range []float64{1, 3, 7, 9} {
		if _, ok := nearest(r.beeps, at); ok {
			heard++
		}
	}
	if heard < 4 {
		t.Errorf("tones at %.2f s, want those of 1, 3, 7 and 9 s", r.beeps)
	}
}

// checkDropped: the ledger says that a track was not written for want of room, from one instant to another. The disk is
// looked at once a second, and a track that comes back waits for a keyframe.
func (s shown) checkDropped(t *testing.T, kind string, from, to time.Duration) {
	t.Helper()
	gaps := s.v.gaps("DROPPED", kind)
	if !slices.ContainsFunc(gaps, func(g gap) bool { return strings.Contains(g.Detail, "disk full") }) {
		t.Errorf("%s: the ledger does not say that the disk was full: %+v", kind, s.v.Gaps)
		return
	}
	first, last := gaps[0].from(), gaps[len(gaps)-1].to()
	if first < from-second || first > from+2*second || last < to-gapsSlack || last > to+4*second {
		t.Errorf("%s: there was no room from %v to %v, the ledger says %+v", kind, from, to, gaps)
	}
}
