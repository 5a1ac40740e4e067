package retention_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/retention"
)

func TestPolicyValidate(t *testing.T) {
	t.Parallel()
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("q", i)
	}
	for _, tc := range []struct {
		name   string
		change func(*retention.Policy)
		want   string // part of the error; empty: valid
	}{
		{"seven days", func(p *retention.Policy) { p.Ceiling = retention.Days(7) }, ""},
		{"forever", func(p *retention.Policy) { p.Ceiling = retention.Forever }, ""},
		{"a floor alone", func(p *retention.Policy) { p.Floor = retention.Years(5) }, ""},
		{"a floor equal to the ceiling", func(p *retention.Policy) { p.Floor, p.Ceiling = retention.Years(5), retention.Years(5) }, ""},
		{"365 days of floor under a year of ceiling", func(p *retention.Policy) { p.Floor, p.Ceiling = retention.Days(365), retention.Years(1) }, ""},
		{"cold, then gone", func(p *retention.Policy) { p.ColdAfter, p.Ceiling = retention.Days(30), retention.Days(31) }, ""},
		{"six days", func(p *retention.Policy) { p.Ceiling = retention.Days(6) }, "below the minimum of 7 days"},
		{"nothing said", func(*retention.Policy) {}, "says nothing"},
		{"a floor of forever", func(p *retention.Policy) { p.Floor = retention.Forever }, "legal hold"},
		{"cold after forever", func(p *retention.Policy) { p.ColdAfter = retention.Forever }, "leave it out"},
		{"a floor over the ceiling", func(p *retention.Policy) { p.Floor, p.Ceiling = retention.Years(5), retention.Days(90) }, "floor 5y can be longer than ceiling 90d"},
		{"a year of floor over 365 days of ceiling, in leap years", func(p *retention.Policy) { p.Floor, p.Ceiling = retention.Years(1), retention.Days(365) }, "can be longer"},
		{"never cold", func(p *retention.Policy) { p.ColdAfter, p.Ceiling = retention.Days(90), retention.Days(90) }, "never reached"},
		{"a negative period", func(p *retention.Policy) { p.Ceiling = retention.Days(-7) }, "out of range"},
		{"a huge period", func(p *retention.Policy) { p.Ceiling = retention.Years(101) }, "out of range"},
		{"forever and a day", func(p *retention.Policy) { p.Ceiling = retention.Period{Days: 1, Forever: true} }, "out of range"},
		{"no name", func(p *retention.Policy) { p.Name, p.Ceiling = " ", retention.Days(7) }, "name is empty"},
		{"no tenant", func(p *retention.Policy) { p.TenantID, p.Ceiling = "", retention.Days(7) }, "tenant_id is empty"},
		{"no version", func(p *retention.Policy) { p.Version, p.Ceiling = 0, retention.Days(7) }, "version"},
		{"priority too high", func(p *retention.Policy) { p.Priority, p.Ceiling = 1001, retention.Days(7) }, "priority"},
		{"an empty queue", func(p *retention.Policy) { p.Scope.Queues, p.Ceiling = []string{""}, retention.Days(7) }, "scope.queues[0]: is empty"},
		{"a tag twice", func(p *retention.Policy) { p.Scope.Tags, p.Ceiling = []string{"a", "a"}, retention.Days(7) }, "twice"},
		{"too many queues", func(p *retention.Policy) { p.Scope.Queues, p.Ceiling = many, retention.Days(7) }, "at most 100"},
		{"a long client", func(p *retention.Policy) {
			p.Scope.Clients, p.Ceiling = []string{strings.Repeat("x", 201)}, retention.Days(7)
		}, "longer than 200 bytes"},
		{"a control character", func(p *retention.Policy) { p.Scope.SessionTypes, p.Ceiling = []string{"a\nb"}, retention.Days(7) }, "control characters"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := policy("p", tc.change)
			err := p.Validate()
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, retention.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ErrInvalid with %q", err, tc.want)
			}
		})
	}
}

func TestPolicyValidateNamesEveryProblem(t *testing.T) {
	t.Parallel()
	err := retention.Policy{Priority: -1, Ceiling: retention.Days(1)}.Validate()
	for _, want := range []string{"id", "tenant_id", "name", "version", "priority", "minimum"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestRulesValidate(t *testing.T) {
	t.Parallel()
	type rules = []retention.Policy
	scoped := func(p retention.Policy, id string, s retention.Scope) retention.Policy {
		p.ID, p.Scope = id, s
		return p
	}
	floor := policy("floor", func(p *retention.Policy) { p.Floor = retention.Years(5) })
	for _, tc := range []struct {
		name     string
		policies rules
		want     error
	}{
		{"none", nil, nil},
		{"a general one and special ones", rules{general, sales, trading, training}, nil},
		{"a general floor over a general ceiling", rules{general, floor}, retention.ErrConflict},
		{"a general floor over a queue's ceiling", rules{sales, floor}, retention.ErrConflict},
		{"the same queue", rules{scoped(general, "g", retention.Scope{Queues: []string{"a"}}), scoped(floor, "f", retention.Scope{Queues: []string{"a", "b"}})}, retention.ErrConflict},
		{"another queue", rules{scoped(general, "g", retention.Scope{Queues: []string{"a"}}), scoped(floor, "f", retention.Scope{Queues: []string{"b"}})}, nil},
		{"some recordings only: a dry run finds them", rules{scoped(general, "g", retention.Scope{Queues: []string{"a", "b"}}), scoped(floor, "f", retention.Scope{Queues: []string{"a"}})}, nil},
		{"a ceiling that never counts", rules{general, floor, policy("top", func(p *retention.Policy) { p.Ceiling, p.Priority = retention.Years(6), 1 })}, nil},
		{"forever over any floor", rules{training, floor}, nil},
		{"the same id twice", rules{general, general}, retention.ErrInvalid},
		{"two tenants", rules{general, other}, retention.ErrInvalid},
		{"an invalid one", rules{slip}, retention.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := retention.Rules{Policies: tc.policies}.Validate()
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			var conflict *retention.ConflictError
			if tc.want == retention.ErrConflict && (!errors.As(err, &conflict) || !strings.Contains(err.Error(), conflict.Floor.Name)) {
				t.Errorf("the conflict does not name its policies: %v", err)
			}
		})
	}
}

// TestProvedConflictIsOne: what Validate refuses as a contradiction is one for every recording that the ceiling covers.
func TestProvedConflictIsOne(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	proved := 0
	for range 5000 {
		a := policy("a", func(p *retention.Policy) { p.Ceiling = retention.Period{Years: rnd.IntN(3), Days: 7 + rnd.IntN(800)} })
		b := policy("b", func(p *retention.Policy) { p.Floor = retention.Period{Years: rnd.IntN(4), Days: 1 + rnd.IntN(800)} })
		rules := retention.Rules{Policies: []retention.Policy{a, b}}
		r := call(t, func(r *retention.Recording) { r.EndedAt = r.EndedAt.Add(time.Duration(rnd.IntN(1500*24)) * time.Hour) })
		conflict := retention.Decide(r.EndedAt, r, rules, nil).Conflict
		if errors.Is(rules.Validate(), retention.ErrConflict) {
			proved++
			if !conflict {
				t.Fatalf("floor %s over ceiling %s is refused, yet a call that ended %s has no conflict", b.Floor, a.Ceiling, r.EndedAt)
			}
		}
	}
	if proved < 1000 {
		t.Errorf("only %d conflicts were proved", proved)
	}
}

func TestScopeMatches(t *testing.T) {
	t.Parallel()
	r := call(t, func(r *retention.Recording) { r.Tags = []string{"vip", "dispute"} })
	for _, tc := range []struct {
		name  string
		scope retention.Scope
		want  bool
	}{
		{"empty", retention.Scope{}, true},
		{"queue", retention.Scope{Queues: []string{"support"}}, true},
		{"one of two queues", retention.Scope{Queues: []string{"sales", "support"}}, true},
		{"another queue", retention.Scope{Queues: []string{"sales"}}, false},
		{"case counts", retention.Scope{Queues: []string{"Support"}}, false},
		{"client", retention.Scope{Clients: []string{"globex"}}, true},
		{"session type", retention.Scope{SessionTypes: []string{"call"}}, true},
		{"tag", retention.Scope{Tags: []string{"dispute", "x"}}, true},
		{"another tag", retention.Scope{Tags: []string{"x"}}, false},
		{"all of it", retention.Scope{Queues: []string{"support"}, Clients: []string{"globex"}, SessionTypes: []string{"call"}, Tags: []string{"vip"}}, true},
		{"all but one", retention.Scope{Queues: []string{"support"}, Clients: []string{"globex"}, SessionTypes: []string{"chat"}, Tags: []string{"vip"}}, false},
	} {
		if got := tc.scope.Matches(r); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestDigestNamesContentNotOrder(t *testing.T) {
	t.Parallel()
	a := policy("p", func(p *retention.Policy) { p.Scope.Tags, p.Ceiling = []string{"x", "y"}, retention.Days(7) })
	b := policy("p", func(p *retention.Policy) { p.Scope.Tags, p.Ceiling = []string{"y", "x"}, retention.Days(7) })
	if a.Digest() != b.Digest() {
		t.Error("the order of tags changes the digest")
	}
	if !slices.Equal(b.Scope.Tags, []string{"y", "x"}) {
		t.Error("Digest sorted its receiver's own list")
	}
	b.Ceiling = retention.Days(8)
	if a.Digest() == b.Digest() {
		t.Error("another ceiling has the same digest")
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	t.Parallel()
	const good = `{"id":"p","tenant_id":"t","version":1,"name":"n","ceiling":"90d"}`
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", ``, "EOF"},
		{"cut off", good[:len(good)-1], "unexpected EOF"},
		{"a misspelt field", strings.Replace(good, "ceiling", "celing", 1), "celing"},
		{"a second policy", good + good, "more text"},
		{"trailing text", good + " x", "more text"},
		{"a number for a period", strings.Replace(good, `"90d"`, `90`, 1), "number"},
		{"zero for ever", strings.Replace(good, `90d`, `0`, 1), "FOREVER"},
		{"too much", good + strings.Repeat(" ", 64<<10), "at most"},
		{"too short", strings.Replace(good, `90d`, `6d`, 1), "minimum"},
	} {
		if _, err := retention.ParsePolicy([]byte(tc.text)); !errors.Is(err, retention.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want ErrInvalid with %q", tc.name, err, tc.want)
		}
	}
	if _, err := retention.ParsePolicy([]byte(good + "\n")); err != nil {
		t.Errorf("a newline at the end: %v", err)
	}
}

// TestDocumentedPoliciesAreValid reads the examples that people will copy.
func TestDocumentedPoliciesAreValid(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/retention.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1)
	if len(examples) < 4 {
		t.Fatalf("only %d examples", len(examples))
	}
	var rules retention.Rules
	for _, e := range examples {
		p, err := retention.ParsePolicy(e[1])
		if err != nil {
			t.Errorf("%v\n%s", err, e[1])
		}
		rules.Policies = append(rules.Policies, p)
	}
	if err := rules.Validate(); err != nil {
		t.Error(err)
	}
}

// FuzzParsePolicy: what is accepted is valid, means the same after writing and reading, and can decide.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(`{"id":"p","tenant_id":"t","version":1,"name":"n","ceiling":"90d"}`))
	f.Add([]byte(`{"id":"p","tenant_id":"tnt_1","version":3,"name":"n","scope":{"queues":["a"],"tags":["x","y"]},"floor":"1y","ceiling":"FOREVER","cold_after":"30d","priority":7}`))
	f.Add([]byte(`{"id":"p","ceiling":0}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := retention.ParsePolicy(text)
		if err != nil {
			if !errors.Is(err, retention.ErrInvalid) {
				t.Fatalf("not ErrInvalid: %v", err)
			}
			return
		}
		written, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := retention.ParsePolicy(written)
		if err != nil || again.Digest() != p.Digest() {
			t.Fatalf("%s reads back as %+v, %v", written, again, err)
		}
		r := call(t, func(r *retention.Recording) { r.TenantID = p.TenantID })
		d := retention.Decide(r.EndedAt, r, retention.Rules{Policies: []retention.Policy{p}}, nil)
		if d.Verdict != retention.Keep {
			t.Fatalf("due at the end of the call: %s", d.Explain(time.UTC))
		}
	})
}
