package ingest

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
)

func testTrack(t *testing.T, source recorder.Source, mux bool) (*track, *memory) {
	t.Helper()
	sink := &memory{}
	tr, err := newTrack(recorder.Attachment{Params: vp8Params(), Source: source, Sink: sink}, mux, anyIPv4, plainRTP, &counters{})
	if err != nil {
		t.Fatal(err)
	}
	return tr, sink
}

var announced = recorder.Source{IP: "192.0.2.10", RTPPort: 41300, RTCPPort: 41266}

func TestValidation(t *testing.T) {
	t.Parallel()
	good := func(t *testing.T) []byte { return packet(t, testSSRC, 101, 1, 1, vp8Key) }
	sr := func(t *testing.T) []byte { return report(t, testSSRC) }
	type verdict struct{ packets, rtx, rtcp, foreign, malformed uint64 }
	for _, tc := range []struct {
		name string
		rtcp bool
		from netip.AddrPort
		data func(t *testing.T) []byte
		want verdict
	}{
		{"a packet of ours", false, sfuRTP, good, verdict{packets: 1}},
		{"a retransmission of nothing that is missing", false, sfuRTP, func(t *testing.T) []byte { return packet(t, testRTX, 102, 1, 1, []byte{0, 1, 9}) }, verdict{rtx: 1}},
		{"another address", false, other, good, verdict{foreign: 1}},
		{"another port", false, netip.AddrPortFrom(sfuRTP.Addr(), 9), good, verdict{foreign: 1}},
		{"RTP from the RTCP port", false, sfuRTCP, good, verdict{foreign: 1}},
		{"another SSRC", false, sfuRTP, func(t *testing.T) []byte { return packet(t, 77, 101, 1, 1, vp8Key) }, verdict{foreign: 1}},
		{"another payload type", false, sfuRTP, func(t *testing.T) []byte { return packet(t, testSSRC, 102, 1, 1, vp8Key) }, verdict{foreign: 1}},
		{"RTX payload type on the media SSRC of RTX", false, sfuRTP, func(t *testing.T) []byte { return packet(t, testRTX, 101, 1, 1, vp8Key) }, verdict{foreign: 1}},
		{"a bandwidth probe", false, sfuRTP, func(t *testing.T) []byte { return packet(t, 1234, 127, 1, 1, []byte{0}) }, verdict{foreign: 1}},
		{"a header cut off", false, sfuRTP, func(t *testing.T) []byte { return good(t)[:11] }, verdict{malformed: 1}},
		{"padding longer than the packet", false, sfuRTP, func(t *testing.T) []byte {
			p := good(t)
			p[0] |= 0x20
			p[len(p)-1] = 200
			return p
		}, verdict{malformed: 1}},
		{"another version", false, sfuRTP, func(t *testing.T) []byte { p := good(t); p[0] = 0x40; return p }, verdict{malformed: 1}},
		{"nothing", false, sfuRTP, func(*testing.T) []byte { return nil }, verdict{malformed: 1}},
		{"a sender report", true, sfuRTCP, sr, verdict{rtcp: 1}},
		{"a sender report among others'", true, sfuRTCP, func(t *testing.T) []byte { return report(t, 77, testSSRC) }, verdict{rtcp: 1}},
		{"others' sender reports", true, sfuRTCP, func(t *testing.T) []byte { return report(t, 77) }, verdict{foreign: 1}},
		{"RTCP from the RTP port", true, sfuRTP, sr, verdict{foreign: 1}},
		{"RTCP from elsewhere", true, other, sr, verdict{foreign: 1}},
		{"RTCP cut off", true, sfuRTCP, func(t *testing.T) []byte { return sr(t)[:12] }, verdict{malformed: 1}},
		{"empty RTCP", true, sfuRTCP, func(*testing.T) []byte { return nil }, verdict{malformed: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tr, sink := testTrack(t, announced, false)
			data := tc.data(t)
			if tc.rtcp {
				tr.onRTCP(tc.from, data, ms(5))
			} else {
				tr.onRTP(tc.from, data, ms(5))
			}
			s := tr.count.stats(tr)
			got := verdict{s.Packets, tr.count.rtx, s.RTCPPackets, s.DroppedForeign, s.DroppedMalformed}
			if got != tc.want {
				t.Fatalf("%+v, want %+v", got, tc.want)
			}
			if accepted := tc.want.packets+tc.want.rtcp > 0; !accepted {
				if len(sink.got) != 0 {
					t.Error("the sink was given a dropped datagram")
				}
				return
			}
			kind := recorder.PacketRTP
			if tc.rtcp {
				kind = recorder.PacketRTCP
			}
			if len(sink.got) != 1 || sink.got[0].kind != kind || !bytes.Equal(sink.got[0].data, data) || !sink.got[0].at.Equal(ms(5)) {
				t.Errorf("the sink was given %+v", sink.got)
			}
		})
	}
}

func TestRTXNeedsToBeAnnounced(t *testing.T) {
	t.Parallel()
	tr, sink := testTrack(t, announced, false)
	tr.params.RTXSSRC, tr.params.RTXPayloadType = 0, 0
	tr.onRTP(sfuRTP, packet(t, 0, 0, 1, 1, vp8Key), ms(0))
	if len(sink.got) != 0 || tr.count.DroppedForeign != 1 {
		t.Error("SSRC 0 passed for the RTX stream that there is not")
	}
}

func TestPinning(t *testing.T) {
	t.Parallel()
	late := netip.AddrPortFrom(sfuRTP.Addr(), 41999)
	for _, tc := range []struct {
		name    string
		source  recorder.Source
		mux     bool
		rtp     []netip.AddrPort // each sends a valid packet
		rtcp    []netip.AddrPort // then each of these a valid report
		accept  uint64
		reports uint64
		control netip.AddrPort
	}{
		{"all announced", announced, false, []netip.AddrPort{sfuRTP, other}, []netip.AddrPort{sfuRTCP, other}, 1, 1, sfuRTCP},
		{"no IP: the first sender's", recorder.Source{RTPPort: 41300, RTCPPort: 41266}, false,
			[]netip.AddrPort{sfuRTP, netip.MustParseAddrPort("192.0.2.11:41300")}, []netip.AddrPort{sfuRTCP}, 1, 1, sfuRTCP},
		{"0.0.0.0 is no IP", recorder.Source{IP: "0.0.0.0", RTPPort: 41300, RTCPPort: 41266}, false,
			[]netip.AddrPort{sfuRTP}, nil, 1, 0, sfuRTCP},
		{"no IP, but the port holds", recorder.Source{RTPPort: 41300, RTCPPort: 41266}, false, []netip.AddrPort{other, sfuRTP}, nil, 1, 0, sfuRTCP},
		{"no RTCP port: the first report's", recorder.Source{IP: "192.0.2.10", RTPPort: 41300}, false,
			[]netip.AddrPort{sfuRTP}, []netip.AddrPort{other, sfuRTCP, late}, 1, 1, sfuRTCP},
		{"no RTCP port, no report yet", recorder.Source{IP: "192.0.2.10", RTPPort: 41300}, false,
			[]netip.AddrPort{sfuRTP}, nil, 1, 0, netip.AddrPort{}},
		{"RTCP alone pins nothing", recorder.Source{RTPPort: 41300}, false, nil, []netip.AddrPort{other}, 0, 0, netip.AddrPort{}},
		{"nothing announced", recorder.Source{}, false, []netip.AddrPort{sfuRTP, late}, []netip.AddrPort{sfuRTCP}, 1, 1, sfuRTCP},
		{"rtcpMux", recorder.Source{IP: "192.0.2.10", RTPPort: 41300}, true, []netip.AddrPort{sfuRTP}, []netip.AddrPort{sfuRTP, sfuRTCP}, 1, 1, sfuRTP},
		{"IPv4 in IPv6 notation", recorder.Source{IP: "::ffff:192.0.2.10", RTPPort: 41300, RTCPPort: 41266}, false, []netip.AddrPort{sfuRTP}, nil, 1, 0, sfuRTCP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tr, _ := testTrack(t, tc.source, tc.mux)
			for i, from := range tc.rtp {
				tr.onRTP(from, packet(t, testSSRC, 101, uint16(i), 1, vp8Key), ms(i))
			}
			for i, from := range tc.rtcp {
				tr.onRTCP(from, report(t, testSSRC), ms(i))
			}
			if tr.count.Packets != tc.accept || tr.count.RTCPPackets != tc.reports {
				t.Errorf("%d packets, %d reports, want %d, %d", tr.count.Packets, tr.count.RTCPPackets, tc.accept, tc.reports)
			}
			if got := tr.peer.control(); got != tc.control {
				t.Errorf("control packets go to %v, want %v", got, tc.control)
			}
		})
	}
}

func TestAForeignPacketPinsNothing(t *testing.T) {
	t.Parallel()
	tr, _ := testTrack(t, recorder.Source{RTPPort: 41300}, false)
	tr.onRTP(netip.MustParseAddrPort("198.51.100.1:41300"), packet(t, 77, 101, 1, 1, vp8Key), ms(0))
	tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 1, 1, vp8Key), ms(1))
	if tr.count.Packets != 1 {
		t.Error("a packet of another SSRC has pinned its sender")
	}
}

func TestNewTrackRefusals(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]recorder.Attachment{
		"no IP address": {Params: vp8Params(), Source: recorder.Source{IP: "sfu.example", RTPPort: 1}, Sink: &memory{}},
		"port":          {Params: vp8Params(), Source: recorder.Source{RTPPort: 70000}, Sink: &memory{}},
		"RTCP port":     {Params: vp8Params(), Source: recorder.Source{RTCPPort: -1}, Sink: &memory{}},
		"no sink":       {Params: vp8Params()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := newTrack(a, false, anyIPv4, plainRTP, &counters{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// TestRealCalls plays the captures through a track, in their own time.
func TestRealCalls(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		call, track string
		rtp, rtcp   uint64
		keyframes   uint64
		jitter      float64 // at most, ms
	}{
		{"chrome-vp8", "screen-1", 3770, 24, 6, 60},
		{"chrome-vp8", "webcam-1", 3095, 24, 7, 30},
		{"chrome-vp8", "mic-1", 1504, 6, 0, 10},
		{"chrome-h264", "screen-1", 1716, 24, 6, 60},
		{"chrome-h264", "webcam-1", 1706, 24, 26, 30},
		{"chrome-h264", "mic-1", 1503, 6, 0, 10},
	} {
		t.Run(tc.call+"/"+tc.track, func(t *testing.T) {
			t.Parallel()
			c := readCapture(t, tc.call, tc.track)
			sink := &memory{}
			tr, err := newTrack(recorder.Attachment{Params: c.params, Source: recorder.Source{RTPPort: int(c.rtp.Port())}, Sink: sink}, false, anyIPv4, plainRTP, &counters{})
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range c.packets {
				if p.rtcp {
					tr.onRTCP(c.rtcp, p.data, ms(p.ms))
				} else {
					tr.onRTP(c.rtp, p.data, ms(p.ms))
				}
				if len(sink.got) != i+1 || !bytes.Equal(sink.got[i].data, p.data) {
					t.Fatalf("packet %d did not reach the sink as it came", i)
				}
				if f, ok := tr.tick(ms(p.ms)); ok {
					t.Fatalf("a keyframe was asked for at %d ms: %v", p.ms, f)
				}
			}
			s := tr.count.stats(tr)
			if s.Packets != tc.rtp || s.RTCPPackets != tc.rtcp || s.Keyframes != tc.keyframes {
				t.Errorf("%d packets, %d reports, %d keyframes, want %d, %d, %d", s.Packets, s.RTCPPackets, s.Keyframes, tc.rtp, tc.rtcp, tc.keyframes)
			}
			if s.Lost+s.Duplicates+s.Reordered+s.DroppedForeign+s.DroppedMalformed != 0 || s.SSRC != c.params.SSRC {
				t.Errorf("%+v", s)
			}
			if s.JitterMs <= 0 || s.JitterMs > tc.jitter {
				t.Errorf("jitter %.1f ms, want 0…%.0f", s.JitterMs, tc.jitter)
			}
		})
	}
}

// TestLossAsksForAKeyframe drops one packet of a real call: the request follows after the patience for late packets.
func TestLossAsksForAKeyframe(t *testing.T) {
	t.Parallel()
	c := readCapture(t, "chrome-vp8", "webcam-1")
	tr, err := newTrack(recorder.Attachment{Params: c.params, Source: recorder.Source{RTPPort: int(c.rtp.Port()), RTCPPort: int(c.rtcp.Port())},
		Sink: &memory{}}, false, anyIPv4, plainRTP, &counters{})
	if err != nil {
		t.Fatal(err)
	}
	const dropped = 1100 // far from any keyframe
	lostAt, askedAt, nacks := 0, 0, 0
	for i, p := range c.packets {
		if p.rtcp {
			continue
		}
		if i == dropped {
			lostAt = p.ms
			continue
		}
		tr.onRTP(c.rtp, p.data, ms(p.ms))
		f, ok := tr.tick(ms(p.ms))
		if !ok {
			continue
		}
		var pli rtcp.PictureLossIndication
		if f.data[1] == 205 { // a NACK
			nacks++
			if f.data = f.data[16:]; len(f.data) == 0 {
				continue
			}
		}
		if askedAt == 0 {
			askedAt = p.ms
		}
		if err := pli.Unmarshal(f.data); err != nil || pli.MediaSSRC != c.params.SSRC || pli.SenderSSRC == 0 || f.to != c.rtcp {
			t.Fatalf("%+v to %v, error %v", pli, f.to, err)
		}
		if p.ms > 14000 {
			break
		}
	}
	if patience := int(repairPatience / time.Millisecond); nacks == 0 || askedAt < lostAt+patience || askedAt > lostAt+patience+100 {
		t.Errorf("lost at %d ms, asked at %d ms", lostAt, askedAt)
	}
	if s := tr.count.stats(tr); s.Lost != 1 || s.KeyframesAsked == 0 {
		t.Errorf("%d lost, %d asked", s.Lost, s.KeyframesAsked)
	}
}

func TestRestartAsksUnlessItBeginsWithAKeyframe(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		first []byte
		want  uint64
	}{{"in mid-picture", vp8Delta, 1}, {"with a keyframe", vp8Key, 0}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tr, sink := testTrack(t, announced, false)
			tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 10, 1, vp8Key), ms(0))
			for i := range 30 {
				payload := vp8Delta
				if i == 0 {
					payload = tc.first
				}
				now := ms(100 + 30*i)
				tr.onRTP(sfuRTP, packet(t, testSSRC, 101, uint16(40000+i), uint32(i), payload), now)
				tr.tick(now)
			}
			if s := tr.count.stats(tr); s.KeyframesAsked != tc.want || s.Lost != 0 || len(sink.got) != 31 {
				t.Errorf("%d asked, %d lost, %d delivered, want %d, 0, 31", s.KeyframesAsked, s.Lost, len(sink.got), tc.want)
			}
		})
	}
}

func TestKeyframeOnTheWire(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		codec   recorder.Codec
		payload []byte
		want    bool
	}{
		{"VP8 keyframe", recorder.VP8, vp8Key, true},
		{"VP8 keyframe with PictureID", recorder.VP8, []byte{0x90, 0x80, 0x81, 0x02, 0x00}, true},
		{"VP8 delta", recorder.VP8, vp8Delta, false},
		{"VP8 later packet of a keyframe", recorder.VP8, []byte{0x00, 0x00}, false},
		{"VP8 descriptor alone", recorder.VP8, []byte{0x10}, false},
		{"VP9 keyframe", recorder.VP9, []byte{0x88, 0x82, 0x01, 0x82}, true},
		{"VP9 predicted", recorder.VP9, []byte{0xc8, 0x82, 0x01, 0x86}, false},
		{"VP9 middle of a keyframe", recorder.VP9, []byte{0x80, 0x82, 0x01, 0x82}, false},
		{"VP9 upper layer of a keyframe", recorder.VP9, []byte{0x28, 0x03, 0x00, 0x82}, false},
		{"H264 SPS", recorder.H264, []byte{0x67, 1}, true},
		{"H264 IDR", recorder.H264, []byte{0x65, 1}, true},
		{"H264 slice", recorder.H264, []byte{0x41, 1}, false},
		{"H264 STAP-A with SPS", recorder.H264, []byte{0x78, 0, 1, 0x67, 0, 1, 0x68}, true},
		{"H264 STAP-A with IDR at the end", recorder.H264, []byte{0x78, 0, 1, 0x06, 0, 1, 0x65}, true},
		{"H264 STAP-A with slices", recorder.H264, []byte{0x78, 0, 1, 0x41, 0, 1, 0x41}, false},
		{"H264 STAP-A cut off", recorder.H264, []byte{0x78, 0xff, 0xff, 0x41}, false},
		{"H264 FU-A of an IDR", recorder.H264, []byte{0x7c, 0x85, 1}, true},
		{"H264 FU-A, later", recorder.H264, []byte{0x7c, 0x05, 1}, false},
		{"H264 FU-A of a slice", recorder.H264, []byte{0x7c, 0x81, 1}, false},
		{"Opus", recorder.Opus, []byte{0x67, 1}, false},
		{"empty", recorder.VP8, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := beginsKeyframe(tc.codec, tc.payload); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}
