package player

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrDump marks bytes that are no rtpdump file.
var ErrDump = errors.New("not an rtpdump file")

const (
	dumpMagic  = "#!rtpplay1.0 "
	dumpHeader = 16
	dumpRecord = 8
)

// ParseDump reads the rtpdump format of rtptools: a text line, a 16-byte header, then records of an 8-byte header
// (length with itself, length of the packet or 0 for RTCP, offset in ms) and the datagram. The packets alias raw.
func ParseDump(raw []byte) ([]Packet, error) {
	line, rest, ok := bytes.Cut(raw, []byte("\n"))
	if !ok || !bytes.HasPrefix(line, []byte(dumpMagic)) || len(rest) < dumpHeader {
		return nil, fmt.Errorf("%w: no %q line and header", ErrDump, dumpMagic)
	}
	var out []Packet
	for rest = rest[dumpHeader:]; len(rest) > 0; {
		if len(rest) < dumpRecord {
			return nil, fmt.Errorf("%w: %d bytes after packet %d", ErrDump, len(rest), len(out))
		}
		n, plen := int(binary.BigEndian.Uint16(rest)), int(binary.BigEndian.Uint16(rest[2:]))
		if n < dumpRecord || n > len(rest) || plen != 0 && plen != n-dumpRecord {
			return nil, fmt.Errorf("%w: packet %d is cut off", ErrDump, len(out))
		}
		at := time.Duration(binary.BigEndian.Uint32(rest[4:])) * time.Millisecond
		out = append(out, Packet{At: at, RTCP: plen == 0, Data: rest[dumpRecord:n:n]})
		rest = rest[n:]
	}
	return out, nil
}
