package player

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/pion/rtcp"
)

// Scheduled is one packet of the timeline.
type Scheduled struct {
	Track  int // index in Call.Tracks
	Packet     // At counts from the first packet of all; Data is valid until the next packet of its track
}

// ErrNothingToPlay: the call has no packets, or the duration is too short for any.
var ErrNothingToPlay = errors.New("nothing to play")

// Timeline merges the tracks of a call by arrival time. With duration 0 it is played once; with loop it is repeated
// until duration, and cut there in either case. Later passes continue the first: sequence numbers follow on, RTP
// timestamps and the NTP and RTP times of sender reports are shifted by the same period on every track, and packet and
// octet counts go on.
func Timeline(c *Call, duration time.Duration, loop bool) (iter.Seq[Scheduled], error) {
	if loop && duration <= 0 {
		return nil, fmt.Errorf("%w: looping needs a duration", ErrNothingToPlay)
	}
	var cursors []*cursor
	origin := time.Duration(-1)
	for _, t := range c.Tracks {
		cur, err := newCursor(t)
		if err != nil {
			return nil, fmt.Errorf("track %s: %w", t.Name, err)
		}
		cursors = append(cursors, cur)
		if at := t.Packets[0].At; origin < 0 || at < origin {
			origin = at
		}
	}
	if len(cursors) == 0 {
		return nil, ErrNothingToPlay
	}
	period := Period(c)
	return func(yield func(Scheduled) bool) {
		for i := range cursors {
			cursors[i].index, cursors[i].pass = 0, 0
		}
		for {
			i := earliest(cursors, period)
			if i < 0 {
				return
			}
			at := cursors[i].at(period) - origin
			if duration > 0 && at >= duration {
				return
			}
			if !yield(Scheduled{Track: i, Packet: cursors[i].take(period, origin, loop)}) {
				return
			}
		}
	}, nil
}

func earliest(cursors []*cursor, period time.Duration) int {
	best := -1
	for i, c := range cursors {
		if !c.done() && (best < 0 || c.at(period) < cursors[best].at(period)) {
			best = i
		}
	}
	return best
}

// Period is the length of one pass: the longest track's, by its RTP clock with one more step after the last packet, and
// by arrival. Whole milliseconds are whole ticks of every clock in use.
func Period(c *Call) time.Duration {
	var period time.Duration
	for _, t := range c.Tracks {
		first, last, err := t.media()
		if err != nil {
			continue
		}
		span := ticks(last.Timestamp-first.Timestamp, t.ClockRate) + t.step()
		arrival := t.Packets[len(t.Packets)-1].At - t.Packets[0].At + time.Millisecond
		period = max(period, span, arrival)
	}
	return (period + time.Millisecond - 1).Truncate(time.Millisecond)
}

// step is the smallest distance between timestamps: the length of a frame.
func (t Track) step() time.Duration {
	var smallest, previous uint32
	n := 0
	for _, p := range t.Packets {
		if p.RTCP || len(p.Data) < 8 {
			continue
		}
		ts := binary.BigEndian.Uint32(p.Data[4:])
		if d := ts - previous; n > 0 && d > 0 && d < 1<<31 && (smallest == 0 || d < smallest) {
			smallest = d
		}
		previous = ts
		n++
	}
	return ticks(smallest, t.ClockRate)
}

func ticks(n uint32, rate int) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(rate)
}

// cursor walks one track, pass after pass.
type cursor struct {
	track   Track
	packets uint32 // RTP packets of one pass
	octets  uint32 // all their bytes: mediasoup counts headers too, against RFC 3550 §6.4.1
	numbers uint16 // sequence numbers of one pass
	index   int
	pass    int
	buf     []byte
}

func newCursor(t Track) (*cursor, error) {
	first, last, err := t.media()
	if err != nil {
		return nil, err
	}
	c := &cursor{track: t, numbers: last.SequenceNumber - first.SequenceNumber + 1}
	for _, p := range t.Packets {
		if p.RTCP {
			continue
		}
		c.packets++
		c.octets += uint32(len(p.Data))
	}
	return c, nil
}

func (c *cursor) done() bool { return c.index == len(c.track.Packets) }

func (c *cursor) at(period time.Duration) time.Duration {
	return c.track.Packets[c.index].At + time.Duration(c.pass)*period
}

// take returns the current packet, rewritten for its pass, and moves on.
func (c *cursor) take(period, origin time.Duration, loop bool) Packet {
	p := c.track.Packets[c.index]
	out := Packet{At: c.at(period) - origin, RTCP: p.RTCP, Data: p.Data}
	if c.pass > 0 {
		c.buf = append(c.buf[:0], p.Data...)
		out.Data = c.buf
		shift := time.Duration(c.pass) * period
		if p.RTCP {
			c.shiftReports(out.Data, shift)
		} else {
			c.shiftMedia(out.Data, shift)
		}
	}
	if c.index++; c.done() && loop {
		c.index = 0
		c.pass++
	}
	return out
}

func (c *cursor) shiftMedia(data []byte, shift time.Duration) {
	seq, ts := data[2:4], data[4:8]
	binary.BigEndian.PutUint16(seq, binary.BigEndian.Uint16(seq)+uint16(c.pass)*c.numbers)
	binary.BigEndian.PutUint32(ts, binary.BigEndian.Uint32(ts)+c.clock(shift))
}

// clock is a shift in ticks, modulo 2^32.
func (c *cursor) clock(shift time.Duration) uint32 {
	return uint32(int64(shift/time.Millisecond) * int64(c.track.ClockRate) / 1000)
}

// shiftReports rewrites the sender reports of the track in a compound datagram (RFC 3550 §6.4.1).
func (c *cursor) shiftReports(data []byte, shift time.Duration) {
	for len(data) > 0 {
		var h rtcp.Header
		if h.Unmarshal(data) != nil {
			return
		}
		n := 4 * (int(h.Length) + 1)
		if n > len(data) {
			return
		}
		if h.Type == rtcp.TypeSenderReport && n >= 28 && binary.BigEndian.Uint32(data[4:]) == c.track.SSRC {
			add64(data[8:], ntp(shift))
			add32(data[16:], c.clock(shift))
			add32(data[20:], uint32(c.pass)*c.packets)
			add32(data[24:], uint32(c.pass)*c.octets)
		}
		data = data[n:]
	}
}

func add32(b []byte, n uint32) { binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)+n) }

func add64(b []byte, n uint64) { binary.BigEndian.PutUint64(b, binary.BigEndian.Uint64(b)+n) }

// ntp is a duration in the 32.32 fixed point of NTP.
func ntp(d time.Duration) uint64 {
	return uint64(d/time.Second)<<32 + uint64(d%time.Second)<<32/uint64(time.Second)
}
