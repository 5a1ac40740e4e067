package ingest

import (
	"testing"
	"time"
)

func TestBeats(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		granted int
		want    time.Duration
	}{
		{"what Linux grants without being told to", 212_992, quickBeat},
		{"a little less than enough", roomForCalm - 1, quickBeat},
		{"enough", roomForCalm, calmBeat},
		{"the default", DefaultConfig().ReceiveBuffer, calmBeat},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			beat := beatFor(tc.granted)
			if beat != tc.want {
				t.Fatalf("%v, want %v", beat, tc.want)
			}
			// Pollers that rest from different moments on wake at the same one.
			start := epoch.Truncate(beat)
			for _, at := range []time.Duration{0, 1, beat / 3, beat - 1} {
				if woken := start.Add(at).Add(untilBeat(start.Add(at), beat)); !woken.Equal(start.Add(beat)) {
					t.Errorf("resting at %v, woken at %v", at, woken.Sub(start))
				}
			}
		})
	}
}

// TestRest: between two calm beats a poller wakes for a lease that is in a hurry, on the finer beat.
func TestRest(t *testing.T) {
	t.Parallel()
	calm := epoch.Truncate(calmBeat).Add(calmBeat)
	at := func(n int) time.Time { return calm.Add(-calmBeat).Add(time.Duration(n) * time.Millisecond) }
	for _, tc := range []struct {
		name  string
		now   int
		wants []int // 0: no hurry
		want  int
	}{
		{"nobody is in a hurry", 3, []int{0, 0}, 100},
		{"one is", 3, []int{0, 30}, 50},
		{"the earliest counts", 3, []int{80, 20, 55}, 25},
		{"later than the calm beat", 3, []int{130}, 100},
		{"overdue", 30, []int{5}, 50},
		{"right behind a beat", 25, []int{25}, 50},
		{"no leases", 3, nil, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var leases []*Lease
			for _, w := range tc.wants {
				l := &Lease{}
				if w != 0 {
					l.wants.Store(at(w).UnixNano())
				}
				leases = append(leases, l)
			}
			now := at(tc.now)
			if got := now.Add((&poller{}).rest(now, calm, leases)); !got.Equal(at(tc.want)) {
				t.Errorf("woken at %v, want %v", got.Sub(at(0)), at(tc.want).Sub(at(0)))
			}
		})
	}
}
