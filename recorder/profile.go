package recorder

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Profile is a queue's recording profile as resolved when the recording starts.
// It is written into the spool header, so later edits of the queue never change
// a recording that runs.
type Profile struct {
	Layout         Layout       `json:"layout"`
	Resolution     Resolution   `json:"resolution"`       // canvas of SIDE_BY_SIDE
	FPS            int          `json:"fps"`              // output frames per second; 30 is the tested default
	WaveformBurnIn bool         `json:"waveform_burn_in"` // draw the sound into the picture
	AudioMode      AudioMode    `json:"audio_mode"`
	AbsentWebcam   AbsentWebcam `json:"absent_webcam"`
	Passthrough    bool         `json:"passthrough"`       // copy H.264 where the layout allows
	MaxVideoKbps   int          `json:"max_video_kbps"`    // average cap of the video
	PipWidth       int          `json:"pip_width"`         // picture-in-picture, default 480 (height follows 16:9)
	PipMargin      int          `json:"pip_margin"`        // default 24 px
	SegmentSeconds int          `json:"segment_seconds"`   // 2…60, default 10
	AutoResumeSec  int          `json:"auto_resume_sec"`   // 0: a pause lasts until resumed
	KeyframeScreen int          `json:"keyframe_screen_s"` // ask when there was none for so long; 0 = off; default 120
	KeyframeWebcam int          `json:"keyframe_webcam_s"` // default 60
	ReconnectSec   int          `json:"reconnect_sec"`     // how long a recording waits for its media after the recorder was away; default 300
}

// DefaultProfile is what a queue has unless it says otherwise.
func DefaultProfile() Profile {
	return Profile{Layout: SideBySide, Resolution: Native, FPS: 30, AudioMode: MixMono, AbsentWebcam: WebcamPlaceholder,
		MaxVideoKbps: 2350, PipWidth: 480, PipMargin: 24, SegmentSeconds: 10, KeyframeScreen: 120, KeyframeWebcam: 60, ReconnectSec: 300}
}

// Validate returns every problem at once.
func (p Profile) Validate() error {
	var errs []error
	oneOf := func(field, v string, allowed []string) {
		if !slices.Contains(allowed, v) {
			errs = append(errs, fmt.Errorf("%s: %q is not one of %v", field, v, allowed))
		}
	}
	between := func(field string, v, lo, hi int) {
		if v < lo || v > hi {
			errs = append(errs, fmt.Errorf("%s: %d is not within %d…%d", field, v, lo, hi))
		}
	}
	oneOf("layout", string(p.Layout), p.Layout.Values())
	oneOf("resolution", string(p.Resolution), p.Resolution.Values())
	oneOf("audioMode", string(p.AudioMode), p.AudioMode.Values())
	oneOf("absentWebcam", string(p.AbsentWebcam), p.AbsentWebcam.Values())
	if !slices.Contains([]int{5, 10, 15, 30}, p.FPS) {
		errs = append(errs, fmt.Errorf("fps: %d is not one of [5 10 15 30]", p.FPS))
	}
	between("maxVideoKbps", p.MaxVideoKbps, 100, 20000)
	between("pipWidth", p.PipWidth, 160, 960)
	between("pipMargin", p.PipMargin, 0, 200)
	between("segmentSeconds", p.SegmentSeconds, 2, 60)
	between("autoResumeSeconds", p.AutoResumeSec, 0, 24*3600)
	between("keyframeScreenSeconds", p.KeyframeScreen, 0, 3600)
	between("keyframeWebcamSeconds", p.KeyframeWebcam, 0, 3600)
	if p.ReconnectSec != 0 { // a spool of an earlier release has none
		between("reconnectSeconds", p.ReconnectSec, 10, 24*3600)
	}
	return errors.Join(errs...)
}

// SegmentFrames is the longest segment in output frames.
func (p Profile) SegmentFrames() int64 { return int64(p.SegmentSeconds) * int64(p.FPS) }

// AutoResume is the default automatic resume, 0 for none.
func (p Profile) AutoResume() time.Duration { return time.Duration(p.AutoResumeSec) * time.Second }

// Reconnect is how long a recording is kept open after the recorder was away.
func (p Profile) Reconnect() time.Duration {
	if p.ReconnectSec == 0 {
		return time.Duration(DefaultProfile().ReconnectSec) * time.Second
	}
	return time.Duration(p.ReconnectSec) * time.Second
}
