package retention_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/retention"
)

// TestTransitionsGolden pins both tables, so that a new arrow is a decision and not an accident.
func TestTransitionsGolden(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	table(&b, retention.Disposition.CanBecome)
	b.WriteByte('\n')
	table(&b, retention.Tier.CanBecome)
	golden(t, "states.golden", b.String())
}

type state interface {
	~string
	Values() []string
}

func table[S state](b *strings.Builder, can func(S, S) bool) {
	all := S("").Values()
	for _, from := range all {
		var to []string
		for _, s := range all {
			if s != from && can(S(from), S(s)) {
				to = append(to, s)
			}
		}
		fmt.Fprintln(b, strings.TrimSpace(fmt.Sprintf("%-13s-> %s", from, strings.Join(to, " "))))
	}
}

func TestNothingLeadsBackFromDeleting(t *testing.T) {
	t.Parallel()
	reached := map[retention.Disposition]bool{retention.Deleting: true}
	for range retention.Retained.Values() {
		for from := range reached {
			for _, to := range from.Values() {
				if from.CanBecome(retention.Disposition(to)) {
					reached[retention.Disposition(to)] = true
				}
			}
		}
	}
	if reached[retention.Retained] || reached[retention.Due] {
		t.Errorf("from DELETING one gets to %v", reached)
	}
	for d := range reached {
		if !d.Committed() {
			t.Errorf("%s follows DELETING, yet is not committed", d)
		}
	}
}

func TestBeforeIsTheInverseOfCanBecome(t *testing.T) {
	t.Parallel()
	for _, to := range retention.Hot.Values() {
		for _, from := range retention.Hot.Values() {
			f, s := retention.Tier(from), retention.Tier(to)
			if want := f != s && f.CanBecome(s); slices.Contains(s.Before(), f) != want {
				t.Errorf("%s.Before() has %s: %v, want %v", s, f, !want, want)
			}
		}
	}
	for _, to := range retention.Due.Values() {
		for _, from := range retention.Due.Values() {
			f, s := retention.Disposition(from), retention.Disposition(to)
			if want := f != s && f.CanBecome(s); slices.Contains(s.Before(), f) != want {
				t.Errorf("%s.Before() has %s: %v, want %v", s, f, !want, want)
			}
		}
	}
}
