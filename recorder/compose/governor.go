package compose

import (
	"math"
	"sync"
)

const (
	maxQP = 51
	// maxGoverned bounds the recordings that are remembered; beyond it the one longest unused is forgotten.
	maxGoverned = 4096
	// burst is how far a segment may exceed the cap out of what earlier ones left.
	burst = 3.0
	// shortest counts a short segment for so many seconds, or its one keyframe would never fit.
	shortest = 5.0
)

// governor keeps the average rate of each recording below its cap by choosing the quantizer of the next segment. What a
// recording has not used of its rate so far, a later segment may use; the average never exceeds the cap, but for
// segments of less than five seconds and for what even the coarsest quantizer can't reduce.
// It forgets everything with the process, which only means that nothing is left over.
type governor struct {
	base int // quantizer while there is room
	mu   sync.Mutex
	by   map[string]*governed
	tick int64
}

// governed is what is known of one recording.
type governed struct {
	qp      int
	seconds float64 // rendered
	bytes   int64
	used    int64 // tick of the last use
}

func newGovernor(base int) *governor { return &governor{base: base, by: map[string]*governed{}} }

// next returns the quantizer of a segment and the bytes it may have; 0 bytes mean that there is nothing coarser to try.
func (g *governor) next(recording string, maxKbps int, seconds float64) (qp int, limit int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.get(recording)
	if r.qp >= maxQP {
		return maxQP, 0
	}
	perSecond := float64(maxKbps) * 1000 / 8
	share := perSecond * max(seconds, shortest)
	left := perSecond*r.seconds - float64(r.bytes)
	return r.qp, int64(min(share+left, share*burst, math.MaxInt32))
}

// exceeded makes the quantizer coarser after a segment was given up at kbps. Six steps halve the rate.
func (g *governor) exceeded(recording string, maxKbps int, kbps float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.get(recording)
	r.qp = min(maxQP, r.qp+max(2, steps(kbps/float64(maxKbps))))
}

// done books a segment and moves the quantizer towards the base or away from it.
func (g *governor) done(recording string, maxKbps int, bytes int64, seconds float64, qp int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.get(recording)
	r.seconds, r.bytes = r.seconds+seconds, r.bytes+bytes
	target := float64(maxKbps) * 0.9 // room for the next segment to be livelier
	last := float64(bytes) * 8 / 1000 / max(seconds, shortest)
	average := float64(r.bytes) * 8 / 1000 / max(r.seconds, shortest)
	switch {
	case average > target && last > target:
		r.qp = min(maxQP, max(r.qp, qp)+max(1, steps(last/target)))
	case last < 0.7*target || average < 0.7*target:
		r.qp = max(g.base, min(r.qp, qp)-1)
	}
}

// steps is the change of the quantizer that divides a rate by ratio.
func steps(ratio float64) int { return int(math.Ceil(6 * math.Log2(ratio))) }

func (g *governor) get(recording string) *governed {
	g.tick++
	r, ok := g.by[recording]
	if !ok {
		if len(g.by) >= maxGoverned {
			g.forgetOldest()
		}
		r = &governed{qp: g.base}
		g.by[recording] = r
	}
	r.used = g.tick
	return r
}

func (g *governor) forgetOldest() {
	oldest, at := "", int64(math.MaxInt64)
	for id, r := range g.by {
		if r.used < at {
			oldest, at = id, r.used
		}
	}
	delete(g.by, oldest)
}
