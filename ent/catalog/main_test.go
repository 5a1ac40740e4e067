package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/ent/catalog/pgtest"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// each runs a test on both databases, each with a fresh, migrated catalog.
func each(t *testing.T, test func(t *testing.T, c *catalog.Catalog)) {
	t.Helper()
	t.Parallel()
	for name, address := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "dualrec.db") },
		"postgres": func(t *testing.T) string { return pgtest.Database(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t, address(t)))
		})
	}
}

func open(t *testing.T, address string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var alice = recorder.Actor{Kind: "user", ID: "alice", IP: "192.0.2.7"}

// epoch has microseconds and another zone, which must not matter.
var epoch = time.Date(2026, 11, 20, 9, 30, 0, 123456789, time.FixedZone("IST", 5*3600+1800))

func tenantOf(t *testing.T, c *catalog.Catalog, name string) string {
	t.Helper()
	made, err := c.CreateTenant(t.Context(), catalog.Tenant{Name: name}, alice)
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

func beginRow(tenantID, external string) recorder.BeginRow {
	id := nodeid.New(nodeid.Recording)
	return recorder.BeginRow{TenantID: tenantID, RecordingID: id, SessionID: nodeid.New(nodeid.Session), Node: "rec-1",
		ExternalSessionID: external, Queue: "support", Agent: "agent-7", CustomerID: "cust-1", Client: "acme", SessionType: "inbound",
		Tags: []string{"vip", "billing", "vip"}, Metadata: []byte(`{"crm":{"case":42}}`), StartedAt: epoch,
		Profile: recorder.DefaultProfile(), Canvas: recorder.Size{W: 3200, H: 1080}, RTCPMux: true,
		Tracks: []recorder.TrackRow{
			{ID: nodeid.New(nodeid.Track), Kind: recorder.Screen, State: recorder.TrackExpected},
			{ID: nodeid.New(nodeid.Track), Kind: recorder.AgentAudio, State: recorder.TrackExpected},
		},
		WrappedKey: kms.WrappedKey{Provider: "local", KeyRef: tenantID, Ciphertext: []byte("wrapped " + id)}, Actor: alice}
}

func begin(t *testing.T, c *catalog.Catalog, tenantID, external string) recorder.RecordingRow {
	t.Helper()
	row, created, err := c.Begin(t.Context(), beginRow(tenantID, external))
	if err != nil || !created {
		t.Fatalf("Begin = created %v, %v", created, err)
	}
	return row
}

func move(id, tenantID string, to recorder.CaptureState, from ...recorder.CaptureState) recorder.Transition {
	return recorder.Transition{TenantID: tenantID, RecordingID: id, From: from, To: to, At: epoch.Add(time.Minute), Actor: alice,
		Action: "recording.test", Reason: "because"}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func audit(t *testing.T, c *catalog.Catalog, tenantID string) []catalog.AuditEvent {
	t.Helper()
	events, err := c.AuditSince(context.WithoutCancel(t.Context()), tenantID, 0, 10000)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if e.Seq != int64(i+1) {
			t.Fatalf("audit event %d has number %d: the numbers have a gap", i+1, e.Seq)
		}
	}
	return events
}

func ptr[T any](v T) *T { return &v }
