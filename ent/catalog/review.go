package catalog

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/bookmark"
	"github.com/dualrec/dualrec/ent/comment"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/ent/qalink"
	"github.com/dualrec/dualrec/ent/tag"
	"github.com/dualrec/dualrec/recorder"
)

// Bookmark marks an instant or a stretch of a recording.
type Bookmark struct {
	ID          string
	RecordingID string
	At          recorder.Micros
	To          recorder.Micros // 0: an instant
	Label       string
	Color       string
	Author      recorder.Actor
	CreatedAt   time.Time
}

// Comment is a remark at an instant of a recording.
type Comment struct {
	ID          string
	RecordingID string
	BookmarkID  string // empty: on the recording itself
	At          recorder.Micros
	Body        string
	Author      recorder.Actor
	CreatedAt   time.Time
	ResolvedAt  time.Time // zero: open
	ResolvedBy  string
}

// QALink ties a recording to an evaluation in a QA system.
type QALink struct {
	ID             string
	RecordingID    string
	ExternalSystem string
	ExternalID     string
	URL            string
	FormName       string
	Score          *float64 // nil: not scored
	Scale          float64  // the best possible score; 0: 100
	SyncedAt       time.Time
}

// NoScore is the sort value of a recording without a QA score.
const NoScore = -1

// AddBookmark adds a bookmark; an empty ID is drawn. recorder.ErrNotFound, ErrInvalid.
func (c *Catalog) AddBookmark(ctx context.Context, tenantID string, b Bookmark) (made Bookmark, err error) {
	const op = "add bookmark"
	if b.To != 0 && b.To < b.At {
		return Bookmark{}, outward(op, refuse(ErrInvalid, "the bookmark ends before it begins"))
	}
	if b.ID == "" {
		b.ID = nodeid.New(nodeid.Bookmark)
	}
	err = c.write(ctx, op, tenantID, func(ctx context.Context, tx *ent.Tx) error {
		if _, err := tx.Recording.Get(ctx, b.RecordingID); err != nil {
			return err
		}
		create := tx.Bookmark.Create().SetID(b.ID).SetTenantID(tenantID).SetRecordingID(b.RecordingID).SetAtUs(int64(b.At)).SetLabel(b.Label).
			SetColor(b.Color).SetAuthorKind(b.Author.Kind).SetAuthorID(b.Author.ID).SetCreatedAt(c.now())
		if b.To != 0 {
			create.SetToUs(int64(b.To))
		}
		row, err := create.Save(ctx)
		if err != nil {
			return err
		}
		made = bookmarkOf(row)
		return c.audit(ctx, tx, tenantID, event{actor: b.Author, action: "bookmark.create", object: b.RecordingID,
			details: map[string]any{"bookmark_id": b.ID, "at_us": b.At, "label": b.Label}})
	})
	return made, err
}

func bookmarkOf(b *ent.Bookmark) Bookmark {
	out := Bookmark{ID: b.ID, RecordingID: b.RecordingID, At: recorder.Micros(b.AtUs), Label: b.Label, Color: b.Color,
		Author: recorder.Actor{Kind: b.AuthorKind, ID: b.AuthorID}, CreatedAt: b.CreatedAt.UTC()}
	if b.ToUs != nil {
		out.To = recorder.Micros(*b.ToUs)
	}
	return out
}

// AddComment adds a comment; an empty ID is drawn. recorder.ErrNotFound (recording, or bookmark of it), ErrInvalid.
func (c *Catalog) AddComment(ctx context.Context, tenantID string, m Comment) (made Comment, err error) {
	const op = "add comment"
	if strings.TrimSpace(m.Body) == "" {
		return Comment{}, outward(op, refuse(ErrInvalid, "the comment is empty"))
	}
	if m.ID == "" {
		m.ID = nodeid.New(nodeid.Comment)
	}
	err = c.write(ctx, op, tenantID, func(ctx context.Context, tx *ent.Tx) error {
		if _, err := tx.Recording.Get(ctx, m.RecordingID); err != nil {
			return err
		}
		create := tx.Comment.Create().SetID(m.ID).SetTenantID(tenantID).SetRecordingID(m.RecordingID).SetAtUs(int64(m.At)).SetBody(m.Body).
			SetAuthorKind(m.Author.Kind).SetAuthorID(m.Author.ID).SetCreatedAt(c.now())
		if m.BookmarkID != "" {
			if _, err := tx.Bookmark.Query().Where(bookmark.ID(m.BookmarkID), bookmark.RecordingID(m.RecordingID)).OnlyID(ctx); err != nil {
				return err
			}
			create.SetBookmarkID(m.BookmarkID)
		}
		row, err := create.Save(ctx)
		if err != nil {
			return err
		}
		made = commentOf(row)
		return c.audit(ctx, tx, tenantID, event{actor: m.Author, action: "comment.create", object: m.RecordingID,
			details: map[string]any{"comment_id": m.ID, "bookmark_id": m.BookmarkID, "at_us": m.At}})
	})
	return made, err
}

func commentOf(m *ent.Comment) Comment {
	out := Comment{ID: m.ID, RecordingID: m.RecordingID, At: recorder.Micros(m.AtUs), Body: m.Body,
		Author: recorder.Actor{Kind: m.AuthorKind, ID: m.AuthorID}, CreatedAt: m.CreatedAt.UTC(), ResolvedAt: moment(m.ResolvedAt), ResolvedBy: m.ResolvedBy}
	if m.BookmarkID != nil {
		out.BookmarkID = *m.BookmarkID
	}
	return out
}

// ResolveComment marks a comment as dealt with and returns it; again, it changes nothing. recorder.ErrNotFound.
func (c *Catalog) ResolveComment(ctx context.Context, tenantID, commentID string, by recorder.Actor) (got Comment, err error) {
	err = c.write(ctx, "resolve comment", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		n, err := tx.Comment.Update().Where(comment.ID(commentID), comment.ResolvedAtIsNil()).SetResolvedAt(c.now()).SetResolvedBy(by.ID).Save(ctx)
		if err != nil {
			return err
		}
		row, err := tx.Comment.Get(ctx, commentID)
		if err != nil {
			return err
		}
		got = commentOf(row)
		if n == 0 {
			return nil
		}
		return c.audit(ctx, tx, tenantID, event{actor: by, action: "comment.resolve", object: row.RecordingID, details: map[string]any{"comment_id": commentID}})
	})
	return got, err
}

// UpsertQALink makes or changes the link to an evaluation, found by system and external id, and gives the recording
// the score of its most recently synced link, in percent. ErrExists: the evaluation is linked to another recording.
// recorder.ErrNotFound, ErrInvalid.
func (c *Catalog) UpsertQALink(ctx context.Context, tenantID string, l QALink, actor recorder.Actor) (made QALink, err error) {
	const op = "upsert QA link"
	if l.Scale == 0 {
		l.Scale = 100
	}
	if s := l.Score; math.IsNaN(l.Scale) || math.IsInf(l.Scale, 0) || l.Scale < 0 || (s != nil && !(*s >= 0 && *s <= l.Scale)) {
		return QALink{}, outward(op, refuse(ErrInvalid, "the score must be within 0 and its scale, which is 100 unless given"))
	}
	err = c.write(ctx, op, tenantID, func(ctx context.Context, tx *ent.Tx) error {
		r, err := c.lock(ctx, tx, l.RecordingID)
		if err != nil {
			return err
		}
		row, err := c.putQALink(ctx, tx, r, l)
		if err != nil {
			return err
		}
		made = qaLinkOf(row)
		if err := rescore(ctx, tx, r); err != nil {
			return err
		}
		return c.audit(ctx, tx, tenantID, event{actor: actor, action: "qa_link.upsert", object: r.ID, details: map[string]any{
			"qa_link_id": row.ID, "external_system": l.ExternalSystem, "external_id": l.ExternalID, "score": l.Score, "scale": l.Scale}})
	})
	return made, err
}

func (c *Catalog) putQALink(ctx context.Context, tx *ent.Tx, r *ent.Recording, l QALink) (*ent.QALink, error) {
	was, err := tx.QALink.Query().Where(qalink.ExternalSystem(l.ExternalSystem), qalink.ExternalID(l.ExternalID)).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return tx.QALink.Create().SetTenantID(r.TenantID).SetRecordingID(r.ID).SetExternalSystem(l.ExternalSystem).SetExternalID(l.ExternalID).
			SetURL(l.URL).SetFormName(l.FormName).SetNillableScore(l.Score).SetScale(l.Scale).SetSyncedAt(c.orNow(l.SyncedAt)).SetCreatedAt(c.now()).Save(ctx)
	case err != nil:
		return nil, err
	case was.RecordingID != r.ID:
		return nil, refuse(ErrExists, "evaluation %s of %s is linked to another recording", shown(l.ExternalID), shown(l.ExternalSystem))
	}
	u := tx.QALink.UpdateOne(was).SetURL(l.URL).SetFormName(l.FormName).SetScale(l.Scale).SetSyncedAt(c.orNow(l.SyncedAt))
	if l.Score == nil {
		u.ClearScore()
	} else {
		u.SetScore(*l.Score)
	}
	return u.Save(ctx)
}

// rescore derives the recording's score from its links.
func rescore(ctx context.Context, tx *ent.Tx, r *ent.Recording) error {
	score := float64(NoScore)
	newest, err := tx.QALink.Query().Where(qalink.RecordingID(r.ID), qalink.ScoreNotNil()).
		Order(ent.Desc(qalink.FieldSyncedAt, qalink.FieldID)).First(ctx)
	switch {
	case err == nil:
		score = *newest.Score * 100 / newest.Scale
	case !ent.IsNotFound(err):
		return err
	}
	return tx.Recording.UpdateOne(r).SetQaScoreSort(score).Exec(ctx)
}

func qaLinkOf(l *ent.QALink) QALink {
	return QALink{ID: l.ID, RecordingID: l.RecordingID, ExternalSystem: l.ExternalSystem, ExternalID: l.ExternalID, URL: l.URL,
		FormName: l.FormName, Score: l.Score, Scale: l.Scale, SyncedAt: l.SyncedAt.UTC()}
}

// MaxTags is how many tags a recording may have.
const MaxTags = 50

// ChangeTags adds and removes tags of a recording and returns what it has then, in order. A tag in both lists
// is there afterwards. recorder.ErrNotFound, ErrInvalid.
func (c *Catalog) ChangeTags(ctx context.Context, tenantID, recordingID string, add, remove []string, actor recorder.Actor) (tags []string, err error) {
	err = c.write(ctx, "change tags", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		r, err := c.lock(ctx, tx, recordingID)
		if err != nil {
			return err
		}
		was, err := tx.Tag.Query().Where(tag.RecordingID(r.ID)).Select(tag.FieldName).Strings(ctx)
		if err != nil {
			return err
		}
		added := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(add))), func(s string) bool { return slices.Contains(was, s) })
		gone := slices.DeleteFunc(slices.Clone(was), func(s string) bool { return !slices.Contains(remove, s) || slices.Contains(add, s) })
		tags = slices.Sorted(slices.Values(append(slices.DeleteFunc(slices.Clone(was), func(s string) bool { return slices.Contains(gone, s) }), added...)))
		if len(tags) > MaxTags {
			return refuse(ErrInvalid, "%d tags are more than the limit of %d", len(tags), MaxTags)
		}
		if len(added)+len(gone) == 0 {
			return nil
		}
		if _, err := tx.Tag.Delete().Where(tag.RecordingID(r.ID), tag.NameIn(gone...)).Exec(ctx); err != nil {
			return err
		}
		if err := insertTags(ctx, tx, tenantID, r.ID, r.StartedAt, added); err != nil {
			return err
		}
		return c.audit(ctx, tx, tenantID, event{actor: actor, action: "recording.tag", object: r.ID, details: map[string]any{"added": added, "removed": gone}})
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}
