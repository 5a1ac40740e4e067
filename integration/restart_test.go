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

// again starts a server that has ended on the same data.
func (s *site) again(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestRestart: the process ends in the middle of everything, by request and by kill -9. What was captured up to a second
// before is in one file, and nothing needs a hand.
func TestRestart(t *testing.T) {
	t.Parallel()
	const at = 5500 * time.Millisecond
	for _, c := range []struct {
		name string
		end  func(*testing.T, *site)
		lost time.Duration // at most
	}{
		{name: "asked to end", end: func(t *testing.T, s *site) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := s.Stop(ctx); err != nil {
				t.Error(err)
			}
		}, lost: 100 * time.Millisecond},
		{name: "killed", end: func(_ *testing.T, s *site) { s.Kill() }, lost: time.Second},
	} {
		t.Run(c.name+" during a call", func(t *testing.T) {
			t.Parallel()
			s := newSite(t, harness.Options{})
			s.set(t, "restart", "--resolution", "FIT_1080P")
			call := s.startCall(t, capture(t, "chrome-vp8"), player.StartInput{Queue: "restart"})
			call.play(at)
			c.end(t, s)
			s.again(t)
			v := s.await(t, call.started.ID, "AVAILABLE", "PARTIAL")
			least, most := (at - c.lost - 50*time.Millisecond).Milliseconds(), (at + 100*time.Millisecond + call.late).Milliseconds()
			if int64(v.DurationMs) < least || int64(v.DurationMs) > most || v.Capture != "AVAILABLE" {
				t.Errorf("%s with %d ms, want AVAILABLE with %d to %d", v.Capture, v.DurationMs, least, most)
			}
			path := s.fetch(t, call.started.ID)
			checkSkew(t, path, screenFit, webcamFit, 2)
			likeSource(t, path, call.media, "SCREEN", screenFit, 30, 1000, 4500)
			likeSource(t, path, call.media, "WEBCAM", webcamFit, 30, 1000, 4500)
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
