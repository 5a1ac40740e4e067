package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/dualrec/dualrec/kms"
)

// Catalog is the database as the recorder needs it, implemented by ent/catalog. Every method is one
// transaction, and every method that changes something writes its audit event in it. Tenants are
// explicit everywhere: a recording of another tenant is ErrNotFound.
type Catalog interface {
	// Profile resolves a queue's recording profile, creating the queue with the default profile if
	// the tenant has none of that name. ErrTenantSuspended, ErrNotFound (no such tenant).
	Profile(ctx context.Context, tenantID, queue string) (Profile, error)
	// Begin makes session, recording, tracks and wrapped key. If the tenant already has a recording
	// for row.ExternalSessionID it changes nothing and returns that one with created false.
	Begin(ctx context.Context, row BeginRow) (got RecordingRow, created bool, err error)
	// Recording reads one recording. ErrNotFound.
	Recording(ctx context.Context, tenantID, recordingID string) (RecordingRow, error)
	// Transition moves the capture state (and writes the patch) if the recording is in one of from;
	// otherwise *StateError. A transition to the state it is in already is no error and writes the patch.
	Transition(ctx context.Context, t Transition) error
	// SaveTrack updates one track's row (state, codec, ports, statistics).
	SaveTrack(ctx context.Context, tenantID, recordingID string, t TrackRow) error
	// RegisterCopy writes the row of a stored object before its first byte is uploaded, and again with Stored set
	// after the store has confirmed it. The key is unique per tenant and target.
	RegisterCopy(ctx context.Context, tenantID, recordingID string, c CopyRow) error
	// Finish stores everything known of a finished recording and moves it to t.To, in one transaction: gaps
	// and segments are replaced, the copy is added.
	Finish(ctx context.Context, f FinishRow) error
	// Unfinished lists the recordings of a node whose capture is not ended (PENDING … UPLOADING), all tenants.
	Unfinished(ctx context.Context, node string) ([]RecordingRow, error)
}

// Notifier is told after a commit that something about a recording changed. It must not block.
type Notifier interface {
	Notify(Change)
}

// Change says what changed; receivers re-read the truth.
type Change struct {
	TenantID    string     `json:"tenant_id"`
	RecordingID string     `json:"recording_id"`
	Kind        ChangeKind `json:"kind"`
}

// ChangeKind groups changes for receivers that care about some only.
type ChangeKind string

// The kinds of change.
const (
	ChangeStatus   ChangeKind = "STATUS"   // capture state, tracks attached or detached
	ChangeProgress ChangeKind = "PROGRESS" // lag, statistics, composed so far
	ChangeBookmark ChangeKind = "BOOKMARK"
	ChangeComment  ChangeKind = "COMMENT"
	ChangeQA       ChangeKind = "QA"
	ChangeTags     ChangeKind = "TAGS"
)

// BeginRow is everything that a new recording's rows need.
type BeginRow struct {
	TenantID, RecordingID, SessionID string // ids made by the service
	Node                             string // which recorder captures it
	ExternalSessionID                string
	Queue, Agent                     string // external names; the agent is made if unknown
	CustomerID, Client, SessionType  string
	Tags                             []string
	Metadata                         json.RawMessage
	StartedAt                        time.Time
	Profile                          Profile
	Canvas                           Size
	RTCPMux                          bool
	SRTPSuite                        SRTPSuite
	Tracks                           []TrackRow
	WrappedKey                       kms.WrappedKey
	Actor                            Actor
}

// Actor is who did it, for audit rows.
type Actor struct {
	Kind string `json:"kind"` // "api_key", "user", "cli", "system"
	ID   string `json:"id"`
	IP   string `json:"ip,omitempty"`
}

// String is the short form for logs and events: "user:17".
func (a Actor) String() string { return a.Kind + ":" + a.ID }

// System is the recorder itself as an actor.
func System() Actor { return Actor{Kind: "system", ID: "dualrec"} }

// TrackRow is one track as the database knows it.
type TrackRow struct {
	ID       string
	Kind     TrackKind
	State    TrackState
	Codec    Codec
	Endpoint Endpoint
	Stats    NetStats
	// SRTP is this side's, for transport.connect(). Only a live recording knows it; it is never stored in the database.
	SRTP SRTPParameters `json:"-"`
}

// RecordingRow is one recording as the recorder needs it.
type RecordingRow struct {
	TenantID, ID, SessionID, ExternalSessionID string
	Node                                       string
	Capture                                    CaptureState
	Profile                                    Profile
	RTCPMux                                    bool
	Tracks                                     []TrackRow
	WrappedKey                                 kms.WrappedKey
	CreatedAt                                  time.Time
}

// Transition asks for a change of the capture state.
type Transition struct {
	TenantID, RecordingID string
	From                  []CaptureState
	To                    CaptureState
	At                    time.Time
	Actor                 Actor
	Action                string // audit action: "recording.pause", …
	Reason                string // pause reason, failure text
	Patch                 RecordingPatch
}

// RecordingPatch sets the fields that are not nil.
type RecordingPatch struct {
	StartedAt    *time.Time // instant of the epoch
	EndedAt      *time.Time
	DurationUs   *int64
	ComposeLagMs *int
	Layout       *Layout
	FailureCode  *string
	FailureText  *string
}

// FinishRow closes a recording.
type FinishRow struct {
	Transition
	Gaps        []GapRow
	Segments    []SegmentRow
	Copies      []CopyRow
	Tracks      []TrackRow
	DurationUs  int64
	SizeBytes   int64 // plaintext MP4
	Width       int
	Height      int
	VideoCodec  string // "h264" or ""
	AudioCodec  string // "aac" or ""
	Passthrough bool
	HasGaps     bool
}

// GapRow is one entry of the gap ledger.
type GapRow struct {
	TrackID string // empty: the whole recording
	Kind    GapKind
	From    Micros
	To      Micros
	Packets int
	Detail  string
}

// SegmentRow is one composed segment.
type SegmentRow struct {
	Index     int
	FromFrame int64
	ToFrame   int64
	Layout    Layout
	Paused    bool
	SizeBytes int64
	SpoolName string
}

// CopyRole says what a stored object is.
type CopyRole string

// The roles of stored objects.
const (
	CopyVideo    CopyRole = "VIDEO"
	CopyWaveform CopyRole = "WAVEFORM"
	CopyManifest CopyRole = "MANIFEST"
)

// Values lists all roles.
func (CopyRole) Values() []string {
	return []string{string(CopyVideo), string(CopyWaveform), string(CopyManifest)}
}

// CopyRow is one stored object. State REGISTERED is written before the first byte is uploaded, so that nothing
// stored can be orphaned; STORED after the store confirmed size and digest.
type CopyRow struct {
	Role             CopyRole
	Target           string // which store: "local"
	Key              string
	VersionID        string
	FileID           string // for the key derivation (docs/formats/envelope.md)
	Size             int64  // plaintext
	CiphertextSize   int64
	CiphertextSHA256 []byte
	Stored           bool
}

// Errors of commands and of the catalog.
var (
	ErrNotFound        = errors.New("recorder: not found")
	ErrTenantSuspended = errors.New("recorder: tenant is suspended")
	// ErrUnavailable: the database does not answer or stayed busy; retry later.
	ErrUnavailable = errors.New("recorder: database unavailable")
)

// StateError: the recording is in a state in which this cannot be done.
type StateError struct {
	RecordingID string
	Is          CaptureState
	Want        []CaptureState
}
