package player

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"time"
)

// Line is the network between a sender and the recorder: it says what becomes of a packet. It decides by what the packet
// is, never by the clock of the machine, so that a run can be repeated. It is called by one goroutine at a time.
type Line interface {
	// Media is about a packet on the way to the recorder.
	Media(p Passing) Fate
	// Feedback tells whether the recorder's nth datagram, from 0, gets through.
	Feedback(n int) bool
}

// Passing is a packet on its way.
type Passing struct {
	SSRC    uint32
	RTCP    bool
	Seq     uint16 // of RTP; of RTCP the number of the datagram
	Attempt int    // 0: sent for the first time
	// At is when the newest packet of the track was sent, on the call's clock. So a packet that is sent again lies in the
	// same outage as those that are sent beside it.
	At time.Duration
}

// Fate is what becomes of a packet. The zero value: it arrives once and at once.
type Fate struct {
	Lost   bool
	Copies int // more of it, right behind
	// Behind is how many packets of the track that are sent later arrive earlier.
	Behind int
	// Delay is how much later it arrives, on the call's clock.
	Delay time.Duration
}

// Clear is a line without faults.
type Clear struct{}

// Media implements Line.
func (Clear) Media(Passing) Fate { return Fate{} }

// Feedback implements Line.
func (Clear) Feedback(int) bool { return true }

// Random loses, doubles and reorders packets with given probabilities, independent of each other. The same seed gives the
// same fates.
type Random struct {
	Seed      uint64
	Loss      float64 // of every packet, also of those sent again, reports and the recorder's
	Duplicate float64
	Reorder   float64 // by 1 to 4 packets
	// Delay is the largest delay; every packet has one of its own.
	Delay time.Duration
}

// Media implements Line.
func (r Random) Media(p Passing) Fate {
	f := Fate{Lost: r.chance("loss", p) < r.Loss}
	if r.chance("copy", p) < r.Duplicate {
		f.Copies = 1
	}
	if c := r.chance("order", p); c < r.Reorder && p.Attempt == 0 {
		f.Behind = 1 + int(c/r.Reorder*4)
	}
	if p.Attempt == 0 {
		f.Delay = time.Duration(r.chance("delay", p) * float64(r.Delay))
	}
	return f
}

// Feedback implements Line.
func (r Random) Feedback(n int) bool {
	return r.chance("back", Passing{Seq: uint16(n), Attempt: n >> 16}) >= r.Loss
}

// chance is a number in [0, 1) that depends on the packet alone.
func (r Random) chance(what string, p Passing) float64 {
	h := fnv.New64a()
	b := append([]byte(what), 0)
	b = binary.BigEndian.AppendUint64(b, r.Seed)
	b = binary.BigEndian.AppendUint32(b, p.SSRC)
	b = binary.BigEndian.AppendUint16(b, p.Seq)
	b = binary.BigEndian.AppendUint32(b, uint32(p.Attempt))
	if p.RTCP {
		b = append(b, 1)
	}
	_, _ = h.Write(b) // it never fails
	// FNV hardly stirs its high bits after the last bytes: murmur3's finish does.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return float64(x>>11) / math.Exp2(53)
}

// Outages loses everything that is sent within certain times of the call, also what is sent again.
type Outages [][2]time.Duration

// Media implements Line.
func (o Outages) Media(p Passing) Fate {
	for _, span := range o {
		if p.At >= span[0] && p.At < span[1] {
			return Fate{Lost: true}
		}
	}
	return Fate{}
}

// Feedback implements Line.
func (o Outages) Feedback(int) bool { return true }
