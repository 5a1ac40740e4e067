package local

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/dualrec/dualrec/kms"
)

// ring is the content of a keyring in memory. It is never changed once others can see it.
type ring struct {
	tenants map[string][]*kek // oldest first; the last one wraps
	byID    map[string]*kek
}

// kek is one version of a tenant's key. It is only held by pointer: fmt prints
// the fields of nested structs without asking String, but not what a nested pointer points to.
type kek struct {
	id        string
	tenant    string
	version   int
	createdAt time.Time
	secret    []byte
	aead      cipher.AEAD
}

func newRing() *ring { return &ring{tenants: map[string][]*kek{}, byID: map[string]*kek{}} }

// current is the key that wraps for a tenant now, or nil.
func (r *ring) current(tenant string) *kek {
	keys := r.tenants[tenant]
	if len(keys) == 0 {
		return nil
	}
	return keys[len(keys)-1]
}

// with returns a copy with a fresh key for the tenant.
func (r *ring) with(tenant string, now time.Time) (*ring, *kek, error) {
	var random [8 + kms.KeySize]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, nil, fmt.Errorf("draw key: %w", err)
	}
	next := newRing()
	for t, keys := range r.tenants {
		next.tenants[t] = append([]*kek(nil), keys...)
		for _, k := range keys {
			next.byID[k.id] = k
		}
	}
	version := len(r.tenants[tenant]) + 1
	err := next.add(tenant, version, fileKey{ID: "kek_" + hex.EncodeToString(random[:8]), Version: version,
		CreatedAt: now.UTC(), Secret: encodeSecret(random[8:])})
	return next, next.current(tenant), err
}

// add checks a key as it stands in the file and appends it.
func (r *ring) add(tenant string, version int, fk fileKey) error {
	secret, err := decodeSecret(fk.Secret)
	switch {
	case err != nil || len(secret) != kms.KeySize:
		return fmt.Errorf("%w: the secret of key %q is not base64 of %d bytes", ErrDamaged, fk.ID, kms.KeySize)
	case tenant == "" || fk.ID == "":
		return fmt.Errorf("%w: a key without tenant or id", ErrDamaged)
	case fk.Version != version:
		return fmt.Errorf("%w: key %q of tenant %q has version %d where %d is due", ErrDamaged, fk.ID, tenant, fk.Version, version)
	case r.byID[fk.ID] != nil:
		return fmt.Errorf("%w: key %q occurs twice", ErrDamaged, fk.ID)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	k := &kek{id: fk.ID, tenant: tenant, version: version, createdAt: fk.CreatedAt, secret: secret, aead: aead}
	r.tenants[tenant] = append(r.tenants[tenant], k)
	r.byID[k.id] = k
	return nil
}

func (r *ring) file() file {
	out := file{Format: fileFormat, Version: fileVersion, Tenants: map[string]fileTenant{}}
	for tenant, keys := range r.tenants {
		var t fileTenant
		for _, k := range keys {
			t.Keys = append(t.Keys, fileKey{ID: k.id, Version: k.version, CreatedAt: k.createdAt, Secret: encodeSecret(k.secret)})
		}
		out.Tenants[tenant] = t
	}
	return out
}
