package mp4

import (
	"errors"
	"fmt"

	"github.com/dualrec/dualrec/recorder"
)

// Conditions of the inputs.
var (
	// ErrAnnexB: the bytes are not an H.264 Annex B stream, or one beyond the limits of this package.
	ErrAnnexB = errors.New("mp4: not a usable Annex B stream")
	// ErrADTS: the bytes are not an ADTS stream of AAC-LC, or one that changes its parameters, or a cut one.
	ErrADTS = errors.New("mp4: not a usable ADTS stream")
	// ErrEmpty: there is neither video nor audio to write.
	ErrEmpty = errors.New("mp4: nothing to write: give at least one segment or an audio stream")
	// ErrChanged: an input read differently the second time.
	ErrChanged = errors.New("mp4: an input changed between the two passes: give the same bytes at every Open")
)

// ParameterSetError: a segment's SPS or PPS differs from the first segment's. One avc1 sample entry can describe
// only one set, so such segments must be rendered again with the settings of the first.
type ParameterSetError struct {
	Segment int    // index in MuxInput.Segments
	Set     string // "SPS" or "PPS"
	ID      uint   // its id in the stream
}

// Error names the segment and what to do.
func (e *ParameterSetError) Error() string {
	return fmt.Sprintf("mp4: segment %d has another %s %d than the first segment: render it again with the same canvas, rate and encoder settings",
		e.Segment, e.Set, e.ID)
}

// SegmentError: a segment cannot be joined to the others.
type SegmentError struct {
	Segment int
	Reason  string
}

// Error names the segment and the reason.
func (e *SegmentError) Error() string {
	return fmt.Sprintf("mp4: segment %d cannot be joined: %s", e.Segment, e.Reason)
}

// FrameCountError: a segment holds another number of frames than announced.
type FrameCountError struct {
	Segment int
	recorder.FrameCountError
}

// Error gives both numbers.
func (e *FrameCountError) Error() string {
	return fmt.Sprintf("mp4: segment %d has %d frames, want %d: render it again", e.Segment, e.Got, e.Want)
}

// DurationError: the video is not as long as the recording.
type DurationError struct{ Video, Want recorder.Micros }

// Error gives both lengths.
func (e *DurationError) Error() string {
	return fmt.Sprintf("mp4: the segments last %s and the recording %s, which is more than a frame apart: a segment is missing or doubled",
		e.Video, e.Want)
}
