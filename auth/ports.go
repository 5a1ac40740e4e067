package auth

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// KeyStore finds API keys. Implementations are safe for concurrent use.
type KeyStore interface {
	// Lookup returns the record of a key id of any tenant, also of a revoked or expired key. ErrKeyNotFound if there is none.
	// It is asked on every request, so that a revocation counts at once.
	Lookup(ctx context.Context, keyID string) (KeyRecord, error)
}

// KeyRecord is a stored API key.
type KeyRecord struct {
	KeyID     string
	Hash      []byte // from NewAPIKey
	TenantID  string
	Subject   string // what the key is for
	Role      Role
	Queues    []string
	Networks  []netip.Prefix // from which alone the key may be used; empty: any
	ExpiresAt time.Time      // zero: never
	Revoked   bool
}

// TokenVerifier verifies user tokens, implemented by auth/usertoken. More than one may be tried in turn (Verifiers).
type TokenVerifier interface {
	// Verify returns the token's principal. An error that wraps ErrUnauthenticated is the token's fault, any other is a fault here.
	Verify(ctx context.Context, token string) (Principal, error)
}

// Verifiers tries several in order and takes the first that does not say ErrUnauthenticated.
type Verifiers []TokenVerifier

// Verify implements TokenVerifier.
func (vs Verifiers) Verify(ctx context.Context, token string) (Principal, error) {
	err := ErrUnauthenticated
	for _, v := range vs {
		var p Principal
		if p, err = v.Verify(ctx, token); !errors.Is(err, ErrUnauthenticated) {
			return p, err
		}
	}
	return Principal{}, err
}

// Errors of authentication.
var (
	// ErrKeyNotFound: no key has this id.
	ErrKeyNotFound = errors.New("auth: no such API key")
	// ErrUnauthenticated: the credential proves nothing. What it wraps is for logs, never for the caller.
	ErrUnauthenticated = errors.New("auth: unauthenticated")
	// ErrUnavailable: whether the credential is good cannot be found out now.
	ErrUnavailable = errors.New("auth: unavailable")
)

// ThrottledError says that the credential is bad and its address failed too often lately. It wraps ErrUnauthenticated.
type ThrottledError struct{ RetryAfter time.Duration }

// Error says when to come back.
func (e *ThrottledError) Error() string {
	return "auth: too many failures from this address, try again in " + e.RetryAfter.Round(time.Second).String()
}

// Unwrap tells that the credential was looked at.
func (e *ThrottledError) Unwrap() error { return ErrUnauthenticated }
