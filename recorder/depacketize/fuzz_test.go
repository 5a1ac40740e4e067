package depacketize

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
)

func FuzzParseRTP(f *testing.F) {
	f.Add([]byte{0x80, 101, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 'x'})
	f.Add([]byte{0xb1, 101, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 9, 9, 9, 9, 0xbe, 0xde, 0, 1, 0xb0, 1, 0, 0, 'x', 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, ssrc, ok := Set{}.ParseRTP(raw, testParams)
		if !ok {
			return
		}
		if ssrc != testParams.SSRC || raw[1]&0x7f != testParams.PayloadType || raw[0]>>6 != 2 {
			t.Fatal("accepted a packet of another stream")
		}
		if !bytes.Contains(raw[12:], p.Payload) || p.Rotation < -1 || p.Rotation > 270 {
			t.Fatalf("%+v", p)
		}
	})
}

func FuzzParseReports(f *testing.F) {
	f.Add(marshal(f, &rtcp.SenderReport{SSRC: 7, NTPTime: 1 << 40}, rtcp.NewCNAMESourceDescription(7, "x")))
	f.Add([]byte{0x81, 200, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got := (Set{}).ParseReports(raw, 7); len(got)*28 > len(raw) {
			t.Fatalf("%d reports in %d bytes", len(got), len(raw))
		}
	})
}

// FuzzDepacketizers feeds every depacketizer a stream cut out of the input: per packet a flag byte, a length, a payload.
func FuzzDepacketizers(f *testing.F) {
	pack := func(steps ...step) []byte {
		var out []byte
		for _, s := range steps {
			flags := byte(s.rtp << 2)
			if s.marker {
				flags |= 1
			}
			if s.lost {
				flags |= 2
			}
			out = append(append(out, flags, byte(len(s.payload))), s.payload...)
		}
		return out
	}
	f.Add(byte(0), pack(step{1, true, false, vp8Key}, step{2, false, true, vp8Delta}, step{2, true, false, vp8Rest}))
	f.Add(byte(1), pack(step{1, true, false, []byte{0x88, 0x86}}, step{2, true, false, []byte{0xfe, 1, 2, 3, 4, 5, 6, 7}}))
	f.Add(byte(2), pack(step{1, false, false, stap(nalSPS, nalPPS)}, step{1, false, false, fuStart}, step{1, true, false, fuEnd}, step{2, true, true, nalIDR}))
	f.Add(byte(3), pack(step{1, true, false, []byte{0xf8}}))
	all := []recorder.Codec{recorder.VP8, recorder.VP9, recorder.H264, recorder.Opus}
	f.Fuzz(func(t *testing.T, codec byte, stream []byte) {
		d, err := Set{}.New(all[int(codec)%len(all)])
		if err != nil {
			t.Fatal(err)
		}
		packets, units := 0, 0
		check := func(u *recorder.Unit) bool {
			if u == nil {
				return false
			}
			units++
			if u.Damaged && u.Data != nil || !u.Damaged && u.Data == nil || u.Damaged && u.Key || !u.Key && !u.Size.Zero() {
				t.Fatalf("%+v", u)
			}
			return true
		}
		for len(stream) >= 2 {
			flags, n := stream[0], min(int(stream[1]), len(stream)-2)
			p := recorder.RTPPacket{Seq: int64(packets), RTP: int64(flags >> 2), Marker: flags&1 != 0, Payload: stream[2 : 2+n], Rotation: -1}
			u, _ := d.Push(p, flags&2 != 0)
			check(u)
			packets++
			stream = stream[2+n:]
		}
		for check(d.Flush()) {
		}
		if units > packets {
			t.Fatalf("%d units of %d packets", units, packets)
		}
	})
}

func FuzzParameterSets(f *testing.F) {
	f.Add(nalSPS)
	f.Add(nalPPS)
	f.Add(append([]byte{0x67, 100, 0, 40}, binary.BigEndian.AppendUint64(nil, 0x1234567890abcdef)...))
	f.Fuzz(func(t *testing.T, nal []byte) {
		if id, size, err := parseSPS(nal); err == nil && (id > maxSPSID || size.Zero() || size.W > 16384 || size.H > 32768) {
			t.Fatalf("SPS %d with size %v", id, size)
		}
		if id, err := parsePPS(nal); err == nil && id > maxPPSID {
			t.Fatalf("PPS %d", id)
		}
	})
}
