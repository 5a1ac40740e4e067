package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// MaxCredential is the longest credential in bytes.
const MaxCredential = 4096

// Config of an Authenticator. Start from DefaultConfig.
type Config struct {
	FailureBurst int           // failures of one address before it must wait
	FailurePay   time.Duration // how long one failure weighs
	MaxSources   int           // addresses and keys remembered
	UsedEvery    time.Duration // OnKeyUsed is called at most so often per key
	// OnKeyUsed is told of an API key's use (its "last used"). It must not block. Nil: nobody is told.
	OnKeyUsed func(ctx context.Context, keyID string, at time.Time) `json:"-"`
	// ClientIP tells a request's client behind trusted proxies. Nil: the peer's address. See ClientIP.
	ClientIP SourceFunc `json:"-"`
	// Now is the clock. Nil: time.Now.
	Now func() time.Time `json:"-"`
}

// DefaultConfig lets an address fail 20 times at once and then once in 3 seconds.
func DefaultConfig() Config {
	return Config{FailureBurst: 20, FailurePay: 3 * time.Second, MaxSources: 10_000, UsedEvery: time.Minute}
}

// Validate returns every problem at once.
func (c Config) Validate() error {
	var errs []error
	if c.FailureBurst < 1 {
		errs = append(errs, fmt.Errorf("auth: burst of %d failures is not positive", c.FailureBurst))
	}
	if c.FailurePay <= 0 || c.FailurePay > time.Hour {
		errs = append(errs, fmt.Errorf("auth: weight of a failure %v is not within 1ns…1h", c.FailurePay))
	}
	if c.MaxSources < 1 {
		errs = append(errs, fmt.Errorf("auth: limit of %d sources is not positive", c.MaxSources))
	}
	if c.UsedEvery < 0 {
		errs = append(errs, fmt.Errorf("auth: interval of uses %v is negative", c.UsedEvery))
	}
	return errors.Join(errs...)
}

// Authenticator turns credentials into principals. It is safe for concurrent use.
type Authenticator struct {
	cfg      Config
	keys     KeyStore
	tokens   TokenVerifier
	log      *slog.Logger
	throttle *throttle

	mu   sync.Mutex
	used *lru[string, time.Time]
}

// New returns an authenticator, or every problem of its configuration at once.
func New(cfg Config, keys KeyStore, tokens TokenVerifier, log *slog.Logger) (*Authenticator, error) {
	err := cfg.Validate()
	if keys == nil || tokens == nil || log == nil {
		err = errors.Join(err, errors.New("auth: a key store, a token verifier and a logger are required"))
	}
	if err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ClientIP == nil {
		cfg.ClientIP = ClientIP(nil)
	}
	return &Authenticator{cfg: cfg, keys: keys, tokens: tokens, log: log, used: newLRU[string, time.Time](cfg.MaxSources),
		throttle: newThrottle(cfg.FailureBurst, cfg.FailurePay, cfg.MaxSources)}, nil
}

// Authenticate checks an API key or user token presented from an address. It fails with ErrUnauthenticated, which is a
// *ThrottledError when the address has failed too often, ErrUnavailable, or the context's error. A good credential is never
// throttled: a whole contact centre and its attacker may be behind one address. The texts are for logs.
func (a *Authenticator) Authenticate(ctx context.Context, credential string, source netip.Addr) (Principal, error) {
	now := a.cfg.Now()
	if len(credential) > MaxCredential {
		credential = "" // fails below, and costs no hash of megabytes
	}
	p, err := a.verify(ctx, credential, source, now)
	if errors.Is(err, ErrUnauthenticated) {
		if wait := a.throttle.failed(source, now); wait > 0 {
			return Principal{}, &ThrottledError{RetryAfter: wait}
		}
		return Principal{}, err
	}
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	a.noteUse(ctx, p.KeyID, now)
	return p, nil
}

func (a *Authenticator) verify(ctx context.Context, credential string, source netip.Addr, now time.Time) (Principal, error) {
	switch {
	case credential == "":
		return Principal{}, fmt.Errorf("%w: no credential", ErrUnauthenticated)
	case strings.HasPrefix(credential, apiKeyPrefix):
		return a.verifyKey(ctx, credential, source, now)
	}
	p, err := a.tokens.Verify(ctx, credential)
	if err != nil {
		return Principal{}, err
	}
	if err := p.Validate(); err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	return p, nil
}

func (a *Authenticator) verifyKey(ctx context.Context, credential string, source netip.Addr, now time.Time) (Principal, error) {
	key, err := ParseAPIKey(credential)
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	rec, err := a.keys.Lookup(ctx, key.ID)
	missing := errors.Is(err, ErrKeyNotFound)
	if err != nil && !missing {
		return Principal{}, fmt.Errorf("look up key %s: %w", key.ID, err)
	}
	if missing {
		rec = KeyRecord{Hash: make([]byte, len(key.hash))} // so that an unknown id takes as long
	}
	matches := key.Matches(rec.Hash)
	switch {
	case missing, !matches, rec.KeyID != key.ID:
		return Principal{}, fmt.Errorf("%w: unknown key or wrong secret, id %s", ErrUnauthenticated, key.ID)
	case rec.Revoked:
		return Principal{}, fmt.Errorf("%w: key %s is revoked", ErrUnauthenticated, key.ID)
	case !rec.ExpiresAt.IsZero() && !now.Before(rec.ExpiresAt):
		return Principal{}, fmt.Errorf("%w: key %s expired at %v", ErrUnauthenticated, key.ID, rec.ExpiresAt)
	case !near(rec.Networks, source):
		return Principal{}, fmt.Errorf("%w: key %s is not for use from %v", ErrUnauthenticated, key.ID, source)
	}
	p := Principal{TenantID: rec.TenantID, Subject: rec.Subject, Role: rec.Role, KeyID: key.ID, Queues: rec.Queues, Networks: rec.Networks, ExpiresAt: rec.ExpiresAt}
	if err := p.Validate(); err != nil {
		return Principal{}, fmt.Errorf("record of key %s: %w", key.ID, err)
	}
	return p, nil
}

// noteUse tells the hook of a key's use, once per interval.
func (a *Authenticator) noteUse(ctx context.Context, keyID string, now time.Time) {
	if keyID == "" || a.cfg.OnKeyUsed == nil {
		return
	}
	a.mu.Lock()
	last, ok := a.used.get(keyID)
	due := !ok || now.Sub(last) >= a.cfg.UsedEvery
	if due {
		a.used.set(keyID, now)
	}
	a.mu.Unlock()
	if due {
		a.cfg.OnKeyUsed(ctx, keyID, now)
	}
}
