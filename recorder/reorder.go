package recorder

import "time"

// Limits of the reordering. A gap is waited for as long as mediasoup can still repair it (2 s of video) and a little more.
const (
	// ReorderWait is how long a missing packet is waited for, in arrival time as written in the journal.
	ReorderWait = 2500 * time.Millisecond

	maxReorderPackets = 4096
	maxReorderBytes   = 2 << 20
	maxSeqJump        = 3000             // RFC 3550 A.1 MAX_DROPOUT: a larger step needs a reason
	maxTimeJump       = 30 * time.Second // timestamps may run ahead of arrival by this much before they are another source's
	repairAfter       = 20 * time.Millisecond
	startWait         = 50 * time.Millisecond // the first packet sent need not be the first to arrive
)

// unwrapper turns the 16-bit sequence numbers and 32-bit timestamps of one SSRC into int64 ones that keep the bits of
// the originals (RFC 3550 A.1). A packet that fits neither sequence nor time is held back until a second one follows
// it directly; the two then begin a new source on the same SSRC:
//
//	seq  100 101 102 | 40000 40001 …      102 → 40000 is suspicious, 40001 proves it
//	ext  100 101 102 | 40000 40001 …      flagged restarted, timestamps continue upwards from a new anchor
//
// Time is arrival time of the journal and never the clock of the machine, so that a second reading gives the same result.
type unwrapper struct {
	rate     int64
	started  bool
	seq, rtp int64     // of the newest packet, extended
	at       time.Time // its arrival
	suspect  *RTPPacket
	stray    int64 // packets dropped because nothing followed them
}

// verdict is what the unwrapper says about a packet.
type verdict uint8

const (
	accepted  verdict = iota
	doubtful          // held back, or dropped
	restarted         // suspect and this packet begin a new source
)

func (u *unwrapper) resume(p ResumePoint) {
	u.started, u.seq, u.rtp, u.at = true, p.Seq, p.RTP, p.At
}

// place fills in p's extended numbers. With restarted, before is the earlier packet of the new source, also placed.
func (u *unwrapper) place(p *RTPPacket) (v verdict, before *RTPPacket) {
	if !u.started {
		u.started, u.seq, u.rtp, u.at = true, p.Seq, p.RTP, p.At
		return accepted, nil
	}
	if !u.fits(p) {
		return u.doubt(p)
	}
	if u.suspect != nil {
		u.suspect, u.stray = nil, u.stray+1
	}
	if p.Seq > u.seq {
		u.seq, u.rtp, u.at = p.Seq, p.RTP, p.At
	}
	return accepted, nil
}

// fits extends p's numbers next to the newest packet's and says whether they can belong to the same source.
func (u *unwrapper) fits(p *RTPPacket) bool {
	step := int64(int16(uint16(p.Seq) - uint16(u.seq)))
	elapsed := max(0, p.At.Sub(u.at))
	near := u.rtp
	if ticks := ticksOf(elapsed, u.rate); ticks > 1<<30 { // hours of silence: half the range is not enough to tell forward from back
		near += ticks
	}
	rtp := near + int64(int32(uint32(p.RTP)-uint32(near)))
	moved := ticksDuration(rtp-u.rtp, u.rate)
	inStep := moved > time.Second && (moved-elapsed).Abs() < 5*time.Second
	if step <= 0 && inStep { // more than half the sequence range is missing, as after a long pause of the recording
		step += 1 << 16
	}
	var ok bool
	switch {
	case step > maxSeqJump:
		ok = inStep
	case step > 0:
		ok = moved >= -2*time.Second && moved <= elapsed+maxTimeJump
	case step >= -maxSeqJump:
		ok = moved <= 2*time.Second && moved >= -maxTimeJump
	}
	if ok {
		p.Seq, p.RTP = u.seq+step, rtp
	}
	return ok
}

func (u *unwrapper) doubt(p *RTPPacket) (verdict, *RTPPacket) {
	first := u.suspect
	if first == nil || uint16(p.Seq) != uint16(first.Seq)+1 {
		if first != nil {
			u.stray++
		}
		keep := *p
		keep.Payload = append([]byte(nil), p.Payload...)
		u.suspect = &keep
		return doubtful, nil
	}
	u.suspect = nil
	rtp := nextCongruent(u.rtp+1, first.RTP, 1<<32)
	p.RTP = rtp + int64(int32(uint32(p.RTP)-uint32(first.RTP)))
	first.RTP = rtp
	first.Seq = nextCongruent(u.seq+2*maxReorderPackets, first.Seq, 1<<16)
	p.Seq = first.Seq + 1
	u.seq, u.rtp, u.at = p.Seq, p.RTP, p.At
	return restarted, first
}

// nextCongruent is the smallest number from lo on that equals v modulo m.
func nextCongruent(lo, v, m int64) int64 { return lo + ((v-lo)%m+m)%m }

func ticksOf(d time.Duration, rate int64) int64 {
	return int64(d/time.Second)*rate + int64(d%time.Second)*rate/int64(time.Second)
}

func ticksDuration(ticks, rate int64) time.Duration {
	return time.Duration(ticks/rate)*time.Second + time.Duration(ticks%rate)*time.Second/time.Duration(rate)
}

// released is a packet in its turn.
type released struct {
	RTPPacket
	Lost       int64     // packets missing right before it
	Restarted  bool      // first of a new source
	Repaired   bool      // it came after its gap had been noticed, later than reordering on the way explains
	ReleasedAt time.Time // when it could be released: its own arrival, or that of the packet or deadline it waited for
}

// reorder puts packets into sequence order. A gap holds back what follows until it is filled or ReorderWait after the
// arrival of the first packet behind it. It keeps at most maxReorderPackets and maxReorderBytes, then gives the gap up.
//
//	arrived   1 2 . 4 5      3 arrives in time → 3 4 5 are released
//	             ^ gap       it does not       → 4 (Lost 1), 5
//
// Use: push a packet, then pop until it returns false. The payload pushed last is not copied when it is popped at once.
type reorder struct {
	started  bool
	next     int64
	top      int64 // highest sequence number seen
	buffer   map[int64]bufferedPacket
	bytes    int
	arrivals []packetArrival // of the buffer, in order; those that have left it are skipped at the front
	noticed  time.Time       // when the gap at next was first seen: the earliest arrival in the buffer
	direct   *released
	jumpFrom int64 // old source's end …
	jumpTo   int64 // … and the new one's first; equal when there is none
	fresh    bool  // the next packet is the first of a new source
	clock    time.Time
	expired  time.Time // deadline of the gap given up last

	duplicates, late int64
}

type packetArrival struct {
	seq int64
	at  time.Time
}

type bufferedPacket struct {
	packet   RTPPacket
	repaired bool
}

func (r *reorder) resume(p ResumePoint) { r.started, r.next, r.top = true, p.Seq, p.Seq-1 }

func (r *reorder) push(p RTPPacket) {
	r.clock = p.At
	if !r.started && len(r.buffer) == 0 {
		r.next, r.top = p.Seq-maxSeqJump, p.Seq-1
	}
	_, have := r.buffer[p.Seq]
	switch {
	case have:
		r.duplicates++
		return
	case p.Seq < r.next:
		r.late++
		return
	}
	b := bufferedPacket{packet: p, repaired: r.started && p.Seq < r.top && len(r.buffer) > 0 && p.At.Sub(r.noticed) >= repairAfter}
	r.top = max(r.top, p.Seq)
	if p.Seq == r.next && r.direct == nil {
		rel := r.release(b)
		r.direct = &rel
		return
	}
	r.keep(b)
}

func (r *reorder) keep(b bufferedPacket) {
	if r.buffer == nil {
		r.buffer = map[int64]bufferedPacket{}
	}
	if len(r.buffer) == 0 {
		r.arrivals, r.noticed = r.arrivals[:0], b.packet.At
	}
	r.arrivals = append(r.arrivals, packetArrival{b.packet.Seq, b.packet.At})
	b.packet.Payload = append([]byte(nil), b.packet.Payload...)
	r.buffer[b.packet.Seq] = b
	r.bytes += len(b.packet.Payload)
}

// restart says that sequence number to, pushed next, follows the old source's last one, from-1.
// Of two restarts within one gap only the later source is kept.
func (r *reorder) restart(from, to int64) {
	if r.jumpFrom == r.jumpTo {
		r.jumpFrom, r.jumpTo = from, to
		return
	}
	r.late += int64(len(r.buffer))
	clear(r.buffer)
	r.bytes, r.jumpFrom, r.jumpTo, r.next, r.fresh = 0, to, to, to, true
}

func (r *reorder) full() bool { return len(r.buffer) > maxReorderPackets || r.bytes > maxReorderBytes }

// deadline is when the gap that holds packets back is given up; false if nothing is held back.
func (r *reorder) deadline() (time.Time, bool) {
	switch {
	case len(r.buffer) == 0:
		return time.Time{}, false
	case r.full():
		return r.clock, true
	case !r.started:
		return r.noticed.Add(startWait), true
	}
	return r.noticed.Add(ReorderWait), true
}

// pop returns the next packet in order. now ends the waits whose deadline is before it.
func (r *reorder) pop(now time.Time) (released, bool) {
	if d := r.direct; d != nil {
		r.direct = nil
		return *d, true
	}
	if len(r.buffer) == 0 || !r.started && !r.start(now) {
		return released{}, false
	}
	if r.jumpFrom != r.jumpTo && r.next == r.jumpFrom { // nothing is missing between an old source and a new one
		r.next, r.jumpFrom, r.fresh = r.jumpTo, r.jumpTo, true
	}
	if b, ok := r.buffer[r.next]; ok {
		return r.take(b), true
	}
	if !r.full() {
		deadline := r.noticed.Add(ReorderWait)
		if !deadline.Before(now) {
			return released{}, false
		}
		r.expired = deadline
	}
	return r.giveUp(), true
}

// start begins with the lowest sequence number of those that came first.
func (r *reorder) start(now time.Time) bool {
	deadline, _ := r.deadline()
	if !deadline.Before(now) && !r.full() {
		return false
	}
	r.started, r.expired, r.next = true, deadline, r.lowest()
	return true
}

func (r *reorder) lowest() int64 {
	lowest := r.top
	for s := range r.buffer {
		lowest = min(lowest, s)
	}
	return lowest
}

// giveUp declares the gap at next lost and returns what comes after it.
func (r *reorder) giveUp() released {
	lowest := r.lowest()
	lost := lowest - r.next
	if r.jumpFrom != r.jumpTo && lowest >= r.jumpTo {
		lost = (r.jumpFrom - r.next) + (lowest - r.jumpTo)
		r.jumpFrom, r.fresh = r.jumpTo, true
	}
	rel := r.take(r.buffer[lowest])
	rel.Lost = lost
	return rel
}

func (r *reorder) take(b bufferedPacket) released {
	delete(r.buffer, b.packet.Seq)
	r.bytes -= len(b.packet.Payload)
	gone := 0
	for gone < len(r.arrivals) {
		if _, ok := r.buffer[r.arrivals[gone].seq]; ok {
			r.noticed = r.arrivals[gone].at
			break
		}
		gone++
	}
	r.arrivals = r.arrivals[gone:]
	return r.release(b)
}

func (r *reorder) release(b bufferedPacket) released {
	at := r.clock
	if r.expired.After(at) {
		at = r.expired
	}
	rel := released{RTPPacket: b.packet, Restarted: r.fresh, Repaired: b.repaired, ReleasedAt: at}
	r.next, r.fresh = b.packet.Seq+1, false
	return rel
}
