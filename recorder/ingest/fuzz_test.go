package ingest

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// strict is a sink that holds every packet to what was announced, by its own reading of the bytes.
type strict struct {
	t     *testing.T
	calls int
}

func (s *strict) Overflow(time.Time, uint64) {}

func (s *strict) Packet(_ time.Time, kind recorder.PacketKind, data []byte) {
	s.calls++
	switch kind {
	case recorder.PacketRTP:
		if len(data) < 12 || data[0]>>6 != 2 {
			s.t.Fatalf("not RTP: %x", data)
		}
		ssrc, pt := binary.BigEndian.Uint32(data[8:]), data[1]&0x7f
		if ssrc != testSSRC || pt != 101 {
			s.t.Fatalf("SSRC %x, payload type %d", ssrc, pt)
		}
	case recorder.PacketRTCP:
		for rest := data; len(rest) > 0; {
			n := 4 + 4*int(binary.BigEndian.Uint16(rest[2:]))
			if rest[1] == 200 && binary.BigEndian.Uint32(rest[4:]) == testSSRC {
				return
			}
			rest = rest[n:]
		}
		s.t.Fatalf("no sender report of ours: %x", data)
	default:
		s.t.Fatalf("kind %d", kind)
	}
}

// FuzzDatagrams: whatever arrives, a track does not panic, hands on nothing but what was announced, and counts
// each datagram once.
func FuzzDatagrams(f *testing.F) {
	f.Add(byte(0), packet(f, testSSRC, 101, 1, 1, vp8Key), packet(f, testRTX, 102, 1, 1, vp8Key))
	f.Add(byte(1), packet(f, 1234, 127, 1, 1, nil), report(f, testSSRC, 7))
	f.Add(byte(2), []byte{0xbf, 0xe5, 0, 1}, []byte{0x81, 200, 0, 0})
	f.Add(byte(3), []byte{0x90, 101, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 0xbe, 0xde, 0, 1, 0xb0, 1, 0, 0, 0x10, 0}, []byte{0x80, 200, 0, 6})
	codecs := []recorder.Codec{recorder.VP8, recorder.VP9, recorder.H264, recorder.Opus}
	f.Fuzz(func(t *testing.T, codec byte, first, second []byte) {
		params := vp8Params()
		params.Codec = codecs[int(codec)%len(codecs)]
		sink := &strict{t: t}
		tr, err := newTrack(recorder.Attachment{Params: params, Source: recorder.Source{}, Sink: sink}, codec&4 != 0, anyIPv4, plainRTP, &counters{})
		if err != nil {
			t.Fatal(err)
		}
		sent := uint64(0)
		for i, d := range [][]byte{first, second, second, first} {
			tr.onRTP(sfuRTP, d, ms(i*500))
			tr.onRTCP(sfuRTCP, d, ms(i*500))
			tr.tick(ms(i * 500))
			sent += 2
		}
		c := tr.count
		if got := c.Packets + c.rtx - c.restored + c.RTCPPackets + c.DroppedForeign + c.DroppedMalformed; got != sent {
			t.Fatalf("%d datagrams, %d counted", sent, got)
		}
		if accepted := c.Packets + c.RTCPPackets; int(accepted) != sink.calls {
			t.Fatalf("%d accepted, %d delivered", accepted, sink.calls)
		}
	})
}
