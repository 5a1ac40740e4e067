package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// passthroughKeyframes is the longest distance between keyframes of a file that players can seek in.
const passthroughKeyframes = Micros(10_000_000)

// passthroughStart is how late the first picture may be; it is shown from the start then.
const passthroughStart = 500 * time.Millisecond

const blobPassthrough = "passthrough.h264"

// passthrough holds the plans of a recording back for as long as its screen may be copied as it came, without
// encoding: one H.264 stream of one size, unbroken, never paused, nothing drawn over it. What forbids it is found
// plan by plan; then everything is rendered after all, a little later than it would have been.
type passthrough struct {
	fps   int
	plans []SegmentPlan
}

// newPassthrough returns nil where the profile rules it out, or where an earlier process has begun to render.
func newPassthrough(p Profile, h *history) *passthrough {
	if !p.Passthrough || p.Layout != ScreenOnly || p.WaveformBurnIn || len(h.sealed) > 0 {
		return nil
	}
	return &passthrough{fps: p.FPS}
}

// add takes a plan, or says what forbids to pass the recording through.
func (t *passthrough) add(p SegmentPlan) error {
	t.plans = append(t.plans, p)
	switch {
	case p.Paused:
		return errors.New("the recording was paused")
	case len(p.Regions) != 1:
		return fmt.Errorf("%d pictures are shown", len(p.Regions))
	}
	r := p.Regions[0]
	if r.Leg == "" {
		if p.From == 0 && p.End() <= MicrosOf(passthroughStart) {
			return nil // the first picture will be shown from the start
		}
		return errors.New("a placeholder is shown")
	}
	first := t.first()
	switch {
	case r.Codec != H264:
		return fmt.Errorf("the screen is %s", r.Codec)
	case r.Rotation != 0:
		return errors.New("the screen is rotated")
	case first.Leg != r.Leg:
		return errors.New("the producer was replaced")
	case first.SourceSize != r.SourceSize:
		return fmt.Errorf("the size changed from %s to %s", first.SourceSize, r.SourceSize)
	}
	return nil
}

// first is the first region with pictures.
func (t *passthrough) first() *RegionPlan {
	for i := range t.plans {
		if r := t.plans[i].Regions; len(r) == 1 && r[0].Leg != "" {
			return &r[0]
		}
	}
	return nil
}

// copied is a screen that was passed through.
type copied struct {
	blob  BlobInfo
	size  Size
	times []Micros
}

// take renders a plan, or holds it back while the recording may still be passed through.
func (f *follower) take(ctx context.Context, p SegmentPlan) {
	if f.through == nil {
		f.render(ctx, p)
		return
	}
	if err := f.through.add(p); err != nil {
		f.renderHeld(ctx, err)
	}
}

// renderHeld gives passing through up.
func (f *follower) renderHeld(ctx context.Context, why error) {
	f.r.s.log.Info("the screen cannot be passed through and is encoded", "recording_id", f.r.id, "reason", why)
	held := f.through.plans
	f.through = nil
	for _, p := range held {
		f.render(ctx, p)
	}
}

// copyThrough copies the screen of a finished recording, or renders what was held back.
func (f *follower) copyThrough(ctx context.Context) {
	if f.through == nil || len(f.through.plans) == 0 {
		return
	}
	c, err := f.tryCopy()
	if err != nil {
		f.renderHeld(ctx, err)
		return
	}
	f.copied = c
}

// tryCopy reads the whole leg again and writes its pictures as they are.
func (f *follower) tryCopy() (_ *copied, err error) {
	first := f.through.first()
	if first == nil {
		return nil, errors.New("there is no picture")
	}
	for _, g := range f.planner.Gaps() {
		if g.Track == Screen && (g.Kind == GapLost || g.Kind == GapFrozen) {
			return nil, fmt.Errorf("packets are missing at %v", g.From)
		}
	}
	reader, err := f.planner.openLeg(first.journal, first.params, first.Resume)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	reader.Finish()
	w, err := f.r.folder.Create(blobPassthrough)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", blobPassthrough, err)
	}
	defer w.Abort()
	c := &copied{size: first.SourceSize}
	if c.times, err = f.through.copyUnits(reader, w); err != nil {
		return nil, err
	}
	if _, end := f.planner.Duration(); c.times[len(c.times)-1] >= end {
		return nil, errors.New("the last picture is after the end")
	}
	c.blob, err = w.Commit()
	return c, err
}

// copyUnits writes the units and returns the instant of each.
func (t *passthrough) copyUnits(reader *LegReader, w io.Writer) ([]Micros, error) {
	slots := t.slots()
	var times []Micros
	lastKey := Micros(0)
	for {
		u, err := reader.Next()
		if errors.Is(err, io.EOF) && len(times) > 0 {
			return times, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the screen: %w", err)
		}
		at, planned := slots[u.RTP]
		switch {
		case u.Frozen || u.Lost > 0 || u.Restarted && len(times) > 0:
			return nil, errors.New("a picture is damaged")
		case len(times) == 0 && !u.Key:
			return nil, errors.New("it does not begin with a keyframe")
		case len(times) == 0:
			at = 0
		case !planned || at <= times[len(times)-1]: // more than one picture within a frame of the grid
			at = times[len(times)-1] + 1000
		}
		if at-lastKey > passthroughKeyframes {
			return nil, fmt.Errorf("there is no keyframe for %v", at-lastKey)
		}
		if u.Key {
			lastKey = at
		}
		times = append(times, at)
		if _, err := w.Write(u.Data); err != nil {
			return nil, fmt.Errorf("write %s: %w", blobPassthrough, err)
		}
	}
}

// slots maps a picture's RTP time to the instant at which the plans show it first.
func (t *passthrough) slots() map[int64]Micros {
	at := map[int64]Micros{}
	for _, p := range t.plans {
		if len(p.Regions) != 1 {
			continue
		}
		for _, put := range p.Regions[0].Frames {
			if _, seen := at[put.RTP]; !seen {
				at[put.RTP] = frameTime(p.From+put.Slot, t.fps)
			}
		}
	}
	return at
}
