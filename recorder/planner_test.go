package recorder

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

func secs(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

func newPlanner(t testing.TB, f *memFolder) *Planner {
	t.Helper()
	p, err := NewPlanner(f, simDepacketizers{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// planAll plans a whole recording at once.
func planAll(t testing.TB, f *memFolder) (*Planner, []SegmentPlan) {
	t.Helper()
	f.sort()
	p := newPlanner(t, f)
	plans, err := p.Finish(FinishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	checkContiguous(t, p, plans)
	return p, plans
}

func checkContiguous(t testing.TB, p *Planner, plans []SegmentPlan) {
	t.Helper()
	next := int64(0)
	for i, s := range plans {
		if s.Index != i || s.From != next || s.To <= s.From {
			t.Fatalf("segment %d is %d [%d, %d), want it to begin at %d", i, s.Index, s.From, s.To, next)
		}
		if s.Frames() > p.profile.SegmentFrames() {
			t.Fatalf("segment %d has %d frames, more than %d", i, s.Frames(), p.profile.SegmentFrames())
		}
		next = s.To
	}
	if frames, _ := p.Duration(); next != frames {
		t.Fatalf("segments end at %d, the recording at %d", next, frames)
	}
}

const (
	nothing     = -1 // no region of the kind
	placeholder = -2
)

// render decodes all plans as a composer would and returns, per kind, the number of the picture in every output frame.
// It fails where a decoder would: on a first frame that is no key, and on a picture whose predecessor was not decoded.
func render(t testing.TB, p *Planner, plans []SegmentPlan) map[TrackKind][]int {
	t.Helper()
	out := map[TrackKind][]int{}
	for _, plan := range plans {
		shown := map[TrackKind][]int{Screen: fill(nothing, plan.Frames()), Webcam: fill(nothing, plan.Frames())}
		for i, r := range plan.Regions {
			if r.Leg == "" {
				shown[r.Kind] = fill(placeholder, plan.Frames())
				continue
			}
			shown[r.Kind] = renderRegion(t, p, plan, i)
		}
		for k, s := range shown {
			out[k] = append(out[k], s...)
		}
	}
	return out
}

func fill(v int, n int64) []int { return slices.Repeat([]int{v}, int(n)) }

func renderRegion(t testing.TB, p *Planner, plan SegmentPlan, i int) []int {
	t.Helper()
	src, err := p.OpenRegion(plan, i)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	out := fill(nothing, plan.Frames())
	last, slot := -1, int64(-1)
	for {
		f, err := src.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("segment %d region %d: %v", plan.Index, i, err)
		}
		num := int(binary.BigEndian.Uint32(f.Data))
		if !f.Key && num != last+1 {
			t.Fatalf("segment %d region %d: picture %d after %d cannot be decoded", plan.Index, i, num, last)
		}
		if f.Slot < slot {
			t.Fatalf("segment %d region %d: slot %d after %d", plan.Index, i, f.Slot, slot)
		}
		last, slot = num, f.Slot
		if slot >= 0 {
			for n := slot; n < plan.Frames(); n++ {
				out[n] = num
			}
		}
	}
	if out[0] == nothing {
		t.Fatalf("segment %d region %d shows nothing in its first frame", plan.Index, i)
	}
	return out
}

// checkShown compares what is shown with when it was captured: picture n must appear at the output frame nearest to its
// capture, within tolerance frames, and stay until the next one.
func checkShown(t testing.TB, p *Planner, leg *simLeg, shown []int, tolerance int) {
	t.Helper()
	checkShownIn(t, p, leg, shown, 1, len(shown), tolerance)
}

func checkShownIn(t testing.TB, p *Planner, leg *simLeg, shown []int, from, to, tolerance int) {
	t.Helper()
	for n := from; n < to; n++ {
		if shown[n] < 0 || shown[n] == shown[n-1] {
			continue
		}
		want := frameNearest(p.timeOf(leg.frames[uint32(shown[n])].Add(simDelay)), p.fps)
		if d := int64(n) - want; d > int64(tolerance) || d < -int64(tolerance) {
			t.Fatalf("%s: picture %d captured at %v is shown at frame %d, want %d", leg.kind, shown[n],
				p.timeOf(leg.frames[uint32(shown[n])]), n, want)
		}
	}
}

func stopAt(t testing.TB, f *memFolder, at time.Time) {
	f.event(t, Event{Type: EventStopped, At: at, Stopped: &StoppedEvent{Reason: "hangup"}})
}

// call is a plain call of 35 s with keyframes that are aligned with nothing.
func call(t testing.TB) (f *memFolder, screen, webcam, mic *simLeg) {
	f = newMemFolder(DefaultProfile(), Screen, Webcam, AgentAudio)
	screen, webcam, mic = attach(t, f, 0, Screen, secs(0)), attach(t, f, 1, Webcam, secs(0.05)), attach(t, f, 2, AgentAudio, secs(0))
	rnd := rand.New(rand.NewPCG(1, 2))
	screen.delay = func(int) time.Duration { // packets overtake each other
		return 8*time.Millisecond + time.Duration(rnd.IntN(int(15*time.Millisecond)))
	}
	screen.video(secs(0.3), secs(35), 7.3, Size{1918, 1022}, keyEvery(83))
	webcam.video(secs(0.2), secs(35), 29.7, Size{1280, 720}, keyEvery(211))
	mic.audio(secs(0.1), secs(35))
	wander := func(i int) time.Duration {
		return time.Duration(rnd.NormFloat64() * float64(6*time.Millisecond))
	}
	screen.reports(secs(0.9), secs(35), time.Second, wander)
	webcam.reports(secs(0.7), secs(35), 1300*time.Millisecond, wander)
	mic.reports(secs(4), secs(35), 5*time.Second, wander)
	stopAt(t, f, secs(35))
	f.sort()
	return f, screen, webcam, mic
}

func TestPlainCall(t *testing.T) {
	t.Parallel()
	f, screen, webcam, _ := call(t)
	p, plans := planAll(t, f)
	shown := render(t, p, plans)
	checkShown(t, p, screen, shown[Screen], 1)
	checkShown(t, p, webcam, shown[Webcam], 1)
	if _, d := p.Duration(); d < 34_850_000 || d > 34_950_000 {
		t.Errorf("the recording lasts %v, want 35 s less the 0.1 s before its first packet", d)
	}
	if f.opened != f.closed {
		t.Errorf("%d journals opened, %d closed", f.opened, f.closed)
	}
	if g := p.Gaps(); len(g) != 0 {
		t.Errorf("gaps of a call without any: %+v", g)
	}
	if s := p.Stats(); s != (PlannerStats{}) {
		t.Errorf("stats %+v", s)
	}
	if len(plans) < 4 || plans[0].Canvas != (Size{3200, 1080}) {
		t.Errorf("%d segments on %v", len(plans), plans[0].Canvas)
	}
}

// TestJob checks that a plan becomes a job whose sources are closed together.
func TestJob(t *testing.T) {
	t.Parallel()
	f, _, _, _ := call(t)
	f.header.Profile.WaveformBurnIn = true
	p, plans := planAll(t, f)
	last := plans[len(plans)-1]
	job, done, err := p.Job(last)
	if err != nil {
		t.Fatal(err)
	}
	if len(job.Regions) != 2 || job.Frames != last.Frames() || job.Canvas != last.Canvas || job.Waveform == nil || len(job.Waveform.Tracks) != 1 {
		t.Errorf("job %+v", job)
	}
	var total int64
	for {
		pkt, err := job.Waveform.Tracks[0].Source.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if pkt.At != Micros(total*opusUnit) {
			t.Fatalf("sound at %v after %v", pkt.At, Micros(total*opusUnit))
		}
		total += opusDuration(pkt.Data)
	}
	if want := last.End() - last.Start(); Micros(total*opusUnit) < want || Micros(total*opusUnit) > want+2*opusUnit {
		t.Errorf("the strip's sound lasts %v, the segment %v", Micros(total*opusUnit), want)
	}
	done()
	if f.opened != f.closed {
		t.Errorf("%d journals opened, %d closed", f.opened, f.closed)
	}
}

// TestStepsDoNotMatter is the property on which restarts rest: however Advance is called, the plans are the same.
func TestStepsDoNotMatter(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			t.Parallel()
			f := chaos(t, seed)
			want, wantSound := planSteps(t, f, func(*rand.Rand) time.Duration { return time.Hour }, seed)
			for name, step := range map[string]func(*rand.Rand) time.Duration{
				"40ms":   func(*rand.Rand) time.Duration { return 40 * time.Millisecond },
				"1s":     func(*rand.Rand) time.Duration { return time.Second },
				"random": func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(9 * time.Second))) },
			} {
				got, gotSound := planSteps(t, f, step, seed)
				if len(got) != len(want) {
					t.Fatalf("%s: %d segments, want %d", name, len(got), len(want))
				}
				for i := range got {
					if !reflect.DeepEqual(got[i], want[i]) {
						t.Fatalf("%s: segment %d differs:\n%s\n%s", name, i, asJSON(got[i]), asJSON(want[i]))
					}
				}
				if !slices.Equal(gotSound, wantSound) {
					t.Fatalf("%s: the sound differs", name)
				}
			}
		})
	}
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// planSteps plans with Advance calls and renders nothing but the sound, which it reads when all is planned.
func planSteps(t testing.TB, f *memFolder, step func(*rand.Rand) time.Duration, seed uint64) ([]SegmentPlan, []string) {
	t.Helper()
	p := newPlanner(t, f)
	rnd := rand.New(rand.NewPCG(seed, 99))
	var plans []SegmentPlan
	for now := t0; now.Before(secs(41)); {
		now = now.Add(step(rnd))
		if err := p.Advance(minTime(now, secs(41))); err != nil {
			t.Fatal(err)
		}
		plans = append(plans, p.Plan()...)
	}
	rest, err := p.Finish(FinishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plans = append(plans, rest...)
	checkContiguous(t, p, plans)
	render(t, p, plans)
	var sound []string
	for _, pkt := range readSound(t, p.AudioSource(AgentAudio)) {
		sound = append(sound, fmt.Sprintf("%d %x", pkt.At, pkt.Data))
	}
	return plans, sound
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// chaos is a call of 40 s in which everything happens: loss, repair, reordering, size changes, pauses, layouts, stalls,
// detached and replaced legs.
func chaos(t testing.TB, seed uint64) *memFolder {
	rnd := rand.New(rand.NewPCG(seed, 7))
	f := newMemFolder(DefaultProfile(), Screen, Webcam, AgentAudio)
	delay := func(int) time.Duration {
		d := 5*time.Millisecond + time.Duration(rnd.ExpFloat64()*float64(12*time.Millisecond))
		if rnd.IntN(40) == 0 {
			d += time.Duration(rnd.IntN(800)) * time.Millisecond
		}
		return d
	}
	lose := func(uint16) bool { return rnd.IntN(300) == 0 }
	screen := attach(t, f, 0, Screen, secs(0))
	screen.delay, screen.lose = delay, lose
	screen.video(secs(rnd.Float64()), secs(40), 3+rnd.Float64()*20, Size{1920, 1080}, keyEvery(1+rnd.IntN(60)))
	screen.reports(secs(1), secs(40), time.Second, func(int) time.Duration { return time.Duration(rnd.IntN(30)) * time.Millisecond })
	mic := attach(t, f, 1, AgentAudio, secs(0))
	mic.delay, mic.lose = delay, lose
	mic.audio(secs(0.2), secs(8+rnd.Float64()*10))
	mic.born = mic.born.Add(3 * time.Second) // the sender stalled and goes on with its old timestamps
	mic.audio(secs(22), secs(38))
	sizes := []Size{{320, 180}, {640, 360}, {1280, 720}, {720, 1280}}
	from := 0.1
	for n := 2; from < 38; n++ {
		to := min(from+2+rnd.Float64()*12, 40)
		cam := attach(t, f, n, Webcam, secs(from))
		cam.delay, cam.lose = delay, lose
		for a := from; a < to; {
			b := min(a+0.2+rnd.Float64()*4, to)
			cam.video(secs(a), secs(b), 25, sizes[rnd.IntN(len(sizes))], keyEvery(20+rnd.IntN(100)))
			a = b
		}
		if rnd.IntN(2) == 0 {
			f.event(t, Event{Type: EventLegDetached, At: secs(to), LegDetached: &LegDetached{Leg: cam.name}})
			to += rnd.Float64() * 3
		}
		from = to
	}
	p := 5 + rnd.Float64()*20
	f.event(t, Event{Type: EventPaused, At: secs(p), Paused: &PausedEvent{Reason: PausePayment}})
	f.event(t, Event{Type: EventResumed, At: secs(p + 2.7), Resumed: &ResumedEvent{}})
	cutOut(f, secs(p), secs(p+2.7))
	f.event(t, Event{Type: EventLayoutChanged, At: secs(rnd.Float64() * 40), LayoutChanged: &LayoutChanged{Layout: PictureInPicture}})
	f.event(t, Event{Type: EventLayoutChanged, At: secs(rnd.Float64() * 40), LayoutChanged: &LayoutChanged{Layout: ScreenOnly}})
	stopAt(t, f, secs(40))
	f.sort()
	return f
}

// cutOut drops what arrived in a pause, as the recorder does before the disk.
func cutOut(f *memFolder, from, to time.Time) {
	for name, j := range f.journals {
		if name != EventsJournal {
			f.journals[name] = slices.DeleteFunc(j, func(r Record) bool { return !r.At.Before(from) && r.At.Before(to) })
		}
	}
}

// TestRestart: a planner that starts over with some segments sealed plans exactly the others, with the same cuts.
func TestRestart(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			t.Parallel()
			f := chaos(t, seed)
			_, want := planAll(t, f)
			rnd := rand.New(rand.NewPCG(seed, 3))
			var left []SegmentPlan
			for _, s := range want {
				if rnd.IntN(2) == 0 {
					left = append(left, s)
					continue
				}
				f.event(t, Event{Type: EventSegmentSealed, At: secs(39), SegmentSealed: &SegmentSealed{Index: s.Index, From: s.From, To: s.To,
					Blob: BlobInfo{Name: fmt.Sprint("segment", s.Index)}}})
			}
			f.sort()
			p := newPlanner(t, f)
			got, err := p.Finish(FinishOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(left) {
				t.Fatalf("%d segments planned, want %d", len(got), len(left))
			}
			for i := range got {
				if !reflect.DeepEqual(got[i], left[i]) {
					t.Fatalf("segment %d differs:\n%s\n%s", got[i].Index, asJSON(got[i]), asJSON(left[i]))
				}
			}
		})
	}
}

// TestRestartKeepsForeignCuts: sealed cuts hold even where this planner would have cut elsewhere.
func TestRestartKeepsForeignCuts(t *testing.T) {
	t.Parallel()
	f, screen, _, _ := call(t)
	for _, s := range []SegmentSealed{{Index: 0, From: 0, To: 77}, {Index: 2, From: 100, To: 601}} {
		s.Blob.Name = "x"
		f.event(t, Event{Type: EventSegmentSealed, At: secs(34), SegmentSealed: &s})
	}
	f.event(t, Event{Type: EventEpochSet, At: secs(1), EpochSet: &EpochSet{Epoch: secs(0.1)}})
	f.sort()
	p := newPlanner(t, f)
	plans, err := p.Finish(FinishOptions{Pieces: 3})
	if err != nil {
		t.Fatal(err)
	}
	frames, _ := p.Duration()
	covered := map[int64]int{}
	index := map[int]bool{0: true, 2: true}
	for _, s := range append(plans, SegmentPlan{From: 0, To: 77, Index: -1}, SegmentPlan{From: 100, To: 601, Index: -1}) {
		for n := s.From; n < s.To; n++ {
			covered[n]++
		}
		if s.Index >= 0 && index[s.Index] {
			t.Errorf("index %d twice", s.Index)
		}
		index[s.Index] = true
	}
	for n := range frames {
		if covered[n] != 1 {
			t.Fatalf("frame %d is in %d segments", n, covered[n])
		}
	}
	if plans[0].From != 77 || plans[0].To != 100 {
		t.Errorf("first plan is [%d, %d), want [77, 100)", plans[0].From, plans[0].To)
	}
	if e, ok := p.Epoch(); !ok || !e.Equal(secs(0.1)) {
		t.Errorf("epoch %v, want the one that was set", e)
	}
	for _, s := range plans {
		shown := append(fill(nothing, s.From), renderRegion(t, p, s, 0)...)
		checkShownIn(t, p, screen, shown, int(s.From)+1, len(shown), 1)
	}
}

// Test200Cuts: two hundred changes of size, and every picture is still where it belongs.
func Test200Cuts(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Webcam)
	cam := attach(t, f, 0, Webcam, secs(0))
	for i := range 201 {
		a := 0.3711 * float64(i)
		cam.video(secs(a), secs(a+0.3711), 30, Size{320 + 2*(i%2), 180}, keyEvery(1000))
	}
	stopAt(t, f, secs(0.3711*201))
	p, plans := planAll(t, f)
	if len(plans) != 201 {
		t.Errorf("%d segments, want 201", len(plans))
	}
	checkShown(t, p, cam, render(t, p, plans)[Webcam], 0)
	if frames, _ := p.Duration(); frames != 2238 {
		t.Errorf("%d frames, want %d", frames, 2238)
	}
}

func TestPreroll(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	s := attach(t, f, 0, Screen, secs(0))
	s.video(secs(0), secs(33), 1, Size{1920, 1080}, keyEvery(1000)) // one keyframe, one picture a second
	stopAt(t, f, secs(33))
	p, plans := planAll(t, f)
	checkShown(t, p, s, render(t, p, plans)[Screen], 0)
	r := plans[2].Regions[0]
	if plans[2].From != 600 || !r.HasPreroll || len(r.Frames) != 10 || r.Frames[0].Slot != 0 {
		t.Errorf("third segment: %s", asJSON(plans[2]))
	}
}

// TestLossFreezes: from a lost packet on the last good picture stands until the next whole keyframe.
func TestLossFreezes(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	s := attach(t, f, 0, Screen, secs(0))
	first := s.seq
	s.lose = func(seq uint16) bool { n := seq - first; return n == 201 || n == 401 } // second packets of picture 100 and of keyframe 200
	s.video(secs(0), secs(12), 30, Size{1920, 1080}, keyEvery(100))
	stopAt(t, f, secs(12))
	f.sort()
	p := newPlanner(t, f)
	plans, err := p.Finish(FinishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	shown := render(t, p, plans)[Screen]
	for n, got := range shown {
		want := n
		if n >= 100 && n < 300 { // keyframes 100 and 200 are damaged
			want = 99
		}
		if got != want && n > 0 {
			t.Fatalf("frame %d shows picture %d, want %d", n, got, want)
		}
	}
	var lost, frozen int
	for _, g := range p.Gaps() {
		switch g.Kind {
		case GapLost:
			lost += g.Packets
		case GapFrozen:
			frozen++
			if d := g.To - g.From; d < 6_600_000 || d > 6_700_000 {
				t.Errorf("frozen for %v, want 6.67 s", d)
			}
		}
	}
	if lost != 2 || frozen != 1 {
		t.Errorf("ledger %+v", p.Gaps())
	}
}

// TestLateRepair: a packet repaired within the wait costs nothing but an entry.
func TestLateRepair(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	s := attach(t, f, 0, Screen, secs(0))
	first := s.seq
	s.lose = func(seq uint16) bool { return seq-first == 300 }
	s.video(secs(0), secs(12), 30, Size{1920, 1080}, keyEvery(1000))
	s.lose = nil
	p10 := make([]byte, 10)
	p10[0] = simFirst
	binary.BigEndian.PutUint32(p10[6:], 150)
	s.writeSeq(first+300, s.stamp(secs(5)), false, p10, secs(7.2))
	stopAt(t, f, secs(12))
	p, plans := planAll(t, f)
	checkShown(t, p, s, render(t, p, plans)[Screen], 0)
	g := p.Gaps()
	if len(g) != 1 || g[0].Kind != GapRepaired || g[0].Packets != 1 {
		t.Errorf("ledger %+v", g)
	}
}

// TestPause: a marked interval of whole frames, nothing of before or within it afterwards.
func TestPause(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen, AgentAudio)
	s, mic := attach(t, f, 0, Screen, secs(0)), attach(t, f, 1, AgentAudio, secs(0))
	s.video(secs(0), secs(9.02), 30, Size{1920, 1080}, keyEvery(100))
	s.video(secs(9.02), secs(20), 30, Size{1920, 1080}, keyEvery(100))
	mic.audio(secs(0), secs(20))
	f.event(t, Event{Type: EventPaused, At: secs(4.01), Paused: &PausedEvent{Reason: PausePayment, Actor: "user:1"}})
	f.event(t, Event{Type: EventResumed, At: secs(8.51), Resumed: &ResumedEvent{Actor: "user:1"}})
	cutOut(f, secs(4.01), secs(8.51))
	stopAt(t, f, secs(20))
	p, plans := planAll(t, f)
	var paused []SegmentPlan
	for _, s := range plans {
		if s.Paused {
			paused = append(paused, s)
		}
	}
	if len(paused) != 1 || paused[0].From != 120 || paused[0].To != 256 || len(paused[0].Regions) != 0 {
		t.Fatalf("paused segments: %s", asJSON(paused))
	}
	shown := render(t, p, plans)[Screen]
	for n := 256; n < 270; n++ {
		if shown[n] != placeholder {
			t.Fatalf("frame %d shows picture %d before the first keyframe after the pause", n, shown[n])
		}
	}
	checkShown(t, p, s, shown, 1)
	for _, pkt := range readSound(t, p.AudioSource(AgentAudio)) {
		if loud := len(pkt.Data) == 5; loud && pkt.At >= 4_020_000 && pkt.At < 8_490_000 {
			t.Fatalf("sound in the pause at %v", pkt.At)
		}
	}
	for _, g := range p.Gaps() {
		if g.Kind == GapLost || g.Kind == GapStalled {
			t.Errorf("a pause is neither loss nor stall: %+v", g)
		}
		if g.Kind == GapFrozen && (g.Track != Screen || g.From != 8_505_000 || g.To < 9_015_000 || g.To > 9_025_000) {
			t.Errorf("no picture from 8.505 s until the keyframe at 9.02 s, the ledger says %+v", g)
		}
	}
	if !slices.ContainsFunc(p.Gaps(), func(g Gap) bool { return g.Kind == GapFrozen }) {
		t.Error("the ledger does not say that there is no picture until the first keyframe after the pause")
	}
	if n := len(p.Gaps()); n < 2 {
		t.Errorf("%d gaps, want the pause on both tracks", n)
	}
}

// TestPauseWithIntactChain: a static screen that sent nothing in the pause goes on without a keyframe.
func TestPauseWithIntactChain(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	s := attach(t, f, 0, Screen, secs(0))
	s.video(secs(0), secs(12), 1, Size{1920, 1080}, keyEvery(1000))
	f.event(t, Event{Type: EventPaused, At: secs(4.2), Paused: &PausedEvent{Reason: PauseHold}})
	f.event(t, Event{Type: EventResumed, At: secs(4.6), Resumed: &ResumedEvent{}})
	stopAt(t, f, secs(12))
	p, plans := planAll(t, f)
	shown := render(t, p, plans)[Screen]
	if shown[120] != 4 || shown[126] != nothing || shown[140] != placeholder || shown[151] != 5 {
		t.Errorf("frames 120, 126, 140, 151 show %d %d %d %d", shown[120], shown[126], shown[140], shown[151])
	}
}

// TestTrackComesAndGoes: placeholders, a replaced producer, and the ledger of it.
func TestTrackComesAndGoes(t *testing.T) {
	t.Parallel()
	for _, policy := range []AbsentWebcam{WebcamPlaceholder, WebcamScreenAlone} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			profile := DefaultProfile()
			profile.AbsentWebcam = policy
			f := newMemFolder(profile, Screen, Webcam)
			absent := placeholder
			if policy == WebcamScreenAlone {
				absent = nothing
			}
			s := attach(t, f, 0, Screen, secs(0))
			s.video(secs(0), secs(20), 10, Size{1920, 1080}, keyEvery(50))
			a := attach(t, f, 1, Webcam, secs(2))
			a.video(secs(2), secs(6), 30, Size{640, 360}, keyEvery(1000))
			f.event(t, Event{Type: EventLegDetached, At: secs(6.1), LegDetached: &LegDetached{Leg: a.name}})
			b := attach(t, f, 2, Webcam, secs(10))
			b.video(secs(10.5), secs(15), 30, Size{1280, 720}, keyEvery(1000))
			c := attach(t, f, 3, Webcam, secs(15)) // replaces b
			c.video(secs(15), secs(20), 30, Size{1280, 720}, keyEvery(1000))
			stopAt(t, f, secs(20))
			p, plans := planAll(t, f)
			shown := render(t, p, plans)
			checkShown(t, p, s, shown[Screen], 0)
			for _, want := range []struct{ from, to, v int }{{0, 60, absent}, {184, 314, absent}} {
				for n := want.from; n < want.to; n++ {
					if shown[Webcam][n] != want.v {
						t.Fatalf("frame %d of the webcam shows %d, want %d", n, shown[Webcam][n], want.v)
					}
				}
			}
			checkShownIn(t, p, a, shown[Webcam], 1, 184, 0)
			checkShownIn(t, p, b, shown[Webcam], 184, 450, 0)
			checkShownIn(t, p, c, shown[Webcam], 452, len(shown[Webcam]), 0)
			kinds := map[GapKind]int{}
			for _, g := range p.Gaps() {
				kinds[g.Kind]++
			}
			if kinds[GapMissing] != 1 || kinds[GapMuted] != 2 {
				t.Errorf("ledger %+v", p.Gaps())
			}
		})
	}
}

// TestMemory: what the planner keeps does not grow with the call.
func TestMemory(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Webcam)
	cam := attach(t, f, 0, Webcam, secs(0))
	cam.video(secs(0), secs(120), 30, Size{1280, 720}, keyEvery(100000))
	f.sort()
	p := newPlanner(t, f)
	for now := secs(0); now.Before(secs(120)); now = now.Add(time.Second) {
		if err := p.Advance(now); err != nil {
			t.Fatal(err)
		}
		p.Plan()
		leg := p.legs[0]
		if n := len(leg.video.frames) + len(leg.held); n > 30*25 {
			t.Fatalf("%d frames are kept at %v", n, now.Sub(t0))
		}
		if n := cap(leg.video.frames)*16 + cap(leg.held)*200; n > 256<<10 {
			t.Fatalf("%d bytes are kept at %v", n, now.Sub(t0))
		}
	}
}

func TestFinishSplits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pieces int
		want   int
	}{{0, 3}, {1, 3}, {2, 4}, {4, 6}, {8, 6}, {100, 6}} {
		f := newMemFolder(DefaultProfile(), Screen)
		s := attach(t, f, 0, Screen, secs(0))
		s.video(secs(0), secs(29), 10, Size{1920, 1080}, keyEvery(37))
		stopAt(t, f, secs(29))
		f.sort()
		p := newPlanner(t, f)
		plans, err := p.Finish(FinishOptions{Pieces: c.pieces})
		if err != nil {
			t.Fatal(err)
		}
		checkContiguous(t, p, plans)
		// Up to the last arrival the cuts are those of a live recording: 20 s of 29. The other 9 are split.
		if len(plans) != c.want {
			t.Errorf("%d pieces: %d segments, want %d", c.pieces, len(plans), c.want)
		}
		for _, s := range plans {
			if c.pieces > 1 && s.Frames() < 60 {
				t.Errorf("%d pieces: segment %d has %d frames", c.pieces, s.Index, s.Frames())
			}
		}
		checkShown(t, p, s, render(t, p, plans)[Screen], 0)
		if _, err := p.Finish(FinishOptions{}); !errors.Is(err, ErrPlanFinished) {
			t.Errorf("second Finish: %v", err)
		}
		if err := p.Advance(secs(1)); !errors.Is(err, ErrPlanFinished) {
			t.Errorf("Advance after Finish: %v", err)
		}
	}
}

func TestNothingCaptured(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	p := newPlanner(t, f)
	if err := p.Advance(secs(5)); err != nil {
		t.Fatal(err)
	}
	plans, err := p.Finish(FinishOptions{})
	if err != nil || len(plans) != 0 {
		t.Fatalf("%d plans, %v", len(plans), err)
	}
	if _, err := p.AudioSource(AgentAudio).Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("sound of nothing: %v", err)
	}
}

func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	f, _, webcam, _ := call(t)
	f.damaged = map[string]int{LegName(0): 100}
	p, plans := planAll(t, f)
	if s := p.Stats(); s.Damaged != 1 {
		t.Errorf("stats %+v", s)
	}
	checkShown(t, p, webcam, render(t, p, plans)[Webcam], 1)
}

func TestForeignEvents(t *testing.T) {
	t.Parallel()
	f, _, _, _ := call(t)
	f.append(EventsJournal, Record{At: secs(1), Kind: RecordEvent, Data: []byte(`{"type":"FROM_THE_FUTURE","at":"2026-03-01T09:00:01Z","x":1}`)})
	f.append(EventsJournal, Record{At: secs(1), Kind: RecordEvent, Data: []byte(`{"type":"STOPPED"`)})
	p, _ := planAll(t, f)
	if s := p.Stats(); s.UnknownEvents != 1 || s.BadEvents != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestOpenRegionMismatch(t *testing.T) {
	t.Parallel()
	f, _, _, _ := call(t)
	p, plans := planAll(t, f)
	f.journals[LegName(0)] = f.journals[LegName(0)][:50]
	src, err := p.OpenRegion(plans[len(plans)-1], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for err == nil {
		_, err = src.Next(t.Context())
	}
	if !errors.Is(err, ErrPlanMismatch) {
		t.Errorf("reading a shortened spool: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if _, err := src.Next(ctx); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestLateUnits: a burst that comes after its segment was settled is shown where the next one begins, and is counted.
func TestLateUnits(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen, AgentAudio)
	s, mic := attach(t, f, 0, Screen, secs(0)), attach(t, f, 1, AgentAudio, secs(0))
	late := func(from, to int) func(int) time.Duration {
		return func(n int) time.Duration {
			if n >= from && n < to { // the way is blocked for 9 s, then everything comes at once
				return simDelay + time.Duration(to-n)*20*time.Millisecond
			}
			return simDelay
		}
	}
	mic.delay = late(800, 1250) // 16 s … 25 s
	mic.audio(secs(0), secs(40))
	s.delay = func(n int) time.Duration {
		if n >= 480 && n < 750 {
			return simDelay + time.Duration(750-n)*time.Second/30
		}
		return simDelay
	}
	s.video(secs(0), secs(40), 30, Size{1920, 1080}, keyEvery(90))
	stopAt(t, f, secs(40))
	p, plans := planAll(t, f)
	shown := render(t, p, plans)[Screen]
	if st := p.Stats(); st.LateUnits == 0 {
		t.Errorf("stats %+v", st)
	}
	for n := 1; n < len(shown); n++ {
		if shown[n] < shown[n-1] {
			t.Fatalf("frame %d shows picture %d after %d", n, shown[n], shown[n-1])
		}
	}
	checkShownIn(t, p, s, shown, 1, 480, 0)
	checkShownIn(t, p, s, shown, 760, len(shown), 0)
	checkSound(t, p, mic, readSound(t, p.AudioSource(AgentAudio)), 20_000) // late sound is silence, never sound elsewhere
}

// TestAudioOnly plans no picture and keeps none in mind.
func TestAudioOnly(t *testing.T) {
	t.Parallel()
	f, _, _, mic := call(t)
	f.header.Profile.Layout = AudioOnly
	f.sort()
	p := newPlanner(t, f)
	plans, err := p.Finish(FinishOptions{})
	if err != nil || len(plans) != 0 {
		t.Fatalf("%d segments, %v", len(plans), err)
	}
	for _, tr := range p.tracks {
		for _, l := range tr.legs {
			if len(l.video.frames) != 0 {
				t.Errorf("%d frames of %s are kept", len(l.video.frames), l.name)
			}
		}
	}
	if heard := checkSound(t, p, mic, readSound(t, p.AudioSource(AgentAudio)), 20_000); heard < 1740 {
		t.Errorf("%d packets are heard", heard)
	}
}

func TestPlannerClose(t *testing.T) {
	t.Parallel()
	f, _, _, _ := call(t)
	p := newPlanner(t, f)
	if err := p.Advance(secs(20)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if f.opened != f.closed {
		t.Errorf("%d journals opened, %d closed", f.opened, f.closed)
	}
	if _, err := p.AudioSource(AgentAudio).Next(t.Context()); !errors.Is(err, ErrPlanFinished) {
		t.Errorf("sound after Close: %v", err)
	}
	if err := p.Advance(secs(21)); !errors.Is(err, ErrPlanFinished) {
		t.Errorf("Advance after Close: %v", err)
	}
}

// TestGrid: rounding on the output grid, also before time 0.
func TestGrid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m                    Micros
		nearest, floor, ceil int64
	}{{-1, 0, 0, 0}, {0, 0, 0, 0}, {16_666, 0, 0, 1}, {16_667, 1, 0, 1}, {33_333, 1, 0, 1}, {33_334, 1, 1, 2}, {1_000_000, 30, 30, 30}} {
		if a, b, d := frameNearest(c.m, 30), frameFloor(c.m, 30), frameCeil(c.m, 30); a != c.nearest || b != c.floor || d != c.ceil {
			t.Errorf("%v: %d %d %d", c.m, a, b, d)
		}
	}
	for n := range int64(100_000) {
		if m := frameTime(n, 30); frameNearest(m, 30) != n {
			t.Fatalf("frame %d is at %v, which is frame %d", n, m, frameNearest(m, 30))
		}
	}
}
