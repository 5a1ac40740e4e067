package integration_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
)

// TestPostgres: the same call with the catalog on PostgreSQL, and a restart in between.
func TestPostgres(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db, err := harness.StartPostgres(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s := newSite(t, harness.Options{Database: db.URL})
	s.set(t, "postgres", "--resolution", "FIT_1080P")
	c := s.startCall(t, capture(t, "chrome-h264"), player.StartInput{Queue: "postgres"})
	c.play(8 * time.Second)
	v, path := c.finish()
	checkDuration(t, v.DurationMs, 8*time.Second, c.late)
	if len(v.Gaps) != 0 {
		t.Errorf("gaps %+v", v.Gaps)
	}
	checkSkew(t, path, screenFit, webcamFit, 4)
	likeSource(t, path, c.media, "SCREEN", screenFit, 30, 1000, 5500)
	if _, err := os.Stat(s.Data + "/dualrec.db"); err == nil {
		t.Error("there is a SQLite database beside PostgreSQL")
	}
	stop, cancelStop := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancelStop()
	if err := s.Stop(stop); err != nil {
		t.Fatal(err)
	}
	s.again(t)
	if after, err := s.look(t.Context(), c.started.ID); err != nil || after.Capture != "AVAILABLE" || after.DurationMs != v.DurationMs {
		t.Errorf("after a restart: %+v, error %v", after, err)
	}
	for bearer, want := range map[string]int{s.reviewer: 1, s.rival: 0} {
		var out struct{ Recordings struct{ TotalCount int } }
		if err := s.MustQuery(t.Context(), bearer, `{ recordings(first: 5) { totalCount } }`, nil, &out); err != nil || out.Recordings.TotalCount != want {
			t.Errorf("%d recordings, want %d, error %v", out.Recordings.TotalCount, want, err)
		}
	}
}
