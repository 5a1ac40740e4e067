package usertoken

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dualrec/dualrec/auth"
)

// ingestAudience sets ingest tokens apart from user tokens: neither is taken for the other.
const ingestAudience = "/ingest"

type ingestClaims struct {
	jwt.RegisteredClaims
	Tenant    string   `json:"tenant"`
	Recording string   `json:"recording"`
	Kinds     []string `json:"kinds"`
}

// IssueIngest signs a token that lets its holder publish into one recording and nothing else. ttl is at most MaxTTL and is
// cut to whole seconds. g.ExpiresAt is not looked at.
func (c *Codec) IssueIngest(g auth.IngestGrant, ttl time.Duration) (token string, expires time.Time, err error) {
	if err := g.Validate(); err != nil {
		return "", time.Time{}, fmt.Errorf("auth/usertoken: issue: %w", err)
	}
	if ttl < time.Second || ttl > MaxTTL {
		return "", time.Time{}, fmt.Errorf("auth/usertoken: issue: time to live %v is not within 1s…%v", ttl, MaxTTL)
	}
	now := c.now().UTC().Truncate(time.Second)
	expires = now.Add(ttl.Truncate(time.Second))
	var jti [16]byte
	_, _ = rand.Read(jti[:]) // never fails (crypto/rand)
	token, err = c.sign(ingestClaims{Tenant: g.TenantID, Recording: g.RecordingID, Kinds: g.Kinds,
		RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer, Subject: g.Subject, Audience: jwt.ClaimStrings{c.audience + ingestAudience},
			ID: base64.RawURLEncoding.EncodeToString(jti[:]), IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires)}})
	return token, expires, err
}

// VerifyIngest returns what an ingest token grants. The error wraps auth.ErrUnauthenticated.
func (c *Codec) VerifyIngest(token string) (auth.IngestGrant, error) {
	if len(token) > auth.MaxCredential {
		return auth.IngestGrant{}, fmt.Errorf("%w: token of %d bytes", auth.ErrUnauthenticated, len(token))
	}
	var cl ingestClaims
	if _, err := c.ingest.ParseWithClaims(token, &cl, c.key); err != nil {
		return auth.IngestGrant{}, fmt.Errorf("%w: %w", auth.ErrUnauthenticated, err)
	}
	if err := checkLife(cl.RegisteredClaims); err != nil {
		return auth.IngestGrant{}, err
	}
	g := auth.IngestGrant{TenantID: cl.Tenant, RecordingID: cl.Recording, Subject: cl.Subject, Kinds: cl.Kinds, ExpiresAt: cl.ExpiresAt.UTC()}
	if err := g.Validate(); err != nil {
		return auth.IngestGrant{}, fmt.Errorf("%w: %w", auth.ErrUnauthenticated, err)
	}
	return g, nil
}

// sign makes the token of any claims.
func (c *Codec) sign(claims jwt.Claims) (string, error) {
	key := c.ring.Load().signing
	if key.private == nil {
		return "", fmt.Errorf("%w: this node can only verify", ErrKey)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	t.Header["kid"] = key.id
	token, err := t.SignedString(key.private)
	if err != nil {
		return "", fmt.Errorf("auth/usertoken: sign: %w", err)
	}
	if len(token) > auth.MaxCredential {
		return "", fmt.Errorf("%w: it would have %d bytes, and the limit is %d", errTooLong, len(token), auth.MaxCredential)
	}
	return token, nil
}

var errTooLong = errors.New("auth/usertoken: issue: token too long")

// checkLife refuses what this package never issues.
func checkLife(c jwt.RegisteredClaims) error {
	if c.IssuedAt == nil || c.ExpiresAt.Sub(c.IssuedAt.Time) > MaxTTL || len(c.Audience) != 1 {
		return fmt.Errorf("%w: token without time of issue, with several audiences, or longer than %v", auth.ErrUnauthenticated, MaxTTL)
	}
	return nil
}
