package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Role is what a principal is in its tenant.
type Role string

// The roles.
const (
	Service    Role = "SERVICE"    // an SFU or an integration, by API key
	Agent      Role = "AGENT"      // takes calls
	Reviewer   Role = "REVIEWER"   // scores calls
	Supervisor Role = "SUPERVISOR" // watches the floor
	Admin      Role = "ADMIN"      // configures the tenant
	Auditor    Role = "AUDITOR"    // reads evidence, never media
)

// Values lists all roles.
func (Role) Values() []string {
	return []string{string(Service), string(Agent), string(Reviewer), string(Supervisor), string(Admin), string(Auditor)}
}

// AllQueues in Principal.Queues stands for every queue of the tenant.
const AllQueues = "*"

// Limits of what a credential may carry.
const (
	MaxName   = 256 // bytes of a tenant, subject or queue
	MaxQueues = 1000
)

// Principal is who calls. It is a value: whoever holds one may keep it, and nobody changes its Queues.
type Principal struct {
	TenantID  string
	Subject   string // the user, or what the API key was made for
	Role      Role
	KeyID     string         // of the API key; empty for a person
	Queues    []string       // whose recordings are in reach; AllQueues for all; empty for none
	Networks  []netip.Prefix // of the API key: media of its calls may come from there alone; empty: from anywhere
	ExpiresAt time.Time      // when the credential ends; zero: not by itself. A long-lived connection is to be closed then.
}

// ErrPrincipal marks a principal that cannot be one.
var ErrPrincipal = errors.New("auth: not a principal")

// Validate returns every problem at once.
func (p Principal) Validate() error {
	var errs []error
	name := func(field, v string) {
		if v == "" || len(v) > MaxName || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			errs = append(errs, fmt.Errorf("%w: %s %.40q is not a text of 1…%d bytes", ErrPrincipal, field, v, MaxName))
		}
	}
	name("tenant", p.TenantID)
	name("subject", p.Subject)
	if !slices.Contains(p.Role.Values(), string(p.Role)) {
		errs = append(errs, fmt.Errorf("%w: role %.40q is not one of %v", ErrPrincipal, p.Role, p.Role.Values()))
	}
	if len(p.Queues) > MaxQueues {
		errs = append(errs, fmt.Errorf("%w: %d queues are more than the limit of %d", ErrPrincipal, len(p.Queues), MaxQueues))
	}
	for _, q := range p.Queues[:min(len(p.Queues), MaxQueues)] {
		name("queue", q)
	}
	return errors.Join(errs...)
}

// Near reports whether an address is within the principal's networks.
func (p Principal) Near(a netip.Addr) bool { return near(p.Networks, a) }

func near(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return len(networks) == 0 || slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

type contextKey struct{}

// With returns a context that carries the principal.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns the context's principal. ok is false if nobody was authenticated.
func From(ctx context.Context) (p Principal, ok bool) {
	p, ok = ctx.Value(contextKey{}).(Principal)
	return p, ok
}
