package compose

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Parameter sets of x264 as this package runs it, for 320x180.
var (
	testSPS = []byte("\x67\x64\x00\x1f\xac\xb4\x0a\x0c\xfc\xf8\x0b\x50\x10\x10\x14\x00\x00\x03\x00\x04\x00\x00\x03\x00\xf0\x3c\x60\xca\x80")
	testPPS = []byte("\x68\xee\x3c\xb0")
)

// testSlice is a slice of the test's parameter sets (frame_num of 4 bits) with so much slice data.
func testSlice(idr bool, frameNum uint, data ...byte) []byte {
	var w bitWriter
	w.bits(2<<5|nalSlice, 8)
	if idr {
		w = bitWriter{}
		w.bits(3<<5|nalIDR, 8)
	}
	w.golomb(0)
	if idr {
		w.golomb(7)
	} else {
		w.golomb(5)
	}
	w.golomb(0)
	w.bits(frameNum, 4)
	if idr {
		w.golomb(0)
		w.bits(0, 2)
	} else {
		w.bits(0, 3) // override, modification, marking
		w.golomb(0)
	}
	w.signed(2)
	w.golomb(1)
	w.alignOnes()
	return append(w.data(), data...)
}

func annexBOf(payloads ...[]byte) (out []byte) {
	for _, p := range payloads {
		out = appendUnit(append(out, startCode...), p)
	}
	return out
}

// sets stand in a stream as they are, with their emulation prevention.
func withSets(stream []byte) []byte {
	return slices.Concat(startCode, testSPS, startCode, testPPS, stream)
}

func TestStretch(t *testing.T) {
	t.Parallel()
	// Slice data full of what looks like start codes: it must come out as it was, however frame_num changes what stands before.
	awkward := []byte{0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 3, 0, 0, 3, 1, 0, 0, 4, 0x80}
	in := withSets(annexBOf(testSlice(true, 0, awkward...), testSlice(false, 1, awkward...), testSlice(false, 2, awkward...)))
	in = slices.Concat(in, withSets(annexBOf(testSlice(true, 0, awkward...), testSlice(false, 1, 0x80))))
	out, err := stretch(in, []int64{0, 20, 21, 30, 31}, 40)
	if err != nil {
		t.Fatal(err)
	}
	params, err := parseParameters(testSPS, testPPS)
	if err != nil {
		t.Fatal(err)
	}
	skipped := skippedMacroblocks(20 * 12)
	n, expected := int64(0), uint(0)
	for unit := range units(out) {
		if kind := unit[0] & 31; kind == nalSPS || kind == nalPPS {
			continue
		}
		s, err := params.parseSlice(unit)
		if err != nil {
			t.Fatal(err)
		}
		if s.idr {
			expected = 0
		}
		if s.idr != (n == 0 || n == 30) || s.frameNum != expected%16 {
			t.Errorf("frame %d: IDR %t, frame_num %d, want %d", n, s.idr, s.frameNum, expected%16)
		}
		encoded := n == 0 || n == 20 || n == 21 || n == 30 || n == 31
		if got := bytes.HasSuffix(s.payload, skipped); got == encoded {
			t.Errorf("frame %d: encoded %t, skipped %t", n, encoded, got)
		}
		if encoded && n != 31 && !bytes.HasSuffix(s.payload, awkward) {
			t.Errorf("frame %d: slice data is % x, want % x at its end", n, s.payload, awkward)
		}
		n, expected = n+1, expected+1
	}
	if n != 40 {
		t.Errorf("%d frames, want 40", n)
	}
}

// Without repeats nothing of a stream changes.
func TestStretchByNothing(t *testing.T) {
	t.Parallel()
	in := withSets(annexBOf(testSlice(true, 0, 1, 2, 3), testSlice(false, 1, 0, 0, 1, 0x80), testSlice(false, 2, 4)))
	in = slices.Replace(in, len(startCode)*2+len(testSPS)+len(testPPS), len(startCode)*2+len(testSPS)+len(testPPS)+1) // the IDR slice goes on with its access unit
	out, err := stretch(in, []int64{0, 1, 2}, 3)
	if err != nil || !bytes.Equal(in, out) {
		t.Errorf("% x is\n% x, %v", in, out, err)
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	t.Parallel()
	first := testSlice(true, 0, 0x80)
	with := func(sps, pps []byte) []byte { return slices.Concat(startCode, sps, startCode, pps, annexBOf(first)) }
	slice := func(change func(w *bitWriter)) []byte {
		w := bitWriter{}
		w.bits(2<<5|nalSlice, 8)
		change(&w)
		w.bits(0x8080, 16)
		return withSets(annexBOf(first, w.data()))
	}
	for _, tt := range []struct {
		name   string
		stream []byte
		says   string
	}{
		{"nothing", nil, "0 pictures"},
		{"no parameter sets", annexBOf(first), "SPS"},
		{"an SPS that is cut", with(testSPS[:6], testPPS), "SPS"},
		{"a PPS that is cut", with(testSPS, testPPS[:2]), "PPS"},
		{"CAVLC", with(testSPS, []byte{0x68, 0xce, 0x3c, 0xb0}), "CABAC"},
		{"weighted prediction", with(testSPS, []byte{0x68, 0xef, 0x3c, 0xb0}), "weighted"},
		{"another SPS", slices.Concat(with(testSPS, testPPS), startCode, testSPS[:12]), "several parameter sets"},
		{"an SEI", slices.Concat(with(testSPS, testPPS), startCode, []byte{6, 5, 1, 0x80}), "type 6"},
		{"no IDR first", withSets(annexBOf(testSlice(false, 0, 0x80))), "frame_num"},
		{"a gap", withSets(annexBOf(first, testSlice(false, 2, 0x80))), "frame_num 2, want 1"},
		{"too few", withSets(annexBOf(first)), "1 pictures"},
		{"too many", withSets(annexBOf(first, testSlice(false, 1, 0x80), testSlice(false, 2, 0x80))), "more than 2"},
		{"several slices", slice(func(w *bitWriter) { w.golomb(9); w.golomb(5); w.golomb(0); w.bits(1, 4); w.bits(0, 3) }), "several slices"},
		{"a B picture", slice(func(w *bitWriter) { w.golomb(0); w.golomb(6); w.golomb(0); w.bits(1, 4) }), "slice type 1"},
		{"another PPS", slice(func(w *bitWriter) { w.golomb(0); w.golomb(5); w.golomb(3); w.bits(1, 4); w.bits(0, 3) }), "PPS 3"},
		{"two references", slice(func(w *bitWriter) {
			w.golomb(0)
			w.golomb(5)
			w.golomb(0)
			w.bits(1, 4)
			w.bits(1, 1)
			w.golomb(1)
			w.bits(0, 2)
		}), "no plain reference"},
		{"reordered references", slice(func(w *bitWriter) { w.golomb(0); w.golomb(5); w.golomb(0); w.bits(1, 4); w.bits(0b010, 3) }), "no plain reference"},
		{"marking", slice(func(w *bitWriter) { w.golomb(0); w.golomb(5); w.golomb(0); w.bits(1, 4); w.bits(0b001, 3) }), "no plain reference"},
		{"a slice that is cut", withSets(append(annexBOf(first), 0, 0, 1, 0x41)), "a slice of 1 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, err := stretch(tt.stream, []int64{0, 5}, 10)
			if !errors.Is(err, errForm) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%d bytes, error is %v, want errForm that says %q", len(out), err, tt.says)
			}
		})
	}
}

// Decoded as the standard says, the slice data is so many skipped macroblocks and then the end.
func TestSkippedMacroblocks(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 7, 100, 8160, 13600} {
		data := skippedMacroblocks(n)
		if flags, ok := decodeSkipped(data, n); !ok {
			t.Errorf("of %d macroblocks %d are decoded as skipped from % x", n, flags, data)
		}
	}
}

// decodeSkipped decodes slice data (H.264 9.3.3.2). Both flags may come out either way.
func decodeSkipped(data []byte, n int) (skipped int, ok bool) {
	r := bitReader{data: data}
	width, offset := uint(510), r.bits(9)
	state := 0
	renorm := func() {
		for width < 256 {
			width, offset = width<<1, offset<<1|r.bits(1)
		}
	}
	for i := range n {
		lps := uint(rangeLPS[state][width>>6&3])
		if width -= lps; offset >= width {
			return i, false // mb_skip_flag is 0
		}
		state = min(state+1, 56)
		renorm()
		if width -= 2; offset >= width {
			// An interval of two needs eight of the nine bits that the decoder holds; the ninth is the stop bit.
			return i + 1, i == n-1 && stopBitAt(data) == r.pos-1 && !r.bad
		}
		renorm()
	}
	return n, false
}

// stopBitAt is the position of the last 1.
func stopBitAt(data []byte) int {
	for i := len(data)*8 - 1; i >= 0; i-- {
		if data[i/8]&(0x80>>(i%8)) != 0 {
			return i
		}
	}
	return -1
}

func TestEmulationPrevention(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, payload, want string }{
		{"nothing to do", "\x41\x00\x01\x80", "\x41\x00\x01\x80"},
		{"start code", "\x00\x00\x01", "\x00\x00\x03\x01"},
		{"four is harmless", "\x00\x00\x04", "\x00\x00\x04"},
		{"many zeros", "\x00\x00\x00\x00\x00\x01", "\x00\x00\x03\x00\x00\x03\x00\x01"},
		{"a three", "\x00\x00\x03\x80", "\x00\x00\x03\x03\x80"},
		{"zeros at the end", "\x80\x00\x00", "\x80\x00\x00\x03"},
		{"twice", "\x01\x00\x00\x02\x00\x00\x02", "\x01\x00\x00\x03\x02\x00\x00\x03\x02"},
	} {
		got := appendUnit(nil, []byte(tt.payload))
		if string(got) != tt.want || string(unescaped(got)) != tt.payload {
			t.Errorf("%s: % x becomes % x, want % x", tt.name, tt.payload, got, tt.want)
		}
	}
}

func TestGolombRoundTrip(t *testing.T) {
	t.Parallel()
	var w bitWriter
	values := []int{0, 1, -1, 2, -2, 30, -30, 1000, -1000}
	for _, v := range values {
		w.signed(v)
	}
	w.alignOnes()
	r := bitReader{data: w.data()}
	for _, v := range values {
		if got := r.signed(); got != v || r.bad {
			t.Errorf("%d comes back as %d", v, got)
		}
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	s := &schedule{frames: 50, slots: []int64{0, 4, 30}}
	for slot, want := range map[int64]int64{-3: -3, 0: 0, 3: 0, 4: 1, 29: 1, 30: 2, 49: 2, 50: 3, 90: 3} {
		if got := s.index(slot); got != want {
			t.Errorf("slot %d is encoded frame %d, want %d", slot, got, want)
		}
	}
	for encoded, want := range map[int64]int64{0: 0, 1: 4, 2: 30, 3: 50, 5: 52} {
		if got := s.shown(encoded); got != want {
			t.Errorf("%d encoded frames are %d of the output, want %d", encoded, got, want)
		}
	}
	job := recorder.VideoJob{FPS: 30, Frames: 80}
	if got := keyframeSlots(700*time.Millisecond, job); !slices.Equal(got, []int64{0, 21, 42, 63}) {
		t.Errorf("keyframes are due at %v", got)
	}
	job.FPS = 24 // 16.8, 33.6, 50.4, 67.2
	if got := keyframeSlots(700*time.Millisecond, job); !slices.Equal(got, []int64{0, 17, 34, 51, 68}) {
		t.Errorf("keyframes are due at %v", got)
	}
}

// Whatever an encoder puts out, the result is a whole stream or errForm: every picture is parsed again, and none is lost.
func FuzzStretch(f *testing.F) {
	good := withSets(annexBOf(testSlice(true, 0, 1, 2, 3), testSlice(false, 1, 0, 0, 1, 0x80), testSlice(false, 2, 4)))
	f.Add(good, uint64(5)<<8|9)
	f.Add(good[:len(good)-8], uint64(3))
	f.Add(slices.Concat(good, good), uint64(70_000))
	f.Add([]byte("\x00\x00\x01\x67\x00\x00\x01\x68\x00\x00\x01\x65\x88\x80\x00\x00\x01\x41"), uint64(1))
	f.Fuzz(func(t *testing.T, annexB []byte, gaps uint64) {
		pictures := 0
		for unit := range units(annexB) {
			if kind := unit[0] & 31; kind == nalSlice || kind == nalIDR {
				pictures++
			}
		}
		// Four bits of gaps say how far apart the pictures are.
		slots, at := []int64{}, int64(0)
		for i := range pictures {
			slots = append(slots, at)
			at += 1 + int64(binary.LittleEndian.AppendUint64(nil, gaps)[i%8]&15)
		}
		original := bytes.Clone(annexB)
		out, err := stretch(annexB, slots, at)
		if !bytes.Equal(annexB, original) {
			t.Error("the input was changed")
		}
		if err != nil {
			if !errors.Is(err, errForm) {
				t.Errorf("error is %v, want errForm", err)
			}
			return
		}
		n := int64(0)
		for unit := range units(out) {
			if kind := unit[0] & 31; kind == nalSlice || kind == nalIDR {
				n++
			}
		}
		if n != at {
			t.Errorf("%d pictures, want %d", n, at)
		}
		if again, err := stretch(out, sequential(at), at); err != nil || !bytes.Equal(again, out) {
			t.Errorf("the result is not of the form: %v", err)
		}
	})
}

func sequential(n int64) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(i)
	}
	return out
}
