package integration_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// crowd plays calls at once to a server whose encoders get no processor until the calls are over, which is as slow as a
// machine can be. Not one packet is lost by it; composing is as late as the calls are long, and then all files are there.
func crowd(t *testing.T, calls int, media *player.Call, length time.Duration) {
	t.Helper()
	s := newSite(t, harness.Options{Args: []string{"--port-min", strconv.Itoa(crowdPorts), "--port-max", strconv.Itoa(crowdPorts + 8*calls)}})
	s.set(t, madeQueue, "--resolution", "FIT_1080P")
	stop := hold(t, s)
	var playing, all sync.WaitGroup
	results, errs := make([]player.Result, calls), make([]error, calls)
	ctx, cancel := context.WithTimeout(t.Context(), length+10*time.Minute)
	defer cancel()
	for i := range calls {
		playing.Add(1)
		over := sync.OnceFunc(playing.Done)
		all.Go(func() {
			defer over()
			results[i], errs[i] = player.Run(ctx, player.Config{Endpoint: s.URL + "/graphql", APIKey: s.service, PlaybackKey: s.reviewer, Call: media,
				ExternalID: nextCall(), Queue: madeQueue, Agent: fmt.Sprintf("agent-%d", i), Duration: length, Timeout: 10 * time.Minute,
				Out: filepath.Join(t.TempDir(), "call.mp4"), Progress: func(p player.Progress) {
					if p.Phase == "compose" {
						over()
					}
				}})
		})
	}
	playing.Wait()
	lag := s.lags(t)
	stop()
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if len(lag) != calls || lag[0] < int(length.Milliseconds())-2000 {
		t.Errorf("when the calls are over composing is late by %v ms, want about %v in each", lag, length)
	}
	for i, r := range results {
		if r.Capture != "AVAILABLE" {
			t.Errorf("call %d is %s", i, r.Capture)
		}
		v, err := s.look(t.Context(), r.RecordingID)
		if err != nil {
			t.Fatal(err)
		}
		for _, track := range r.Tracks {
			if got := v.track(track.Kind).Stats; uint64(got.Packets) != track.Sent.RTP || got.Lost > 0 {
				t.Errorf("call %d: %d packets of %s were sent, counted %+v", i, track.Sent.RTP, track.Kind, got)
			}
		}
		if len(v.Gaps) > 0 {
			t.Errorf("call %d has gaps: %+v", i, v.Gaps)
		}
		checkDuration(t, v.DurationMs, length, time.Duration(r.MaxLateMs*float64(time.Millisecond)))
		if err := mediacheck.Decodes(t.Context(), r.Out); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

// crowdPorts is a range that no other server of the tests gets.
const crowdPorts = 30000

// hold stops every encoder of a server as soon as it is there. The returned function lets all of them run again.
func hold(t *testing.T, s *site) (letGo func()) {
	t.Helper()
	over, done := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-over:
				_, err := s.signal(syscall.SIGCONT)
				done <- err
				return
			case <-tick.C:
				if _, err := s.signal(syscall.SIGSTOP); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	letGo = sync.OnceFunc(func() {
		close(over)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(letGo)
	return letGo
}

// lags tells how late composing is, of every recording that is not over, the least first.
func (s *site) lags(t *testing.T) (ms []int) {
	t.Helper()
	var out struct {
		Recordings struct{ Edges []struct{ Node view } }
	}
	err := s.MustQuery(t.Context(), s.admin, `{ recordings(first: 100) { edges { node { id capture composeLagMs } } } }`, nil, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range out.Recordings.Edges {
		ms = append(ms, e.Node.ComposeLagMs)
	}
	slices.Sort(ms)
	return ms
}

func TestCrowd(t *testing.T) {
	t.Parallel()
	const length = 9 * second
	crowd(t, 6, dual(length, player.RepairNACK).media(t), length)
}

func TestCrowdOfTwentyFive(t *testing.T) {
	if !long {
		t.Skip("minutes of encoding: set DUALREC_LONG=1, or run make test-long")
	}
	crowd(t, 25, capture(t, "chrome-vp8"), 30*second)
}
