package mp4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/Eyevinn/mp4ff/avc"

	"github.com/dualrec/dualrec/recorder"
)

// videoIndex is what the first pass learns of the video.
type videoIndex struct {
	sizes         []uint32
	keys          []uint32 // sample numbers from 1
	total         uint64
	sps, pps      [][]byte
	width, height int
}

// audioIndex is what the first pass learns of the audio.
type audioIndex struct {
	sizes  []uint32
	total  uint64
	config adtsConfig
}

// parameterSets keeps the parameter sets of the first segment and compares those of all others with them.
type parameterSets struct {
	segment int
	seen    [2]bool // SPS, PPS within this segment
	byID    [2]map[uint][]byte
}

func newParameterSets() *parameterSets {
	return &parameterSets{byID: [2]map[uint][]byte{{}, {}}}
}

func (p *parameterSets) add(kind byte, nal []byte) error {
	which, name := 0, "SPS"
	if kind == nalPPS {
		which, name = 1, "PPS"
	}
	id, ok := parameterID(kind, nal)
	if !ok {
		return fmt.Errorf("%w: %s without an id", ErrAnnexB, name)
	}
	p.seen[which] = true
	known, ok := p.byID[which][id]
	switch {
	case ok && bytes.Equal(known, nal):
		return nil
	case ok, p.segment > 0:
		return &ParameterSetError{Segment: p.segment, Set: name, ID: id}
	}
	p.byID[which][id] = bytes.Clone(nal)
	return nil
}

func (p *parameterSets) sorted(which int) [][]byte {
	ids := make([]uint, 0, len(p.byID[which]))
	for id := range p.byID[which] {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	sets := make([][]byte, len(ids))
	for i, id := range ids {
		sets[i] = p.byID[which][id]
	}
	return sets
}

// indexVideo reads all segments once.
func indexVideo(ctx context.Context, segments []recorder.SegmentSource, canvas recorder.Size) (*videoIndex, error) {
	index, sets := &videoIndex{}, newParameterSets()
	for i, segment := range segments {
		sets.segment, sets.seen = i, [2]bool{}
		if err := indexSegment(ctx, i, segment, index, sets); err != nil {
			return nil, err
		}
		if !sets.seen[0] || !sets.seen[1] {
			return nil, &SegmentError{Segment: i, Reason: "it has no SPS and PPS of its own"}
		}
	}
	index.sps, index.pps = sets.sorted(0), sets.sorted(1)
	for _, sps := range index.sps {
		if !plausibleSPS(sps) {
			return nil, fmt.Errorf("%w: the SPS is cut or out of its limits", ErrAnnexB)
		}
	}
	sps, err := avc.ParseSPSNALUnit(index.sps[0], false)
	if err != nil {
		return nil, fmt.Errorf("%w: SPS: %w", ErrAnnexB, err)
	}
	index.width, index.height = int(sps.Width), int(sps.Height)
	if index.width <= 0 || index.height <= 0 || index.width > math.MaxUint16 || index.height > math.MaxUint16 {
		return nil, fmt.Errorf("%w: SPS of a picture of %dx%d", ErrAnnexB, index.width, index.height)
	}
	if got := (recorder.Size{W: index.width, H: index.height}); !canvas.Zero() && got != canvas {
		return nil, &SegmentError{Reason: fmt.Sprintf("its pictures are %s, the canvas is %s", got, canvas)}
	}
	return index, nil
}

func indexSegment(ctx context.Context, i int, segment recorder.SegmentSource, index *videoIndex, sets *parameterSets) (err error) {
	r, err := segment.Open()
	if err != nil {
		return fmt.Errorf("mp4: open segment %d: %w", i, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	units := newUnitReader(withContext(ctx, r), sets.add)
	frames := int64(0)
	for {
		unit, err := units.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("mp4: index segment %d: %w", i, err)
		}
		if frames == 0 && !unit.key {
			return &SegmentError{Segment: i, Reason: "it does not begin with a keyframe (IDR)"}
		}
		if frames++; len(index.sizes) >= math.MaxUint32-1 {
			return fmt.Errorf("mp4: more than %d frames", len(index.sizes))
		}
		index.sizes = append(index.sizes, uint32(len(unit.data)))
		index.total += uint64(len(unit.data))
		if unit.key {
			index.keys = append(index.keys, uint32(len(index.sizes)))
		}
	}
	if frames != segment.Frames {
		return &FrameCountError{Segment: i, FrameCountError: recorder.FrameCountError{Want: segment.Frames, Got: frames}}
	}
	return nil
}

// indexAudio reads the audio once.
func indexAudio(ctx context.Context, stream recorder.AudioStream) (index *audioIndex, err error) {
	r, err := stream.Open()
	if err != nil {
		return nil, fmt.Errorf("mp4: open audio: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	index = &audioIndex{}
	frames := newADTSReader(withContext(ctx, r))
	for {
		frame, err := frames.next()
		if errors.Is(err, io.EOF) {
			index.config = frames.config
			return index, nil
		}
		if err != nil {
			return nil, fmt.Errorf("mp4: index audio: %w", err)
		}
		index.sizes = append(index.sizes, uint32(len(frame)))
		index.total += uint64(len(frame))
	}
}

// contextReader ends a long pass when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func withContext(ctx context.Context, r io.Reader) io.Reader { return &contextReader{ctx: ctx, r: r} }

// Read fails with the context's cause once it is done.
func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
