package compose

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/dualrec/dualrec/recorder"
)

// rewinder lets all sources of a job be read again from their beginning. What was read is kept in memory: the encoded
// frames of one segment, a few megabytes.
type rewinder []interface{ rewind() }

func (r rewinder) rewind() {
	for _, s := range r {
		s.rewind()
	}
}

// rewindable replaces the sources of a job by ones that can be read again. The caller's slices stay untouched.
func rewindable(job *recorder.VideoJob) rewinder {
	var all rewinder
	job.Regions = append([]recorder.Region(nil), job.Regions...)
	for i := range job.Regions {
		if src := job.Regions[i].Source; src != nil {
			kept := &keptFrames{kept: kept[recorder.Frame]{next: src.Next, clone: cloneFrame}, FrameSource: src}
			job.Regions[i].Source = kept
			all = append(all, kept)
		}
	}
	if job.Waveform != nil {
		strip := *job.Waveform
		strip.Tracks = append([]recorder.AudioTrack(nil), strip.Tracks...)
		for i := range strip.Tracks {
			src := strip.Tracks[i].Source
			kept := &keptAudio{kept: kept[recorder.AudioPacket]{next: src.Next, clone: clonePacket}, AudioSource: src}
			strip.Tracks[i].Source = kept
			all = append(all, kept)
		}
		job.Waveform = &strip
	}
	return all
}

func cloneFrame(f recorder.Frame) recorder.Frame {
	f.Data = bytes.Clone(f.Data)
	return f
}

func clonePacket(p recorder.AudioPacket) recorder.AudioPacket {
	p.Data = bytes.Clone(p.Data)
	return p
}

// kept reads a source once and gives out what it read as often as wanted.
type kept[T any] struct {
	next  func(context.Context) (T, error)
	clone func(T) T
	items []T
	pos   int
	ended bool
}

func (k *kept[T]) Next(ctx context.Context) (T, error) {
	if k.pos == len(k.items) {
		if k.ended {
			var none T
			return none, io.EOF
		}
		item, err := k.next(ctx)
		if err != nil {
			k.ended = errors.Is(err, io.EOF)
			return item, err
		}
		k.items = append(k.items, k.clone(item))
	}
	k.pos++
	return k.items[k.pos-1], nil
}

func (k *kept[T]) rewind() { k.pos = 0 }

type keptFrames struct {
	kept[recorder.Frame]
	recorder.FrameSource
}

// Next reads on, or again.
func (k *keptFrames) Next(ctx context.Context) (recorder.Frame, error) { return k.kept.Next(ctx) }

type keptAudio struct {
	kept[recorder.AudioPacket]
	recorder.AudioSource
}

// Next reads on, or again.
func (k *keptAudio) Next(ctx context.Context) (recorder.AudioPacket, error) { return k.kept.Next(ctx) }
