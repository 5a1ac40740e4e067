package mp4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/dualrec/dualrec/recorder"
)

// ErrMovie: the bytes are not an MP4 of the kind that Mux writes.
var ErrMovie = errors.New("mp4: not a movie of this package")

const (
	maxMoovBytes  = 512 << 20
	maxFrameBytes = 64 << 20
	maxReadFrames = 100_000
)

// Movie is a written file, read back. It implements recorder.Movie.
type Movie struct {
	r     io.ReaderAt
	facts recorder.MovieFacts
	video *mp4.TrakBox // nil: none
}

// Inspect implements recorder.Muxer. It reads the index alone. Errors wrap ErrMovie, or are those of r.
func (Muxer) Inspect(r io.ReaderAt, size int64) (recorder.Movie, error) {
	moov, faststart, err := findMoov(r, size)
	if err != nil {
		return nil, err
	}
	m := &Movie{r: r, facts: recorder.MovieFacts{Faststart: faststart}}
	for _, t := range moov.Traks {
		if t.Mdia == nil || t.Mdia.Hdlr == nil || t.Mdia.Minf == nil || t.Mdia.Minf.Stbl == nil || t.Mdia.Minf.Stbl.Stsz == nil || t.Tkhd == nil {
			return nil, fmt.Errorf("%w: a track without a sample table", ErrMovie)
		}
		// The track header's duration is what is presented: edit lists are applied.
		presented := recorder.Micros(rescale(int64(t.Tkhd.Duration), 1e6, int64(moov.Mvhd.Timescale)))
		switch t.Mdia.Hdlr.HandlerType {
		case "vide":
			m.video = t
			m.facts.VideoFrames, m.facts.VideoDuration = int64(t.Mdia.Minf.Stbl.Stsz.SampleNumber), presented
			m.facts.Width, m.facts.Height = int(t.Tkhd.Width>>16), int(t.Tkhd.Height>>16)
		case "soun":
			m.facts.AudioDuration = presented
		}
	}
	return m, nil
}

// findMoov walks the top-level boxes and decodes moov.
func findMoov(r io.ReaderAt, size int64) (moov *mp4.MoovBox, faststart bool, err error) {
	mdatSeen := false
	for off := int64(0); off < size; {
		var head [16]byte
		if n, err := r.ReadAt(head[:min(16, size-off)], off); n < 8 {
			return nil, false, fmt.Errorf("%w: box header at %d: %w", ErrMovie, off, errors.Join(err, io.ErrUnexpectedEOF))
		}
		length := int64(binary.BigEndian.Uint32(head[:4]))
		if length == 1 {
			length = int64(binary.BigEndian.Uint64(head[8:]))
		}
		if length < 8 || length > size-off {
			return nil, false, fmt.Errorf("%w: box %q at %d claims %d bytes of the %d that are left", ErrMovie, head[4:8], off, length, size-off)
		}
		switch string(head[4:8]) {
		case "mdat":
			mdatSeen = true
		case "moov":
			if moov != nil || length > maxMoovBytes {
				return nil, false, fmt.Errorf("%w: a second moov, or one of %d bytes", ErrMovie, length)
			}
			box, err := mp4.DecodeBox(uint64(off), io.NewSectionReader(r, off, length))
			if err != nil {
				return nil, false, fmt.Errorf("%w: moov: %w", ErrMovie, err)
			}
			moov, faststart = box.(*mp4.MoovBox), !mdatSeen
		}
		off += length
	}
	if moov == nil || moov.Mvhd == nil || moov.Mvhd.Timescale == 0 || !mdatSeen {
		return nil, false, fmt.Errorf("%w: moov, mvhd or mdat is missing", ErrMovie)
	}
	return moov, faststart, nil
}

// Facts implements recorder.Movie.
func (m *Movie) Facts() recorder.MovieFacts { return m.facts }

// LastKeyframe implements recorder.Movie.
func (m *Movie) LastKeyframe() int64 {
	if m.video == nil {
		return 0
	}
	stss := m.video.Mdia.Minf.Stbl.Stss
	if stss == nil || len(stss.SampleNumber) == 0 {
		return max(0, m.facts.VideoFrames-1) // no table: every sample is one (ISO/IEC 14496-12 §8.6.2)
	}
	return int64(stss.SampleNumber[len(stss.SampleNumber)-1]) - 1
}

// Frames implements recorder.Movie.
func (m *Movie) Frames(from, n int64) (io.Reader, error) {
	if m.video == nil || from < 0 || from >= m.facts.VideoFrames || n <= 0 || n > maxReadFrames {
		return nil, fmt.Errorf("%w: no frames [%d, %d) among %d", ErrMovie, from, from+n, m.facts.VideoFrames)
	}
	n = min(n, m.facts.VideoFrames-from)
	stbl := m.video.Mdia.Minf.Stbl
	if stbl.Stsd == nil || stbl.Stsd.AvcX == nil || stbl.Stsd.AvcX.AvcC == nil {
		return nil, fmt.Errorf("%w: the video is not H.264", ErrMovie)
	}
	ranges, err := m.video.GetRangesForSampleInterval(uint32(from+1), uint32(from+n))
	if err != nil {
		return nil, fmt.Errorf("%w: places of the frames: %w", ErrMovie, err)
	}
	var head bytes.Buffer
	for _, set := range [][][]byte{stbl.Stsd.AvcX.AvcC.SPSnalus, stbl.Stsd.AvcX.AvcC.PPSnalus} {
		for _, nal := range set {
			head.Write(startCode)
			head.Write(nal)
		}
	}
	readers := []io.Reader{&head}
	for _, g := range ranges {
		readers = append(readers, &annexBReader{r: io.NewSectionReader(m.r, int64(g.Offset), int64(g.Size))})
	}
	return io.MultiReader(readers...), nil
}

// annexBReader turns length-prefixed NAL units into Annex B, one unit at a time.
type annexBReader struct {
	r   io.Reader
	buf bytes.Buffer
}

// Read implements io.Reader.
func (a *annexBReader) Read(p []byte) (int, error) {
	if a.buf.Len() == 0 {
		if err := a.next(); err != nil {
			return 0, err
		}
	}
	return a.buf.Read(p)
}

func (a *annexBReader) next() error {
	var length [4]byte
	if _, err := io.ReadFull(a.r, length[:]); err != nil {
		return err // io.EOF between units is the end
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > maxFrameBytes {
		return fmt.Errorf("%w: a NAL unit of %d bytes", ErrMovie, n)
	}
	a.buf.Reset()
	a.buf.Write(startCode)
	if _, err := io.CopyN(&a.buf, a.r, int64(n)); err != nil {
		return fmt.Errorf("%w: NAL unit of %d bytes: %w", ErrMovie, n, io.ErrUnexpectedEOF)
	}
	return nil
}
