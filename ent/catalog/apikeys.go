package catalog

import (
	"context"
	"strings"
	"time"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/apikey"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/ent/tenant"
	"github.com/dualrec/dualrec/recorder"
)

// APIKey is what the database knows of an API key: never its secret.
type APIKey struct {
	ID              string // public part of the key
	TenantID        string
	TenantSuspended bool
	Hash            []byte
	Role            string
	Name            string   // what the key is for
	Queues          []string // whose recordings are in reach; "*" for all; empty: none
	AllowedNetworks []string // CIDRs; empty: any
	CreatedAt       time.Time
	LastUsedAt      time.Time // to the minute; zero: never
	ExpiresAt       time.Time // zero: never
	RevokedAt       time.Time // zero: not revoked
}

// Usable tells whether the key may be used at an instant.
func (k APIKey) Usable(at time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || at.Before(k.ExpiresAt))
}

// usedEvery is how exactly the last use of a key is known. More would make every request a write.
const usedEvery = time.Minute

// CreateAPIKey stores a key's hash; an empty ID is drawn. ErrExists, ErrInvalid, recorder.ErrNotFound (no such tenant).
func (c *Catalog) CreateAPIKey(ctx context.Context, k APIKey, actor recorder.Actor) (made APIKey, err error) {
	const op = "create API key"
	if strings.TrimSpace(k.Name) == "" {
		return APIKey{}, outward(op, refuse(ErrInvalid, "the key needs a name, e.g. of the system that uses it"))
	}
	if k.ID == "" {
		k.ID = nodeid.New(nodeid.APIKey)
	}
	err = c.write(ctx, op, k.TenantID, func(ctx context.Context, tx *ent.Tx) error {
		if _, err := tx.Tenant.Get(ctx, k.TenantID); err != nil {
			return err
		}
		row, err := tx.APIKey.Create().SetID(k.ID).SetTenantID(k.TenantID).SetHash(k.Hash).SetRole(k.Role).SetName(k.Name).
			SetQueues(k.Queues).SetAllowedNetworks(k.AllowedNetworks).SetCreatedAt(c.now()).SetNillableExpiresAt(instant(k.ExpiresAt)).Save(ctx)
		if err != nil {
			return err
		}
		made = apiKeyOf(row)
		return c.audit(ctx, tx, k.TenantID, event{actor: actor, action: "api_key.create", object: row.ID,
			details: map[string]any{"name": row.Name, "role": row.Role, "queues": row.Queues, "expires_at": row.ExpiresAt, "allowed_networks": row.AllowedNetworks}})
	})
	return made, err
}

func apiKeyOf(k *ent.APIKey) APIKey {
	out := APIKey{ID: k.ID, TenantID: k.TenantID, Hash: k.Hash, Role: k.Role, Name: k.Name, Queues: k.Queues, AllowedNetworks: k.AllowedNetworks,
		CreatedAt: k.CreatedAt.UTC(), LastUsedAt: moment(k.LastUsedAt), ExpiresAt: moment(k.ExpiresAt), RevokedAt: moment(k.RevokedAt)}
	if t := k.Edges.Tenant; t != nil {
		out.TenantSuspended = t.Status == tenant.StatusSUSPENDED
	}
	return out
}

// FindAPIKey finds a key by its id, whoever's it is. Revoked and expired keys are returned too: the caller checks Usable
// and the hash. recorder.ErrNotFound.
func (c *Catalog) FindAPIKey(ctx context.Context, id string) (got APIKey, err error) {
	err = c.readAcross(ctx, "find API key", func(ctx context.Context, tx *ent.Tx) error {
		row, err := tx.APIKey.Query().Where(apikey.ID(id)).WithTenant().Only(ctx)
		if err != nil {
			return err
		}
		got = apiKeyOf(row)
		return nil
	})
	return got, err
}

// TouchAPIKey remembers that a key was used, at most once a minute. The caller has checked its secret: an id alone is
// public and proves no use. An unknown key is no error.
func (c *Catalog) TouchAPIKey(ctx context.Context, id string, at time.Time) error {
	return c.writeAcross(ctx, "remember use of API key", func(ctx context.Context, tx *ent.Tx) error {
		return tx.APIKey.Update().Where(apikey.ID(id), apikey.Or(apikey.LastUsedAtIsNil(), apikey.LastUsedAtLTE(stamp(at).Add(-usedEvery)))).
			SetLastUsedAt(stamp(at)).Exec(ctx)
	})
}

// RevokeAPIKey ends a key. Revoking it again changes nothing. recorder.ErrNotFound.
func (c *Catalog) RevokeAPIKey(ctx context.Context, tenantID, id string, actor recorder.Actor) error {
	return c.write(ctx, "revoke API key", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		n, err := tx.APIKey.Update().Where(apikey.ID(id), apikey.RevokedAtIsNil()).SetRevokedAt(c.now()).Save(ctx)
		if err != nil {
			return err
		}
		if n == 0 { // unknown, or revoked before
			_, err := tx.APIKey.Get(ctx, id)
			return err
		}
		return c.audit(ctx, tx, tenantID, event{actor: actor, action: "api_key.revoke", object: id})
	})
}

// APIKeys lists a tenant's keys, oldest first.
func (c *Catalog) APIKeys(ctx context.Context, tenantID string) (got []APIKey, err error) {
	err = c.read(ctx, "list API keys", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		rows, err := tx.APIKey.Query().WithTenant().Order(ent.Asc(apikey.FieldCreatedAt, apikey.FieldID)).All(ctx)
		got = mapped(rows, apiKeyOf)
		return err
	})
	return got, err
}
