package recorder

import (
	"log/slog"
	"reflect"
	"testing"
	"time"
)

// drops is the DROPPED part of a ledger, and what it says was lost.
func dropsOf(p *Planner) (drops []Gap, lost int) {
	for _, g := range p.Gaps() {
		switch g.Kind {
		case GapDropped:
			drops = append(drops, g)
		case GapLost:
			lost += g.Packets
		}
	}
	return drops, lost
}

// TestOverflowIsNotLoss: what the kernel dropped is told apart from what the network lost, and nothing counts twice.
func TestOverflowIsNotLoss(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                string
		missing, overflowed int
		dropped, lost       int
	}{
		{"all of it here", 20, 20, 20, 0},
		{"part of it here", 20, 5, 5, 15},
		{"reports were dropped too", 20, 23, 23, 0},
		{"repaired since", 0, 7, 7, 0},
		{"the network alone", 20, 0, 0, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newMemFolder(DefaultProfile(), AgentAudio)
			mic := attach(t, f, 0, AgentAudio, secs(0))
			mic.audio(secs(0), secs(10))
			mic.seq += uint16(tt.missing)
			if tt.overflowed > 0 { // told with the first datagram that was kept
				f.append(mic.name, overflowRecord(secs(10).Add(20*time.Duration(tt.missing)*time.Millisecond+simDelay), uint64(tt.overflowed)))
			}
			mic.audio(secs(10).Add(20*time.Duration(tt.missing)*time.Millisecond), secs(30))
			stopAt(t, f, secs(30))
			p, _ := planAll(t, f)
			drops, lost := dropsOf(p)
			sum := 0
			for _, g := range drops {
				sum += g.Packets
				if g.Detail != CauseReceiveBuffer || g.Track != AgentAudio || g.From < 9_900_000 || g.To > 10_500_000 {
					t.Errorf("entry %+v", g)
				}
			}
			if sum != tt.dropped || lost != tt.lost {
				t.Errorf("dropped %d, lost %d, want %d and %d: %+v", sum, lost, tt.dropped, tt.lost, p.Gaps())
			}
		})
	}
}

// TestDroppedForTheDisk: the track that was dropped says so, from and to, as does one that a crash or the end of the call
// left so; the packets that were not written are not lost packets, and other tracks know nothing of it.
func TestDroppedForTheDisk(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Webcam, AgentAudio)
	cam, mic := attach(t, f, 0, Webcam, secs(0)), attach(t, f, 1, AgentAudio, secs(0))
	mic.audio(secs(0), secs(60))
	cam.video(secs(0), secs(60), 10, Size{640, 360}, keyEvery(10))
	track := "track-" + string(Webcam)
	span := func(from, to time.Time, end Event) {
		f.event(t, Event{Type: EventDropBegan, At: from, DropBegan: &DropBegan{TrackID: track, Cause: CauseDiskFull}})
		if !end.At.IsZero() {
			f.event(t, end)
		}
		cut := f.journals[cam.name][:0]
		for _, r := range f.journals[cam.name] {
			if r.At.Before(from) || !r.At.Before(to) {
				cut = append(cut, r)
			}
		}
		f.journals[cam.name] = cut
	}
	span(secs(10), secs(20), Event{Type: EventDropEnded, At: secs(20), DropEnded: &DropEnded{TrackID: track, Packets: 200}})
	f.event(t, Event{Type: EventDropBegan, At: secs(29), DropBegan: &DropBegan{TrackID: track, Cause: CauseDiskFull}})
	span(secs(28), secs(35), Event{Type: EventRecovered, At: secs(35), Recovered: &RecoveredEvent{DownFrom: secs(32)}}) // it begins earlier than was known
	span(secs(50), secs(61), Event{})
	f.sort()
	stopAt(t, f, secs(60))
	p, _ := planAll(t, f)
	drops, lost := dropsOf(p)
	want := []Gap{
		{TrackID: track, Track: Webcam, Kind: GapDropped, From: 10_000_000, To: 20_000_000, Packets: 200, Detail: CauseDiskFull},
		{TrackID: track, Track: Webcam, Kind: GapDropped, From: 28_000_000, To: 32_000_000, Detail: CauseDiskFull},
		{TrackID: track, Track: Webcam, Kind: GapDropped, From: 50_000_000, To: 60_000_000, Detail: CauseDiskFull},
	}
	for i := range drops { // time 0 is where the quickest packet puts it
		drops[i].From, drops[i].To = (drops[i].From+50_000)/100_000*100_000, (drops[i].To+50_000)/100_000*100_000
	}
	if !reflect.DeepEqual(drops, want) || lost != 0 {
		t.Errorf("dropped %+v, lost %d", drops, lost)
	}
	for _, g := range p.Gaps() {
		if g.Kind == GapStalled || g.Track == AgentAudio && g.Kind != GapDowntime {
			t.Errorf("unexpected %+v", g)
		}
	}
}

// TestReduce: fewer pictures, never earlier, late by less than the step, on the same grid.
func TestReduce(t *testing.T) {
	t.Parallel()
	plan := SegmentPlan{From: 300, To: 310, FPS: 30, Regions: []RegionPlan{{Frames: []FramePut{{100, 0}, {101, 1}, {102, 2}, {103, 3}, {104, 4}, {109, 9}}}, {}}}
	got := reduce(plan)
	want := []FramePut{{100, 0}, {101, 3}, {102, 3}, {103, 3}, {104, 6}, {109, 9}}
	if !reflect.DeepEqual(got.Regions[0].Frames, want) || len(got.Regions) != 2 || got.Frames() != plan.Frames() {
		t.Errorf("got %+v", got)
	}
	if plan.Regions[0].Frames[1].Slot != 1 {
		t.Error("the plan itself was changed")
	}
	for fps, want := range map[int]int{30: 10, 60: 10, 15: 7, 10: 5, 25: 12} {
		if got := reducedFPS(fps); got != want {
			t.Errorf("%d frames a second are reduced to %d, want %d", fps, got, want)
		}
	}
	segments := []SegmentSealed{{From: 0, To: 300}, {From: 300, To: 600, ReducedFPS: 10}, {From: 600, To: 900, ReducedFPS: 10}, {From: 900, To: 1200}, {From: 1200, To: 1230, ReducedFPS: 10}}
	detail := "shown at 10 frames a second: the machine was overloaded"
	if got, want := reducedGaps(segments, 30), []Gap{{Kind: GapReduced, From: 10_000_000, To: 30_000_000, Detail: detail},
		{Kind: GapReduced, From: 40_000_000, To: 41_000_000, Detail: detail}}; !reflect.DeepEqual(got, want) {
		t.Errorf("ledger %+v", got)
	}
}

// TestDiskLevels walks through a disk that fills up and is emptied.
func TestDiskLevels(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	p := DiskPolicy{UsedPercent: [3]int{80, 90, 95}, FreeBytes: [3]int64{200 * mb, 100 * mb, 50 * mb}}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	level := DiskOK
	for i, s := range []struct {
		used, max, free int64
		want            DiskLevel
	}{
		{0, 0, 1000 * mb, DiskOK},
		{0, 0, 200 * mb, DiskOK},
		{0, 0, 199 * mb, DiskRefuse},
		{0, 0, 205 * mb, DiskRefuse}, // not enough to take back
		{0, 0, 99 * mb, DiskShedWebcam},
		{0, 0, 109 * mb, DiskShedWebcam},
		{0, 0, 110 * mb, DiskRefuse},
		{0, 0, -5 * mb, DiskShedScreen}, // two steps at once
		{0, 0, 54 * mb, DiskShedScreen},
		{0, 0, 300 * mb, DiskOK},
		{79 * mb, 100 * mb, 1000 * mb, DiskOK},
		{80 * mb, 100 * mb, 1000 * mb, DiskRefuse},
		{73 * mb, 100 * mb, 1000 * mb, DiskRefuse},
		{71 * mb, 100 * mb, 1000 * mb, DiskOK},
		{96 * mb, 100 * mb, 1000 * mb, DiskShedScreen},
		{87 * mb, 100 * mb, 1000 * mb, DiskShedScreen},
		{83 * mb, 100 * mb, 1000 * mb, DiskShedWebcam},
	} {
		got, why := p.Level(level, DiskUsage{Used: s.used, Max: s.max, Free: s.free})
		if got != s.want || (why == "") != (got == DiskOK) {
			t.Errorf("step %d: %s after %s (%q), want %s", i, got, level, why, s.want)
		}
		level = got
	}
	for _, bad := range []DiskPolicy{{UsedPercent: [3]int{90, 80, 95}}, {UsedPercent: [3]int{0, 80, 95}}, {UsedPercent: [3]int{1, 2, 101}},
		{UsedPercent: [3]int{1, 2, 3}, FreeBytes: [3]int64{1, 2, 3}}, {UsedPercent: [3]int{1, 2, 3}, FreeBytes: [3]int64{3, 2, -1}}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if err := DefaultDiskPolicy().Validate(); err != nil {
		t.Error(err)
	}
	if DiskRefuse.sheds(Webcam) || !DiskShedWebcam.sheds(Webcam) || DiskShedWebcam.sheds(Screen) || !DiskShedScreen.sheds(Screen) || DiskShedScreen.sheds(AgentAudio) {
		t.Error("the wrong tracks are dropped")
	}
}

// TestAFailedWriteHoldsItsLevel: a file system may count room that a write is refused, as when it is out of inodes.
func TestAFailedWriteHoldsItsLevel(t *testing.T) {
	t.Parallel()
	d := newDisk(plenty{}, DefaultDiskPolicy())
	at := time.Unix(1000, 0)
	level := func(second int, want DiskLevel) {
		t.Helper()
		if l, err := d.look(at.Add(time.Duration(second) * time.Second)); l.is != want || err != nil || l.failed != (second == 1) {
			t.Errorf("second %d: %+v, %v, want %s", second, l, err, want)
		}
	}
	level(0, DiskOK)
	_, _, changed := d.now()
	d.full()
	d.full() // never blocks
	level(1, DiskShedScreen)
	select {
	case <-changed:
	default:
		t.Error("those who wait are not told")
	}
	level(2, DiskShedScreen)
	level(30, DiskShedScreen)
	level(31, DiskOK)
}

type plenty struct{}

func (plenty) Usage() (DiskUsage, error) { return DiskUsage{Free: 1 << 40}, nil }
func (plenty) FreeReserve() error        { return nil }
func (plenty) KeepReserve() error        { return nil }

// TestLostWhileNothingCanBeWritten: however often a disk fails, what it costs is two events of a track once it does not.
func TestLostWhileNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	r := &recording{s: &Service{log: slog.New(slog.DiscardHandler)}, tracks: []*track{{id: "a", kind: AgentAudio}, {id: "b", kind: Screen}, {id: "c", kind: Webcam}}}
	at := func(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }
	r.shedTrack(r.tracks[1], true, at(0))
	for i := range 100 {
		for _, tr := range r.tracks[:2] {
			if !tr.drop.drops(PacketRTP) {
				tr.drop.lost(at(1000+20*i), PacketRTP, &DiskError{Since: at(1000 + 20*i - 500), Err: ErrSpoolFull})
			}
		}
		if i == 50 { // its journal says late that it had lost something before it was given up
			r.tracks[1].drop.lostSince(at(60), &DiskError{Since: at(-400), Err: ErrSpoolFull})
		}
		r.accountLost(at(1000+20*i), CauseDiskFull)
	}
	want := []Event{
		{Type: EventDropBegan, At: at(-400), DropBegan: &DropBegan{TrackID: "b", Cause: CauseDiskFull}},
		{Type: EventDropBegan, At: at(500), DropBegan: &DropBegan{TrackID: "a", Cause: CauseDiskFull}},
		{Type: EventDropEnded, At: at(2980), DropEnded: &DropEnded{TrackID: "a", Packets: 100}},
	}
	if !reflect.DeepEqual(r.undrops, want) {
		t.Errorf("events %+v", r.undrops)
	}
}
