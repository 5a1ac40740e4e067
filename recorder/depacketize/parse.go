package depacketize

import (
	"sync"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// packets are reused because the parser keeps lists of extensions in them: a recording is read back packet by packet.
var packets = sync.Pool{New: func() any { return new(rtp.Packet) }}

// ParseRTP implements recorder.Depacketizers. It says the SSRC of everything that is an RTP packet, also when it is
// not the one of params.
func (Set) ParseRTP(raw []byte, params recorder.RTPParameters) (p recorder.RTPPacket, ssrc uint32, ok bool) {
	pkt := packets.Get().(*rtp.Packet)
	defer packets.Put(pkt)
	if err := pkt.Unmarshal(raw); err != nil || pkt.Version != 2 {
		return recorder.RTPPacket{}, 0, false
	}
	if pkt.SSRC != params.SSRC || pkt.PayloadType != params.PayloadType {
		return recorder.RTPPacket{}, pkt.SSRC, false
	}
	return recorder.RTPPacket{
		Seq: int64(pkt.SequenceNumber), RTP: int64(pkt.Timestamp), Marker: pkt.Marker, Payload: pkt.Payload,
		Rotation: rotation(&pkt.Header, params),
	}, pkt.SSRC, true
}

// rotation reads the CVO extension (3GPP TS 26.114 §7.4.5): the lowest two bits, in quarter turns clockwise.
func rotation(h *rtp.Header, params recorder.RTPParameters) int {
	id := params.Extensions[recorder.ExtVideoOrientation]
	if id == 0 || !h.Extension || h.ExtensionProfile != rtp.ExtensionProfileOneByte && h.ExtensionProfile != rtp.ExtensionProfileTwoByte {
		return -1
	}
	cvo := h.GetExtension(id)
	if len(cvo) == 0 {
		return -1
	}
	return int(cvo[0]&3) * 90
}

// ParseReports implements recorder.Depacketizers. Blocks of other kinds are stepped over unread, so that one that is
// unknown or ill-formed inside does not cost the report beside it; the walk ends at a broken block header.
func (Set) ParseReports(raw []byte, ssrc uint32) []recorder.SenderReport {
	var out []recorder.SenderReport
	for len(raw) > 0 {
		var h rtcp.Header
		if err := h.Unmarshal(raw); err != nil {
			break
		}
		n := (int(h.Length) + 1) * 4
		if n > len(raw) {
			break
		}
		if h.Type == rtcp.TypeSenderReport {
			var sr rtcp.SenderReport
			if err := sr.Unmarshal(raw[:n]); err == nil && sr.SSRC == ssrc {
				out = append(out, recorder.SenderReport{NTP: ntp(sr.NTPTime), RTP: sr.RTPTime, Packets: sr.PacketCount})
			}
		}
		raw = raw[n:]
	}
	return out
}

// ntp converts the 32.32 fixed point of RFC 5905 §6, rounded to nanoseconds.
func ntp(t uint64) time.Duration {
	const half = 1 << 31
	return time.Duration(t>>32)*time.Second + time.Duration((t&0xffffffff*uint64(time.Second)+half)>>32)
}
