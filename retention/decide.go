package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Recording is what retention needs to know of a recording.
type Recording struct {
	ID       string
	TenantID string

	Queue       string
	Client      string
	SessionType string
	Tags        []string
	Agent       string
	Customer    string

	StartedAt time.Time
	EndedAt   time.Time // periods begin here; zero: the call is not over
	Settled   bool      // its capture state never changes again: nothing is recorded, composed or uploaded any more
	Bytes     int64     // for the sums of a dry run

	Tier          Tier
	RestoredUntil time.Time // with RESTORED: when it goes back to COLD; zero: not decided here
	Disposition   Disposition

	// ErasureRequestedAt: a person asked for erasure, and the request was granted. Overrules ceilings, not floors.
	ErasureRequestedAt time.Time
	// RestrictionRequested: a person asked that it is neither used nor deleted (GDPR article 18). Keeps until withdrawn.
	RestrictionRequested bool
}

// Verdict is what is to be done with a recording now.
type Verdict string

// The verdicts.
const (
	Keep      Verdict = "KEEP"
	Delete    Verdict = "DELETE"    // it is due: RETAINED becomes DUE, DUE may become DELETING
	Committed Verdict = "COMMITTED" // deletion has begun or is done, there is nothing to decide
)

// Code names a reason. Codes are stable; texts are not.
type Code string

// The codes. The first group keeps, the second deletes, the third explains.
const (
	NotSettled  Code = "NOT_SETTLED"  // still being recorded, composed or uploaded
	NoCeiling   Code = "NO_CEILING"   // no policy that covers it says when to delete
	KeptForever Code = "FOREVER"      // a policy says FOREVER
	BeforeDate  Code = "BEFORE_DATE"  // its ceiling is not reached
	UnderFloor  Code = "UNDER_FLOOR"  // a policy's floor is not reached
	OnHold      Code = "LEGAL_HOLD"   // a hold covers it
	Restriction Code = "RESTRICTION"  // a person asked for restriction of processing
	PastCeiling Code = "PAST_CEILING" // a policy's ceiling is reached
	Erasure     Code = "ERASURE"      // a person asked for erasure
	Conflicting Code = "CONFLICT"     // policies contradict each other: kept as long as any of them asks
	Overruled   Code = "OVERRULED"    // a policy would delete earlier, one of higher priority decides
	RaisedToMin Code = "RAISED_TO_MINIMUM"
	Begun       Code = "DELETION_BEGUN"
)

// Reason is one ground of a decision.
type Reason struct {
	Code     Code      `json:"code"`
	PolicyID string    `json:"policy_id,omitempty"`
	Version  int       `json:"version,omitempty"` // of the policy
	HoldID   string    `json:"hold_id,omitempty"`
	At       time.Time `json:"at,omitzero"` // the date that the code speaks of
}

// Decision is what is to be done with a recording now, and why.
type Decision struct {
	Verdict Verdict `json:"verdict"`

	FloorAt     time.Time `json:"floor_at,omitzero"`     // kept at least until; zero: no floor
	CeilingAt   time.Time `json:"ceiling_at,omitzero"`   // of the deciding policy; zero: none, or FOREVER
	DeleteAfter time.Time `json:"delete_after,omitzero"` // due from then on unless something holds it; zero: no date
	ColdAt      time.Time `json:"cold_at,omitzero"`      // to cold storage from then on; zero: never

	Conflict   bool `json:"conflict,omitempty"`   // policies contradict each other for this recording
	Held       bool `json:"held,omitempty"`       // by a legal hold
	Restricted bool `json:"restricted,omitempty"` // not to be played, but by the data protection officer

	MoveTo Tier `json:"move_to,omitempty"` // tier to start moving to now; empty: none

	Reasons []Reason `json:"reasons"`
}

// Next is the disposition that the decision leads to from another one. Only the worker that begins to delete, in the
// transaction that reads the holds once more, goes from DUE to DELETING.
func (d Decision) Next(from Disposition) Disposition {
	switch d.Verdict {
	case Keep:
		return Retained
	case Delete:
		return Due
	}
	return from
}

// Decide applies the rules of docs/retention.md. It is pure: the same arguments give the same decision, in whatever
// order policies and holds are given. It does not trust that policies were validated.
func Decide(now time.Time, r Recording, rules Rules, holds []Hold) Decision {
	if r.Disposition.Committed() {
		return Decision{Verdict: Committed, Reasons: []Reason{{Code: Begun}}}
	}
	d := Decision{Verdict: Keep}
	if !r.Settled || r.EndedAt.IsZero() {
		d.because(Reason{Code: NotSettled})
		d.stop(now, r, holds)
		return d
	}
	w := windowOf(r, rules)
	d.FloorAt, d.CeilingAt, d.DeleteAfter, d.ColdAt, d.Conflict = w.floorAt, w.ceilingAt, w.deleteAfter, w.coldAt, w.conflict
	d.erase(r)
	stopped := d.stop(now, r, holds)
	d.because(d.grounds(now, r, w)...)
	if !stopped && !d.DeleteAfter.IsZero() && !now.Before(d.DeleteAfter) {
		d.Verdict = Delete
	}
	d.MoveTo = d.move(now, r)
	return d
}

func (d *Decision) because(reasons ...Reason) { d.Reasons = append(d.Reasons, reasons...) }

// erase lets a request of erasure take the place of the ceiling. A floor still counts.
func (d *Decision) erase(r Recording) {
	if r.ErasureRequestedAt.IsZero() {
		return
	}
	if at := later(r.ErasureRequestedAt, d.FloorAt); d.DeleteAfter.IsZero() || at.Before(d.DeleteAfter) {
		d.DeleteAfter = at
	}
}

// stop finds what forbids deletion whatever the dates say, and tells whether there is any. What a person asked to be
// erased is restricted until it is gone, be it for a floor or a hold.
func (d *Decision) stop(now time.Time, r Recording, holds []Hold) bool {
	d.Restricted = r.RestrictionRequested || !r.ErasureRequestedAt.IsZero()
	if r.RestrictionRequested {
		d.because(Reason{Code: Restriction})
	}
	var covering []string
	for _, h := range holds {
		if h.Active(now) && h.Covers(r) {
			covering = append(covering, h.ID)
		}
	}
	slices.Sort(covering)
	for _, id := range slices.Compact(covering) {
		d.because(Reason{Code: OnHold, HoldID: id})
	}
	d.Held = len(covering) > 0
	return d.Held || r.RestrictionRequested
}

// grounds says in the light of now why the dates are as they are.
func (d *Decision) grounds(now time.Time, r Recording, w window) []Reason {
	var out []Reason
	if !r.ErasureRequestedAt.IsZero() {
		out = append(out, Reason{Code: Erasure, At: r.ErasureRequestedAt})
	}
	if now.Before(w.floorAt) {
		out = append(out, w.floor.reason(UnderFloor, w.floorAt))
	}
	switch {
	case w.forever != nil:
		out = append(out, w.forever.reason(KeptForever, time.Time{}))
	case w.ceiling == nil:
		out = append(out, Reason{Code: NoCeiling})
	case now.Before(w.ceilingAt):
		out = append(out, w.ceiling.reason(BeforeDate, w.ceilingAt))
	default:
		out = append(out, w.ceiling.reason(PastCeiling, w.ceilingAt))
	}
	return append(out, w.remarks...)
}

// move starts what storage is asked for: to cold storage by policy, back to it when a restoration ends. What is held
// may lie cold as well; what is about to be deleted is not worth moving.
func (d *Decision) move(now time.Time, r Recording) Tier {
	switch {
	case d.Verdict == Delete:
		return ""
	case r.Tier == Hot && !d.ColdAt.IsZero() && !now.Before(d.ColdAt):
		return Cooling
	case r.Tier == Restored && !r.RestoredUntil.IsZero() && !now.Before(r.RestoredUntil):
		return Cold
	}
	return ""
}

// window is what the matching policies say of one recording, without regard to now.
type window struct {
	floor, ceiling, forever                 *Policy // those that decided, nil: none
	floorAt, ceilingAt, deleteAfter, coldAt time.Time
	conflict                                bool
	remarks                                 []Reason
}

func (p *Policy) reason(code Code, at time.Time) Reason {
	return Reason{Code: code, PolicyID: p.ID, Version: p.Version, At: at}
}

func windowOf(r Recording, rules Rules) window {
	matching := matchingPolicies(r, rules.Policies)
	end := func(p Period) time.Time { return p.End(r.EndedAt, rules.zone()) }
	var w window
	w.takeFloors(matching, end)
	w.takeCeilings(matching, end)
	w.takeCold(matching, end)
	if w.ceilingAt.IsZero() {
		return w
	}
	w.deleteAfter = later(w.ceilingAt, w.floorAt)
	if w.floorAt.After(w.ceilingAt) {
		w.conflict = true
		w.remarks = append(w.remarks, w.floor.reason(Conflicting, w.floorAt))
	}
	return w
}

// matchingPolicies sorts by priority, highest first, and then by id, so that a decision does not depend on the order
// in which policies come from a database.
func matchingPolicies(r Recording, all []Policy) []Policy {
	var out []Policy
	for _, p := range all {
		if p.matches(r) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Policy) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Version, b.Version))
	})
	return out
}

// takeFloors finds the latest floor. Priority does not matter: a duty to keep cannot be overruled by another rule.
func (w *window) takeFloors(matching []Policy, end func(Period) time.Time) {
	for i := range matching {
		p := &matching[i]
		if p.Floor.IsZero() || p.Floor.Forever {
			continue
		}
		if at := end(p.Floor); at.After(w.floorAt) {
			w.floor, w.floorAt = p, at
		}
	}
}

// takeCeilings finds the earliest ceiling of the highest priority that has any. FOREVER beside a date of the same
// priority is a contradiction, and what is in doubt is kept.
func (w *window) takeCeilings(matching []Policy, end func(Period) time.Time) {
	top := slices.IndexFunc(matching, func(p Policy) bool { return !p.Ceiling.IsZero() })
	if top < 0 {
		return
	}
	dated := func(p *Policy) bool { return !p.Ceiling.IsZero() && !p.Ceiling.Forever }
	var earliest time.Time
	for i := range matching {
		p := &matching[i]
		switch {
		case p.Priority != matching[top].Priority || p.Ceiling.IsZero():
		case p.Ceiling.Forever:
			if w.forever == nil {
				w.forever = p
			}
		case w.ceiling == nil || end(p.Ceiling).Before(earliest):
			w.ceiling, earliest = p, end(p.Ceiling)
		}
	}
	if w.forever != nil && w.ceiling != nil {
		w.conflict = true
		w.remarks = append(w.remarks, w.ceiling.reason(Conflicting, earliest))
		w.ceiling = nil
	}
	if w.ceiling != nil {
		w.ceilingAt = earliest
		if least := end(Days(MinimumDays)); earliest.Before(least) {
			w.ceilingAt = least
			w.remarks = append(w.remarks, w.ceiling.reason(RaisedToMin, least))
		}
	}
	for i := range matching {
		p := &matching[i]
		if p.Priority < matching[top].Priority && dated(p) && (w.ceilingAt.IsZero() || end(p.Ceiling).Before(w.ceilingAt)) {
			w.remarks = append(w.remarks, p.reason(Overruled, end(p.Ceiling)))
		}
	}
}

// takeCold finds the earliest move of the highest priority that has any.
func (w *window) takeCold(matching []Policy, end func(Period) time.Time) {
	top := slices.IndexFunc(matching, func(p Policy) bool { return !p.ColdAfter.IsZero() && !p.ColdAfter.Forever })
	if top < 0 {
		return
	}
	for _, p := range matching {
		if p.Priority != matching[top].Priority || p.ColdAfter.IsZero() || p.ColdAfter.Forever {
			continue
		}
		if at := end(p.ColdAfter); w.coldAt.IsZero() || at.Before(w.coldAt) {
			w.coldAt = at
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Explain puts the decision into sentences, dates in the given zone.
func (d Decision) Explain(zone *time.Location) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", d.Verdict)
	if !d.DeleteAfter.IsZero() {
		fmt.Fprintf(&b, ", deletion from %s", stamp(d.DeleteAfter, zone))
	}
	b.WriteByte('\n')
	for _, r := range d.Reasons {
		fmt.Fprintf(&b, "- %s\n", r.text(zone))
	}
	if d.MoveTo != "" {
		fmt.Fprintf(&b, "- to be moved: %s\n", d.MoveTo)
	}
	return b.String()
}

func stamp(at time.Time, zone *time.Location) string {
	return at.In(zone).Format("2006-01-02 15:04 MST")
}

func (r Reason) text(zone *time.Location) string {
	policy, at := fmt.Sprintf("policy %s version %d", r.PolicyID, r.Version), stamp(r.At, zone)
	switch r.Code {
	case NotSettled:
		return "the recording is still in the making"
	case NoCeiling:
		return "no policy that covers it says when to delete it"
	case KeptForever:
		return policy + " keeps it FOREVER"
	case BeforeDate:
		return "the ceiling of " + policy + " is reached on " + at
	case UnderFloor:
		return policy + " asks to keep it until " + at
	case OnHold:
		return "legal hold " + r.HoldID + " covers it"
	case Restriction:
		return "a person asked that it is neither used nor deleted"
	case PastCeiling:
		return "the ceiling of " + policy + " was reached on " + at
	case Erasure:
		return "a person asked for erasure on " + at
	case Conflicting:
		return "conflict: " + policy + " (" + at + ") contradicts another policy; it is kept as long as any of them asks"
	case Overruled:
		return policy + " (" + at + ") is overruled by one of higher priority"
	case RaisedToMin:
		return fmt.Sprintf("%s is below the minimum of %d days, which counts instead (%s)", policy, MinimumDays, at)
	case Begun:
		return "its deletion has begun"
	}
	return string(r.Code)
}
