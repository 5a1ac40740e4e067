package catalog

import (
	"context"
	"encoding/json"
	"time"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/auditevent"
	"github.com/dualrec/dualrec/ent/bookmark"
	"github.com/dualrec/dualrec/ent/comment"
	"github.com/dualrec/dualrec/ent/recording"
	"github.com/dualrec/dualrec/ent/track"
	"github.com/dualrec/dualrec/recorder"
)

// live are the capture states that a supervisor's floor shows.
var live = []recorder.CaptureState{recorder.Pending, recorder.Recording, recorder.Paused}

// MaxFloor is how many tiles a floor shows, newest calls first.
const MaxFloor = 5000

// FloorRow is one live recording as a supervisor sees it.
type FloorRow struct {
	RecordingID       string
	SessionID         string
	ExternalSessionID string
	AgentID           string
	Agent             string // external id
	AgentName         string
	QueueID           string
	Queue             string
	CustomerID        string
	Capture           recorder.CaptureState
	Reason            string // of a pause
	Since             time.Time
	StartedAt         time.Time
	Layout            recorder.Layout
	ComposeLagMs      int
	Tracks            []recorder.TrackRow
	LastBookmark      *Bookmark
	LastComment       *Comment
}

// Floor reads all live recordings of a tenant on one snapshot, newest first, at most MaxFloor.
func (c *Catalog) Floor(ctx context.Context, tenantID string) (got []FloorRow, err error) {
	err = c.read(ctx, "read floor", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		rows, err := tx.Recording.Query().Where(recording.CaptureIn(live...)).WithSession().WithAgent().WithQueue().
			WithTracks(func(q *ent.TrackQuery) { q.Order(ent.Asc(track.FieldID)) }).
			Order(ent.Desc(recording.FieldStartedAt, recording.FieldID)).Limit(MaxFloor).All(ctx)
		if err != nil {
			return err
		}
		got = mapped(rows, floorRow)
		return lastRemarks(ctx, tx, got)
	})
	return got, err
}

func floorRow(r *ent.Recording) FloorRow {
	row := FloorRow{RecordingID: r.ID, SessionID: r.SessionID, AgentID: r.AgentID, QueueID: r.QueueID, CustomerID: r.CustomerID,
		Capture: r.Capture, Reason: r.CaptureReason, Since: r.CaptureSince.UTC(), StartedAt: r.StartedAt.UTC(), Layout: r.Layout,
		ComposeLagMs: r.ComposeLagMs, Tracks: mapped(r.Edges.Tracks, trackRowOf)}
	if s := r.Edges.Session; s != nil {
		row.ExternalSessionID = s.ExternalID
	}
	if a := r.Edges.Agent; a != nil {
		row.Agent, row.AgentName = a.ExternalID, a.DisplayName
	}
	if q := r.Edges.Queue; q != nil {
		row.Queue = q.Name
	}
	return row
}

// newestID is one group's newest row: ids sort by time.
type newestID struct {
	RecordingID string `json:"recording_id"`
	Max         string `json:"max"`
}

// lastRemarks adds the newest bookmark and comment of each row with two statements each, however many rows.
func lastRemarks(ctx context.Context, tx *ent.Tx, rows []FloorRow) error {
	at := make(map[string]*FloorRow, len(rows))
	ids := make([]string, len(rows))
	for i := range rows {
		at[rows[i].RecordingID], ids[i] = &rows[i], rows[i].RecordingID
	}
	pick := func(n newestID) string { return n.Max }
	return inBatches(ids, func(ids []string) error {
		var newest []newestID
		if err := tx.Bookmark.Query().Where(bookmark.RecordingIDIn(ids...)).GroupBy(bookmark.FieldRecordingID).Aggregate(ent.Max(bookmark.FieldID)).Scan(ctx, &newest); err != nil {
			return err
		}
		bookmarks, err := tx.Bookmark.Query().Where(bookmark.IDIn(mapped(newest, pick)...)).All(ctx)
		if err != nil {
			return err
		}
		for _, b := range bookmarks {
			last := bookmarkOf(b)
			at[b.RecordingID].LastBookmark = &last
		}
		newest = nil
		if err := tx.Comment.Query().Where(comment.RecordingIDIn(ids...)).GroupBy(comment.FieldRecordingID).Aggregate(ent.Max(comment.FieldID)).Scan(ctx, &newest); err != nil {
			return err
		}
		comments, err := tx.Comment.Query().Where(comment.IDIn(mapped(newest, pick)...)).All(ctx)
		if err != nil {
			return err
		}
		for _, m := range comments {
			last := commentOf(m)
			at[m.RecordingID].LastComment = &last
		}
		return nil
	})
}

// AuditEvent is one row of a tenant's audit log.
type AuditEvent struct {
	ID      string
	Seq     int64 // 1, 2, 3 … per tenant
	Actor   recorder.Actor
	Action  string
	Object  string
	At      time.Time
	Details json.RawMessage
}

// AuditSince lists up to limit events of a tenant after a number, in order. Numbers have no gaps and follow
// commit order, so whoever has read up to one has missed nothing before it.
func (c *Catalog) AuditSince(ctx context.Context, tenantID string, after int64, limit int) (got []AuditEvent, err error) {
	err = c.read(ctx, "read audit events", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		rows, err := tx.AuditEvent.Query().Where(auditevent.SeqGT(after)).Order(ent.Asc(auditevent.FieldSeq)).Limit(max(limit, 1)).All(ctx)
		got = mapped(rows, func(e *ent.AuditEvent) AuditEvent {
			return AuditEvent{ID: e.ID, Seq: e.Seq, Actor: recorder.Actor{Kind: e.ActorKind, ID: e.ActorID, IP: e.ActorIP},
				Action: e.Action, Object: e.Object, At: e.At.UTC(), Details: e.Details}
		})
		return err
	})
	return got, err
}
