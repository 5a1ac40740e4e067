package integration_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/mediacheck"
	"github.com/dualrec/dualrec/integration/synth"
)

// A made call is one of package synth: every picture carries its number, so the recording itself tells which picture it
// shows at any instant, and whether it is whole.

const (
	madeW, madeH = 320, 180
	second       = time.Second
)

// Where the pictures of a made call are in SIDE_BY_SIDE at 1920x1080. A screen is never enlarged.
var madeRegion = map[string]mediacheck.Rect{
	"SCREEN": {X: 416, Y: 450, W: madeW, H: madeH},
	"WEBCAM": webcamFit,
}

var madeScreen = synth.Video{Kind: "screen", Codec: synth.VP8, FPS: 10, KeyEvery: 2 * second, SSRC: 0x51000001}
var madeWebcam = synth.Video{Kind: "webcam", Codec: synth.H264, FPS: 15, KeyEvery: 2 * second, SSRC: 0x52000001}
var madeSound = synth.Sound{SSRC: 0x53000001}

// made is a call before it is played.
type made struct {
	videos []synth.Video
	sound  *synth.Sound
	length time.Duration
}

// dual is the usual call: a screen in VP8, a webcam in H.264 and a microphone.
func dual(length time.Duration, repair player.Repair) made {
	screen, webcam, sound := madeScreen, madeWebcam, madeSound
	screen.Stretches, webcam.Stretches, sound.To = synth.Steady(0, length), synth.Steady(0, length), length
	screen.Repair, webcam.Repair, sound.Repair = repair, repair, repair
	return made{videos: []synth.Video{screen, webcam}, sound: &sound, length: length}
}

var madeTracks sync.Map // description → func() (player.Track, error)

// track encodes what is described, once for all tests.
func encoded(t *testing.T, description any, encode func(context.Context) (player.Track, error)) player.Track {
	t.Helper()
	once, _ := madeTracks.LoadOrStore(fmt.Sprintf("%T %+v", description, description), sync.OnceValues(func() (player.Track, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		return encode(ctx)
	}))
	track, err := once.(func() (player.Track, error))()
	if err != nil {
		t.Fatal(err)
	}
	return track
}

func (m made) media(t *testing.T) *player.Call {
	t.Helper()
	c := &player.Call{}
	for _, v := range m.videos {
		c.Tracks = append(c.Tracks, encoded(t, v, v.Track))
	}
	if m.sound != nil {
		c.Tracks = append(c.Tracks, encoded(t, *m.sound, m.sound.Track))
	}
	return c
}

// madeQueue is the queue of made calls.
const madeQueue = "made"

// startMade starts a recording of a made call and attaches the tracks that are there from the beginning. line says over
// what each track is sent; nil: a line without faults.
func (s *site) startMade(t *testing.T, m made, in player.StartInput, line func(kind string) player.Line) *call {
	t.Helper()
	if in.Queue == "" {
		in.Queue = madeQueue
	}
	s.set(t, in.Queue, "--resolution", "FIT_1080P")
	c := s.openCall(t, m.media(t), in)
	for i, track := range c.media.Tracks {
		c.senders[i].Offer(track)
		if line != nil {
			c.senders[i].Over(line(track.Kind()))
		}
		if begins(track) == 0 {
			c.attach(track, c.senders[i])
		}
	}
	return c
}

// begins is when a track is there, to the tenth of a second.
func begins(t player.Track) time.Duration { return t.Packets[0].At.Truncate(100 * time.Millisecond) }

// ahead is how long before its first packet an SFU attaches a track: the answer may take a while on a busy machine.
const ahead = 900 * time.Millisecond

// playMade plays the call in real time. Tracks that come later are attached when they do.
func (c *call) playMade(m made, what ...during) {
	c.t.Helper()
	for i, track := range c.media.Tracks {
		if at := begins(track); at > 0 {
			what = append(what, during{at - ahead, func() error { return c.tryAttach(track, c.senders[i]) }})
		}
	}
	slices.SortStableFunc(what, func(a, b during) int { return cmp.Compare(a.at, b.at) })
	c.play(m.length, what...)
}

// moment is when something was asked for and when it was answered, on the call's clock: it happened in between.
type moment struct{ asked, answered time.Duration }

// around tells whether an instant may be that of the moment.
func (m moment) around(at time.Duration) bool {
	return m.asked-2*gapsSlack <= at && at <= m.answered+2*gapsSlack
}

// command runs a mutation in the middle of the call, which began at a time, and notes when.
func (c *call) command(began time.Time, name string, in input, when *moment) func() error {
	return func() error {
		in["recordingId"] = c.started.ID
		when.asked = time.Since(began)
		_, err := c.site.do(c.t.Context(), c.site.service, name, in)
		when.answered = time.Since(began)
		return err
	}
}

func (c *call) senderOf(kind string) *player.Sender {
	c.t.Helper()
	for i, track := range c.media.Tracks {
		if track.Kind() == kind {
			return c.senders[i]
		}
	}
	c.t.Fatalf("the call has no %s", kind)
	return nil
}

// shown is what a recording shows, frame by frame.
type shown struct {
	path   string
	v      view
	number map[string][]int // of each output frame the number of the picture, or NoNumber
	beeps  []float64
	lost   map[string][]time.Duration // when packets of a track were sent that never came through
}

// brokenAbove is how far a shown picture may be from the drawn one: encoding twice costs about 4 grey levels of 256, a
// picture that was decoded from a wrong one is off by more than 20.
const brokenAbove = 12

// watch decodes the whole recording. Every picture must be whole: the one that its number says.
func (c *call) watch(m made, v view, path string) shown {
	c.t.Helper()
	s := watch(c.t, m.videos, v, path, madeRegion)
	s.lost = map[string][]time.Duration{}
	for i, track := range c.media.Tracks {
		for _, p := range undelivered(c.senders[i].History()) {
			s.lost[track.Kind()] = append(s.lost[track.Kind()], p.At)
		}
	}
	return s
}

func watch(t *testing.T, videos []synth.Video, v view, path string, regions map[string]mediacheck.Rect) shown {
	t.Helper()
	out := shown{path: path, v: v, number: map[string][]int{}}
	var kinds []string
	var rects []mediacheck.Rect
	var drawn []synth.Video
	for _, video := range videos {
		kind := player.Track{Source: video.Kind}.Kind()
		if !slices.Contains(kinds, kind) {
			kinds, rects, drawn = append(kinds, kind), append(rects, regions[kind]), append(drawn, video)
		}
	}
	worst := 0.0
	err := mediacheck.Frames(t.Context(), path, madeW, madeH, rects, func(frame int, pictures [][]byte) error {
		for i, kind := range kinds {
			n := synth.Read(pictures[i], madeW, madeH)
			out.number[kind] = append(out.number[kind], n)
			if n == synth.NoNumber {
				continue
			}
			d := mediacheck.Distance(pictures[i], drawn[i].Picture(n, madeW, madeH), madeW)
			if worst = max(worst, d); d > brokenAbove {
				t.Errorf("%s: frame %d shows picture %d broken: off by %.1f", kind, frame, n, d)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sound, err := mediacheck.Sound(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	out.beeps = mediacheck.Beeps(sound)
	t.Logf("the worst picture is off by %.1f", worst)
	return out
}

// finishMade stops the call and judges the recording by everything that holds whatever the fault was: the file plays, it
// is as long as the API says, picture and sound go together, and wherever a picture is not the one that is due, the ledger
// says so.
func (c *call) finishMade(m made) shown {
	c.t.Helper()
	for _, s := range c.senders {
		s.Flush()
	}
	v, path := c.finish()
	s := c.watch(m, v, path)
	s.checkLength(c.t, m.length, c.late)
	s.checkTruth(c.t, m)
	s.checkSkew(c.t, m)
	return s
}

// checkLength: the file, the API and the call are equally long.
func (s shown) checkLength(t *testing.T, length, late time.Duration) {
	t.Helper()
	p, err := mediacheck.File(t.Context(), s.path)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(float64(p.DurationMs-s.v.DurationMs)) > 34 {
		t.Errorf("%d ms in the file, %d ms in the API", p.DurationMs, s.v.DurationMs)
	}
	checkDuration(t, s.v.DurationMs, length, late)
}

// excuses are the kinds of gaps in which a picture need not be the one that is due. LOST is none: neighbouring losses are
// one entry, and between them all is well.
var excuses = []string{"FROZEN", "MUTED", "PAUSED", "STALLED", "MISSING", "DOWNTIME", "DROPPED"}

// excused tells whether the ledger says that a track is not as it should be at an instant, give or take, or whether a
// packet of the pictures at that instant was lost.
func (s shown) excused(kind string, at time.Duration) bool {
	return slices.ContainsFunc(s.v.Gaps, func(g gap) bool {
		return slices.Contains(excuses, g.Kind) && (g.Track == kind || g.Track == "") && g.covers(at)
	}) || slices.ContainsFunc(s.lost[kind], func(lost time.Duration) bool {
		return lost-gapsSlack <= at && at <= lost+2*gapsSlack
	})
}

func (g gap) from() time.Duration { return time.Duration(g.FromMs) * time.Millisecond }

func (g gap) to() time.Duration { return time.Duration(g.ToMs) * time.Millisecond }

// gaps are those of a kind and a track.
func (v view) gaps(kind, track string) (out []gap) {
	for _, g := range v.Gaps {
		if g.Kind == kind && g.Track == track {
			out = append(out, g)
		}
	}
	return out
}

const (
	inTime    = 80 * time.Millisecond  // how much too early or too late a picture may be
	gapsSlack = 100 * time.Millisecond // how far a gap may be from where it was
)

// checkTruth: whatever is shown outside of the ledger's gaps is the picture that is due, and a picture that the ledger calls
// frozen stands still.
func (s shown) checkTruth(t *testing.T, m made) {
	t.Helper()
	for kind, numbers := range s.number {
		wrong := 0
		for frame, n := range numbers {
			at := time.Duration(frame) * second / 30
			video, ok := m.at(kind, at)
			if !ok || s.excused(kind, at) {
				continue
			}
			period := second / time.Duration(video.FPS)
			if off := time.Duration(n)*period - at; n == synth.NoNumber || off > inTime || off < -period-inTime {
				if wrong++; wrong <= 5 {
					t.Errorf("%s at %v shows picture %d, which is due at %v, and the ledger says nothing of it", kind, at, n, time.Duration(n)*period)
				}
			}
		}
		if wrong > 5 {
			t.Errorf("%s: %d frames are wrong and not in the ledger", kind, wrong)
		}
		for _, g := range s.v.gaps("FROZEN", kind) {
			var pictures []int
			for _, n := range s.between(kind, g.from()+gapsSlack, g.to()-gapsSlack) {
				if n != synth.NoNumber && !slices.Contains(pictures, n) { // a pause within shows a card
					pictures = append(pictures, n)
				}
			}
			if len(pictures) > 1 {
				t.Errorf("%s: pictures %d are shown while the ledger says that it stands still: %+v", kind, pictures, g)
			}
		}
	}
	if t.Failed() {
		t.Logf("the ledger: %+v", s.v.Gaps)
	}
}

// between are the numbers that are shown from one instant to another.
func (s shown) between(kind string, from, to time.Duration) []int {
	list := s.number[kind]
	first := min(int(from*30/second), len(list))
	return list[first:max(first, min(int(to*30/second), len(list)))]
}

// checkNothing: from one instant to another there is a card and no picture of the track, not even an old one.
func (s shown) checkNothing(t *testing.T, kind string, from, to time.Duration) {
	t.Helper()
	for i, n := range s.between(kind, from+gapsSlack, to-gapsSlack) {
		if n != synth.NoNumber {
			t.Errorf("%s: picture %d is shown %v after %v, where there is none", kind, n, time.Duration(i)*second/30+gapsSlack, from)
			return
		}
	}
}

// checkGap: there is exactly one gap of a kind and a track, from one instant to another.
func (s shown) checkGap(t *testing.T, kind, track string, from, to time.Duration) {
	t.Helper()
	gaps := s.v.gaps(kind, track)
	if len(gaps) != 1 || (gaps[0].from()-from).Abs() > 2*gapsSlack || (gaps[0].to()-to).Abs() > 2*gapsSlack {
		t.Errorf("%s should be %s from %v to %v alone, the ledger says %+v", track, kind, from, to, gaps)
	}
}

// checkEveryPicture: all pictures of a track that were captured in a stretch are shown.
func (s shown) checkEveryPicture(t *testing.T, m made, kind string, from, to time.Duration) {
	t.Helper()
	if seen, all := s.distinct(m, kind, from, to); seen < all {
		t.Errorf("%s: %d of the %d pictures from %v to %v are shown", kind, seen, all, from, to)
	}
}

// at is the source that is on at an instant and was for a moment.
func (m made) at(kind string, at time.Duration) (synth.Video, bool) {
	for _, v := range m.videos {
		if (player.Track{Source: v.Kind}).Kind() != kind {
			continue
		}
		for _, st := range v.Stretches {
			if at >= st.From+150*time.Millisecond && at < st.To {
				return v, true
			}
		}
	}
	return synth.Video{}, false
}

// checkSkew pairs each tone with the picture of its instant.
func (s shown) checkSkew(t *testing.T, m made) {
	t.Helper()
	if m.sound == nil {
		return
	}
	for _, mark := range synth.Marks(m.length) {
		if slices.ContainsFunc(m.sound.Quiet, func(q synth.Span) bool { return q.Has(mark) }) || mark < m.sound.From || mark+100*time.Millisecond > m.sound.To {
			continue
		}
		beep, ok := nearest(s.beeps, mark.Seconds())
		if !ok {
			if !s.excused("AGENT_AUDIO", mark) {
				t.Errorf("there is no tone at %v (tones at %.2f) and the ledger says nothing of it", mark, s.beeps)
			}
			continue
		}
		for kind := range s.number {
			video, ok := m.at(kind, mark)
			if !ok || s.excused(kind, mark) {
				continue
			}
			frame := slices.IndexFunc(s.number[kind], func(n int) bool { return n >= int(mark.Seconds()*float64(video.FPS)) })
			if skew := (float64(frame)/30 - beep) * 1000; frame < 0 || math.Abs(skew) > 80 {
				t.Errorf("%s: skew of the marker at %v is %.0f ms", kind, mark, skew)
			}
		}
	}
}

func nearest(list []float64, want float64) (float64, bool) {
	for _, v := range list {
		if math.Abs(v-want) < 0.4 {
			return v, true
		}
	}
	return 0, false
}

// distinct counts the pictures of a track that are shown at all, and those that were captured in [from, to).
func (s shown) distinct(m made, kind string, from, to time.Duration) (seen, all int) {
	have := map[int]bool{}
	for _, n := range s.number[kind] {
		have[n] = true
	}
	for _, v := range m.videos {
		if (player.Track{Source: v.Kind}).Kind() != kind {
			continue
		}
		for _, st := range v.Stretches {
			first, end := v.Numbers(max(from, st.From), min(to, st.To))
			for n := first; n < end; n++ {
				if all++; have[n] {
					seen++
				}
			}
		}
	}
	return seen, all
}

// undelivered are the packets that never came through, between the first and the last that did: what lies outside cannot be
// known to the recorder.
func undelivered(history []player.Passed) (out []player.Passed) {
	first := slices.IndexFunc(history, func(p player.Passed) bool { return p.Delivered })
	last := len(history) - 1
	for last > first && !history[last].Delivered {
		last--
	}
	for i := max(first, 0); i <= last; i++ {
		if !history[i].Delivered {
			out = append(out, history[i])
		}
	}
	return out
}

// checkLost: the ledger says LOST where packets were lost, as many as were, and nowhere else.
func (c *call) checkLost(v view, kind string) (lost int) {
	c.t.Helper()
	missing := undelivered(c.senderOf(kind).History())
	gaps := v.gaps("LOST", kind)
	told := 0
	for _, g := range gaps {
		told += g.Packets
		if !slices.ContainsFunc(missing, func(p player.Passed) bool { return g.covers(p.At) }) {
			c.t.Errorf("%s: nothing was lost where the ledger says so: %+v", kind, g)
		}
	}
	for _, p := range missing {
		if !slices.ContainsFunc(gaps, func(g gap) bool { return g.covers(p.At) }) {
			c.t.Errorf("%s: packet %d at %v was lost, and the ledger does not say so: %+v", kind, p.Seq, p.At, gaps)
		}
	}
	if told != len(missing) {
		c.t.Errorf("%s: %d packets were lost for good, the ledger says %d: %+v", kind, len(missing), told, gaps)
	}
	if got := int(v.track(kind).Stats.Lost); got != len(missing) {
		c.t.Errorf("%s: %d packets were lost for good, the statistics say %d", kind, len(missing), got)
	}
	return len(missing)
}

// pause is one pause of a call, on the call's clock: nothing that was captured from on to off may be kept.
type pause struct {
	on, off       time.Duration
	asked, lifted time.Duration // the pause was asked for, the resumption was answered
}

// checkRepaired: the ledger says REPAIRED for the packets that were lost and came in the end, for as many as there were and
// for no others. Packets that belong to a pause do not count.
func (c *call) checkRepaired(v view, kind string, pauses ...pause) (repaired int) {
	c.t.Helper()
	want, told := 0, 0
	for _, p := range c.senderOf(kind).History() {
		if p.Delivered && !p.First && !slices.ContainsFunc(pauses, func(q pause) bool { return q.on <= p.At && p.At < q.off }) {
			want++
		}
	}
	for _, g := range v.gaps("REPAIRED", kind) {
		told += g.Packets
	}
	if told != want {
		c.t.Errorf("%s: %d packets were repaired, the ledger says %d: %+v", kind, want, told, v.gaps("REPAIRED", kind))
	}
	return want
}

func (g gap) covers(at time.Duration) bool { return g.from()-gapsSlack <= at && at <= g.to()+gapsSlack }

// startLive is startMade for a call that answers requests for keyframes.
func (s *site) startLive(t *testing.T, live *synth.Live, line func(kind string) player.Line) *call {
	t.Helper()
	s.set(t, madeQueue, "--resolution", "FIT_1080P")
	c := s.startCall(t, live.Call, player.StartInput{Queue: madeQueue})
	for i, track := range live.Call.Tracks {
		c.senders[i].Offer(track)
		c.senders[i].Over(line(track.Kind()))
	}
	return c
}
