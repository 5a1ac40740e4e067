package compose

import (
	"bytes"
	"errors"
	"fmt"
)

// NAL unit types (H.264 table 7-1).
const (
	nalSlice = 1
	nalIDR   = 5
	nalSPS   = 7
	nalPPS   = 8
)

// startCode is that of parameter sets and of the first unit of an access unit, which have a zero more (H.264 B.1.2).
var startCode = []byte{0, 0, 0, 1}

// errForm: a stream is not of the form into which repeated pictures can be put; the text around it says why.
var errForm = errors.New("compose: no repeated pictures in this stream")

// parameters is what slice headers depend on, of one SPS and one PPS.
type parameters struct {
	frameNumBits int
	macroblocks  int
	pps          uint
	initQP       int // pic_init_qp
	deblocking   bool
}

// parseParameters reads an SPS and a PPS. Only the form that this package has x264 make is accepted: progressive CABAC
// frames of one slice group in output order, each of which refers to nothing but the one before it.
func parseParameters(sps, pps []byte) (parameters, error) {
	s, err := parseSPS(sps)
	if err != nil {
		return parameters{}, fmt.Errorf("%w: %w", errForm, err)
	}
	switch {
	case !s.framesOnly || s.separate:
		return parameters{}, fmt.Errorf("%w: it has fields or separate colour planes", errForm)
	case s.orderType != 2:
		return parameters{}, fmt.Errorf("%w: pic_order_cnt_type is %d, want 2", errForm, s.orderType)
	case s.references != 1:
		return parameters{}, fmt.Errorf("%w: pictures may refer to %d others, want 1", errForm, s.references)
	}
	p := parameters{frameNumBits: s.frameNumBits, macroblocks: int(s.width * s.height)}
	return p, p.readPPS(pps)
}

// readPPS reads up to redundant_pic_cnt_present_flag (H.264 7.3.2.2).
func (p *parameters) readPPS(pps []byte) error {
	if len(pps) < 2 {
		return fmt.Errorf("%w: the PPS is cut", errForm)
	}
	r := bitReader{data: unescaped(pps[1:])}
	p.pps = r.golomb(255)
	r.golomb(31) // seq_parameter_set_id
	cabac := r.bits(1) == 1
	r.bits(1)
	groups := r.golomb(7) // num_slice_groups_minus1
	if groups != 0 || !cabac {
		return fmt.Errorf("%w: it has slice groups or no CABAC", errForm)
	}
	r.golomb(31) // num_ref_idx_l0_default_active_minus1, and of l1
	r.golomb(31)
	weighted := r.bits(1) == 1
	r.bits(2)
	p.initQP = 26 + r.signed()
	r.signed() // pic_init_qs_minus26, chroma_qp_index_offset
	r.signed()
	p.deblocking = r.bits(1) == 1
	r.bits(1)
	redundant := r.bits(1) == 1
	switch {
	case r.bad || p.initQP < 0 || p.initQP > maxQP:
		return fmt.Errorf("%w: the PPS is cut or out of its limits", errForm)
	case weighted || redundant:
		return fmt.Errorf("%w: it has weighted prediction or redundant pictures", errForm)
	}
	return nil
}

// slice is one picture's only slice.
type slice struct {
	idr        bool
	frameNum   uint
	payload    []byte // of the NAL unit, with its header byte, without emulation prevention
	frameNumAt int    // bit in payload
}

// parseSlice reads a slice header up to dec_ref_pic_marking (H.264 7.3.3) and refuses what does not fit between repeated
// pictures. Behind that, a header says nothing that depends on other pictures.
func (p *parameters) parseSlice(nal []byte) (slice, error) {
	s := slice{payload: unescaped(nal)}
	if len(nal) < 2 || s.payload[len(s.payload)-1] == 0 {
		return s, fmt.Errorf("%w: a slice of %d bytes without a stop bit at its end", errForm, len(nal))
	}
	s.idr = nal[0]&31 == nalIDR
	r := bitReader{data: s.payload, pos: 8}
	first, kind, pps := r.golomb(1<<20), r.golomb(9)%5, r.golomb(255)
	s.frameNumAt = r.pos
	s.frameNum = r.bits(p.frameNumBits)
	if s.idr {
		r.golomb(1 << 16) // idr_pic_id
	}
	active, reordered := uint(0), false
	if kind == 0 {
		if r.bits(1) == 1 { // num_ref_idx_active_override_flag
			active = r.golomb(31)
		}
		reordered = r.bits(1) == 1
	}
	reference := nal[0]>>5&3 != 0
	marking := false
	if reference && s.idr {
		r.bits(1)
		marking = r.bits(1) == 1 // long_term_reference_flag
	} else if reference {
		marking = r.bits(1) == 1 // adaptive_ref_pic_marking_mode_flag
	}
	switch {
	case r.bad:
		return s, fmt.Errorf("%w: a slice header is cut or out of its limits", errForm)
	case first != 0:
		return s, fmt.Errorf("%w: a picture has several slices", errForm)
	case kind != 0 && kind != 2 || pps != p.pps:
		return s, fmt.Errorf("%w: slice type %d with PPS %d", errForm, kind, pps)
	case !reference || active != 0 || reordered || marking:
		return s, fmt.Errorf("%w: a picture is no plain reference", errForm)
	}
	return s, nil
}

// appendSlice appends the slice's NAL unit with another frame_num. That is a field of fixed length, so nothing else
// of the slice moves.
func (p *parameters) appendSlice(annexB []byte, s slice, frameNum uint) []byte {
	for i := range p.frameNumBits {
		at := s.frameNumAt + i
		mask := byte(0x80) >> (at % 8)
		if frameNum>>(p.frameNumBits-1-i)&1 == 1 {
			s.payload[at/8] |= mask
		} else {
			s.payload[at/8] &^= mask
		}
	}
	return appendUnit(annexB, s.payload)
}

// appendRepeat appends the access unit of a picture that is the one before it; skipped is its slice data from skippedMacroblocks.
func (p *parameters) appendRepeat(annexB []byte, frameNum uint, skipped []byte) []byte {
	var w bitWriter
	w.bits(2<<5|nalSlice, 8) // nal_ref_idc as x264's of P pictures
	w.golomb(0)              // first_mb_in_slice
	w.golomb(5)              // slice_type: P, as all slices of the picture
	w.golomb(p.pps)
	w.bits(frameNum, p.frameNumBits)
	w.bits(1, 1) // num_ref_idx_active_override_flag
	w.golomb(0)  // num_ref_idx_l0_active_minus1
	w.bits(0, 1) // ref_pic_list_modification_flag_l0
	w.bits(0, 1) // adaptive_ref_pic_marking_mode_flag
	w.golomb(skipInit)
	w.signed(skipQP - p.initQP)
	if p.deblocking {
		w.golomb(1) // disable_deblocking_filter_idc; otherwise it would find nothing to filter (H.264 8.7.2.1)
	}
	w.alignOnes()
	return appendUnit(append(annexB, startCode...), append(w.data(), skipped...))
}

// appendUnit appends a NAL unit, with emulation prevention (H.264 7.4.1), also behind zeros at its end.
func appendUnit(annexB, payload []byte) []byte {
	for {
		i := bytes.Index(payload, []byte{0, 0})
		if i < 0 {
			return append(annexB, payload...)
		}
		annexB, payload = append(annexB, payload[:i+2]...), payload[i+2:]
		if len(payload) == 0 || payload[0] <= 3 {
			annexB = append(annexB, 3)
		}
	}
}
