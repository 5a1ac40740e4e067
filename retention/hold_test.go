package retention_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/retention"
)

func TestHoldCovers(t *testing.T) {
	t.Parallel()
	ids := func(v ...string) []string { return v }
	for _, tc := range []struct {
		name string
		hold retention.Hold
		want bool
	}{
		{"by id", retention.Hold{Recordings: ids("rec_0", "rec_1")}, true},
		{"another id", retention.Hold{Recordings: ids("rec_2")}, false},
		{"by agent", retention.Hold{Agents: ids("agt_1")}, true},
		{"by customer", retention.Hold{Customers: ids("cus_1")}, true},
		{"another customer", retention.Hold{Customers: ids("cus_2")}, false},
		{"agent and another customer", retention.Hold{Agents: ids("agt_1"), Customers: ids("cus_2")}, false},
		{"by queue", retention.Hold{Scope: retention.Scope{Queues: ids("support")}}, true},
		{"another id, but the agent", retention.Hold{Recordings: ids("rec_2"), Agents: ids("agt_1")}, true},
		{"from before the call", retention.Hold{From: at(t, "2026-03-01 09:00")}, true},
		{"from after the call", retention.Hold{From: at(t, "2026-03-01 09:01")}, false},
		{"to after the call", retention.Hold{To: at(t, "2026-03-01 09:01")}, true},
		{"to the beginning of the call", retention.Hold{To: at(t, "2026-03-01 09:00")}, false},
		{"a hold that names nothing keeps all", retention.Hold{}, true},
	} {
		tc.hold.TenantID = tenant
		if got := tc.hold.Covers(call(t, nil)); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
		tc.hold.TenantID = "tnt_2"
		if tc.hold.Covers(call(t, nil)) {
			t.Errorf("%s: the hold of another tenant covers", tc.name)
		}
	}
	unknown := call(t, func(r *retention.Recording) { r.StartedAt = time.Time{} })
	if !(retention.Hold{TenantID: tenant, From: at(t, "2026-03-01 09:00")}).Covers(unknown) {
		t.Error("a call of unknown beginning is not kept")
	}
}

func TestHoldActive(t *testing.T) {
	t.Parallel()
	release := at(t, "2026-05-01 00:00")
	for _, tc := range []struct {
		name string
		hold retention.Hold
		now  time.Time
		want bool
	}{
		{"not released", retention.Hold{}, release, true},
		{"before its release", retention.Hold{ReleasedAt: release}, release.Add(-1), true},
		{"at its release", retention.Hold{ReleasedAt: release}, release, false},
	} {
		if got := tc.hold.Active(tc.now); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestHoldValidate(t *testing.T) {
	t.Parallel()
	good := retention.Hold{ID: "h", TenantID: tenant, Matter: "m", Agents: []string{"a"}}
	for _, tc := range []struct {
		name   string
		change func(*retention.Hold)
		want   string
	}{
		{"good", func(*retention.Hold) {}, ""},
		{"by ids", func(h *retention.Hold) { h.Agents, h.Recordings = nil, []string{"rec_1"} }, ""},
		{"nothing", func(h *retention.Hold) { h.Agents = nil }, "names nothing"},
		{"no matter", func(h *retention.Hold) { h.Matter = "" }, "matter is empty"},
		{"turned round", func(h *retention.Hold) { h.From, h.To = at(t, "2026-02-01 00:00"), at(t, "2026-01-01 00:00") }, "before"},
		{"too many ids", func(h *retention.Hold) { h.Recordings = make([]string, 10_001) }, "criteria"},
		{"an empty agent", func(h *retention.Hold) { h.Agents = []string{""} }, "agents[0]"},
	} {
		h := good
		tc.change(&h)
		err := h.Validate()
		if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, retention.ErrInvalid) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}
