package events_test

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/events"
)

// The core knows no adapter: a watcher of changes must compile without NATS.
func TestCoreImportsStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, im := range f.Imports {
			if strings.Contains(strings.Split(im.Path.Value, "/")[0], ".") {
				t.Errorf("%s imports %s", name, im.Path.Value)
			}
		}
	}
}

func add(t *testing.T, f *events.Fanout) *events.Queue {
	t.Helper()
	q, _, err := f.Add(t.Context(), "ten_a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

func TestSlowViewerGetsGap(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		recordings int
		gap        string
	}{{2, ""}, {3, ""}, {4, events.ReasonSlow}, {50, events.ReasonSlow}} {
		t.Run(fmt.Sprint(tc.recordings), func(t *testing.T) {
			t.Parallel()
			f := events.NewFanout("e", 10, 3)
			q := add(t, f)
			for i := range tc.recordings {
				f.Dispatch(uint64(11+i), events.Change{TenantID: "ten_a", RecordingID: fmt.Sprint(i)})
			}
			b, ok := q.Take()
			if !ok || b.Gap != tc.gap {
				t.Fatalf("batch %+v, want gap %q", b, tc.gap)
			}
			if tc.gap == "" && len(b.Changes) != tc.recordings || tc.gap != "" && b.Changes != nil {
				t.Fatalf("changes %v", b.Changes)
			}
			if want := fmt.Sprint(10 + tc.recordings); b.Position.Offset != want {
				t.Fatalf("position %s, want %s", b.Position.Offset, want)
			}
			f.Dispatch(uint64(11+tc.recordings), events.Change{TenantID: "ten_a", RecordingID: "after"})
			if b, _ := q.Take(); b.Gap != "" || len(b.Changes) != 1 {
				t.Fatalf("after the gap: %+v", b)
			}
		})
	}
}

func TestJumpInTheLogIsAGapForEveryone(t *testing.T) {
	t.Parallel()
	f := events.NewFanout("e", 0, 0)
	q := add(t, f)
	other, _, err := f.Add(t.Context(), "ten_b")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	f.Dispatch(1, events.Change{TenantID: "ten_a", RecordingID: "r"})
	f.Dispatch(3, events.Change{TenantID: "ten_a", RecordingID: "r"})
	f.Dispatch(2, events.Change{TenantID: "ten_a", RecordingID: "late"}) // ignored
	for name, s := range map[string]*events.Queue{"a": q, "b": other} {
		if b, ok := s.Take(); !ok || b.Gap != events.ReasonLogGap {
			t.Errorf("%s: %+v", name, b)
		}
	}
	f.Skip(4)
	if b, ok := q.Take(); !ok || b.Gap != events.ReasonLogGap {
		t.Errorf("unreadable entry: %+v", b)
	}
}

func TestPositionMovesWithTheLogWhileNothingWaits(t *testing.T) {
	t.Parallel()
	f := events.NewFanout("e", 5, 0)
	q := add(t, f)
	f.Dispatch(6, events.Change{TenantID: "ten_b", RecordingID: "x"})
	if p := q.Position(); p.Offset != "6" {
		t.Fatalf("position %v, want 6: the tenant's own changes up to 6 are none", p)
	}
	f.Dispatch(7, events.Change{TenantID: "ten_a", RecordingID: "r"})
	f.Dispatch(8, events.Change{TenantID: "ten_b", RecordingID: "x"})
	if p := q.Position(); p.Offset != "6" {
		t.Fatalf("position %v passes over a change that waits", p)
	}
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	c := func(tenant, rec string) events.Change {
		return events.Change{TenantID: tenant, RecordingID: rec, Kind: "STATUS"}
	}
	for _, tc := range []struct {
		name string
		put  []events.Change
		want []events.Change
	}{
		{"in order", []events.Change{c("a", "1"), c("a", "2")}, []events.Change{c("a", "1"), c("a", "2")}},
		{"equal ones once", []events.Change{c("a", "1"), c("a", "1")}, []events.Change{c("a", "1")}},
		{"full", []events.Change{c("a", "1"), c("a", "2"), c("a", "3"), c("a", "4")}, []events.Change{c("a", "1"), c("a", "2"), {TenantID: "a"}}},
		{"a collapsed tenant takes no more room", []events.Change{{TenantID: "a"}, c("a", "1"), c("b", "1")}, []events.Change{c("b", "1"), {TenantID: "a"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := events.NewOutbox(2)
			for _, c := range tc.put {
				if err := o.Put(c); err != nil {
					t.Fatal(err)
				}
			}
			if o.Len() != len(tc.want) {
				t.Errorf("%d wait, want %d", o.Len(), len(tc.want))
			}
			var got []events.Change
			for c, ok := o.Next(); ok; c, ok = o.Next() {
				got = append(got, c)
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			o.Close()
			if err := o.Put(c("a", "9")); !errors.Is(err, events.ErrClosed) {
				t.Errorf("put after close: %v", err)
			}
		})
	}
}
