package auth

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMatrix pins who may do what, so that a change of it is seen in a review.
func TestMatrix(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	fmt.Fprintf(&b, "%-18s", "")
	for _, r := range Role("").Values() {
		fmt.Fprintf(&b, "%-12s", r)
	}
	b.WriteByte('\n')
	for _, op := range Operation("").Values() {
		fmt.Fprintf(&b, "%-18s", op)
		for _, r := range Role("").Values() {
			fmt.Fprintf(&b, "%-12s", ScopeOf(Role(r), Operation(op)))
		}
		b.WriteByte('\n')
	}
	const golden = "testdata/matrix.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the matrix is now\n%s\nwant\n%s", b.String(), want)
	}
}

func TestMatrixKnowsItsWords(t *testing.T) {
	t.Parallel()
	for r, ops := range matrix {
		if !slices.Contains(r.Values(), string(r)) {
			t.Errorf("unknown role %q", r)
		}
		for op, scope := range ops {
			if !slices.Contains(op.Values(), string(op)) || scope == Nothing || scope > Tenant {
				t.Errorf("%s: unknown operation %q or scope %v", r, op, scope)
			}
		}
	}
}

func TestMatrixPrinciples(t *testing.T) {
	t.Parallel()
	for _, r := range []Role{"", "ROOT", "admin", "*"} {
		for _, op := range Operation("").Values() {
			if Allowed(r, Operation(op)) {
				t.Errorf("unknown role %q may %s", r, op)
			}
		}
	}
	for _, r := range Role("").Values() {
		if Allowed(Role(r), "") || Allowed(Role(r), "anything") {
			t.Errorf("%s may do an unknown operation", r)
		}
		if r != string(Admin) {
			for _, op := range []Operation{Configure, ManageAPIKeys, ManageRetention, ManageHolds} {
				if Allowed(Role(r), op) {
					t.Errorf("%s may %s", r, op)
				}
			}
		}
	}
	for _, r := range []Role{Service, Auditor} {
		if Allowed(r, Play) || Allowed(r, Download) || Allowed(r, WatchFloor) {
			t.Errorf("%s gets media", r)
		}
	}
}

func TestMay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		p            Principal
		op           Operation
		queue, agent string
		want         bool
	}{
		{"admin everywhere", Principal{Role: Admin}, Play, "sales", "ann", true},
		{"admin without queue", Principal{Role: Admin}, Play, "", "", true},
		{"own recording", Principal{Role: Agent, Subject: "ann"}, Play, "sales", "ann", true},
		{"colleague's recording", Principal{Role: Agent, Subject: "ann"}, Play, "sales", "bob", false},
		{"nobody's recording", Principal{Role: Agent}, Play, "sales", "", false},
		{"own queue", Principal{Role: Reviewer, Queues: []string{"sales"}}, Play, "sales", "ann", true},
		{"other queue", Principal{Role: Reviewer, Queues: []string{"sales"}}, Play, "support", "ann", false},
		{"every queue", Principal{Role: Reviewer, Queues: []string{AllQueues}}, Play, "support", "ann", true},
		{"no queue listed", Principal{Role: Reviewer}, Play, "sales", "ann", false},
		{"recording without queue", Principal{Role: Reviewer, Queues: []string{"", AllQueues}}, Play, "", "ann", false},
		{"reviewer as agent", Principal{Role: Reviewer, Subject: "ann"}, Play, "sales", "ann", false},
		{"not allowed at all", Principal{Role: Auditor}, Play, "sales", "ann", false},
		{"nobody", Principal{}, ReadRecordings, "sales", "", false},
	} {
		if got := c.p.May(c.op, c.queue, c.agent); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
