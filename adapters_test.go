package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/graph"
	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/playback"
	"github.com/dualrec/dualrec/recorder"
)

// estate is an installation with one tenant and one recording, wired as the server wires it; only the media is made up.
type estate struct {
	t         *testing.T
	conf      common
	catalog   *catalog.Catalog
	tenant    catalog.Tenant
	recording string
	auth      *auth.Authenticator
	play      player
	media     *httptest.Server
	log       *bytes.Buffer
}

var here = netip.MustParseAddr("192.0.2.1")

func newEstate(t *testing.T) *estate {
	t.Helper()
	e := &estate{t: t, conf: common{Data: t.TempDir()}, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(e.log, nil))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(e.conf.makeFolders())
	var err error
	e.catalog, err = catalog.Open(t.Context(), e.conf.database(), log)
	must(err)
	t.Cleanup(func() {
		if err := e.catalog.Close(); err != nil {
			t.Error(err)
		}
	})
	e.tenant, err = e.catalog.CreateTenant(t.Context(), catalog.Tenant{Name: "acme"}, recorder.System())
	must(err)
	row, _, err := e.catalog.Begin(t.Context(), recorder.BeginRow{TenantID: e.tenant.ID, RecordingID: nodeid.New(nodeid.Recording), SessionID: nodeid.New(nodeid.Session),
		Node: "n", ExternalSessionID: "call-1", Queue: "sales", Agent: "ann", StartedAt: time.Now(), Profile: recorder.DefaultProfile(), Canvas: recorder.Size{W: 1920, H: 1080},
		Tracks:     []recorder.TrackRow{{ID: nodeid.New(nodeid.Track), Kind: recorder.Screen, State: recorder.TrackExpected}},
		WrappedKey: kms.WrappedKey{Provider: "local", KeyRef: "k", Ciphertext: []byte("c")}, Actor: recorder.System()})
	must(err)
	e.recording = row.ID
	tokens, err := userTokens(e.conf)
	must(err)
	e.auth, err = auth.New(auth.DefaultConfig(), apiKeys{e.catalog}, activeTenants{tokens, e.catalog}, log)
	must(err)
	signer, err := urlSigner(e.conf)
	must(err)
	g := grants{e.catalog}
	service, err := playback.New(playback.DefaultConfig(), playback.Ports{Signer: signer, Grants: g, Audit: g, Artifacts: film{}}, log)
	must(err)
	e.play = player{service, e.catalog}
	e.media = httptest.NewServer(service.Handler())
	t.Cleanup(e.media.Close)
	return e
}

// film is the same for every recording.
type film struct{}

func (film) Open(context.Context, playback.Ref) (playback.Artifact, error) {
	digest := sha256.Sum256([]byte("film"))
	return playback.Artifact{Content: bytes.NewReader([]byte("film")), Digest: digest[:]}, nil
}

// key makes an API key as the command does.
func (e *estate) key(role auth.Role, change func(*apikeyCreate)) (display, id string) {
	e.t.Helper()
	c := &apikeyCreate{common: e.conf, Tenant: e.tenant.Name, Role: string(role), Name: "test"}
	if change != nil {
		change(c)
	}
	facts := e.run(c.Run)
	return facts["apiKey"].(string), facts["keyId"].(string)
}

// token makes a user token as the command does.
func (e *estate) token(role auth.Role) string {
	e.t.Helper()
	return e.run((&tokenCreate{common: e.conf, Tenant: e.tenant.Name, Subject: "ann", Role: string(role), TTL: time.Hour}).Run)["token"].(string)
}

// run runs a command and returns the facts that it prints.
func (e *estate) run(command func(context.Context, *os.File) error) map[string]any {
	e.t.Helper()
	out, err := os.Create(filepath.Join(e.t.TempDir(), "out"))
	if err != nil {
		e.t.Fatal(err)
	}
	if err := errors.Join(command(e.t.Context(), out), out.Close()); err != nil {
		e.t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		e.t.Fatal(err)
	}
	var facts map[string]any
	if err := json.Unmarshal(text, &facts); err != nil {
		e.t.Fatalf("%s: %v", text, err)
	}
	return facts
}

func (e *estate) sign(asset playback.Asset) playback.Issued {
	e.t.Helper()
	issued, err := e.play.playback.Grant(e.t.Context(), playback.Request{TenantID: e.tenant.ID, RecordingID: e.recording, Asset: asset, Viewer: "ann"})
	if err != nil {
		e.t.Fatal(err)
	}
	return issued
}

func (e *estate) status(url string) int {
	e.t.Helper()
	res, err := e.media.Client().Get(e.media.URL + url)
	if err != nil {
		e.t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		e.t.Fatal(err)
	}
	return res.StatusCode
}

// Everything by which a tenant gets in ends with its suspension, and comes back with its end.
func TestSuspendedTenantIsShutOut(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.conf.JSON = true
	key, _ := e.key(auth.Service, nil)
	credentials := map[string]string{"API key": key, "user token": e.token(auth.Reviewer)}
	url := e.sign(playback.Video).URL
	look := func(when string, let bool) {
		t.Helper()
		for name, c := range credentials {
			_, err := e.auth.Authenticate(t.Context(), c, here)
			if let && err != nil || !let && !errors.Is(err, auth.ErrUnauthenticated) {
				t.Errorf("%s, %s: %v", when, name, err)
			}
		}
		want := http.StatusForbidden
		if let {
			want = http.StatusOK
		}
		if got := e.status(url); got != want {
			t.Errorf("%s: the URL answers %d", when, got)
		}
	}
	look("before", true)
	if facts := e.run((&tenantSuspend{e.conf, "acme"}).Run); facts["suspended"] != true || facts["tenantId"] != e.tenant.ID {
		t.Errorf("tenant suspend says %v", facts)
	}
	look("suspended", false)
	if facts := e.run((&tenantResume{e.conf, "acme"}).Run); facts["suspended"] != false {
		t.Errorf("tenant resume says %v", facts)
	}
	look("resumed", true)
	if err := (&tenantSuspend{e.conf, "nobody"}).Run(t.Context(), os.Stdout); !errors.Is(err, recorder.ErrNotFound) {
		t.Errorf("suspending nobody: %v", err)
	}
}

func TestTokenOfAnUnknownTenant(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	tokens, err := userTokens(e.conf)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := tokens.Issue(auth.Principal{TenantID: "ten_gone", Subject: "ann", Role: auth.Admin}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.auth.Authenticate(t.Context(), token, here); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Error(err)
	}
}

func TestRevokedGrant(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	ended, kept := e.sign(playback.Video), e.sign(playback.Waveform)
	ctx := auth.With(t.Context(), auth.Principal{TenantID: e.tenant.ID, Subject: "sfu", Role: auth.Admin, KeyID: "key-1"})
	revoke := func(tenant, id string) error {
		return e.play.Revoke(ctx, graph.RevokeCommand{TenantID: tenant, GrantID: id, Actor: recorder.Actor{Kind: "api_key", ID: "key-1"}})
	}
	for range 2 {
		if err := revoke(e.tenant.ID, ended.Grant.ID); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := e.status(ended.URL), e.status(kept.URL); a != http.StatusForbidden || b != http.StatusOK {
		t.Errorf("the revoked one answers %d, the other %d", a, b)
	}
	for tenant, id := range map[string]string{e.tenant.ID: "nobody", "ten_other": kept.Grant.ID} {
		if err := revoke(tenant, id); !errors.Is(err, recorder.ErrNotFound) {
			t.Errorf("%s of %s: %v", id, tenant, err)
		}
	}
	events, err := e.catalog.AuditSince(t.Context(), e.tenant.ID, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var actors []string
	for _, ev := range events {
		if ev.Action == "playback.revoke" {
			actors = append(actors, ev.Actor.Kind+" "+ev.Actor.ID)
		}
	}
	if fmt.Sprint(actors) != "[api_key key-1]" {
		t.Errorf("audited as %v", actors)
	}
}

func TestAPIKeyReachesWhatItWasMadeFor(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.conf.JSON = true
	anywhere, _ := e.key(auth.Reviewer, nil)
	confined, _ := e.key(auth.Reviewer, func(c *apikeyCreate) {
		c.Queue, c.Network = []string{"sales"}, []string{"192.0.2.0/28", "2001:db8::/32"}
	})
	for _, tc := range []struct {
		name, key, from, queues string
	}{
		{"of all queues", anywhere, "203.0.113.1", "[*]"},
		{"of one queue", confined, "192.0.2.1", "[sales]"},
		{"from elsewhere", confined, "203.0.113.1", ""},
	} {
		p, err := e.auth.Authenticate(t.Context(), tc.key, netip.MustParseAddr(tc.from))
		if tc.queues == "" {
			if !errors.Is(err, auth.ErrUnauthenticated) {
				t.Errorf("%s: %+v, %v", tc.name, p, err)
			}
			continue
		}
		if err != nil || fmt.Sprint(p.Queues) != tc.queues {
			t.Errorf("%s: %v, %v", tc.name, p.Queues, err)
		}
	}
	bad := &apikeyCreate{common: e.conf, Tenant: "acme", Role: "SERVICE", Name: "x", Network: []string{"10.0.0.1"}}
	if err := bad.Run(t.Context(), os.Stdout); err == nil || !strings.Contains(err.Error(), "--network") {
		t.Errorf("a network without a length: %v", err)
	}
}

// The id of a key is public: asking with it alone is no use of the key.
func TestLastUseOfAKey(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.conf.JSON = true
	display, id := e.key(auth.Service, nil)
	uses := &keyUses{catalog: e.catalog, log: slog.New(slog.NewTextHandler(e.log, nil))}
	cfg := auth.DefaultConfig()
	cfg.OnKeyUsed = uses.note
	a, err := auth.New(cfg, apiKeys{e.catalog}, auth.Verifiers{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	lastUsed := func() time.Time {
		t.Helper()
		uses.writes.Wait()
		k, err := e.catalog.FindAPIKey(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return k.LastUsedAt
	}
	other, _, _ := auth.NewAPIKey()
	if _, err := (apiKeys{e.catalog}).Lookup(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), other, here); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Fatal(err)
	}
	if got := lastUsed(); !got.IsZero() {
		t.Errorf("used at %v without its secret", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = a.Authenticate(ctx, display, here)
	cancel() // the request is over before the use is written
	if err != nil {
		t.Fatal(err)
	}
	if got := lastUsed(); time.Since(got) > time.Minute {
		t.Errorf("used at %v\n%s", got, e.log)
	}
	if err := uses.close(); err != nil {
		t.Fatal(err)
	}
	uses.note(t.Context(), id, time.Now().Add(time.Hour))
	if got := lastUsed(); time.Since(got) < -time.Minute {
		t.Error("a write began after the end")
	}
}

// What a tenant reads about its own mistakes names no package of ours.
func TestRefusalsSpeakToCallers(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	r := reviews{e.catalog, nil} // refused before anybody is told
	_, backwards := r.CreateBookmark(t.Context(), graph.BookmarkCommand{TenantID: e.tenant.ID, RecordingID: e.recording, At: 5, To: new(recorder.Micros(1)), Label: "x"})
	_, long := r.CreateBookmark(t.Context(), graph.BookmarkCommand{TenantID: e.tenant.ID, RecordingID: e.recording, Label: strings.Repeat("x", 100_000)})
	_, empty := r.AddComment(t.Context(), graph.CommentCommand{TenantID: e.tenant.ID, RecordingID: e.recording, Body: " "})
	_, tooLong := e.play.playback.Grant(t.Context(), playback.Request{TenantID: e.tenant.ID, RecordingID: e.recording, Asset: playback.Video, Viewer: "ann", TTL: 1000 * time.Hour})
	for name, err := range map[string]error{"backwards": backwards, "long": long, "empty": empty, "a grant for too long": grantError(tooLong)} {
		c, is := errors.AsType[*recorder.CommandError](err)
		if !is || c.Code != recorder.CodeInvalidInput || c.Msg == "" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, word := range []string{"catalog", "ent:", "playback", "recorder", "graph"} {
			if strings.Contains(c.Msg, word) {
				t.Errorf("%s: %q names %s", name, c.Msg, word)
			}
		}
	}
}
