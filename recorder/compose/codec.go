package compose

import (
	"bytes"
	"fmt"

	"github.com/Eyevinn/mp4ff/avc"
	"github.com/at-wat/ebml-go/webm"

	"github.com/dualrec/dualrec/recorder"
)

// matrix is the colour matrix of a source, in FFmpeg's words.
type matrix string

// WebRTC's encoders make BT.601 limited and do not say so; what a stream does say wins.
const (
	bt601 matrix = "smpte170m"
	bt709 matrix = "bt709"
)

// videoFormat is what the first keyframe of a track tells.
type videoFormat struct {
	track     webm.TrackEntry
	matrix    matrix
	fullRange bool
}

// detect reads a track's first frame, which must be a keyframe.
func detect(codec recorder.Codec, size recorder.Size, first recorder.Frame) (videoFormat, error) {
	f := videoFormat{matrix: bt601, track: webm.TrackEntry{TrackType: matroskaVideo,
		Video: &webm.Video{PixelWidth: uint64(size.W), PixelHeight: uint64(size.H)}}}
	if !first.Key {
		return f, fmt.Errorf("%w: the first frame is no keyframe", ErrSource)
	}
	switch codec {
	case recorder.VP8:
		f.track.CodecID = "V_VP8" // its header knows no matrix but BT.601 (RFC 6386 9.2)
	case recorder.VP9:
		f.track.CodecID = "V_VP9"
		if space, ok := vp9ColorSpace(first.Data); ok && space == vp9BT709 {
			f.matrix = bt709
		}
	case recorder.H264:
		f.track.CodecID = "V_MPEG4/ISO/AVC"
		return f, f.readH264(first.Data)
	default:
		return f, fmt.Errorf("%w: %s is not a video codec that can be composed", ErrJob, codec)
	}
	return f, nil
}

// readH264 makes the decoder configuration of the parameter sets in a keyframe (ISO/IEC 14496-15 5.3.3.1).
func (f *videoFormat) readH264(annexB []byte) error {
	sps := avc.ExtractNalusOfTypeFromByteStream(avc.NALU_SPS, annexB, true)
	pps := avc.ExtractNalusOfTypeFromByteStream(avc.NALU_PPS, annexB, true)
	if len(sps) == 0 || len(pps) == 0 {
		return fmt.Errorf("%w: the first H.264 keyframe has no SPS and PPS in band", ErrSource)
	}
	private, err := decoderConfiguration(sps, pps)
	if err != nil {
		return fmt.Errorf("%w: H.264 parameter sets: %w", ErrSource, err)
	}
	says, err := parseSPS(sps[0])
	if err != nil {
		return fmt.Errorf("%w: H.264: %w", ErrSource, err)
	}
	f.track.CodecPrivate, f.fullRange = private, says.fullRange
	if says.matrix == 1 { // BT.709 (H.264 table E-5)
		f.matrix = bt709
	}
	return nil
}

// payload is a frame as Matroska holds it: H.264 with lengths instead of start codes. Parameter sets stay in band, so
// that a sender may change its PPS. The frame itself stays as it is: it may be rendered again.
func payload(codec recorder.Codec, data []byte) []byte {
	if codec != recorder.H264 {
		return data
	}
	return avc.ConvertByteStreamToNaluSample(bytes.Clone(bytes.TrimRight(data, "\x00")))
}

// visible tells whether a frame shows a picture when decoded.
func visible(codec recorder.Codec, data []byte) bool {
	if codec == recorder.VP8 && len(data) > 0 {
		return data[0]&0x10 != 0 // show_frame (RFC 6386 9.1)
	}
	if codec == recorder.VP9 && len(data) > 0 {
		return vp9Shown(data)
	}
	return true
}

const vp9BT709 = 2 // color_space (VP9 bitstream specification 7.2.2)

// vp9Header reads the first bits of an uncompressed header (VP9 bitstream specification 6.2).
func vp9Header(data []byte) (bits func(n int) uint, profile uint, existing, ok bool) {
	pos := 0
	bits = func(n int) (v uint) {
		for range n {
			if pos/8 < len(data) && data[pos/8]&(0x80>>(pos%8)) != 0 {
				v = v<<1 | 1
			} else {
				v <<= 1
			}
			pos++
		}
		return v
	}
	if bits(2) != 2 {
		return nil, 0, false, false
	}
	low := bits(1)
	profile = bits(1)<<1 | low
	if profile == 3 {
		bits(1)
	}
	return bits, profile, bits(1) == 1, true
}

func vp9Shown(data []byte) bool {
	if data[len(data)-1]&0xe0 == 0xc0 {
		return true // a superframe: one of its frames is shown
	}
	bits, _, existing, ok := vp9Header(data)
	if !ok || existing {
		return true
	}
	bits(1) // frame_type
	return bits(1) == 1
}

func vp9ColorSpace(data []byte) (uint, bool) {
	bits, profile, existing, ok := vp9Header(data)
	if !ok || existing || bits(1) != 0 { // not a keyframe
		return 0, false
	}
	bits(2) // show_frame, error_resilient_mode
	if bits(24) != 0x498342 {
		return 0, false
	}
	if profile >= 2 {
		bits(1) // ten_or_twelve_bit
	}
	return bits(3), true
}
