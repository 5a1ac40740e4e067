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

// TestLossWithRepair: what is lost is asked for and comes again, as it was or by RTX, also while wishes and repairs are lost
// themselves. Nearly every picture is there, and the ledger tells of every packet that needed it.
func TestLossWithRepair(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		repair player.Repair
		line   player.Line
	}{
		{"1 percent, plain", player.RepairNACK, player.Random{Seed: 11, Loss: 0.01}},
		{"5 percent, plain", player.RepairNACK, player.Random{Seed: 12, Loss: 0.05}},
		{"5 percent, RTX", player.RepairRTX, player.Random{Seed: 13, Loss: 0.05}},
		{"10 percent, RTX", player.RepairRTX, player.Random{Seed: 14, Loss: 0.1}},
		{"5 percent in disorder, RTX", player.RepairRTX, player.Random{Seed: 15, Loss: 0.05, Duplicate: 0.05, Reorder: 0.05, Delay: 30 * time.Millisecond}},
		{"bursts, plain", player.RepairNACK, player.Outages{{2500 * time.Millisecond, 2700 * time.Millisecond}, {5 * second, 5200 * time.Millisecond}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const length = 10 * second
			m := dual(length, test.repair)
			c := theSite(t).startMade(t, m, player.StartInput{}, over(test.line, length))
			c.playMade(m)
			s := c.finishMade(m)
			for _, kind := range madeKinds {
				c.checkLost(s.v, kind)
				if r, ok := test.line.(player.Random); ok && r.Reorder > 0 {
					continue // a packet that comes very late by itself counts as repaired
				}
				if c.checkRepaired(s.v, kind) == 0 {
					t.Errorf("%s: nothing had to be repaired", kind)
				}
			}
			seen, all := 0, 0
			for _, kind := range []string{"SCREEN", "WEBCAM"} {
				n, of := s.distinct(m, kind, 0, length-most)
				seen, all = seen+n, all+of
			}
			if float64(seen) < 0.999*float64(all) {
				t.Errorf("%d of %d pictures are shown", seen, all)
			}
		})
	}
}
