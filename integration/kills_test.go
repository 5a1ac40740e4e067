package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
)

// kill is one kill -9 of the server, on the call's clock.
type kill struct {
	at    time.Duration // the process is gone
	exec  time.Duration // it is started again
	ready time.Duration // it answers
}

// killing kills the server of a call and starts it again at once, while the call goes on.
type killing struct {
	c        *call
	began    time.Time
	mu       sync.Mutex
	done     []kill
	children []int
}

func (k *killing) kill() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	children, err := encoders(k.c.site.Pid())
	if err != nil {
		return err
	}
	k.children = append(k.children, children...)
	k.c.site.Kill()
	one := kill{at: time.Since(k.began)}
	ctx, cancel := context.WithTimeout(k.c.t.Context(), time.Minute)
	defer cancel()
	one.exec = time.Since(k.began)
	err = k.c.site.Start(ctx)
	one.ready = time.Since(k.began)
	k.done = append(k.done, one)
	return err
}

// tail is the part of a recording that a kill may cost: what was received in the last second before and was not on the
// disk yet.
const tail = second

// killed plays a call that is killed at certain instants, and judges what comes out.
func killed(t *testing.T, length time.Duration, at ...time.Duration) {
	t.Helper()
	s := newSite(t, harness.Options{})
	m := dual(length, player.RepairNACK)
	c := s.startMade(t, m, player.StartInput{}, nil)
	k := &killing{c: c, began: time.Now()}
	var what []during
	for _, at := range at {
		what = append(what, during{at, k.kill})
	}
	c.playMade(m, what...)
	c.late = max(c.late, time.Since(k.began)-length) // on a busy machine the last start may take until after the call
	r := c.finishMade(m)
	if n := s.movies(t, c.started.ID); n != 1 {
		t.Errorf("%d videos in the store", n)
	}
	for _, kind := range madeKinds {
		r.checkDowntimes(t, kind, k.done)
	}
	for _, kind := range []string{"SCREEN", "WEBCAM"} {
		missing := 0
		from := time.Duration(0)
		for _, one := range append(k.done, kill{at: length + tail - most}) {
			to := max(from, one.at-tail)
			seen, all := r.distinct(m, kind, from, to)
			if missing += all - seen; seen < all {
				t.Errorf("%s: %d of the %d pictures from %v to %v are shown, and none of them was in the last second before a kill", kind, seen, all, from, to)
			}
			from = one.ready + 2500*time.Millisecond // a keyframe has come by then
		}
		seen, all := r.distinct(m, kind, 0, length-most)
		t.Logf("%s: %d of %d pictures are shown", kind, seen, all)
	}
	for _, one := range k.done {
		t.Logf("killed at %v, started at %v, ready %v later", one.at, one.exec, one.ready-one.exec)
	}
	eventually(t, 10*second, "the encoders of the killed processes are gone", func() bool {
		return !slices.ContainsFunc(k.children, func(pid int) bool {
			comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			return err == nil && string(comm) == "ffmpeg\n"
		})
	})
}

// checkDowntimes: each kill is one entry, from a second before it at most until the new process listened, and what was
// not received meanwhile does not count as lost by the network.
func (s shown) checkDowntimes(t *testing.T, kind string, kills []kill) {
	t.Helper()
	gaps := s.v.gaps("DOWNTIME", kind)
	for _, one := range kills {
		n := 0
		for _, g := range gaps {
			if g.from() >= one.at-tail-3*gapsSlack && g.from() <= one.at+gapsSlack {
				n++
				if g.to() < one.exec-gapsSlack || g.to() > one.ready+2*gapsSlack {
					t.Errorf("%s: nobody listened from %v to between %v and %v, the ledger says %+v", kind, one.at, one.exec, one.ready, g)
				}
				t.Logf("%s: listening again %v after exec", kind, g.to()-one.exec)
			}
		}
		if n != 1 {
			t.Errorf("%s: the kill at %v is %d entries: %+v", kind, one.at, n, gaps)
		}
	}
	if len(gaps) != len(kills) {
		t.Errorf("%s: %d kills are %d entries: %+v", kind, len(kills), len(gaps), gaps)
	}
}

// TestKilledDuringACall: kill -9 twice in a call. It is one recording with one file.
func TestKilledDuringACall(t *testing.T) {
	t.Parallel()
	killed(t, 14*second, 4300*time.Millisecond, 9100*time.Millisecond)
}

// TestKilledTwentyTimes: kill -9 at twenty moments of one call that a seed chooses.
func TestKilledTwentyTimes(t *testing.T) {
	if !long {
		t.Skip("two minutes: set DUALREC_LONG=1, or run make test-long")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(20, 9))
	var at []time.Duration
	for i := range 20 {
		at = append(at, time.Duration(i)*6*second+second+time.Duration(random.Int64N(int64(4*second))))
	}
	killed(t, 122*second, at...)
}
