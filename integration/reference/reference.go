// Package reference knows what a captured call shows, without the recorder: it takes the pictures out of the
// RTP packets of a capture by a few lines of its own and lets FFmpeg decode them, so that a recording can be
// compared with its source. It assumes a capture in which nothing is lost or reordered, and says so if that is wrong.
package reference

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/pion/rtp"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// Picture is one encoded picture of a track.
type Picture struct {
	At            time.Duration // on the call's clock: the quickest packets are on time
	Key           bool
	Width, Height int    // of keyframes
	data          []byte // VP8 frame, or Annex B access unit
}

// Source is the pictures of one track, in order.
type Source struct {
	Pictures []Picture
	codec    string // "vp8" or "h264"
}

// ErrCapture: the capture is not one that this package can read.
var ErrCapture = errors.New("reference: capture")

// Of takes the pictures out of a video track.
func Of(t player.Track) (*Source, error) {
	s := &Source{codec: "vp8"}
	if bytes.Contains(bytes.ToLower(t.RTPParameters), []byte("video/h264")) {
		s.codec = "h264"
	}
	clock, err := clockOf(t)
	if err != nil {
		return nil, err
	}
	var last uint32
	for i, p := range clock.packets {
		if i > 0 && p.SequenceNumber != clock.packets[i-1].SequenceNumber+1 {
			return nil, fmt.Errorf("%w: packet %d does not follow its predecessor", ErrCapture, i)
		}
		if i == 0 || p.Timestamp != last {
			s.Pictures = append(s.Pictures, Picture{At: clock.at(p.Timestamp)})
			last = p.Timestamp
		}
		if err := s.Pictures[len(s.Pictures)-1].add(s.codec, p.Payload); err != nil {
			return nil, fmt.Errorf("%w: packet %d: %v", ErrCapture, i, err)
		}
	}
	for i := range s.Pictures {
		s.Pictures[i].describe(s.codec)
	}
	if len(s.Pictures) == 0 || !s.Pictures[0].Key {
		return nil, fmt.Errorf("%w: it does not begin with a keyframe", ErrCapture)
	}
	return s, nil
}

// clock places a track's RTP timestamps on the call's clock.
type clock struct {
	packets []rtp.Packet
	rate    int
	first   uint32
	start   time.Duration // of the first timestamp
}

func clockOf(t player.Track) (*clock, error) {
	c := &clock{rate: t.ClockRate}
	quickest := time.Duration(1 << 62)
	for _, p := range t.Packets {
		if p.RTCP {
			continue
		}
		var r rtp.Packet
		if err := r.Unmarshal(p.Data); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrCapture, err)
		}
		if len(c.packets) == 0 {
			c.first = r.Timestamp
		}
		quickest = min(quickest, p.At-c.since(r.Timestamp))
		c.packets = append(c.packets, r)
	}
	if len(c.packets) == 0 {
		return nil, fmt.Errorf("%w: no packets", ErrCapture)
	}
	c.start = quickest
	return c, nil
}

func (c *clock) since(ts uint32) time.Duration {
	return time.Duration(int32(ts-c.first)) * time.Second / time.Duration(c.rate)
}

func (c *clock) at(ts uint32) time.Duration { return c.start + c.since(ts) }

// Start is when the first picture or sound of a call was there, which is where a recording of it begins.
func Start(call *player.Call) (time.Duration, error) {
	start := time.Duration(1 << 62)
	for _, t := range call.Tracks {
		c, err := clockOf(t)
		if err != nil {
			return 0, err
		}
		start = min(start, c.start)
	}
	return start, nil
}

func (p *Picture) add(codec string, payload []byte) error {
	if codec == "vp8" {
		return p.addVP8(payload)
	}
	return p.addH264(payload)
}

// addVP8 strips the payload descriptor (RFC 7741 §4.2).
func (p *Picture) addVP8(b []byte) error {
	if len(b) == 0 {
		return nil // padding only
	}
	n := 1
	if b[0]&0x80 != 0 { // X
		if len(b) < 2 {
			return io.ErrUnexpectedEOF
		}
		x := b[1]
		n = 2
		if x&0x80 != 0 { // I
			if len(b) <= n {
				return io.ErrUnexpectedEOF
			}
			if b[n]&0x80 != 0 { // M: 15 bits
				n++
			}
			n++
		}
		if x&0x40 != 0 { // L
			n++
		}
		if x&0x30 != 0 { // T or K
			n++
		}
	}
	if len(b) < n {
		return io.ErrUnexpectedEOF
	}
	p.data = append(p.data, b[n:]...)
	return nil
}

// addH264 undoes single NAL units, STAP-A and FU-A (RFC 6184 §5).
func (p *Picture) addH264(b []byte) error {
	if len(b) < 2 {
		return io.ErrUnexpectedEOF
	}
	switch kind := b[0] & 0x1f; kind {
	case 24:
		for b = b[1:]; len(b) > 2; {
			n := int(binary.BigEndian.Uint16(b))
			if n > len(b)-2 {
				return io.ErrUnexpectedEOF
			}
			p.nal(b[2 : 2+n])
			b = b[2+n:]
		}
	case 28:
		if b[1]&0x80 != 0 {
			p.nal([]byte{b[0]&0xe0 | b[1]&0x1f})
		}
		p.data = append(p.data, b[2:]...)
	default:
		if kind == 0 || kind > 23 {
			return fmt.Errorf("NAL unit type %d", kind)
		}
		p.nal(b)
	}
	return nil
}

func (p *Picture) nal(b []byte) { p.data = append(append(p.data, 0, 0, 0, 1), b...) }

// describe fills in what the frame itself says. The size of an H.264 picture is left to the decoder.
func (p *Picture) describe(codec string) {
	if codec == "h264" {
		p.Key = bytes.Contains(p.data, []byte{0, 0, 0, 1, 0x67}) || bytes.Contains(p.data, []byte{0, 0, 0, 1, 0x27})
		return
	}
	if p.Key = len(p.data) >= 10 && p.data[0]&1 == 0; p.Key { // RFC 6386 §9.1
		p.Width = int(binary.LittleEndian.Uint16(p.data[6:])) & 0x3fff
		p.Height = int(binary.LittleEndian.Uint16(p.data[8:])) & 0x3fff
	}
}

// ShownAt is the index of the picture that is seen at an instant of the call's clock.
func (s *Source) ShownAt(at time.Duration) int {
	i := 0
	for i+1 < len(s.Pictures) && s.Pictures[i+1].At <= at {
		i++
	}
	return i
}

// Decode returns the pictures from index first to last as grey images of w×h, one byte per pixel.
func (s *Source) Decode(ctx context.Context, first, last, w, h int) ([][]byte, error) {
	first, last = max(first, 0), min(last, len(s.Pictures)-1)
	from := first
	for !s.Pictures[from].Key {
		from--
	}
	format := s.codec
	stream := s.annexB(from, last)
	if format == "vp8" {
		format, stream = "ivf", s.ivf(from, last)
	}
	cmd := exec.CommandContext(ctx, "nice", "-n", "10", "ffmpeg", "-nostdin", "-v", "error", "-f", format, "-i", "-",
		"-vf", fmt.Sprintf("scale=%d:%d:flags=bicubic,format=gray", w, h), "-fps_mode", "passthrough", "-f", "rawvideo", "-")
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stream), &tailWriter{buf: &out, keep: (last - first + 1) * w * h}, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("decode the source: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	var pictures [][]byte
	for b := out.Bytes(); len(b) >= w*h; b = b[w*h:] {
		pictures = append(pictures, b[:w*h])
	}
	if len(pictures) != last-first+1 {
		return nil, fmt.Errorf("decode the source: %d pictures of %d came out: %s", len(pictures), last-first+1, strings.TrimSpace(stderr.String()))
	}
	return pictures, nil
}

// tailWriter keeps the last bytes of a stream.
type tailWriter struct {
	buf  *bytes.Buffer
	keep int
}

func (t *tailWriter) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - t.keep; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (s *Source) annexB(first, last int) []byte {
	var out []byte
	for _, p := range s.Pictures[first : last+1] {
		out = append(out, p.data...)
	}
	return out
}

// ivf wraps VP8 frames in the container that FFmpeg reads them from.
func (s *Source) ivf(first, last int) []byte {
	key := s.Pictures[first]
	out := append([]byte("DKIF\x00\x00\x20\x00VP80"), make([]byte, 20)...)
	binary.LittleEndian.PutUint16(out[12:], uint16(key.Width))
	binary.LittleEndian.PutUint16(out[14:], uint16(key.Height))
	binary.LittleEndian.PutUint32(out[16:], 30)
	binary.LittleEndian.PutUint32(out[20:], 1)
	binary.LittleEndian.PutUint32(out[24:], uint32(last-first+1))
	for i, p := range s.Pictures[first : last+1] {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(p.data)))
		out = binary.LittleEndian.AppendUint64(out, uint64(i))
		out = append(out, p.data...)
	}
	return out
}
