package recorder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"
)

// EventsJournal is the journal that holds a recording's events, one JSON object per record.
const EventsJournal = "events"

// EventType tags an Event.
type EventType string

// The events of a recording. The first group decides what the recording shows; the second is the
// bookkeeping by which a restarted process knows what is done already.
const (
	EventTrackLeased   EventType = "TRACK_LEASED"
	EventLegAttached   EventType = "LEG_ATTACHED"
	EventLegDetached   EventType = "LEG_DETACHED"
	EventPaused        EventType = "PAUSED"
	EventResumed       EventType = "RESUMED"
	EventLayoutChanged EventType = "LAYOUT_CHANGED"
	EventStopped       EventType = "STOPPED"
	EventRecovered     EventType = "RECOVERED"
	EventDropBegan     EventType = "DROP_BEGAN"
	EventDropEnded     EventType = "DROP_ENDED"

	EventEpochSet       EventType = "EPOCH_SET"
	EventSegmentSealed  EventType = "SEGMENT_SEALED"
	EventAudioSealed    EventType = "AUDIO_SEALED"
	EventArtifactSealed EventType = "ARTIFACT_SEALED"
	EventUploaded       EventType = "UPLOADED"
	EventRenderAgain    EventType = "RENDER_AGAIN"
)

// Event is one decision or fact in a recording's life. Type names the one payload that is set; all others are nil.
// At is the instant at which it takes effect on the recorder's wall clock, which the Planner turns into recording time.
//
//	{"type":"PAUSED","at":"2026-01-02T03:04:05.678Z","paused":{"reason":"PAYMENT","actor":"user:17"}}
type Event struct {
	Type EventType `json:"type"`
	At   time.Time `json:"at"`

	TrackLeased    *TrackLeased    `json:"track_leased,omitempty"`
	LegAttached    *LegAttached    `json:"leg_attached,omitempty"`
	LegDetached    *LegDetached    `json:"leg_detached,omitempty"`
	Paused         *PausedEvent    `json:"paused,omitempty"`
	Resumed        *ResumedEvent   `json:"resumed,omitempty"`
	LayoutChanged  *LayoutChanged  `json:"layout_changed,omitempty"`
	Stopped        *StoppedEvent   `json:"stopped,omitempty"`
	Recovered      *RecoveredEvent `json:"recovered,omitempty"`
	DropBegan      *DropBegan      `json:"drop_began,omitempty"`
	DropEnded      *DropEnded      `json:"drop_ended,omitempty"`
	EpochSet       *EpochSet       `json:"epoch_set,omitempty"`
	SegmentSealed  *SegmentSealed  `json:"segment_sealed,omitempty"`
	AudioSealed    *AudioSealed    `json:"audio_sealed,omitempty"`
	ArtifactSealed *ArtifactSealed `json:"artifact_sealed,omitempty"`
	Uploaded       *UploadedEvent  `json:"uploaded,omitempty"`
	RenderAgain    *RenderAgain    `json:"render_again,omitempty"`
}

// TrackLeased: sockets of a track are bound; nothing is attached yet.
type TrackLeased struct {
	TrackID  string    `json:"track_id"`
	Kind     TrackKind `json:"kind"`
	RTPPort  int       `json:"rtp_port"`
	RTCPPort int       `json:"rtcp_port,omitempty"`
	// SRTP is this side's, so that a restarted recorder listens under the key that the SFU knows.
	SRTP SRTPParameters `json:"srtp,omitzero"`
}

// LegAttached: an SFU stream was attached to a track. A leg is one attachment: one SSRC, one journal.
// An attachment to a track that has a leg already replaces it: the older leg ends at At.
type LegAttached struct {
	Leg           string          `json:"leg"`     // leg-000, leg-001, … counted over the recording
	Journal       string          `json:"journal"` // where its packets are; the leg's name
	TrackID       string          `json:"track_id"`
	Kind          TrackKind       `json:"kind"`
	RTPParameters json.RawMessage `json:"rtp_parameters"` // mediasoup's, verbatim
	Source        Source          `json:"source"`
	// Published: the packets come from a publisher's own session, which a restart of the recorder ends.
	Published bool           `json:"published,omitempty"`
	SRTP      SRTPParameters `json:"srtp,omitzero"` // the SFU's
}

// LegDetached: the leg ends at the event's instant.
type LegDetached struct {
	Leg string `json:"leg"`
}

// PausedEvent: from At on nothing is written to the spool, on any track.
type PausedEvent struct {
	Reason       PauseReason `json:"reason"`
	Actor        string      `json:"actor"`
	AutoResumeAt time.Time   `json:"auto_resume_at,omitzero"`
}

// ResumedEvent ends a pause.
type ResumedEvent struct {
	Actor string `json:"actor"`
}

// LayoutChanged puts the pictures elsewhere on the same canvas.
type LayoutChanged struct {
	Layout Layout `json:"layout"`
	Actor  string `json:"actor"`
}

// StoppedEvent: the recording ends at At.
type StoppedEvent struct {
	Reason string `json:"reason"`
}

// RecoveredEvent: a restarted recorder took the recording over; nothing was captured between DownFrom and At.
type RecoveredEvent struct {
	DownFrom time.Time `json:"down_from"`
}

// DropBegan: from At on nothing of the track is written, because this machine has no room for it.
type DropBegan struct {
	TrackID string `json:"track_id"`
	Cause   string `json:"cause"` // CauseDiskFull, CauseDiskFailed
}

// DropEnded: the track is written again from At on.
type DropEnded struct {
	TrackID string `json:"track_id"`
	Packets int64  `json:"packets"` // dropped since it began
}

// EpochSet fixes recording time 0 for ever.
type EpochSet struct {
	Epoch time.Time `json:"epoch"`
}

// SegmentSealed: output frames [From, To) are rendered, checked and stored in Blob.
type SegmentSealed struct {
	Index  int    `json:"index"`
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Layout Layout `json:"layout"`
	Paused bool   `json:"paused,omitempty"`
	// Broken: it could not be rendered and shows a card. A later process renders it again.
	Broken bool `json:"broken,omitempty"`
	// ReducedFPS: the machine was overloaded, and pictures were shown at this rate; 0: as they came.
	ReducedFPS int      `json:"reduced_fps,omitempty"`
	Blob       BlobInfo `json:"blob"`
}

// AudioSealed: the sound of the whole recording is rendered.
type AudioSealed struct {
	Blob    BlobInfo  `json:"blob"`
	Peaks   *BlobInfo `json:"peaks,omitempty"`
	Priming int       `json:"priming"` // samples of encoder delay
	Samples int64     `json:"samples"`
}

// ArtifactSealed: the final file is written and verified.
type ArtifactSealed struct {
	Blob     BlobInfo `json:"blob"`
	Duration Micros   `json:"duration"`
}

// UploadedEvent: a store has confirmed size and digest.
type UploadedEvent struct {
	Store     string `json:"store"` // "primary", "secondary"
	Blob      string `json:"blob"`
	Key       string `json:"key"`
	VersionID string `json:"version_id,omitempty"`
	Size      int64  `json:"size"`
}

// RenderAgain: what was sealed so far cannot be used (a check refused it) and is made anew.
type RenderAgain struct {
	Reason string `json:"reason"`
}

// MaxEventBytes bounds an encoded event: a journal record holds 65,535 bytes.
const MaxEventBytes = 65535

// Errors of events.
var (
	// ErrEvent marks an event that breaks the rules of its type; the text says which.
	ErrEvent = errors.New("recorder: invalid event")
	// ErrUnknownEvent: the type is not known here, as when a newer version wrote the spool. Readers skip and count it.
	ErrUnknownEvent = errors.New("recorder: unknown event type")
)

// Marshal encodes a valid event. It refuses, with ErrEvent, what ParseEvent would refuse.
func (e Event) Marshal() ([]byte, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	e.At = e.At.UTC()
	out, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("%w: encode %s: %v", ErrEvent, e.Type, err)
	}
	if len(out) > MaxEventBytes {
		return nil, fmt.Errorf("%w: %s takes %d bytes, more than the limit of %d", ErrEvent, e.Type, len(out), MaxEventBytes)
	}
	return out, nil
}

// ParseEvent decodes one event. It returns ErrUnknownEvent (with Type and At filled in) for a type that is not known and
// ErrEvent for everything malformed: unknown fields, a missing or second payload, trailing bytes, values out of range.
func ParseEvent(data []byte) (Event, error) {
	if len(data) > MaxEventBytes {
		return Event{}, fmt.Errorf("%w: %d bytes are more than the limit of %d", ErrEvent, len(data), MaxEventBytes)
	}
	var head struct {
		Type EventType `json:"type"`
		At   time.Time `json:"at"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Event{}, fmt.Errorf("%w: %v", ErrEvent, err)
	}
	if _, known := (Event{Type: head.Type}).payload(); !known {
		return Event{Type: head.Type, At: head.At}, fmt.Errorf("%w: %q", ErrUnknownEvent, head.Type)
	}
	var e Event
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return Event{}, fmt.Errorf("%w: %s: %v", ErrEvent, head.Type, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Event{}, fmt.Errorf("%w: %s: bytes after the object", ErrEvent, head.Type)
	}
	if err := e.validate(); err != nil {
		return Event{}, err
	}
	return e, nil
}

// eventPayload is what every payload can say about itself.
type eventPayload interface{ check() error }

type taggedPayload struct {
	kind  EventType
	set   bool
	value eventPayload
}

func (e Event) payloads() []taggedPayload {
	return []taggedPayload{
		{EventTrackLeased, e.TrackLeased != nil, e.TrackLeased},
		{EventLegAttached, e.LegAttached != nil, e.LegAttached},
		{EventLegDetached, e.LegDetached != nil, e.LegDetached},
		{EventPaused, e.Paused != nil, e.Paused},
		{EventResumed, e.Resumed != nil, e.Resumed},
		{EventLayoutChanged, e.LayoutChanged != nil, e.LayoutChanged},
		{EventStopped, e.Stopped != nil, e.Stopped},
		{EventRecovered, e.Recovered != nil, e.Recovered},
		{EventDropBegan, e.DropBegan != nil, e.DropBegan},
		{EventDropEnded, e.DropEnded != nil, e.DropEnded},
		{EventEpochSet, e.EpochSet != nil, e.EpochSet},
		{EventSegmentSealed, e.SegmentSealed != nil, e.SegmentSealed},
		{EventAudioSealed, e.AudioSealed != nil, e.AudioSealed},
		{EventArtifactSealed, e.ArtifactSealed != nil, e.ArtifactSealed},
		{EventUploaded, e.Uploaded != nil, e.Uploaded},
		{EventRenderAgain, e.RenderAgain != nil, e.RenderAgain},
	}
}

// payload returns the payload that Type asks for; known tells whether the type exists.
func (e Event) payload() (p eventPayload, known bool) {
	for _, c := range e.payloads() {
		if c.kind == e.Type {
			return c.value, true
		}
	}
	return nil, false
}

func (e Event) validate() error {
	p, known := e.payload()
	if !known {
		return fmt.Errorf("%w: %q", ErrUnknownEvent, e.Type)
	}
	if err := checkInstant("at", e.At); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrEvent, e.Type, err)
	}
	for _, c := range e.payloads() {
		if c.set != (c.kind == e.Type) {
			return fmt.Errorf("%w: %s must carry its own payload and no other", ErrEvent, e.Type)
		}
	}
	if err := p.check(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrEvent, e.Type, err)
	}
	return nil
}

var legNames = regexp.MustCompile(`^leg-[0-9]{3,9}$`)

// LegName names the n-th leg of a recording (from 0), which is also the name of its journal.
func LegName(n int) string { return fmt.Sprintf("leg-%03d", n) }

const (
	maxEventText = 1024          // bytes of ids, reasons, actors, keys
	maxFrames    = 1_000_000_000 // output frames: a year at 30 a second
)

func eventText(field, s string, required bool) error {
	if required && s == "" {
		return fmt.Errorf("%s is missing", field)
	}
	if len(s) > maxEventText {
		return fmt.Errorf("%s has %d bytes, more than the limit of %d", field, len(s), maxEventText)
	}
	return nil
}

// checkInstant refuses what no recorder's wall clock shows and what time arithmetic could not carry.
func checkInstant(field string, t time.Time) error {
	if y := t.UTC().Year(); y < 1970 || y > 2200 {
		return fmt.Errorf("%s is %v, not an instant from 1970 to 2200", field, t)
	}
	return nil
}

func checkLeg(field, name string) error {
	if !legNames.MatchString(name) {
		return fmt.Errorf("%s %q is not leg-NNN", field, name)
	}
	return nil
}

func checkTrackOf(id string, kind TrackKind) error {
	if !slices.Contains(kind.Values(), string(kind)) {
		return fmt.Errorf("kind %q is not one of %v", kind, kind.Values())
	}
	return eventText("track_id", id, true)
}

func (t *TrackLeased) check() error {
	for _, port := range []int{t.RTPPort, t.RTCPPort} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("port %d is not within 0…65535", port)
		}
	}
	return checkTrackOf(t.TrackID, t.Kind)
}

func (l *LegAttached) check() error {
	err := errors.Join(checkLeg("leg", l.Leg), checkLeg("journal", l.Journal), checkTrackOf(l.TrackID, l.Kind),
		eventText("source.ip", l.Source.IP, false))
	if err != nil {
		return err
	}
	_, err = ParseRTPParameters(l.RTPParameters, l.Kind)
	return err
}

func (l *LegDetached) check() error { return checkLeg("leg", l.Leg) }

func (p *PausedEvent) check() error {
	if !slices.Contains(p.Reason.Values(), string(p.Reason)) {
		return fmt.Errorf("reason %q is not one of %v", p.Reason, p.Reason.Values())
	}
	if !p.AutoResumeAt.IsZero() {
		if err := checkInstant("auto_resume_at", p.AutoResumeAt); err != nil {
			return err
		}
	}
	return eventText("actor", p.Actor, false)
}

func (r *ResumedEvent) check() error { return eventText("actor", r.Actor, false) }

func (l *LayoutChanged) check() error {
	if !slices.Contains(l.Layout.Values(), string(l.Layout)) {
		return fmt.Errorf("layout %q is not one of %v", l.Layout, l.Layout.Values())
	}
	return eventText("actor", l.Actor, false)
}

func (s *StoppedEvent) check() error { return eventText("reason", s.Reason, false) }

func (r *RecoveredEvent) check() error { return checkInstant("down_from", r.DownFrom) }

func (d *DropBegan) check() error {
	return errors.Join(eventText("track_id", d.TrackID, true), eventText("cause", d.Cause, true))
}

func (d *DropEnded) check() error {
	if d.Packets < 0 {
		return fmt.Errorf("packets %d is negative", d.Packets)
	}
	return eventText("track_id", d.TrackID, true)
}

func (e *EpochSet) check() error { return checkInstant("epoch", e.Epoch) }

func (s *SegmentSealed) check() error {
	if s.Index < 0 || s.Index > maxFrames || s.From < 0 || s.To <= s.From || s.To > maxFrames {
		return fmt.Errorf("segment %d with frames [%d, %d) is none", s.Index, s.From, s.To)
	}
	if s.ReducedFPS < 0 || s.ReducedFPS > 240 {
		return fmt.Errorf("reduced_fps %d is not within 0…240", s.ReducedFPS)
	}
	return eventText("blob.name", s.Blob.Name, true)
}

func (a *AudioSealed) check() error {
	if a.Priming < 0 || a.Samples < 0 {
		return fmt.Errorf("priming %d or samples %d is negative", a.Priming, a.Samples)
	}
	return eventText("blob.name", a.Blob.Name, true)
}

func (a *ArtifactSealed) check() error {
	if a.Duration < 0 {
		return fmt.Errorf("duration %d is negative", a.Duration)
	}
	return eventText("blob.name", a.Blob.Name, true)
}

func (r *RenderAgain) check() error { return eventText("reason", r.Reason, false) }

func (u *UploadedEvent) check() error {
	if u.Size < 0 {
		return fmt.Errorf("size %d is negative", u.Size)
	}
	return errors.Join(eventText("store", u.Store, true), eventText("blob", u.Blob, true), eventText("key", u.Key, true),
		eventText("version_id", u.VersionID, false))
}
