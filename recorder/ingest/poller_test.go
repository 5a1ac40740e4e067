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
