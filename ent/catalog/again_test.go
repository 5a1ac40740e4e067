package catalog_test

import (
	"errors"
	"testing"

	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/recorder"
)

// TestBeginAgainAfterAFailure: an SFU whose start was refused tries again with the same session id and must get a
// recording that can record; the session stays the same one.
func TestBeginAgainAfterAFailure(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		for _, end := range []recorder.CaptureState{recorder.Aborted, recorder.Failed} {
			first := begin(t, c, tenant, "call-"+string(end))
			if err := c.Transition(t.Context(), move(first.ID, tenant, end, recorder.Pending)); err != nil {
				t.Fatal(err)
			}
			again, created, err := c.Begin(t.Context(), beginRow(tenant, "call-"+string(end)))
			if err != nil || !created || again.ID == first.ID || again.Capture != recorder.Pending {
				t.Errorf("after %s: %+v, created %v, %v", end, again, created, err)
			}
			if again.SessionID != first.SessionID {
				t.Errorf("after %s: session %s, want %s", end, again.SessionID, first.SessionID)
			}
			third, created, err := c.Begin(t.Context(), beginRow(tenant, "call-"+string(end)))
			if err != nil || created || third.ID != again.ID {
				t.Errorf("a third start: %s, created %v, %v; want %s", third.ID, created, err, again.ID)
			}
		}
	})
}

// TestStarted finds what Begin would return, and makes nothing.
func TestStarted(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant, other := tenantOf(t, c, "Acme"), tenantOf(t, c, "Rival")
		if _, err := c.Started(t.Context(), tenant, "call-1"); !errors.Is(err, recorder.ErrNotFound) {
			t.Errorf("before the start: %v", err)
		}
		first := begin(t, c, tenant, "call-1")
		got, err := c.Started(t.Context(), tenant, "call-1")
		if err != nil || got.ID != first.ID || got.Node != first.Node || got.Capture != recorder.Pending {
			t.Errorf("%+v, %v, want %s", got, err, first.ID)
		}
		if _, err := c.Started(t.Context(), other, "call-1"); !errors.Is(err, recorder.ErrNotFound) {
			t.Errorf("another tenant: %v", err)
		}
		if err := c.Transition(t.Context(), move(first.ID, tenant, recorder.Aborted, recorder.Pending)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Started(t.Context(), tenant, "call-1"); !errors.Is(err, recorder.ErrNotFound) {
			t.Errorf("after it was aborted: %v", err)
		}
	})
}
