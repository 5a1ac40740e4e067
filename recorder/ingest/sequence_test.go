package ingest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestSequence(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		seqs  []uint16
		kinds []arrival
		lost  int64
	}{
		{"in order over the wrap", []uint16{65534, 65535, 0, 1}, []arrival{inOrder, inOrder, inOrder, inOrder}, 0},
		{"duplicate of the newest", []uint16{5, 5}, []arrival{inOrder, duplicate}, 0},
		{"duplicate of an older one", []uint16{5, 6, 7, 6}, []arrival{inOrder, inOrder, inOrder, duplicate}, 0},
		{"two lost", []uint16{5, 8}, []arrival{inOrder, afterHole}, 2},
		{"lost over the wrap", []uint16{65535, 2}, []arrival{inOrder, afterHole}, 2},
		{"reordered", []uint16{5, 7, 6, 8}, []arrival{inOrder, afterHole, late, inOrder}, 0},
		{"a hole filled from its middle", []uint16{5, 9, 7}, []arrival{inOrder, afterHole, late}, 2},
		{"a hole filled whole", []uint16{5, 9, 7, 6, 8}, []arrival{inOrder, afterHole, late, late, late}, 0},
		{"filled twice", []uint16{5, 7, 6, 6}, []arrival{inOrder, afterHole, late, duplicate}, 0},
		{"before the first", []uint16{5, 4, 4, 6}, []arrival{inOrder, late, duplicate, inOrder}, 0},
		{"one gone astray", []uint16{5, 40000, 6}, []arrival{inOrder, stray, inOrder}, 0},
		{"restarted", []uint16{5, 40000, 40001, 40002}, []arrival{inOrder, stray, restarted, inOrder}, 0},
		{"two strays are no restart", []uint16{5, 40000, 6, 40001}, []arrival{inOrder, stray, inOrder, stray}, 0},
		{"restart backwards", []uint16{40000, 5, 6, 7}, []arrival{inOrder, stray, restarted, inOrder}, 0},
		{"largest jump that counts as loss", []uint16{0, maxDropout - 1}, []arrival{inOrder, afterHole}, maxDropout - 2},
		{"first jump that does not", []uint16{0, maxDropout}, []arrival{inOrder, stray}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSequence(90000)
			lost := int64(0)
			for i, q := range tc.seqs {
				kind, _, d := s.observe(q, ms(i))
				if kind != tc.kinds[i] {
					t.Errorf("packet %d (%d): %v, want %v", i, q, kind, tc.kinds[i])
				}
				lost += d
			}
			if lost != tc.lost {
				t.Errorf("%d lost, want %d", lost, tc.lost)
			}
		})
	}
}

// TestSequenceCounts sends a stream through loss, duplication and bounded reordering and counts by hand.
func TestSequenceCounts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 3))
			const n, base = 30000, 65000
			order := disorder(rnd, n)
			s := newSequence(90000)
			seen := map[int]bool{}
			highest, lost := 0, int64(0)
			for _, i := range order {
				kind, ext, d := s.observe(uint16(base+i), ms(i))
				lost += d
				switch want := seen[i]; {
				case want != (kind == duplicate):
					t.Fatalf("packet %d: %v, was there before: %v", i, kind, want)
				case ext != int64(base+i)+1<<16:
					t.Fatalf("packet %d: extended number %d, want %d", i, ext, int64(base+i)+1<<16)
				case i > highest && kind != inOrder && kind != afterHole, i < highest && !want && kind != late:
					t.Fatalf("packet %d after %d: %v", i, highest, kind)
				}
				seen[i] = true
				highest = max(highest, i)
			}
			if want := int64(highest + 1 - len(seen)); lost != want {
				t.Errorf("%d lost, want %d", lost, want)
			}
		})
	}
}

// disorder is 0 … n-1 with some missing, some twice and some up to 300 places late; it begins with 0.
func disorder(rnd *rand.Rand, n int) []int {
	delayed := map[int][]int{}
	order := []int{0}
	for i := 1; i < n; i++ {
		order = append(order, delayed[i]...)
		switch rnd.IntN(20) {
		case 0: // lost
		case 1: // late
			at := i + 1 + rnd.IntN(300)
			delayed[at] = append(delayed[at], i)
		case 2: // twice
			order = append(order, i)
			at := i + 1 + rnd.IntN(300)
			delayed[at] = append(delayed[at], i)
		default:
			order = append(order, i)
		}
	}
	return order
}

func TestJitter(t *testing.T) {
	t.Parallel()
	s := newSequence(90000)
	for i := range 2000 { // the timestamps wrap on the way; arrivals alternate by 10 ms
		s.time(uint32(math.MaxUint32-90000+i*3000), epoch.Add(time.Duration(i)*time.Second/30+time.Duration(i%2)*10*time.Millisecond))
	}
	if got := s.jitterMs(); math.Abs(got-10) > 0.2 {
		t.Errorf("jitter %.2f ms, want 10", got)
	}
}
