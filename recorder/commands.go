package recorder

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrorCode is what integrators switch on; texts may change, codes do not.
type ErrorCode string

// The codes of user errors.
const (
	CodeInvalidInput ErrorCode = "INVALID_INPUT" // a field is missing, too long or malformed
	CodeNotFound     ErrorCode = "NOT_FOUND"     // no such thing in this tenant
	CodeConflict     ErrorCode = "CONFLICT"      // not possible in the present state
	CodeCapacity     ErrorCode = "CAPACITY"      // ports, disk or encoder are used up: retry later or elsewhere
	CodeUnsupported  ErrorCode = "UNSUPPORTED"   // codec or option that the recorder does not do
	CodeForbidden    ErrorCode = "FORBIDDEN"     // this identity may not
	CodeUnavailable  ErrorCode = "UNAVAILABLE"   // a key, store or database does not answer: retry
)

// Values lists all codes.
func (ErrorCode) Values() []string {
	return []string{string(CodeInvalidInput), string(CodeNotFound), string(CodeConflict), string(CodeCapacity),
		string(CodeUnsupported), string(CodeForbidden), string(CodeUnavailable)}
}

// RefusalReason says which resource of a recorder is used up, beside CodeCapacity.
type RefusalReason string

// The reasons of CAPACITY.
const (
	RefusedPorts       RefusalReason = "PORTS"       // no free media ports
	RefusedDisk        RefusalReason = "DISK"        // the spool's disk or quota is nearly full
	RefusedEncoder     RefusalReason = "ENCODER"     // composing is too far behind
	RefusedRecordings  RefusalReason = "RECORDINGS"  // as many recordings capture as the operator allows
	RefusedAttachments RefusalReason = "ATTACHMENTS" // this recording has had as many attachments as one may have
)

// Values lists all reasons.
func (RefusalReason) Values() []string {
	return []string{string(RefusedPorts), string(RefusedDisk), string(RefusedEncoder), string(RefusedRecordings), string(RefusedAttachments)}
}

// CommandError is a refusal that the caller can act on. Its text is safe to show to the tenant.
type CommandError struct {
	Code  ErrorCode
	Field []string // path into the input, GraphQL names
	Msg   string
	// Reason is set with CodeCapacity.
	Reason RefusalReason
	Err    error // cause for logs, never shown
}

// Error implements error.
func (e *CommandError) Error() string {
	s := fmt.Sprintf("%s: %s", e.Code, e.Msg)
	if len(e.Field) > 0 {
		s = strings.Join(e.Field, ".") + ": " + s
	}
	return s
}

// Unwrap gives the cause.
func (e *CommandError) Unwrap() error { return e.Err }

// Error implements error.
func (e *StateError) Error() string {
	return fmt.Sprintf("recording %s is %s, want one of %v", e.RecordingID, e.Is, e.Want)
}

// Error implements error.
func (e *FrameCountError) Error() string {
	return fmt.Sprintf("recorder: composed %d frames, planned %d", e.Got, e.Want)
}

// StartCommand starts a recording; idempotent per ExternalSessionID.
type StartCommand struct {
	TenantID          string
	ExternalSessionID string
	Queue, Agent      string
	CustomerID        string
	Client            string
	SessionType       string
	Tags              []string
	StartedAt         time.Time // zero: now
	Metadata          json.RawMessage
	Tracks            []TrackKind
	Layout            Layout // empty: the queue's
	RTCPMux           bool
	SRTPSuite         SRTPSuite // empty: plain RTP
	Actor             Actor
}

// AttachCommand hands over mediasoup's rtpParameters for one track.
type AttachCommand struct {
	TenantID, RecordingID string
	Kind                  TrackKind
	TrackID               string // needed only where two tracks are of one kind
	RTPParameters         json.RawMessage
	Source                Source
	SRTP                  SRTPParameters // the SFU's; zero for plain RTP
	ProducerID            string
	Actor                 Actor
}

// DetachCommand stops taking one track; it can be attached again.
type DetachCommand struct {
	TenantID, RecordingID string
	Kind                  TrackKind
	TrackID               string // as for AttachCommand
	Actor                 Actor
}

// PauseCommand drops everything before the disk until resumed.
type PauseCommand struct {
	TenantID, RecordingID string
	Reason                PauseReason
	AutoResume            time.Duration // 0: the profile's
	Actor                 Actor
}

// ResumeCommand ends a pause.
type ResumeCommand struct {
	TenantID, RecordingID string
	Actor                 Actor
}

// LayoutCommand lays the pictures out anew on the same canvas, from now on.
type LayoutCommand struct {
	TenantID, RecordingID string
	Layout                Layout
	Actor                 Actor
}

// StopCommand ends capture; composing, upload and AVAILABLE follow by themselves.
type StopCommand struct {
	TenantID, RecordingID string
	Actor                 Actor
}

// LiveStatus is what only the recorder that captures a recording knows.
type LiveStatus struct {
	Capture    CaptureState
	Tracks     []TrackRow
	ComposeLag time.Duration // how far composing is behind the live edge
	ComposedTo Micros
	CapturedTo Micros
}

const (
	maxNameLen     = 200
	maxTags        = 50
	maxTagLen      = 100
	maxMetadataLen = 16 << 10
	maxTracks      = 8
	maxScreens     = 4 // monitors of one agent
)

func invalid(field, format string, args ...any) *CommandError {
	return &CommandError{Code: CodeInvalidInput, Field: []string{"input", field}, Msg: fmt.Sprintf(format, args...)}
}

func checkText(field, v string, required bool) error {
	switch {
	case required && strings.TrimSpace(v) == "":
		return invalid(field, "must not be empty")
	case len(v) > maxNameLen:
		return invalid(field, "has %d bytes, the limit is %d", len(v), maxNameLen)
	case !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return invalid(field, "must be UTF-8 without control characters")
	}
	return nil
}

// Validate checks what does not need the database. The first problem is returned.
func (c StartCommand) Validate() error {
	for _, f := range []struct {
		name, v  string
		required bool
	}{{"externalSessionId", c.ExternalSessionID, true}, {"queue", c.Queue, true}, {"agent", c.Agent, true},
		{"customerId", c.CustomerID, false}, {"client", c.Client, false}, {"sessionType", c.SessionType, false}} {
		if err := checkText(f.name, f.v, f.required); err != nil {
			return err
		}
	}
	if len(c.Tags) > maxTags {
		return invalid("tags", "%d tags are more than the limit of %d", len(c.Tags), maxTags)
	}
	for _, t := range c.Tags {
		if err := checkText("tags", t, true); err != nil {
			return err
		}
		if len(t) > maxTagLen {
			return invalid("tags", "a tag has %d bytes, the limit is %d", len(t), maxTagLen)
		}
	}
	if len(c.Metadata) > maxMetadataLen {
		return invalid("metadata", "has %d bytes, the limit is %d", len(c.Metadata), maxMetadataLen)
	}
	if c.SRTPSuite != "" && c.SRTPSuite.KeyBytes() == 0 {
		return invalid("srtpCryptoSuite", "%.60q is not one of %v", c.SRTPSuite, c.SRTPSuite.Values())
	}
	return validateTracks(c.Tracks, c.Layout)
}

func validateTracks(tracks []TrackKind, layout Layout) error {
	if len(tracks) == 0 {
		return invalid("tracks", "name at least one track to expect, e.g. [SCREEN, WEBCAM, AGENT_AUDIO]")
	}
	if len(tracks) > maxTracks {
		return invalid("tracks", "%d tracks are more than the limit of %d", len(tracks), maxTracks)
	}
	seen := map[TrackKind]int{}
	audio := false
	for _, k := range tracks {
		seen[k]++
		if k == Screen && seen[k] > maxScreens {
			return invalid("tracks", "more than %d screens", maxScreens)
		}
		if k != Screen && seen[k] > 1 {
			return invalid("tracks", "%s is named twice", k)
		}
		audio = audio || !k.IsVideo()
	}
	if layout == AudioOnly && !audio {
		return invalid("tracks", "layout AUDIO_ONLY needs AGENT_AUDIO or CUSTOMER_AUDIO")
	}
	if layout == ScreenOnly && seen[Screen] == 0 {
		return invalid("tracks", "layout SCREEN_ONLY needs SCREEN")
	}
	return nil
}
