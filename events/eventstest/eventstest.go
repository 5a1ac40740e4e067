// Package eventstest holds the conformance suite that every events.Bus passes, and a bus in memory for tests of
// code that uses one. It is not for programs.
package eventstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/events"
)

const patience = 10 * time.Second

// Run checks a bus. open makes an empty one that the test may close; its cleanup is the opener's concern.
func Run(t *testing.T, open func(t *testing.T) events.Bus) {
	t.Helper()
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, bus events.Bus)
	}{
		{"delivers to the tenant's subscribers only", deliversToTenant},
		{"merges changes of one recording while they wait", merges},
		{"starts now without a position", startsNow},
		{"resumes after a position", resumes},
		{"resumes at its own latest position", resumesAtHead},
		{"refuses positions of another epoch", func(t *testing.T, bus events.Bus) {
			refuses(t, bus, func(p events.Position) events.Position { p.Epoch += "x"; return p }, events.ReasonEpoch)
		}},
		{"refuses offsets that are no numbers", func(t *testing.T, bus events.Bus) {
			refuses(t, bus, func(p events.Position) events.Position { p.Offset = "-1"; return p }, events.ReasonInvalid)
		}},
		{"refuses offsets from the future", func(t *testing.T, bus events.Bus) {
			refuses(t, bus, func(p events.Position) events.Position { p.Offset = "18446744073709551615"; return p }, events.ReasonInvalid)
		}},
		{"a change without a recording is a gap", gapChange},
		{"refuses malformed changes", refusesMalformed},
		{"ends with its context", endsWithContext},
		{"ends when the bus closes", endsWithBus},
		{"many publishers and viewers lose nothing", storm},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(t, open(t))
		})
	}
}

func change(tenant, rec, kind string) events.Change {
	return events.Change{TenantID: tenant, RecordingID: rec, Kind: kind}
}

func publish(t *testing.T, bus events.Bus, cs ...events.Change) {
	t.Helper()
	for _, c := range cs {
		if err := bus.Publish(c); err != nil {
			t.Fatalf("publish %v: %v", c, err)
		}
	}
}

func subscribe(t *testing.T, bus events.Bus, tenant string, from *events.Position) events.Subscription {
	t.Helper()
	s, err := bus.Subscribe(t.Context(), tenant, from)
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Await takes batches until done says that it has seen enough.
func Await(t *testing.T, s events.Subscription, done func(events.Batch) bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		if b, ok := s.Take(); ok {
			if done(b) {
				return
			}
			continue
		}
		select {
		case _, open := <-s.Ready():
			if !open {
				t.Fatalf("subscription ended: %v", s.Err())
			}
		case <-limit.C:
			t.Fatal("no further batch")
		}
	}
}

func awaitRecording(t *testing.T, s events.Subscription, id string) (b events.Batch) {
	t.Helper()
	Await(t, s, func(got events.Batch) bool {
		b = got
		return got.Gap != "" || slices.ContainsFunc(got.Changes, func(m events.Merged) bool { return m.RecordingID == id })
	})
	if b.Gap != "" {
		t.Fatalf("gap %s, want recording %s", b.Gap, id)
	}
	return b
}

func deliversToTenant(t *testing.T, bus events.Bus) {
	a, b := subscribe(t, bus, "ten_a", nil), subscribe(t, bus, "ten_b", nil)
	publish(t, bus, change("ten_a", "rec_1", "STATUS"), change("ten_b", "rec_2", "STATUS"), change("ten_a", "rec_3", "STATUS"))
	seen := map[string]bool{}
	collect := func(s events.Subscription, last string) {
		Await(t, s, func(got events.Batch) bool {
			for _, m := range got.Changes {
				seen[m.RecordingID] = true
			}
			return seen[last]
		})
	}
	collect(a, "rec_3")
	if seen["rec_2"] || !seen["rec_1"] {
		t.Fatalf("tenant a saw %v", seen)
	}
	clear(seen)
	collect(b, "rec_2")
	if len(seen) != 1 {
		t.Fatalf("tenant b saw %v", seen)
	}
}

func merges(t *testing.T, bus events.Bus) {
	quick, slow := subscribe(t, bus, "ten_a", nil), subscribe(t, bus, "ten_a", nil)
	for i := range 5 {
		publish(t, bus, change("ten_a", "rec_1", "STATUS"), change("ten_a", "rec_1", "PROGRESS"), change("ten_a", fmt.Sprint("mark_", i), "STATUS"))
		awaitRecording(t, quick, fmt.Sprint("mark_", i))
	}
	b := awaitRecording(t, slow, "mark_4") // whatever came before it waits in the same queue
	n := 0
	for _, m := range b.Changes {
		if m.RecordingID == "rec_1" {
			n++
			if !slices.Equal(m.Kinds, []string{"PROGRESS", "STATUS"}) {
				t.Errorf("kinds %v", m.Kinds)
			}
		}
	}
	if n > 1 {
		t.Fatalf("rec_1 is in the batch %d times", n)
	}
}

func startsNow(t *testing.T, bus events.Bus) {
	first := subscribe(t, bus, "ten_a", nil)
	publish(t, bus, change("ten_a", "rec_old", "STATUS"))
	awaitRecording(t, first, "rec_old")
	s := subscribe(t, bus, "ten_a", nil)
	if st := s.Start(); st.Resumed || st.Reason != "" || st.Position.Epoch == "" {
		t.Fatalf("start %+v", st)
	}
	publish(t, bus, change("ten_a", "rec_new", "STATUS"))
	b := awaitRecording(t, s, "rec_new")
	if len(b.Changes) != 1 {
		t.Fatalf("got %v, want rec_new only", b.Changes)
	}
}

func resumes(t *testing.T, bus events.Bus) {
	first := subscribe(t, bus, "ten_a", nil)
	publish(t, bus, change("ten_a", "rec_1", "STATUS"))
	pos := awaitRecording(t, first, "rec_1").Position
	publish(t, bus, change("ten_a", "rec_2", "STATUS"), change("ten_b", "rec_x", "STATUS"), change("ten_a", "rec_3", "STATUS"))
	awaitRecording(t, first, "rec_3")
	again := subscribe(t, bus, "ten_a", &pos)
	if st := again.Start(); !st.Resumed || st.Position != pos {
		t.Fatalf("start %+v, want resumed at %+v", st, pos)
	}
	var got []string
	Await(t, again, func(b events.Batch) bool {
		for _, m := range b.Changes {
			got = append(got, m.RecordingID)
		}
		return slices.Contains(got, "rec_3")
	})
	if !slices.Equal(got, []string{"rec_2", "rec_3"}) {
		t.Fatalf("resumed with %v, want rec_2 and rec_3", got)
	}
}

func resumesAtHead(t *testing.T, bus events.Bus) {
	first := subscribe(t, bus, "ten_a", nil)
	publish(t, bus, change("ten_a", "rec_1", "STATUS"))
	awaitRecording(t, first, "rec_1")
	pos := first.Position()
	again := subscribe(t, bus, "ten_a", &pos)
	if !again.Start().Resumed {
		t.Fatalf("start %+v", again.Start())
	}
	if b, ok := again.Take(); ok {
		t.Fatalf("nothing happened since, got %+v", b)
	}
}

func refuses(t *testing.T, bus events.Bus, spoil func(events.Position) events.Position, reason string) {
	first := subscribe(t, bus, "ten_a", nil)
	publish(t, bus, change("ten_a", "rec_1", "STATUS"))
	pos := spoil(awaitRecording(t, first, "rec_1").Position)
	s := subscribe(t, bus, "ten_a", &pos)
	if st := s.Start(); st.Resumed || st.Reason != reason || st.Position.Epoch == pos.Epoch && st.Position.Offset == pos.Offset {
		t.Fatalf("start %+v, want reason %s", st, reason)
	}
	publish(t, bus, change("ten_a", "rec_2", "STATUS"))
	awaitRecording(t, s, "rec_2")
}

func gapChange(t *testing.T, bus events.Bus) {
	s := subscribe(t, bus, "ten_a", nil)
	other := subscribe(t, bus, "ten_b", nil)
	publish(t, bus, change("ten_a", "", "STATUS"), change("ten_b", "rec_1", "STATUS"))
	Await(t, s, func(b events.Batch) bool {
		if b.Gap != events.ReasonOverflow || len(b.Changes) != 0 {
			t.Fatalf("batch %+v, want a gap", b)
		}
		return true
	})
	awaitRecording(t, other, "rec_1")
}

func refusesMalformed(t *testing.T, bus events.Bus) {
	for name, c := range map[string]events.Change{
		"no tenant":     {RecordingID: "rec_1", Kind: "STATUS"},
		"long id":       {TenantID: string(make([]byte, 300)), Kind: "STATUS"},
		"zero byte":     {TenantID: "a\x00b", Kind: "STATUS"},
		"too long kind": {TenantID: "a", Kind: string(make([]byte, 100))},
	} {
		if err := bus.Publish(c); !errors.Is(err, events.ErrChange) {
			t.Errorf("%s: %v, want ErrChange", name, err)
		}
	}
}

func endsWithContext(t *testing.T, bus events.Bus) {
	why := errors.New("viewer gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	s, err := bus.Subscribe(ctx, "ten_a", nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel(why)
	awaitEnd(t, s)
	if !errors.Is(s.Err(), why) {
		t.Fatalf("err %v, want the cause", s.Err())
	}
	s.Close()
	s.Close()
}

func endsWithBus(t *testing.T, bus events.Bus) {
	s := subscribe(t, bus, "ten_a", nil)
	if err := bus.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	awaitEnd(t, s)
	if !errors.Is(s.Err(), events.ErrClosed) {
		t.Fatalf("err %v", s.Err())
	}
	if err := bus.Publish(change("ten_a", "rec_1", "STATUS")); !errors.Is(err, events.ErrClosed) {
		t.Fatalf("publish after close: %v", err)
	}
	if _, err := bus.Subscribe(t.Context(), "ten_a", nil); !errors.Is(err, events.ErrClosed) {
		t.Fatalf("subscribe after close: %v", err)
	}
	if err := bus.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
}

func awaitEnd(t *testing.T, s events.Subscription) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		select {
		case _, open := <-s.Ready():
			if !open {
				return
			}
		case <-limit.C:
			t.Fatal("subscription did not end")
		}
	}
}

func storm(t *testing.T, bus events.Bus) {
	const publishers, each, viewers = 4, 50, 8
	subs := make([]events.Subscription, viewers)
	for i := range subs {
		subs[i] = subscribe(t, bus, "ten_a", nil)
	}
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				if err := bus.Publish(change("ten_a", fmt.Sprintf("rec_%d_%d", p, i), "STATUS")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, s := range subs {
		seen, last := map[string]bool{}, uint64(0)
		Await(t, s, func(b events.Batch) bool {
			for _, m := range b.Changes {
				seen[m.RecordingID] = true
			}
			at, err := strconv.ParseUint(b.Position.Offset, 10, 64)
			if err != nil || at <= last || b.Gap != "" {
				t.Fatalf("batch at %q after %d, gap %q: %v", b.Position.Offset, last, b.Gap, err)
			}
			last = at
			return len(seen) == publishers*each
		})
	}
	wg.Wait()
}
