package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/predicate"
	"github.com/dualrec/dualrec/ent/track"
	"github.com/dualrec/dualrec/graph/model"
	"github.com/dualrec/dualrec/recorder"
)

const (
	maxAutoResume = 24 * 60 * 60 // seconds
	maxPort       = 65535
	maxBody       = 16 << 10 // bytes of a comment
	maxLabel      = 200
	maxAtMs       = 7 * 24 * 60 * 60 * 1000
)

// commands turns inputs into commands. What a command means is decided behind the ports.
type commands struct {
	rec    Recorder
	play   Playback
	ingest IngestTokens
	review Reviews
	reads  reads
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// within refuses a recording that is out of the viewer's reach, as one that is not there.
func (c commands) within(ctx context.Context, op auth.Operation, recordingID string) error {
	_, err := c.reads.recording(ctx, op, recordingID)
	return err
}

func (c commands) start(ctx context.Context, in model.StartRecordingInput) (id string, err error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return "", err
	}
	cmd := recorder.StartCommand{TenantID: v.TenantID, ExternalSessionID: in.ExternalSessionID, Queue: in.Queue, Agent: in.Agent,
		CustomerID: deref(in.CustomerID), Client: deref(in.Client), SessionType: deref(in.SessionType), Tags: in.Tags,
		StartedAt: deref(in.StartedAt), Metadata: jsonOrNothing(in.Metadata), Tracks: in.Tracks, Layout: deref(in.Layout),
		RTCPMux: deref(in.RtcpMux), SRTPSuite: deref(in.SrtpCryptoSuite), Actor: v.actor()}
	return c.rec.Start(ctx, cmd)
}

// jsonOrNothing is nil for absent and for null.
func jsonOrNothing(v json.RawMessage) json.RawMessage {
	if bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
		return nil
	}
	return v
}

func (c commands) attach(ctx context.Context, in model.AttachTrackInput) (trackID string, err error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return "", err
	}
	srtp, err := recorder.ParseSRTPParameters(jsonOrNothing(in.SrtpParameters))
	if err != nil {
		return "", refuseField(recorder.CodeInvalidInput, "srtpParameters", "%v", err)
	}
	if in.Source.RtpPort < 1 || in.Source.RtpPort > maxPort || deref(in.Source.RtcpPort) < 0 || deref(in.Source.RtcpPort) > maxPort {
		return "", refuseField(recorder.CodeInvalidInput, "source", "ports must be within 1 and %d", maxPort)
	}
	if err := nearSource(v.Principal, deref(in.Source.IP)); err != nil {
		return "", err
	}
	return c.rec.Attach(ctx, recorder.AttachCommand{TenantID: v.TenantID, RecordingID: in.RecordingID, Kind: in.Kind, TrackID: deref(in.TrackID),
		RTPParameters: in.RtpParameters, ProducerID: deref(in.ProducerID), SRTP: srtp, Actor: v.actor(),
		Source: recorder.Source{IP: deref(in.Source.IP), RTPPort: in.Source.RtpPort, RTCPPort: deref(in.Source.RtcpPort)}})
}

// nearSource keeps media of a key's calls within the key's networks. Without an address the recorder would pin whoever
// sends first, so a confined key must name one.
func nearSource(p auth.Principal, ip string) error {
	if len(p.Networks) == 0 {
		return nil
	}
	if a, err := netip.ParseAddr(ip); err != nil || !p.Near(a) {
		return refuseField(recorder.CodeForbidden, "source", "media of this API key's calls may come from %v alone: give ip, one of these networks", p.Networks)
	}
	return nil
}

func (c commands) detach(ctx context.Context, in model.DetachTrackInput) error {
	v, err := viewerOf(ctx)
	if err != nil {
		return err
	}
	return c.rec.Detach(ctx, recorder.DetachCommand{TenantID: v.TenantID, RecordingID: in.RecordingID, Kind: in.Kind, TrackID: deref(in.TrackID), Actor: v.actor()})
}

func (c commands) pause(ctx context.Context, in model.PauseRecordingInput) error {
	v, err := viewerOf(ctx)
	if err != nil {
		return err
	}
	if s := in.AutoResumeAfterSeconds; s != nil && (*s < 1 || *s > maxAutoResume) {
		return refuseField(recorder.CodeInvalidInput, "autoResumeAfterSeconds", "is %d, want 1 to %d", *s, maxAutoResume)
	}
	if err := c.within(ctx, auth.Pause, in.RecordingID); err != nil {
		return err
	}
	return c.rec.Pause(ctx, recorder.PauseCommand{TenantID: v.TenantID, RecordingID: in.RecordingID, Reason: in.Reason,
		AutoResume: time.Duration(deref(in.AutoResumeAfterSeconds)) * time.Second, Actor: v.actor()})
}

func (c commands) resume(ctx context.Context, id string) error {
	v, err := viewerOf(ctx)
	if err != nil {
		return err
	}
	if err := c.within(ctx, auth.Pause, id); err != nil {
		return err
	}
	return c.rec.Resume(ctx, recorder.ResumeCommand{TenantID: v.TenantID, RecordingID: id, Actor: v.actor()})
}

func (c commands) setLayout(ctx context.Context, in model.SetLayoutInput) error {
	v, err := viewerOf(ctx)
	if err != nil {
		return err
	}
	return c.rec.SetLayout(ctx, recorder.LayoutCommand{TenantID: v.TenantID, RecordingID: in.RecordingID, Layout: in.Layout, Actor: v.actor()})
}

func (c commands) stop(ctx context.Context, id string) error {
	v, err := viewerOf(ctx)
	if err != nil {
		return err
	}
	return c.rec.Stop(ctx, recorder.StopCommand{TenantID: v.TenantID, RecordingID: id, Actor: v.actor()})
}

const (
	minIngestTTL     = 60
	maxIngestTTL     = 24 * 60 * 60 // seconds
	defaultIngestTTL = 60 * 60
)

func (c commands) ingestToken(ctx context.Context, in model.CreateIngestTokenInput) (*model.CreateIngestTokenPayload, error) {
	out, err := c.issueIngestToken(ctx, in)
	errs, err := userErrors(err)
	if out == nil {
		out = &model.CreateIngestTokenPayload{}
	}
	out.UserErrors = errs
	return out, err
}

func (c commands) issueIngestToken(ctx context.Context, in model.CreateIngestTokenInput) (*model.CreateIngestTokenPayload, error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return nil, err
	}
	ttl := defaultIngestTTL
	if in.TTLSeconds != nil {
		ttl = *in.TTLSeconds
	}
	if ttl < minIngestTTL || ttl > maxIngestTTL {
		return nil, refuseField(recorder.CodeInvalidInput, "ttlSeconds", "is %d, want %d to %d", ttl, minIngestTTL, maxIngestTTL)
	}
	rec, err := c.reads.recording(ctx, auth.Ingest, in.RecordingID)
	if err != nil {
		return nil, err
	}
	if !rec.Capture.Live() {
		return nil, &recorder.StateError{RecordingID: rec.ID, Is: rec.Capture, Want: []recorder.CaptureState{recorder.Pending, recorder.Recording, recorder.Paused}}
	}
	kinds, err := c.ingestKinds(ctx, rec, in.Kinds)
	if err != nil {
		return nil, err
	}
	made, err := c.ingest.IssueIngestToken(ctx, IngestTokenCommand{TenantID: v.TenantID, RecordingID: rec.ID, Kinds: kinds,
		TTL: time.Duration(ttl) * time.Second, Actor: v.actor()})
	if err != nil {
		return nil, err
	}
	urls := &model.WhipUrls{}
	for _, k := range kinds {
		switch k {
		case recorder.Screen, recorder.CustomerAudio:
			urls.Screen = &made.ScreenURL
		case recorder.Webcam, recorder.AgentAudio:
			urls.Webcam = &made.WebcamURL
		}
	}
	return &model.CreateIngestTokenPayload{Token: &made.Token, WhipUrls: urls, ExpiresAt: &made.ExpiresAt}, nil
}

// ingestKinds are the kinds asked for, each once; none asked for: all that the recording expects.
func (c commands) ingestKinds(ctx context.Context, rec *ent.Recording, asked []recorder.TrackKind) ([]recorder.TrackKind, error) {
	rows, err := c.reads.tracks(ctx, rec)
	if err != nil {
		return nil, err
	}
	var expected []recorder.TrackKind
	for _, t := range rows {
		if !slices.Contains(expected, t.Kind) {
			expected = append(expected, t.Kind)
		}
	}
	if len(asked) == 0 {
		return expected, nil
	}
	var out []recorder.TrackKind
	for _, k := range asked {
		if !slices.Contains(expected, k) {
			return nil, refuseField(recorder.CodeInvalidInput, "kinds", "this recording expects %v and not %s: name it in startRecording.tracks", expected, k)
		}
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out, nil
}

// grant signs only for what the viewer can also read.
func (c commands) grant(ctx context.Context, in model.GrantPlaybackInput) (*model.PlaybackGrant, []*model.UserError, error) {
	g, err := c.sign(ctx, in)
	errs, err := userErrors(err)
	return g, errs, err
}

func (c commands) sign(ctx context.Context, in model.GrantPlaybackInput) (*model.PlaybackGrant, error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return nil, err
	}
	if s := in.TTLSeconds; s != nil && (*s < 1 || *s > maxAutoResume) {
		return nil, refuseField(recorder.CodeInvalidInput, "ttlSeconds", "is %d, want 1 to %d", *s, maxAutoResume)
	}
	if p := deref(in.Purpose); len(p) > maxLabel {
		return nil, refuseField(recorder.CodeInvalidInput, "purpose", "has %d bytes, the limit is %d", len(p), maxLabel)
	}
	rec, err := c.reads.recording(ctx, auth.Play, in.RecordingID)
	if err != nil {
		return nil, err
	}
	g, err := c.play.Grant(ctx, GrantCommand{TenantID: v.TenantID, RecordingID: rec.ID, Video: in.Asset == model.PlaybackAssetVideo,
		TTL: time.Duration(deref(in.TTLSeconds)) * time.Second, Purpose: deref(in.Purpose), Actor: v.actor()})
	if err != nil {
		return nil, err
	}
	return &model.PlaybackGrant{GrantID: strings.Join(g.IDs, grantSeparator), VideoURL: text(g.VideoURL), WaveformURL: text(g.WaveformURL), ExpiresAt: g.ExpiresAt, RefreshAfter: g.RefreshAfter}, nil
}

// A grant of the API is one grant for each URL; its id names them all, so that whoever ends it ends all of its URLs.
const (
	grantSeparator = "."
	maxGrantParts  = 2
)

func (c commands) revoke(ctx context.Context, in model.RevokePlaybackInput) (*string, []*model.UserError, error) {
	errs, err := userErrors(c.endGrant(ctx, in.GrantID))
	if err != nil || len(errs) > 0 {
		return nil, errs, err
	}
	return &in.GrantID, errs, nil
}

func (c commands) endGrant(ctx context.Context, grantID string) error {
	v, err := viewerOf(ctx)
	if err != nil {
		return err
	}
	ids := strings.Split(grantID, grantSeparator)
	if known, err := c.reads.grantsExist(ctx, auth.RevokeGrants, ids); err != nil {
		return err
	} else if !known {
		return refuseField(recorder.CodeNotFound, "grantId", "there is no such grant")
	}
	for _, id := range ids {
		if err := c.play.Revoke(ctx, RevokeCommand{TenantID: v.TenantID, GrantID: id, Actor: v.actor()}); err != nil {
			return err
		}
	}
	return nil
}

func (c commands) bookmark(ctx context.Context, in model.CreateBookmarkInput) (id string, err error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return "", err
	}
	if err := checkInstant("atMs", in.AtMs); err != nil {
		return "", err
	}
	if in.Label == "" || len(in.Label) > maxLabel || len(deref(in.Color)) > 32 {
		return "", refuseField(recorder.CodeInvalidInput, "label", "label needs 1 to %d bytes, color at most 32", maxLabel)
	}
	cmd := BookmarkCommand{TenantID: v.TenantID, RecordingID: in.RecordingID, At: micros(in.AtMs), Label: in.Label, Color: deref(in.Color), Actor: v.actor()}
	if in.ToMs != nil {
		if *in.ToMs <= in.AtMs || *in.ToMs > maxAtMs {
			return "", refuseField(recorder.CodeInvalidInput, "toMs", "must be after atMs")
		}
		to := micros(*in.ToMs)
		cmd.To = &to
	}
	if err := c.within(ctx, auth.Annotate, in.RecordingID); err != nil {
		return "", err
	}
	return c.review.CreateBookmark(ctx, cmd)
}

func (c commands) comment(ctx context.Context, in model.AddCommentInput) (id string, err error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return "", err
	}
	if in.Body == "" || len(in.Body) > maxBody {
		return "", refuseField(recorder.CodeInvalidInput, "body", "has %d bytes, want 1 to %d", len(in.Body), maxBody)
	}
	cmd := CommentCommand{TenantID: v.TenantID, RecordingID: in.RecordingID, BookmarkID: deref(in.BookmarkID), Body: in.Body, Actor: v.actor()}
	if err := c.within(ctx, auth.Annotate, in.RecordingID); err != nil {
		return "", err
	}
	if cmd.At, err = c.commentAt(ctx, in); err != nil {
		return "", err
	}
	return c.review.AddComment(ctx, cmd)
}

// commentAt is where a comment points to: where it says, else where its bookmark does.
func (c commands) commentAt(ctx context.Context, in model.AddCommentInput) (recorder.Micros, error) {
	at := micros(deref(in.AtMs))
	if err := checkInstant("atMs", deref(in.AtMs)); err != nil || in.BookmarkID == nil {
		return at, err
	}
	b, err := c.reads.db.Bookmark.Get(ctx, *in.BookmarkID)
	if row, err := optionalRow(b, err, "bookmark"); err != nil {
		return 0, err
	} else if row == nil || row.RecordingID != in.RecordingID {
		return 0, refuseField(recorder.CodeNotFound, "bookmarkId", "this recording has no such bookmark")
	}
	if in.AtMs == nil {
		at = recorder.Micros(b.AtUs)
	}
	return at, nil
}

func checkInstant(field string, ms int) error {
	if ms < 0 || ms > maxAtMs {
		return refuseField(recorder.CodeInvalidInput, field, "is %d ms, want 0 to %d", ms, maxAtMs)
	}
	return nil
}

func micros(ms int) recorder.Micros { return recorder.Micros(ms) * 1000 }

// outcome reads the recording that a command was about, unless it was refused.
func (c commands) outcome(ctx context.Context, id string, err error) (*ent.Recording, []*model.UserError, error) {
	errs, err := userErrors(err)
	if err != nil || len(errs) > 0 {
		return nil, errs, err
	}
	rec, err := c.reads.recording(ctx, auth.ReadRecordings, id)
	return rec, errs, err
}

// trackOutcome is outcome for commands about one track.
func (c commands) trackOutcome(ctx context.Context, recordingID string, kind recorder.TrackKind, trackID *string, err error) (*ent.Track, []*model.UserError, error) {
	errs, err := userErrors(err)
	if err != nil || len(errs) > 0 {
		return nil, errs, err
	}
	which := []predicate.Track{track.KindEQ(kind)}
	if id := deref(trackID); id != "" {
		which = append(which, track.ID(id))
	}
	row, err := c.reads.trackRow(ctx, recordingID, which...)
	return row, errs, err
}

// marked reads the bookmark that was made, unless that was refused.
func (c commands) marked(ctx context.Context, id string, err error) (*ent.Bookmark, []*model.UserError, error) {
	errs, err := userErrors(err)
	if err != nil || len(errs) > 0 {
		return nil, errs, err
	}
	b, err := c.reads.db.Bookmark.Get(ctx, id)
	return b, errs, err
}

// said reads the comment that was made, unless that was refused.
func (c commands) said(ctx context.Context, id string, err error) (*ent.Comment, []*model.UserError, error) {
	errs, err := userErrors(err)
	if err != nil || len(errs) > 0 {
		return nil, errs, err
	}
	m, err := c.reads.db.Comment.Get(ctx, id)
	return m, errs, err
}
