package depacketize

import (
	"fmt"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtp/codecs"
	vp9header "github.com/pion/rtp/codecs/vp9"
)

// vp9 is RFC 9628 (payload) and the VP9 bitstream specification §6.2 (uncompressed header).
type vp9 struct{ part []byte }

func (v *vp9) read(payload []byte, _ bool) (bool, error) {
	var d codecs.VP9Packet // a fresh one each time: it appends to its lists
	part, err := d.Unmarshal(payload)
	if err != nil {
		return false, fmt.Errorf("%w: VP9: %w", ErrMalformed, err)
	}
	v.part = part
	// A layer frame above the lowest one begins with B as well, but not the picture.
	return d.B && (!d.L || d.SID == 0 || !d.D), nil
}

func (v *vp9) add(frame []byte) ([]byte, error) { return append(frame, v.part...), nil }

func (v *vp9) drop() {}

// restarts: the layer frames of one picture have one timestamp and a B each.
func (v *vp9) restarts() bool { return false }

func (v *vp9) finish(frame []byte) ([]byte, facts) {
	var h vp9header.Header
	if err := h.Unmarshal(frame); err != nil {
		return frame, facts{damaged: true}
	}
	if h.ShowExistingFrame || h.NonKeyFrame {
		return frame, facts{picture: true}
	}
	// Width and Height of the header type wrap at 65,536, so the sum is made here.
	size := recorder.Size{W: int(h.FrameSize.FrameWidthMinus1) + 1, H: int(h.FrameSize.FrameHeightMinus1) + 1}
	return frame, facts{key: true, size: size, picture: true}
}
