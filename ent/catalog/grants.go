package catalog

import (
	"context"
	"time"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/grant"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/ent/tenant"
	"github.com/dualrec/dualrec/recorder"
)

// Grant is one permission to play one asset of a recording.
type Grant struct {
	ID          string
	TenantID    string
	RecordingID string
	Asset       string
	Viewer      string
	Purpose     string
	IP          string // the only address that may use it; empty: any
	Disposition string
	IssuedAt    time.Time
	ExpiresAt   time.Time
}

// GrantStatus is a grant as it is now.
type GrantStatus struct {
	Grant
	// Revoked: by RevokeGrant, or because the recording may no longer be watched or its tenant is suspended.
	Revoked     bool
	FirstUsedAt time.Time // zero: not used yet
}

// CreateGrant stores a grant; an empty ID is drawn. recorder.ErrNotFound (no such recording of the tenant),
// ErrExists (the id), ErrInvalid.
func (c *Catalog) CreateGrant(ctx context.Context, g Grant, actor recorder.Actor) (made Grant, err error) {
	const op = "create grant"
	if !g.ExpiresAt.After(g.IssuedAt) {
		return Grant{}, outward(op, refuse(ErrInvalid, "it must expire after it is issued"))
	}
	if g.ID == "" {
		g.ID = nodeid.New(nodeid.Grant)
	}
	err = c.write(ctx, op, g.TenantID, func(ctx context.Context, tx *ent.Tx) error {
		if _, err := tx.Recording.Get(ctx, g.RecordingID); err != nil {
			return err
		}
		row, err := tx.Grant.Create().SetID(g.ID).SetTenantID(g.TenantID).SetRecordingID(g.RecordingID).SetAsset(g.Asset).SetViewer(g.Viewer).
			SetPurpose(g.Purpose).SetIP(g.IP).SetDisposition(g.Disposition).SetIssuedAt(stamp(g.IssuedAt)).SetExpiresAt(stamp(g.ExpiresAt)).Save(ctx)
		if err != nil {
			return err
		}
		made = grantOf(row)
		return c.audit(ctx, tx, g.TenantID, event{actor: actor, action: "playback.grant", object: g.RecordingID, details: map[string]any{
			"grant_id": g.ID, "asset": g.Asset, "viewer": g.Viewer, "purpose": g.Purpose, "ip": g.IP, "expires_at": made.ExpiresAt}})
	})
	return made, err
}

func grantOf(g *ent.Grant) Grant {
	return Grant{ID: g.ID, TenantID: g.TenantID, RecordingID: g.RecordingID, Asset: g.Asset, Viewer: g.Viewer, Purpose: g.Purpose,
		IP: g.IP, Disposition: g.Disposition, IssuedAt: g.IssuedAt.UTC(), ExpiresAt: g.ExpiresAt.UTC()}
}

// CheckGrant reads a grant as it is now, whoever's it is: the signed URL says no tenant. recorder.ErrNotFound.
func (c *Catalog) CheckGrant(ctx context.Context, id string) (got GrantStatus, err error) {
	err = c.readAcross(ctx, "check grant", func(ctx context.Context, tx *ent.Tx) error {
		row, err := tx.Grant.Query().Where(grant.ID(id)).WithTenant().WithRecording(func(q *ent.RecordingQuery) { q.WithDataKey() }).Only(ctx)
		if err != nil {
			return err
		}
		ended := row.RevokedAt != nil || row.Edges.Tenant.Status != tenant.StatusACTIVE || !watchable(row.Edges.Recording)
		got = GrantStatus{Grant: grantOf(row), FirstUsedAt: moment(row.FirstUsedAt), Revoked: ended}
		return nil
	})
	return got, err
}

// RevokeGrant ends a grant. Revoking it again changes nothing. recorder.ErrNotFound.
func (c *Catalog) RevokeGrant(ctx context.Context, tenantID, id string, actor recorder.Actor) error {
	return c.write(ctx, "revoke grant", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		n, err := tx.Grant.Update().Where(grant.ID(id), grant.RevokedAtIsNil()).SetRevokedAt(c.now()).Save(ctx)
		if err != nil {
			return err
		}
		row, err := tx.Grant.Get(ctx, id)
		if err != nil || n == 0 {
			return err
		}
		return c.audit(ctx, tx, tenantID, event{actor: actor, action: "playback.revoke", object: row.RecordingID, details: map[string]any{"grant_id": id}})
	})
}

// UseGrant records the first use of a grant; of several calls, also at the same time, exactly one records and
// returns true. details go into the audit event (address, browser). recorder.ErrNotFound.
func (c *Catalog) UseGrant(ctx context.Context, tenantID, id string, at time.Time, actor recorder.Actor, details map[string]any) (first bool, err error) {
	err = c.write(ctx, "record view", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		n, err := tx.Grant.Update().Where(grant.ID(id), grant.FirstUsedAtIsNil()).SetFirstUsedAt(c.orNow(at)).Save(ctx)
		if err != nil {
			return err
		}
		first = n == 1
		row, err := tx.Grant.Get(ctx, id)
		if err != nil || !first {
			return err
		}
		all := map[string]any{"grant_id": id, "asset": row.Asset, "viewer": row.Viewer}
		for k, v := range details {
			all[k] = v
		}
		return c.audit(ctx, tx, tenantID, event{actor: actor, action: "playback.view", object: row.RecordingID, details: all})
	})
	return first && err == nil, err
}
