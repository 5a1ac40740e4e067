package retention

import "slices"

// Disposition is how far a recording is on its way out.
type Disposition string

// The dispositions; doc.go draws the way from one to another.
const (
	Retained     Disposition = "RETAINED"      // kept, by a policy or for want of one
	Due          Disposition = "DUE"           // past its date: the next run deletes it
	Deleting     Disposition = "DELETING"      // deletion has begun and cannot be undone
	Deleted      Disposition = "DELETED"       // every copy is gone, its key destroyed
	DeleteFailed Disposition = "DELETE_FAILED" // a copy could not be deleted yet: tried again
)

var dispositionTransitions = map[Disposition][]Disposition{
	Retained:     {Due},
	Due:          {Retained, Deleting},
	Deleting:     {Deleted, DeleteFailed},
	DeleteFailed: {Deleting},
	Deleted:      nil,
}

// Values lists all dispositions (ent and gqlgen read them here).
func (Disposition) Values() []string {
	return []string{string(Retained), string(Due), string(Deleting), string(Deleted), string(DeleteFailed)}
}

// CanBecome tells whether the disposition may change so. A state may always become itself.
func (d Disposition) CanBecome(to Disposition) bool {
	return d == to || slices.Contains(dispositionTransitions[d], to)
}

// Before lists the dispositions from which one may be reached, for conditional updates.
func (d Disposition) Before() []Disposition { return before(dispositionTransitions, d, d.Values()) }

// Committed tells the states in which deletion has begun: nothing is left to decide.
func (d Disposition) Committed() bool { return d == Deleting || d == Deleted || d == DeleteFailed }

// Tier is where a recording's bytes lie: ready to play, or cheap.
type Tier string

// The tiers; doc.go draws the way from one to another.
const (
	Hot       Tier = "HOT"       // plays at once
	Cooling   Tier = "COOLING"   // on its way to cold storage; still plays
	Cold      Tier = "COLD"      // must be restored before it plays
	Restoring Tier = "RESTORING" // being restored
	Restored  Tier = "RESTORED"  // plays, for a while
)

var tierTransitions = map[Tier][]Tier{
	Hot:       {Cooling},
	Cooling:   {Hot, Cold},
	Cold:      {Restoring},
	Restoring: {Cold, Restored},
	Restored:  {Cold},
}

// Values lists all tiers (ent and gqlgen read them here).
func (Tier) Values() []string {
	return []string{string(Hot), string(Cooling), string(Cold), string(Restoring), string(Restored)}
}

// CanBecome tells whether the tier may change so. A state may always become itself.
func (t Tier) CanBecome(to Tier) bool { return t == to || slices.Contains(tierTransitions[t], to) }

// Before lists the tiers from which one may be reached, for conditional updates.
func (t Tier) Before() []Tier { return before(tierTransitions, t, t.Values()) }

// Playable tells the tiers in which the bytes can be read at once.
func (t Tier) Playable() bool { return t == Hot || t == Cooling || t == Restored }

func before[S ~string](table map[S][]S, to S, all []string) []S {
	var from []S
	for _, name := range all {
		if slices.Contains(table[S(name)], to) {
			from = append(from, S(name))
		}
	}
	return from
}
