package integration_test

import (
	"context"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// movies counts the videos of a recording in the local object store.
func (s *site) movies(t *testing.T, id string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(s.Data, "objects"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "call.mp4.drenc" && filepath.Base(filepath.Dir(path)) == id {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkDowntime: the ledger has one entry for each track, from at most a second before the process was gone until it could
// listen again, which is before it was ready to answer; and nothing of that time counts as lost on the way.
func checkDowntime(t *testing.T, v view, gone, back time.Duration) {
	t.Helper()
	n := 0
	for _, g := range v.Gaps {
		from, to := time.Duration(g.FromMs)*time.Millisecond, time.Duration(g.ToMs)*time.Millisecond
		switch {
		case g.Kind == "LOST":
			t.Errorf("what was sent while nobody listened counts as lost: %+v", g)
		case g.Kind != "DOWNTIME":
		case from < gone-1300*time.Millisecond || from > gone+300*time.Millisecond || to > back+300*time.Millisecond || to <= from:
			t.Errorf("the recorder was away from %v to %v, the ledger says %+v", gone, back, g)
		default:
			n++
		}
	}
	if n != len(v.Tracks) {
		t.Errorf("%d entries of downtime for %d tracks: %+v", n, len(v.Tracks), v.Gaps)
	}
}

// again starts a server that has ended on the same data.
func (s *site) again(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestRestart: the process ends in the middle of everything, by request and by kill -9, and is started again. The SFU
// notices nothing and sends on. It is one recording with one file, and its ledger says for how long nobody listened.
func TestRestart(t *testing.T) {
	t.Parallel()
	const at, length = 5500 * time.Millisecond, 12 * time.Second
	for _, c := range []struct {
		name string
		end  func(*testing.T, *site) error
	}{
		{"asked to end", func(t *testing.T, s *site) error {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			return s.Stop(ctx)
		}},
		{"killed", func(_ *testing.T, s *site) error { s.Kill(); return nil }},
	} {
		t.Run(c.name+" during a call", func(t *testing.T) {
			t.Parallel()
			s := newSite(t, harness.Options{})
			s.set(t, "restart", "--resolution", "FIT_1080P")
			call := s.startCall(t, capture(t, "chrome-vp8"), player.StartInput{Queue: "restart"})
			var began, gone, back time.Time
			began = time.Now()
			call.play(length, during{at, func() error {
				gone = time.Now()
				if err := c.end(t, s); err != nil {
					return err
				}
				err := s.Start(t.Context())
				back = time.Now()
				return err
			}})
			// The call ends when the server that is back can be told so, which a busy machine delays.
			lasted := time.Since(began) - time.Second
			v, path := call.finish()
			checkDuration(t, v.DurationMs, max(length, lasted), call.late+2*time.Second)
			checkDowntime(t, v, gone.Sub(began), back.Sub(began))
			likeSource(t, path, call.media, "SCREEN", screenFit, 30, 1000, 4500, 11500)
			likeSource(t, path, call.media, "WEBCAM", webcamFit, 30, 1000, 4500, 11500)
			if err := mediacheck.Decodes(t.Context(), path); err != nil {
				t.Error(err)
			}
			if n := s.movies(t, call.started.ID); n != 1 {
				t.Errorf("%d videos in the store", n)
			}
		})
	}
	t.Run("killed while composing", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, harness.Options{Args: []string{"--workers", "1"}})
		call := s.startCall(t, capture(t, "chrome-vp8"), player.StartInput{})
		call.play(5 * time.Second)
		call.stop()
		if v, err := s.look(t.Context(), call.started.ID); err != nil || v.Capture != "FINALIZING" {
			t.Fatalf("right after the call it is %s, error %v", v.Capture, err)
		}
		s.Kill()
		s.again(t)
		v := s.await(t, call.started.ID, "AVAILABLE")
		path := s.fetch(t, call.started.ID)
		p, err := mediacheck.File(t.Context(), path)
		if err != nil || p.DurationMs-v.DurationMs > 40 || v.DurationMs-p.DurationMs > 40 {
			t.Errorf("%d ms, in the API %d, error %v", p.DurationMs, v.DurationMs, err)
		}
		checkDuration(t, v.DurationMs, 5*time.Second, call.late)
		if err := mediacheck.Decodes(t.Context(), path); err != nil {
			t.Error(err)
		}
		if n := s.movies(t, call.started.ID); n != 1 {
			t.Errorf("%d videos in the store", n)
		}
	})
}
