// Package usertoken issues and verifies the user and ingest tokens of docs/formats/credentials.md: short-lived JWTs signed
// with Ed25519, by github.com/golang-jwt/jwt/v5. It does not know users, passwords or sessions: whoever calls Issue has made
// sure who it is for.
package usertoken

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dualrec/dualrec/auth"
)

const (
	issuer = "dualrec"
	// MaxTTL is the longest life of a token.
	MaxTTL = 24 * time.Hour
	// leeway forgives clocks of several nodes.
	leeway = 30 * time.Second
)

// ErrKey marks a key or ring that cannot be used.
var ErrKey = errors.New("auth/usertoken: key refused")

// Key signs or only verifies. It never prints its private part.
type Key struct {
	id      string
	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil: verifies only
}

// NewKey makes a signing key of 32 random bytes.
func NewKey(seed []byte) (Key, error) {
	if len(seed) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("%w: %d bytes, want %d random ones", ErrKey, len(seed), ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(seed)
	k, err := PublicKey(private.Public().(ed25519.PublicKey))
	k.private = private
	return k, err
}

// PublicKey makes a key that only verifies.
func PublicKey(public ed25519.PublicKey) (Key, error) {
	if len(public) != ed25519.PublicKeySize {
		return Key{}, fmt.Errorf("%w: public key of %d bytes, want %d", ErrKey, len(public), ed25519.PublicKeySize)
	}
	sum := sha256.Sum256(public)
	return Key{id: hex.EncodeToString(sum[:8]), public: public}, nil
}

// ID is the key's "kid".
func (k Key) ID() string { return k.id }

// Public is what a node that only verifies needs.
func (k Key) Public() ed25519.PublicKey { return k.public }

// String keeps the private part out of %v and %s.
func (k Key) String() string { return "ed25519 key " + k.id }

// GoString keeps the private part out of %#v.
func (k Key) GoString() string { return k.String() }

// LogValue keeps the private part out of slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON keeps the private part out of JSON.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }

// Ring holds the key that signs and all that verify. It does not change; see Codec.Use.
type Ring struct {
	signing Key
	byID    map[string]Key
}

// NewRing makes a ring. The current key also verifies; it must be able to sign, unless this node never issues.
func NewRing(current Key, others ...Key) (*Ring, error) {
	r := &Ring{signing: current, byID: map[string]Key{}}
	for _, k := range append([]Key{current}, others...) {
		if k.id == "" {
			return nil, fmt.Errorf("%w: a zero key: use NewKey or PublicKey", ErrKey)
		}
		r.byID[k.id] = k
	}
	return r, nil
}

// Codec issues and verifies tokens. It is safe for concurrent use and is an auth.TokenVerifier.
type Codec struct {
	audience string
	now      func() time.Time
	ring     atomic.Pointer[Ring]
	parser   *jwt.Parser // of user tokens
	ingest   *jwt.Parser // of ingest tokens
}

var _ auth.TokenVerifier = (*Codec)(nil)

// New returns a codec for the installation that audience names. now is the clock; nil: time.Now.
func New(audience string, ring *Ring, now func() time.Time) (*Codec, error) {
	if audience == "" || ring == nil {
		return nil, errors.New("auth/usertoken: an audience and a ring are required")
	}
	if now == nil {
		now = time.Now
	}
	c := &Codec{audience: audience, now: now, parser: newParser(audience, now), ingest: newParser(audience+ingestAudience, now)}
	c.Use(ring)
	return c, nil
}

func newParser(audience string, now func() time.Time) *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), // "none", HMAC with the public key, and all else end here
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithStrictDecoding(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(now))
}

// Use replaces the ring, for rotation while the server runs.
func (c *Codec) Use(ring *Ring) { c.ring.Store(ring) }

type claims struct {
	jwt.RegisteredClaims
	Tenant string    `json:"tenant"`
	Role   auth.Role `json:"role"`
	Queues []string  `json:"queues,omitempty"`
}

// Issue signs a token for a principal. ttl is at most MaxTTL and is cut to whole seconds.
func (c *Codec) Issue(p auth.Principal, ttl time.Duration) (token string, expires time.Time, err error) {
	if err := p.Validate(); err != nil {
		return "", time.Time{}, fmt.Errorf("auth/usertoken: issue: %w", err)
	}
	if ttl < time.Second || ttl > MaxTTL {
		return "", time.Time{}, fmt.Errorf("auth/usertoken: issue: time to live %v is not within 1s…%v", ttl, MaxTTL)
	}
	now := c.now().UTC().Truncate(time.Second)
	expires = now.Add(ttl.Truncate(time.Second))
	var jti [16]byte
	_, _ = rand.Read(jti[:]) // never fails (crypto/rand)
	token, err = c.sign(claims{Tenant: p.TenantID, Role: p.Role, Queues: p.Queues,
		RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer, Subject: p.Subject, Audience: jwt.ClaimStrings{c.audience},
			ID: base64.RawURLEncoding.EncodeToString(jti[:]), IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires)}})
	if errors.Is(err, errTooLong) {
		return "", time.Time{}, fmt.Errorf("%w: list fewer queues, or %q", err, auth.AllQueues)
	}
	if err != nil {
		return "", time.Time{}, err
	}
	return token, expires, nil
}

// Verify implements auth.TokenVerifier.
func (c *Codec) Verify(_ context.Context, token string) (auth.Principal, error) {
	if len(token) > auth.MaxCredential {
		return auth.Principal{}, fmt.Errorf("%w: token of %d bytes", auth.ErrUnauthenticated, len(token))
	}
	var cl claims
	if _, err := c.parser.ParseWithClaims(token, &cl, c.key); err != nil {
		return auth.Principal{}, fmt.Errorf("%w: %w", auth.ErrUnauthenticated, err)
	}
	if err := checkLife(cl.RegisteredClaims); err != nil {
		return auth.Principal{}, err
	}
	p := auth.Principal{TenantID: cl.Tenant, Subject: cl.Subject, Role: cl.Role, Queues: cl.Queues, ExpiresAt: cl.ExpiresAt.UTC()}
	if err := p.Validate(); err != nil {
		return auth.Principal{}, fmt.Errorf("%w: %w", auth.ErrUnauthenticated, err)
	}
	return p, nil
}

// key finds the verifying key. A header that says more than it must could ask for what is not implemented, or bring its own key.
func (c *Codec) key(t *jwt.Token) (any, error) {
	for name := range t.Header {
		if name != "alg" && name != "kid" && name != "typ" {
			return nil, errors.New("unexpected header field")
		}
	}
	kid, _ := t.Header["kid"].(string)
	k, ok := c.ring.Load().byID[kid]
	if !ok {
		return nil, errors.New("unknown key")
	}
	return k.public, nil
}
