package retention_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/retention"
)

const tenant = "tnt_1"

func policy(id string, change func(*retention.Policy)) retention.Policy {
	p := retention.Policy{ID: id, TenantID: tenant, Version: 1, Name: id}
	change(&p)
	return p
}

var (
	general = policy("general", func(p *retention.Policy) { p.Ceiling, p.ColdAfter = retention.Days(90), retention.Days(30) })
	sales   = policy("sales", func(p *retention.Policy) {
		p.Scope.Queues, p.Ceiling, p.Priority = []string{"sales"}, retention.Years(2), 10
	})
	trading = policy("trading", func(p *retention.Policy) {
		p.Scope.SessionTypes, p.Floor = []string{"trade"}, retention.Years(5)
	})
	training = policy("training", func(p *retention.Policy) {
		p.Scope.Tags, p.Ceiling, p.Priority = []string{"training"}, retention.Forever, 20
	})
	week = policy("week", func(p *retention.Policy) {
		p.Scope.Clients, p.Ceiling, p.Priority = []string{"acme"}, retention.Days(7), 5
	})
	month = policy("month", func(p *retention.Policy) {
		p.Scope.Clients, p.Ceiling, p.Priority = []string{"acme"}, retention.Days(30), 5
	})
	ever = policy("ever", func(p *retention.Policy) {
		p.Scope.Clients, p.Ceiling, p.Priority = []string{"acme"}, retention.Forever, 5
	})
	slip  = policy("slip", func(p *retention.Policy) { p.Ceiling = retention.Days(1) })
	other = policy("other", func(p *retention.Policy) { p.TenantID, p.Ceiling, p.Priority = "tnt_2", retention.Days(7), 99 })
)

func call(t testing.TB, change func(*retention.Recording)) retention.Recording {
	r := retention.Recording{ID: "rec_1", TenantID: tenant, Queue: "support", Client: "globex", SessionType: "call", Agent: "agt_1",
		Customer: "cus_1", StartedAt: at(t, "2026-03-01 09:00"), EndedAt: at(t, "2026-03-01 10:00"), Settled: true,
		Bytes: 1 << 30, Tier: retention.Hot, Disposition: retention.Retained}
	if change != nil {
		change(&r)
	}
	return r
}

// TestDecideGolden writes every rule of docs/retention.md as one case. The golden file is read by people too.
func TestDecideGolden(t *testing.T) {
	t.Parallel()
	type rules = []retention.Policy
	hold := func(change func(*retention.Hold)) retention.Hold {
		h := retention.Hold{ID: "hld_1", TenantID: tenant, Matter: "Smith v. Acme"}
		change(&h)
		return h
	}
	byID := hold(func(h *retention.Hold) { h.Recordings = []string{"rec_1"} })
	released := hold(func(h *retention.Hold) {
		h.Recordings, h.ReleasedAt = []string{"rec_1"}, at(t, "2026-05-01 00:00")
	})
	cases := []struct {
		name     string
		now      string
		change   func(*retention.Recording)
		policies rules
		holds    []retention.Hold
	}{
		{"no policy", "2036-01-01 00:00", nil, nil, nil},
		{"no policy covers it", "2036-01-01 00:00", nil, rules{sales, other}, nil},
		{"before its date", "2026-05-30 23:59", nil, rules{general}, nil},
		{"at its date", "2026-05-31 00:00", nil, rules{general}, nil},
		{"cold before its date", "2026-04-01 00:00", nil, rules{general}, nil},
		{"not yet cold", "2026-03-31 23:59", nil, rules{general}, nil},
		{"a queue of higher priority keeps longer", "2026-06-01 00:00", func(r *retention.Recording) { r.Queue = "sales" }, rules{general, sales}, nil},
		{"a tag keeps it forever", "2099-01-01 00:00", func(r *retention.Recording) { r.Tags = []string{"x", "training"} }, rules{general, training}, nil},
		{"the earliest ceiling of one priority", "2026-03-09 00:00", func(r *retention.Recording) { r.Client = "acme" }, rules{general, month, week}, nil},
		{"forever beside a date of one priority", "2026-06-01 00:00", func(r *retention.Recording) { r.Client = "acme" }, rules{general, week, ever}, nil},
		{"a floor over the ceiling", "2026-06-01 00:00", func(r *retention.Recording) { r.SessionType = "trade" }, rules{general, trading}, nil},
		{"the floor over the ceiling has passed", "2031-03-02 00:00", func(r *retention.Recording) { r.SessionType = "trade" }, rules{general, trading}, nil},
		{"a floor alone deletes nothing", "2036-01-01 00:00", func(r *retention.Recording) { r.SessionType = "trade" }, rules{trading}, nil},
		{"below the minimum", "2026-03-08 23:59", nil, rules{slip}, nil},
		{"a hold", "2036-01-01 00:00", nil, rules{general}, []retention.Hold{byID}},
		{"two holds", "2036-01-01 00:00", nil, rules{general}, []retention.Hold{
			{ID: "hld_2", TenantID: tenant, Agents: []string{"agt_1"}}, byID}},
		{"a released hold", "2026-06-01 00:00", nil, rules{general}, []retention.Hold{released}},
		{"a hold of another tenant", "2026-06-01 00:00", nil, rules{general}, []retention.Hold{
			hold(func(h *retention.Hold) { h.TenantID, h.Recordings = "tnt_2", []string{"rec_1"} })}},
		{"held and cold", "2026-04-01 00:00", nil, rules{general}, []retention.Hold{byID}},
		{"erasure without a floor", "2026-03-02 12:00", func(r *retention.Recording) { r.ErasureRequestedAt = at(t, "2026-03-02 12:00") }, rules{general}, nil},
		{"erasure under FOREVER", "2026-03-02 12:00", func(r *retention.Recording) {
			r.ErasureRequestedAt, r.Tags = at(t, "2026-03-02 12:00"), []string{"training"}
		}, rules{training}, nil},
		{"erasure under a floor", "2026-06-01 00:00", func(r *retention.Recording) {
			r.ErasureRequestedAt, r.SessionType, r.Tags = at(t, "2026-04-01 00:00"), "trade", []string{"training"}
		}, rules{training, trading}, nil},
		{"erasure when the floor has passed", "2031-03-02 00:00", func(r *retention.Recording) {
			r.ErasureRequestedAt, r.SessionType, r.Tags = at(t, "2026-04-01 00:00"), "trade", []string{"training"}
		}, rules{training, trading}, nil},
		{"erasure under a hold", "2026-06-01 00:00", func(r *retention.Recording) { r.ErasureRequestedAt = at(t, "2026-04-01 00:00") }, rules{general}, []retention.Hold{byID}},
		{"restriction", "2036-01-01 00:00", func(r *retention.Recording) { r.RestrictionRequested = true }, rules{general}, nil},
		{"not over yet", "2036-01-01 00:00", func(r *retention.Recording) { r.EndedAt, r.Settled = time.Time{}, false }, rules{general}, nil},
		{"still uploading", "2036-01-01 00:00", func(r *retention.Recording) { r.Settled = false }, rules{general}, nil},
		{"restored for long enough", "2026-04-10 00:00", func(r *retention.Recording) {
			r.Tier, r.RestoredUntil = retention.Restored, at(t, "2026-04-10 00:00")
		}, rules{general}, nil},
		{"deletion has begun", "2036-01-01 00:00", func(r *retention.Recording) { r.Disposition = retention.DeleteFailed }, rules{general}, []retention.Hold{byID}},
	}
	var b strings.Builder
	for _, tc := range cases {
		rules := retention.Rules{Policies: tc.policies}
		d := retention.Decide(at(t, tc.now), call(t, tc.change), rules, tc.holds)
		fmt.Fprintf(&b, "# %s, on %s\n%s", tc.name, tc.now, d.Explain(time.UTC))
		for _, flag := range []struct {
			name string
			on   bool
		}{{"conflict", d.Conflict}, {"held", d.Held}, {"restricted", d.Restricted}} {
			if flag.on {
				fmt.Fprintf(&b, "- flag: %s\n", flag.name)
			}
		}
		b.WriteByte('\n')
	}
	golden(t, "decide.golden", b.String())
}

func TestDecideUsesTheTenantsZone(t *testing.T) {
	t.Parallel()
	r := call(t, func(r *retention.Recording) { r.EndedAt = at(t, "2026-03-01 20:00") }) // 01:30 of 2 March in Kolkata
	rules := retention.Rules{Zone: zone(t, "Asia/Kolkata"), Policies: []retention.Policy{general}}
	if got, want := retention.Decide(at(t, "2026-03-02 00:00"), r, rules, nil).DeleteAfter, at(t, "2026-05-31 18:30"); !got.Equal(want) {
		t.Errorf("delete after %s, want %s", got, want)
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		verdict    retention.Verdict
		from, want retention.Disposition
	}{
		{retention.Keep, retention.Retained, retention.Retained},
		{retention.Keep, retention.Due, retention.Retained},
		{retention.Delete, retention.Retained, retention.Due},
		{retention.Delete, retention.Due, retention.Due},
		{retention.Committed, retention.DeleteFailed, retention.DeleteFailed},
		{retention.Committed, retention.Deleted, retention.Deleted},
	} {
		got := retention.Decision{Verdict: tc.verdict}.Next(tc.from)
		if got != tc.want || !tc.from.CanBecome(got) {
			t.Errorf("%s from %s leads to %s, want %s", tc.verdict, tc.from, got, tc.want)
		}
	}
}

// world is one random case: few names, so that scopes meet recordings often, and short periods, so that dates cross.
type world struct {
	*rand.Rand
	now      time.Time
	r        retention.Recording
	policies []retention.Policy
	holds    []retention.Hold
	zone     *time.Location
}

func (w *world) some(names ...string) []string {
	var out []string
	for _, n := range names {
		if w.IntN(3) == 0 {
			out = append(out, n)
		}
	}
	return out
}

func (w *world) period() retention.Period {
	switch w.IntN(5) {
	case 0:
		return retention.Period{}
	case 1:
		return retention.Years(1 + w.IntN(2))
	}
	if w.IntN(4) == 0 {
		return retention.Days(1 + w.IntN(10))
	}
	return retention.Days(1 + w.IntN(400))
}

func (w *world) policy(id string) retention.Policy {
	p := retention.Policy{ID: id, TenantID: tenant, Version: 1, Name: id, Floor: w.period(), Ceiling: w.period(), ColdAfter: w.period(), Priority: w.IntN(3)}
	if w.IntN(2) == 0 {
		p.Floor = retention.Period{}
	}
	if w.IntN(5) == 0 {
		p.Ceiling = retention.Forever
	}
	if w.IntN(8) == 0 {
		p.TenantID = "tnt_2"
	}
	p.Scope = retention.Scope{Queues: w.some("a", "b"), Clients: w.some("c", "d"), Tags: w.some("e", "f")}
	return p
}

func (w *world) hold(id string) retention.Hold {
	h := retention.Hold{ID: id, TenantID: tenant, Matter: id, Recordings: w.some("rec_1", "rec_2"), Agents: w.some("agt_1", "agt_2")}
	h.Scope.Queues = w.some("a", "b")
	if w.IntN(2) == 0 {
		h.ReleasedAt = w.now.Add(time.Duration(w.IntN(1000)-500) * 24 * time.Hour)
	}
	return h
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 7))}
	w.zone = zone(t, []string{"UTC", "Asia/Kolkata", "Europe/Berlin", "America/Los_Angeles"}[w.IntN(4)])
	ended := at(t, "2026-01-01 00:00").Add(time.Duration(w.IntN(900*24*60)) * time.Minute)
	w.now = ended.Add(time.Duration(w.IntN(1000*24*60)-24*60) * time.Minute)
	w.r = retention.Recording{ID: "rec_1", TenantID: tenant, Queue: []string{"a", "b", "x"}[w.IntN(3)], Client: []string{"c", "d", ""}[w.IntN(3)],
		Tags: w.some("e", "f"), Agent: "agt_1", StartedAt: ended.Add(-time.Hour), EndedAt: ended, Settled: w.IntN(10) > 0,
		Tier: retention.Hot, Disposition: []retention.Disposition{retention.Retained, retention.Due}[w.IntN(2)]}
	if w.IntN(6) == 0 {
		w.r.ErasureRequestedAt = ended.Add(time.Duration(w.IntN(400)) * 24 * time.Hour)
	}
	w.r.RestrictionRequested = w.IntN(10) == 0
	for i := range w.IntN(6) {
		w.policies = append(w.policies, w.policy(fmt.Sprint("pol_", i)))
	}
	for i := range max(0, w.IntN(5)-2) {
		w.holds = append(w.holds, w.hold(fmt.Sprint("hld_", i)))
	}
	return w
}

func (w *world) decide(now time.Time) retention.Decision {
	return retention.Decide(now, w.r, retention.Rules{Zone: w.zone, Policies: w.policies}, w.holds)
}

// TestDecideProperties checks on random worlds what must hold in every one. The share of worlds that get deleted is
// checked at the end, because properties of deletions prove nothing where nothing is deleted.
func TestDecideProperties(t *testing.T) {
	t.Parallel()
	const worlds = 8_000
	seen := map[retention.Verdict]int{}
	flags := map[string]int{}
	for seed := range uint64(worlds) {
		w := newWorld(t, seed)
		d := w.decide(w.now)
		seen[d.Verdict]++
		for name, on := range map[string]bool{"held": d.Held, "conflict": d.Conflict, "restricted": d.Restricted, "cold": d.MoveTo == retention.Cooling} {
			if on {
				flags[name]++
			}
		}
		for name, check := range properties {
			if problem := check(w, d); problem != "" {
				t.Fatalf("seed %d: %s: %s\nrecording %+v\npolicies %+v\nholds %+v\nnow %s\n%s", seed, name, problem, w.r, w.policies, w.holds, w.now, d.Explain(w.zone))
			}
		}
	}
	if seen[retention.Delete] < worlds/20 || seen[retention.Keep] < worlds/20 {
		t.Errorf("the worlds are lopsided: %v", seen)
	}
	for _, name := range []string{"held", "conflict", "restricted", "cold"} {
		if flags[name] < worlds/100 {
			t.Errorf("too few worlds are %s: %v", name, flags)
		}
	}
}

var properties = map[string]func(*world, retention.Decision) string{
	"what is held is never due": func(w *world, d retention.Decision) string {
		for _, h := range w.holds {
			covers := slices.Contains(h.Recordings, w.r.ID) || len(h.Recordings) == 0 && len(h.Agents) == 0 && len(h.Scope.Queues) == 0
			if covers && h.Active(w.now) && (d.Verdict == retention.Delete || !d.Held) {
				return "hold " + h.ID + " was passed over"
			}
		}
		if d.Held && d.Verdict == retention.Delete {
			return "held and due"
		}
		return ""
	},
	"what is restricted by request is never due": func(w *world, d retention.Decision) string {
		if w.r.RestrictionRequested && (d.Verdict == retention.Delete || !d.Restricted) {
			return "restriction was passed over"
		}
		return ""
	},
	"what is not settled is never due": func(w *world, d retention.Decision) string {
		if !w.r.Settled && d.Verdict == retention.Delete {
			return "deleted in the making"
		}
		return ""
	},
	"due only by a policy that says so, or a person": func(w *world, d retention.Decision) string {
		if d.Verdict != retention.Delete || !w.r.ErasureRequestedAt.IsZero() {
			return ""
		}
		i := slices.IndexFunc(d.Reasons, func(r retention.Reason) bool { return r.Code == retention.PastCeiling })
		if i < 0 {
			return "no reason"
		}
		by := d.Reasons[i].PolicyID
		for _, p := range w.policies {
			if p.ID == by && p.TenantID == tenant && p.Scope.Matches(w.r) && !p.Ceiling.IsZero() && !p.Ceiling.Forever &&
				!w.now.Before(p.Ceiling.End(w.r.EndedAt, w.zone)) {
				return ""
			}
		}
		return "policy " + by + " says no such thing"
	},
	"no policy of higher priority wants to keep what is due": func(w *world, d retention.Decision) string {
		if d.Verdict != retention.Delete || !w.r.ErasureRequestedAt.IsZero() {
			return ""
		}
		top := -1
		for _, p := range w.policies {
			if p.TenantID == tenant && p.Scope.Matches(w.r) && !p.Ceiling.IsZero() {
				top = max(top, p.Priority)
			}
		}
		for _, p := range w.policies {
			if p.TenantID == tenant && p.Scope.Matches(w.r) && p.Priority == top && p.Ceiling.Forever {
				return "policy " + p.ID + " says FOREVER"
			}
		}
		return ""
	},
	"no floor is undercut": func(w *world, d retention.Decision) string {
		for _, p := range w.policies {
			if p.TenantID == tenant && p.Scope.Matches(w.r) && !p.Floor.IsZero() && d.Verdict == retention.Delete &&
				w.now.Before(p.Floor.End(w.r.EndedAt, w.zone)) {
				return "floor of " + p.ID
			}
		}
		return ""
	},
	"no policy deletes within seven days": func(w *world, d retention.Decision) string {
		if d.Verdict == retention.Delete && w.r.ErasureRequestedAt.IsZero() && w.now.Before(w.r.EndedAt.Add(7*24*time.Hour-time.Hour)) {
			return "too young"
		}
		return ""
	},
	"once due, due for ever after": func(w *world, d retention.Decision) string {
		later := w.now.Add(time.Duration(w.IntN(2000*24)) * time.Hour)
		if d.Verdict == retention.Delete && w.decide(later).Verdict != retention.Delete {
			return "not due any more on " + later.String()
		}
		return ""
	},
	"dates do not depend on now": func(w *world, d retention.Decision) string {
		e := w.decide(w.now.Add(1000 * time.Hour))
		if !d.DeleteAfter.Equal(e.DeleteAfter) || !d.FloorAt.Equal(e.FloorAt) || !d.ColdAt.Equal(e.ColdAt) || d.Conflict != e.Conflict {
			return "they moved"
		}
		return ""
	},
	"order does not matter": func(w *world, d retention.Decision) string {
		w.Shuffle(len(w.policies), func(i, j int) { w.policies[i], w.policies[j] = w.policies[j], w.policies[i] })
		w.Shuffle(len(w.holds), func(i, j int) { w.holds[i], w.holds[j] = w.holds[j], w.holds[i] })
		if again := w.decide(w.now); again.Explain(w.zone) != d.Explain(w.zone) || again.Conflict != d.Conflict {
			return "shuffled, it reads: " + again.Explain(w.zone)
		}
		return ""
	},
	"a further hold or floor never deletes more": func(w *world, d retention.Decision) string {
		if d.Verdict == retention.Delete {
			return ""
		}
		v := *w
		v.holds = append(slices.Clone(w.holds), w.hold("hld_x"))
		v.policies = append(slices.Clone(w.policies), retention.Policy{ID: "pol_x", TenantID: tenant, Floor: w.period()})
		if v.decide(w.now).Verdict == retention.Delete {
			return "it did"
		}
		return ""
	},
	"what is due is not moved": func(w *world, d retention.Decision) string {
		if d.Verdict == retention.Delete && d.MoveTo != "" {
			return "moved to " + string(d.MoveTo)
		}
		return ""
	},
	"every decision has a reason": func(_ *world, d retention.Decision) string {
		if len(d.Reasons) == 0 {
			return "none"
		}
		return ""
	},
}

func BenchmarkDecide(b *testing.B) {
	r := call(b, nil)
	rules := retention.Rules{Zone: zone(b, "Europe/Berlin"), Policies: []retention.Policy{general, sales, trading, training, week, month}}
	holds := []retention.Hold{{ID: "h", TenantID: tenant, Agents: []string{"agt_2"}}}
	now := at(b, "2026-06-01 00:00")
	b.ReportAllocs()
	for b.Loop() {
		retention.Decide(now, r, rules, holds)
	}
}
