package depacketize

import (
	"fmt"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtp/codecs"
)

// vp8 is RFC 7741 (payload) and RFC 6386 §9.1 (frame header).
type vp8 struct{ part []byte }

func (v *vp8) read(payload []byte, _ bool) (bool, error) {
	var d codecs.VP8Packet
	part, err := d.Unmarshal(payload)
	if err != nil {
		return false, fmt.Errorf("%w: VP8: %w", ErrMalformed, err)
	}
	v.part = part
	return d.S == 1 && d.PID == 0, nil
}

func (v *vp8) add(frame []byte) ([]byte, error) { return append(frame, v.part...), nil }

func (v *vp8) drop() {}

// restarts: S with partition 0 stands once in a frame.
func (v *vp8) restarts() bool { return true }

func (v *vp8) finish(frame []byte) ([]byte, facts) {
	const tag, keyHeader = 3, 10
	if len(frame) < tag {
		return frame, facts{damaged: true}
	}
	if frame[0]&1 != 0 { // the inverse key frame flag
		return frame, facts{picture: true}
	}
	if len(frame) < keyHeader || frame[3] != 0x9d || frame[4] != 0x01 || frame[5] != 0x2a {
		return frame, facts{damaged: true}
	}
	size := recorder.Size{ // 14 bits each; the two above them ask for upscaling, which no browser uses
		W: (int(frame[6]) | int(frame[7])<<8) & 0x3fff,
		H: (int(frame[8]) | int(frame[9])<<8) & 0x3fff,
	}
	return frame, facts{key: true, size: size, damaged: size.Zero(), picture: true}
}
