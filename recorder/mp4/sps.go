package mp4

import "bytes"

// plausibleSPS reads an SPS (H.264 7.3.2.1.1) up to the picture order count and tells whether its one count that drives an
// allocation is within its limit. The library's parser takes that count as it comes, up to billions.
func plausibleSPS(sps []byte) bool {
	if len(sps) < 5 {
		return false
	}
	// The payload without the bytes that keep start codes out of it (H.264 7.4.1).
	r := golombReader{data: bytes.ReplaceAll(sps[4:], []byte{0, 0, 3}, []byte{0, 0})}
	r.next() // seq_parameter_set_id
	switch sps[1] {
	case 66, 77, 88:
	case 100:
		if r.next() != 1 || r.next() != 0 || r.next() != 0 { // 4:2:0, 8 bits
			return false
		}
		// A lossless flag or a scaling matrix: nobody who makes segments sets them.
		if lossless, scaling := r.bit(), r.bit(); lossless != 0 || scaling != 0 {
			return false
		}
	default:
		return false
	}
	if r.next() > 12 { // log2_max_frame_num_minus4
		return false
	}
	// Type 1 holds the count; encoders of our time write 0 or 2.
	kind := r.next()
	return !r.cut && (kind == 0 || kind == 2)
}

// golombReader reads Exp-Golomb codes (H.264 9.1); cut says that the data ended or a code had more than 16 bits.
type golombReader struct {
	data []byte
	pos  int
	cut  bool
}

func (g *golombReader) bit() uint {
	if g.pos >= len(g.data)*8 {
		g.cut = true
		return 1 // ends every loop
	}
	v := uint(g.data[g.pos/8]>>(7-g.pos%8)) & 1
	g.pos++
	return v
}

func (g *golombReader) next() uint {
	zeros := 0
	for g.bit() == 0 {
		if zeros++; zeros > 16 {
			g.cut = true
			return 0
		}
	}
	v := uint(1)
	for range zeros {
		v = v<<1 | g.bit()
	}
	return v - 1
}
