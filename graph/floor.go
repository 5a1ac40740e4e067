package graph

import (
	"context"
	"fmt"
	"slices"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/agent"
	"github.com/dualrec/dualrec/ent/queue"
	"github.com/dualrec/dualrec/ent/recording"
	"github.com/dualrec/dualrec/events"
	"github.com/dualrec/dualrec/graph/model"
	"github.com/dualrec/dualrec/recorder"
)

// onFloor are the states in which a call has a tile.
var onFloor = []recorder.CaptureState{recorder.Pending, recorder.Recording, recorder.Paused}

// maxTiles is how many tiles one snapshot holds.
const maxTiles = 1000

// floorSource is the supervisor's view: one tile per call that is recorded now.
type floorSource struct {
	reads reads
	scope model.FloorScope
	// shown are the tiles that the viewer has. After a resume they are not known, and whatever the viewer may see and
	// is not on the floor is reported as removed.
	shown map[string]bool
}

var _ source[model.FloorEvent] = (*floorSource)(nil)

func newFloorSource(r reads, scope *model.FloorScope) (*floorSource, error) {
	s := &floorSource{reads: r, scope: deref(scope)}
	for name, l := range map[string][]string{"queues": s.scope.Queues, "agents": s.scope.Agents} {
		if len(l) > maxFilterList {
			return nil, refuse(recorder.CodeInvalidInput, "scope.%s has %d entries, the limit is %d", name, len(l), maxFilterList)
		}
	}
	return s, nil
}

// tiles reads the tiles of the scope, of all calls or of some.
func (s *floorSource) tiles(ctx context.Context, only []string) (tiles []*model.FloorTile, complete bool, err error) {
	q, err := s.reads.recordings(ctx, auth.WatchFloor)
	if err != nil {
		return nil, false, err
	}
	q.Where(recording.CaptureIn(onFloor...)).WithAgent().WithQueue().WithSession().WithTracks().Order(ent.Asc(recording.FieldStartedAt, recording.FieldID)).Limit(maxTiles + 1)
	if s.scope.Queues != nil {
		q.Where(recording.HasQueueWith(queue.NameIn(s.scope.Queues...)))
	}
	if s.scope.Agents != nil {
		q.Where(recording.HasAgentWith(agent.ExternalIDIn(s.scope.Agents...)))
	}
	if only != nil {
		q.Where(recording.IDIn(only...))
	}
	rows, err := q.All(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("graph: read floor: %w", err)
	}
	tiles = []*model.FloorTile{}
	for _, r := range rows[:min(len(rows), maxTiles)] {
		tiles = append(tiles, &model.FloorTile{ID: r.ID, Agent: r.Edges.Agent, Queue: r.Edges.Queue, Session: r.Edges.Session,
			Recording: r, Capture: &r.Capture, Since: &r.CaptureSince})
	}
	return tiles, len(rows) <= maxTiles, nil
}

func (s *floorSource) snapshot(ctx context.Context, at *model.StreamPosition) (model.FloorEvent, error) {
	tiles, complete, err := s.tiles(ctx, nil)
	if err != nil {
		return nil, err
	}
	s.shown = map[string]bool{}
	for _, t := range tiles {
		s.shown[t.ID] = true
	}
	return &model.FloorSnapshot{Position: at, Tiles: tiles, Complete: complete}, nil
}

func (s *floorSource) resumed(_ context.Context, at *model.StreamPosition) (model.FloorEvent, error) {
	return &model.FloorDelta{Position: at, Upserts: []*model.FloorTile{}, Removed: []string{}}, nil
}

func (s *floorSource) delta(ctx context.Context, at *model.StreamPosition, changes []events.Merged) (model.FloorEvent, bool, error) {
	d := &model.FloorDelta{Position: at, Upserts: []*model.FloorTile{}, Removed: []string{}}
	for part := range slices.Chunk(changes, maxPage) {
		if err := s.deltaOf(ctx, d, part); err != nil {
			return nil, false, err
		}
	}
	return d, len(d.Upserts)+len(d.Removed) > 0, nil
}

func (s *floorSource) deltaOf(ctx context.Context, d *model.FloorDelta, changes []events.Merged) error {
	ids := make([]string, len(changes))
	for i, c := range changes {
		ids[i] = c.RecordingID
	}
	tiles, _, err := s.tiles(ctx, ids)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, t := range tiles {
		there[t.ID] = true
		if s.shown != nil {
			s.shown[t.ID] = true
		}
	}
	d.Upserts = append(d.Upserts, tiles...)
	gone := slices.DeleteFunc(ids, func(id string) bool { return there[id] })
	if gone, err = s.had(ctx, gone); err != nil {
		return err
	}
	d.Removed = append(d.Removed, gone...)
	for _, id := range gone {
		delete(s.shown, id)
	}
	return nil
}

// had keeps the tiles that the viewer has or, after a resume, may have: the bus tells of the whole tenant's calls.
func (s *floorSource) had(ctx context.Context, ids []string) ([]string, error) {
	if s.shown != nil {
		return slices.DeleteFunc(ids, func(id string) bool { return !s.shown[id] }), nil
	}
	if len(ids) == 0 {
		return nil, nil
	}
	q, err := s.reads.recordings(ctx, auth.WatchFloor)
	if err != nil {
		return nil, err
	}
	visible, err := q.Where(recording.IDIn(ids...)).IDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("graph: read floor: %w", err)
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(visible, id) }), nil
}

func (s *floorSource) gap(at *model.StreamPosition, reason string) model.FloorEvent {
	return &model.FloorGap{Position: at, Reason: reason}
}

func (s *floorSource) heartbeat(at *model.StreamPosition) model.FloorEvent {
	return &model.FloorHeartbeat{Position: at}
}

// updatesSource follows one recording.
type updatesSource struct {
	reads reads
	id    string
}

var _ source[model.RecordingEvent] = updatesSource{}

func (s updatesSource) snapshot(ctx context.Context, at *model.StreamPosition) (model.RecordingEvent, error) {
	rec, err := s.reads.recording(ctx, auth.ReadRecordings, s.id)
	if err != nil {
		return nil, err
	}
	return &model.RecordingSnapshot{Position: at, Recording: rec}, nil
}

// resumed reads the recording too: it may be gone, or never have been the viewer's.
func (s updatesSource) resumed(ctx context.Context, at *model.StreamPosition) (model.RecordingEvent, error) {
	rec, err := s.reads.recording(ctx, auth.ReadRecordings, s.id)
	if err != nil {
		return nil, err
	}
	return &model.RecordingDelta{Position: at, Changed: []recorder.ChangeKind{}, Recording: rec}, nil
}

func (s updatesSource) delta(ctx context.Context, at *model.StreamPosition, changes []events.Merged) (model.RecordingEvent, bool, error) {
	i := slices.IndexFunc(changes, func(m events.Merged) bool { return m.RecordingID == s.id })
	if i < 0 {
		return nil, false, nil
	}
	rec, err := s.reads.recording(ctx, auth.ReadRecordings, s.id)
	if err != nil {
		return nil, false, err
	}
	d := &model.RecordingDelta{Position: at, Changed: []recorder.ChangeKind{}, Recording: rec}
	for _, k := range changes[i].Kinds {
		d.Changed = append(d.Changed, recorder.ChangeKind(k))
	}
	return d, true, nil
}

func (s updatesSource) gap(at *model.StreamPosition, reason string) model.RecordingEvent {
	return &model.RecordingGap{Position: at, Reason: reason}
}

func (s updatesSource) heartbeat(at *model.StreamPosition) model.RecordingEvent {
	return &model.RecordingHeartbeat{Position: at}
}
