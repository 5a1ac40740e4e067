package compose

// rangeLPS is rangeTabLPS (H.264 table 9-44) from the state in which skipQP leaves the context of mb_skip_flag on.
var rangeLPS = [...][4]uint16{
	{105, 128, 152, 175}, {100, 122, 144, 166}, {95, 116, 137, 158}, {90, 110, 130, 150}, {85, 104, 123, 142},
	{81, 99, 117, 135}, {77, 94, 111, 128}, {73, 89, 105, 122}, {69, 85, 100, 116}, {66, 80, 95, 110},
	{62, 76, 90, 104}, {59, 72, 86, 99}, {56, 69, 81, 94}, {53, 65, 77, 89}, {51, 62, 73, 85},
	{48, 59, 69, 80}, {46, 56, 66, 76}, {43, 53, 63, 72}, {41, 50, 59, 69}, {39, 48, 56, 65},
	{37, 45, 54, 62}, {35, 43, 51, 59}, {33, 41, 48, 56}, {32, 39, 46, 53}, {30, 37, 43, 50},
	{29, 35, 41, 48}, {27, 33, 39, 45}, {26, 31, 37, 43}, {24, 30, 35, 41}, {23, 28, 33, 39},
	{22, 27, 32, 37}, {21, 26, 30, 35}, {20, 24, 29, 33}, {19, 23, 27, 31}, {18, 22, 26, 30},
	{17, 21, 25, 28}, {16, 20, 23, 27}, {15, 19, 22, 25}, {14, 18, 21, 24}, {14, 17, 20, 23},
	{13, 16, 19, 22}, {12, 15, 18, 21}, {12, 14, 17, 20}, {11, 14, 16, 19}, {11, 13, 15, 18},
	{10, 12, 15, 17}, {10, 12, 14, 16}, {9, 11, 13, 15}, {9, 11, 12, 14}, {8, 10, 12, 14},
	{8, 9, 11, 13}, {7, 9, 11, 12}, {7, 9, 10, 12}, {7, 8, 10, 11}, {6, 8, 9, 11},
	{6, 7, 9, 10}, {6, 7, 8, 9},
}

// skipQP and skipInit choose the state of the context of mb_skip_flag at the slice's start (H.264 9.3.1.1): with
// SliceQPY 26 and cabac_init_idc 0 it is ((23*26)>>4)+33 = 70, which is pStateIdx 6 with 1 as the more probable value.
const (
	skipQP   = 26
	skipInit = 0
)

// skippedMacroblocks is the CABAC coded slice data of a P picture of n macroblocks that are all skipped, including the
// stop bit and the zeros up to the byte's end (H.264 9.3.4.2). Skipped, with a neighbour that is skipped too or is not
// there, means no motion and no residual (8.4.1.1): the picture is that before it, bit by bit.
//
// Every flag has the more probable value, so the lower end of the coder's interval stays at zero to the end, and with it
// every bit that is put out. It is enough to count them.
func skippedMacroblocks(n int) []byte {
	state, width, zeros := 0, uint16(510), 0
	renorm := func() {
		for ; width < 256; width <<= 1 {
			zeros++
		}
	}
	for i := range n {
		width -= rangeLPS[state][width>>6&3] // mb_skip_flag 1
		renorm()
		state = min(state+1, len(rangeLPS)-1)
		width -= 2 // end_of_slice_flag
		if i < n-1 {
			renorm()
		}
	}
	// The end of the slice moves the lower end to width and puts its ten bits out; the last is the stop bit. The very
	// first bit of a slice is never written.
	w := bitWriter{}
	for range zeros / 8 {
		w.bits(0, 8)
	}
	w.bits(0, zeros%8)
	w.bits(uint(width)|1, 10)
	return dropFirstBit(w.data())
}

// dropFirstBit moves all bits up by one; an empty last byte falls away.
func dropFirstBit(b []byte) []byte {
	for i := range b {
		b[i] <<= 1
		if i+1 < len(b) {
			b[i] |= b[i+1] >> 7
		}
	}
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// bitWriter writes bits and Exp-Golomb codes (H.264 9.1).
type bitWriter struct {
	b    []byte
	free int // bits of the last byte that are not written yet
}

func (w *bitWriter) bits(v uint, n int) {
	for n--; n >= 0; n-- {
		if w.free == 0 {
			w.b, w.free = append(w.b, 0), 8
		}
		w.free--
		w.b[len(w.b)-1] |= byte(v>>n&1) << w.free
	}
}

func (w *bitWriter) golomb(v uint) {
	zeros := 0
	for (v+1)>>zeros > 1 {
		zeros++
	}
	w.bits(0, zeros)
	w.bits(v+1, zeros+1)
}

// signed is se(v).
func (w *bitWriter) signed(v int) {
	if v > 0 {
		w.golomb(uint(2*v - 1))
		return
	}
	w.golomb(uint(-2 * v))
}

// alignOnes fills the last byte with ones, as cabac_alignment_one_bit does.
func (w *bitWriter) alignOnes() { w.bits(1<<w.free-1, w.free) }

// data is what was written; the rest of the last byte is zeros.
func (w *bitWriter) data() []byte { return w.b }
