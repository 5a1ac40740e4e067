package mp4

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/dualrec/dualrec/recorder"
)

// Limits on what a caller may ask for.
const (
	maxFPS        = 120
	maxPriming    = 1 << 16
	maxTitleBytes = 1024
	maxDuration   = recorder.Micros(48 * 3600 * 1e6)
)

// Muxer implements recorder.Muxer. The zero value is ready; it has no state and is safe for concurrent use.
type Muxer struct{}

var _ recorder.Muxer = Muxer{}

// New returns a Muxer.
func New() Muxer { return Muxer{} }

// Mux writes one MP4 to w. Every input is opened twice and closed each time. On an error what w got so far is no
// usable file. Errors: *ParameterSetError, *SegmentError, *FrameCountError, *DurationError, ErrAnnexB, ErrADTS,
// ErrEmpty, ErrChanged, and what the inputs, w and ctx return.
func (Muxer) Mux(ctx context.Context, in recorder.MuxInput, w io.Writer) (recorder.MuxResult, error) {
	if err := validate(in); err != nil {
		return recorder.MuxResult{}, err
	}
	m, err := index(ctx, in)
	if err != nil {
		return recorder.MuxResult{}, err
	}
	head, err := m.header()
	if err != nil {
		return recorder.MuxResult{}, err
	}
	out := bufio.NewWriterSize(w, 256<<10)
	if _, err := out.Write(head); err != nil {
		return recorder.MuxResult{}, fmt.Errorf("mp4: write index: %w", err)
	}
	if err := copySamples(ctx, in, m, out); err != nil {
		return recorder.MuxResult{}, err
	}
	if err := out.Flush(); err != nil {
		return recorder.MuxResult{}, fmt.Errorf("mp4: write: %w", err)
	}
	return m.result(len(head)), nil
}

func validate(in recorder.MuxInput) error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf("mp4: "+format, args...)) }
	if len(in.Segments) == 0 && in.Audio.Open == nil {
		errs = append(errs, ErrEmpty)
	}
	if len(in.Segments) > 0 && (in.FPS < 1 || in.FPS > maxFPS) {
		refuse("%d frames a second are not within 1…%d", in.FPS, maxFPS)
	}
	if in.Duration <= 0 || in.Duration > maxDuration {
		refuse("a duration of %s is not within 0…%s", in.Duration, maxDuration)
	}
	if in.Audio.Priming < 0 || in.Audio.Priming > maxPriming {
		refuse("a priming of %d samples is not within 0…%d", in.Audio.Priming, maxPriming)
	}
	if len(in.Title) > maxTitleBytes || !utf8.ValidString(in.Title) {
		refuse("the title must be UTF-8 of at most %d bytes", maxTitleBytes)
	}
	for i, s := range in.Segments {
		if s.Frames <= 0 || s.Open == nil {
			errs = append(errs, &SegmentError{Segment: i, Reason: "it has no frames or cannot be opened: leave it out"})
		}
	}
	return errors.Join(errs...)
}

// index is the first pass.
func index(ctx context.Context, in recorder.MuxInput) (*movie, error) {
	m := &movie{fps: max(1, in.FPS), duration: in.Duration, createdAt: in.CreatedAt, title: in.Title, priming: in.Audio.Priming}
	var err error
	if len(in.Segments) > 0 {
		if m.video, err = indexVideo(ctx, in.Segments, in.Canvas); err != nil {
			return nil, err
		}
		if m.deltas, err = deltas(in, m.video.samples()); err != nil {
			return nil, err
		}
	}
	if in.Audio.Open != nil {
		if m.audio, err = indexAudio(ctx, in.Audio); err != nil {
			return nil, err
		}
		if m.presented() == 0 {
			return nil, fmt.Errorf("%w: its %d frames are not longer than the priming of %d samples", ErrADTS, m.audio.samples(), m.priming)
		}
	}
	m.chunks = interleave(m)
	return m, nil
}

// deltas checks the video's timing. Without instants of its own it is constant, and the result is nil.
func deltas(in recorder.MuxInput, samples int) ([]uint32, error) {
	if len(in.Times) == 0 {
		length := recorder.Micros(rescale(int64(samples), 1e6, int64(in.FPS)))
		frame := recorder.Micros(1e6/int64(in.FPS) + 1)
		if off := length - in.Duration; off > frame || off < -frame {
			return nil, &DurationError{Video: length, Want: in.Duration}
		}
		return nil, nil
	}
	if len(in.Times) != samples || in.Times[0] != 0 {
		return nil, fmt.Errorf("mp4: %d instants for %d frames, or the first is not 0", len(in.Times), samples)
	}
	out := make([]uint32, samples)
	last := int64(0)
	for i := range out {
		next := in.Duration
		if i+1 < samples {
			next = in.Times[i+1]
		}
		to := rescale(int64(next), variableTimescale, 1e6)
		if to <= last {
			return nil, fmt.Errorf("mp4: frame %d is shown from %s to %s: instants must grow", i, in.Times[i], next)
		}
		out[i], last = uint32(to-last), to
	}
	return out, nil
}

func (m *movie) result(head int) recorder.MuxResult {
	r := recorder.MuxResult{Size: int64(head), VideoFrames: int64(m.video.samples()), AudioSamples: m.presented()}
	for _, c := range m.chunks {
		r.Size += int64(c.size)
	}
	if m.video != nil {
		r.Width, r.Height = m.video.width, m.video.height
	}
	return r
}

// copySamples is the second pass. Every sample must have the size that the index promises for it.
func copySamples(ctx context.Context, in recorder.MuxInput, m *movie, out io.Writer) (err error) {
	video := &segmentSamples{ctx: ctx, segments: in.Segments}
	audio := &audioSamples{ctx: ctx, stream: in.Audio}
	defer func() { err = errors.Join(err, video.close(), audio.close()) }()
	for _, c := range m.chunks {
		if ctx.Err() != nil {
			return fmt.Errorf("mp4: %w", context.Cause(ctx))
		}
		next, sizes := video.next, m.video.allSizes()
		if c.audio {
			next, sizes = audio.next, m.audio.sizes
		}
		if err := copyChunk(out, next, sizes[c.first:c.first+c.count]); err != nil {
			return err
		}
	}
	return nil
}

func copyChunk(out io.Writer, next func() ([]byte, error), sizes []uint32) error {
	for _, want := range sizes {
		sample, err := next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it is shorter", ErrChanged)
		}
		if err != nil {
			return err
		}
		if len(sample) != int(want) {
			return fmt.Errorf("%w: a sample of %d bytes has %d now", ErrChanged, want, len(sample))
		}
		if _, err := out.Write(sample); err != nil {
			return fmt.Errorf("mp4: write: %w", err)
		}
	}
	return nil
}

// segmentSamples yields the samples of all segments in turn.
type segmentSamples struct {
	ctx      context.Context
	segments []recorder.SegmentSource
	opened   io.ReadCloser
	units    *unitReader
}

func (s *segmentSamples) next() ([]byte, error) {
	for {
		if s.units == nil {
			if len(s.segments) == 0 {
				return nil, io.EOF
			}
			r, err := s.segments[0].Open()
			if err != nil {
				return nil, fmt.Errorf("mp4: open segment: %w", err)
			}
			s.opened, s.segments = r, s.segments[1:]
			s.units = newUnitReader(withContext(s.ctx, r), func(byte, []byte) error { return nil })
		}
		unit, err := s.units.next()
		if !errors.Is(err, io.EOF) {
			return unit.data, err
		}
		if err := s.close(); err != nil {
			return nil, err
		}
	}
}

func (s *segmentSamples) close() error {
	if s.opened == nil {
		return nil
	}
	r := s.opened
	s.opened, s.units = nil, nil
	return r.Close()
}

// audioSamples yields the raw AAC frames.
type audioSamples struct {
	ctx    context.Context
	stream recorder.AudioStream
	opened io.ReadCloser
	frames *adtsReader
}

func (a *audioSamples) next() ([]byte, error) {
	if a.frames == nil {
		r, err := a.stream.Open()
		if err != nil {
			return nil, fmt.Errorf("mp4: open audio: %w", err)
		}
		a.opened, a.frames = r, newADTSReader(withContext(a.ctx, r))
	}
	return a.frames.next()
}

func (a *audioSamples) close() error {
	if a.opened == nil {
		return nil
	}
	return a.opened.Close()
}
