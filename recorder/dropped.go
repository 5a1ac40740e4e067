package recorder

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// What this machine drops although it came, told apart from what the network lost: packets of a track that are kept from
// a full disk (events DropBegan and DropEnded), and datagrams that the kernel threw away because they were not read in
// time (RecordOverflow in the leg's journal).

// CauseReceiveBuffer is the detail of DROPPED entries for datagrams that the kernel threw away. What a full or broken
// disk did not take has one of the others.
const (
	CauseReceiveBuffer = "receive buffer"
	CauseDiskFull      = "disk full"
	CauseDiskFailed    = "disk failed"
)

// causeOf names what an error of the disk means for a track.
func causeOf(err error) string {
	if errors.Is(err, ErrSpoolFull) {
		return CauseDiskFull
	}
	return CauseDiskFailed
}

// overflowRecord is the journal record that says how many datagrams the kernel dropped right before at.
func overflowRecord(at time.Time, datagrams uint64) Record {
	return Record{At: at, Kind: RecordOverflow, Data: binary.BigEndian.AppendUint64(nil, datagrams)}
}

// dropTale is what a track's journals and events say of what this machine dropped.
type dropTale struct {
	spans     []dropSpan
	overflows []overflow
}

// dropSpan is a stretch in which nothing of a track was written. to is zero while it lasts.
type dropSpan struct {
	from, to time.Time
	cause    string
	packets  int64
}

// overflow is what the kernel dropped before an instant and no gap has accounted for yet.
type overflow struct {
	at        time.Time
	datagrams int64
}

func (t *dropTale) began(at time.Time, cause string) {
	if n := len(t.spans); n > 0 && t.spans[n-1].to.IsZero() {
		if at.Before(t.spans[n-1].from) { // a journal that failed says later from when it lacks something
			t.spans[n-1].from = at
		}
		return
	}
	t.spans = append(t.spans, dropSpan{from: at, cause: cause})
}

// ended closes the open span, if there is one.
func (t *dropTale) ended(at time.Time, packets int64) {
	if n := len(t.spans); n > 0 && t.spans[n-1].to.IsZero() {
		s := &t.spans[n-1]
		s.to, s.packets = at, packets
		if at.Before(s.from) {
			s.to = s.from
		}
	}
}

// within tells whether the track was dropped at any time in [from, to] of recording time.
func (t *dropTale) within(p *Planner, from, to Micros) bool {
	return slices.ContainsFunc(t.spans, func(s dropSpan) bool {
		return p.timeOf(s.from) <= to && (s.to.IsZero() || p.timeOf(s.to) >= from)
	})
}

// Rules for what the kernel dropped.
const (
	// overflowSlack: the kernel tells of drops with the next datagram that it keeps, and a packet arrives up to a second
	// after its timestamp.
	overflowSlack = 1500 * time.Millisecond
	// overflowKeep: if no packet is missing so long after the drop, what was dropped has been repaired or was no media.
	overflowKeep = ReorderWait + 2*time.Second
	// maxOverflows bounds what waits for its gap; beyond it the oldest are entered as they are.
	maxOverflows = 1000
)

// overflowed notes a record of the leg's journal.
func (p *Planner) overflowed(t *planTrack, rec Record) {
	if len(rec.Data) != 8 {
		p.stats.BadEvents++
		return
	}
	n := int64(min(binary.BigEndian.Uint64(rec.Data), 1<<40))
	t.tale.drops.overflows = append(t.tale.drops.overflows, overflow{rec.At, n})
	if len(t.tale.drops.overflows) > maxOverflows {
		p.tellOverflows(t, t.tale.drops.overflows[1].at)
	}
}

// accountOverflow says how many of the packets that are missing in [from, to] the kernel dropped here, and enters them.
func (p *Planner) accountOverflow(t *planTrack, lost int64, from, to Micros) (dropped int64) {
	d, until := &t.tale.drops, p.wallOf(to).Add(overflowSlack)
	for i := range d.overflows {
		o := &d.overflows[i]
		if o.at.After(until) || dropped == lost {
			break
		}
		n := min(o.datagrams, lost-dropped)
		o.datagrams, dropped = o.datagrams-n, dropped+n
	}
	d.overflows = slices.DeleteFunc(d.overflows, func(o overflow) bool { return o.datagrams == 0 })
	if dropped > 0 {
		p.ledger.add(Gap{TrackID: t.id, Track: t.kind, Kind: GapDropped, From: from, To: to, Packets: int(dropped), Detail: CauseReceiveBuffer})
	}
	return dropped
}

// tellOverflows enters drops from before an instant that no missing packet accounts for: they were asked for again and
// came, or they were reports.
func (p *Planner) tellOverflows(t *planTrack, before time.Time) {
	if !p.known {
		return
	}
	d := &t.tale.drops
	for len(d.overflows) > 0 && d.overflows[0].at.Before(before) {
		p.ledger.add(p.overflowGap(t, d.overflows[0]))
		d.overflows = d.overflows[1:]
	}
}

func (p *Planner) overflowGap(t *planTrack, o overflow) Gap {
	at := max(0, p.timeOf(o.at))
	return Gap{TrackID: t.id, Track: t.kind, Kind: GapDropped, From: at, To: at, Packets: int(o.datagrams), Detail: CauseReceiveBuffer}
}

// droppedGaps lists the spans of a track and what is not accounted for yet.
func (p *Planner) droppedGaps(t *planTrack, end Micros) []Gap {
	var out []Gap
	for _, s := range t.tale.drops.spans {
		g := Gap{TrackID: t.id, Track: t.kind, Kind: GapDropped, From: max(0, p.timeOf(s.from)), To: end, Packets: int(s.packets), Detail: s.cause}
		if !s.to.IsZero() {
			g.To = max(g.From, p.timeOf(s.to))
		}
		out = append(out, g)
	}
	for _, o := range t.tale.drops.overflows {
		out = append(out, p.overflowGap(t, o))
	}
	return out
}

// endDrops ends what an earlier process was dropping when it ended.
func (p *Planner) endDrops(at time.Time) {
	for _, t := range p.tracks {
		t.tale.drops.ended(at, 0)
	}
}
