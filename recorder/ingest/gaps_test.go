package ingest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// asks plays gaps in steps of 5 ms and tells at which moments (ms) a packet was asked for.
func asks(g *gaps, from, until int) map[int64][]int {
	got := map[int64][]int{}
	for now := from; now < until; now += 5 {
		seqs, _, _ := g.due(ms(now), nil)
		for _, s := range seqs {
			got[s] = append(got[s], now)
		}
	}
	return got
}

func TestGapsAskAgain(t *testing.T) {
	t.Parallel()
	const near = int64(20) // ms
	for _, tc := range []struct {
		name    string
		horizon time.Duration
		rtt     time.Duration
		want    []int
	}{
		{"pictures", videoHorizon, 0, []int{1020, 1130, 1240, 1350, 1495, 1685, 1930}},
		{"sound", audioHorizon, 0, []int{1020, 1130, 1240, 1350, 1495, 1685, 1930}},
		{"a far SFU", videoHorizon, 300 * time.Millisecond, []int{1020, 1405, 1790}},
		{"further than anything", videoHorizon, 9 * time.Second, []int{1020, 1530}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := &gaps{nack: true, horizon: tc.horizon, rtt: tc.rtt}
			g.open(100, 100, ms(990), ms(1000))
			got := asks(g, 1000, 5000)[100]
			if len(got) > maxTries || len(got) < len(tc.want) && tc.horizon == videoHorizon {
				t.Fatalf("%d tries: %v", len(got), got)
			}
			for i, at := range tc.want {
				if i < len(got) && got[i] != at {
					t.Fatalf("asked at %v, want %v first", got, tc.want)
				}
			}
			if last := got[len(got)-1]; ms(last).Sub(ms(995)) > tc.horizon {
				t.Errorf("asked at %d for what the SFU no longer has", last)
			}
			if len(g.missing) != 0 {
				t.Error("still watched")
			}
			for i := 1; i < len(got); i++ {
				if int64(got[i]-got[i-1]) < int64(minRetry/time.Millisecond)+near/4 {
					t.Errorf("asked at %v: too soon for mediasoup", got)
				}
			}
		})
	}
}

func TestGapsWithoutNACKAskForNothing(t *testing.T) {
	t.Parallel()
	g := &gaps{horizon: videoHorizon}
	g.open(100, 120, ms(990), ms(1000))
	if got := asks(g, 1000, 5000); len(got) != 0 {
		t.Errorf("asked for %v", got)
	}
}

func TestGapsLimits(t *testing.T) {
	t.Parallel()
	g := &gaps{nack: true, horizon: videoHorizon}
	g.open(1, maxMissing, ms(0), ms(10)) // as many as may be
	seqs, fresh, next := g.due(ms(100), nil)
	if len(seqs) != maxPerRequest || fresh != maxPerRequest || !next.Equal(ms(30)) {
		t.Errorf("%d asked for at once, %d of them fresh, next at %v", len(seqs), fresh, next)
	}
	if g.damaged(ms(100)) {
		t.Error("a keyframe is asked for while there is hope")
	}
	g.open(2000, 2009, ms(100), ms(110))
	if len(g.missing) != maxMissing || g.missing[0].ext != 11 || !g.damaged(ms(110)) {
		t.Errorf("%d watched from %d on, damaged %v", len(g.missing), g.missing[0].ext, g.damaged(ms(110)))
	}
	g.open(3000, 3000+maxMissing, ms(120), ms(130)) // an outage
	if len(g.missing) != maxMissing || g.lost != 3000+maxMissing {
		t.Errorf("%d watched, %d given up", len(g.missing), g.lost)
	}
	g.settle(g.lost) // a keyframe within the outage
	if !g.damaged(ms(130)) {
		t.Error("a keyframe before the lost packet has settled it")
	}
	g.settle(g.lost + 1)
	if g.damaged(ms(130)) {
		t.Error("a keyframe behind the lost packets has not settled them")
	}
	g.forget()
	if _, _, next := g.due(ms(140), nil); !next.IsZero() || g.damaged(ms(9000)) {
		t.Error("something is left")
	}
}

// TestGapsDamage: when is a keyframe asked for because of a missing packet?
func TestGapsDamage(t *testing.T) {
	t.Parallel()
	at := int(repairPatience / time.Millisecond)
	for _, tc := range []struct {
		name string
		gaps gaps
		then func(*gaps)
		want int // ms after the loss; -1: never
	}{
		{"nothing can be repaired", gaps{horizon: videoHorizon}, nil, 200},
		{"repair fails", gaps{nack: true, horizon: videoHorizon}, nil, at},
		{"the SFU is far away", gaps{nack: true, horizon: videoHorizon, rtt: 250 * time.Millisecond}, nil, 750},
		{"the SFU is on the moon", gaps{nack: true, horizon: videoHorizon, rtt: 2600 * time.Millisecond}, nil, 1000},
		{"repaired", gaps{nack: true, horizon: videoHorizon}, func(g *gaps) { g.close(100, ms(60)); g.close(101, ms(70)) }, -1},
		{"repaired in part", gaps{nack: true, horizon: videoHorizon}, func(g *gaps) { g.close(100, ms(60)) }, at},
		{"a keyframe follows: what a simulcast switch looks like", gaps{nack: true, horizon: videoHorizon}, func(g *gaps) { g.settle(102) }, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := tc.gaps
			g.open(100, 101, ms(0), ms(0))
			if tc.then != nil {
				tc.then(&g)
			}
			got := -1
			for now := 0; now < 4000 && got < 0; now += 10 {
				g.due(ms(now), nil)
				if g.damaged(ms(now)) {
					got = now
				}
			}
			if got != tc.want {
				t.Errorf("damaged after %d ms, want %d", got, tc.want)
			}
		})
	}
}

// TestGapsLearnTheRoundTrip from first tries, unless there is nothing better.
func TestGapsLearnTheRoundTrip(t *testing.T) {
	t.Parallel()
	g := &gaps{nack: true, horizon: videoHorizon}
	g.open(1, 2, ms(0), ms(0))
	g.due(ms(50), nil)
	if !g.close(1, ms(90)) || g.rtt != 40*time.Millisecond {
		t.Errorf("round trip %v, want 40 ms", g.rtt)
	}
	g.due(ms(200), nil)
	if !g.close(2, ms(235)) || g.rtt != 40*time.Millisecond {
		t.Errorf("round trip %v after a second try", g.rtt)
	}
	g.open(3, 3, ms(250), ms(250)) // the way became longer: the answer is one to the first try
	g.due(ms(280), nil)
	g.due(ms(400), nil)
	if !g.close(3, ms(410)) || g.rtt != 40*time.Millisecond+(130-40)*time.Millisecond/8 {
		t.Errorf("round trip %v after an answer that was on its way already", g.rtt)
	}
	g.open(4, 4, ms(300), ms(300))
	if g.close(4, ms(310)) || g.close(4, ms(311)) || g.close(3, ms(312)) {
		t.Error("what nobody asked for was repaired")
	}
}

// TestGapsLearnALongRoundTrip: the answer takes longer than the second try waits.
func TestGapsLearnALongRoundTrip(t *testing.T) {
	t.Parallel()
	g := &gaps{nack: true, horizon: videoHorizon}
	g.open(1, 1, ms(0), ms(0))
	g.due(ms(20), nil)
	g.due(ms(130), nil)
	g.due(ms(240), nil)
	if !g.close(1, ms(320)) || g.rtt != 300*time.Millisecond || g.sure {
		t.Errorf("round trip %v, sure: %v", g.rtt, g.sure)
	}
	g.open(3, 3, ms(1000), ms(1000))
	g.due(ms(1020), nil)
	if seqs, _, _ := g.due(ms(1380), nil); len(seqs) != 0 {
		t.Error("asked again before the answer could be there")
	}
	if !g.close(3, ms(1310)) || g.rtt != 290*time.Millisecond || !g.sure {
		t.Errorf("round trip %v, sure: %v", g.rtt, g.sure)
	}
}

// TestNACKOnTheWire holds our encoding against pion's reading.
func TestNACKOnTheWire(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var seqs []int64
		next := 1<<16 + rnd.Int64N(1<<16)
		for range 1 + rnd.IntN(maxPerRequest) {
			seqs = append(seqs, next)
			next += 1 + rnd.Int64N(1+rnd.Int64N(30))
		}
		raw := appendPLI(appendNACK(nil, 7, testSSRC, seqs), 7, testSSRC)
		if len(raw) > 1200 {
			t.Fatalf("%d bytes do not fit into a datagram", len(raw))
		}
		packets, err := rtcp.Unmarshal(raw)
		if err != nil || len(packets) != 2 {
			t.Fatalf("%v, error %v", packets, err)
		}
		nack, ok := packets[0].(*rtcp.TransportLayerNack)
		if !ok || nack.SenderSSRC != 7 || nack.MediaSSRC != testSSRC {
			t.Fatalf("%+v", packets[0])
		}
		if pli, ok := packets[1].(*rtcp.PictureLossIndication); !ok || pli.SenderSSRC != 7 || pli.MediaSSRC != testSSRC {
			t.Fatalf("%+v", packets[1])
		}
		var got []uint16
		for _, p := range nack.Nacks {
			got = append(got, p.PacketList()...)
		}
		want := make([]uint16, len(seqs))
		for i, s := range seqs {
			want[i] = uint16(s)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("asked for %v, want %v", got, want)
		}
	}
}

// FuzzGaps holds the bookkeeping against a plain model: a set of numbers.
func FuzzGaps(f *testing.F) {
	f.Add([]byte{0, 3, 1, 0, 2, 1, 0, 200, 3, 0, 1, 7})
	f.Add([]byte{0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 3, 20, 3, 200})
	f.Fuzz(func(t *testing.T, script []byte) {
		g := &gaps{nack: true, horizon: videoHorizon}
		tries, sent := map[int64]int{}, map[int64]time.Time{} // what the model watches
		highest, now := int64(1<<16), ms(0)
		for ; len(script) >= 2; script = script[2:] {
			arg := int64(script[1])
			switch script[0] % 4 {
			case 0: // a gap of 1 … 1276 packets
				n := arg*5 + 1
				g.open(highest+1, highest+n, now.Add(-10*time.Millisecond), now)
				if n <= maxMissing {
					for i := range n {
						tries[highest+1+i], sent[highest+1+i] = 0, now.Add(-10*time.Millisecond)
					}
				}
				highest += n + 1
			case 1: // one comes
				ext := highest - arg*3
				was, ok := tries[ext]
				watched := slices.ContainsFunc(g.missing, func(a absentee) bool { return a.ext == ext })
				if g.close(ext, now) != (watched && ok && was > 0) {
					t.Fatalf("%d: repaired is wrong", ext)
				}
				delete(tries, ext)
			case 2:
				g.settle(highest - arg)
			case 3: // time passes
				now = now.Add(time.Duration(arg) * 10 * time.Millisecond)
				seqs, fresh, next := g.due(now, nil)
				if len(seqs) > maxPerRequest || !slices.IsSorted(seqs) {
					t.Fatalf("asked for %v", seqs)
				}
				for _, s := range seqs {
					n, ok := tries[s]
					if !ok || now.Sub(sent[s]) > videoHorizon+10*time.Millisecond || n >= maxTries {
						t.Fatalf("asked for %d, which is missing: %v, asked for %d times, sent at %v, now %v", s, ok, n, sent[s], now)
					}
					if n == 0 {
						fresh--
					}
					tries[s]++
				}
				if fresh != 0 {
					t.Fatalf("fresh ones miscounted by %d", fresh)
				}
				if !next.IsZero() && next.Before(now) && len(seqs) < maxPerRequest {
					t.Fatalf("next at %v, now %v", next, now)
				}
			}
			if len(g.missing) > maxMissing || !slices.IsSortedFunc(g.missing, func(a, b absentee) int { return int(a.ext - b.ext) }) {
				t.Fatalf("%d watched, or out of order", len(g.missing))
			}
			for _, a := range g.missing {
				if _, ok := tries[a.ext]; !ok {
					t.Fatalf("%d is watched and not missing", a.ext)
				}
			}
		}
	})
}
