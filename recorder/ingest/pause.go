package ingest

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// flow is where a track stands with regard to pauses.
type flow uint8

const (
	flowing flow = iota
	held         // paused: nothing is delivered, counted or asked for
	waiting      // the pause is over, and nothing that was captured since has come; of pictures, no keyframe
)

// maxEarly bounds what is kept of pictures for the case that it has overtaken the start of its keyframe.
const maxEarly = 128

// longAgo is when what is not known to be old is taken for new: no way is so slow, but for a sender that stalls.
const longAgo = 10 * time.Second

// pause is what a track knows of pauses: of the one that is, or of the last one.
type pause struct {
	flow     flow
	released time.Time // the end of the last pause; zero: there was none
	floor    int64     // the number with which delivery began again; of pictures nothing before it is taken
	start    uint32    // its timestamp
	early    []early
	stray    []byte // a packet that went astray, or is the first one of another source
}

// early is a packet that was captured after a pause and came before the keyframe that it may belong to.
type early struct {
	ext  int64
	data []byte
}

// hold begins a pause. What is missing from before will never be asked for.
func (t *track) hold() {
	t.pause.flow, t.pause.early = held, nil
	t.gaps.forget()
	t.resume = nil
}

// release ends a pause at an instant of the wall clock.
func (t *track) release(at time.Time) {
	t.pause = pause{flow: waiting, released: at}
	t.gaps.forget()
	if t.keys != nil {
		t.keys.again(at)
	}
}

// passes decides whether a packet that t.seq has observed is delivered. In waiting it may begin the flow again.
func (t *track) passes(kind arrival, ext int64, data []byte, at time.Time) bool {
	p := &t.pause
	switch {
	case p.flow == held:
		return false
	case p.released.IsZero():
		return true
	case kind == restarted && p.flow == flowing:
		if at.Sub(p.released) >= longAgo {
			p.floor = ext
			t.confirm(at)
			return true
		}
		p.flow = waiting // its timestamps say nothing yet
		return t.begins(ext, data, at)
	case p.flow == waiting:
		return kind != stray && kind != duplicate && t.begins(ext, data, at)
	case kind == stray:
		p.stray = append(p.stray[:0], data...) // alone it proves nothing
		return false
	case ext >= p.floor:
		return true
	case t.keys == nil, t.packet.Timestamp == p.start: // it was overtaken
		return t.capturedSince(at)
	}
	return false
}

// confirm delivers the packet that was taken for a stray one, which the first of another source is at first.
func (t *track) confirm(at time.Time) {
	if len(t.pause.stray) > 0 {
		t.count.DroppedHeld--
		t.accept(t.pause.stray, at)
		t.pause.stray = t.pause.stray[:0]
	}
}

// capturedSince tells whether t.packet was captured after the pause.
func (t *track) capturedSince(at time.Time) bool {
	if !t.clock.trusted(at) {
		return at.Sub(t.pause.released) >= longAgo
	}
	return t.clock.capturedSince(t.pause.released, t.packet.Timestamp, at)
}

// begins tells whether the flow begins again with this packet.
func (t *track) begins(ext int64, data []byte, at time.Time) bool {
	if t.keys != nil {
		t.keys.packet(at)
	}
	if !t.capturedSince(at) {
		return false
	}
	if t.keys != nil && !beginsKeyframe(t.params.Codec, t.packet.Payload) {
		t.keep(ext, data)
		return false
	}
	p := &t.pause
	p.flow, p.floor, p.start = flowing, ext, t.packet.Timestamp
	return true
}

// keep keeps a packet that may have overtaken the start of its keyframe. It is counted as dropped until it is not.
func (t *track) keep(ext int64, data []byte) {
	p := &t.pause
	if len(p.early) == maxEarly {
		p.early = slices.Delete(p.early, 0, 1)
	}
	p.early = append(p.early, early{ext: ext, data: bytes.Clone(data)})
}

// catchUp delivers what came before the start that it belongs behind, and has the rest up to the newest asked for.
func (t *track) catchUp(at time.Time) {
	p := &t.pause
	kept := p.early
	p.early = nil
	slices.SortFunc(kept, func(a, b early) int { return cmp.Compare(a.ext, b.ext) })
	next := p.floor + 1
	for _, e := range kept {
		if e.ext < next {
			continue
		}
		t.absent(next, e.ext-1, at)
		next = e.ext + 1
		if err := t.packet.Unmarshal(e.data); err != nil {
			continue // it was parsed before
		}
		t.count.DroppedHeld--
		t.accept(e.data, at)
		t.picture(late, e.ext, at)
	}
	t.absent(next, t.seq.highest, at)
}

// absent counts packets as lost from here on.
func (t *track) absent(from, to int64, at time.Time) {
	if from > to {
		return
	}
	for ext := from; ext <= to; ext++ {
		t.seq.mark(ext, false)
	}
	t.count.lost += to - from + 1
	t.missing(from, to, at, at)
}

// accept counts a packet of the announced SSRC and hands it on.
func (t *track) accept(data []byte, at time.Time) {
	c := t.count
	c.Packets++
	c.Bytes += uint64(len(data))
	if c.FirstPacketAt.IsZero() {
		c.FirstPacketAt = at
	}
	c.LastPacketAt = at
	t.sink.Packet(at, recorder.PacketRTP, data)
}
