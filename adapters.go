package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/auth/usertoken"
	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/events"
	"github.com/dualrec/dualrec/graph"
	"github.com/dualrec/dualrec/playback"
	"github.com/dualrec/dualrec/playback/archive"
	"github.com/dualrec/dualrec/recorder"
)

// The types here only translate between the words of two packages that must not know each other.

// notifier publishes a recorder's changes on the bus.
type notifier struct {
	bus  events.Publisher
	log  *slog.Logger
	live func(tenantID, recordingID string) // nil, or tells first what those will read who hear of the change
}

func (n notifier) Notify(c recorder.Change) {
	if n.live != nil {
		n.live(c.TenantID, c.RecordingID)
	}
	if err := n.bus.Publish(events.Change{TenantID: c.TenantID, RecordingID: c.RecordingID, Kind: string(c.Kind)}); err != nil && !errors.Is(err, events.ErrClosed) {
		n.log.Error("publish change", "recording_id", c.RecordingID, "err", err)
	}
}

// assets lets playback find what the catalog knows.
type assets struct{ catalog *catalog.Catalog }

func (a assets) Find(ctx context.Context, tenantID, recordingID string, role recorder.CopyRole) (archive.Entry, error) {
	got, err := a.catalog.Artifact(ctx, tenantID, recordingID, role)
	if err != nil {
		return archive.Entry{}, err
	}
	return archive.Entry{Copy: got.Copy, StoredAt: got.StoredAt, Playable: got.Capture.Playable() && got.Watchable, WrappedKey: got.WrappedKey}, nil
}

// grants keeps playback grants in the catalog.
type grants struct{ catalog *catalog.Catalog }

func (g grants) Create(ctx context.Context, p playback.Grant) error {
	ip := ""
	if p.IP.IsValid() {
		ip = p.IP.String()
	}
	_, err := g.catalog.CreateGrant(ctx, catalog.Grant{ID: p.ID, TenantID: p.TenantID, RecordingID: p.RecordingID, Asset: string(p.Asset),
		Viewer: p.Viewer, Purpose: p.Purpose, IP: ip, Disposition: string(p.Disposition), IssuedAt: p.IssuedAt, ExpiresAt: p.ExpiresAt},
		actorFrom(ctx))
	return err
}

func (g grants) Check(ctx context.Context, id string) (playback.GrantStatus, error) {
	got, err := g.catalog.CheckGrant(ctx, id)
	if errors.Is(err, recorder.ErrNotFound) {
		return playback.GrantStatus{}, playback.ErrGrantNotFound
	}
	if err != nil {
		return playback.GrantStatus{}, err
	}
	var ip netip.Addr // invalid: any address
	if got.IP != "" {
		if ip, err = netip.ParseAddr(got.IP); err != nil {
			return playback.GrantStatus{}, fmt.Errorf("grant %s: stored address: %w", id, err)
		}
	}
	return playback.GrantStatus{Revoked: got.Revoked, Viewed: !got.FirstUsedAt.IsZero(), Grant: playback.Grant{ID: got.ID, TenantID: got.TenantID,
		RecordingID: got.RecordingID, Asset: playback.Asset(got.Asset), Viewer: got.Viewer, Purpose: got.Purpose, IssuedAt: got.IssuedAt,
		ExpiresAt: got.ExpiresAt, IP: ip, Disposition: playback.Disposition(got.Disposition)}}, nil
}

func (g grants) Revoke(ctx context.Context, tenantID, id, by string) error {
	actor := recorder.Actor{Kind: "user", ID: by}
	if _, known := auth.From(ctx); known {
		actor = actorFrom(ctx)
	}
	err := g.catalog.RevokeGrant(ctx, tenantID, id, actor)
	if errors.Is(err, recorder.ErrNotFound) {
		return playback.ErrGrantNotFound
	}
	return err
}

func (g grants) Viewed(ctx context.Context, v playback.View) error {
	viewer := recorder.Actor{Kind: "user", ID: v.Grant.Viewer}
	if v.Address.IsValid() {
		viewer.IP = v.Address.String()
	}
	_, err := g.catalog.UseGrant(ctx, v.Grant.TenantID, v.Grant.ID, v.At, viewer,
		map[string]any{"asset": string(v.Grant.Asset), "user_agent": v.UserAgent})
	return err
}

// actorFrom names the authenticated principal in audit rows.
func actorFrom(ctx context.Context) recorder.Actor {
	p, ok := auth.From(ctx)
	if !ok {
		return recorder.System()
	}
	return actorOf(p)
}

func actorOf(p auth.Principal) recorder.Actor {
	if p.KeyID != "" {
		return recorder.Actor{Kind: "api_key", ID: p.KeyID}
	}
	return recorder.Actor{Kind: "user", ID: p.Subject}
}

// player signs URLs for the API.
type player struct {
	playback *playback.Service
	catalog  *catalog.Catalog
}

func (p player) Grant(ctx context.Context, c graph.GrantCommand) (graph.Grant, error) {
	video, err := p.catalog.Artifact(ctx, c.TenantID, c.RecordingID, recorder.CopyVideo)
	if err != nil {
		return graph.Grant{}, err
	}
	if !video.Capture.Playable() || !video.Watchable || !video.Copy.Stored {
		return graph.Grant{}, &recorder.StateError{RecordingID: c.RecordingID, Is: video.Capture, Want: []recorder.CaptureState{recorder.Available, recorder.Partial}}
	}
	waveform, err := p.catalog.Artifact(ctx, c.TenantID, c.RecordingID, recorder.CopyWaveform)
	if err != nil {
		return graph.Grant{}, err
	}
	var out graph.Grant
	sign := func(asset playback.Asset, url *string) error {
		issued, err := p.playback.Grant(ctx, playback.Request{TenantID: c.TenantID, RecordingID: c.RecordingID, Asset: asset,
			Viewer: c.Actor.ID, Purpose: c.Purpose, TTL: c.TTL})
		if err != nil {
			return grantError(err)
		}
		*url, out.ExpiresAt, out.RefreshAfter = issued.URL, issued.Grant.ExpiresAt, issued.RefreshAfter
		out.IDs = append(out.IDs, issued.Grant.ID)
		return nil
	}
	if c.Video {
		if err := sign(playback.Video, &out.VideoURL); err != nil {
			return graph.Grant{}, err
		}
	}
	if waveform.Copy.Stored {
		if err := sign(playback.Waveform, &out.WaveformURL); err != nil {
			return graph.Grant{}, err
		}
	}
	return out, nil
}

func grantError(err error) error {
	if refused, is := errors.AsType[*playback.RequestError](err); is {
		return &recorder.CommandError{Code: recorder.CodeInvalidInput, Field: []string{"input"}, Msg: refused.Reason, Err: err}
	}
	return err
}

func (p player) Revoke(ctx context.Context, c graph.RevokeCommand) error {
	err := p.playback.Revoke(ctx, c.TenantID, c.GrantID, c.Actor.ID)
	if errors.Is(err, playback.ErrGrantNotFound) {
		return recorder.ErrNotFound
	}
	return err
}

// reviews writes bookmarks and comments and tells those who watch.
type reviews struct {
	catalog *catalog.Catalog
	notify  recorder.Notifier
}

func (r reviews) CreateBookmark(ctx context.Context, c graph.BookmarkCommand) (string, error) {
	b := catalog.Bookmark{RecordingID: c.RecordingID, At: c.At, Label: c.Label, Color: c.Color, Author: c.Actor}
	if c.To != nil {
		b.To = *c.To
	}
	made, err := r.catalog.AddBookmark(ctx, c.TenantID, b)
	if err != nil {
		return "", reviewError(err)
	}
	r.notify.Notify(recorder.Change{TenantID: c.TenantID, RecordingID: c.RecordingID, Kind: recorder.ChangeBookmark})
	return made.ID, nil
}

func (r reviews) AddComment(ctx context.Context, c graph.CommentCommand) (string, error) {
	made, err := r.catalog.AddComment(ctx, c.TenantID, catalog.Comment{RecordingID: c.RecordingID, BookmarkID: c.BookmarkID, At: c.At, Body: c.Body, Author: c.Actor})
	if err != nil {
		return "", reviewError(err)
	}
	r.notify.Notify(recorder.Change{TenantID: c.TenantID, RecordingID: c.RecordingID, Kind: recorder.ChangeComment})
	return made.ID, nil
}

func reviewError(err error) error {
	if refused, is := errors.AsType[*catalog.Refusal](err); is && errors.Is(err, catalog.ErrInvalid) {
		return &recorder.CommandError{Code: recorder.CodeInvalidInput, Field: []string{"input"}, Msg: refused.Reason, Err: err}
	}
	return err
}

// apiKeys finds API keys for authentication.
type apiKeys struct{ catalog *catalog.Catalog }

func (k apiKeys) Lookup(ctx context.Context, id string) (auth.KeyRecord, error) {
	got, err := k.catalog.FindAPIKey(ctx, id)
	if errors.Is(err, recorder.ErrNotFound) {
		return auth.KeyRecord{}, auth.ErrKeyNotFound
	}
	if err != nil {
		return auth.KeyRecord{}, err
	}
	networks, err := parseNetworks(got.AllowedNetworks)
	if err != nil {
		return auth.KeyRecord{}, fmt.Errorf("API key %s: stored networks: %w", id, err)
	}
	return auth.KeyRecord{KeyID: got.ID, Hash: got.Hash, TenantID: got.TenantID, Subject: got.Name, Role: auth.Role(got.Role),
		Queues: got.Queues, Networks: networks, ExpiresAt: got.ExpiresAt, Revoked: !got.Usable(time.Now()) || got.TenantSuspended}, nil
}

// parseNetworks reads networks in CIDR notation.
func parseNetworks(texts []string) (out []netip.Prefix, err error) {
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network like 10.1.0.0/16", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// keyUses remembers when API keys were last used, beside the requests, which must not wait for a write.
type keyUses struct {
	catalog *catalog.Catalog
	log     *slog.Logger

	mu     sync.Mutex
	closed bool
	writes sync.WaitGroup
}

// useTimeout is how long a write may take. What is lost is a minute of a date that nobody acts on.
const useTimeout = 5 * time.Second

func (u *keyUses) note(ctx context.Context, keyID string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed { // a socket that outlives the drain by a moment
		return
	}
	u.writes.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), useTimeout)
		defer cancel()
		if err := u.catalog.TouchAPIKey(ctx, keyID, at); err != nil {
			u.log.Warn("remember use of API key", "api_key_id", keyID, "err", err)
		}
	})
}

// close waits for the writes and lets no more begin.
func (u *keyUses) close() error {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.writes.Wait()
	return nil
}

// activeTenants lets user tokens count only while their tenant may use the installation: a token is signed once and
// knows nothing of what comes after.
type activeTenants struct {
	tokens  *usertoken.Codec
	catalog *catalog.Catalog
}

func (a activeTenants) Verify(ctx context.Context, token string) (auth.Principal, error) {
	p, err := a.tokens.Verify(ctx, token)
	if err != nil {
		return auth.Principal{}, err
	}
	if err := a.active(ctx, p.TenantID); err != nil {
		return auth.Principal{}, err
	}
	return p, nil
}

// active refuses the tokens of tenants that are gone or suspended.
func (a activeTenants) active(ctx context.Context, tenantID string) error {
	t, err := a.catalog.Tenant(ctx, tenantID)
	switch {
	case errors.Is(err, recorder.ErrNotFound):
		return fmt.Errorf("%w: token of the unknown tenant %s", auth.ErrUnauthenticated, tenantID)
	case err != nil:
		return err
	case t.Suspended:
		return fmt.Errorf("%w: tenant %s is suspended", auth.ErrUnauthenticated, tenantID)
	}
	return nil
}
