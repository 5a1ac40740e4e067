package catalog

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

// TestListsUseAnIndex: each filter and order of the API is one index that gives the rows in order, so that a page
// costs the same however many recordings there are.
func TestListsUseAnIndex(t *testing.T) {
	t.Parallel()
	c, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "a.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for name, tail := range map[string]string{
		"newest first":  "FROM recordings WHERE tenant_id = 't' ORDER BY started_at DESC, id DESC",
		"between":       "FROM recordings WHERE tenant_id = 't' AND started_at >= '2026-01-01' AND started_at < '2026-02-01' ORDER BY started_at DESC, id DESC",
		"by agent":      "FROM recordings WHERE tenant_id = 't' AND agent_id = 'a' ORDER BY started_at DESC, id DESC",
		"by queue":      "FROM recordings WHERE tenant_id = 't' AND queue_id = 'q' ORDER BY started_at DESC, id DESC",
		"by customer":   "FROM recordings WHERE tenant_id = 't' AND customer_id = 'c' ORDER BY started_at DESC, id DESC",
		"by client":     "FROM recordings WHERE tenant_id = 't' AND client = 'c' ORDER BY started_at DESC, id DESC",
		"by type":       "FROM recordings WHERE tenant_id = 't' AND session_type = 's' ORDER BY started_at DESC, id DESC",
		"by capture":    "FROM recordings WHERE tenant_id = 't' AND capture = 'FAILED' ORDER BY started_at DESC, id DESC",
		"by score":      "FROM recordings WHERE tenant_id = 't' AND qa_score_sort >= 50 ORDER BY qa_score_sort DESC, id DESC",
		"by duration":   "FROM recordings WHERE tenant_id = 't' ORDER BY duration_us DESC, id DESC",
		"by size":       "FROM recordings WHERE tenant_id = 't' ORDER BY size_bytes, id",
		"by tag":        "FROM tags WHERE tenant_id = 't' AND name = 'vip' ORDER BY started_at DESC, recording_id DESC",
		"by session":    "FROM sessions WHERE tenant_id = 't' AND external_id = 'x'",
		"bookmarks":     "FROM bookmarks WHERE tenant_id = 't' AND recording_id = 'r' ORDER BY at_us, id",
		"comments":      "FROM comments WHERE tenant_id = 't' AND recording_id = 'r' ORDER BY at_us, id",
		"audit":         "FROM audit_events WHERE tenant_id = 't' AND seq > 5 ORDER BY seq",
		"audit of one":  "FROM audit_events WHERE tenant_id = 't' AND object = 'r' ORDER BY seq DESC",
		"unfinished":    "FROM recordings WHERE node = 'n' AND capture IN ('PENDING', 'RECORDING')",
		"due":           "FROM recordings WHERE disposition = 'RETAINED' AND expires_at < '2026-01-01'",
		"copy by key":   "FROM copies WHERE tenant_id = 't' AND target = 'local' AND object_key = 'k'",
		"open sessions": "FROM sessions WHERE tenant_id = 't' ORDER BY started_at DESC, id DESC",
	} {
		plan := explain(t, c, "SELECT * "+tail+" LIMIT 50")
		if !strings.Contains(plan, "USING INDEX") || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s: %s", name, plan)
		}
	}
	if plan := explain(t, c, "SELECT * FROM recordings ORDER BY failure_text"); !strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("the test cannot see a sort: %s", plan)
	}
}

func explain(t *testing.T, c *Catalog, query string) string {
	t.Helper()
	rows, err := c.pools[0].QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(plan, "; ")
}

// TestReasonIsCut: a reason from outside is cut to what a row holds, not refused.
func TestReasonIsCut(t *testing.T) {
	openBoth(t, func(t *testing.T, c *Catalog) {
		tenant, err := c.CreateTenant(t.Context(), Tenant{Name: "Acme"}, recorder.System())
		if err != nil {
			t.Fatal(err)
		}
		row := recorder.BeginRow{TenantID: tenant.ID, RecordingID: "rec_1", SessionID: "ses_1", ExternalSessionID: "x", Queue: "q", Agent: "a",
			StartedAt: c.now(), Profile: recorder.DefaultProfile()}
		if _, _, err := c.Begin(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		err = c.Transition(t.Context(), recorder.Transition{TenantID: tenant.ID, RecordingID: "rec_1", From: []recorder.CaptureState{recorder.Pending},
			To: recorder.Paused, Reason: strings.Repeat("ü", 5000) + "\x00"})
		if err != nil {
			t.Fatal(err)
		}
		floor, err := c.Floor(t.Context(), tenant.ID)
		if err != nil || len(floor) != 1 || floor[0].Reason != strings.Repeat("ü", 100) {
			t.Errorf("Floor = %+v, %v", floor, err)
		}
	})
}
