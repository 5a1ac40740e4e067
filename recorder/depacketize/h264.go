package depacketize

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/Eyevinn/mp4ff/avc"
	"github.com/dualrec/dualrec/recorder"
)

// RTP packet types of RFC 6184 §5.2 beside the NAL unit types 1…23.
const (
	nalSTAPA = 24
	nalFUA   = 28
)

var startCode = []byte{0, 0, 0, 1}

// h264 is RFC 6184 in its non-interleaved modes, written as Annex B.
//
// The depacketizer of the RTP library is not used: it joins fragments without looking at their start bits, so that a
// fragment without its beginning would pass for a NAL unit.
type h264 struct {
	payload []byte            // of the packet read last
	lost    bool              // packets are missing right before it
	sps     map[uint]paramSet // in force, by id
	pps     map[uint][]byte

	// Of the open frame:
	nal        int // where its last NAL unit begins, behind the start code
	fragmented bool
	afterLoss  bool
	idr        bool
	slices     bool
	hasSPS     bool
	hasPPS     bool
	broken     bool // a parameter set cannot be read
}

type paramSet struct {
	nal  []byte
	size recorder.Size
}

func newH264() *h264 { return &h264{sps: map[uint]paramSet{}, pps: map[uint][]byte{}} }

func (h *h264) read(payload []byte, lost bool) (bool, error) {
	h.payload, h.lost = payload, lost
	kind := payload[0] & 0x1f
	switch {
	case kind >= 1 && kind < nalSTAPA:
		return !lost || opensAccessUnit(payload), nil
	case kind == nalSTAPA:
		if err := eachSTAP(payload, func([]byte) {}); err != nil {
			return false, err
		}
		return !lost || opensAccessUnit(payload[3:]), nil
	case kind == nalFUA:
		if len(payload) < 3 {
			return false, fmt.Errorf("%w: H264: FU-A of %d bytes", ErrMalformed, len(payload))
		}
		begins := payload[1]&0x80 != 0
		if begins && payload[1]&0x40 != 0 {
			return false, fmt.Errorf("%w: H264: FU-A with both start and end bit", ErrMalformed)
		}
		return begins && (!lost || opensAccessUnit([]byte{payload[1] & 0x1f, payload[2]})), nil
	}
	return false, fmt.Errorf("%w: H264: packet type %d is not of packetization-mode 0 or 1", ErrMalformed, kind)
}

// opensAccessUnit tells a NAL unit that can only be the first of its access unit, or has nothing but parameter sets and
// messages before it: an access unit delimiter, parameter sets, SEI, or a slice whose first_mb_in_slice is 0.
func opensAccessUnit(nal []byte) bool {
	switch avc.NaluType(nal[0] & 0x1f) {
	case avc.NALU_AUD, avc.NALU_SPS, avc.NALU_SEI:
		return true
	case avc.NALU_NON_IDR, avc.NALU_IDR, 2: // 2: data partition A
		return len(nal) > 1 && nal[1]&0x80 != 0 // ue(v) 0 is the single bit 1
	}
	return false
}

func (h *h264) add(frame []byte) ([]byte, error) {
	h.afterLoss = h.afterLoss || h.lost
	kind := h.payload[0] & 0x1f
	if h.fragmented && (kind != nalFUA || h.payload[1]&0x80 != 0) {
		return frame, fmt.Errorf("%w: H264: a NAL unit begins before the fragmented one has ended", ErrMalformed)
	}
	switch kind {
	case nalSTAPA:
		err := eachSTAP(h.payload, func(nal []byte) { frame = h.whole(frame, nal) })
		return frame, err
	case nalFUA:
		return h.fragment(frame)
	}
	return h.whole(frame, h.payload), nil
}

// eachSTAP walks the NAL units of a single-time aggregation packet.
func eachSTAP(payload []byte, visit func(nal []byte)) error {
	rest := payload[1:]
	if len(rest) == 0 {
		return fmt.Errorf("%w: H264: empty STAP-A", ErrMalformed)
	}
	for len(rest) > 0 {
		if len(rest) < 2 {
			return fmt.Errorf("%w: H264: STAP-A with %d trailing bytes", ErrMalformed, len(rest))
		}
		n := int(binary.BigEndian.Uint16(rest))
		rest = rest[2:]
		if n == 0 || n > len(rest) {
			return fmt.Errorf("%w: H264: STAP-A announces %d bytes of %d", ErrMalformed, n, len(rest))
		}
		visit(rest[:n])
		rest = rest[n:]
	}
	return nil
}

func (h *h264) whole(frame, nal []byte) []byte {
	frame = append(frame, startCode...)
	h.nal = len(frame)
	frame = append(frame, nal...)
	h.seen(frame[h.nal:])
	return frame
}

func (h *h264) fragment(frame []byte) ([]byte, error) {
	indicator, header := h.payload[0], h.payload[1]
	switch {
	case header&0x80 != 0:
		frame = append(frame, startCode...)
		h.nal = len(frame)
		frame = append(frame, indicator&0xe0|header&0x1f)
		h.fragmented = true
	case !h.fragmented:
		return frame, fmt.Errorf("%w: H264: FU-A without its beginning", ErrMalformed)
	case frame[h.nal]&0x1f != header&0x1f:
		return frame, fmt.Errorf("%w: H264: FU-A changes its type", ErrMalformed)
	}
	frame = append(frame, h.payload[2:]...)
	if header&0x40 != 0 {
		h.fragmented = false
		h.seen(frame[h.nal:])
	}
	return frame, nil
}

// seen notes a complete NAL unit and takes over parameter sets.
func (h *h264) seen(nal []byte) {
	switch avc.NaluType(nal[0] & 0x1f) {
	case avc.NALU_IDR:
		h.idr, h.slices = true, true
	case avc.NALU_NON_IDR, 2, 3, 4: // 2, 3, 4: data partitions
		h.slices = true
	case avc.NALU_SPS:
		id, size, err := parseSPS(nal)
		if err != nil {
			h.broken = true
			return
		}
		h.sps[id], h.hasSPS = paramSet{nal: slices.Clone(nal), size: size}, true
	case avc.NALU_PPS:
		id, err := parsePPS(nal)
		if err != nil {
			h.broken = true
			return
		}
		h.pps[id], h.hasPPS = slices.Clone(nal), true
	}
}

func (h *h264) finish(frame []byte) ([]byte, facts) {
	defer h.drop()
	switch {
	case h.fragmented || h.broken:
		return frame, facts{damaged: true}
	case !h.slices:
		return frame, facts{}
	case !h.idr:
		return frame, facts{picture: true}
	case h.hasSPS && h.hasPPS:
		return frame, facts{picture: true, key: true, size: h.size()}
	case h.afterLoss:
		// Its parameter sets may be what is missing, and the ones in force another picture's.
		return frame, facts{damaged: true}
	case len(h.sps) == 0 || len(h.pps) == 0:
		return frame, facts{picture: true}
	}
	return slices.Concat(h.parameterSets(), frame), facts{picture: true, key: true, size: h.size()}
}

// size is the largest of the parameter sets in force. There is more than one only where a sender keeps several ids.
func (h *h264) size() recorder.Size {
	var s recorder.Size
	for _, p := range h.sps {
		if p.size.W*p.size.H > s.W*s.H {
			s = p.size
		}
	}
	return s
}

func (h *h264) parameterSets() []byte {
	var out []byte
	for _, id := range slices.Sorted(maps.Keys(h.sps)) {
		out = append(append(out, startCode...), h.sps[id].nal...)
	}
	for _, id := range slices.Sorted(maps.Keys(h.pps)) {
		out = append(append(out, startCode...), h.pps[id]...)
	}
	return out
}

// drop forgets the open frame; parameter sets that came whole stay in force.
func (h *h264) drop() {
	h.nal, h.fragmented, h.afterLoss, h.idr, h.slices = 0, false, false, false, false
	h.hasSPS, h.hasPPS, h.broken = false, false, false
}

// restarts: the NAL units of one access unit have one timestamp.
func (h *h264) restarts() bool { return false }
