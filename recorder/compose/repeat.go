package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// schedule says which output frames of a segment are encoded. All others repeat the one before.
type schedule struct {
	frames    int64   // of the segment
	slots     []int64 // that are encoded, ascending from 0
	keyframes []int64 // those of them that must be keyframes, as indexes of slots
}

// schedule reads the sources of a job to their ends and finds the output frames on which anything changes, or nil if
// every frame is to be encoded. The sources must be rewound afterwards. A segment is rendered when everything of it has
// arrived, so that reading ahead costs no time, and what was read is kept for a second run in any case.
func (c *Composer) schedule(ctx context.Context, job recorder.VideoJob) (*schedule, error) {
	if c.cfg.RepeatFrames == Off || c.unrepeatable.Load() || job.Waveform != nil && !job.PausedCard {
		return nil, nil
	}
	keyframes := keyframeSlots(c.cfg.KeyframeInterval, job)
	slots := slices.Clone(keyframes)
	if !job.PausedCard {
		changed, err := readAhead(ctx, job)
		if err != nil {
			return nil, err
		}
		slots = append(slots, changed...)
		slices.Sort(slots)
		slots = slices.Compact(slots)
	}
	if int64(len(slots)) == job.Frames {
		return nil, nil
	}
	s := &schedule{frames: job.Frames, slots: slots}
	for _, k := range keyframes {
		s.keyframes = append(s.keyframes, s.index(k))
	}
	return s, nil
}

// keyframeSlots are the output frames that are due for a keyframe, as -force_key_frames would choose them: the first one
// at or after each multiple of the interval.
func keyframeSlots(interval time.Duration, job recorder.VideoJob) []int64 {
	var slots []int64
	for k := int64(0); ; k++ {
		slot := (k*int64(interval)*int64(job.FPS) + int64(time.Second) - 1) / int64(time.Second)
		if slot >= job.Frames {
			return slots
		}
		slots = append(slots, slot)
	}
}

// readAhead reads all sources side by side and returns the slots of the frames that show a picture, in no order.
func readAhead(ctx context.Context, job recorder.VideoJob) ([]int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	changed := make([][]int64, len(job.Regions))
	var readers sync.WaitGroup
	for i, r := range job.Regions {
		if r.Source == nil {
			continue
		}
		readers.Go(func() {
			var err error
			if changed[i], err = changes(ctx, r, job.Frames); err != nil {
				cancel(fmt.Errorf("compose: segment %d: region %d: %w", job.Segment, i, err)) // the first one tells
			}
		})
	}
	readers.Wait()
	return slices.Concat(changed...), context.Cause(ctx)
}

// changes reads one source up to the segment's end.
func changes(ctx context.Context, r recorder.Region, frames int64) (slots []int64, err error) {
	last := int64(0)
	for {
		f, err := r.Source.Next(ctx)
		if errors.Is(err, io.EOF) || err == nil && f.Slot >= frames {
			return slots, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read frame: %w", err)
		}
		if last, err = checkFrame(f, last); err != nil {
			return nil, err
		}
		if visible(r.Codec, f.Data) {
			slots = append(slots, last)
		}
	}
}

// index is the place among the encoded frames of the one that is seen on a slot.
func (s *schedule) index(slot int64) int64 {
	if slot < 0 {
		return slot // pre-roll stays before everything
	}
	if slot >= s.frames {
		return int64(len(s.slots))
	}
	i, found := slices.BinarySearch(s.slots, slot)
	if !found {
		i--
	}
	return int64(i)
}

// condensed is the job without the frames that are not encoded: the encoded ones follow each other on a grid without holes.
func (s *schedule) condensed(job recorder.VideoJob) recorder.VideoJob {
	if s == nil {
		return job
	}
	job.Frames = int64(len(s.slots))
	job.Regions = slices.Clone(job.Regions)
	for i, r := range job.Regions {
		if r.Source != nil {
			job.Regions[i].Source = &condensedFrames{FrameSource: r.Source, schedule: s}
		}
	}
	return job
}

// shown is the number of output frames that so many encoded ones make.
func (s *schedule) shown(encoded int64) int64 {
	if s == nil {
		return encoded
	}
	if past := encoded - int64(len(s.slots)); past >= 0 {
		return s.frames + past
	}
	return s.slots[encoded]
}

// stretched puts the repeated pictures back; see stretch.
func (s *schedule) stretched(annexB []byte) ([]byte, error) {
	if s == nil {
		return annexB, nil
	}
	return stretch(annexB, s.slots, s.frames)
}

// condensedFrames gives the frames of a source their places among the encoded ones.
type condensedFrames struct {
	recorder.FrameSource
	schedule *schedule
}

// Next reads on. A frame that shows nothing may lie on a slot that is not encoded; it stays with the picture before it.
func (c *condensedFrames) Next(ctx context.Context) (recorder.Frame, error) {
	f, err := c.FrameSource.Next(ctx)
	f.Slot = c.schedule.index(f.Slot)
	return f, err
}
