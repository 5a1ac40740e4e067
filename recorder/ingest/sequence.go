package ingest

import (
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Bounds of RFC 3550 appendix A.1, as wide on the late side: a repaired packet of mediasoup can be two seconds old.
const (
	maxDropout  = 3000
	maxMisorder = 3000
	window      = 4096 // sequence numbers remembered; a power of two above maxMisorder
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

// sequence follows the sequence numbers and the jitter of one SSRC (RFC 3550 A.1, A.8).
type sequence struct {
	started bool
	first   int64 // extended; what lies before it is not missed
	highest int64
	suspect int64 // the packet expected to confirm a restart, -1 for none
	seen    [window / 64]uint64
	newest  time.Time // arrival of the highest

	clockRate int
	transit   int64 // of the last packet, in clock ticks
	timed     bool
	jitter    float64 // in clock ticks
	zero      time.Time
}

func newSequence(clockRate int) *sequence {
	return &sequence{clockRate: clockRate, suspect: -1}
}

// resume begins behind a packet that came earlier: what is missing between it and the next one observed is missing here,
// as far as it can still be asked for. That is what was sent within the horizon before the next packet, newest first.
// What is older, or of another source, is none of this stream's losses.
func (s *sequence) resume(was recorder.Spooled, seq uint16, timestamp uint32, at time.Time, horizon time.Duration) {
	elapsed := at.Sub(was.At)
	ticks := int64(int32(timestamp - was.RTP - uint32(int64(elapsed/time.Microsecond)*int64(s.clockRate)/1_000_000)))
	if off := time.Duration(ticks) * time.Second / time.Duration(s.clockRate); elapsed < 0 || off.Abs() > sameSource {
		return // begin at the next packet
	}
	ahead := int64(seq - was.Seq)
	if ahead > 1<<16-maxMisorder && elapsed < sameSource {
		s.begin(was.Seq, was.At) // it has overtaken
		return
	}
	missing := max(ahead-1, 0)
	if elapsed > horizon {
		missing = missing * int64(horizon/time.Millisecond) / int64(elapsed/time.Millisecond)
	}
	if missing = min(missing, maxMissing); missing > 0 {
		s.begin(seq-uint16(missing)-1, at.Add(-elapsed*time.Duration(missing+1)/time.Duration(ahead)))
	}
}

// sameSource is how far a timestamp may lie off the time that has passed: a sender's pacer and stalls.
const sameSource = 5 * time.Second

// observe takes one packet. ext is its extended number, lost the change in the count of missing packets.
func (s *sequence) observe(seq uint16, at time.Time) (kind arrival, ext int64, lost int64) {
	if !s.started {
		s.begin(seq, at)
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
		s.begin(seq, at)
		return restarted, s.highest, 0
	}
	s.suspect = int64(seq + 1)
	return stray, 0, 0
}

// begin starts counting at seq. One cycle is added so that packets before it have positive numbers.
func (s *sequence) begin(seq uint16, at time.Time) {
	first := int64(seq) + 1<<16
	*s = sequence{started: true, first: first, highest: first, newest: at, suspect: -1, clockRate: s.clockRate}
	s.mark(first, true)
}

func (s *sequence) advance(ahead int64, at time.Time) (arrival, int64, int64) {
	before := s.highest
	s.highest += ahead
	s.newest = at
	s.suspect = -1
	for n := before + 1; n < s.highest; n++ {
		s.mark(n, false)
	}
	s.mark(s.highest, true)
	if ahead == 1 {
		return inOrder, s.highest, 0
	}
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
	return late, ext, -1
}

// lacks tells whether the packet with this number is missing.
func (s *sequence) lacks(seq uint16) bool {
	behind := int64(uint16(s.highest) - seq) // modulo 2^16
	ext := s.highest - behind
	return s.started && behind < maxMisorder && ext >= s.first && !s.marked(ext)
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
