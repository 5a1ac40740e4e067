package compose

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dualrec/dualrec/recorder"
)

// Limits on one frame source.
const (
	maxFrameBytes   = 32 << 20
	maxHiddenQueued = 64 // frames that show nothing, between two that do
)

// originTick is the tick of slot 0. What lies before has room for an hour's worth of hidden frames.
const (
	originSeconds = 3600
	originTick    = originSeconds * ticksPerSecond
	// ticksPerSecond of video.
	ticksPerSecond = 1_000_000_000 / videoTickNS
)

// stamped is a frame with its time in the pipe.
type stamped struct {
	tick int64
	key  bool
	data []byte
}

// slotTick is the even tick of an output slot. It lies a quarter of a slot behind the slot's beginning: fps rounds it
// down to the slot, and the end of the stream, which has the last frame's time, up to the next one. On the very
// beginning the last frame of a track would last no time at all, and fps would drop it.
func slotTick(slot int64, fps int) int64 {
	return originTick + 2*((4*slot+1)*1000/(4*int64(fps)))
}

// stamper gives frames their ticks: an even one to the frame that is seen in its slot, odd ones to all others.
// A frame is seen if no later one of its slot shows a picture; pre-roll belongs to slot 0. So the stamper is one frame behind.
type stamper struct {
	codec  recorder.Codec
	fps    int
	frames int64 // of the segment
	queue  []queued
	slot   int64
	last   int64 // tick given last
}

type queued struct {
	slot    int64
	visible bool
	frame   stamped
}

func newStamper(codec recorder.Codec, fps int, frames int64) *stamper {
	return &stamper{codec: codec, fps: fps, frames: frames, last: -1}
}

// push takes the next frame and gives out those whose fate is now known.
func (s *stamper) push(f recorder.Frame, out func(stamped) error) error {
	slot, err := checkFrame(f, s.slot)
	if err != nil {
		return err
	}
	s.slot = slot
	q := queued{slot: slot, visible: visible(s.codec, f.Data), frame: stamped{key: f.Key, data: f.Data}}
	if len(s.queue) > 0 && (q.visible || slot > s.queue[0].slot || len(s.queue) >= maxHiddenQueued) {
		if err := s.flush(q.visible && slot == s.queue[0].slot, out); err != nil {
			return err
		}
	}
	s.queue = append(s.queue, q)
	return nil
}

// checkFrame refuses a frame that is no frame or goes back before the last one's slot, and returns the slot on which it
// is seen: pre-roll belongs to the first.
func checkFrame(f recorder.Frame, last int64) (slot int64, err error) {
	if len(f.Data) == 0 || len(f.Data) > maxFrameBytes {
		return 0, fmt.Errorf("%w: a frame of %d bytes", ErrSource, len(f.Data))
	}
	if slot = max(f.Slot, 0); slot < last {
		return 0, fmt.Errorf("%w: slot %d after slot %d", ErrSource, f.Slot, last)
	}
	return slot, nil
}

// end gives out what is left.
func (s *stamper) end(out func(stamped) error) error { return s.flush(false, out) }

// flush stamps the queue, which holds at most one visible frame; replaced says that another takes its place.
func (s *stamper) flush(replaced bool, out func(stamped) error) error {
	for _, q := range s.queue {
		at := slotTick(q.slot, s.fps)
		if q.visible && !replaced {
			s.last = max(at, s.last+s.last%2)
		} else {
			s.last = s.hiddenTick(q.slot)
		}
		q.frame.tick = s.last
		if err := out(q.frame); err != nil {
			return err
		}
	}
	s.queue = s.queue[:0]
	return nil
}

// hiddenTick is the next odd tick. It stays short of the slot's own until that one was given, and of the next slot after.
func (s *stamper) hiddenTick(slot int64) int64 {
	next := s.last + 1
	if next%2 == 0 {
		next++
	}
	limit := slotTick(slot, s.fps) - 1
	if s.last > limit {
		limit = slotTick(slot+1, s.fps) - 1
	}
	return max(min(next, limit), s.last)
}

// feedVideo sends one track to FFmpeg, up to the segment's end. first was read before.
func (s *stamper) feedVideo(format videoFormat, first recorder.Frame, source recorder.FrameSource) feed {
	return func(ctx context.Context, p *pump) error {
		w, err := newMatroskaWriter(p, videoTickNS, format.track)
		if err != nil {
			return err
		}
		out := func(f stamped) error { return w.write(f.tick, f.key, payload(s.codec, f.data)) }
		frame := first
		for {
			if frame.Slot >= s.frames {
				return s.end(out)
			}
			if err := s.push(frame, out); err != nil {
				return err
			}
			done := p.activity.waitOutside()
			frame, err = source.Next(ctx)
			done()
			if errors.Is(err, io.EOF) {
				return s.end(out)
			}
			if err != nil {
				return fmt.Errorf("read frame: %w", err)
			}
		}
	}
}
