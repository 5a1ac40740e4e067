package catalog_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/recorder"
)

// nodeType finds the table of an id, as the GraphQL field node(id) does.
var nodeType = ent.WithNodeType(func(_ context.Context, id string) (string, error) {
	k, ok := nodeid.Of(id)
	if !ok {
		return "", recorder.ErrNotFound
	}
	return nodeid.Table(k), nil
})

// estate is what one tenant has: everything that another tenant must not reach.
type estate struct {
	tenant   string
	rec      recorder.RecordingRow
	bookmark catalog.Bookmark
	comment  catalog.Comment
	key      catalog.APIKey
	grant    catalog.Grant
	link     catalog.QALink
	copy     recorder.CopyRow
}

// furnish gives a tenant one of each. The external names are the same for every tenant.
func furnish(t *testing.T, c *catalog.Catalog, name string) estate {
	t.Helper()
	e := estate{tenant: tenantOf(t, c, name)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	e.rec = begin(t, c, e.tenant, "call-1")
	var err error
	e.bookmark, err = c.AddBookmark(t.Context(), e.tenant, catalog.Bookmark{RecordingID: e.rec.ID, At: 1, Author: alice})
	must(err)
	e.comment, err = c.AddComment(t.Context(), e.tenant, catalog.Comment{RecordingID: e.rec.ID, Body: "x", Author: alice})
	must(err)
	e.key, err = c.CreateAPIKey(t.Context(), catalog.APIKey{TenantID: e.tenant, Hash: []byte("h"), Role: "SERVICE", Name: "sfu"}, alice)
	must(err)
	e.grant, err = c.CreateGrant(t.Context(), catalog.Grant{TenantID: e.tenant, RecordingID: e.rec.ID, Asset: "video", Viewer: "v", IssuedAt: epoch, ExpiresAt: epoch.Add(time.Hour)}, alice)
	must(err)
	e.link, err = c.UpsertQALink(t.Context(), e.tenant, catalog.QALink{RecordingID: e.rec.ID, ExternalSystem: "qa", ExternalID: "1", Score: ptr(50.0)}, alice)
	must(err)
	e.copy = recorder.CopyRow{Role: recorder.CopyVideo, Target: "local", Key: "same-key", Stored: true}
	must(c.RegisterCopy(t.Context(), e.tenant, e.rec.ID, e.copy))
	return e
}

// across are methods that name no tenant: the ways in before a tenant is known, and an operator's.
var across = map[string]string{
	"Close": "", "Ping": "", "ReadClient": "see TestReadClient",
	"CreateTenant": "makes one", "Tenants": "for operators", "TenantByName": "for operators", "Empty": "tells no tenant's data",
	"Unfinished":    "of a recorder node",
	"FindAPIKey":    "before the tenant is known; ids are unguessable",
	"TouchAPIKey":   "after the key's secret was checked",
	"CheckGrant":    "before the tenant is known; the URL is signed",
	"Tenant":        "its only argument is the tenant itself",
	"SuspendTenant": "for operators",
	"AuditToken":    "adds to the named tenant's log alone",
}

// TestTwoTenants calls every exported method in the name of one tenant with the ids of another: nothing may be found,
// and nothing of the other may change. A method that is neither tried here nor named above fails the test.
func TestTwoTenants(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		victim, me := furnish(t, c, "Victim"), furnish(t, c, "Me")
		if victim.rec.ID == me.rec.ID || victim.rec.ExternalSessionID != me.rec.ExternalSessionID {
			t.Fatal("two tenants share a recording")
		}
		before := snapshot(t, c, victim)
		ctx, rec := t.Context(), victim.rec.ID
		foreignTrack := victim.rec.Tracks[0]
		foreignTrack.State = recorder.TrackClosed
		second := finishRow(victim.rec)
		second.TenantID = me.tenant
		tries := map[string]func() error{
			"Recording":    func() error { _, err := c.Recording(ctx, me.tenant, rec); return err },
			"Transition":   func() error { return c.Transition(ctx, move(rec, me.tenant, recorder.Failed, recorder.Pending)) },
			"SaveTrack":    func() error { return c.SaveTrack(ctx, me.tenant, rec, foreignTrack) },
			"Finish":       func() error { return c.Finish(ctx, second) },
			"RegisterCopy": func() error { return c.RegisterCopy(ctx, me.tenant, rec, victim.copy) },
			"Artifact":     func() error { _, err := c.Artifact(ctx, me.tenant, rec, recorder.CopyVideo); return err },
			"Copies":       func() error { _, err := c.Copies(ctx, me.tenant, rec); return err },
			"AddBookmark": func() error {
				_, err := c.AddBookmark(ctx, me.tenant, catalog.Bookmark{RecordingID: rec, Author: alice})
				return err
			},
			"AddComment": func() error {
				_, err := c.AddComment(ctx, me.tenant, catalog.Comment{RecordingID: rec, Body: "x", Author: alice})
				return err
			},
			"ResolveComment": func() error { _, err := c.ResolveComment(ctx, me.tenant, victim.comment.ID, alice); return err },
			"UpsertQALink": func() error {
				_, err := c.UpsertQALink(ctx, me.tenant, catalog.QALink{RecordingID: rec, ExternalSystem: "qa", ExternalID: "1"}, alice)
				return err
			},
			"ChangeTags": func() error {
				_, err := c.ChangeTags(ctx, me.tenant, rec, []string{"x"}, []string{"vip"}, alice)
				return err
			},
			"RevokeAPIKey": func() error { return c.RevokeAPIKey(ctx, me.tenant, victim.key.ID, alice) },
			"CreateGrant": func() error {
				g := victim.grant
				g.ID, g.TenantID = "", me.tenant
				_, err := c.CreateGrant(ctx, g, alice)
				return err
			},
			"RevokeGrant": func() error { return c.RevokeGrant(ctx, me.tenant, victim.grant.ID, alice) },
			"UseGrant":    func() error { _, err := c.UseGrant(ctx, me.tenant, victim.grant.ID, epoch, alice, nil); return err },
		}
		for name, try := range tries {
			wantErr(t, name+" with another tenant's ids", try(), recorder.ErrNotFound)
		}
		// These take external names, which both tenants use, or list: each must stay at home.
		stays := map[string]func() error{
			"Begin": func() error {
				got, created, err := c.Begin(ctx, beginRow(me.tenant, "call-1"))
				if err == nil && (created || got.ID != me.rec.ID) {
					return errors.New("began " + got.ID)
				}
				return err
			},
			"Started": func() error {
				got, err := c.Started(ctx, me.tenant, "call-1")
				if err == nil && got.ID != me.rec.ID {
					return errors.New("found " + got.ID)
				}
				return err
			},
			"Profile": func() error { _, err := c.Profile(ctx, me.tenant, "support"); return err },
			"SetQueue": func() error {
				p := recorder.DefaultProfile()
				p.FPS = 5
				return c.SetQueue(ctx, me.tenant, "support", p, alice)
			},
			"CreateAPIKey": func() error {
				_, err := c.CreateAPIKey(ctx, catalog.APIKey{TenantID: me.tenant, Hash: []byte("h"), Role: "SERVICE", Name: "sfu"}, alice)
				return err
			},
			"Queues":  func() error { got, err := c.Queues(ctx, me.tenant); return only(err, len(got), 1) },
			"APIKeys": func() error { got, err := c.APIKeys(ctx, me.tenant); return only(err, len(got), 2) },
			"Floor":   func() error { got, err := c.Floor(ctx, me.tenant); return only(err, len(got), 1) },
			"AuditSince": func() error {
				got, err := c.AuditSince(ctx, me.tenant, 0, 1000)
				for _, e := range got {
					if e.Object == rec || strings.Contains(string(e.Details), victim.tenant) {
						return errors.New("an event of the other: " + e.Action)
					}
				}
				return err
			},
		}
		for _, name := range []string{"Begin", "Started", "Profile", "SetQueue", "CreateAPIKey", "Queues", "APIKeys", "Floor", "AuditSince"} {
			if err := stays[name](); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if after := snapshot(t, c, victim); !reflect.DeepEqual(after, before) {
			t.Errorf("the other tenant changed:\n%+v\nwas\n%+v", after, before)
		}
		for m := range reflect.TypeFor[*catalog.Catalog]().Methods() {
			_, tried := tries[m.Name]
			_, stay := stays[m.Name]
			if _, excused := across[m.Name]; !tried && !stay && !excused {
				t.Errorf("method %s is not tried across tenants", m.Name)
			}
		}
	})
}

func only(err error, n, want int) error {
	if err == nil && n != want {
		return errors.New("rows of another tenant, or none")
	}
	return err
}

// snapshot is all that a tenant can see of its own.
func snapshot(t *testing.T, c *catalog.Catalog, e estate) []any {
	t.Helper()
	var out []any
	add := func(v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	rec, err := c.Recording(t.Context(), e.tenant, e.rec.ID)
	add(rec, err)
	floor, err := c.Floor(t.Context(), e.tenant)
	add(floor, err)
	queues, err := c.Queues(t.Context(), e.tenant)
	add(queues, err)
	keys, err := c.APIKeys(t.Context(), e.tenant)
	add(keys, err)
	grant, err := c.CheckGrant(t.Context(), e.grant.ID)
	add(grant, err)
	copies, err := c.Copies(t.Context(), e.tenant, e.rec.ID)
	add(copies, err)
	add(audit(t, c, e.tenant), nil)
	return out
}
