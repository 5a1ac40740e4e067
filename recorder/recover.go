package recorder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dualrec/dualrec/kms"
)

const recoverRetry = 30 * time.Second

// recover takes over what an earlier process left: every folder of the spool is finished from what it holds, and
// rows of this node without a folder are closed. It starts background work and does not wait for it.
func (s *Service) recover(ctx context.Context) {
	var ids []string
	err := s.until(ctx, "list the spool", func() (err error) {
		ids, err = s.deps.Spool.List(ctx)
		return err
	})
	if err != nil {
		return
	}
	have := map[string]bool{}
	for _, id := range ids {
		have[id] = true
		if err := s.background(func(ctx context.Context) { s.takeOver(ctx, id) }); err != nil {
			return
		}
	}
	if err := s.background(func(ctx context.Context) { s.closeOrphans(ctx, have) }); err != nil {
		return
	}
}

// until repeats f until it succeeds or ctx ends.
func (s *Service) until(ctx context.Context, what string, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		s.log.Error("recovery waits", "for", what, "retry_in", recoverRetry, "err", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(recoverRetry):
		}
	}
}

// takeOver opens one folder, trying until its key can be had, and sees the recording to its end.
func (s *Service) takeOver(ctx context.Context, id string) {
	for {
		r, err := s.reopen(ctx, id)
		if err == nil && r == nil {
			return
		}
		if err == nil {
			s.log.Info("recording taken over", "recording_id", id, "tenant_id", r.header.TenantID)
			s.mu.Lock()
			s.live[id] = r
			s.mu.Unlock()
			select { // many folders must not start as many encoders of sound at once
			case s.takeOvers <- struct{}{}:
				defer func() { <-s.takeOvers }()
				r.run(ctx)
			case <-ctx.Done():
			}
			return
		}
		// A key that is away, a folder that another process still holds, a disk that fails: all of it may pass.
		s.log.Error("recording cannot be taken over yet; its spool folder is left as it is", "recording_id", id, "retry_in", recoverRetry, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(recoverRetry):
		}
	}
}

// reopen returns nil, nil for a recording that has ended: its folder is kept as evidence or by setting.
func (s *Service) reopen(ctx context.Context, id string) (*recording, error) {
	h, err := s.deps.Spool.Header(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	row, err := s.deps.Catalog.Recording(ctx, h.TenantID, id)
	ended := err == nil && row.Capture.Ended()
	if ended && !row.Capture.Playable() {
		s.log.Info("spool folder of a recording without a file is kept", "recording_id", id, "state", row.Capture)
		return nil, nil
	}
	key, err := s.deps.Keys.Unwrap(ctx, h.WrappedKey, kms.WrapContext{TenantID: h.TenantID, RecordingID: id})
	if err != nil {
		return nil, fmt.Errorf("unwrap key: %w", err)
	}
	folder, err := s.deps.Spool.Open(ctx, id, key)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	if ended {
		return nil, s.closeEnded(ctx, id, folder)
	}
	r, err := newRecording(s, folder, nil)
	if err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	if err := r.restoreTracks(); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	for _, t := range r.tracks { // what the database knows of them, this process never saw
		for _, known := range row.Tracks {
			if known.ID == t.id {
				t.past, t.endpoint = known.Stats, known.Endpoint
			}
		}
	}
	r.capture = Finalizing
	close(r.stopped)
	return r, nil
}

// closeEnded does the last step of an earlier process: the folder goes, unless that process decided that it stays.
func (s *Service) closeEnded(ctx context.Context, id string, folder Folder) error {
	b, err := folder.Blob(keepMarker)
	if err == nil {
		return errors.Join(b.Close(), folder.Close())
	}
	if err := folder.Close(); err != nil {
		return err
	}
	s.removeFolder(ctx, id)
	return nil
}

// restoreTracks reads from the events which tracks there were.
func (r *recording) restoreTracks() error {
	return r.eachEvent(func(e Event) {
		switch e.Type {
		case EventTrackLeased:
			r.tracks = append(r.tracks, &track{id: e.TrackLeased.TrackID, kind: e.TrackLeased.Kind})
		case EventLegAttached:
			for _, t := range r.tracks {
				if t.id == e.LegAttached.TrackID {
					if p, err := ParseRTPParameters(e.LegAttached.RTPParameters, t.kind); err == nil {
						t.codec = p.Codec
					}
				}
			}
		}
	})
}

// closeOrphans fails the rows of this node whose folder is gone, so that no dashboard shows them as live for ever.
func (s *Service) closeOrphans(ctx context.Context, have map[string]bool) {
	var rows []RecordingRow
	err := s.until(ctx, "list unfinished recordings", func() (err error) {
		rows, err = s.deps.Catalog.Unfinished(ctx, s.cfg.Node)
		return err
	})
	if err != nil {
		return
	}
	code, text := "SPOOL_LOST", "the recorder's spool has no folder for this recording: nothing was captured, or its disk was replaced"
	for _, row := range rows {
		if _, live := s.find(row.TenantID, row.ID); live || have[row.ID] || !row.CreatedAt.Before(s.startedAt) {
			continue // younger ones are being opened by this process
		}
		err := s.deps.Catalog.Transition(ctx, Transition{TenantID: row.TenantID, RecordingID: row.ID, From: []CaptureState{row.Capture},
			To: Failed, At: s.deps.Now(), Actor: System(), Action: "recording.fail", Reason: text,
			Patch: RecordingPatch{FailureCode: &code, FailureText: &text}})
		if err != nil {
			s.log.Error("close orphaned recording", "recording_id", row.ID, "err", err)
		}
	}
}
