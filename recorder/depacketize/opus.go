package depacketize

import "github.com/dualrec/dualrec/recorder"

// opus is RFC 7587: one packet is one unit, each decodable by itself. Lost packets damage nothing but time, which the
// timestamps tell.
type opus struct{ out recorder.Unit }

// Push implements recorder.Depacketizer. A packet without payload (padding) gives nothing.
func (o *opus) Push(p recorder.RTPPacket, _ bool) (*recorder.Unit, error) {
	if len(p.Payload) == 0 {
		return nil, nil
	}
	o.out = recorder.Unit{RTP: p.RTP, Key: true, FirstSeq: p.Seq, LastAt: p.At, Pos: p.Pos,
		Data: append(o.out.Data[:0], p.Payload...)}
	return &o.out, nil
}

// Flush implements recorder.Depacketizer; nothing is ever held back.
func (o *opus) Flush() *recorder.Unit { return nil }
