package integration_test

import (
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// faulty is a line whose faults begin half a second after the call and end before it: what is missing at the very end
// cannot be repaired any more, and what is missing at the very beginning was never there.
type faulty struct {
	player.Line
	until time.Duration
}

func (f faulty) Media(p player.Passing) player.Fate {
	if p.At < 500*time.Millisecond || p.At >= f.until {
		return player.Fate{}
	}
	return f.Line.Media(p)
}

func over(l player.Line, length time.Duration) func(string) player.Line {
	return func(string) player.Line { return faulty{l, length - second} }
}

var madeKinds = []string{"SCREEN", "WEBCAM", "AGENT_AUDIO"}

// TestLossWithoutRepair: what is lost and was not to be had again is in the ledger packet by packet; the picture stands
// still until the next keyframe and is never broken.
func TestLossWithoutRepair(t *testing.T) {
	t.Parallel()
	for name, loss := range map[string]float64{"1 percent": 0.01, "5 percent": 0.05, "10 percent": 0.1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const length = 10 * second
			m := dual(length, player.RepairNone)
			c := theSite(t).startMade(t, m, player.StartInput{}, over(player.Random{Seed: 4, Loss: loss}, length))
			c.playMade(m)
			s := c.finishMade(m)
			for _, kind := range madeKinds {
				if c.checkLost(s.v, kind) == 0 {
					t.Errorf("%s: nothing was lost", kind)
				}
				if n := c.senderOf(kind).Received().NACK; n > 0 {
					t.Errorf("%s: %d NACKs although they were not negotiated", kind, n)
				}
			}
		})
	}
}

// TestDisorder: packets that come twice, in another order or late are put right; nothing is missing and the ledger is
// silent.
func TestDisorder(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]player.Random{
		"doubled":   {Seed: 5, Duplicate: 0.1},
		"reordered": {Seed: 6, Reorder: 0.1},
		"delayed":   {Seed: 7, Delay: 60 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const length = 8 * second
			m := dual(length, player.RepairNone)
			c := theSite(t).startMade(t, m, player.StartInput{}, over(line, length))
			c.playMade(m)
			s := c.finishMade(m)
			for _, kind := range madeKinds {
				stats := s.v.track(kind).Stats
				sent := c.senderOf(kind).Sent().RTP
				doubled := uint64(stats.Duplicates)
				if uint64(stats.Packets) != sent || stats.Lost != 0 || sent-doubled != uint64(len(c.senderOf(kind).History())) {
					t.Errorf("%s: %d packets were sent, some of them twice: counted %+v", kind, sent, stats)
				}
				if line.Reorder > 0 && stats.Reordered == 0 || line.Duplicate > 0 && doubled == 0 {
					t.Errorf("%s: nothing was in disorder: %+v", kind, stats)
				}
			}
			for _, g := range s.v.Gaps {
				if g.Kind != "REPAIRED" {
					t.Errorf("a gap although everything came: %+v", g)
				}
			}
			for _, kind := range []string{"SCREEN", "WEBCAM"} {
				s.checkEveryPicture(t, m, kind, 0, length-200*time.Millisecond)
			}
		})
	}
}

// TestBurst: for 200 ms nothing comes through at all, twice.
func TestBurst(t *testing.T) {
	t.Parallel()
	const length = 9 * second
	m := dual(length, player.RepairNone)
	bursts := player.Outages{{2500 * time.Millisecond, 2700 * time.Millisecond}, {5 * second, 5200 * time.Millisecond}}
	c := theSite(t).startMade(t, m, player.StartInput{}, over(bursts, length))
	c.playMade(m)
	s := c.finishMade(m)
	for _, kind := range madeKinds {
		c.checkLost(s.v, kind)
		if n := len(s.v.gaps("LOST", kind)); n != 2 {
			t.Errorf("%s: two bursts are %d gaps: %+v", kind, n, s.v.gaps("LOST", kind))
		}
	}
}
