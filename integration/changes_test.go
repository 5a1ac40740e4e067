package integration_test

import (
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/mediacheck"
	"github.com/dualrec/dualrec/integration/synth"
)

// changing is a call in which one video is replaced by others.
func changing(length time.Duration, replaced string, by ...synth.Video) made {
	m := dual(length, player.RepairNone)
	for i, v := range m.videos {
		if v.Kind == replaced {
			m.videos = append(append([]synth.Video{}, by...), m.videos[1-i])
			break
		}
	}
	return m
}

func (s shown) checkOtherGaps(t *testing.T, allowed ...string) {
	t.Helper()
	for _, g := range s.v.Gaps {
		ok := false
		for _, a := range allowed {
			ok = ok || a == g.Kind+" "+g.Track || a == g.Kind
		}
		if !ok {
			t.Errorf("a gap that has nothing to do with the change: %+v", g)
		}
	}
}

const most = 200 * time.Millisecond // of the end of a call may be cut by stopping it

// TestWebcamOffAndOn: the agent takes the webcam away and puts it back. In between there is a card and not the last
// picture, and it is one file.
func TestWebcamOffAndOn(t *testing.T) {
	t.Parallel()
	const length = 9 * second
	before, after := madeWebcam, madeWebcam
	before.Stretches, after.Stretches = synth.Steady(0, 3*second), synth.Steady(5*second, length)
	after.SSRC = 0x52000002
	m := changing(length, "webcam", before, after)
	c := theSite(t).startMade(t, m, player.StartInput{}, nil)
	var off moment
	c.playMade(m, during{3100 * time.Millisecond, c.command(time.Now(), "detachTrack", input{"kind": "WEBCAM"}, &off)})
	s := c.finishMade(m)
	if gaps := s.v.gaps("MUTED", "WEBCAM"); len(gaps) != 1 || !off.around(gaps[0].from()) || (gaps[0].to()-5*second).Abs() > 2*gapsSlack {
		t.Errorf("the webcam was off from %+v to 5 s, the ledger says %+v", off, gaps)
	}
	s.checkNothing(t, "WEBCAM", off.answered, 5*second)
	s.checkEveryPicture(t, m, "WEBCAM", 0, length-most)
	s.checkEveryPicture(t, m, "SCREEN", 0, length-most)
	s.checkOtherGaps(t, "MUTED WEBCAM")
}

// TestScreenShareRestarted: the share is stopped and started again, as a new producer and with another codec.
func TestScreenShareRestarted(t *testing.T) {
	t.Parallel()
	for name, codec := range map[string]synth.Codec{"same codec": synth.VP8, "another codec": synth.H264} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const length = 8 * second
			before, after := madeScreen, madeScreen
			before.Stretches, after.Stretches = synth.Steady(0, 4*second), synth.Steady(5*second, length)
			after.SSRC, after.Codec = 0x51000002, codec
			m := changing(length, "screen", before, after)
			c := theSite(t).startMade(t, m, player.StartInput{}, nil)
			c.playMade(m)
			s := c.finishMade(m)
			s.checkEveryPicture(t, m, "SCREEN", 0, length-most)
			s.checkEveryPicture(t, m, "WEBCAM", 0, length-most)
			s.checkOtherGaps(t, "MUTED SCREEN")
			if got := s.v.track("SCREEN").Codec; got != string(codec) {
				t.Errorf("the API says %s after the change to %s", got, codec)
			}
		})
	}
}

// TestSizeChanges: a webcam changes its size ten times, on one SSRC and with a number missing at each switch of layers. No
// picture is lost by it.
func TestSizeChanges(t *testing.T) {
	t.Parallel()
	for _, codec := range []synth.Codec{synth.VP8, synth.H264} {
		t.Run(string(codec), func(t *testing.T) {
			t.Parallel()
			const length, each = 9 * second, 800 * time.Millisecond
			webcam := madeWebcam
			webcam.Codec = codec
			webcam.Stretches = nil
			for i := range 11 {
				st := synth.Stretch{From: time.Duration(i) * each, To: min(time.Duration(i+1)*each, length), Width: 320, Height: 180, Skip: 1}
				if i%2 == 1 {
					st.Width, st.Height = 640, 360
				}
				webcam.Stretches = append(webcam.Stretches, st)
			}
			m := changing(length, "webcam", webcam)
			c := theSite(t).startMade(t, m, player.StartInput{}, nil)
			c.playMade(m)
			s := c.finishMade(m)
			s.checkEveryPicture(t, m, "WEBCAM", 0, length-most)
			s.checkEveryPicture(t, m, "SCREEN", 0, length-most)
			s.checkOtherGaps(t, "LOST WEBCAM") // the numbers that were never there
		})
	}
}

// TestSourceBeginsAnew: sequence numbers and timestamps jump on the same SSRC, as when a source is restarted behind an SFU.
// Nothing is lost, and time goes on.
func TestSourceBeginsAnew(t *testing.T) {
	t.Parallel()
	const length = 9 * second
	webcam := madeWebcam
	webcam.Stretches = []synth.Stretch{{To: 4 * second, Width: 320, Height: 180}, {From: 4 * second, To: length, Width: 320, Height: 180, Anew: true}}
	m := changing(length, "webcam", webcam)
	c := theSite(t).startMade(t, m, player.StartInput{}, nil)
	c.playMade(m)
	s := c.finishMade(m)
	s.checkEveryPicture(t, m, "WEBCAM", 0, length-most)
	s.checkOtherGaps(t)
}

// TestLateTrack: a webcam that comes three seconds after the call is missing until then.
func TestLateTrack(t *testing.T) {
	t.Parallel()
	const length = 8 * second
	webcam := madeWebcam
	webcam.Stretches = synth.Steady(3*second, length)
	m := changing(length, "webcam", webcam)
	c := theSite(t).startMade(t, m, player.StartInput{}, nil)
	c.playMade(m)
	s := c.finishMade(m)
	s.checkGap(t, "MISSING", "WEBCAM", 0, 3*second)
	s.checkNothing(t, "WEBCAM", 0, 3*second)
	s.checkEveryPicture(t, m, "WEBCAM", 3*second, length-most)
	s.checkOtherGaps(t, "MISSING WEBCAM")
}

// TestMissingTrack: a webcam that was expected and never came makes the recording PARTIAL; the rest is whole.
func TestMissingTrack(t *testing.T) {
	t.Parallel()
	const length = 6 * second
	m := dual(length, player.RepairNone)
	m.videos = m.videos[:1]
	c := theSite(t).startMade(t, m, player.StartInput{Tracks: []string{"SCREEN", "WEBCAM", "AGENT_AUDIO"}}, nil)
	c.playMade(m)
	c.stop()
	v := c.site.await(t, c.started.ID, "PARTIAL")
	s := c.watch(m, v, c.site.fetch(t, c.started.ID))
	s.checkLength(t, length, c.late)
	s.checkTruth(t, m)
	s.checkSkew(t, m)
	s.checkGap(t, "MISSING", "WEBCAM", 0, length)
	s.checkEveryPicture(t, m, "SCREEN", 0, length-most)
	s.checkOtherGaps(t, "MISSING WEBCAM")
}

// TestSilentSpeaker: with DTX the microphone sends nearly nothing for seconds. That is no gap, and the sound stays in time.
func TestSilentSpeaker(t *testing.T) {
	t.Parallel()
	const length = 10 * second
	m := dual(length, player.RepairNone)
	m.sound.Quiet = []synth.Span{{From: 1900 * time.Millisecond, To: 6500 * time.Millisecond}}
	c := theSite(t).startMade(t, m, player.StartInput{}, nil)
	c.playMade(m)
	s := c.finishMade(m)
	s.checkOtherGaps(t)
	if len(s.beeps) != 3 {
		t.Errorf("tones at %.2f s, want those of 1, 7 and 9 s", s.beeps)
	}
}

// TestKeyframeIsAskedFor: nothing can be shown after a loss until a keyframe comes, and none comes unless it is asked for.
// The recorder asks soon, and not again and again.
func TestKeyframeIsAskedFor(t *testing.T) {
	t.Parallel()
	const length = 9 * second
	m := dual(length, player.RepairNone)
	webcam := m.videos[1]
	webcam.KeyEvery = 0
	m.videos[1] = webcam
	live, err := synth.NewLive(t.Context(), webcam, 200*time.Millisecond, encoded(t, m.videos[0], m.videos[0].Track), encoded(t, *m.sound, m.sound.Track))
	if err != nil {
		t.Fatal(err)
	}
	outage := player.Outages{{3 * second, 3200 * time.Millisecond}}
	c := theSite(t).startLive(t, live, over(outage, length))
	heard := uint64(0)
	sender := c.senderOf("WEBCAM")
	c.playTimeline(live.Timeline(func() bool {
		before := heard
		heard = sender.Received().PLI
		return heard > before
	}), func(p player.Scheduled) { c.senders[p.Track].Send(p.Packet) })
	s := c.finishMade(m)
	c.checkLost(s.v, "WEBCAM")
	frozen := s.v.gaps("FROZEN", "WEBCAM")
	if len(frozen) != 1 || frozen[0].ToMs-frozen[0].FromMs > 2000 {
		t.Errorf("after the outage the picture should stand still once and for two seconds at most: %+v", frozen)
	}
	if asked := sender.Received().PLI; asked < 1 || asked > 3 {
		t.Errorf("%d keyframes were asked for", asked)
	}
}

// TestLayoutIsChanged: the pictures are laid out anew twice in one call, on the canvas that it began with.
func TestLayoutIsChanged(t *testing.T) {
	t.Parallel()
	const length, first, then = 9 * second, 3 * second, 6 * second
	m := dual(length, player.RepairNone)
	c := theSite(t).startMade(t, m, player.StartInput{}, nil)
	var alone, corner moment
	began := time.Now()
	c.playMade(m, during{first, c.command(began, "setLayout", input{"layout": "SCREEN_ONLY"}, &alone)},
		during{then, c.command(began, "setLayout", input{"layout": "PICTURE_IN_PICTURE"}, &corner)})
	v, path := c.finish()
	places := map[string]mediacheck.Rect{"SCREEN": {X: 800, Y: 450, W: madeW, H: madeH}, "WEBCAM": {X: 1416, Y: 786, W: 480, H: 270}}
	beside := c.watch(m, v, path)
	beside.checkLength(t, length, c.late)
	beside.checkOtherGaps(t)
	after := watch(t, m.videos, v, path, places)
	start, end := moment{}, moment{length, length}
	beside.checkOnly(t, m, "SCREEN", start, alone)
	beside.checkOnly(t, m, "WEBCAM", start, alone)
	after.checkOnly(t, m, "SCREEN", alone, end)
	after.checkOnly(t, m, "WEBCAM", corner, end)
}

// checkOnly: the picture that is due is shown from one moment to another, and none before and after.
func (s shown) checkOnly(t *testing.T, m made, kind string, from, to moment) {
	t.Helper()
	wrong := 0
	for frame, n := range s.number[kind] {
		at := time.Duration(frame) * second / 30
		video, on := m.at(kind, at)
		if !on {
			continue
		}
		period := second / time.Duration(video.FPS)
		off := time.Duration(n)*period - at
		good := n != synth.NoNumber && off < inTime && off > -period-inTime
		switch {
		case from.around(at) || to.around(at):
		case from.answered < at && at < to.asked && !good, (at < from.asked || at > to.answered) && n != synth.NoNumber:
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%s: %d frames do not show it from %+v to %+v alone", kind, wrong, from, to)
	}
}

// stalled is a call whose webcam stands still for a while in the middle, and goes on with its old timestamps. The silence is
// in the ledger, and afterwards picture and sound are together.
func stalled(t *testing.T, still, length time.Duration) {
	t.Helper()
	const from = 3 * second
	webcam := madeWebcam
	webcam.Stretches = []synth.Stretch{{To: from, Width: madeW, Height: madeH}, {From: from + still, To: length, Width: madeW, Height: madeH, Stalled: still}}
	m := changing(length, "webcam", webcam)
	c := theSite(t).startMade(t, m, player.StartInput{}, nil)
	c.playMade(m)
	s := c.finishMade(m)
	s.checkGap(t, "STALLED", "WEBCAM", from, from+still)
	s.checkEveryPicture(t, m, "WEBCAM", 0, length-most)
	s.checkEveryPicture(t, m, "SCREEN", 0, length-most)
	s.checkOtherGaps(t, "STALLED WEBCAM")
}

func TestSenderStalls(t *testing.T) {
	t.Parallel()
	stalled(t, 6*second, 13*second)
}

func TestSenderStallsForLong(t *testing.T) {
	if !long {
		t.Skip("half a minute: set DUALREC_LONG=1, or run make test-long")
	}
	t.Parallel()
	stalled(t, 18*second, 30*second)
}

// TestClocksDrift: for ten minutes the camera's clock is 200 ppm too fast and the microphone's as much too slow. That would
// be 240 ms between them at the end, and is not seen.
func TestClocksDrift(t *testing.T) {
	if !long {
		t.Skip("ten minutes: set DUALREC_LONG=1, or run make test-long")
	}
	t.Parallel()
	const length = 10 * 60 * second
	m := dual(length, player.RepairNACK)
	m.videos[1].PPM, m.sound.PPM = 200, -200
	c := theSite(t).startMade(t, m, player.StartInput{}, nil)
	c.playMade(m)
	s := c.finishMade(m)
	s.checkOtherGaps(t)
	s.checkEveryPicture(t, m, "SCREEN", 0, length-most)
}
