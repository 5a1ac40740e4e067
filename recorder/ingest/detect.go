package ingest

import (
	"encoding/binary"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtp/codecs"
)

// NAL unit and packet types of H.264 (RFC 6184 §5.2).
const (
	nalIDR   = 5
	nalSPS   = 7
	nalSTAPA = 24
	nalFUA   = 28
)

// beginsKeyframe looks whether a keyframe begins in an RTP payload. For H.264 that is the sequence parameter set that
// SFUs look for too, or an IDR slice.
func beginsKeyframe(codec recorder.Codec, payload []byte) bool {
	if len(payload) == 0 {
		return false
	}
	switch codec {
	case recorder.VP8:
		return vp8Keyframe(payload)
	case recorder.VP9:
		return vp9Keyframe(payload)
	case recorder.H264:
		return h264Keyframe(payload)
	}
	return false
}

func vp8Keyframe(payload []byte) bool {
	var d codecs.VP8Packet
	frame, err := d.Unmarshal(payload)
	return err == nil && d.S == 1 && d.PID == 0 && len(frame) > 0 && frame[0]&1 == 0
}

func vp9Keyframe(payload []byte) bool {
	var d codecs.VP9Packet
	frame, err := d.Unmarshal(payload)
	return err == nil && d.B && !d.P && (!d.L || d.SID == 0) && len(frame) > 0
}

func h264Keyframe(payload []byte) bool {
	switch payload[0] & 0x1f {
	case nalIDR, nalSPS:
		return true
	case nalFUA:
		return len(payload) > 1 && payload[1]&0x80 != 0 && (payload[1]&0x1f == nalIDR || payload[1]&0x1f == nalSPS)
	case nalSTAPA:
		for rest := payload[1:]; len(rest) > 2; {
			n := int(binary.BigEndian.Uint16(rest))
			if kind := rest[2] & 0x1f; n > 0 && (kind == nalIDR || kind == nalSPS) {
				return true
			}
			if n += 2; n > len(rest) {
				return false
			}
			rest = rest[n:]
		}
	}
	return false
}
