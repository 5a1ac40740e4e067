package integration_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// holding are the packets of a track that were sent within a pause, with a margin for the commands' way.
func (p pause) holding(history []player.Passed) (seqs []uint16) {
	for _, h := range history {
		if p.on <= h.At && h.At < p.off {
			seqs = append(seqs, h.Seq)
		}
	}
	return seqs
}

// pausing pauses and resumes a call while it is played.
type pausing struct {
	c     *call
	began time.Time
	mu    sync.Mutex
	done  []pause
}

func (p *pausing) pause() error {
	asked := time.Since(p.began)
	got, err := p.c.site.do(p.c.t.Context(), p.c.site.service, "pauseRecording", input{"recordingId": p.c.started.ID, "reason": "PAYMENT"})
	if err == nil && got.Recording.Capture != "PAUSED" {
		err = fmt.Errorf("after the pause the recording is %s", got.Recording.Capture)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = append(p.done, pause{asked: asked, on: time.Since(p.began)})
	return err
}

// resume also sends everything of the pause once more afterwards, as a late repair.
func (p *pausing) resume() error {
	p.mu.Lock()
	n := len(p.done) - 1
	p.done[n].off = time.Since(p.began)
	one := p.done[n]
	p.mu.Unlock()
	_, err := p.c.site.do(p.c.t.Context(), p.c.site.service, "resumeRecording", input{"recordingId": p.c.started.ID})
	for _, s := range p.c.senders {
		s.Again(one.holding(s.History())...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[n].lifted = time.Since(p.began)
	return err
}

// TestShortPauses: what is captured in a pause, even one of 0.3 s, is never seen or heard, however late and by whichever way
// its packets come; none of them is asked for; and there is a card meanwhile.
func TestShortPauses(t *testing.T) {
	t.Parallel()
	for _, repair := range []player.Repair{player.RepairNACK, player.RepairRTX} {
		t.Run(string(repair), func(t *testing.T) {
			t.Parallel()
			const length = 10 * second
			m := dual(length, repair)
			c := theSite(t).startMade(t, m, player.StartInput{}, over(player.Random{Seed: 8, Loss: 0.03}, length))
			p := &pausing{c: c, began: time.Now()}
			c.playMade(m,
				during{2700 * time.Millisecond, p.pause}, during{3 * second, p.resume},
				during{5600 * time.Millisecond, p.pause}, during{6700 * time.Millisecond, p.resume})
			s := c.finishMade(m)
			for _, pause := range p.done {
				s.checkPaused(t, c, m, pause)
			}
			for _, kind := range madeKinds {
				c.checkRepaired(s.v, kind, p.done...)
			}
		})
	}
}

func (s shown) checkPaused(t *testing.T, c *call, m made, p pause) {
	t.Helper()
	for kind, numbers := range s.number {
		video, _ := m.at(kind, p.on)
		// A picture that was captured before the first keyframe after the pause cannot be decoded without what was in the pause.
		next := (p.off + video.KeyEvery - 1).Truncate(video.KeyEvery)
		first, end := video.Numbers(p.on, next)
		for frame, n := range numbers {
			if n >= first && n < end {
				t.Errorf("%s: frame %d shows picture %d, which was captured in the pause from %v to %v or needs it", kind, frame, n, p.on, p.off)
				break
			}
		}
		s.checkNothing(t, kind, p.on-gapsSlack+34*time.Millisecond, p.off+gapsSlack-34*time.Millisecond)
	}
	for _, kind := range madeKinds {
		sender := c.senderOf(kind)
		secret := p.holding(sender.History())
		asked := map[uint16]int{}
		for _, a := range sender.Asked() {
			for _, seq := range a.Seqs {
				if slices.Contains(secret, seq) {
					asked[seq]++
				}
			}
		}
		if len(asked) > 0 {
			t.Errorf("%s: packets of the pause from %v to %v were asked for: %v", kind, p.on, p.off, asked)
		}
		if !slices.ContainsFunc(s.v.gaps("PAUSED", kind), func(g gap) bool {
			return (g.from()-p.on).Abs() < 2*gapsSlack && (g.to()-p.off).Abs() < 2*gapsSlack
		}) {
			t.Errorf("%s: the ledger does not tell of the pause from %v to %v: %+v", kind, p.on, p.off, s.v.Gaps)
		}
	}
	sound, err := mediacheck.Sound(t.Context(), s.path)
	if err != nil {
		t.Fatal(err)
	}
	loudest := 0.0
	for _, v := range sound[int((p.on+60*time.Millisecond).Seconds()*48000):int((p.off-60*time.Millisecond).Seconds()*48000)] {
		loudest = max(loudest, math.Abs(v))
	}
	if loudest > 0.002 {
		t.Errorf("a sample of %.4f in the pause from %v to %v", loudest, p.on, p.off)
	}
}
