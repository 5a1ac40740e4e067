package catalog

import (
	"context"
	"time"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/recorder"
)

// AuditToken records that a user token was issued; the token itself is nowhere stored. recorder.ErrNotFound (no such
// tenant).
func (c *Catalog) AuditToken(ctx context.Context, tenantID, subject, role string, expires time.Time, actor recorder.Actor) error {
	return c.write(ctx, "audit user token", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		if _, err := tx.Tenant.Get(ctx, tenantID); err != nil {
			return err
		}
		return c.audit(ctx, tx, tenantID, event{actor: actor, action: "user_token.create", object: subject,
			details: map[string]any{"role": role, "expires_at": expires}})
	})
}
