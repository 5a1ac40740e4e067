package depacketize

import (
	"errors"
	"fmt"

	"github.com/dualrec/dualrec/recorder"
)

// Errors of Push. The depacketizer stays usable; the frame that the packet belongs to is delivered as damaged.
var (
	// ErrMalformed: a payload does not follow its payload format.
	ErrMalformed = errors.New("depacketize: malformed payload")
	// ErrFrameTooLarge: a frame passed MaxFrameBytes.
	ErrFrameTooLarge = errors.New("depacketize: frame too large")
)

// MaxFrameBytes bounds one frame. The largest keyframes of 4K screens are below 2 MB.
const MaxFrameBytes = 16 << 20

// Set makes parsers and depacketizers. It has no state: the zero value is ready, and safe for concurrent use.
type Set struct{}

var _ recorder.Depacketizers = Set{}

// New returns a depacketizer for codec, or recorder.ErrCodec.
func (Set) New(codec recorder.Codec) (recorder.Depacketizer, error) {
	switch codec {
	case recorder.VP8:
		return newAssembler(&vp8{}), nil
	case recorder.VP9:
		return newAssembler(&vp9{}), nil
	case recorder.H264:
		return newAssembler(newH264()), nil
	case recorder.Opus:
		return &opus{}, nil
	}
	return nil, fmt.Errorf("%w: %q", recorder.ErrCodec, codec)
}
