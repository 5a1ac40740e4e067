package retention

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"time"
)

// Change is what other rules would do to one recording.
type Change string

// The changes, the gravest first; a recording is counted under the first that applies.
const (
	NewlyDue   Change = "NEWLY_DUE" // would be deleted by the next run, and would not now
	InConflict Change = "CONFLICT"  // the new policies contradict each other for it
	Shortened  Change = "SHORTENED" // would be deleted earlier than now
	Extended   Change = "EXTENDED"  // would be deleted later than now, or no more
	Unchanged  Change = "UNCHANGED"
)

// Values lists all changes.
func (Change) Values() []string {
	return []string{string(NewlyDue), string(InConflict), string(Shortened), string(Extended), string(Unchanged)}
}

// Diff compares the decisions that two sets of rules give for the same recording, holds and instant.
func Diff(before, after Decision) Change {
	switch {
	case after.Verdict == Delete && before.Verdict != Delete:
		return NewlyDue
	case after.Conflict:
		return InConflict
	case before.DeleteAfter.Equal(after.DeleteAfter):
		return Unchanged
	case after.DeleteAfter.IsZero() || !before.DeleteAfter.IsZero() && after.DeleteAfter.After(before.DeleteAfter):
		return Extended
	}
	return Shortened
}

// Tally counts recordings of one change.
type Tally struct {
	Recordings int   `json:"recordings"`
	Bytes      int64 `json:"bytes"`
}

// Example is one recording of a dry run.
type Example struct {
	RecordingID string   `json:"recording_id"`
	Change      Change   `json:"change"`
	Before      Decision `json:"before"`
	After       Decision `json:"after"`
}

// DryRun shows what new rules would do before they are activated. Recordings are added one by one, so that an archive
// of any size needs the memory of its examples only. It is not safe for concurrent use.
type DryRun struct {
	now           time.Time
	before, after Rules
	tallies       map[Change]Tally
	examples      map[Change][]Example
	perChange     int
	digest        hash.Hash
}

// NewDryRun compares two sets of rules at one instant and keeps the first so many examples of each change.
func NewDryRun(now time.Time, before, after Rules, examples int) *DryRun {
	d := &DryRun{now: now, before: before, after: after, perChange: examples, digest: sha256.New(),
		tallies: map[Change]Tally{}, examples: map[Change][]Example{}}
	for _, rules := range []Rules{before, after} {
		fmt.Fprintf(d.digest, "%s %d\n", rules.zone(), len(rules.Policies))
		for _, p := range sortedByID(rules.Policies) {
			fmt.Fprintf(d.digest, "%q %d %s\n", p.ID, p.Version, p.Digest())
		}
	}
	return d
}

// Add takes the next recording with the holds that may cover it.
func (d *DryRun) Add(r Recording, holds []Hold) {
	before, after := Decide(d.now, r, d.before, holds), Decide(d.now, r, d.after, holds)
	change := Diff(before, after)
	t := d.tallies[change]
	d.tallies[change] = Tally{Recordings: t.Recordings + 1, Bytes: t.Bytes + r.Bytes}
	if change != Unchanged && len(d.examples[change]) < d.perChange {
		d.examples[change] = append(d.examples[change], Example{RecordingID: r.ID, Change: change, Before: before, After: after})
	}
	fmt.Fprintf(d.digest, "%q %s %s\n", r.ID, change, after.DeleteAfter.UTC().Format(time.RFC3339))
}

// Tally says how many recordings and bytes one change concerns so far.
func (d *DryRun) Tally(c Change) Tally { return d.tallies[c] }

// Total counts all recordings that were added.
func (d *DryRun) Total() Tally {
	var sum Tally
	for _, t := range d.tallies {
		sum.Recordings += t.Recordings
		sum.Bytes += t.Bytes
	}
	return sum
}

// Examples are the first recordings of a change, in the order they were added. UNCHANGED has none.
func (d *DryRun) Examples(c Change) []Example { return d.examples[c] }

// Share is the part of all recordings, from 0 to 1, that would newly be due: beyond a limit, let a second person agree.
func (d *DryRun) Share() float64 {
	total := d.Total().Recordings
	if total == 0 {
		return 0
	}
	return float64(d.tallies[NewlyDue].Recordings) / float64(total)
}

// Digest names the outcome (SHA-256 in hex). Whoever activates the rules gives the digest that was looked at; a new
// run that ends in another one proves it stale. Recordings must be added in the same order, best by id; the instant
// itself is not part of it, only what it leads to.
func (d *DryRun) Digest() string { return hex.EncodeToString(d.digest.Sum(nil)) }

func sortedByID(policies []Policy) []Policy {
	return slices.SortedFunc(slices.Values(policies), func(a, b Policy) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Version, b.Version))
	})
}
