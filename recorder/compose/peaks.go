package compose

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"github.com/dualrec/dualrec/recorder"
)

const (
	peaksPerSecond = 20
	samplesPerPeak = recorder.PeakRate / peaksPerSecond
)

// Peaks turns the peaks stream of Audio (16-bit little-endian mono PCM at recorder.PeakRate) into the waveform that a
// player draws: 20 pairs of minimum and maximum a second, 8 bits each, in the JSON format of BBC's audiowaveform,
// version 2 (github.com/bbc/audiowaveform, doc/DataFormat.md). The zero value is ready. It is not safe for concurrent use.
type Peaks struct {
	data     []int8
	low, top int16
	n        int
	odd      []byte // half a sample
}

// Write takes PCM in pieces of any length. It never fails.
func (p *Peaks) Write(pcm []byte) (int, error) {
	total := len(pcm)
	if len(p.odd) > 0 && len(pcm) > 0 {
		p.sample(int16(p.odd[0]) | int16(pcm[0])<<8)
		p.odd, pcm = p.odd[:0], pcm[1:]
	}
	for ; len(pcm) >= 2; pcm = pcm[2:] {
		p.sample(int16(pcm[0]) | int16(pcm[1])<<8)
	}
	p.odd = append(p.odd, pcm...)
	return total, nil
}

func (p *Peaks) sample(v int16) {
	if p.n == 0 {
		p.low, p.top = v, v
	}
	p.low, p.top = min(p.low, v), max(p.top, v)
	if p.n++; p.n == samplesPerPeak {
		p.data = append(p.data, int8(p.low>>8), int8(p.top>>8))
		p.n = 0
	}
}

// Len is the number of pairs, with one for a last piece that is not full.
func (p *Peaks) Len() int {
	n := len(p.data) / 2
	if p.n > 0 {
		n++
	}
	return n
}

// WriteTo writes the JSON of all that came so far. More may be written to p afterwards.
func (p *Peaks) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	out := bufio.NewWriter(counted)
	fmt.Fprintf(out, `{"version":2,"channels":1,"sample_rate":%d,"samples_per_pixel":%d,"bits":8,"length":%d,"data":[`, recorder.PeakRate, samplesPerPeak, p.Len())
	data := p.data
	if p.n > 0 {
		data = append(data[:len(data):len(data)], int8(p.low>>8), int8(p.top>>8))
	}
	var buf []byte
	for i, v := range data {
		buf = buf[:0]
		if i > 0 {
			buf = append(buf, ',')
		}
		out.Write(strconv.AppendInt(buf, int64(v), 10))
	}
	out.WriteString("]}")
	err := out.Flush()
	return counted.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

// Write counts what w took.
func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
