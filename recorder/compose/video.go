package compose

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dualrec/dualrec/recorder"
)

// Limits on one job.
const (
	maxCanvas  = 8192
	maxFrames  = 3600 * 120
	maxRegions = 16
)

// Video renders one segment; see recorder.Composer. Errors: ErrJob, ErrSource, *FrameCountError, *StartError, *ExitError,
// *StallError, and what the sources, out and ctx return. It does not close the sources. A segment that turns out too
// large for the recording's rate is rendered again within the call, so out gets the whole segment at its end. A job with
// a quantizer of its own is rendered with that, whatever its rate.
func (c *Composer) Video(ctx context.Context, job recorder.VideoJob, out io.Writer) error {
	if err := validateJob(job); err != nil {
		return err
	}
	sources := rewindable(&job)
	seconds := float64(job.Frames) / float64(job.FPS)
	sched, err := c.schedule(ctx, job)
	if err != nil {
		return err
	}
	for {
		sources.rewind()
		qp, limit := job.QP, int64(0)
		if qp == 0 {
			qp, limit = c.governor.next(job.RecordingID, job.MaxKbps, seconds)
		}
		rendered, err := c.render(ctx, job, sched, qp, limit)
		var large *tooLargeError
		if errors.As(err, &large) {
			c.governor.exceeded(job.RecordingID, job.MaxKbps, large.rate(job.FPS))
			continue
		}
		if errors.Is(err, errForm) {
			c.repeatNoMore(job, err)
			sched = nil
			continue
		}
		if err != nil {
			return err
		}
		c.governor.done(job.RecordingID, job.MaxKbps, int64(len(rendered)), seconds, qp)
		if _, err := out.Write(rendered); err != nil {
			return fmt.Errorf("compose: segment %d: write: %w", job.Segment, err)
		}
		return nil
	}
}

// repeatNoMore has every frame encoded from now on: an encoder that makes streams of another form will do so again.
func (c *Composer) repeatNoMore(job recorder.VideoJob, err error) {
	if !c.unrepeatable.Swap(true) {
		c.log.Warn("unchanged frames are encoded too: the encoder's stream takes no repeated pictures",
			"recording_id", job.RecordingID, "segment", job.Segment, "preset", c.cfg.Preset, "error", err)
	}
}

// render runs FFmpeg once over the segment and completes what it encoded. Output beyond limit bytes is a *tooLargeError;
// errForm means that the schedule cannot be kept.
func (c *Composer) render(ctx context.Context, job recorder.VideoJob, sched *schedule, qp int, limit int64) ([]byte, error) {
	plan, feeds, err := planVideo(ctx, sched.condensed(job))
	if err != nil {
		return nil, err
	}
	plan.qp = qp
	if sched != nil {
		plan.keyframes = sched.keyframes
	}
	counter := &pictureCounter{limit: limit}
	stderr, err := c.run(ctx, childRun{what: fmt.Sprintf("segment %d", job.Segment), args: videoArgs(plan, c.cfg), inputs: feeds,
		outputs: []io.Writer{counter}})
	var large *tooLargeError
	if errors.As(err, &large) {
		return nil, &tooLargeError{bytes: large.bytes, pictures: max(1, sched.shown(large.pictures))}
	}
	if err != nil {
		return nil, err
	}
	if got := sched.shown(counter.pictures); got != job.Frames {
		return nil, &FrameCountError{RecordingID: job.RecordingID, Segment: job.Segment, Stderr: stderr,
			Count: recorder.FrameCountError{Want: job.Frames, Got: got}}
	}
	if stderr != "" {
		c.log.Warn("FFmpeg complained about a segment and rendered it", "recording_id", job.RecordingID, "segment", job.Segment, "stderr", stderr)
	}
	out, err := sched.stretched(counter.annexB)
	if err == nil && limit > 0 && int64(len(out)) > limit {
		return nil, &tooLargeError{bytes: int64(len(out)), pictures: job.Frames}
	}
	return out, err
}

func validateJob(job recorder.VideoJob) error {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: segment %d: "+format, append([]any{ErrJob, job.Segment}, args...)...))
	}
	if c := job.Canvas; c.W < 2 || c.H < 2 || c.W > maxCanvas || c.H > maxCanvas || c.W%2 != 0 || c.H%2 != 0 {
		refuse("canvas %s is not even and within 2…%d", c, maxCanvas)
	}
	if job.FPS < 1 || job.FPS > 120 {
		refuse("%d frames a second are not within 1…120", job.FPS)
	}
	if job.Frames < 1 || job.Frames > maxFrames {
		refuse("%d frames are not within 1…%d", job.Frames, maxFrames)
	}
	if job.MaxKbps < 1 {
		refuse("a rate of %d kbps", job.MaxKbps)
	}
	if job.QP < 0 || job.QP > maxQP {
		refuse("qp %d is not within 0…%d", job.QP, maxQP)
	}
	if len(job.Regions) > maxRegions {
		refuse("%d regions are more than %d", len(job.Regions), maxRegions)
	}
	for i, r := range job.Regions {
		if !fits(r.Rect, job.Canvas) {
			refuse("region %d at %+v is not even or not on the canvas %s", i, r.Rect, job.Canvas)
		}
		if r.Rotation%90 != 0 || r.Rotation < 0 || r.Rotation > 270 {
			refuse("region %d is turned by %d°, want 0, 90, 180 or 270", i, r.Rotation)
		}
	}
	if w := job.Waveform; w != nil && (!fits(w.Rect, job.Canvas) || len(w.Tracks) == 0) {
		refuse("the waveform at %+v has no track, is not even or not on the canvas %s", w.Rect, job.Canvas)
	}
	return errors.Join(errs...)
}

func fits(r recorder.Rect, canvas recorder.Size) bool {
	return (r.X|r.Y|r.W|r.H)&1 == 0 && r.X >= 0 && r.Y >= 0 && r.W > 0 && r.H > 0 && r.X+r.W <= canvas.W && r.Y+r.H <= canvas.H
}

// planVideo reads the first frame of every source, from which the command line follows, and numbers the inputs.
// A source that has no frame at all is a card.
func planVideo(ctx context.Context, job recorder.VideoJob) (videoPlan, []feed, error) {
	plan := videoPlan{canvas: job.Canvas, fps: job.FPS, frames: job.Frames, paused: job.PausedCard}
	if job.PausedCard {
		return plan, nil, nil
	}
	var feeds []feed
	for i, r := range job.Regions {
		region := regionPlan{rect: r.Rect, input: -1, rotation: r.Rotation, moving: r.Kind == recorder.Webcam}
		if r.Source != nil {
			first, err := r.Source.Next(ctx)
			if err != nil && !errors.Is(err, io.EOF) {
				return plan, nil, fmt.Errorf("compose: segment %d: first frame of region %d: %w", job.Segment, i, err)
			}
			if err == nil && first.Slot < job.Frames {
				format, err := detect(r.Codec, r.SourceSize, first)
				if err != nil {
					return plan, nil, fmt.Errorf("segment %d, region %d: %w", job.Segment, i, err)
				}
				region.input, region.matrix, region.fullRange = len(feeds), format.matrix, format.fullRange
				feeds = append(feeds, newStamper(r.Codec, job.FPS, job.Frames).feedVideo(format, first, r.Source))
			}
		}
		plan.regions = append(plan.regions, region)
	}
	if job.Waveform != nil {
		plan.strip = &stripPlan{rect: job.Waveform.Rect}
		for _, track := range job.Waveform.Tracks {
			plan.strip.inputs = append(plan.strip.inputs, len(feeds))
			feeds = append(feeds, feedOpus(track.Source))
		}
	}
	return plan, feeds, nil
}

// pictureCounter keeps an Annex B stream up to a limit and counts its pictures: slices whose first macroblock is 0
// (H.264 7.3.3). It sees the stream in pieces, so it remembers where it stands.
type pictureCounter struct {
	annexB   []byte
	limit    int64 // bytes; 0: none
	pictures int64
	zeros    int
	header   int // bytes still to come of the NAL header and the slice header's first byte
	kind     byte
}

// Write fails with *tooLargeError beyond the limit.
func (p *pictureCounter) Write(b []byte) (int, error) {
	for _, v := range b {
		p.count(v)
	}
	p.annexB = append(p.annexB, b...)
	if p.limit > 0 && int64(len(p.annexB)) > p.limit {
		return 0, &tooLargeError{bytes: int64(len(p.annexB)), pictures: max(1, p.pictures)}
	}
	return len(b), nil
}

func (p *pictureCounter) count(v byte) {
	switch {
	case p.header == 2:
		p.kind, p.header = v&31, 1
		return
	case p.header == 1:
		if (p.kind == 1 || p.kind == 5) && v&0x80 != 0 {
			p.pictures++
		}
		p.header = 0
	}
	switch {
	case v == 0:
		p.zeros++
	case v == 1 && p.zeros >= 2:
		p.zeros, p.header = 0, 2
	default:
		p.zeros = 0
	}
}

// tooLargeError: a segment has used up its share of the rate after so many pictures.
type tooLargeError struct{ bytes, pictures int64 }

// Error gives the facts.
func (e *tooLargeError) Error() string {
	return fmt.Sprintf("compose: %d bytes after %d pictures are more than the rate allows", e.bytes, e.pictures)
}

// rate is in kbps.
func (e *tooLargeError) rate(fps int) float64 {
	return float64(e.bytes) * 8 / 1000 * float64(fps) / float64(e.pictures)
}
