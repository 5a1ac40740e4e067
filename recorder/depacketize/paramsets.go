package depacketize

import (
	"bytes"
	"fmt"

	"github.com/Eyevinn/mp4ff/bits"
	"github.com/dualrec/dualrec/recorder"
)

// Bounds of ITU-T H.264 on what is read here.
const (
	maxParamSetBytes = 4096
	maxSPSID         = 31
	maxPPSID         = 255
	maxPOCCycle      = 255
	maxMacroblocks   = 1024 // in one direction: 16,384 pixels
)

// parseSPS reads the id and the cropped picture size of a sequence parameter set (ITU-T H.264 §7.3.2.1.1).
// It stops before the VUI. The library's own parser is not used on packets from outside because it allocates
// by a 32-bit count that it does not check; a test holds both to the same answers.
func parseSPS(nal []byte) (id uint, size recorder.Size, err error) {
	if len(nal) < 4 || len(nal) > maxParamSetBytes {
		return 0, size, fmt.Errorf("%w: H264: SPS of %d bytes", ErrMalformed, len(nal))
	}
	r := bits.NewEBSPReader(bytes.NewReader(nal[1:]))
	profile := r.Read(8)
	r.Read(16) // constraint flags, level
	id = r.ReadExpGolomb()
	chroma := uint(1)
	if hasChromaFormat(profile) {
		chroma = readChroma(r)
	}
	r.ReadExpGolomb() // log2_max_frame_num_minus4
	skipPictureOrder(r)
	r.ReadExpGolomb() // max_num_ref_frames
	r.Read(1)         // gaps_in_frame_num_value_allowed_flag
	w, h := r.ReadExpGolomb()+1, r.ReadExpGolomb()+1
	fields := uint(2)
	if r.ReadFlag() { // frame_mbs_only_flag
		fields = 1
	} else {
		r.Read(1) // mb_adaptive_frame_field_flag
	}
	r.Read(1) // direct_8x8_inference_flag
	var crop [4]uint
	if r.ReadFlag() {
		for i := range crop {
			crop[i] = r.ReadExpGolomb()
		}
	}
	if r.AccError() != nil || id > maxSPSID || w > maxMacroblocks || h > maxMacroblocks {
		return 0, size, fmt.Errorf("%w: H264: unreadable SPS", ErrMalformed)
	}
	unitX, unitY := cropUnits(chroma, fields)
	size, ok := cropped(w*16, h*16*fields, crop, unitX, unitY)
	if !ok {
		return 0, recorder.Size{}, fmt.Errorf("%w: H264: SPS crops the whole picture away", ErrMalformed)
	}
	return id, size, nil
}

// parsePPS reads the id of a picture parameter set (§7.3.2.2).
func parsePPS(nal []byte) (uint, error) {
	if len(nal) < 2 || len(nal) > maxParamSetBytes {
		return 0, fmt.Errorf("%w: H264: PPS of %d bytes", ErrMalformed, len(nal))
	}
	r := bits.NewEBSPReader(bytes.NewReader(nal[1:]))
	id := r.ReadExpGolomb()
	if r.AccError() != nil || id > maxPPSID {
		return 0, fmt.Errorf("%w: H264: unreadable PPS", ErrMalformed)
	}
	return id, nil
}

func hasChromaFormat(profile uint) bool {
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		return true
	}
	return false
}

func readChroma(r *bits.EBSPReader) uint {
	chroma := r.ReadExpGolomb()
	if chroma == 3 && r.ReadFlag() {
		chroma = 0 // separate colour planes are coded like monochrome pictures
	}
	r.ReadExpGolomb() // bit_depth_luma_minus8
	r.ReadExpGolomb() // bit_depth_chroma_minus8
	r.Read(1)         // qpprime_y_zero_transform_bypass_flag
	if r.ReadFlag() {
		skipScalingLists(r, chroma)
	}
	return chroma
}

func skipScalingLists(r *bits.EBSPReader, chroma uint) {
	lists := 8
	if chroma == 3 {
		lists = 12
	}
	for i := range lists {
		if !r.ReadFlag() {
			continue
		}
		n := 16
		if i >= 6 {
			n = 64
		}
		last, next := 8, 8
		for range n {
			if next != 0 {
				next = (last + r.ReadSignedGolomb()%256 + 256) % 256
			}
			if next != 0 {
				last = next
			}
		}
	}
}

func skipPictureOrder(r *bits.EBSPReader) {
	switch r.ReadExpGolomb() {
	case 0:
		r.ReadExpGolomb()
	case 1:
		r.Read(1)
		r.ReadExpGolomb()
		r.ReadExpGolomb()
		for range min(r.ReadExpGolomb(), maxPOCCycle) {
			r.ReadExpGolomb()
		}
	}
}

func cropUnits(chroma, fields uint) (x, y uint) {
	switch chroma {
	case 1:
		return 2, 2 * fields
	case 2:
		return 2, fields
	}
	return 1, fields
}

func cropped(w, h uint, crop [4]uint, unitX, unitY uint) (recorder.Size, bool) {
	for i, c := range crop {
		limit := []uint{w, w, h, h}[i]
		if c > limit {
			return recorder.Size{}, false
		}
	}
	cutX, cutY := (crop[0]+crop[1])*unitX, (crop[2]+crop[3])*unitY
	if cutX >= w || cutY >= h {
		return recorder.Size{}, false
	}
	return recorder.Size{W: int(w - cutX), H: int(h - cutY)}, true
}
