package ingest

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtp"
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

// FuzzRetransmission: whatever stands in a retransmission, what is restored is the packet that pion reads out of it, with
// the announced SSRC and payload type, its header extensions byte for byte, and only if that number was missing.
func FuzzRetransmission(f *testing.F) {
	f.Add(asRTX(f, withExtensions(f, 11, vp8Delta), 9, 0))
	f.Add(asRTX(f, packet(f, testSSRC, 101, 11, 3000, vp8Key), 9, 40))
	f.Add([]byte{0xbf, 102, 0, 1, 0, 0, 0, 1, 1, 2, 3, 5, 0, 11, 0, 0})
	f.Add([]byte{0xb2, 0xe6, 0, 1, 0, 0, 0, 1, 1, 2, 3, 5, 9, 9, 9, 9, 8, 8, 8, 8, 0x10, 0, 0, 1, 0x20, 2, 1, 1, 0, 11, 7, 0, 0, 3})
	f.Fuzz(func(t *testing.T, rtx []byte) {
		sink := &memory{}
		tr, err := newTrack(recorder.Attachment{Params: vp8Params(), Source: announced, Sink: sink}, false, anyIPv4, plainRTP, &counters{})
		if err != nil {
			t.Fatal(err)
		}
		tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 10, 1, vp8Key), ms(0))
		tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 14, 1, vp8Delta), ms(1))
		sink.got = nil
		given := bytes.Clone(rtx)
		tr.onRTP(sfuRTP, rtx, ms(2))
		tr.tick(ms(40))
		if !bytes.Equal(given, rtx) {
			t.Fatal("the datagram was changed")
		}
		var in, out rtp.Packet
		if in.Unmarshal(rtx) != nil || in.SSRC != testRTX || len(sink.got) == 0 {
			return // FuzzDatagrams looks at these
		}
		if len(in.Payload) < 2 || len(sink.got) != 1 || out.Unmarshal(sink.got[0].data) != nil {
			t.Fatalf("%x was restored as %+v", rtx, sink.got)
		}
		seq := binary.BigEndian.Uint16(in.Payload)
		in.SSRC, in.PayloadType, in.SequenceNumber, in.Payload, in.Padding = testSSRC, 101, seq, in.Payload[2:], false
		in.Header.PaddingSize, in.PaddingSize = 0, 0
		if out.String() != in.String() || !bytes.Equal(out.Payload, in.Payload) || !reflect.DeepEqual(out.CSRC, in.CSRC) || !reflect.DeepEqual(out.Extensions, in.Extensions) {
			t.Fatalf("restored %v, want %v", &out, &in)
		}
		if seq < 11 || seq > 13 {
			t.Fatalf("%d was not missing", seq)
		}
	})
}
