package catalog

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/agent"
	"github.com/dualrec/dualrec/ent/datakey"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/ent/recording"
	"github.com/dualrec/dualrec/ent/session"
	"github.com/dualrec/dualrec/ent/tag"
	"github.com/dualrec/dualrec/ent/track"
	"github.com/dualrec/dualrec/recorder"
)

// unfinished are the capture states in which a recorder still has work to do.
var unfinished = []recorder.CaptureState{recorder.Pending, recorder.Recording, recorder.Paused, recorder.Finalizing, recorder.Uploading}

// nothingIsFine: an insert that met its conflict inserted nothing, which ent reports as no rows.
func nothingIsFine(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// Begin implements recorder.Catalog. Of several calls with one external session id, also at the same time and
// on several machines, exactly one creates: the unique index on the session makes the others wait for it.
func (c *Catalog) Begin(ctx context.Context, row recorder.BeginRow) (got recorder.RecordingRow, created bool, err error) {
	err = c.write(ctx, "begin recording", row.TenantID, func(ctx context.Context, tx *ent.Tx) error {
		got, created = recorder.RecordingRow{}, false
		id, err := c.begun(ctx, tx, row.ExternalSessionID)
		if err != nil {
			return err
		}
		if id == "" {
			if id, created, err = c.begin(ctx, tx, row); err != nil {
				return err
			}
		}
		got, err = recordingRow(ctx, tx, id)
		return err
	})
	if err != nil {
		return recorder.RecordingRow{}, false, err
	}
	return got, created, nil
}

// begun finds the recording of an external session, "" if there is none. One that was aborted or failed does not
// count: the SFU that tries again must get a recording that records.
func (c *Catalog) begun(ctx context.Context, tx *ent.Tx, externalID string) (string, error) {
	id, err := tx.Recording.Query().Where(recording.HasSessionWith(session.ExternalID(externalID)),
		recording.CaptureNotIn(recorder.Aborted, recorder.Failed)).Order(ent.Asc(recording.FieldCreatedAt, recording.FieldID)).FirstID(ctx)
	if ent.IsNotFound(err) {
		return "", nil
	}
	return id, err
}

func (c *Catalog) begin(ctx context.Context, tx *ent.Tx, row recorder.BeginRow) (id string, created bool, err error) {
	if err := active(ctx, tx, row.TenantID); err != nil {
		return "", false, err
	}
	q, err := c.queue(ctx, tx, row.TenantID, row.Queue)
	if err != nil {
		return "", false, err
	}
	a, err := c.agent(ctx, tx, row)
	if err != nil {
		return "", false, err
	}
	s, err := c.session(ctx, tx, row, q.ID, a.ID)
	if err != nil {
		return "", false, err
	}
	if s.ID != row.SessionID { // another call was first; its transaction has committed
		if id, err := c.begun(ctx, tx, row.ExternalSessionID); err != nil || id != "" {
			return id, false, err
		}
	}
	if err := c.insert(ctx, tx, row, s); err != nil {
		return "", false, err
	}
	return row.RecordingID, true, c.audit(ctx, tx, row.TenantID, event{actor: row.Actor, action: "recording.start", object: row.RecordingID,
		details: map[string]any{"external_session_id": row.ExternalSessionID, "session_id": s.ID, "queue": row.Queue, "agent": row.Agent, "node": row.Node}})
}

func (c *Catalog) agent(ctx context.Context, tx *ent.Tx, row recorder.BeginRow) (*ent.Agent, error) {
	got, err := tx.Agent.Query().Where(agent.ExternalID(row.Agent)).Only(ctx)
	if err == nil || !ent.IsNotFound(err) {
		return got, err
	}
	err = nothingIsFine(tx.Agent.Create().SetTenantID(row.TenantID).SetExternalID(row.Agent).SetDisplayName(row.Agent).SetCreatedAt(c.now()).
		OnConflictColumns(agent.FieldTenantID, agent.FieldExternalID).DoNothing().Exec(ctx))
	if err != nil {
		return nil, err
	}
	return tx.Agent.Query().Where(agent.ExternalID(row.Agent)).Only(ctx)
}

func (c *Catalog) session(ctx context.Context, tx *ent.Tx, row recorder.BeginRow, queueID, agentID string) (*ent.Session, error) {
	create := tx.Session.Create().SetID(row.SessionID).SetTenantID(row.TenantID).SetExternalID(row.ExternalSessionID).
		SetQueueID(queueID).SetAgentID(agentID).SetCustomerID(row.CustomerID).SetClient(row.Client).SetSessionType(row.SessionType).
		SetStartedAt(stamp(row.StartedAt)).SetCreatedAt(c.now())
	if len(row.Metadata) > 0 {
		create.SetMetadata(row.Metadata)
	}
	err := nothingIsFine(create.OnConflictColumns(session.FieldTenantID, session.FieldExternalID).DoNothing().Exec(ctx))
	if err != nil {
		return nil, err
	}
	q := tx.Session.Query().Where(session.ExternalID(row.ExternalSessionID))
	if c.dialect == "postgres" {
		q.ForUpdate() // two calls for a session without recordings
	}
	return q.Only(ctx)
}

// insert writes the rows of a new recording. Its facts about the call are the session's.
func (c *Catalog) insert(ctx context.Context, tx *ent.Tx, row recorder.BeginRow, s *ent.Session) error {
	at := c.now()
	err := tx.Recording.Create().SetID(row.RecordingID).SetTenantID(row.TenantID).SetSessionID(s.ID).SetQueueID(s.QueueID).SetAgentID(s.AgentID).
		SetCustomerID(s.CustomerID).SetClient(s.Client).SetSessionType(s.SessionType).SetNode(row.Node).
		SetCapture(recorder.Pending).SetCaptureSince(at).SetStartedAt(stamp(row.StartedAt)).
		SetLayout(row.Profile.Layout).SetResolution(row.Profile.Resolution).SetPassthrough(row.Profile.Passthrough).
		SetWidth(row.Canvas.W).SetHeight(row.Canvas.H).SetRtcpMux(row.RTCPMux).SetProfile(row.Profile).SetCreatedAt(at).Exec(ctx)
	if err != nil {
		return err
	}
	err = tx.DataKey.Create().SetTenantID(row.TenantID).SetRecordingID(row.RecordingID).SetWrappedKey(row.WrappedKey).
		SetProvider(row.WrappedKey.Provider).SetKeyRef(row.WrappedKey.KeyRef).SetCreatedAt(at).Exec(ctx)
	if err != nil {
		return err
	}
	for _, t := range row.Tracks {
		if err := createTrack(tx, row.TenantID, row.RecordingID, t).Exec(ctx); err != nil {
			return err
		}
	}
	return insertTags(ctx, tx, row.TenantID, row.RecordingID, stamp(row.StartedAt), row.Tags)
}

func insertTags(ctx context.Context, tx *ent.Tx, tenantID, recordingID string, startedAt time.Time, names []string) error {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) == 0 {
		return nil
	}
	return tx.Tag.MapCreateBulk(names, func(t *ent.TagCreate, i int) {
		t.SetTenantID(tenantID).SetRecordingID(recordingID).SetName(names[i]).SetStartedAt(startedAt)
	}).Exec(ctx)
}

// Recording implements recorder.Catalog.
func (c *Catalog) Recording(ctx context.Context, tenantID, recordingID string) (got recorder.RecordingRow, err error) {
	err = c.read(ctx, "read recording", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		got, err = recordingRow(ctx, tx, recordingID)
		return err
	})
	return got, err
}

// Started finds the recording that Begin would return for an external session id without making one. recorder.ErrNotFound.
func (c *Catalog) Started(ctx context.Context, tenantID, externalSessionID string) (got recorder.RecordingRow, err error) {
	err = c.read(ctx, "read the session's recording", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		id, err := c.begun(ctx, tx, externalSessionID)
		if err != nil {
			return err
		}
		if id == "" {
			return recorder.ErrNotFound
		}
		got, err = recordingRow(ctx, tx, id)
		return err
	})
	return got, err
}

func recordingRow(ctx context.Context, tx *ent.Tx, id string) (recorder.RecordingRow, error) {
	r, err := withRow(tx.Recording.Query().Where(recording.ID(id))).Only(ctx)
	if err != nil {
		return recorder.RecordingRow{}, err
	}
	return rowOf(r), nil
}

// withRow loads what rowOf needs.
func withRow(q *ent.RecordingQuery) *ent.RecordingQuery {
	return q.WithSession().WithDataKey().WithTracks(func(q *ent.TrackQuery) { q.Order(ent.Asc(track.FieldID)) })
}

func rowOf(r *ent.Recording) recorder.RecordingRow {
	row := recorder.RecordingRow{TenantID: r.TenantID, ID: r.ID, SessionID: r.SessionID, Node: r.Node, Capture: r.Capture,
		Profile: r.Profile, RTCPMux: r.RtcpMux, Tracks: mapped(r.Edges.Tracks, trackRowOf), CreatedAt: r.CreatedAt.UTC()}
	if s := r.Edges.Session; s != nil {
		row.ExternalSessionID = s.ExternalID
	}
	if k := r.Edges.DataKey; k != nil && k.State == datakey.StateACTIVE {
		row.WrappedKey = k.WrappedKey
	}
	return row
}

// Unfinished implements recorder.Catalog.
func (c *Catalog) Unfinished(ctx context.Context, node string) (got []recorder.RecordingRow, err error) {
	err = c.readAcross(ctx, "list unfinished recordings", func(ctx context.Context, tx *ent.Tx) error {
		rows, err := withRow(tx.Recording.Query().Where(recording.Node(node), recording.CaptureIn(unfinished...))).
			Order(ent.Asc(recording.FieldCreatedAt, recording.FieldID)).All(ctx)
		got = mapped(rows, rowOf)
		return err
	})
	return got, err
}

// Transition implements recorder.Catalog.
func (c *Catalog) Transition(ctx context.Context, t recorder.Transition) error {
	return c.write(ctx, "change capture state", t.TenantID, func(ctx context.Context, tx *ent.Tx) error {
		r, u, err := c.step(ctx, tx, t)
		if err != nil {
			return err
		}
		if err := u.Exec(ctx); err != nil {
			return err
		}
		if err := c.follow(ctx, tx, r, t.Patch); err != nil {
			return err
		}
		if !worthAudit(r, t) {
			return nil
		}
		return c.audit(ctx, tx, t.TenantID, transitionEvent(r, t, nil))
	})
}

// step locks a recording, checks the transition and prepares its update.
func (c *Catalog) step(ctx context.Context, tx *ent.Tx, t recorder.Transition) (*ent.Recording, *ent.RecordingUpdateOne, error) {
	r, err := c.lock(ctx, tx, t.RecordingID)
	if err != nil {
		return nil, nil, err
	}
	if r.Capture != t.To && !slices.Contains(t.From, r.Capture) {
		return nil, nil, &recorder.StateError{RecordingID: r.ID, Is: r.Capture, Want: t.From}
	}
	u := tx.Recording.UpdateOne(r)
	if r.Capture != t.To {
		u.SetCapture(t.To).SetCaptureSince(c.orNow(t.At)).SetCaptureReason(cut(t.Reason, maxReason))
	}
	patch(u, t.Patch)
	return r, u, nil
}

func (c *Catalog) orNow(t time.Time) time.Time {
	if t.IsZero() {
		return c.now()
	}
	return stamp(t)
}

const (
	maxReason = 200
	maxText   = 4096
	maxCode   = 64
)

func patch(u *ent.RecordingUpdateOne, p recorder.RecordingPatch) {
	if p.StartedAt != nil {
		u.SetStartedAt(stamp(*p.StartedAt))
	}
	if p.EndedAt != nil {
		u.SetEndedAt(stamp(*p.EndedAt))
	}
	u.SetNillableDurationUs(p.DurationUs).SetNillableComposeLagMs(p.ComposeLagMs).SetNillableLayout(p.Layout)
	if p.FailureCode != nil {
		u.SetFailureCode(cut(*p.FailureCode, maxCode))
	}
	if p.FailureText != nil {
		u.SetFailureText(cut(*p.FailureText, maxText))
	}
}

// follow carries a recording's times to the rows that repeat them.
func (c *Catalog) follow(ctx context.Context, tx *ent.Tx, r *ent.Recording, p recorder.RecordingPatch) error {
	if p.StartedAt != nil {
		if err := tx.Tag.Update().Where(tag.RecordingID(r.ID)).SetStartedAt(stamp(*p.StartedAt)).Exec(ctx); err != nil {
			return err
		}
	}
	if p.EndedAt != nil {
		return tx.Session.UpdateOneID(r.SessionID).SetEndedAt(stamp(*p.EndedAt)).Exec(ctx)
	}
	return nil
}

// worthAudit: everything but progress, which comes every few seconds and changes no fact of the recording.
func worthAudit(before *ent.Recording, t recorder.Transition) bool {
	p := t.Patch
	return before.Capture != t.To || t.Action != "" || p.StartedAt != nil || p.EndedAt != nil || p.Layout != nil || p.FailureCode != nil || p.FailureText != nil
}

func transitionEvent(before *ent.Recording, t recorder.Transition, more map[string]any) event {
	details := map[string]any{"from": before.Capture, "to": t.To}
	if t.Reason != "" {
		details["reason"] = cut(t.Reason, maxText)
	}
	if p := t.Patch; p.FailureCode != nil {
		details["failure_code"] = cut(*p.FailureCode, maxCode)
	}
	if p := t.Patch; p.Layout != nil {
		details["layout"] = *p.Layout
	}
	for k, v := range more {
		details[k] = v
	}
	action := t.Action
	if action == "" {
		action = "recording." + strings.ToLower(string(t.To))
	}
	return event{actor: t.Actor, action: action, object: before.ID, details: details}
}

// cut shortens a text to n bytes of valid UTF-8 without zero bytes, which PostgreSQL refuses.
func cut(s string, n int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// SaveTrack implements recorder.Catalog.
func (c *Catalog) SaveTrack(ctx context.Context, tenantID, recordingID string, t recorder.TrackRow) error {
	return c.write(ctx, "save track", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		was, err := tx.Track.Query().Where(track.ID(t.ID), track.RecordingID(recordingID)).Only(ctx)
		if err != nil {
			return err
		}
		if err := setTrack(tx.Track.UpdateOne(was), t).Exec(ctx); err != nil {
			return err
		}
		before := trackRowOf(was)
		if before.State == t.State && before.Codec == t.Codec && before.Endpoint == t.Endpoint {
			return nil // statistics only
		}
		return c.audit(ctx, tx, tenantID, event{action: "track.update", object: recordingID,
			details: map[string]any{"track_id": t.ID, "kind": was.Kind, "from": before.State, "to": t.State, "codec": t.Codec, "endpoint": t.Endpoint}})
	})
}

func createTrack(tx *ent.Tx, tenantID, recordingID string, t recorder.TrackRow) *ent.TrackCreate {
	if t.ID == "" {
		t.ID = nodeid.New(nodeid.Track)
	}
	return setTrack(tx.Track.Create().SetID(t.ID).SetTenantID(tenantID).SetRecordingID(recordingID).SetKind(t.Kind), t)
}

// trackSetter is what creating and changing a track have in common.
type trackSetter[B any] interface {
	SetState(recorder.TrackState) B
	SetCodec(string) B
	SetEndpointIP(string) B
	SetEndpointRtpPort(int) B
	SetEndpointRtcpPort(int) B
	SetSsrc(uint32) B
	SetPackets(int64) B
	SetBytes(int64) B
	SetRtcpPackets(int64) B
	SetLost(int64) B
	SetDuplicates(int64) B
	SetReordered(int64) B
	SetDroppedForeign(int64) B
	SetDroppedMalformed(int64) B
	SetKeyframes(int64) B
	SetKeyframesAsked(int64) B
	SetDroppedUnauthentic(int64) B
	SetDroppedHeld(int64) B
	SetDroppedByKernel(int64) B
	SetNacked(int64) B
	SetRepaired(int64) B
	SetJitterMs(float64) B
	SetNillableFirstPacketAt(*time.Time) B
	SetNillableLastPacketAt(*time.Time) B
}

func setTrack[B trackSetter[B]](b B, t recorder.TrackRow) B {
	s := t.Stats
	if t.State == "" {
		t.State = recorder.TrackExpected
	}
	return b.SetState(t.State).SetCodec(string(t.Codec)).
		SetEndpointIP(t.Endpoint.IP).SetEndpointRtpPort(t.Endpoint.RTPPort).SetEndpointRtcpPort(t.Endpoint.RTCPPort).
		SetSsrc(s.SSRC).SetPackets(count(s.Packets)).SetBytes(count(s.Bytes)).SetRtcpPackets(count(s.RTCPPackets)).SetLost(count(s.Lost)).
		SetDuplicates(count(s.Duplicates)).SetReordered(count(s.Reordered)).SetDroppedForeign(count(s.DroppedForeign)).
		SetDroppedMalformed(count(s.DroppedMalformed)).SetKeyframes(count(s.Keyframes)).SetKeyframesAsked(count(s.KeyframesAsked)).
		SetDroppedUnauthentic(count(s.DroppedUnauthentic)).SetDroppedHeld(count(s.DroppedHeld)).SetDroppedByKernel(count(s.DroppedByKernel)).
		SetNacked(count(s.Nacked)).SetRepaired(count(s.Repaired)).
		SetJitterMs(s.JitterMs).SetNillableFirstPacketAt(instant(s.FirstPacketAt)).SetNillableLastPacketAt(instant(s.LastPacketAt))
}

// count fits a counter into SQL's signed integers.
func count(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = stamp(t)
	return &t
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func trackRowOf(t *ent.Track) recorder.TrackRow {
	n := func(v int64) uint64 { return uint64(max(v, 0)) }
	return recorder.TrackRow{ID: t.ID, Kind: t.Kind, State: t.State, Codec: recorder.Codec(t.Codec),
		Endpoint: recorder.Endpoint{IP: t.EndpointIP, RTPPort: t.EndpointRtpPort, RTCPPort: t.EndpointRtcpPort},
		Stats: recorder.NetStats{Packets: n(t.Packets), Bytes: n(t.Bytes), RTCPPackets: n(t.RtcpPackets), Lost: n(t.Lost), Duplicates: n(t.Duplicates),
			Reordered: n(t.Reordered), DroppedForeign: n(t.DroppedForeign), DroppedMalformed: n(t.DroppedMalformed), Keyframes: n(t.Keyframes),
			KeyframesAsked: n(t.KeyframesAsked), FirstPacketAt: moment(t.FirstPacketAt), LastPacketAt: moment(t.LastPacketAt),
			DroppedUnauthentic: n(t.DroppedUnauthentic), DroppedHeld: n(t.DroppedHeld), DroppedByKernel: n(t.DroppedByKernel), Nacked: n(t.Nacked), Repaired: n(t.Repaired),
			JitterMs: t.JitterMs, SSRC: t.Ssrc}}
}
