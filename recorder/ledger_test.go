package recorder

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestLedgerMerges(t *testing.T) {
	t.Parallel()
	l := newLedger()
	lost := func(from, to Micros, n int) {
		l.add(Gap{TrackID: "a", Track: Screen, Kind: GapLost, From: from, To: to, Packets: n})
	}
	lost(1_000_000, 1_100_000, 2)
	lost(1_500_000, 1_600_000, 3) // within a second: one burst
	lost(9_000_000, 9_100_000, 1)
	l.add(Gap{TrackID: "b", Track: Webcam, Kind: GapFrozen, From: 500_000, To: 800_000})
	l.add(Gap{TrackID: "b", Track: Webcam, Kind: GapFrozen, From: 900_000, To: 950_000}) // the picture moved in between
	got := l.all(9_050_000)
	want := []Gap{
		{TrackID: "b", Track: Webcam, Kind: GapFrozen, From: 500_000, To: 800_000},
		{TrackID: "b", Track: Webcam, Kind: GapFrozen, From: 900_000, To: 950_000},
		{TrackID: "a", Track: Screen, Kind: GapLost, From: 1_000_000, To: 1_600_000, Packets: 5},
		{TrackID: "a", Track: Screen, Kind: GapLost, From: 9_000_000, To: 9_050_000, Packets: 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if out, _ := json.Marshal(got[2]); string(out) != `{"track_id":"a","track":"SCREEN","kind":"LOST","from_us":1000000,"to_us":1600000,"packets":5}` {
		t.Errorf("JSON %s", out)
	}
}

// TestLedgerIsBounded: a day of steady loss does not grow without end, and no packet is forgotten.
func TestLedgerIsBounded(t *testing.T) {
	t.Parallel()
	l := newLedger()
	for i := range 40_000 {
		from := Micros(i) * 2_100_000
		l.add(Gap{TrackID: "a", Kind: GapLost, From: from, To: from + 1000, Packets: 1})
		l.add(Gap{TrackID: "a", Kind: GapFrozen, From: from, To: from + 1000})
	}
	packets := 0
	all := l.all(0)
	for _, g := range all {
		packets += g.Packets
	}
	if len(all) > 2*maxGaps || packets != 40_000 {
		t.Errorf("%d entries, %d packets", len(all), packets)
	}
}

// TestLedgerOfACall compares the ledger with the faults that were put in.
func TestLedgerOfACall(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen, Webcam, AgentAudio, CustomerAudio)
	s, mic := attach(t, f, 0, Screen, secs(0)), attach(t, f, 1, AgentAudio, secs(0))
	s.video(secs(0), secs(10), 10, Size{1920, 1080}, keyEvery(30))
	s.video(secs(18), secs(40), 10, Size{1920, 1080}, keyEvery(30)) // 8 s of nothing
	mic.audio(secs(0), secs(30))
	mic.seq += 50
	mic.audio(secs(31), secs(35)) // 50 packets lost, then silence to the end
	f.event(t, Event{Type: EventPaused, At: secs(24), Paused: &PausedEvent{Reason: PauseHold}})
	f.event(t, Event{Type: EventResumed, At: secs(26), Resumed: &ResumedEvent{}})
	cutOut(f, secs(24), secs(26))
	f.event(t, Event{Type: EventRecovered, At: secs(26.5), Recovered: &RecoveredEvent{DownFrom: secs(26)}})
	cam := attach(t, f, 2, Webcam, secs(5))
	cam.video(secs(5), secs(20), 10, Size{640, 360}, keyEvery(30))
	f.event(t, Event{Type: EventLegDetached, At: secs(20), LegDetached: &LegDetached{Leg: cam.name}})
	stopAt(t, f, secs(40))
	p, _ := planAll(t, f)
	type entry struct {
		kind     GapKind
		track    TrackKind
		from, to float64
	}
	want := []entry{
		{GapMissing, CustomerAudio, 0, 40}, {GapMissing, Webcam, 0, 5}, {GapStalled, Screen, 9.9, 18}, {GapMuted, Webcam, 20, 40},
		{GapPaused, AgentAudio, 24, 26}, {GapPaused, Screen, 24, 26}, {GapPaused, Webcam, 24, 26},
		{GapDowntime, AgentAudio, 26, 26.5}, {GapDowntime, Screen, 26, 26.5}, {GapDowntime, Webcam, 26, 26.5},
		{GapLost, AgentAudio, 29.98, 31}, {GapStalled, AgentAudio, 34.98, 40},
	}
	got := p.Gaps()
	for _, w := range want {
		found := false
		for _, g := range got {
			near := func(m Micros, s float64) bool { d := m - Micros(s*1e6); return max(d, -d) < 60_000 }
			found = found || g.Kind == w.kind && g.Track == w.track && near(g.From, w.from) && near(g.To, w.to)
		}
		if !found {
			t.Errorf("no %v", w)
		}
	}
	for _, g := range got {
		known := false
		for _, w := range want {
			known = known || g.Kind == w.kind && g.Track == w.track
		}
		// After the pause the screen shows nothing until its next keyframe: the gap before it is frozen.
		if !known && !(g.Kind == GapFrozen && g.Track == Screen && g.To-g.From < 3*Micros(time.Second/time.Microsecond)) {
			t.Errorf("unexpected %+v", g)
		}
	}
}
