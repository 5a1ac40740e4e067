package recorder

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// ResumePoint is a place in a leg's journal from which reading yields the same units again:
// where to start, and the numbers next to which the wrapped ones of the packets are extended.
type ResumePoint struct {
	Pos Position  `json:"pos"`
	Seq int64     `json:"seq"` // first sequence number that counts; earlier ones are dropped
	RTP int64     `json:"rtp"`
	At  time.Time `json:"at"` // arrival of the packet that bears these numbers
}

// LegUnit is a unit with what the leg's history says of it.
type LegUnit struct {
	*Unit
	// Frozen: the picture cannot be shown, because it is damaged or because packets before it are missing and no whole
	// keyframe has come since. Never set on sound.
	Frozen bool
	// Restarted: the first unit of another source on the same SSRC; timestamps before it say nothing about it.
	Restarted bool
	// Lost and Repaired count packets since the unit before.
	Lost, Repaired int64
	// ReleasedAt is the instant of the journal at which the unit was complete and in its turn.
	ReleasedAt time.Time

	from ResumePoint
}

// Resume is where a reader starts to yield this unit first. Only a keyframe or a sound packet decodes from there.
func (u LegUnit) Resume() ResumePoint { return u.from }

// legDecoder is the part of reading a leg that is common to the live planner and to later readings: records go in with
// feed, units come out of next. Both see the same units, because every decision rests on what the journal holds.
//
//	record → ParseRTP → unwrapper → reorder → Depacketizer → LegUnit
type legDecoder struct {
	params RTPParameters
	makers Depacketizers
	dep    Depacketizer
	unwrap unwrapper
	order  reorder
	clock  time.Time // arrival of the newest record; never runs backwards

	broken         bool    // pictures cannot be decoded until the next keyframe
	missing        []int64 // sequence numbers of gaps that no unit has reached yet
	lost, repaired int64
	fresh          bool          // the next unit is the first of a new source
	recent         []packetPlace // packets from the newest unit's first on
	badPayloads    int64

	// packet and report tell the clock what arrived; either may be nil.
	packet func(rtp int64, at time.Time, restarted bool)
	report func(sr SenderReport, at time.Time)
}

func newLegDecoder(params RTPParameters, makers Depacketizers, from *ResumePoint) (*legDecoder, error) {
	dep, err := makers.New(params.Codec)
	if err != nil {
		return nil, fmt.Errorf("depacketizer of %s: %w", params.Codec, err)
	}
	d := &legDecoder{params: params, makers: makers, dep: dep}
	d.unwrap.rate = int64(params.Codec.ClockRate())
	if from != nil {
		d.unwrap.resume(*from)
		d.order.resume(*from)
	}
	return d, nil
}

// feed takes one record. The caller must have drained next for instants before the record's, and drains it afterwards
// before it reuses rec.Data.
func (d *legDecoder) feed(rec Record, pos Position) {
	d.tick(rec.At)
	switch rec.Kind {
	case PacketRTCP:
		if d.report == nil {
			return
		}
		for _, sr := range d.makers.ParseReports(rec.Data, d.params.SSRC) {
			d.report(sr, d.clock)
		}
	case PacketRTP:
		p, ssrc, ok := d.makers.ParseRTP(rec.Data, d.params)
		if !ok || ssrc != d.params.SSRC {
			return
		}
		p.At, p.Pos = d.clock, pos
		d.feedPacket(p)
	}
}

func (d *legDecoder) feedPacket(p RTPPacket) {
	end := d.unwrap.seq + 1
	switch v, first := d.unwrap.place(&p); v {
	case doubtful:
	case restarted:
		d.order.restart(end, first.Seq)
		d.tell(first.RTP, first.At, true)
		d.tell(p.RTP, p.At, false)
		first.At = d.clock
		d.order.push(*first)
		d.order.push(p)
	case accepted:
		d.tell(p.RTP, p.At, false)
		d.order.push(p)
	}
}

func (d *legDecoder) tell(rtp int64, at time.Time, restarted bool) {
	if d.packet != nil {
		d.packet(rtp, at, restarted)
	}
}

func (d *legDecoder) tick(now time.Time) {
	if now.After(d.clock) {
		d.clock = now
	}
}

// next returns the next unit that is complete at the decoder's clock; false: feed more. The unit's data is valid until the next call.
func (d *legDecoder) next() (LegUnit, bool) {
	for {
		p, ok := d.order.pop(d.clock)
		if !ok {
			return LegUnit{}, false
		}
		if u, ok := d.take(p); ok {
			return u, true
		}
	}
}

// finish returns the units that only waited for more data; call it until it returns false. Nothing may be fed afterwards.
func (d *legDecoder) finish() (LegUnit, bool) {
	for {
		p, ok := d.order.pop(time.Unix(1<<40, 0))
		if !ok {
			break
		}
		p.ReleasedAt = d.clock
		if u, ok := d.take(p); ok {
			return u, true
		}
	}
	if u := d.dep.Flush(); u != nil { // asked again at the next call, until there is none
		return d.judge(u, d.clock), true
	}
	return LegUnit{}, false
}

func (d *legDecoder) take(p released) (LegUnit, bool) {
	if p.Restarted {
		d.newSource()
	}
	if p.Lost > 0 {
		d.lost += p.Lost
		d.missing = append(d.missing, p.Seq-1)
	}
	if len(d.recent) < maxRecent {
		d.recent = append(d.recent, packetPlace{p.Seq, p.Pos, p.RTPPacket.At})
	}
	if p.Repaired {
		d.repaired++
	}
	u, err := d.dep.Push(p.RTPPacket, p.Lost > 0 || p.Restarted)
	if err != nil {
		d.badPayloads++
		d.missing = append(d.missing, p.Seq)
	}
	if u == nil {
		return LegUnit{}, false
	}
	return d.judge(u, p.ReleasedAt), true
}

// newSource forgets what the old source's pictures were built on.
func (d *legDecoder) newSource() {
	d.fresh = true
	d.broken = d.params.Codec != Opus
	d.missing = nil
	if dep, err := d.makers.New(d.params.Codec); err == nil {
		d.dep = dep
	}
}

// packetPlace is where a packet stands in the journal and when it arrived.
type packetPlace struct {
	seq int64
	pos Position
	at  time.Time
}

const maxRecent = 8192 // packets of one frame

// earliest is where to begin reading to see every packet from a unit on: its last packet may have arrived before its
// first, and packets of later units before either.
func (d *legDecoder) earliest(u *Unit) ResumePoint {
	keep := 0
	for keep < len(d.recent) && d.recent[keep].seq < u.FirstSeq {
		keep++
	}
	d.recent = d.recent[:copy(d.recent, d.recent[keep:])]
	first := ResumePoint{Pos: u.Pos, Seq: u.FirstSeq, RTP: u.RTP, At: u.LastAt}
	see := func(pos Position, at time.Time) {
		if pos == first.Pos || pos.before(first.Pos) {
			first.Pos, first.At = pos, at
		}
	}
	for _, p := range d.recent {
		see(p.pos, p.at)
	}
	for _, b := range d.order.buffer {
		see(b.packet.Pos, b.packet.At)
	}
	return first
}

func (p Position) before(o Position) bool {
	return p.Offset < o.Offset || p.Offset == o.Offset && p.Index < o.Index
}

// judge decides whether a unit can be decoded. A gap counts from the first unit that begins after it; a gap inside a
// unit makes it Damaged. A damaged keyframe heals nothing.
func (d *legDecoder) judge(u *Unit, at time.Time) LegUnit {
	out := LegUnit{Unit: u, Restarted: d.fresh, Lost: d.lost, Repaired: d.repaired, ReleasedAt: at, from: d.earliest(u)}
	d.fresh, d.lost, d.repaired = false, 0, 0
	if d.params.Codec == Opus {
		d.missing = nil
		return out
	}
	for len(d.missing) > 0 && d.missing[0] < u.FirstSeq {
		d.missing, d.broken = d.missing[1:], true
	}
	switch {
	case u.Damaged:
		d.broken = true
	case u.Key:
		d.broken = false
	}
	out.Frozen = d.broken
	return out
}

// LegReader reads the units of one leg from its journal, from the beginning or from a ResumePoint. It may follow a
// live journal. It is not safe for concurrent use.
type LegReader struct {
	journal  JournalReader
	dec      *legDecoder
	record   Record // read, not yet fed
	pos      Position
	have     bool
	damage   int
	finished bool
}

// NewLegReader reads from journal, which must have been opened at from's position (or the beginning if from is nil).
// The reader owns journal from then on. It fails with ErrCodec.
func NewLegReader(journal JournalReader, params RTPParameters, makers Depacketizers, from *ResumePoint) (*LegReader, error) {
	dec, err := newLegDecoder(params, makers, from)
	if err != nil {
		return nil, err
	}
	return &LegReader{journal: journal, dec: dec}, nil
}

// OnReport has fn called for every sender report in the order of the journal, between units.
func (l *LegReader) OnReport(fn func(sr SenderReport, at time.Time)) { l.dec.report = fn }

// Next returns the next unit, whose data is valid until the next call. io.EOF: nothing more for now; after Finish,
// nothing more at all. Other errors are the journal's.
func (l *LegReader) Next() (LegUnit, error) {
	for {
		if u, ok := l.dec.next(); ok {
			return u, nil
		}
		if !l.have {
			rec, pos, err := l.journal.Next()
			if errors.Is(err, io.EOF) {
				return l.atEnd()
			}
			if errors.Is(err, ErrSpoolDamaged) && l.damage < maxDamage {
				l.damage++ // what stood there is lost; the sequence numbers behind it say how much
				continue
			}
			if err != nil {
				return LegUnit{}, fmt.Errorf("read leg: %w", err)
			}
			l.record, l.pos, l.have = rec, pos, true
		}
		l.dec.tick(l.record.At)
		if u, ok := l.dec.next(); ok { // a wait ended before this record arrived
			return u, nil
		}
		l.have = false
		l.dec.feed(l.record, l.pos)
	}
}

func (l *LegReader) atEnd() (LegUnit, error) {
	if l.finished {
		if u, ok := l.dec.finish(); ok {
			return u, nil
		}
	}
	return LegUnit{}, io.EOF
}

// Advance says that the journal holds nothing more that arrived before now, so that waits end which would otherwise
// need a later packet to end them.
func (l *LegReader) Advance(now time.Time) { l.dec.tick(now) }

// Finish says that no more data will come: after what the journal still holds, Next returns what waited for more, then io.EOF.
func (l *LegReader) Finish() { l.finished = true }

// Close closes the journal.
func (l *LegReader) Close() error { return l.journal.Close() }
