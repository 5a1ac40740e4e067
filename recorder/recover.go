package recorder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dualrec/dualrec/kms"
)

const recoverRetry = 30 * time.Second

// recover takes over what an earlier process left. Recordings that were being captured go on: their ports are bound again
// first of all, because the SFU sends on. Every other folder of the spool is finished from what it holds, and rows of this
// node without a folder are closed. It starts background work and does not wait for it.
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
	var opening sync.WaitGroup
	for _, id := range ids {
		have[id] = true
		opening.Add(1)
		opened := sync.OnceFunc(opening.Done)
		if err := s.background(func(ctx context.Context) { s.takeOver(ctx, id, opened) }); err != nil {
			return
		}
	}
	err = s.background(func(ctx context.Context) {
		opening.Wait()
		close(s.rebound)
		s.closeOrphans(ctx, have)
	})
	if err != nil {
		return
	}
}

// afterRebound waits until earlier recordings have their ports again, which are no new one's then.
func (s *Service) afterRebound(ctx context.Context) error {
	s.mu.Lock()
	running := s.ctx
	s.mu.Unlock()
	if running == nil {
		return ErrNotRunning
	}
	select {
	case <-s.rebound:
		return nil
	case <-running.Done():
		return ErrNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
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

// takeOver opens one folder, trying until its key can be had, and sees the recording to its end. opened is called after
// the first attempt.
func (s *Service) takeOver(ctx context.Context, id string, opened func()) {
	defer opened()
	for {
		r, err := s.reopen(ctx, id)
		if err == nil && r == nil {
			return
		}
		if err == nil {
			s.mu.Lock()
			s.live[id] = r
			s.mu.Unlock()
			opened()
			s.goOn(ctx, r)
			return
		}
		opened()
		if errors.Is(err, ErrSpoolFull) {
			s.disk.full() // the reserve is for this
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

// goOn runs a recording of an earlier process: one that captures at once, one that is only to be finished in its turn.
func (s *Service) goOn(ctx context.Context, r *recording) {
	if r.status().Capture.Live() {
		s.notify(r, ChangeStatus)
		r.run(ctx)
		return
	}
	s.log.Info("recording taken over", "recording_id", r.id, "tenant_id", r.header.TenantID)
	select { // many folders must not start as many encoders of sound at once
	case s.takeOvers <- struct{}{}:
		defer func() { <-s.takeOvers }()
		r.run(ctx)
	case <-ctx.Done():
	}
}

// reopen returns nil, nil for a recording that has ended: its folder is kept as evidence or by setting. What captured when
// the earlier process ended captures again when it returns.
func (s *Service) reopen(ctx context.Context, id string) (_ *recording, err error) {
	h, err := s.deps.Spool.Header(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	key, err := s.deps.Keys.Unwrap(ctx, h.WrappedKey, kms.WrapContext{TenantID: h.TenantID, RecordingID: id})
	if err != nil {
		return s.reopenLocked(ctx, h, err)
	}
	folder, err := s.deps.Spool.Open(ctx, id, key)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	r, err := newRecording(s, folder, nil)
	if err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	defer func() {
		if err != nil {
			r.closeCapture()
			err = errors.Join(err, folder.Close())
		}
	}()
	past, err := r.readPast()
	if err != nil {
		return nil, err
	}
	if past.capturing(s.deps.Now(), h.Profile.Reconnect()) {
		return r, r.captureAgain(ctx, past)
	}
	row, err := s.deps.Catalog.Recording(ctx, h.TenantID, id)
	if err == nil && row.Capture.Ended() {
		if row.Capture.Playable() {
			return nil, s.closeEnded(ctx, id, folder)
		}
		s.log.Info("spool folder of a recording without a file is kept", "recording_id", id, "state", row.Capture)
		return nil, folder.Close()
	}
	r.restore(past, row.Tracks)
	r.capture = Finalizing
	close(r.stopped)
	return r, nil
}

// reopenLocked: without its key a folder can only be left alone if its recording has ended.
func (s *Service) reopenLocked(ctx context.Context, h Header, cause error) (*recording, error) {
	row, err := s.deps.Catalog.Recording(ctx, h.TenantID, h.RecordingID)
	if err == nil && row.Capture.Ended() && !row.Capture.Playable() {
		s.log.Info("spool folder of a recording without a file is kept", "recording_id", h.RecordingID, "state", row.Capture)
		return nil, nil
	}
	return nil, fmt.Errorf("unwrap key: %w", cause)
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
