package compose

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// ErrJob: a job cannot be rendered as it stands; the text says why.
var ErrJob = errors.New("compose: unusable job")

// ErrSource: a source gave something that is not a stream of its codec.
var ErrSource = errors.New("compose: unusable source")

// StartError: the child could not be started at all.
type StartError struct {
	Path string
	Err  error
}

// Error says what to do.
func (e *StartError) Error() string {
	return fmt.Sprintf("compose: start %s: %v: install FFmpeg 5.1 or later, or set its path", e.Path, e.Err)
}

// Unwrap returns the system's word.
func (e *StartError) Unwrap() error { return e.Err }

// ExitError: the child ended by itself, and not well.
type ExitError struct {
	What   string         // the kind of run
	Code   int            // exit code, -1 after a signal
	Signal syscall.Signal // 0 unless a signal ended it
	Stderr string         // the last of what it said, at most 4 KiB
}

// Error says how the child ended and its last words.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit code %d", e.Code)
	if e.Signal != 0 {
		how = "signal " + e.Signal.String()
	}
	return fmt.Sprintf("compose: %s: FFmpeg ended with %s: %s", e.What, how, orNothing(e.Stderr))
}

// StallError: the child neither took nor gave a byte for Timeout and was killed.
type StallError struct {
	What    string
	Timeout time.Duration
	Stderr  string
}

// Error gives the time and its last words.
func (e *StallError) Error() string {
	return fmt.Sprintf("compose: %s: FFmpeg moved no byte for %s and was killed: %s", e.What, e.Timeout, orNothing(e.Stderr))
}

// DecodeError: the decoder complained about what it was given.
type DecodeError struct {
	What   string
	Stderr string
}

// Error gives the decoder's words.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("compose: %s: %s", e.What, orNothing(e.Stderr))
}

// FrameCountError says of which segment the number of frames is wrong.
type FrameCountError struct {
	RecordingID string
	Segment     int
	Count       recorder.FrameCountError
	Stderr      string
}

// Error gives both numbers.
func (e *FrameCountError) Error() string {
	return fmt.Sprintf("compose: segment %d: FFmpeg delivered %d frames, planned are %d: %s", e.Segment, e.Count.Got, e.Count.Want, orNothing(e.Stderr))
}

// Unwrap returns the core's own *recorder.FrameCountError where that is an error.
func (e *FrameCountError) Unwrap() error {
	err, _ := any(&e.Count).(error)
	return err
}

func orNothing(stderr string) string {
	if stderr == "" {
		return "it said nothing"
	}
	return stderr
}
