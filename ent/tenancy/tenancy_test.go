package tenancy

import (
	"errors"
	"testing"
)

func TestFrom(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	if _, _, err := From(ctx); !errors.Is(err, ErrNoTenant) {
		t.Errorf("no scope = %v", err)
	}
	if _, _, err := From(With(ctx, "")); !errors.Is(err, ErrNoTenant) {
		t.Errorf("empty tenant = %v", err)
	}
	if id, all, err := From(With(AcrossTenants(ctx), "ten_1")); id != "ten_1" || all || err != nil {
		t.Errorf("the inner scope = %q, %v, %v", id, all, err)
	}
	if id, all, err := From(AcrossTenants(With(ctx, "ten_1"))); id != "" || !all || err != nil {
		t.Errorf("across tenants = %q, %v, %v", id, all, err)
	}
	if _, _, err := From(With(AcrossTenants(ctx), "")); !errors.Is(err, ErrNoTenant) {
		t.Errorf("an empty tenant within a wide scope = %v", err)
	}
}
