package compose

import (
	"bytes"
	"fmt"
	"iter"
)

// stretch puts repeated pictures between the encoded ones, so that the i-th of these is output frame slots[i] and the
// whole has so many frames. The first slot is 0. Errors: errForm.
func stretch(annexB []byte, slots []int64, frames int64) ([]byte, error) {
	s := stretcher{slots: slots, out: make([]byte, 0, len(annexB)+int(frames)*32)}
	for unit := range units(annexB) {
		if err := s.unit(unit); err != nil {
			return nil, err
		}
	}
	if s.encoded != len(slots) || s.within {
		return nil, fmt.Errorf("%w: %d pictures for %d slots, or parameter sets at the end", errForm, s.encoded, len(slots))
	}
	s.repeatUntil(frames)
	return s.out, nil
}

// stretcher goes through a stream once.
type stretcher struct {
	slots    []int64
	out      []byte
	sps, pps []byte
	params   parameters
	skipped  []byte // slice data of a repeated picture
	encoded  int    // pictures taken
	shown    int64  // output frames written
	within   bool   // an access unit has begun with parameter sets
	expected uint   // frame_num of the next picture as the encoder counts
	frameNum uint   // the same with repeated pictures
}

func (s *stretcher) unit(unit []byte) error {
	switch kind := unit[0] & 31; kind {
	case nalSPS, nalPPS:
		// They stand before an IDR picture, so what is repeated before them belongs there.
		if s.encoded < len(s.slots) {
			s.repeatUntil(s.slots[s.encoded])
		}
		return s.parameterSet(kind, unit)
	case nalSlice, nalIDR:
		return s.picture(unit)
	default:
		return fmt.Errorf("%w: a NAL unit of type %d", errForm, kind)
	}
}

// parameterSet takes the sets in front of the stream and passes their repetitions on.
func (s *stretcher) parameterSet(kind byte, unit []byte) error {
	known := &s.sps
	if kind == nalPPS {
		known = &s.pps
	}
	if *known != nil && !bytes.Equal(*known, unit) {
		return fmt.Errorf("%w: it has several parameter sets of type %d", errForm, kind)
	}
	*known, s.within = unit, true
	s.out = append(append(s.out, startCode...), unit...)
	return nil
}

func (s *stretcher) picture(unit []byte) error {
	if err := s.begin(); err != nil {
		return err
	}
	picture, err := s.params.parseSlice(unit)
	if err != nil {
		return err
	}
	if s.encoded == len(s.slots) {
		return fmt.Errorf("%w: more than %d pictures", errForm, len(s.slots))
	}
	s.repeatUntil(s.slots[s.encoded])
	if picture.idr {
		s.expected, s.frameNum = 0, 0
	}
	if s.encoded == 0 && !picture.idr || picture.frameNum != s.expected {
		return fmt.Errorf("%w: picture %d has frame_num %d, want %d", errForm, s.encoded, picture.frameNum, s.expected)
	}
	code := startCode
	if s.within {
		code, s.within = startCode[1:], false
	}
	s.out = s.params.appendSlice(append(s.out, code...), picture, s.frameNum)
	s.encoded, s.shown, s.expected, s.frameNum = s.encoded+1, s.shown+1, s.next(s.expected), s.next(s.frameNum)
	return nil
}

// begin reads the parameter sets before the first picture.
func (s *stretcher) begin() (err error) {
	if s.skipped != nil {
		return nil
	}
	if s.params, err = parseParameters(s.sps, s.pps); err != nil {
		return err
	}
	s.skipped = skippedMacroblocks(s.params.macroblocks)
	return nil
}

// repeatUntil repeats the last picture up to, not including, an output frame. All pictures are reference pictures: with
// pic_order_cnt_type 2 no two others may follow each other (H.264 8.2.1.3).
func (s *stretcher) repeatUntil(frame int64) {
	for ; s.shown < frame && s.encoded > 0; s.shown++ {
		s.out = s.params.appendRepeat(s.out, s.frameNum, s.skipped)
		s.frameNum = s.next(s.frameNum)
	}
}

func (s *stretcher) next(frameNum uint) uint { return (frameNum + 1) & (1<<s.params.frameNumBits - 1) }

// units yields the NAL units of an Annex B stream without start codes, trailing zeros and empty units.
func units(annexB []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		_, rest, found := bytes.Cut(annexB, startCode[1:])
		for found {
			var unit []byte
			unit, rest, found = bytes.Cut(rest, startCode[1:])
			if unit = bytes.TrimRight(unit, "\x00"); len(unit) > 0 && !yield(unit) {
				return
			}
		}
	}
}
