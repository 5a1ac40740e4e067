package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

func TestRank(t *testing.T) {
	t.Parallel()
	const gone = "the spool is full"
	for name, tc := range map[string]struct {
		nodes []candidate
		want  []string
	}{
		"nobody":                    {nil, []string{}},
		"by name when all is equal": {[]candidate{{name: "b"}, {name: "a"}}, []string{"a", "b"}},
		"fewer ports in use": {[]candidate{{name: "a", capacity: Capacity{PortsUsed: 60, PortsTotal: 100}},
			{name: "b", capacity: Capacity{PortsUsed: 100, PortsTotal: 1000}}}, []string{"b", "a"}},
		"what was placed since counts": {[]candidate{{name: "a", capacity: Capacity{PortsTotal: 100}, placed: 2},
			{name: "b", capacity: Capacity{PortsTotal: 100, PortsUsed: 6, Live: 1}}}, []string{"b", "a"}},
		"the scarcest counts": {[]candidate{{name: "a", capacity: Capacity{PortsTotal: 100, DiskUsed: 0.9}},
			{name: "b", capacity: Capacity{PortsTotal: 100, PortsUsed: 50}}}, []string{"b", "a"}},
		"a limit of recordings": {[]candidate{{name: "a", capacity: Capacity{Live: 9, MaxLive: 10}}, {name: "b", capacity: Capacity{Live: 20, MaxLive: 40}}}, []string{"b", "a"}},
		"a little lag is normal": {[]candidate{{name: "b", capacity: Capacity{ComposeLag: 20 * time.Second}}, {name: "a", capacity: Capacity{ComposeLag: 25 * time.Second}}},
			[]string{"a", "b"}},
		"who is far behind": {[]candidate{{name: "a", capacity: Capacity{ComposeLag: 9 * time.Minute, PortsTotal: 100}},
			{name: "b", capacity: Capacity{PortsUsed: 80, PortsTotal: 100}}}, []string{"b", "a"}},
		"who refuses comes last": {[]candidate{{name: "a", capacity: Capacity{Refuses: gone}}, {name: "b", capacity: Capacity{PortsUsed: 99, PortsTotal: 100}}}, []string{"b", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := rank(tc.nodes); !slices.Equal(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

var (
	noon   = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	first  = instance{StartedAt: noon, Nonce: "1"}
	second = instance{StartedAt: noon.Add(time.Second), Nonce: "2"}
)

func told(node string, i instance, items ...item) status {
	return status{Version: version, Node: node, Instance: i, Items: items}
}

func live(rev uint64, id string, c recorder.CaptureState) item {
	return item{Revision: rev, TenantID: "ten_a", RecordingID: id, Status: recorder.LiveStatus{Capture: c}}
}

func (r *registry) capture(t *testing.T, id string) recorder.CaptureState {
	t.Helper()
	s, _ := r.status("ten_a", id)
	return s.Capture
}

func TestNewestStatusIsShown(t *testing.T) {
	t.Parallel()
	r := newRegistry(5 * time.Second)
	r.apply(noon, told("one", first, live(5, "rec_1", recorder.Recording)))
	reply := live(7, "rec_1", recorder.Paused)
	r.replied("one", first, &reply)
	r.apply(noon, told("one", first, live(6, "rec_1", recorder.Recording))) // was read before the command, came after its reply
	if got := r.capture(t, "rec_1"); got != recorder.Paused {
		t.Errorf("%s, want PAUSED", got)
	}
	r.apply(noon, told("one", first, live(8, "rec_1", recorder.Recording)))
	if got := r.capture(t, "rec_1"); got != recorder.Recording {
		t.Errorf("%s, want RECORDING", got)
	}
	if _, ok := r.status("ten_b", "rec_1"); ok {
		t.Error("another tenant sees it")
	}
	if _, ok := r.owner("ten_b", "rec_1"); ok {
		t.Error("another tenant is told its node")
	}
}

func TestWhatEndedIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRegistry(5 * time.Second)
	r.apply(noon, told("one", first, live(1, "rec_1", recorder.Recording), live(1, "rec_2", recorder.Recording), live(1, "rec_3", recorder.Recording)))
	r.apply(noon, told("two", first, live(1, "rec_9", recorder.Recording)))
	ended := item{Revision: 2, TenantID: "ten_a", RecordingID: "rec_1", Ended: true}
	r.apply(noon, told("one", first, ended))
	round := told("one", first, live(3, "rec_2", recorder.Recording))
	round.Whole = 3 // rec_3 is not in it: its news was lost
	r.apply(noon, round)
	for id, want := range map[string]bool{"rec_1": false, "rec_2": true, "rec_3": false, "rec_9": true} {
		if _, ok := r.status("ten_a", id); ok != want {
			t.Errorf("%s is known: %v, want %v", id, ok, want)
		}
	}
}

func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	r := newRegistry(5 * time.Second)
	step := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	step("comes", r.apply(noon, told("one", first, live(1, "rec_1", recorder.Recording))), eventJoined)
	step("is there", r.apply(noon.Add(4*time.Second), told("one", first)), eventNone)
	step("still", r.expire(noon.Add(8*time.Second)), []string{})
	cancelled := 0
	_, lost := r.onLost("one", func() { cancelled++ })
	stop, _ := r.onLost("one", func() { cancelled += 10 })
	stop()
	step("lost already", lost, false)
	step("falls silent", r.expire(noon.Add(10*time.Second)), []string{"one"})
	step("those who wait are told", cancelled, 1)
	step("said once", r.expire(noon.Add(11*time.Second)), []string{})
	step("its recordings", r.capture(t, "rec_1"), "")
	step("nothing is placed there", r.candidates(), []string{})
	_, lost = r.onLost("one", func() {})
	step("known as lost", lost, true)
	step("is back", r.apply(noon.Add(12*time.Second), told("one", first)), eventJoined)
	step("starts anew", r.apply(noon.Add(13*time.Second), told("one", second, live(1, "rec_1", recorder.Paused))), eventJoined)
	step("last words of the old process", r.apply(noon.Add(13*time.Second), told("one", first, live(99, "rec_1", recorder.Recording))), eventNone)
	step("are not believed", r.capture(t, "rec_1"), recorder.Paused)
	bye := told("one", second)
	bye.Draining = true
	step("says good-bye", r.apply(noon.Add(14*time.Second), bye), eventLeft)
	step("nothing is placed there", r.candidates(), []string{})
	step("its recordings", r.capture(t, "rec_1"), "")
	step("a straggler does not bring it back", r.apply(noon.Add(14*time.Second), told("one", second, live(100, "rec_1", recorder.Recording))), eventNone)
	step("nothing is placed there", r.candidates(), []string{})
	step("left quietly", r.expire(noon.Add(30*time.Second)), []string{})
	r.expire(noon.Add(time.Hour))
	step("forgotten", len(r.nodes)+len(r.live), 0)
}

func TestPlacementsCountUntilTheNodeCounts(t *testing.T) {
	t.Parallel()
	r := newRegistry(5 * time.Second)
	for _, n := range []string{"one", "two"} {
		s := told(n, first)
		s.Capacity, s.Whole = Capacity{PortsTotal: 100}, 1
		r.apply(noon, s)
	}
	var got []string
	for range 4 {
		best := r.candidates()[0]
		r.place(best)
		got = append(got, best)
		r.apply(noon, status{Version: version, Node: best, Instance: first, Capacity: Capacity{PortsTotal: 100}}) // a beat knows nothing new
	}
	if want := []string{"one", "two", "one", "two"}; !slices.Equal(got, want) {
		t.Errorf("placed on %v, want %v", got, want)
	}
}

func TestRegistryIsBounded(t *testing.T) {
	t.Parallel()
	r := newRegistry(time.Second)
	for i := range maxNodes {
		r.apply(noon, told(fmt.Sprint("node-", i), first))
	}
	if e := r.apply(noon, told("one more", first)); e != eventFull || len(r.nodes) != maxNodes {
		t.Errorf("%s, %d nodes", e, len(r.nodes))
	}
	r.live = make(map[string]known, maxLive)
	for i := range maxLive {
		r.live[fmt.Sprint("rec_", i)] = known{node: "node-1"}
	}
	r.apply(noon, told("node-1", first, live(1, "rec_more", recorder.Recording)))
	if len(r.live) != maxLive {
		t.Errorf("%d live recordings", len(r.live))
	}
}

func TestTotalsAreAddedUp(t *testing.T) {
	t.Parallel()
	r := newRegistry(time.Second)
	for i, n := range []string{"one", "two"} {
		s := told(n, first)
		s.Totals = recorder.Totals{Live: i + 1, MaxLag: time.Duration(i) * time.Second, Net: recorder.NetStats{Packets: 10}}
		r.apply(noon, s)
	}
	got, nodes := r.totals()
	if nodes != 2 || got.Live != 3 || got.MaxLag != time.Second || got.Net.Packets != 20 {
		t.Errorf("%d nodes, %+v", nodes, got)
	}
}
