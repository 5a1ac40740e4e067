package recorder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

const (
	followEvery   = 500 * time.Millisecond
	progressEvery = 2 * time.Second
	// behind is how far the follower stays behind the clock: appended records may take a second to become readable.
	behind = 1200 * time.Millisecond
	// renderTries bounds the attempts at one segment before a card takes its place.
	renderTries = 3
)

// run sees a recording through to its end. Whatever goes wrong on this machine delays it: only "nothing was captured"
// is final. It returns early only when ctx ends; the next process goes on then.
func (r *recording) run(ctx context.Context) {
	var err error
	for attempt := 1; ; attempt++ {
		err = guard(func() error { return r.complete(ctx) })
		var final *failure
		if err == nil || errors.As(err, &final) {
			break
		}
		if ctx.Err() != nil {
			return // the spool has everything
		}
		if !r.tryLater(ctx, attempt, err) {
			return
		}
	}
	if err != nil {
		r.fail(ctx, err)
	}
	r.s.forget(r.id)
	if cerr := r.folder.Close(); cerr != nil {
		r.s.log.Warn("close spool folder", "recording_id", r.id, "err", cerr)
	}
	if !r.keep {
		r.s.removeFolder(ctx, r.id)
	}
}

const tryAgainMax = 10 * time.Minute

// tryLater waits before the next attempt to compose. What a check refused is made anew then.
func (r *recording) tryLater(ctx context.Context, attempt int, err error) bool {
	pause := min(2*r.s.cfg.Rest<<min(attempt-1, 12), tryAgainMax)
	r.s.log.Error("composing failed; it is tried again, and the recording is safe in the spool", "recording_id", r.id,
		"attempt", attempt, "retry_in", pause, "err", err)
	if errors.Is(err, ErrSpoolFull) {
		r.s.disk.full()
	}
	var refused *VerifyError
	if errors.As(err, &refused) {
		r.encodeAll = true
		if eerr := r.event(Event{Type: EventRenderAgain, RenderAgain: &RenderAgain{Reason: cut(err.Error(), maxEventText)}}); eerr != nil {
			r.diskFailed(eerr)
		}
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

// guard turns a panic into an error of this one recording: a poisoned packet must not end every other call.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("recorder: panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// removeFolder is the last step: the store has everything, or nothing was captured. It is done also while draining;
// what it leaves is removed at the next start.
func (s *Service) removeFolder(ctx context.Context, id string) {
	if err := s.deps.Spool.Remove(context.WithoutCancel(ctx), id); err != nil {
		s.log.Error("remove spool folder", "recording_id", id, "err", err)
	}
}

func (r *recording) complete(ctx context.Context) error {
	h, err := r.readHistory()
	if err != nil {
		return err
	}
	if err := r.reconcile(ctx); err != nil {
		return err
	}
	if r.returned { // their ports may be others now
		for _, row := range r.trackRows() {
			r.s.saveTrack(ctx, r, row)
		}
	}
	planner, err := NewPlanner(r.folder, r.s.deps.Depacketizers)
	if err != nil {
		return err
	}
	defer func() { _ = planner.Close() }() // it lets go of readers, which have nothing to lose
	f := &follower{r: r, planner: planner, history: h}
	if !r.encodeAll {
		f.through = newPassthrough(r.header.Profile, h)
	}
	o, err := f.follow(ctx)
	if err != nil {
		return err
	}
	return r.deliver(ctx, h, o, f)
}

// history is what the events say that an earlier process has done already.
type history struct {
	audio    *AudioSealed
	movie    *ArtifactSealed
	sealed   []SegmentSealed
	uploaded map[string]*UploadedEvent // by blob
	epochSet bool
}

func (r *recording) readHistory() (*history, error) {
	h := &history{uploaded: map[string]*UploadedEvent{}}
	err := r.eachEvent(func(e Event) {
		switch e.Type {
		case EventEpochSet:
			h.epochSet = true
		case EventSegmentSealed:
			if !e.SegmentSealed.Broken { // a broken one is rendered again
				h.sealed = append(h.sealed, *e.SegmentSealed)
			}
		case EventRenderAgain:
			h.sealed, h.audio, h.movie = nil, nil, nil
		case EventAudioSealed:
			h.audio = e.AudioSealed
		case EventArtifactSealed:
			h.movie = e.ArtifactSealed
		case EventUploaded:
			h.uploaded[e.Uploaded.Blob] = e.Uploaded
		}
	})
	return h, err
}

// eachEvent reads the events journal from its start; events that cannot be read are logged and skipped.
func (r *recording) eachEvent(f func(Event)) error {
	rd, err := r.folder.Read(EventsJournal, Position{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer rd.Close()
	for {
		rec, _, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		e, err := ParseEvent(rec.Data)
		if err != nil {
			r.s.log.Warn("skip event", "recording_id", r.id, "err", err)
			continue
		}
		f(e)
	}
}

// reconcile makes sure that the database has the rows of this recording: a database restored from an older backup
// gets them back from the folder.
func (r *recording) reconcile(ctx context.Context) error {
	return r.persist(ctx, "reconcile the database", func() error {
		_, err := r.s.deps.Catalog.Recording(ctx, r.header.TenantID, r.id)
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		data, err := r.readBlob(blobBegin)
		if err != nil {
			return err
		}
		var b BeginRow
		if err := json.Unmarshal(data, &b); err != nil {
			return fmt.Errorf("read %s: %w", blobBegin, err)
		}
		_, _, err = r.s.deps.Catalog.Begin(ctx, b)
		return err
	})
}

// follower composes one recording: behind the live edge while it runs, then to its end.
type follower struct {
	r       *recording
	planner *Planner
	history *history

	through *passthrough // nil: every segment is rendered
	copied  *copied      // what was passed through instead of rendering

	mu      sync.Mutex
	sealed  []SegmentSealed // in order of From once all are done
	err     error
	renders sync.WaitGroup
	audio   chan audioDone // nil: not started

	lastNotify time.Time
}

type audioDone struct {
	sealed *AudioSealed
	err    error
}

// follow returns when the recording has ended and every segment and the sound are sealed.
func (f *follower) follow(ctx context.Context) (*outcome, error) {
	r := f.r
	var complained time.Time
	ctx, cancel := context.WithCancel(ctx)
	defer func() { cancel(); f.renders.Wait() }()
	f.sealed = append(f.sealed, f.history.sealed...)
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-r.stopped:
			return f.finish(ctx)
		case <-tick.C:
			if err := guard(func() error { return f.step(ctx) }); err != nil && r.s.deps.Now().Sub(complained) > time.Minute {
				// Capture goes on whatever the follower meets; what it could not do is done when the call has ended.
				complained = r.s.deps.Now()
				r.s.log.Error("following the call failed; capture goes on", "recording_id", r.id, "err", err)
			}
		}
	}
}

// step is one look at a live recording.
func (f *follower) step(ctx context.Context) error {
	r, now := f.r, f.r.s.deps.Now()
	if r.began() {
		r.s.transition(ctx, r, []CaptureState{Pending}, Recording, System(), "recording.begin", "")
		r.s.notify(r, ChangeStatus)
	}
	f.stopIfIdle(ctx, now)
	r.s.writeState(ctx, r)
	r.reopenJournals()
	if err := f.planner.Advance(now.Add(-behind)); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if err := f.fixEpoch(); err != nil {
		return err
	}
	f.startAudio(ctx)
	for _, p := range f.planner.Plan() {
		f.take(ctx, p)
	}
	f.report(now)
	return nil
}

func (f *follower) stopIfIdle(ctx context.Context, now time.Time) {
	r := f.r
	last := r.header.CreatedAt
	if n := max(r.lastSeen.Load(), r.aliveSince.Load()); n != 0 {
		last = time.Unix(0, n)
	}
	patience := r.s.cfg.IdleStop
	if r.returned && r.lastSeen.Load() < r.aliveSince.Load() { // nothing has come since the recorder was away
		patience = r.header.Profile.Reconnect()
	}
	if now.Sub(last) < patience || r.status().Capture == Paused {
		return
	}
	r.s.log.Warn("no media: the recording is stopped", "recording_id", r.id, "idle_for", now.Sub(last))
	if err := r.s.stop(ctx, r, System(), "no media"); err != nil {
		r.s.log.Error("stop idle recording", "recording_id", r.id, "err", err)
	}
}

// fixEpoch writes recording time 0 once, so that it is the same after a restart.
func (f *follower) fixEpoch() error {
	epoch, known := f.planner.Epoch()
	if !known || f.history.epochSet {
		return nil
	}
	f.history.epochSet = true
	return f.r.event(Event{Type: EventEpochSet, EpochSet: &EpochSet{Epoch: epoch}})
}

func (f *follower) report(now time.Time) {
	r := f.r
	if epoch, known := f.planner.Epoch(); known {
		r.progress.captured.Store(int64(MicrosOf(now.Sub(epoch))))
	}
	composed := f.composedTo()
	if f.through != nil { // nothing waits to be composed
		composed = f.planner.Planned()
	}
	r.progress.composed.Store(int64(composed))
	if now.Sub(f.lastNotify) >= progressEvery {
		f.lastNotify = now
		r.s.notify(r, ChangeProgress)
	}
}

// composedTo is the end of the unbroken run of sealed segments from the start.
func (f *follower) composedTo() Micros {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(f.sealed, func(a, b SegmentSealed) int { return int(a.From - b.From) })
	next := int64(0)
	for _, s := range f.sealed {
		if s.From > next {
			break
		}
		next = max(next, s.To)
	}
	return frameTime(next, f.r.header.Profile.FPS)
}

// finish plans the rest and waits for everything.
func (f *follower) finish(ctx context.Context) (*outcome, error) {
	r := f.r
	if err := r.folder.Sync(); err != nil {
		r.diskFailed(err)
	}
	plans, err := f.planner.Finish(FinishOptions{Pieces: r.s.cfg.Workers})
	if err != nil {
		return nil, fmt.Errorf("plan the end: %w", err)
	}
	if err := f.fixEpoch(); err != nil {
		return nil, err
	}
	f.startAudio(ctx)
	for _, p := range plans {
		f.take(ctx, p)
	}
	f.copyThrough(ctx)
	_, duration := f.planner.Duration()
	r.progress.captured.Store(int64(duration))
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	r.progress.composed.Store(int64(duration))
	return f.outcome(ctx)
}

// wait returns when all renders are done, reporting progress meanwhile.
func (f *follower) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { f.renders.Wait(); close(done) }()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.err
		case <-tick.C:
			f.r.progress.composed.Store(int64(f.composedTo()))
			f.r.s.notify(f.r, ChangeProgress)
		case <-ctx.Done():
			<-done
			return context.Cause(ctx)
		}
	}
}

func (f *follower) outcome(ctx context.Context) (*outcome, error) {
	o := &outcome{gaps: f.planner.Gaps(), copied: f.copied}
	if st := f.planner.Stats(); st.Damaged > 0 || st.BadEvents > 0 || st.UnknownEvents > 0 {
		f.r.s.log.Error("parts of the spool cannot be read; its folder is kept", "recording_id", f.r.id, "damaged_places", st.Damaged,
			"bad_events", st.BadEvents, "unknown_events", st.UnknownEvents)
		o.damaged = true
	}
	_, o.duration = f.planner.Duration()
	if f.audio != nil {
		select {
		case a := <-f.audio:
			if a.err != nil { // while the call ran; now it is all there
				if a.sealed, a.err = f.renderAudio(ctx); a.err != nil {
					return nil, fmt.Errorf("render the sound: %w", a.err)
				}
			}
			o.audio = a.sealed
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	slices.SortFunc(f.sealed, func(a, b SegmentSealed) int { return int(a.From - b.From) })
	for _, s := range f.sealed {
		if s.From != o.frames {
			return nil, fmt.Errorf("recorder: frames %d to %d are in no segment", o.frames, s.From)
		}
		o.frames = s.To
		o.segments = append(o.segments, s)
		if s.Broken {
			o.broken++
			fps := f.r.header.Profile.FPS
			o.gaps = append(o.gaps, Gap{Kind: GapFrozen, From: frameTime(s.From, fps), To: frameTime(s.To, fps), Detail: "the segment could not be rendered"})
		}
	}
	o.gaps = append(o.gaps, reducedGaps(o.segments, f.r.header.Profile.FPS)...)
	if o.copied != nil {
		o.frames = int64(len(o.copied.times))
	}
	o.missing = f.missing(o.duration)
	return o, nil
}

// missing names the expected tracks that never came.
func (f *follower) missing(duration Micros) []TrackKind {
	var kinds []TrackKind
	for _, g := range f.planner.Gaps() {
		if g.Kind == GapMissing && g.From <= 0 && g.To >= duration && !slices.Contains(kinds, g.Track) {
			kinds = append(kinds, g.Track)
		}
	}
	return kinds
}

// render composes one segment in the background, when a slot is free.
func (f *follower) render(ctx context.Context, plan SegmentPlan) {
	f.renders.Go(func() {
		var sealed SegmentSealed
		err := guard(func() (err error) {
			sealed, err = f.renderSafely(ctx, plan)
			return err
		})
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil {
			f.err = errors.Join(f.err, err)
			return
		}
		f.sealed = append(f.sealed, sealed)
	})
}

func (f *follower) renderSafely(ctx context.Context, plan SegmentPlan) (SegmentSealed, error) {
	var err error
	for try := 1; try <= renderTries; try++ {
		var s SegmentSealed
		if s, err = f.renderOnce(ctx, plan, nil); err == nil || ctx.Err() != nil {
			return s, err
		}
		if errors.Is(err, ErrSpoolFull) { // no fault of the segment: it waits until there is room
			f.r.s.disk.full()
			try--
			if !f.r.s.rest(ctx, 5) {
				return SegmentSealed{}, context.Cause(ctx)
			}
			continue
		}
		f.r.s.log.Warn("segment failed; trying again", "recording_id", f.r.id, "segment", plan.Index, "attempt", try, "err", err)
		if !f.r.s.rest(ctx, try*try) { // a machine out of memory or processes needs a moment
			return SegmentSealed{}, context.Cause(ctx)
		}
	}
	f.r.s.log.Error("segment cannot be rendered: a card takes its place, and the spool folder is kept", "recording_id", f.r.id, "segment", plan.Index, "err", err)
	card := plan
	card.Regions, card.Paused, card.Waveform = nil, true, Rect{}
	return f.renderOnce(ctx, card, &plan)
}

// renderOnce renders a plan and seals it; instead is the plan that a card stands for.
func (f *follower) renderOnce(ctx context.Context, plan SegmentPlan, instead *SegmentPlan) (SegmentSealed, error) {
	done, err := f.r.s.slot(ctx, f.r)
	if err != nil {
		return SegmentSealed{}, err
	}
	defer done()
	reducedTo := 0
	if shed := f.r.s.cfg.ShedLag; shed > 0 && f.r.progress.lag() > shed && !plan.Paused {
		plan, reducedTo = reduce(plan), reducedFPS(plan.FPS)
	}
	info, err := f.renderTo(ctx, plan)
	if err != nil {
		return SegmentSealed{}, err
	}
	s := SegmentSealed{Index: plan.Index, From: plan.From, To: plan.To, Layout: plan.Layout, Paused: plan.Paused, ReducedFPS: reducedTo, Blob: info}
	if instead != nil {
		s.Broken, s.Paused = true, instead.Paused
	}
	if err := f.r.event(Event{Type: EventSegmentSealed, SegmentSealed: &s}); err != nil {
		return s, err
	}
	if s.ReducedFPS > 0 {
		f.r.s.reduced.Add(1)
	}
	if epoch, known := f.planner.Epoch(); known {
		f.r.s.lag.observe(f.r.s.deps.Now().Sub(epoch.Add(plan.End().Duration())))
	}
	return s, nil
}

// renderTo runs the composer once; what it wrote is durable when it returns.
func (f *follower) renderTo(ctx context.Context, plan SegmentPlan) (BlobInfo, error) {
	job, done, err := f.planner.Job(plan)
	if err != nil {
		return BlobInfo{}, err
	}
	defer done()
	name := segmentBlob(plan.Index)
	w, err := f.r.folder.Create(name)
	if err != nil {
		return BlobInfo{}, fmt.Errorf("create %s: %w", name, err)
	}
	defer w.Abort()
	if err := f.r.s.deps.Composer.Video(ctx, job, w); err != nil {
		return BlobInfo{}, err
	}
	return w.Commit()
}

// startAudio starts the one audio run as soon as there is a recording time to render on.
func (f *follower) startAudio(ctx context.Context) {
	if _, known := f.planner.Epoch(); !known || f.audio != nil || !slices.ContainsFunc(f.r.header.Expect, func(k TrackKind) bool { return !k.IsVideo() }) {
		return
	}
	f.audio = make(chan audioDone, 1)
	if f.history.audio != nil {
		if b, err := f.r.folder.Blob(f.history.audio.Blob.Name); err == nil {
			f.audio <- audioDone{sealed: f.history.audio, err: b.Close()}
			return
		}
	}
	f.renders.Go(func() {
		var done audioDone
		for try := 1; try <= renderTries; try++ {
			done.err = guard(func() (err error) {
				done.sealed, err = f.renderAudio(ctx)
				return err
			})
			if done.err == nil || ctx.Err() != nil {
				break
			}
			f.r.s.rest(ctx, try*try)
			f.r.s.log.Warn("sound failed; rendering it again from the spool", "recording_id", f.r.id, "attempt", try, "err", done.err)
		}
		f.audio <- done
	})
}

func (f *follower) renderAudio(ctx context.Context) (*AudioSealed, error) {
	r := f.r
	job := AudioJob{RecordingID: r.id, Mode: r.header.Profile.AudioMode, Kbps: r.s.cfg.AudioKbps}
	if job.Mode == SplitStereo {
		job.Kbps += job.Kbps / 2
	}
	for _, k := range r.header.Expect {
		if !k.IsVideo() {
			src := f.planner.AudioSource(k)
			defer src.Close()
			job.Tracks = append(job.Tracks, AudioTrack{Kind: k, Source: src})
		}
	}
	w, err := r.folder.Create(blobAudio)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", blobAudio, err)
	}
	defer w.Abort()
	peaks := r.s.deps.NewPeaks()
	if err := r.s.deps.Composer.Audio(ctx, job, w, peaks); err != nil {
		return nil, err
	}
	info, err := w.Commit()
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", blobAudio, err)
	}
	peaksInfo, err := r.writeBlob(BlobWaveform, peaks)
	if err != nil {
		return nil, err
	}
	a := &AudioSealed{Blob: info, Peaks: &peaksInfo, Priming: r.s.deps.AudioPriming}
	return a, r.event(Event{Type: EventAudioSealed, AudioSealed: a})
}

// deliver makes the file, uploads it and writes the end into the database.
func (r *recording) deliver(ctx context.Context, h *history, o *outcome, f *follower) error {
	if o.frames == 0 && o.audio == nil || o.duration < tooShort {
		r.keep = o.damaged || f.planner.Captured()
		return &failure{code: "NO_MEDIA", text: "no media arrived: check that the SFU connected its transports to the addresses in tracks.ingest and resumed its consumers"}
	}
	if h.movie != nil && h.movie.Duration == o.duration && o.copied == nil && r.hasBlob(BlobMovie) {
		o.movie = h.movie
	} else if err := r.mux(ctx, o); err != nil {
		return err
	}
	if err := r.decideKeep(o); err != nil {
		return err
	}
	epoch, _ := f.planner.Epoch()
	manifest, err := r.writeManifest(o, epoch)
	if err != nil {
		return err
	}
	r.setCapture(Uploading)
	r.s.transition(ctx, r, []CaptureState{Pending, Recording, Paused, Finalizing}, Uploading, System(), "recording.upload", "")
	r.s.notify(r, ChangeStatus)
	blobs := map[CopyRole]BlobInfo{CopyVideo: o.movie.Blob, CopyManifest: manifest}
	if o.audio != nil && o.audio.Peaks != nil {
		blobs[CopyWaveform] = *o.audio.Peaks
	}
	copies, err := r.upload(ctx, blobs, h.uploaded)
	if err != nil {
		return err
	}
	return r.finished(ctx, o, copies, epoch)
}

func (r *recording) finished(ctx context.Context, o *outcome, copies []CopyRow, epoch time.Time) error {
	to := Available
	if len(o.missing) > 0 || o.broken > 0 || o.damaged {
		to = Partial
	}
	row := FinishRow{Transition: Transition{TenantID: r.header.TenantID, RecordingID: r.id,
		From: []CaptureState{Pending, Recording, Paused, Finalizing, Uploading}, To: to, At: r.s.deps.Now(), Actor: System(), Action: "recording.available"},
		Copies: copies, Tracks: r.trackRows(), DurationUs: int64(o.duration), SizeBytes: o.movie.Blob.Size, Passthrough: o.copied != nil, HasGaps: len(o.gaps) > 0}
	ended := epoch.Add(o.duration.Duration())
	row.Patch.StartedAt, row.Patch.EndedAt = &epoch, &ended
	if o.frames > 0 {
		c := o.canvas(r.header.Profile)
		row.VideoCodec, row.Width, row.Height = "h264", c.W, c.H
	}
	if o.audio != nil {
		row.AudioCodec = "aac"
	}
	for _, g := range o.gaps {
		row.Gaps = append(row.Gaps, GapRow{TrackID: g.TrackID, Kind: g.Kind, From: g.From, To: g.To, Packets: g.Packets, Detail: g.Detail})
	}
	for _, s := range o.segments {
		row.Segments = append(row.Segments, SegmentRow{Index: s.Index, FromFrame: s.From, ToFrame: s.To, Layout: s.Layout, Paused: s.Paused, SizeBytes: s.Blob.Size, SpoolName: s.Blob.Name})
	}
	err := r.persist(ctx, "write "+string(to), func() error { return r.s.deps.Catalog.Finish(ctx, row) })
	if err != nil {
		return err
	}
	r.setCapture(to)
	r.s.log.Info("recording finished", "recording_id", r.id, "state", to, "duration", o.duration.Duration(), "size", o.movie.Blob.Size,
		"segments", len(o.segments), "gaps", len(o.gaps))
	r.s.notify(r, ChangeStatus)
	return nil
}

// tooShort is less than a player shows.
const tooShort = Micros(100_000)

// keepMarker is a blob that says that the folder stays after the recording has ended.
const keepMarker = "keep"

// decideKeep writes down, before anything can remove the folder, whether it stays: by setting, or because something
// in it could not be read or rendered and an operator may do better.
func (r *recording) decideKeep(o *outcome) error {
	r.keep = r.s.cfg.KeepSpool || o.broken > 0 || o.damaged
	if !r.keep {
		return nil
	}
	_, err := r.writeBlob(keepMarker, bytes.NewReader(nil))
	return err
}

// failure is an end without a file; its text is shown to the tenant.
type failure struct{ code, text string }

// Error implements error.
func (f *failure) Error() string { return f.code + ": " + f.text }

// fail writes FAILED; the spool folder stays for the operator unless nothing was captured.
func (r *recording) fail(ctx context.Context, cause error) {
	code, text := "COMPOSE_FAILED", "the recording could not be composed; its media is safe in the recorder's spool: ask the operator"
	var fl *failure
	if errors.As(cause, &fl) {
		code, text = fl.code, fl.text
	}
	r.s.log.Error("recording failed", "recording_id", r.id, "code", code, "err", cause)
	r.setCapture(Failed)
	t := Transition{TenantID: r.header.TenantID, RecordingID: r.id, From: []CaptureState{Pending, Recording, Paused, Finalizing, Uploading},
		To: Failed, At: r.s.deps.Now(), Actor: System(), Action: "recording.fail", Reason: text,
		Patch: RecordingPatch{FailureCode: &code, FailureText: &text}}
	err := r.persist(ctx, "write FAILED", func() error { return r.s.deps.Catalog.Transition(ctx, t) })
	if err != nil {
		r.s.log.Error("write FAILED", "recording_id", r.id, "err", err)
	}
	for _, row := range r.trackRows() {
		r.s.saveTrack(ctx, r, row)
	}
	r.s.notify(r, ChangeStatus)
}
