package compose

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
)

// signal is what an SPS says of the colours (H.264 E.2.1).
type signal struct {
	fullRange bool
	matrix    uint // matrix_coefficients; 2: unspecified
}

// unspecified is matrix_coefficients of a stream that does not say (H.264 table E-5).
const unspecified = 2

var errSPS = errors.New("the SPS is cut or out of its limits")

// sequence is what this package wants to know of an SPS (H.264 7.3.2.1.1).
type sequence struct {
	signal
	separate     bool // separate_colour_plane_flag
	frameNumBits int
	orderType    uint // pic_order_cnt_type
	references   uint // max_num_ref_frames
	width        uint // in macroblocks
	height       uint // in map units, which are macroblocks if framesOnly
	framesOnly   bool
}

// unescaped is the payload of a NAL unit without the bytes that keep start codes out of it (H.264 7.4.1).
func unescaped(nal []byte) []byte { return bytes.ReplaceAll(nal, []byte{0, 0, 3}, []byte{0, 0}) }

// parseSPS reads an SPS up to the colour description. It is our own because an SPS comes from the network: the
// library's parser allocates and loops by counts that a sender may set to billions.
func parseSPS(sps []byte) (sequence, error) {
	out := sequence{signal: signal{matrix: unspecified}}
	if len(sps) < 4 {
		return out, errSPS
	}
	r := bitReader{data: unescaped(sps[4:])}
	r.golomb(31) // seq_parameter_set_id
	switch sps[1] {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		out.separate = r.chromaAndScaling()
	}
	out.frameNumBits = int(r.golomb(12)) + 4
	out.orderType = r.golomb(2)
	switch out.orderType {
	case 0:
		r.golomb(12) // log2_max_pic_order_cnt_lsb_minus4
	case 1:
		r.bits(1)
		r.golomb(math.MaxUint32)
		r.golomb(math.MaxUint32)
		for range r.golomb(255) { // num_ref_frames_in_pic_order_cnt_cycle
			r.golomb(math.MaxUint32)
		}
	}
	out.references = r.golomb(16)
	r.bits(1)
	out.width = r.golomb(1<<10) + 1
	out.height = r.golomb(1<<10) + 1
	if out.framesOnly = r.bits(1) == 1; !out.framesOnly {
		r.bits(1)
	}
	r.bits(1)
	if r.bits(1) == 1 { // frame_cropping_flag
		for range 4 {
			r.golomb(1 << 14)
		}
	}
	if r.bits(1) == 1 { // vui_parameters_present_flag
		r.signal(&out.signal)
	}
	if r.bad {
		return out, errSPS
	}
	return out, nil
}

// chromaAndScaling reads what only the high profiles have.
func (r *bitReader) chromaAndScaling() (separate bool) {
	lists := 8
	if r.golomb(3) == 3 { // chroma_format_idc
		separate = r.bits(1) == 1
		lists = 12
	}
	r.golomb(6)
	r.golomb(6)
	r.bits(1)
	if r.bits(1) == 0 { // seq_scaling_matrix_present_flag
		return separate
	}
	for i := range lists {
		if r.bits(1) == 0 {
			continue
		}
		size, last, next := 16, 8, 8
		if i >= 6 {
			size = 64
		}
		for range size {
			if next != 0 {
				next = (last + r.signed() + 256) % 256
			}
			if next != 0 {
				last = next
			}
		}
	}
	return separate
}

// signal reads the beginning of the VUI.
func (r *bitReader) signal(out *signal) {
	const extendedSAR = 255
	if r.bits(1) == 1 && r.bits(8) == extendedSAR {
		r.bits(32)
	}
	if r.bits(1) == 1 { // overscan_info_present_flag
		r.bits(1)
	}
	if r.bits(1) == 1 { // video_signal_type_present_flag
		r.bits(3)
		out.fullRange = r.bits(1) == 1
		if r.bits(1) == 1 {
			r.bits(16)
			out.matrix = r.bits(8)
		}
	}
}

// bitReader reads bits and Exp-Golomb codes (H.264 9.1). Beyond the end or a limit it is bad and reads zeros.
type bitReader struct {
	data []byte
	pos  int
	bad  bool
}

func (r *bitReader) bits(n int) (v uint) {
	for range n {
		if r.pos >= len(r.data)*8 {
			r.bad = true
			return 0
		}
		v = v<<1 | uint(r.data[r.pos/8]>>(7-r.pos%8)&1)
		r.pos++
	}
	return v
}

func (r *bitReader) golomb(limit uint) uint {
	zeros := 0
	for r.bits(1) == 0 {
		if zeros++; zeros > 32 || r.bad {
			r.bad = true
			return 0
		}
	}
	if v := 1<<zeros - 1 + r.bits(zeros); v <= limit && !r.bad {
		return v
	}
	r.bad = true
	return 0
}

// signed is se(v).
func (r *bitReader) signed() int {
	v := int(r.golomb(math.MaxUint16))
	if v%2 == 0 {
		return -v / 2
	}
	return (v + 1) / 2
}

// decoderConfiguration is an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1) with 4-byte lengths. The fields that
// only high profiles have are left out; decoders take them from the SPS.
func decoderConfiguration(sps, pps [][]byte) ([]byte, error) {
	if len(sps) > 31 || len(pps) > 255 || len(sps[0]) < 4 {
		return nil, errSPS
	}
	b := []byte{1, sps[0][1], sps[0][2], sps[0][3], 0xff, 0xe0 | byte(len(sps))}
	var err error
	add := func(sets [][]byte) {
		for _, s := range sets {
			if len(s) > math.MaxUint16 {
				err = errSPS
				return
			}
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
		}
	}
	add(sps)
	b = append(b, byte(len(pps)))
	add(pps)
	return b, err
}
