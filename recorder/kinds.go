package recorder

import (
	"fmt"
	"math"
	"time"
)

// TrackKind says what a track shows or carries.
type TrackKind string

// The track kinds of API.graphql.
const (
	Screen        TrackKind = "SCREEN"
	Webcam        TrackKind = "WEBCAM"
	AgentAudio    TrackKind = "AGENT_AUDIO"
	CustomerAudio TrackKind = "CUSTOMER_AUDIO"
)

// Values lists all kinds (ent and gqlgen read them here).
func (TrackKind) Values() []string {
	return []string{string(Screen), string(Webcam), string(AgentAudio), string(CustomerAudio)}
}

// IsVideo tells pictures from sound.
func (k TrackKind) IsVideo() bool { return k == Screen || k == Webcam }

// Layout says how pictures are placed on the canvas.
type Layout string

// The layouts of API.graphql.
const (
	SideBySide       Layout = "SIDE_BY_SIDE"
	PictureInPicture Layout = "PICTURE_IN_PICTURE"
	ScreenOnly       Layout = "SCREEN_ONLY"
	AudioOnly        Layout = "AUDIO_ONLY"
)

// Values lists all layouts.
func (Layout) Values() []string {
	return []string{string(SideBySide), string(PictureInPicture), string(ScreenOnly), string(AudioOnly)}
}

// Resolution chooses the canvas of a side-by-side recording.
type Resolution string

// Native keeps 1080p screen + 720p webcam (3200x1080); Fit1080p lays both into 1920x1080.
const (
	Native   Resolution = "NATIVE"
	Fit1080p Resolution = "FIT_1080P"
)

// Values lists all resolutions.
func (Resolution) Values() []string { return []string{string(Native), string(Fit1080p)} }

// AudioMode says how several audio tracks become one.
type AudioMode string

// MixMono mixes all; SplitStereo puts the agent left and the customer right.
const (
	MixMono     AudioMode = "MIX_MONO"
	SplitStereo AudioMode = "SPLIT_STEREO"
)

// Values lists all audio modes.
func (AudioMode) Values() []string { return []string{string(MixMono), string(SplitStereo)} }

// AbsentWebcam says what a dual layout shows while there is no webcam.
type AbsentWebcam string

// WebcamPlaceholder shows a quiet card; WebcamScreenAlone leaves the ground dark.
const (
	WebcamPlaceholder AbsentWebcam = "PLACEHOLDER"
	WebcamScreenAlone AbsentWebcam = "SCREEN_ALONE"
)

// Values lists all policies for an absent webcam.
func (AbsentWebcam) Values() []string {
	return []string{string(WebcamPlaceholder), string(WebcamScreenAlone)}
}

// CaptureState is the first of a recording's three orthogonal facts (see doc.go).
type CaptureState string

// The capture states; the transition table is in state.go.
const (
	Pending    CaptureState = "PENDING"
	Recording  CaptureState = "RECORDING"
	Paused     CaptureState = "PAUSED"
	Finalizing CaptureState = "FINALIZING"
	Uploading  CaptureState = "UPLOADING"
	Available  CaptureState = "AVAILABLE"
	Partial    CaptureState = "PARTIAL"
	Failed     CaptureState = "FAILED"
	Aborted    CaptureState = "ABORTED"
)

// Values lists all capture states.
func (CaptureState) Values() []string {
	return []string{string(Pending), string(Recording), string(Paused), string(Finalizing), string(Uploading),
		string(Available), string(Partial), string(Failed), string(Aborted)}
}

// TrackState is what one track does now.
type TrackState string

// The track states: EXPECTED (announced, nothing attached), ATTACHED (parameters
// known, no packet yet), ACTIVE, STALLED (no packet for a while), CLOSED.
const (
	TrackExpected TrackState = "EXPECTED"
	TrackAttached TrackState = "ATTACHED"
	TrackActive   TrackState = "ACTIVE"
	TrackStalled  TrackState = "STALLED"
	TrackClosed   TrackState = "CLOSED"
)

// Values lists all track states.
func (TrackState) Values() []string {
	return []string{string(TrackExpected), string(TrackAttached), string(TrackActive), string(TrackStalled), string(TrackClosed)}
}

// GapKind names one kind of entry in the gap ledger.
type GapKind string

// The kinds of gaps.
const (
	GapLost     GapKind = "LOST"     // packets never came
	GapRepaired GapKind = "REPAIRED" // packets came late, by retransmission
	GapFrozen   GapKind = "FROZEN"   // the last good picture was held, or after a pause none shown, because what followed could not be decoded
	GapMuted    GapKind = "MUTED"    // the track was detached
	GapPaused   GapKind = "PAUSED"   // recording was paused on purpose
	GapStalled  GapKind = "STALLED"  // the sender sent nothing
	GapMissing  GapKind = "MISSING"  // an expected track was not (yet) there
	GapDowntime GapKind = "DOWNTIME" // the recorder itself was not running
	GapDropped  GapKind = "DROPPED"  // this machine dropped what had come: its disk was full or it did not read its sockets in time
	GapReduced  GapKind = "REDUCED"  // shown at a lower frame rate: the machine was overloaded
)

// Values lists all kinds of gaps.
func (GapKind) Values() []string {
	return []string{string(GapLost), string(GapRepaired), string(GapFrozen), string(GapMuted), string(GapPaused),
		string(GapStalled), string(GapMissing), string(GapDowntime), string(GapDropped), string(GapReduced)}
}

// PauseReason says why a recording was paused.
type PauseReason string

// The pause reasons of API.graphql.
const (
	PausePayment PauseReason = "PAYMENT"
	PausePrivacy PauseReason = "PRIVACY"
	PauseHold    PauseReason = "HOLD"
	PauseOther   PauseReason = "OTHER"
)

// Values lists all pause reasons.
func (PauseReason) Values() []string {
	return []string{string(PausePayment), string(PausePrivacy), string(PauseHold), string(PauseOther)}
}

// Micros is recording time: microseconds since the recording's epoch, the
// capture instant of its first packet. Everything that points into a recording uses it.
type Micros int64

// Ms is the API's unit, rounded down.
func (m Micros) Ms() int { return int(math.Floor(float64(m) / 1000)) }

// Duration converts to a time.Duration.
func (m Micros) Duration() time.Duration { return time.Duration(m) * time.Microsecond }

// MicrosOf converts a duration, rounding towards zero.
func MicrosOf(d time.Duration) Micros { return Micros(d / time.Microsecond) }

// String prints seconds, for logs.
func (m Micros) String() string { return fmt.Sprintf("%.6fs", float64(m)/1e6) }

// Size is a picture's width and height in pixels.
type Size struct {
	W int `json:"w"`
	H int `json:"h"`
}

// Zero tells an unknown size.
func (s Size) Zero() bool { return s.W == 0 || s.H == 0 }

// String prints WxH.
func (s Size) String() string { return fmt.Sprintf("%dx%d", s.W, s.H) }

// Rect is a place on the canvas, in pixels, even in all four numbers.
type Rect struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}
