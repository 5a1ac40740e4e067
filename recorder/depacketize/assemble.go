package depacketize

import (
	"fmt"

	"github.com/dualrec/dualrec/recorder"
)

// format is what differs between the video payload formats. Its methods are called in the order
// read, add (for each packet of a frame) and finish (for a frame without a gap), or drop.
type format interface {
	// read parses one payload, which is not empty, and keeps it for add. first: a frame begins with it.
	// lost: packets are missing right before it, so that only its own bytes can prove that.
	read(payload []byte, lost bool) (first bool, err error)
	// add appends the read packet's part of the bitstream.
	add(frame []byte) ([]byte, error)
	// finish looks at a frame whose packets are all there. It may return another slice than it was given.
	finish(frame []byte) ([]byte, facts)
	// drop forgets a frame of which packets are missing.
	drop()
	// restarts: a packet that begins a frame ends the one before even if both have one timestamp.
	restarts() bool
}

// facts are what a format knows of a frame whose packets are all there.
type facts struct {
	key     bool
	size    recorder.Size
	damaged bool // the bytes contradict themselves or cannot be decoded
	picture bool // false: parameter sets and the like, nothing to show
}

// assembler puts the packets of one SSRC together. It implements recorder.Depacketizer.
type assembler struct {
	format   format
	cur      recorder.Unit
	open     bool
	bad      bool // cur is damaged
	marks    bool // the sender marks the ends of frames
	lost     bool // carried over from packets without payload
	rotation int  // the last one signalled; it holds until another one is (3GPP TS 26.114 §7.4.5)
	ready    []recorder.Unit
	out      recorder.Unit
	handed   bool // out.Data is the caller's
	free     [][]byte
	lead     *lead
}

// lead is where the packets begin that prepare the next frame but hold no picture (H.264 parameter sets): reading again
// from the frame's position must see them too.
type lead struct {
	seq int64
	pos recorder.Position
}

func newAssembler(f format) *assembler { return &assembler{format: f} }

// Push implements recorder.Depacketizer. An error concerns the packet only; a unit may come with it.
func (a *assembler) Push(p recorder.RTPPacket, lost bool) (*recorder.Unit, error) {
	a.recycle()
	a.lost = a.lost || lost
	if len(p.Payload) == 0 {
		return a.next(), nil
	}
	lost, a.lost = a.lost, false
	err := a.take(p, lost)
	return a.next(), err
}

// Flush implements recorder.Depacketizer. It is called until it returns nil. A last frame without a marker is damaged
// if the sender has set markers before: its end is missing.
func (a *assembler) Flush() *recorder.Unit {
	a.recycle()
	if a.open {
		a.bad = a.bad || a.lost || a.marks
		a.close()
	}
	return a.next()
}

func (a *assembler) take(p recorder.RTPPacket, lost bool) error {
	first, err := a.format.read(p.Payload, lost)
	if a.open && (p.RTP != a.cur.RTP || (err == nil && first && a.format.restarts())) {
		a.bad = a.bad || lost // the missing packets may have been its last ones
		a.close()
	}
	if !a.open {
		a.begin(p)
		a.bad = err != nil || !first
	} else if err != nil || lost {
		a.bad = true
	}
	if !a.bad {
		err = a.append()
	}
	a.cur.LastAt = p.At
	if p.Rotation >= 0 {
		a.rotation = p.Rotation
	}
	if p.Marker {
		a.marks = true
		a.close()
	}
	return err
}

func (a *assembler) begin(p recorder.RTPPacket) {
	a.open = true
	a.cur = recorder.Unit{RTP: p.RTP, FirstSeq: p.Seq, Pos: p.Pos, Data: a.buffer()}
}

func (a *assembler) append() error {
	data, err := a.format.add(a.cur.Data)
	a.cur.Data = data
	if err == nil && len(data) > MaxFrameBytes {
		err = fmt.Errorf("%w: more than %d bytes", ErrFrameTooLarge, MaxFrameBytes)
	}
	a.bad = err != nil
	return err
}

// close turns the open frame into a unit.
func (a *assembler) close() {
	a.open = false
	if a.bad {
		a.format.drop()
		a.damaged()
		return
	}
	data, f := a.format.finish(a.cur.Data)
	switch {
	case f.damaged:
		a.damaged()
	case !f.picture:
		a.keep(a.cur.Data)
		if a.lead == nil {
			a.lead = &lead{seq: a.cur.FirstSeq, pos: a.cur.Pos}
		}
	default:
		a.cur.Data, a.cur.Key, a.cur.Size, a.cur.Rotation = data, f.key, f.size, a.rotation
		if a.lead != nil {
			a.cur.FirstSeq, a.cur.Pos, a.lead = a.lead.seq, a.lead.pos, nil
		}
		a.ready = append(a.ready, a.cur)
	}
	a.cur = recorder.Unit{}
}

func (a *assembler) damaged() {
	a.keep(a.cur.Data)
	a.lead = nil
	a.cur.Damaged, a.cur.Data, a.cur.Rotation = true, nil, a.rotation
	a.ready = append(a.ready, a.cur)
}

func (a *assembler) next() *recorder.Unit {
	if len(a.ready) == 0 {
		return nil
	}
	a.out = a.ready[0]
	a.ready = a.ready[:copy(a.ready, a.ready[1:])]
	a.handed = true
	return &a.out
}

// recycle takes back the buffer of the unit that was returned last: it was the caller's until now.
func (a *assembler) recycle() {
	if a.handed {
		a.keep(a.out.Data)
		a.out, a.handed = recorder.Unit{}, false
	}
}

// maxKept is the largest buffer worth keeping for the next frame.
const maxKept = 512 << 10

func (a *assembler) keep(b []byte) {
	if cap(b) > 0 && cap(b) <= maxKept && len(a.free) < 3 {
		a.free = append(a.free, b[:0])
	}
}

func (a *assembler) buffer() []byte {
	n := len(a.free)
	if n == 0 {
		return nil
	}
	b := a.free[n-1]
	a.free = a.free[:n-1]
	return b
}
