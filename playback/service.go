package playback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Ports are what the service needs from outside. All are required.
type Ports struct {
	Signer    *Signer
	Grants    Grants
	Artifacts Artifacts
	Audit     Audit
}

// Service grants, revokes and serves. It is safe for concurrent use and starts no goroutine that outlives a request.
type Service struct {
	cfg     Config
	ports   Ports
	log     *slog.Logger
	streams *streams
}

// New returns a service, or every problem of its configuration at once.
func New(cfg Config, ports Ports, log *slog.Logger) (*Service, error) {
	err := cfg.Validate()
	if ports.Signer == nil || ports.Grants == nil || ports.Artifacts == nil || ports.Audit == nil || log == nil {
		err = errors.Join(err, errors.New("playback: every port and a logger are required"))
	}
	if err != nil {
		return nil, err
	}
	return &Service{cfg: cfg.withDefaults(), ports: ports, log: log,
		streams: newStreams(cfg.StreamsPerGrant, cfg.MaxStreams)}, nil
}

// Request asks for a grant. The caller has checked that the viewer may have it.
type Request struct {
	TenantID    string
	RecordingID string
	Asset       Asset
	Viewer      string
	Purpose     string
	TTL         time.Duration // 0: the default
	IP          netip.Addr    // invalid: any address
	Disposition Disposition   // empty: Inline
}

// Issued is a grant with its URL.
type Issued struct {
	Grant Grant
	URL   string
	// RefreshAfter is when a player should fetch a new grant, so that a paused one does not outlive its URL.
	RefreshAfter time.Time
}

// Grant records a grant and returns its URL, in this order. The error wraps ErrRequest when the request must change.
func (s *Service) Grant(ctx context.Context, req Request) (Issued, error) {
	g, err := s.newGrant(req)
	if err != nil {
		return Issued{}, err
	}
	path, err := s.ports.Signer.Sign(g)
	if err != nil {
		return Issued{}, fmt.Errorf("playback: sign: %w", err)
	}
	if err := s.ports.Grants.Create(ctx, g); err != nil {
		return Issued{}, fmt.Errorf("playback: record the grant: %w", err)
	}
	return Issued{Grant: g, URL: s.cfg.BaseURL + path, RefreshAfter: g.IssuedAt.Add(g.ExpiresAt.Sub(g.IssuedAt) * 2 / 3)}, nil
}

func (s *Service) newGrant(req Request) (Grant, error) {
	ttl := req.TTL
	if ttl == 0 {
		ttl = s.cfg.DefaultTTL
	}
	if ttl < time.Second || ttl > s.cfg.MaxTTL {
		return Grant{}, refuseRequest("time to live %v is not within 1s…%v", ttl, s.cfg.MaxTTL)
	}
	if req.Disposition == "" {
		req.Disposition = Inline
	}
	now := s.cfg.Now().UTC().Truncate(time.Millisecond)
	return Grant{
		ID: NewGrantID(now), TenantID: req.TenantID, RecordingID: req.RecordingID, Asset: req.Asset,
		Viewer: req.Viewer, Purpose: req.Purpose, IssuedAt: now, ExpiresAt: now.Add(ttl).Truncate(time.Millisecond),
		IP: req.IP.Unmap().WithZone(""), Disposition: req.Disposition,
	}, nil
}

// Revoke ends a tenant's grant. Responses of this process that run on it are cut at once, those of others within
// Config.RecheckEvery of their next bytes. ErrGrantNotFound if the tenant has no such grant.
func (s *Service) Revoke(ctx context.Context, tenantID, grantID, by string) error {
	if err := s.ports.Grants.Revoke(ctx, tenantID, grantID, by); err != nil {
		return fmt.Errorf("playback: revoke: %w", err)
	}
	s.streams.cut(grantID, ErrForbidden)
	return nil
}
