package catalog

import (
	"context"
	"slices"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/gap"
	"github.com/dualrec/dualrec/ent/segment"
	"github.com/dualrec/dualrec/ent/track"
	"github.com/dualrec/dualrec/recorder"
)

// Finish implements recorder.Catalog. Running it again with the same row leaves the same rows.
func (c *Catalog) Finish(ctx context.Context, f recorder.FinishRow) error {
	return c.write(ctx, "finish recording", f.TenantID, func(ctx context.Context, tx *ent.Tx) error {
		r, u, err := c.step(ctx, tx, f.Transition)
		if err != nil {
			return err
		}
		err = u.SetDurationUs(f.DurationUs).SetSizeBytes(f.SizeBytes).SetWidth(f.Width).SetHeight(f.Height).SetVideoCodec(f.VideoCodec).
			SetAudioCodec(f.AudioCodec).SetPassthrough(f.Passthrough).SetGappy(f.HasGaps).SetComposeLagMs(0).Exec(ctx)
		if err != nil {
			return err
		}
		if err := c.finishParts(ctx, tx, r, f); err != nil {
			return err
		}
		return c.audit(ctx, tx, f.TenantID, transitionEvent(r, f.Transition, map[string]any{
			"duration_us": f.DurationUs, "size_bytes": f.SizeBytes, "gaps": len(f.Gaps), "segments": len(f.Segments), "copies": copyDetails(f.Copies)}))
	})
}

func (c *Catalog) finishParts(ctx context.Context, tx *ent.Tx, r *ent.Recording, f recorder.FinishRow) error {
	if err := c.follow(ctx, tx, r, f.Patch); err != nil {
		return err
	}
	if err := finishTracks(ctx, tx, r, f.Tracks); err != nil { // before the gaps, which refer to them
		return err
	}
	if err := replaceGaps(ctx, tx, r, f.Gaps); err != nil {
		return err
	}
	if err := replaceSegments(ctx, tx, r, f.Segments); err != nil {
		return err
	}
	for _, row := range f.Copies {
		if err := c.putCopy(ctx, tx, r, row); err != nil {
			return err
		}
	}
	return nil
}

// finishTracks saves the tracks' last state, and makes those that only the spool knows.
func finishTracks(ctx context.Context, tx *ent.Tx, r *ent.Recording, rows []recorder.TrackRow) error {
	for _, t := range rows {
		n, err := setTrack(tx.Track.Update().Where(track.ID(t.ID), track.RecordingID(r.ID)), t).Save(ctx)
		if err == nil && n == 0 {
			err = createTrack(tx, r.TenantID, r.ID, t).Exec(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// batch keeps the parameters of one statement far below the databases' limits.
const batch = 500

func replaceGaps(ctx context.Context, tx *ent.Tx, r *ent.Recording, rows []recorder.GapRow) error {
	if _, err := tx.Gap.Delete().Where(gap.RecordingID(r.ID)).Exec(ctx); err != nil {
		return err
	}
	tracks, err := tx.Track.Query().Where(track.RecordingID(r.ID)).IDs(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.TrackID != "" && !slices.Contains(tracks, row.TrackID) {
			return refuse(ErrInvalid, "a gap names track %s, which is not the recording's", shown(row.TrackID))
		}
	}
	return inBatches(rows, func(part []recorder.GapRow) error {
		return tx.Gap.MapCreateBulk(part, func(g *ent.GapCreate, i int) {
			row := part[i]
			g.SetTenantID(r.TenantID).SetRecordingID(r.ID).SetKind(row.Kind).SetFromUs(int64(row.From)).SetToUs(int64(row.To)).
				SetPackets(row.Packets).SetDetail(cut(row.Detail, maxText))
			if row.TrackID != "" {
				g.SetTrackID(row.TrackID)
			}
		}).Exec(ctx)
	})
}

func replaceSegments(ctx context.Context, tx *ent.Tx, r *ent.Recording, rows []recorder.SegmentRow) error {
	if _, err := tx.Segment.Delete().Where(segment.RecordingID(r.ID)).Exec(ctx); err != nil {
		return err
	}
	return inBatches(rows, func(part []recorder.SegmentRow) error {
		return tx.Segment.MapCreateBulk(part, func(s *ent.SegmentCreate, i int) {
			row := part[i]
			s.SetTenantID(r.TenantID).SetRecordingID(r.ID).SetIdx(row.Index).SetFromFrame(row.FromFrame).SetToFrame(row.ToFrame).
				SetLayout(row.Layout).SetPaused(row.Paused).SetSizeBytes(row.SizeBytes).SetSpoolName(row.SpoolName)
		}).Exec(ctx)
	})
}

func inBatches[T any](rows []T, do func([]T) error) error {
	for len(rows) > 0 {
		n := min(len(rows), batch)
		if err := do(rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}
