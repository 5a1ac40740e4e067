package graph

import (
	"context"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Recorder carries out commands; *recorder.Service is one, *node.Client stands before those of other processes. Refusals are *recorder.CommandError, *recorder.StateError
// or the sentinels of package recorder; every other error is internal and its text is not shown.
type Recorder interface {
	Start(ctx context.Context, c recorder.StartCommand) (recordingID string, err error)
	Attach(ctx context.Context, c recorder.AttachCommand) (trackID string, err error)
	Detach(ctx context.Context, c recorder.DetachCommand) error
	Pause(ctx context.Context, c recorder.PauseCommand) error
	Resume(ctx context.Context, c recorder.ResumeCommand) error
	SetLayout(ctx context.Context, c recorder.LayoutCommand) error
	Stop(ctx context.Context, c recorder.StopCommand) error
	// Live tells what only the recorder that captures a recording knows; ok is false anywhere else. It asks nobody, so
	// that every tile of a floor can ask.
	Live(tenantID, recordingID string) (status recorder.LiveStatus, ok bool)
}

// Playback signs URLs and ends them. Errors as for Recorder.
type Playback interface {
	Grant(ctx context.Context, c GrantCommand) (Grant, error)
	// Revoke ends one grant, durably, and what is playing on it. Revoking again is no error. recorder.ErrNotFound.
	Revoke(ctx context.Context, c RevokeCommand) error
}

// GrantCommand asks for URLs of one recording. graph has checked that the viewer may see the recording.
type GrantCommand struct {
	TenantID, RecordingID string
	Video                 bool // the MP4, and the waveform if there is one; false: the waveform alone
	TTL                   time.Duration
	Purpose               string
	Actor                 recorder.Actor
}

// RevokeCommand ends one of Grant.IDs. graph has checked that the viewer may revoke grants of its recording.
type RevokeCommand struct {
	TenantID, GrantID string
	Actor             recorder.Actor
}

// Grant is what a player needs.
type Grant struct {
	IDs                     []string // of what was granted, one for each URL
	VideoURL, WaveformURL   string   // empty: there is none
	ExpiresAt, RefreshAfter time.Time
}

// IngestTokens lets publishers in without an API key. Errors as for Recorder.
type IngestTokens interface {
	IssueIngestToken(ctx context.Context, c IngestTokenCommand) (IngestToken, error)
}

// IngestTokenCommand asks for a token of one recording. graph has checked that the viewer may ingest into it, that it is
// live, and that it expects these kinds.
type IngestTokenCommand struct {
	TenantID, RecordingID string
	Kinds                 []recorder.TrackKind
	TTL                   time.Duration
	Actor                 recorder.Actor
}

// IngestToken is what a WHIP publisher needs.
type IngestToken struct {
	Token                string
	ScreenURL, WebcamURL string // whatever the kinds are
	ExpiresAt            time.Time
}

// Reviews writes what reviewers say. Errors as for Recorder. The implementation publishes the change after its commit.
type Reviews interface {
	CreateBookmark(ctx context.Context, c BookmarkCommand) (bookmarkID string, err error)
	AddComment(ctx context.Context, c CommentCommand) (commentID string, err error)
}

// BookmarkCommand marks an instant, or a stretch if To is not nil.
type BookmarkCommand struct {
	TenantID, RecordingID string
	At                    recorder.Micros
	To                    *recorder.Micros
	Label, Color          string
	Actor                 recorder.Actor
}

// CommentCommand says something about an instant, or about a bookmark.
type CommentCommand struct {
	TenantID, RecordingID string
	BookmarkID            string // empty: none
	At                    recorder.Micros
	Body                  string
	Actor                 recorder.Actor
}
