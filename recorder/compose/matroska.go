package compose

import (
	"bytes"
	"fmt"
	"io"
	"math"

	"github.com/at-wat/ebml-go"
	"github.com/at-wat/ebml-go/webm"
)

// Ticks of the timestamps in a pipe, in nanoseconds.
const (
	videoTickNS = 500_000 // half milliseconds: see stamper
	audioTickNS = 100_000 // fine enough that rounding never looks like drift
)

// Track types (RFC 9559 5.1.4.1.3).
const (
	matroskaVideo = 1
	matroskaAudio = 2
)

// matroskaWriter streams one track as Matroska (RFC 9559) with clusters of unknown size, as a live stream is written.
//
// It uses ebml-go's encoder but not its block writer: that one hands blocks to a goroutine which ends at the first
// error, after which the next Write blocks for ever. Here a pipe whose reader is gone is the normal end of a child.
type matroskaWriter struct {
	w       io.Writer
	buf     bytes.Buffer
	began   bool
	cluster int64 // tick of the current cluster
	last    int64
}

type matroskaHeader struct {
	Header  webm.EBMLHeader `ebml:"EBML"`
	Segment struct {
		Info   webm.Info   `ebml:"Info"`
		Tracks webm.Tracks `ebml:"Tracks"`
	} `ebml:"Segment,size=unknown"`
}

type matroskaCluster struct {
	Cluster struct {
		Timecode uint64 `ebml:"Timecode"`
	} `ebml:"Cluster,size=unknown"`
}

type matroskaBlock struct {
	Block ebml.Block `ebml:"SimpleBlock"`
}

// newMatroskaWriter writes the header at once, so that FFmpeg can open the input before the first frame is there.
func newMatroskaWriter(w io.Writer, tickNS uint64, track webm.TrackEntry) (*matroskaWriter, error) {
	m := &matroskaWriter{w: w}
	head := matroskaHeader{Header: *webm.DefaultEBMLHeader}
	head.Header.DocType = "matroska"
	head.Segment.Info = webm.Info{TimecodeScale: tickNS, MuxingApp: "dualrec", WritingApp: "dualrec"}
	track.TrackNumber, track.TrackUID = 1, 1
	head.Segment.Tracks.TrackEntry = []webm.TrackEntry{track}
	if err := ebml.Marshal(&head, &m.buf); err != nil {
		return nil, fmt.Errorf("compose: matroska header: %w", err)
	}
	return m, m.flush()
}

// write adds one frame. Ticks must not decrease.
func (m *matroskaWriter) write(tick int64, key bool, data []byte) error {
	if tick < m.last {
		return fmt.Errorf("%w: time goes back from tick %d to %d", ErrSource, m.last, tick)
	}
	m.last = tick
	if !m.began || tick-m.cluster > math.MaxInt16 {
		m.began, m.cluster = true, tick
		var c matroskaCluster
		c.Cluster.Timecode = uint64(tick)
		if err := ebml.Marshal(&c, &m.buf); err != nil {
			return fmt.Errorf("compose: matroska cluster: %w", err)
		}
	}
	b := matroskaBlock{Block: ebml.Block{TrackNumber: 1, Timecode: int16(tick - m.cluster), Keyframe: key, Data: [][]byte{data}}}
	if err := ebml.Marshal(&b, &m.buf); err != nil {
		return fmt.Errorf("compose: matroska block: %w", err)
	}
	return m.flush()
}

func (m *matroskaWriter) flush() error {
	_, err := m.w.Write(m.buf.Bytes())
	m.buf.Reset()
	return err
}
