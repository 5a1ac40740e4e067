// Package tenancy carries the tenant whose rows a database query may see, in a context. The ent schema
// filters every query and every write by it and refuses to run without it, so that a forgotten filter
// is an error and never another tenant's data. It knows nothing of databases or identities.
package tenancy

import (
	"context"
	"errors"
)

// ErrNoTenant: a query ran without a tenant. It is a programming error of the caller.
var ErrNoTenant = errors.New("tenancy: the context names no tenant: wrap it with tenancy.With")

// ErrForeign: a write named another tenant than its context.
var ErrForeign = errors.New("tenancy: the row belongs to another tenant than the context")

type key struct{}

type scope struct {
	tenant string
	all    bool
}

// With lets queries under the returned context see one tenant's rows, and no others.
func With(ctx context.Context, tenantID string) context.Context {
	return context.WithValue(ctx, key{}, scope{tenant: tenantID})
}

// AcrossTenants lets queries see the rows of all tenants. Only what has no tenant yet may use it: the
// lookup of an API key, the list of tenants, the recovery of a recorder node.
func AcrossTenants(ctx context.Context) context.Context {
	return context.WithValue(ctx, key{}, scope{all: true})
}

// From reads the scope: the tenant's id, or all. ErrNoTenant if there is none or its id is empty.
func From(ctx context.Context) (tenantID string, all bool, err error) {
	s, ok := ctx.Value(key{}).(scope)
	if !ok || (s.tenant == "" && !s.all) {
		return "", false, ErrNoTenant
	}
	return s.tenant, s.all, nil
}
