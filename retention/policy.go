package retention

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MinimumDays is the shortest window a policy may give. Below it a recording could be gone before anybody could have
// looked at it, and a slip of the pen could empty an archive over a weekend.
const MinimumDays = 7

// Limits of what comes from outside.
const (
	maxPolicyBytes = 64 << 10
	maxScopeValues = 100
	maxText        = 200 // bytes of a name or a scope value
	maxPriority    = 1000
)

// Errors of policies and holds. Every error of Validate and ParsePolicy is one of them.
var (
	// ErrInvalid: a policy or hold cannot be used as it is; the text lists every problem.
	ErrInvalid = errors.New("retention: invalid")
	// ErrConflict: two policies contradict each other for every recording that one of them covers (*ConflictError).
	ErrConflict = errors.New("retention: policies contradict each other")
)

// Policy is one version of one rule of a tenant. Versions are immutable: a change is a new version.
type Policy struct {
	ID       string `json:"id"`
	TenantID string `json:"tenant_id"`
	Version  int    `json:"version"`
	Name     string `json:"name"`
	Scope    Scope  `json:"scope,omitzero"`
	// Floor is how long a recording must be kept. Floors of all matching policies count, whatever their priority.
	Floor Period `json:"floor,omitzero"`
	// Ceiling is when a recording is deleted, or FOREVER. Among matching policies the highest priority decides.
	// Without one, this policy says nothing about deletion.
	Ceiling Period `json:"ceiling,omitzero"`
	// ColdAfter is when a recording moves to cold storage; none: this policy moves nothing.
	ColdAfter Period `json:"cold_after,omitzero"`
	// Priority orders ceilings and ColdAfter: a policy for a queue overrules the tenant's general one by a higher number.
	Priority int `json:"priority,omitempty"`
}

// Scope says which recordings a policy covers: those that match every list that is not empty, by any of its values.
// Values are compared exactly. The empty scope covers every recording of the tenant.
type Scope struct {
	Queues       []string `json:"queues,omitempty"`
	Clients      []string `json:"clients,omitempty"`
	SessionTypes []string `json:"session_types,omitempty"`
	Tags         []string `json:"tags,omitempty"`
}

// Matches tells whether the scope covers a recording. The tenant is not looked at here.
func (s Scope) Matches(r Recording) bool {
	return anyOf(s.Queues, r.Queue) && anyOf(s.Clients, r.Client) && anyOf(s.SessionTypes, r.SessionType) &&
		anyOf(s.Tags, r.Tags...)
}

// Empty tells that the scope narrows nothing.
func (s Scope) Empty() bool {
	return len(s.Queues) == 0 && len(s.Clients) == 0 && len(s.SessionTypes) == 0 && len(s.Tags) == 0
}

// covers tells that every recording which matches t matches s as well.
func (s Scope) covers(t Scope) bool {
	return subset(t.Queues, s.Queues) && subset(t.Clients, s.Clients) && subset(t.SessionTypes, s.SessionTypes) &&
		subset(t.Tags, s.Tags)
}

// subset: the empty list stands for all values.
func subset(inner, outer []string) bool {
	if len(outer) == 0 {
		return true
	}
	return len(inner) > 0 && !slices.ContainsFunc(inner, func(v string) bool { return !slices.Contains(outer, v) })
}

func anyOf(allowed []string, have ...string) bool {
	return len(allowed) == 0 || slices.ContainsFunc(have, func(v string) bool { return slices.Contains(allowed, v) })
}

func (s Scope) problems() []string {
	return slices.Concat(listProblems("scope.queues", s.Queues), listProblems("scope.clients", s.Clients),
		listProblems("scope.session_types", s.SessionTypes), listProblems("scope.tags", s.Tags))
}

func listProblems(field string, values []string) []string {
	var out []string
	if len(values) > maxScopeValues {
		out = append(out, fmt.Sprintf("%s: %d values, at most %d are allowed", field, len(values), maxScopeValues))
	}
	for i, v := range values {
		if p := textProblem(v); p != "" {
			out = append(out, fmt.Sprintf("%s[%d]: %s", field, i, p))
		}
		if slices.Contains(values[:i], v) {
			out = append(out, fmt.Sprintf("%s: %q stands there twice", field, clip(v)))
		}
		if len(out) > 10 {
			break // enough to act upon
		}
	}
	return out
}

func textProblem(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "is empty"
	case len(s) > maxText:
		return fmt.Sprintf("is longer than %d bytes", maxText)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "has control characters or is not UTF-8"
	}
	return ""
}

// matches tells whether the policy applies to a recording. One of another tenant never does.
func (p Policy) matches(r Recording) bool { return p.TenantID == r.TenantID && p.Scope.Matches(r) }

// Validate finds every problem of the policy alone and returns them together as one ErrInvalid.
func (p Policy) Validate() error {
	problems := p.Scope.problems()
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, f := range []struct{ name, value string }{{"id", p.ID}, {"tenant_id", p.TenantID}, {"name", p.Name}} {
		if t := textProblem(f.value); t != "" {
			add("%s %s", f.name, t)
		}
	}
	if p.Version < 1 {
		add("version must be 1 or more")
	}
	if p.Priority < 0 || p.Priority > maxPriority {
		add("priority must be from 0 to %d", maxPriority)
	}
	if p.Floor.IsZero() && p.Ceiling.IsZero() && p.ColdAfter.IsZero() {
		add("it says nothing: give a floor, a ceiling (or %s) or cold_after", forever)
	}
	problems = append(problems, p.periodProblems()...)
	if len(problems) > 0 {
		return fmt.Errorf("%w policy %q: %s", ErrInvalid, clip(p.ID), strings.Join(problems, "; "))
	}
	return nil
}

func (p Policy) periodProblems() []string {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, f := range []struct {
		name   string
		period Period
	}{{"floor", p.Floor}, {"ceiling", p.Ceiling}, {"cold_after", p.ColdAfter}} {
		if v := f.period; v.Years < 0 || v.Years > maxYears || v.Days < 0 || v.Days > maxDays ||
			v.Forever && (v.Years != 0 || v.Days != 0) {
			add("%s is out of range", f.name)
		}
	}
	if p.Floor.Forever {
		add("floor cannot be %s: a recording that nobody may ever delete is a legal hold", forever)
	}
	if p.ColdAfter.Forever {
		add("cold_after cannot be %s: leave it out", forever)
	}
	if !p.Ceiling.IsZero() && Days(MinimumDays).everLonger(p.Ceiling) {
		add("ceiling %s is below the minimum of %d days", p.Ceiling, MinimumDays)
	}
	if !p.Ceiling.IsZero() && p.Floor.everLonger(p.Ceiling) {
		add("floor %s can be longer than ceiling %s", p.Floor, p.Ceiling)
	}
	if !p.Ceiling.IsZero() && !p.ColdAfter.IsZero() && !p.Ceiling.everLonger(p.ColdAfter) {
		add("cold_after %s is never reached before ceiling %s", p.ColdAfter, p.Ceiling)
	}
	return problems
}

// Digest names the policy's exact content (SHA-256 of its JSON, lists sorted, in hex), for proofs and dry runs.
func (p Policy) Digest() string {
	for _, list := range []*[]string{&p.Scope.Queues, &p.Scope.Clients, &p.Scope.SessionTypes, &p.Scope.Tags} {
		*list = slices.Sorted(slices.Values(*list))
	}
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// ParsePolicy reads one policy as JSON and validates it. Unknown fields, trailing and oversized input are refused, so
// that a misspelt "celing" cannot become "keep".
func ParsePolicy(text []byte) (Policy, error) {
	if len(text) > maxPolicyBytes {
		return Policy{}, fmt.Errorf("%w policy: %d bytes, at most %d are allowed", ErrInvalid, len(text), maxPolicyBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var p Policy
	if err := dec.Decode(&p); err != nil {
		return Policy{}, fmt.Errorf("%w policy: %w", ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Policy{}, fmt.Errorf("%w policy: more text after the end", ErrInvalid)
	}
	if err := p.Validate(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// Rules are all active policies of one tenant, and the time zone in which its days begin.
type Rules struct {
	Zone     *time.Location // nil: UTC
	Policies []Policy       // one version of each
}

// ConflictError: every recording that Ceiling covers is covered by Floor as well, whose floor is longer.
type ConflictError struct{ Ceiling, Floor Policy }

// Error names both policies and what to do.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: %q deletes after %s what %q keeps for at least %s: raise the ceiling or narrow the scope of one",
		ErrConflict, clip(e.Ceiling.Name), e.Ceiling.Ceiling, clip(e.Floor.Name), e.Floor.Floor)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Validate checks every policy and all of them together: ids once, and no contradiction that can be proved without
// looking at recordings. One that shows only on some recordings is found by Decide and by a dry run.
func (r Rules) Validate() error {
	var errs []error
	seen := map[string]bool{}
	for _, p := range r.Policies {
		if err := p.Validate(); err != nil {
			errs = append(errs, err)
		}
		if seen[p.ID] {
			errs = append(errs, fmt.Errorf("%w policy %q: it is there twice; one version of each can be active", ErrInvalid, clip(p.ID)))
		}
		seen[p.ID] = true
		if p.TenantID != r.Policies[0].TenantID {
			errs = append(errs, fmt.Errorf("%w policy %q: it belongs to another tenant than the first", ErrInvalid, clip(p.ID)))
		}
	}
	return errors.Join(append(errs, r.conflicts()...)...)
}

func (r Rules) conflicts() []error {
	var errs []error
	for _, c := range r.Policies {
		if c.Ceiling.IsZero() || r.overruled(c) {
			continue
		}
		for _, f := range r.Policies {
			if f.ID == c.ID || f.Floor.IsZero() || !f.Scope.covers(c.Scope) {
				continue
			}
			if f.Floor.alwaysLonger(c.Ceiling) {
				errs = append(errs, &ConflictError{Ceiling: c, Floor: f})
			}
		}
	}
	return errs
}

// overruled tells that a policy's ceiling never counts, because one of higher priority covers all that it covers.
func (r Rules) overruled(c Policy) bool {
	return slices.ContainsFunc(r.Policies, func(q Policy) bool {
		return q.Priority > c.Priority && !q.Ceiling.IsZero() && q.Scope.covers(c.Scope)
	})
}

func (r Rules) zone() *time.Location {
	if r.Zone == nil {
		return time.UTC
	}
	return r.Zone
}
