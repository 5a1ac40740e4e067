package graph

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"entgo.io/ent/dialect/sql"
	"github.com/99designs/gqlgen/graphql"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/agent"
	"github.com/dualrec/dualrec/ent/bookmark"
	"github.com/dualrec/dualrec/ent/comment"
	"github.com/dualrec/dualrec/ent/gap"
	"github.com/dualrec/dualrec/ent/grant"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/ent/predicate"
	"github.com/dualrec/dualrec/ent/qalink"
	"github.com/dualrec/dualrec/ent/queue"
	"github.com/dualrec/dualrec/ent/recording"
	_ "github.com/dualrec/dualrec/ent/runtime" // registers what confines every query to a tenant
	"github.com/dualrec/dualrec/ent/segment"
	"github.com/dualrec/dualrec/ent/session"
	"github.com/dualrec/dualrec/ent/tag"
	"github.com/dualrec/dualrec/ent/track"
	"github.com/dualrec/dualrec/graph/model"
	"github.com/dualrec/dualrec/recorder"
)

const (
	maxFilterList  = 50
	maxFilterText  = 200
	maxSessionRows = 20   // recordings of one session that are shown
	maxGaps        = 1000 // entries of one gap ledger that are shown
	maxSegments    = 5000 // 9 hours of 10 s segments are 3240
)

// reads answers queries. Its client is confined to the tenant of the context; what a viewer may see within the
// tenant is decided here.
type reads struct {
	db   *ent.Client
	seal *sealer
	live func(tenantID, recordingID string) (recorder.LiveStatus, bool)
}

// recordings starts every query for recordings: those with which the viewer may do op.
func (r reads) recordings(ctx context.Context, op auth.Operation) (*ent.RecordingQuery, error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return nil, err
	}
	return r.db.Recording.Query().Where(v.reach(op)...), nil
}

// recording reads one. ErrNotFound also for what the viewer may not see.
func (r reads) recording(ctx context.Context, op auth.Operation, id string) (*ent.Recording, error) {
	q, err := r.recordings(ctx, op)
	if err != nil {
		return nil, err
	}
	rec, err := q.Where(recording.ID(id)).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, recorder.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("graph: read recording: %w", err)
	}
	return rec, nil
}

// grantsExist tells whether all of some grants are of recordings with which the viewer may do op.
func (r reads) grantsExist(ctx context.Context, op auth.Operation, ids []string) (bool, error) {
	v, err := viewerOf(ctx)
	if err != nil || len(ids) > maxGrantParts {
		return false, err
	}
	n, err := r.db.Grant.Query().Where(grant.IDIn(ids...), grant.HasRecordingWith(v.reach(op)...)).Count(ctx)
	if err != nil {
		return false, fmt.Errorf("graph: read grants: %w", err)
	}
	return n == len(ids), nil
}

// sessionBy reads one session, nil if there is none that the viewer may see.
func (r reads) sessionBy(ctx context.Context, by predicate.Session) (*ent.Session, error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return nil, err
	}
	q := r.db.Session.Query().Where(by)
	if reach := v.reach(auth.ReadRecordings); reach != nil {
		q.Where(session.HasRecordingsWith(reach...))
	}
	s, err := q.Only(ctx)
	return optionalRow(s, err, "session")
}

// optionalRow turns "not found" into nil.
func optionalRow[T any](row *T, err error, what string) (*T, error) {
	if ent.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("graph: read %s: %w", what, err)
	}
	return row, nil
}

// node finds a thing by its id, whose prefix names the table. Only types of the schema can be reached.
func (r reads) node(ctx context.Context, id string) (ent.Noder, error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return nil, err
	}
	reach := v.reach(auth.ReadRecordings)
	switch kind, _ := nodeid.Of(id); kind {
	case nodeid.Recording:
		rec, err := r.recording(ctx, auth.ReadRecordings, id)
		return noder(rec, ignoreNotFound(err))
	case nodeid.Session:
		s, err := r.sessionBy(ctx, session.ID(id))
		return noder(s, err)
	case nodeid.Track:
		row, err := r.db.Track.Query().Where(track.ID(id), track.HasRecordingWith(reach...)).Only(ctx)
		return found(row, err)
	case nodeid.Agent:
		row, err := r.db.Agent.Query().Where(agent.ID(id)).Only(ctx)
		return named(v, row, err)
	case nodeid.Queue:
		row, err := r.db.Queue.Query().Where(queue.ID(id)).Only(ctx)
		return named(v, row, err)
	case nodeid.Bookmark:
		row, err := r.db.Bookmark.Query().Where(bookmark.ID(id), bookmark.HasRecordingWith(reach...)).Only(ctx)
		return found(row, err)
	case nodeid.Comment:
		row, err := r.db.Comment.Query().Where(comment.ID(id), comment.HasRecordingWith(reach...)).Only(ctx)
		return found(row, err)
	case nodeid.QALink:
		row, err := r.db.QALink.Query().Where(qalink.ID(id), qalink.HasRecordingWith(reach...)).Only(ctx)
		return found(row, err)
	}
	return nil, nil
}

// noder keeps a nil row from becoming an interface that is not nil.
func noder[T any, P interface {
	*T
	ent.Noder
}](row P, err error) (ent.Noder, error) {
	if row == nil || err != nil {
		return nil, err
	}
	return row, nil
}

func found[T any, P interface {
	*T
	ent.Noder
}](row P, err error) (ent.Noder, error) {
	r, err := optionalRow((*T)(row), err, "node")
	return noder(P(r), err)
}

// named shows people and queues to everyone who sees more than their own calls.
func named[T any, P interface {
	*T
	ent.Noder
}](v viewer, row P, err error) (ent.Noder, error) {
	if auth.ScopeOf(v.Role, auth.ReadRecordings) < auth.OwnQueues {
		return nil, nil
	}
	return found[T](row, err)
}

func ignoreNotFound(err error) error {
	if v, known := judge(err); err != nil && known && v.code == recorder.CodeNotFound {
		return nil
	}
	return err
}

// orders are the columns by which recordings can be listed. None is ever null: paging over nulls loses rows.
var orders = map[model.RecordingOrderField]keyset[*ent.Recording]{
	model.RecordingOrderFieldStartedAt: {column: recording.FieldStartedAt, decode: decodeAs[time.Time],
		value: func(r *ent.Recording) any { return r.StartedAt.UTC() }},
	model.RecordingOrderFieldDuration: {column: recording.FieldDurationUs, decode: decodeAs[int64],
		value: func(r *ent.Recording) any { return r.DurationUs }},
	model.RecordingOrderFieldQaScore: {column: recording.FieldQaScoreSort, decode: decodeAs[float64],
		value: func(r *ent.Recording) any { return r.QaScoreSort }},
}

// list reads one page of recordings.
func (r reads) list(ctx context.Context, a pageArgs, f *model.RecordingFilter, o *model.RecordingOrder) (*model.RecordingConnection, error) {
	q, err := r.recordings(ctx, auth.ReadRecordings)
	if err != nil {
		return nil, err
	}
	if err := r.filter(ctx, q, f); err != nil {
		return nil, err
	}
	k, err := recordingOrder(ctx, f, o)
	if err != nil {
		return nil, err
	}
	count := q.Clone()
	preload(ctx, q, "edges", "node")
	p, err := page(ctx, r.seal, lister[*ent.Recording]{
		where: func(ps ...func(*sql.Selector)) { q.WhereP(ps...) }, limit: func(n int) { q.Limit(n) },
		order: func(o func(*sql.Selector)) { q.Order(o) }, all: q.All,
	}, k, a)
	if err != nil {
		return nil, err
	}
	conn := &model.RecordingConnection{PageInfo: p.info, Count: count.Count, Edges: []*model.RecordingEdge{}}
	for i, n := range p.nodes {
		conn.Edges = append(conn.Edges, &model.RecordingEdge{Node: n, Cursor: p.cursors[i]})
	}
	return conn, nil
}

func recordingOrder(ctx context.Context, f *model.RecordingFilter, o *model.RecordingOrder) (keyset[*ent.Recording], error) {
	field, desc := model.RecordingOrderFieldStartedAt, true
	if o != nil {
		field, desc = o.Field, o.Direction == model.OrderDirectionDesc
	}
	k, ok := orders[field]
	if !ok {
		return k, refuse(recorder.CodeInvalidInput, "orderBy.field %s is not known", field)
	}
	v, err := viewerOf(ctx)
	if err != nil {
		return k, err
	}
	text, err := json.Marshal(f)
	if err != nil {
		return k, fmt.Errorf("graph: filter: %w", err)
	}
	sum := sha256.Sum256(text)
	k.desc, k.binding = desc, v.TenantID+"\x00"+hex.EncodeToString(sum[:])
	k.id = func(r *ent.Recording) string { return r.ID }
	return k, nil
}

// filter narrows q. Names of agents and queues are looked up first, so that the lists' indexes apply.
func (r reads) filter(ctx context.Context, q *ent.RecordingQuery, f *model.RecordingFilter) error {
	if f == nil {
		return nil
	}
	if err := checkFilter(f); err != nil {
		return err
	}
	if f.Agent != nil {
		ids, err := r.db.Agent.Query().Where(agent.ExternalIDIn(f.Agent...)).IDs(ctx)
		if err != nil {
			return fmt.Errorf("graph: filter agents: %w", err)
		}
		q.Where(recording.AgentIDIn(ids...))
	}
	if f.Queue != nil {
		ids, err := r.db.Queue.Query().Where(queue.NameIn(f.Queue...)).IDs(ctx)
		if err != nil {
			return fmt.Errorf("graph: filter queues: %w", err)
		}
		q.Where(recording.QueueIDIn(ids...))
	}
	if f.SessionID != nil {
		ids, err := r.db.Session.Query().Where(session.ExternalID(*f.SessionID)).IDs(ctx)
		if err != nil {
			return fmt.Errorf("graph: filter session: %w", err)
		}
		q.Where(recording.SessionIDIn(ids...))
	}
	q.Where(conditionsOf(f)...)
	return nil
}

func checkFilter(f *model.RecordingFilter) error {
	for name, l := range map[string][]string{"agent": f.Agent, "queue": f.Queue, "tagsAny": f.TagsAny, "tagsAll": f.TagsAll} {
		if len(l) > maxFilterList {
			return refuse(recorder.CodeInvalidInput, "filter.%s has %d entries, the limit is %d", name, len(l), maxFilterList)
		}
		for _, s := range l {
			if len(s) > maxFilterText {
				return refuse(recorder.CodeInvalidInput, "an entry of filter.%s has %d bytes, the limit is %d", name, len(s), maxFilterText)
			}
		}
	}
	for name, s := range map[string]*string{"sessionId": f.SessionID, "customerId": f.CustomerID, "client": f.Client, "sessionType": f.SessionType} {
		if s != nil && len(*s) > maxFilterText {
			return refuse(recorder.CodeInvalidInput, "filter.%s has %d bytes, the limit is %d", name, len(*s), maxFilterText)
		}
	}
	if f.From != nil && f.To != nil && !f.From.Before(*f.To) {
		return refuse(recorder.CodeInvalidInput, "filter.from must be before filter.to")
	}
	return nil
}

func conditionsOf(f *model.RecordingFilter) (ps []predicate.Recording) {
	add := func(given bool, p func() predicate.Recording) {
		if given {
			ps = append(ps, p())
		}
	}
	add(f.CustomerID != nil, func() predicate.Recording { return recording.CustomerID(*f.CustomerID) })
	add(f.Client != nil, func() predicate.Recording { return recording.Client(*f.Client) })
	add(f.SessionType != nil, func() predicate.Recording { return recording.SessionType(*f.SessionType) })
	add(f.From != nil, func() predicate.Recording { return recording.StartedAtGTE(f.From.UTC()) })
	add(f.To != nil, func() predicate.Recording { return recording.StartedAtLT(f.To.UTC()) })
	add(f.Capture != nil, func() predicate.Recording { return recording.CaptureIn(f.Capture...) })
	add(f.QaScoreMin != nil, func() predicate.Recording { return recording.QaScoreSortGTE(*f.QaScoreMin) })
	add(f.QaScoreMax != nil, func() predicate.Recording { return recording.QaScoreSortLTE(*f.QaScoreMax) })
	// −1 stands for "no score" and is none.
	add(f.QaScoreMin != nil || f.QaScoreMax != nil, func() predicate.Recording { return recording.QaScoreSortGTE(0) })
	add(f.TagsAny != nil, func() predicate.Recording { return recording.HasTagRowsWith(tag.NameIn(f.TagsAny...)) })
	for _, t := range f.TagsAll {
		ps = append(ps, recording.HasTagRowsWith(tag.Name(t)))
	}
	return ps
}

// preload reads the edges that the query selects below path together, one statement each, instead of row by row.
func preload(ctx context.Context, q *ent.RecordingQuery, path ...string) {
	for name, with := range map[string]func(){
		"session": func() {
			q.WithSession(func(s *ent.SessionQuery) { s.WithAgent().WithQueue() })
		},
		"agent":   func() { q.WithAgent() },
		"queue":   func() { q.WithQueue() },
		"tracks":  func() { q.WithTracks(func(t *ent.TrackQuery) { t.Order(track.ByID()) }) },
		"tags":    func() { q.WithTagRows(func(t *ent.TagQuery) { t.Order(tag.ByName()) }) },
		"qaLinks": func() { q.WithQaLinks() },
	} {
		if selected(ctx, append(slices.Clone(path), name)...) {
			with()
		}
	}
}

// selected tells whether the query asks for a field below the present one.
func selected(ctx context.Context, path ...string) bool {
	if graphql.GetFieldContext(ctx) == nil || !graphql.HasOperationContext(ctx) {
		return false
	}
	op := graphql.GetOperationContext(ctx)
	fields := graphql.CollectFieldsCtx(ctx, nil)
	for i, name := range path {
		var below []graphql.CollectedField
		hit := false
		for _, f := range fields {
			if f.Name != name {
				continue
			}
			hit = true
			below = append(below, graphql.CollectFields(op, f.Selections, nil)...)
		}
		if !hit {
			return false
		}
		if i == len(path)-1 {
			return true
		}
		fields = below
	}
	return false
}

// edge returns a preloaded row, or reads it.
func edge[T any](loaded *T, err error, read func() (*T, error)) (*T, error) {
	if err == nil {
		return loaded, nil
	}
	row, err := read()
	if err != nil {
		return nil, fmt.Errorf("graph: read edge: %w", err)
	}
	return row, nil
}

// tracks are the tracks of a recording, as the recorder that captures it sees them now.
func (r reads) tracks(ctx context.Context, rec *ent.Recording) ([]*ent.Track, error) {
	rows, err := rec.Edges.TracksOrErr()
	if err != nil {
		if rows, err = rec.QueryTracks().Order(track.ByID()).All(ctx); err != nil {
			return nil, fmt.Errorf("graph: read tracks: %w", err)
		}
	}
	status, ok := r.live(rec.TenantID, rec.ID)
	if !ok {
		return rows, nil
	}
	now := make([]*ent.Track, len(rows))
	for i, row := range rows {
		now[i] = overlay(row, status.Tracks)
	}
	return now, nil
}

// overlay is a row with what is newer in memory. The row itself may be shared and is left alone.
func overlay(row *ent.Track, live []recorder.TrackRow) *ent.Track {
	i := slices.IndexFunc(live, func(t recorder.TrackRow) bool { return t.ID == row.ID })
	if i < 0 {
		return row
	}
	t, out := live[i], *row
	out.State, out.Codec = t.State, string(t.Codec)
	if t.Endpoint.RTPPort != 0 {
		out.EndpointIP, out.EndpointRtpPort, out.EndpointRtcpPort = t.Endpoint.IP, t.Endpoint.RTPPort, t.Endpoint.RTCPPort
	}
	s := t.Stats
	out.Packets, out.Bytes, out.Lost = int64(s.Packets), int64(s.Bytes), int64(s.Lost)
	out.Duplicates, out.Reordered = int64(s.Duplicates), int64(s.Reordered)
	out.DroppedForeign, out.DroppedMalformed = int64(s.DroppedForeign), int64(s.DroppedMalformed)
	out.DroppedUnauthentic, out.DroppedHeld, out.DroppedByKernel = int64(s.DroppedUnauthentic), int64(s.DroppedHeld), int64(s.DroppedByKernel)
	out.Nacked, out.Repaired = int64(s.Nacked), int64(s.Repaired)
	out.Keyframes, out.KeyframesAsked, out.JitterMs = int64(s.Keyframes), int64(s.KeyframesAsked), s.JitterMs
	out.FirstPacketAt, out.LastPacketAt = instant(s.FirstPacketAt), instant(s.LastPacketAt)
	return &out
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// trackRow reads one track of the tenant with what is newer in memory.
func (r reads) trackRow(ctx context.Context, recordingID string, is ...predicate.Track) (*ent.Track, error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return nil, err
	}
	row, err := r.db.Track.Query().Where(append(is, track.RecordingID(recordingID))...).Only(ctx)
	if err != nil {
		return nil, fmt.Errorf("graph: read track: %w", err)
	}
	status, _ := r.live(v.TenantID, recordingID)
	return overlay(row, status.Tracks), nil
}

func (r reads) lag(rec *ent.Recording) *int {
	if status, ok := r.live(rec.TenantID, rec.ID); ok {
		ms := int(status.ComposeLag.Milliseconds())
		return &ms
	}
	return positive(rec.ComposeLagMs)
}

func (r reads) gaps(ctx context.Context, rec *ent.Recording) ([]*model.Gap, error) {
	rows, err := rec.QueryGaps().WithTrack().Order(gap.ByFromUs(), gap.ByID()).Limit(maxGaps).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("graph: read gaps: %w", err)
	}
	out := make([]*model.Gap, len(rows))
	for i, g := range rows {
		out[i] = &model.Gap{Kind: g.Kind, FromMs: recorder.Micros(g.FromUs).Ms(), ToMs: recorder.Micros(g.ToUs).Ms(), Packets: g.Packets, Detail: text(g.Detail)}
		if t := g.Edges.Track; t != nil {
			out[i].Track = &t.Kind
		}
	}
	return out, nil
}

func (r reads) segments(ctx context.Context, rec *ent.Recording) ([]*model.Segment, error) {
	rows, err := rec.QuerySegments().Order(segment.ByIdx()).Limit(maxSegments).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("graph: read segments: %w", err)
	}
	fps := int64(max(1, rec.Profile.FPS))
	out := make([]*model.Segment, len(rows))
	for i, s := range rows {
		out[i] = &model.Segment{Index: s.Idx, FromMs: int(s.FromFrame * 1000 / fps), ToMs: int(s.ToFrame * 1000 / fps),
			Layout: s.Layout, Paused: s.Paused, SizeBytes: float64(s.SizeBytes)}
	}
	return out, nil
}

func (r reads) tags(ctx context.Context, rec *ent.Recording) ([]string, error) {
	rows, err := rec.Edges.TagRowsOrErr()
	if err != nil {
		if rows, err = rec.QueryTagRows().Order(tag.ByName()).All(ctx); err != nil {
			return nil, fmt.Errorf("graph: read tags: %w", err)
		}
	}
	out := make([]string, len(rows))
	for i, t := range rows {
		out[i] = t.Name
	}
	return out, nil
}

// inTime orders what points into a recording by recording time.
func inTime[N any](list, tenant, recordingID, column string, at func(N) int64, id func(N) string) keyset[N] {
	return keyset[N]{column: column, binding: list + "\x00" + tenant + "\x00" + recordingID, id: id,
		decode: decodeAs[int64], value: func(n N) any { return at(n) }}
}

func (r reads) bookmarks(ctx context.Context, rec *ent.Recording, a pageArgs) (*model.BookmarkConnection, error) {
	q := rec.QueryBookmarks()
	count := q.Clone()
	k := inTime("bookmarks", rec.TenantID, rec.ID, bookmark.FieldAtUs,
		func(b *ent.Bookmark) int64 { return b.AtUs }, func(b *ent.Bookmark) string { return b.ID })
	p, err := page(ctx, r.seal, lister[*ent.Bookmark]{
		where: func(ps ...func(*sql.Selector)) { q.WhereP(ps...) }, limit: func(n int) { q.Limit(n) },
		order: func(o func(*sql.Selector)) { q.Order(o) }, all: q.All,
	}, k, a)
	if err != nil {
		return nil, err
	}
	conn := &model.BookmarkConnection{PageInfo: p.info, Count: count.Count, Edges: []*model.BookmarkEdge{}}
	for i, n := range p.nodes {
		conn.Edges = append(conn.Edges, &model.BookmarkEdge{Node: n, Cursor: p.cursors[i]})
	}
	return conn, nil
}

func (r reads) comments(ctx context.Context, rec *ent.Recording, a pageArgs) (*model.CommentConnection, error) {
	q := rec.QueryComments()
	count := q.Clone()
	k := inTime("comments", rec.TenantID, rec.ID, comment.FieldAtUs,
		func(c *ent.Comment) int64 { return c.AtUs }, func(c *ent.Comment) string { return c.ID })
	p, err := page(ctx, r.seal, lister[*ent.Comment]{
		where: func(ps ...func(*sql.Selector)) { q.WhereP(ps...) }, limit: func(n int) { q.Limit(n) },
		order: func(o func(*sql.Selector)) { q.Order(o) }, all: q.All,
	}, k, a)
	if err != nil {
		return nil, err
	}
	conn := &model.CommentConnection{PageInfo: p.info, Count: count.Count, Edges: []*model.CommentEdge{}}
	for i, n := range p.nodes {
		conn.Edges = append(conn.Edges, &model.CommentEdge{Node: n, Cursor: p.cursors[i]})
	}
	return conn, nil
}

func (r reads) lastBookmark(ctx context.Context, recordingID string) (*ent.Bookmark, error) {
	b, err := r.db.Bookmark.Query().Where(bookmark.RecordingID(recordingID)).Order(ent.Desc(bookmark.FieldCreatedAt, bookmark.FieldID)).First(ctx)
	return optionalRow(b, err, "last bookmark")
}

func (r reads) lastComment(ctx context.Context, recordingID string) (*ent.Comment, error) {
	c, err := r.db.Comment.Query().Where(comment.RecordingID(recordingID)).Order(ent.Desc(comment.FieldCreatedAt, comment.FieldID)).First(ctx)
	return optionalRow(c, err, "last comment")
}

// text is nil for an empty string, positive nil for zero.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func positive(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

func msOrNull(us *int64) *int {
	if us == nil {
		return nil
	}
	ms := recorder.Micros(*us).Ms()
	return &ms
}

func sizeOrNull(n int64) *float64 {
	if n == 0 {
		return nil
	}
	f := float64(n)
	return &f
}

// scoreOrNull knows that −1 stands for "no score".
func scoreOrNull(score float64) *float64 {
	if score < 0 {
		return nil
	}
	return &score
}

func failureOf(rec *ent.Recording) *model.Failure {
	if rec.FailureCode == "" {
		return nil
	}
	return &model.Failure{Code: rec.FailureCode, Message: rec.FailureText}
}

// ingest is where a track is sent to. The SRTP key is known to the recorder that captures it alone.
func (r reads) ingest(t *ent.Track) (*model.Ingest, error) {
	if t.EndpointRtpPort == 0 {
		return nil, nil
	}
	out := &model.Ingest{IP: t.EndpointIP, RtpPort: t.EndpointRtpPort, RtcpPort: positive(t.EndpointRtcpPort)}
	status, _ := r.live(t.TenantID, t.RecordingID)
	for _, row := range status.Tracks {
		if row.ID != t.ID || row.SRTP.Plain() {
			continue
		}
		raw, err := json.Marshal(row.SRTP)
		if err != nil {
			return nil, fmt.Errorf("graph: encode srtpParameters: %w", err)
		}
		out.SrtpParameters = raw
	}
	return out, nil
}

func statsOf(t *ent.Track) *model.TrackStats {
	return &model.TrackStats{Packets: float64(t.Packets), Bytes: float64(t.Bytes), Lost: float64(t.Lost), Duplicates: float64(t.Duplicates),
		Reordered: float64(t.Reordered), DroppedForeign: float64(t.DroppedForeign), DroppedMalformed: float64(t.DroppedMalformed),
		DroppedUnauthentic: float64(t.DroppedUnauthentic), DroppedHeld: float64(t.DroppedHeld), DroppedByKernel: float64(t.DroppedByKernel),
		Nacked: float64(t.Nacked), Repaired: float64(t.Repaired),
		Keyframes: float64(t.Keyframes), KeyframesAsked: float64(t.KeyframesAsked), JitterMs: t.JitterMs,
		FirstPacketAt: t.FirstPacketAt, LastPacketAt: t.LastPacketAt}
}

func (r reads) qaLinks(ctx context.Context, rec *ent.Recording) ([]*ent.QALink, error) {
	rows, err := rec.Edges.QaLinksOrErr()
	if err != nil {
		if rows, err = rec.QueryQaLinks().Order(qalink.ByID()).All(ctx); err != nil {
			return nil, fmt.Errorf("graph: read QA links: %w", err)
		}
	}
	return rows, nil
}

// ofSession are the session's recordings that the viewer may read.
func (r reads) ofSession(ctx context.Context, s *ent.Session) ([]*ent.Recording, error) {
	q, err := r.recordings(ctx, auth.ReadRecordings)
	if err != nil {
		return nil, err
	}
	rows, err := q.Where(recording.SessionID(s.ID)).Order(recording.ByStartedAt(), recording.ByID()).Limit(maxSessionRows).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("graph: read session: %w", err)
	}
	return rows, nil
}
