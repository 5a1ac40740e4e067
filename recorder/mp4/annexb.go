package mp4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits on one stream. They are far above what an encoder makes and keep a damaged input from using the memory up.
const (
	maxNALBytes       = 32 << 20
	maxParameterBytes = 4 << 10
)

// NAL unit types (ITU-T H.264, table 7-1).
const (
	nalSlice     = 1
	nalPartA     = 2
	nalPartC     = 4
	nalIDR       = 5
	nalSEI       = 6
	nalSPS       = 7
	nalPPS       = 8
	nalAUD       = 9
	nalEndSeq    = 10
	nalEndStream = 11
	nalFiller    = 12
)

// seiUserDataUnregistered is the SEI payload type in which encoders advertise themselves (H.264 D.1).
const seiUserDataUnregistered = 5

var startCode = []byte{0, 0, 1}

// nalReader splits an Annex B byte stream (H.264 annex B) into NAL units.
type nalReader struct {
	r     io.Reader
	buf   []byte
	start int // first byte of the current unit
	scan  int // up to here no start code was found
	end   int // end of valid bytes
	began bool
	eof   bool
}

func newNALReader(r io.Reader) *nalReader { return &nalReader{r: r, buf: make([]byte, 64<<10)} }

// next returns the next non-empty unit without start code and trailing zeros; it is valid until the next call.
// io.EOF ends the stream.
func (n *nalReader) next() ([]byte, error) {
	if !n.began {
		if err := n.begin(); err != nil {
			return nil, err
		}
	}
	for {
		unit, err := n.unit()
		if err != nil {
			return nil, err
		}
		// A unit never ends in a zero byte: what stands there is trailing_zero_8bits or the next start code's first.
		if unit = bytes.TrimRight(unit, "\x00"); len(unit) > 0 {
			return unit, nil
		}
	}
}

// begin finds the first start code, before which only zeros may stand.
func (n *nalReader) begin() error {
	for {
		if i := bytes.IndexByte(n.buf[n.start:n.end], 1); i >= 0 {
			head := n.buf[n.start : n.start+i]
			if len(head) < 2 || len(bytes.Trim(head, "\x00")) > 0 {
				return fmt.Errorf("%w: it does not begin with a start code", ErrAnnexB)
			}
			n.start += i + 1
			n.scan, n.began = n.start, true
			return nil
		}
		if n.eof {
			if n.end == n.start {
				return io.EOF
			}
			return fmt.Errorf("%w: there is no start code in it", ErrAnnexB)
		}
		if n.end-n.start > maxParameterBytes {
			return fmt.Errorf("%w: it does not begin with a start code", ErrAnnexB)
		}
		if err := n.fill(); err != nil {
			return err
		}
	}
}

func (n *nalReader) unit() ([]byte, error) {
	for {
		if i := bytes.Index(n.buf[n.scan:n.end], startCode); i >= 0 {
			unit := n.buf[n.start : n.scan+i]
			n.start = n.scan + i + len(startCode)
			n.scan = n.start
			return unit, nil
		}
		// The last two bytes may be the beginning of a start code.
		n.scan = max(n.start, n.end-2)
		if n.eof {
			if n.start == n.end {
				return nil, io.EOF
			}
			unit := n.buf[n.start:n.end]
			n.start, n.scan = n.end, n.end
			return unit, nil
		}
		if err := n.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more behind the bytes that are still needed.
func (n *nalReader) fill() error {
	if n.start > 0 && n.end == len(n.buf) {
		copy(n.buf, n.buf[n.start:n.end])
		n.scan, n.end, n.start = n.scan-n.start, n.end-n.start, 0
	}
	if n.end == len(n.buf) {
		if len(n.buf) >= maxNALBytes {
			return fmt.Errorf("%w: one NAL unit has more than %d bytes", ErrAnnexB, maxNALBytes)
		}
		n.buf = append(n.buf, make([]byte, len(n.buf))...)
	}
	got, err := n.r.Read(n.buf[n.end:])
	n.end += got
	if errors.Is(err, io.EOF) {
		n.eof = true
		return nil
	}
	return err
}

// accessUnit is one coded picture as an MP4 sample: NAL units behind 4-byte lengths.
type accessUnit struct {
	data []byte
	key  bool
}

// unitReader joins NAL units to samples and sets parameter sets aside.
type unitReader struct {
	nals *nalReader
	held []byte // belongs to the next unit; valid until the next nals.next
	data []byte
	// parameters gets every SPS and PPS; its error ends the reading.
	parameters func(nalType byte, unit []byte) error
}

func newUnitReader(r io.Reader, parameters func(byte, []byte) error) *unitReader {
	return &unitReader{nals: newNALReader(r), parameters: parameters}
}

// next returns the next picture, valid until the next call; io.EOF ends the stream. A picture begins with the slice
// whose first macroblock is 0, or with what may only stand before one (H.264 7.4.1.2.3).
func (u *unitReader) next() (accessUnit, error) {
	u.data = u.data[:0]
	var hasSlice, key bool
	for {
		nal := u.held
		u.held = nil
		if nal == nil {
			var err error
			if nal, err = u.nals.next(); errors.Is(err, io.EOF) && hasSlice {
				return accessUnit{data: u.data, key: key}, nil
			} else if err != nil {
				return accessUnit{}, err
			}
		}
		kind := nal[0] & 31
		if hasSlice && beginsUnit(kind, nal) {
			u.held = nal
			return accessUnit{data: u.data, key: key}, nil
		}
		switch {
		case kind >= nalPartA && kind <= nalPartC:
			return accessUnit{}, fmt.Errorf("%w: data partitioning (extended profile) is not supported", ErrAnnexB)
		case kind == nalSPS || kind == nalPPS:
			if len(nal) < 4 || len(nal) > maxParameterBytes {
				return accessUnit{}, fmt.Errorf("%w: a parameter set of %d bytes", ErrAnnexB, len(nal))
			}
			if err := u.parameters(kind, nal); err != nil {
				return accessUnit{}, err
			}
			continue
		case !keptInSample(kind, nal):
			continue
		}
		if isSlice(kind) {
			hasSlice = true
			key = key || kind == nalIDR
		}
		u.data = append(binary.BigEndian.AppendUint32(u.data, uint32(len(nal))), nal...)
		if len(u.data) > maxNALBytes {
			return accessUnit{}, fmt.Errorf("%w: one picture has more than %d bytes", ErrAnnexB, maxNALBytes)
		}
	}
}

func isSlice(kind byte) bool { return kind == nalSlice || kind == nalIDR }

// beginsUnit tells whether a unit that follows a slice belongs to the next picture.
func beginsUnit(kind byte, nal []byte) bool {
	switch {
	case isSlice(kind):
		// first_mb_in_slice is 0 exactly if the first bit of the slice header is set.
		return len(nal) > 1 && nal[1]&0x80 != 0
	case kind == nalSEI, kind == nalSPS, kind == nalPPS, kind == nalAUD, kind >= 14 && kind <= 18:
		return true
	}
	return false
}

// keptInSample drops what an avc1 sample must not or need not hold (ISO/IEC 14496-15 5.4.2): delimiters, filler, ends
// of sequence, and the message in which an encoder names its version and options.
func keptInSample(kind byte, nal []byte) bool {
	switch kind {
	case nalAUD, nalEndSeq, nalEndStream, nalFiller:
		return false
	case nalSEI:
		return len(nal) > 1 && nal[1] != seiUserDataUnregistered
	}
	return true
}

// parameterID reads the id of an SPS or PPS: an ue(v) (H.264 9.1) after the three bytes of profile and level, or at once.
func parameterID(kind byte, nal []byte) (uint, bool) {
	at := 1
	if kind == nalSPS {
		at = 4
	}
	zeros := 0
	for bit := at * 8; bit < len(nal)*8; bit++ {
		if nal[bit/8]&(0x80>>(bit%8)) == 0 {
			if zeros++; zeros > 8 {
				return 0, false
			}
			continue
		}
		value := uint(1)
		for range zeros {
			if bit++; bit >= len(nal)*8 {
				return 0, false
			}
			value <<= 1
			if nal[bit/8]&(0x80>>(bit%8)) != 0 {
				value |= 1
			}
		}
		return value - 1, true
	}
	return 0, false
}
