package catalog_test

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/ent/recording"
	"github.com/dualrec/dualrec/ent/tenancy"
	"github.com/dualrec/dualrec/recorder"
)

func TestTenants(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		if empty, err := c.Empty(t.Context()); err != nil || !empty {
			t.Fatalf("Empty of a fresh database = %v, %v", empty, err)
		}
		made, err := c.CreateTenant(t.Context(), catalog.Tenant{Name: "Acme Calls, Inc.", Plan: "ENTERPRISE"}, alice)
		if err != nil || made.Slug != "acme-calls-inc" || made.Plan != "ENTERPRISE" || made.Suspended {
			t.Fatalf("CreateTenant = %+v, %v", made, err)
		}
		if empty, err := c.Empty(t.Context()); err != nil || empty {
			t.Errorf("Empty = %v, %v", empty, err)
		}
		for name, bad := range map[string]struct {
			tenant catalog.Tenant
			want   error
		}{
			"same name": {catalog.Tenant{Name: "Acme Calls, Inc.", Slug: "other"}, catalog.ErrExists},
			"same slug": {catalog.Tenant{Name: "Acme Calls Inc"}, catalog.ErrExists},
			"no name":   {catalog.Tenant{Slug: "x"}, catalog.ErrInvalid},
			"no slug":   {catalog.Tenant{Name: "日本"}, catalog.ErrInvalid},
			"bad slug":  {catalog.Tenant{Name: "x", Slug: "../x"}, catalog.ErrInvalid},
			"bad plan":  {catalog.Tenant{Name: "y", Plan: "FREE"}, catalog.ErrInvalid},
			"long name": {catalog.Tenant{Name: strings.Repeat("x", 300)}, catalog.ErrInvalid},
		} {
			_, err := c.CreateTenant(t.Context(), bad.tenant, alice)
			wantErr(t, name, err, bad.want)
		}
		second := tenantOf(t, c, "Abc")
		byName, err := c.TenantByName(t.Context(), "Acme Calls, Inc.")
		if err != nil || byName != made {
			t.Errorf("TenantByName = %+v, %v, want %+v", byName, err, made)
		}
		_, err = c.TenantByName(t.Context(), "nobody")
		wantErr(t, "TenantByName of nobody", err, recorder.ErrNotFound)
		wantErr(t, "SuspendTenant of nobody", c.SuspendTenant(t.Context(), "ten_x", true, alice), recorder.ErrNotFound)
		all, err := c.Tenants(t.Context())
		if err != nil || len(all) != 2 || all[0].ID != second || all[1] != made {
			t.Errorf("Tenants = %+v, %v", all, err)
		}
	})
}

func TestAPIKeys(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		in := catalog.APIKey{ID: "abcdefghijklmnop", TenantID: tenant, Hash: []byte("0123456789abcdef0123456789abcdef"), Role: "SERVICE", Name: "mediasoup",
			Queues: []string{"*"}, AllowedNetworks: []string{"10.0.0.0/8"}, ExpiresAt: epoch.Add(time.Hour * 24 * 365 * 20)}
		made, err := c.CreateAPIKey(t.Context(), in, alice)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.CreateAPIKey(t.Context(), in, alice)
		wantErr(t, "the same key again", err, catalog.ErrExists)
		in.ID, in.TenantID = "other", "ten_unknown"
		_, err = c.CreateAPIKey(t.Context(), in, alice)
		wantErr(t, "a key of an unknown tenant", err, recorder.ErrNotFound)
		in.TenantID, in.Name = tenant, " "
		_, err = c.CreateAPIKey(t.Context(), in, alice)
		wantErr(t, "a key without a name", err, catalog.ErrInvalid)

		find := func() catalog.APIKey {
			t.Helper()
			got, err := c.FindAPIKey(t.Context(), made.ID)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for range 2 { // looking is no use
			if got := find(); !reflect.DeepEqual(got, made) || !got.LastUsedAt.IsZero() || !got.Usable(time.Now()) {
				t.Fatalf("FindAPIKey = %+v, want %+v", got, made)
			}
		}
		first := epoch.UTC().Truncate(time.Microsecond)
		for _, use := range []struct{ after, want time.Duration }{{0, 0}, {59 * time.Second, 0}, {time.Minute, time.Minute}, {time.Second, time.Minute}} {
			if err := c.TouchAPIKey(t.Context(), made.ID, epoch.Add(use.after)); err != nil {
				t.Fatal(err)
			}
			if got := find().LastUsedAt; !got.Equal(first.Add(use.want)) {
				t.Errorf("used after %v: remembered %v, want %v", use.after, got, first.Add(use.want))
			}
		}
		if err := c.TouchAPIKey(t.Context(), "nobody", epoch); err != nil {
			t.Errorf("touching an unknown key: %v", err)
		}
		again := find()
		if again.Usable(in.ExpiresAt) {
			t.Error("usable at its expiry")
		}
		_, err = c.FindAPIKey(t.Context(), "nobody")
		wantErr(t, "an unknown key", err, recorder.ErrNotFound)
		if err := c.SuspendTenant(t.Context(), tenant, true, alice); err != nil {
			t.Fatal(err)
		}
		if k, err := c.FindAPIKey(t.Context(), made.ID); err != nil || !k.TenantSuspended {
			t.Errorf("key of a suspended tenant = %+v, %v", k, err)
		}
		for range 2 {
			if err := c.RevokeAPIKey(t.Context(), tenant, made.ID, alice); err != nil {
				t.Fatal(err)
			}
		}
		wantErr(t, "revoking an unknown key", c.RevokeAPIKey(t.Context(), tenant, "nobody", alice), recorder.ErrNotFound)
		if k, err := c.FindAPIKey(t.Context(), made.ID); err != nil || k.RevokedAt.IsZero() || k.Usable(time.Now()) {
			t.Errorf("revoked key = %+v, %v", k, err)
		}
		var actions []string
		for _, e := range audit(t, c, tenant) {
			actions = append(actions, e.Action)
			if strings.Contains(string(e.Details), "0123456789abcdef") {
				t.Errorf("the hash is in the audit log: %s", e.Details)
			}
		}
		if want := []string{"tenant.create", "api_key.create", "tenant.suspend", "api_key.revoke"}; !slices.Equal(actions, want) {
			t.Errorf("audit actions = %v, want %v", actions, want)
		}
	})
}

func TestGrants(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant, other := tenantOf(t, c, "Acme"), tenantOf(t, c, "Other")
		rec := begin(t, c, tenant, "call-1")
		at := time.Date(2026, 11, 20, 4, 0, 0, 5000, time.UTC)
		bob := recorder.Actor{Kind: "user", ID: "bob", IP: "192.0.2.1"}
		g := catalog.Grant{ID: "0123456789abcdefghijklmnop", TenantID: tenant, RecordingID: rec.ID, Asset: "video", Viewer: "bob", Purpose: "review",
			IssuedAt: at, ExpiresAt: at.Add(time.Hour), IP: "2001:db8::5", Disposition: "inline"}
		if made, err := c.CreateGrant(t.Context(), g, bob); err != nil || made != g {
			t.Fatalf("CreateGrant = %+v, %v, want %+v", made, err, g)
		}
		_, err := c.CreateGrant(t.Context(), g, bob)
		wantErr(t, "the same grant again", err, catalog.ErrExists)
		foreign := g
		foreign.ID, foreign.TenantID = "", other
		_, err = c.CreateGrant(t.Context(), foreign, bob)
		wantErr(t, "a grant for another tenant's recording", err, recorder.ErrNotFound)
		late := g
		late.ID, late.ExpiresAt = "", late.IssuedAt
		_, err = c.CreateGrant(t.Context(), late, bob)
		wantErr(t, "a grant that ends when it begins", err, catalog.ErrInvalid)
		if s, err := c.CheckGrant(t.Context(), g.ID); err != nil || s != (catalog.GrantStatus{Grant: g}) {
			t.Errorf("CheckGrant = %+v, %v, want %+v", s, err, g)
		}
		_, err = c.CheckGrant(t.Context(), "unknown")
		wantErr(t, "an unknown grant", err, recorder.ErrNotFound)

		var done sync.WaitGroup
		var firsts atomic.Int64
		for range 8 {
			done.Go(func() {
				first, err := c.UseGrant(t.Context(), tenant, g.ID, at.Add(time.Minute), bob, map[string]any{"user_agent": "browser"})
				if err != nil {
					t.Errorf("UseGrant: %v", err)
				}
				if first {
					firsts.Add(1)
				}
			})
		}
		done.Wait()
		views := 0
		for _, e := range audit(t, c, tenant) {
			if e.Action == "playback.view" {
				views++
				if e.Actor != bob || e.Object != rec.ID || !strings.Contains(string(e.Details), `"user_agent":"browser"`) {
					t.Errorf("view = %+v", e)
				}
			}
		}
		if views != 1 || firsts.Load() != 1 {
			t.Errorf("%d views recorded, %d calls were told to be first, want 1", views, firsts.Load())
		}
		if s, err := c.CheckGrant(t.Context(), g.ID); err != nil || !s.FirstUsedAt.Equal(at.Add(time.Minute)) || s.Revoked {
			t.Errorf("after the view: %+v, %v", s, err)
		}
		for _, suspended := range []bool{true, false} { // and a grant that was not revoked itself comes back
			if err := c.SuspendTenant(t.Context(), tenant, suspended, alice); err != nil {
				t.Fatal(err)
			}
			if s, err := c.CheckGrant(t.Context(), g.ID); err != nil || s.Revoked != suspended {
				t.Errorf("suspended %t: %+v, %v", suspended, s, err)
			}
		}
		wantErr(t, "revoking for another tenant", c.RevokeGrant(t.Context(), other, g.ID, alice), recorder.ErrNotFound)
		before := len(audit(t, c, tenant))
		for range 2 {
			if err := c.RevokeGrant(t.Context(), tenant, g.ID, alice); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(audit(t, c, tenant)) - before; n != 1 {
			t.Errorf("revoking twice wrote %d audit events, want 1", n)
		}
		if s, err := c.CheckGrant(t.Context(), g.ID); err != nil || !s.Revoked {
			t.Errorf("after the revocation: %+v, %v", s, err)
		}
	})
}

func TestCopies(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		rec, second := begin(t, c, tenant, "call-1"), begin(t, c, tenant, "call-2")
		row := recorder.CopyRow{Role: recorder.CopyVideo, Target: "local", Key: "k1", FileID: "f1", Size: 10, CiphertextSize: 20, CiphertextSHA256: []byte(strings.Repeat("a", 32))}
		a, err := c.Artifact(t.Context(), tenant, rec.ID, recorder.CopyVideo)
		if err != nil || a.Copy.Stored || a.Capture != recorder.Pending {
			t.Fatalf("Artifact before any = %+v, %v", a, err)
		}
		if err := c.RegisterCopy(t.Context(), tenant, rec.ID, row); err != nil {
			t.Fatal(err)
		}
		if a, err := c.Artifact(t.Context(), tenant, rec.ID, recorder.CopyVideo); err != nil || a.Copy.Stored {
			t.Errorf("Artifact of a registered copy = %+v, %v", a, err)
		}
		want := row
		want.VersionID, want.Stored = "v7", true
		if err := c.RegisterCopy(t.Context(), tenant, rec.ID, want); err != nil {
			t.Fatal(err)
		}
		if a, err := c.Artifact(t.Context(), tenant, rec.ID, recorder.CopyVideo); err != nil || !reflect.DeepEqual(a.Copy, want) || a.StoredAt.IsZero() {
			t.Errorf("Artifact = %+v, %v, want %+v", a, err, want)
		}
		if a, err := c.Artifact(t.Context(), tenant, rec.ID, recorder.CopyWaveform); err != nil || a.Copy.Stored {
			t.Errorf("Artifact of another role = %+v, %v", a, err)
		}
		wantErr(t, "another recording's key", c.RegisterCopy(t.Context(), tenant, second.ID, row), catalog.ErrExists)
		row.Role = recorder.CopyManifest
		wantErr(t, "another role's key", c.RegisterCopy(t.Context(), tenant, rec.ID, row), catalog.ErrExists)
		_, err = c.Artifact(t.Context(), tenant, "rec_x", recorder.CopyVideo)
		wantErr(t, "Artifact of nothing", err, recorder.ErrNotFound)

		// A second try under another key leaves the first object's row: it can be found and removed.
		row.Role, row.Key = recorder.CopyVideo, "k2"
		if err := c.RegisterCopy(t.Context(), tenant, rec.ID, row); err != nil {
			t.Fatal(err)
		}
		all, err := c.Copies(t.Context(), tenant, rec.ID)
		if err != nil || len(all) != 2 || !all[0].Stored || all[1].Stored {
			t.Errorf("Copies = %+v, %v", all, err)
		}
		want.Stored = false
		if err := c.RegisterCopy(t.Context(), tenant, rec.ID, want); err != nil {
			t.Fatal(err)
		}
		if a, err := c.Artifact(t.Context(), tenant, rec.ID, recorder.CopyVideo); err != nil || a.Copy.Stored {
			t.Errorf("Artifact while its object is written again = %+v, %v", a, err)
		}
	})
}

func TestReview(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		rec, second := begin(t, c, tenant, "call-1"), begin(t, c, tenant, "call-2")
		ctx := tenancy.With(t.Context(), tenant)
		b, err := c.AddBookmark(t.Context(), tenant, catalog.Bookmark{RecordingID: rec.ID, At: 1_500_000, To: 2_000_000, Label: "price", Color: "#f00", Author: alice})
		if err != nil || b.At != 1_500_000 || b.To != 2_000_000 || b.Author.ID != "alice" {
			t.Fatalf("AddBookmark = %+v, %v", b, err)
		}
		_, err = c.AddBookmark(t.Context(), tenant, catalog.Bookmark{RecordingID: rec.ID, At: 5, To: 4})
		wantErr(t, "a bookmark that ends before it begins", err, catalog.ErrInvalid)
		_, err = c.AddBookmark(t.Context(), tenant, catalog.Bookmark{RecordingID: rec.ID, At: -1, Author: alice})
		wantErr(t, "a bookmark before the start", err, catalog.ErrInvalid)
		m, err := c.AddComment(t.Context(), tenant, catalog.Comment{RecordingID: rec.ID, BookmarkID: b.ID, At: 1_500_000, Body: "well said", Author: alice})
		if err != nil || m.BookmarkID != b.ID || !m.ResolvedAt.IsZero() {
			t.Fatalf("AddComment = %+v, %v", m, err)
		}
		_, err = c.AddComment(t.Context(), tenant, catalog.Comment{RecordingID: second.ID, BookmarkID: b.ID, Body: "x", Author: alice})
		wantErr(t, "a comment on another recording's bookmark", err, recorder.ErrNotFound)
		_, err = c.AddComment(t.Context(), tenant, catalog.Comment{RecordingID: rec.ID, Body: " \n", Author: alice})
		wantErr(t, "an empty comment", err, catalog.ErrInvalid)
		first, err := c.ResolveComment(t.Context(), tenant, m.ID, alice)
		if err != nil || first.ResolvedAt.IsZero() || first.ResolvedBy != "alice" {
			t.Errorf("ResolveComment = %+v, %v", first, err)
		}
		again, err := c.ResolveComment(t.Context(), tenant, m.ID, recorder.Actor{Kind: "user", ID: "bob"})
		if err != nil || !reflect.DeepEqual(again, first) {
			t.Errorf("resolving again = %+v, %v, want %+v", again, err, first)
		}

		score := func() float64 { return c.ReadClient().Recording.GetX(ctx, rec.ID).QaScoreSort }
		link := catalog.QALink{RecordingID: rec.ID, ExternalSystem: "scorebuddy", ExternalID: "ev-1", URL: "https://qa.example/1", Score: ptr(4.0), Scale: 5, SyncedAt: epoch}
		made, err := c.UpsertQALink(t.Context(), tenant, link, alice)
		if err != nil || score() != 80 {
			t.Fatalf("UpsertQALink = %+v, %v, score %v, want 80", made, err, score())
		}
		newer := catalog.QALink{RecordingID: rec.ID, ExternalSystem: "scorebuddy", ExternalID: "ev-2", Score: ptr(55.5), SyncedAt: epoch.Add(time.Hour)}
		if _, err := c.UpsertQALink(t.Context(), tenant, newer, alice); err != nil || score() != 55.5 {
			t.Errorf("the newest link counts: %v, %v", score(), err)
		}
		newer.Score = nil
		if _, err := c.UpsertQALink(t.Context(), tenant, newer, alice); err != nil || score() != 80 {
			t.Errorf("a link without a score does not count: %v, %v", score(), err)
		}
		link.Score = nil
		if l, err := c.UpsertQALink(t.Context(), tenant, link, alice); err != nil || score() != catalog.NoScore || l.ID != made.ID {
			t.Errorf("no score is left: %v, %v", score(), err)
		}
		link.RecordingID = second.ID
		_, err = c.UpsertQALink(t.Context(), tenant, link, alice)
		wantErr(t, "an evaluation of another recording", err, catalog.ErrExists)
		link.RecordingID, link.Score = rec.ID, ptr(5.1)
		_, err = c.UpsertQALink(t.Context(), tenant, link, alice)
		wantErr(t, "a score above its scale", err, catalog.ErrInvalid)

		tags, err := c.ChangeTags(t.Context(), tenant, rec.ID, []string{"new", "vip", "new"}, []string{"billing", "vip", "none"}, alice)
		if err != nil || !slices.Equal(tags, []string{"new", "vip"}) {
			t.Errorf("ChangeTags = %v, %v", tags, err)
		}
		many := make([]string, catalog.MaxTags)
		for i := range many {
			many[i] = strings.Repeat("t", i+1)
		}
		_, err = c.ChangeTags(t.Context(), tenant, rec.ID, many, nil, alice)
		wantErr(t, "too many tags", err, catalog.ErrInvalid)
	})
}

func TestFloor(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		if rows, err := c.Floor(t.Context(), tenant); err != nil || len(rows) != 0 {
			t.Fatalf("an empty floor = %v, %v", rows, err)
		}
		ended := begin(t, c, tenant, "ended")
		if err := c.Transition(t.Context(), move(ended.ID, tenant, recorder.Finalizing, recorder.Pending)); err != nil {
			t.Fatal(err)
		}
		old := beginRow(tenant, "old")
		old.StartedAt = epoch.Add(-time.Hour)
		if _, _, err := c.Begin(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		rec := begin(t, c, tenant, "new")
		var last catalog.Bookmark
		for _, label := range []string{"one", "two"} {
			var err error
			if last, err = c.AddBookmark(t.Context(), tenant, catalog.Bookmark{RecordingID: rec.ID, At: 1, Label: label, Author: alice}); err != nil {
				t.Fatal(err)
			}
		}
		said, err := c.AddComment(t.Context(), tenant, catalog.Comment{RecordingID: rec.ID, Body: "listen", Author: alice})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := c.Floor(t.Context(), tenant)
		if err != nil || len(rows) != 2 || rows[0].RecordingID != rec.ID || rows[1].ExternalSessionID != "old" {
			t.Fatalf("Floor = %+v, %v", rows, err)
		}
		tile := rows[0]
		if tile.Agent != "agent-7" || tile.Queue != "support" || len(tile.Tracks) != 2 || tile.Capture != recorder.Pending || tile.Since.IsZero() {
			t.Errorf("tile = %+v", tile)
		}
		if tile.LastBookmark == nil || *tile.LastBookmark != last || tile.LastComment == nil || *tile.LastComment != said {
			t.Errorf("last remarks = %+v, %+v", tile.LastBookmark, tile.LastComment)
		}
		if rows[1].LastBookmark != nil || rows[1].LastComment != nil {
			t.Errorf("another recording's remarks: %+v", rows[1])
		}
	})
}

// TestReadClient: the client for GraphQL fails closed without a tenant, sees one tenant through every door, and
// cannot write.
func TestReadClient(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant, other := tenantOf(t, c, "Acme"), tenantOf(t, c, "Other")
		mine, theirs := begin(t, c, tenant, "call-1"), begin(t, c, other, "call-1")
		client := c.ReadClient()
		_, err := client.Recording.Query().All(t.Context())
		wantErr(t, "a query without a tenant", err, tenancy.ErrNoTenant)
		_, err = client.Tenant.Query().Count(tenancy.With(t.Context(), ""))
		wantErr(t, "a count with an empty tenant", err, tenancy.ErrNoTenant)
		ctx := tenancy.With(t.Context(), tenant)
		if ids := client.Recording.Query().IDsX(ctx); !slices.Equal(ids, []string{mine.ID}) {
			t.Errorf("recordings = %v, want %s alone", ids, mine.ID)
		}
		if ids := client.Tenant.Query().IDsX(ctx); !slices.Equal(ids, []string{tenant}) {
			t.Errorf("tenants = %v", ids)
		}
		if client.Recording.Query().Where(recording.ID(theirs.ID)).ExistX(ctx) {
			t.Error("another tenant's recording exists")
		}
		if n := client.Session.Query().QueryRecordings().QueryTracks().CountX(ctx); n != 2 {
			t.Errorf("%d tracks through edges, want 2", n)
		}
		if q := client.Agent.Query().QueryTenant().IDsX(ctx); !slices.Equal(q, []string{tenant}) {
			t.Errorf("tenants through an edge = %v", q)
		}
		// An entity read elsewhere is no way in: its edges are confined too.
		foreign := client.Recording.GetX(tenancy.With(t.Context(), other), theirs.ID)
		if n := foreign.QueryTracks().CountX(ctx); n != 0 {
			t.Errorf("%d tracks of another tenant's recording", n)
		}
		if _, err := foreign.QuerySession().Only(ctx); err == nil {
			t.Error("the session of another tenant's recording")
		}
		_, err = client.Noder(ctx, theirs.ID, nodeType)
		if err == nil {
			t.Error("node() finds another tenant's recording")
		}
		if n, err := client.Noder(ctx, mine.ID, nodeType); err != nil || n == nil {
			t.Errorf("node() of an own recording = %v, %v", n, err)
		}
		_, err = client.Queue.Create().SetTenantID(tenant).SetName("x").Save(ctx)
		wantErr(t, "creating", err, catalog.ErrReadOnly)
		_, err = client.Recording.Delete().Exec(ctx)
		wantErr(t, "deleting", err, catalog.ErrReadOnly)
		wantErr(t, "updating", client.Recording.Update().SetNode("x").Exec(ctx), catalog.ErrReadOnly)
		if k, ok := nodeid.Of(mine.ID); !ok || k != nodeid.Recording {
			t.Errorf("nodeid.Of(%s) = %v, %v", mine.ID, k, ok)
		}
	})
}
