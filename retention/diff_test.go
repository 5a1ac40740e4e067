package retention_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dualrec/dualrec/retention"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	early, late := at(t, "2026-05-01 00:00"), at(t, "2026-06-01 00:00")
	kept := func(deleteAfter time.Time) retention.Decision {
		return retention.Decision{Verdict: retention.Keep, DeleteAfter: deleteAfter}
	}
	due := retention.Decision{Verdict: retention.Delete, DeleteAfter: early}
	conflict := kept(late)
	conflict.Conflict = true
	for _, tc := range []struct {
		name          string
		before, after retention.Decision
		want          retention.Change
	}{
		{"the same date", kept(early), kept(early), retention.Unchanged},
		{"no date as before", kept(time.Time{}), kept(time.Time{}), retention.Unchanged},
		{"due as before", due, due, retention.Unchanged},
		{"later", kept(early), kept(late), retention.Extended},
		{"no date any more", kept(early), kept(time.Time{}), retention.Extended},
		{"due no more", due, kept(late), retention.Extended},
		{"earlier", kept(late), kept(early), retention.Shortened},
		{"a date for what had none", kept(time.Time{}), kept(late), retention.Shortened},
		{"due at once", kept(late), due, retention.NewlyDue},
		{"conflict, and a later date", kept(early), conflict, retention.InConflict},
		{"conflict as before", conflict, conflict, retention.InConflict},
		{"due is graver than conflict", kept(late), retention.Decision{Verdict: retention.Delete, DeleteAfter: early, Conflict: true}, retention.NewlyDue},
	} {
		if got := retention.Diff(tc.before, tc.after); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	before := retention.Rules{Policies: []retention.Policy{general, sales}}
	halved := general
	halved.Version, halved.Ceiling = 2, retention.Days(45)
	after := retention.Rules{Policies: []retention.Policy{sales, trading, training, halved}}
	now := at(t, "2026-05-01 00:00")
	run := func(more int) *retention.DryRun {
		d := retention.NewDryRun(now, before, after, 2)
		for i := range 10 + more {
			d.Add(call(t, func(r *retention.Recording) {
				r.ID, r.EndedAt = fmt.Sprintf("rec_%02d", i), at(t, "2026-03-01 10:00")
				switch {
				case i < 3: // newly due
				case i < 5:
					r.EndedAt = at(t, "2026-04-20 10:00") // shortened
				case i < 6:
					r.Queue = "sales" // unchanged
				case i < 7:
					r.Tags = []string{"training"} // extended
				case i < 8:
					r.SessionType = "trade" // conflict
				default: // held: its date is shortened, yet it is not due
					r.Agent = "agt_held"
				}
			}), []retention.Hold{{ID: "h", TenantID: tenant, Agents: []string{"agt_held"}}})
		}
		return d
	}
	d := run(0)
	for change, want := range map[retention.Change]int{retention.NewlyDue: 3, retention.Shortened: 4, retention.Unchanged: 1, retention.Extended: 1, retention.InConflict: 1} {
		if got := d.Tally(change); got.Recordings != want || got.Bytes != int64(want)<<30 {
			t.Errorf("%s: %+v, want %d recordings", change, got, want)
		}
	}
	if got := d.Total(); got.Recordings != 10 || got.Bytes != 10<<30 {
		t.Errorf("total %+v", got)
	}
	if got := d.Share(); got != 0.3 {
		t.Errorf("share %v", got)
	}
	if e := d.Examples(retention.NewlyDue); len(e) != 2 || e[0].RecordingID != "rec_00" || e[1].After.Verdict != retention.Delete {
		t.Errorf("examples %+v", e)
	}
	if d.Digest() != run(0).Digest() {
		t.Error("the same run has another digest")
	}
	if d.Digest() == run(1).Digest() {
		t.Error("one recording more has the same digest")
	}
	if retention.NewDryRun(now, before, after, 2).Digest() == retention.NewDryRun(now, before, before, 2).Digest() {
		t.Error("other rules have the same digest")
	}
	if got := retention.NewDryRun(now, before, after, 2).Share(); got != 0 {
		t.Errorf("share of nothing is %v", got)
	}
}
