package recorder

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestCaptureTransitionsGolden pins the table, so that a new arrow is a decision and not an accident.
func TestCaptureTransitionsGolden(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, from := range Pending.Values() {
		var to []string
		for _, s := range Pending.Values() {
			if from != s && CaptureState(from).CanBecome(CaptureState(s)) {
				to = append(to, s)
			}
		}
		fmt.Fprintf(&b, "%-10s -> %s\n", from, strings.Join(to, " "))
	}
	golden := filepath.Join("testdata", "capture_states.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Fatalf("transitions changed:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestBeforeIsTheInverseOfCanBecome(t *testing.T) {
	t.Parallel()
	for _, to := range Pending.Values() {
		for _, from := range CaptureState(to).Before() {
			if !from.CanBecome(CaptureState(to)) {
				t.Errorf("%s.Before() names %s, which cannot become it", to, from)
			}
		}
	}
	if got := Pending.Before(); len(got) != 0 {
		t.Errorf("PENDING is the beginning, yet Before() = %v", got)
	}
}
