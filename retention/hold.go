package retention

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxHoldRecordings bounds a hold by explicit ids; a larger matter is a hold by criteria.
const maxHoldRecordings = 10_000

// Hold is a legal hold: as long as it is not released, nothing that it covers is deleted, whatever policies or
// requests say. It covers the recordings it lists, and those that match all of its criteria.
type Hold struct {
	ID       string `json:"id"`
	TenantID string `json:"tenant_id"`
	Matter   string `json:"matter"` // the case, in the words of the legal department

	Recordings []string `json:"recordings,omitempty"`

	Scope     Scope     `json:"scope,omitzero"`
	Agents    []string  `json:"agents,omitempty"`
	Customers []string  `json:"customers,omitempty"`
	From      time.Time `json:"from,omitzero"` // of calls that began at or after
	To        time.Time `json:"to,omitzero"`   // and before

	ReleasedAt time.Time `json:"released_at,omitzero"` // zero: not released
}

// Validate finds every problem and returns them together as one ErrInvalid.
func (h Hold) Validate() error {
	problems := slices.Concat(h.Scope.problems(), listProblems("agents", h.Agents), listProblems("customers", h.Customers))
	for _, f := range []struct{ name, value string }{{"id", h.ID}, {"tenant_id", h.TenantID}, {"matter", h.Matter}} {
		if t := textProblem(f.value); t != "" {
			problems = append(problems, f.name+" "+t)
		}
	}
	if len(h.Recordings) > maxHoldRecordings {
		problems = append(problems, fmt.Sprintf("recordings: %d ids, at most %d are allowed; use criteria", len(h.Recordings), maxHoldRecordings))
	}
	if !h.From.IsZero() && !h.To.IsZero() && !h.From.Before(h.To) {
		problems = append(problems, "from must lie before to")
	}
	if len(h.Recordings) == 0 && !h.byCriteria() {
		problems = append(problems, "it names nothing: list recordings or give a criterion")
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w hold %q: %s", ErrInvalid, clip(h.ID), strings.Join(problems, "; "))
	}
	return nil
}

func (h Hold) byCriteria() bool {
	return !h.Scope.Empty() || len(h.Agents) > 0 || len(h.Customers) > 0 || !h.From.IsZero() || !h.To.IsZero()
}

// Active tells whether the hold still holds. A hold counts from the moment it exists: there is no start date that a
// wrong clock could put into the future.
func (h Hold) Active(now time.Time) bool { return h.ReleasedAt.IsZero() || now.Before(h.ReleasedAt) }

// Covers tells whether the hold is about a recording. A hold that names nothing, which Validate refuses, covers every
// recording of its tenant: what is in doubt is kept.
func (h Hold) Covers(r Recording) bool {
	if h.TenantID != r.TenantID {
		return false
	}
	if slices.Contains(h.Recordings, r.ID) {
		return true
	}
	if len(h.Recordings) > 0 && !h.byCriteria() {
		return false
	}
	return h.Scope.Matches(r) && anyOf(h.Agents, r.Agent) && anyOf(h.Customers, r.Customer) &&
		h.inPeriod(r.StartedAt)
}

// inPeriod: a call whose beginning is not known may have begun in the period, and is kept.
func (h Hold) inPeriod(started time.Time) bool {
	return started.IsZero() || (h.From.IsZero() || !started.Before(h.From)) && (h.To.IsZero() || started.Before(h.To))
}
