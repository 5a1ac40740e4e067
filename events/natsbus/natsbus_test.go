package natsbus

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/dualrec/dualrec/events"
	"github.com/dualrec/dualrec/events/eventstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg Config) *Bus {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

func TestConforms(t *testing.T) {
	t.Parallel()
	eventstest.Run(t, func(t *testing.T) events.Bus { return open(t, Config{}) })
}

// publishSome returns the position after each of n changes of tenant a.
func publishSome(t *testing.T, b *Bus, n int) []events.Position {
	t.Helper()
	s, err := b.Subscribe(t.Context(), "ten_a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var ps []events.Position
	for i := range n {
		if err := b.Publish(events.Change{TenantID: "ten_a", RecordingID: fmt.Sprint("rec_", i), Kind: "STATUS"}); err != nil {
			t.Fatal(err)
		}
		eventstest.Await(t, s, func(got events.Batch) bool { ps = append(ps, got.Position); return true })
	}
	return ps
}

func startFrom(t *testing.T, b *Bus, p events.Position) (events.Start, events.Subscription) {
	t.Helper()
	s, err := b.Subscribe(t.Context(), "ten_a", &p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Start(), s
}

func TestPositionSurvivesAnOrderlyRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, Config{Dir: dir})
	ps := publishSome(t, first, 3)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, Config{Dir: dir})
	st, s := startFrom(t, second, ps[0])
	if !st.Resumed {
		t.Fatalf("start %+v", st)
	}
	if b, ok := s.Take(); !ok || len(b.Changes) != 2 {
		t.Fatalf("replayed %+v, want two recordings", b)
	}
}

// A server that was killed may have lost its newest entries and give their numbers to others, so that a position
// from before the crash proves nothing.
func TestCrashMakesANewEpoch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, marker string)
	}{
		{"marker absent", func(t *testing.T, marker string) {
			if err := os.Remove(marker); err != nil {
				t.Fatal(err)
			}
		}},
		{"marker of another length of the log", func(t *testing.T, marker string) {
			if err := os.WriteFile(marker, []byte("9\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			first := open(t, Config{Dir: dir})
			ps := publishSome(t, first, 2)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			tc.spoil(t, filepath.Join(dir, "closed-at"))
			second := open(t, Config{Dir: dir})
			if st, _ := startFrom(t, second, ps[0]); st.Resumed || st.Reason != events.ReasonEpoch {
				t.Fatalf("start %+v, want a new epoch", st)
			}
			if err := second.Close(); err != nil {
				t.Fatal(err)
			}
			third := open(t, Config{Dir: dir})
			if third.fan.Epoch() != second.fan.Epoch() {
				t.Fatal("the new epoch did not stay")
			}
		})
	}
}

func TestExpiredPositionNeedsASnapshot(t *testing.T) {
	t.Parallel()
	b := open(t, Config{MaxMessages: 3})
	ps := publishSome(t, b, 6) // the log holds 4, 5, 6
	for i, resumed := range []bool{false, false, true, true, true, true} {
		st, s := startFrom(t, b, ps[i])
		if st.Resumed != resumed || !resumed && st.Reason != events.ReasonExpired {
			t.Errorf("position after change %d: %+v", i+1, st)
		}
		if got, _ := s.Take(); resumed && len(got.Changes) != 5-i {
			t.Errorf("position after change %d: replayed %d, want %d", i+1, len(got.Changes), 5-i)
		}
	}
}

func TestTooFarBehindNeedsASnapshot(t *testing.T) {
	t.Parallel()
	b := open(t, Config{MaxReplay: 2})
	ps := publishSome(t, b, 4)
	if st, s := startFrom(t, b, ps[0]); st.Resumed || st.Reason != events.ReasonTooFar {
		t.Errorf("three behind: %+v", st)
	} else if got, ok := s.Take(); ok {
		t.Errorf("a broken-off replay was delivered: %+v", got)
	}
	if st, _ := startFrom(t, b, ps[1]); !st.Resumed {
		t.Errorf("two behind: %+v", st)
	}
}

// Whoever else can write to the cluster must not be able to put words into another tenant's mouth.
func TestForeignEntryIsAGapAndNothingElse(t *testing.T) {
	t.Parallel()
	b := open(t, Config{})
	s, err := b.Subscribe(t.Context(), "ten_a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	forged, err := json.Marshal(events.Change{TenantID: "ten_a", RecordingID: "rec_forged", Kind: "STATUS"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.Publish(t.Context(), subject("ten_b"), forged); err != nil {
		t.Fatal(err)
	}
	eventstest.Await(t, s, func(got events.Batch) bool {
		if got.Gap != events.ReasonLogGap || got.Changes != nil {
			t.Fatalf("batch %+v", got)
		}
		return true
	})
}

// Two processes on one log: a second bus that reads the same server sees what the first publishes, and takes over
// its positions.
func TestTwoNodesShareOneLog(t *testing.T) {
	t.Parallel()
	a := open(t, Config{})
	node := &Bus{cfg: a.cfg, nc: a.nc, js: a.js}
	epoch, last, err := node.openStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node.fan = events.NewFanout(epoch, last, 0)
	if err := node.read(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	defer func() { node.feed.Stop(); <-node.feed.Closed(); node.fan.Close() }()
	ps := publishSome(t, a, 3)
	if st, _ := startFrom(t, node, ps[1]); !st.Resumed {
		t.Fatalf("start at the other node %+v", st)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"nothing":        {},
		"negative limit": {Dir: t.TempDir(), MaxReplay: -1},
		"dir is a file":  {Dir: file},
		"nobody at url":  {URL: "nats://127.0.0.1:1"},
		"not a url":      {URL: "nats://%%%"},
	} {
		if b, err := Open(t.Context(), cfg); err == nil {
			t.Errorf("%s: opened", name)
			_ = b.Close()
		}
	}
}

func TestStreamLimits(t *testing.T) {
	t.Parallel()
	b := open(t, Config{MaxMessages: 7})
	info, err := b.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := info.Config; c.MaxMsgs != 7 || c.MaxAge == 0 || c.MaxBytes <= 0 || c.Storage != jetstream.FileStorage {
		t.Fatalf("config %+v", c)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("dualrec.change.dGVuX2E", []byte(`{"tenant_id":"ten_a","recording_id":"r","kind":"STATUS"}`))
	f.Add("dualrec.change.dGVuX2I", []byte(`{"tenant_id":"ten_a"}`))
	f.Add("", []byte(`null`))
	f.Fuzz(func(t *testing.T, subj string, data []byte) {
		if c, err := decode(subj, data); err == nil && (subject(c.TenantID) != subj || c.Validate() != nil) {
			t.Fatalf("accepted %+v under %q", c, subj)
		}
	})
}

func BenchmarkFanOut(b *testing.B) {
	bus, err := Open(b.Context(), Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = bus.Close() }()
	const viewers = 1000
	for range viewers {
		if _, err := bus.Subscribe(b.Context(), "ten_a", nil); err != nil {
			b.Fatal(err)
		}
	}
	c := events.Change{TenantID: "ten_a", RecordingID: "rec_1", Kind: "PROGRESS"}
	for i := 0; b.Loop(); i++ {
		bus.fan.Dispatch(bus.fan.Last()+1, c)
	}
	b.ReportMetric(float64(viewers)*float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
