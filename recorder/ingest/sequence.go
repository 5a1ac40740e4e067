package ingest

import "time"

// Bounds of RFC 3550 appendix A.1, wider on the late side: a repaired packet of mediasoup can be two seconds old.
const (
	maxDropout  = 3000
	maxMisorder = 1000
	window      = 4096 // sequence numbers remembered; a power of two above maxMisorder
	maxHoles    = 128  // stretches of missing packets watched at once
)

// arrival says what a packet's sequence number means.
type arrival uint8

const (
	inOrder   arrival = iota
	afterHole         // packets before it are missing, so far
	late              // it was missing
	duplicate         // it was there before
	stray             // far from all others: one packet gone astray, or the first one after a restart
	restarted         // the second one in a row after such a jump: the source began anew
)

// hole is a stretch of missing sequence numbers.
type hole struct {
	from, to int64 // extended, both missing
	since    time.Time
}

// sequence follows the sequence numbers and the jitter of one SSRC (RFC 3550 A.1, A.8).
type sequence struct {
	started bool
	first   int64 // extended; what lies before it is not missed
	highest int64
	suspect int64 // the packet expected to confirm a restart, -1 for none
	seen    [window / 64]uint64
	holes   []hole

	clockRate int
	transit   int64 // of the last packet, in clock ticks
	timed     bool
	jitter    float64 // in clock ticks
	zero      time.Time
}

func newSequence(clockRate int) *sequence {
	return &sequence{clockRate: clockRate, suspect: -1}
}

// observe takes one packet. ext is its extended number, lost the change in the count of missing packets.
func (s *sequence) observe(seq uint16, at time.Time) (kind arrival, ext int64, lost int64) {
	if !s.started {
		s.begin(seq)
		return inOrder, s.highest, 0
	}
	ahead := seq - uint16(s.highest) // modulo 2^16
	switch {
	case ahead == 0:
		return duplicate, s.highest, 0
	case ahead < maxDropout:
		return s.advance(int64(ahead), at)
	case ahead > 1<<16-maxMisorder:
		return s.fill(s.highest - int64(-ahead))
	}
	if int64(seq) == s.suspect {
		s.begin(seq)
		return restarted, s.highest, 0
	}
	s.suspect = int64(seq + 1)
	return stray, 0, 0
}

// begin starts counting at seq. One cycle is added so that packets before it have positive numbers.
func (s *sequence) begin(seq uint16) {
	first := int64(seq) + 1<<16
	*s = sequence{started: true, first: first, highest: first, suspect: -1, clockRate: s.clockRate, holes: s.holes[:0]}
	s.mark(first, true)
}

func (s *sequence) advance(ahead int64, at time.Time) (arrival, int64, int64) {
	before := s.highest
	s.highest += ahead
	s.suspect = -1
	for n := before + 1; n < s.highest; n++ {
		s.mark(n, false)
	}
	s.mark(s.highest, true)
	s.forget()
	if ahead == 1 {
		return inOrder, s.highest, 0
	}
	if len(s.holes) == maxHoles {
		// The two oldest become one: they are the closest to being given up.
		s.holes[1].from, s.holes[1].since = s.holes[0].from, s.holes[0].since
		s.holes = append(s.holes[:0], s.holes[1:]...)
	}
	s.holes = append(s.holes, hole{from: before + 1, to: s.highest - 1, since: at})
	return afterHole, s.highest, ahead - 1
}

func (s *sequence) fill(ext int64) (arrival, int64, int64) {
	if s.marked(ext) {
		return duplicate, ext, 0
	}
	s.mark(ext, true)
	if ext < s.first {
		return late, ext, 0
	}
	s.shrink(ext)
	return late, ext, -1
}

// shrink takes one number out of the hole that it is in.
func (s *sequence) shrink(ext int64) {
	for i := range s.holes {
		h := &s.holes[i]
		if ext < h.from || ext > h.to {
			continue
		}
		for h.from <= h.to && s.marked(h.from) {
			h.from++
		}
		for h.to >= h.from && s.marked(h.to) {
			h.to--
		}
		if h.from > h.to {
			s.holes = append(s.holes[:i], s.holes[i+1:]...)
		}
		return
	}
}

// forget drops holes that are beyond late repair, in whole, so that the list stays short. Their packets stay counted
// as lost.
func (s *sequence) forget() {
	limit := s.highest - window + 1
	n := 0
	for n < len(s.holes) && s.holes[n].to < limit {
		n++
	}
	if n > 0 {
		s.holes = append(s.holes[:0], s.holes[n:]...)
	}
	if len(s.holes) > 0 && s.holes[0].from < limit {
		s.holes[0].from = limit
	}
}

// settle forgets what is missing before ext: a keyframe that begins there needs none of it.
func (s *sequence) settle(ext int64) {
	n := 0
	for n < len(s.holes) && s.holes[n].to < ext {
		n++
	}
	s.holes = append(s.holes[:0], s.holes[n:]...)
}

// missingSince says since when the oldest missing packet has been missing; zero: nothing is.
func (s *sequence) missingSince() time.Time {
	if len(s.holes) == 0 {
		return time.Time{}
	}
	return s.holes[0].since
}

func (s *sequence) mark(ext int64, here bool) {
	i := uint64(ext) % window
	if here {
		s.seen[i/64] |= 1 << (i % 64)
	} else {
		s.seen[i/64] &^= 1 << (i % 64)
	}
}

func (s *sequence) marked(ext int64) bool {
	i := uint64(ext) % window
	return s.seen[i/64]&(1<<(i%64)) != 0
}

// time updates the interarrival jitter (RFC 3550 A.8).
func (s *sequence) time(timestamp uint32, at time.Time) {
	if !s.timed {
		s.zero = at
	}
	arrived := int64(at.Sub(s.zero)) / int64(time.Microsecond) * int64(s.clockRate) / 1_000_000
	transit := arrived - int64(timestamp)
	if s.timed {
		d := int64(int32(transit - s.transit)) // timestamps wrap
		if d < 0 {
			d = -d
		}
		s.jitter += (float64(d) - s.jitter) / 16
	}
	s.transit, s.timed = transit, true
}

func (s *sequence) jitterMs() float64 { return s.jitter * 1000 / float64(s.clockRate) }
