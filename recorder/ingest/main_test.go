package ingest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch stands in for the moment when a test begins.
var epoch = time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC)

func ms(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }

// The SFU of the tests.
var (
	sfuRTP  = netip.MustParseAddrPort("192.0.2.10:41300")
	sfuRTCP = netip.MustParseAddrPort("192.0.2.10:41266")
	other   = netip.MustParseAddrPort("198.51.100.1:5000")
)

// anyIPv4 takes media from every IPv4 address.
var anyIPv4 networks

var plainRTP recorder.SRTPParameters

const (
	testSSRC = 0x01020304
	testRTX  = 0x01020305
)

func vp8Params() recorder.RTPParameters {
	return recorder.RTPParameters{Codec: recorder.VP8, PayloadType: 101, SSRC: testSSRC,
		RTXPayloadType: 102, RTXSSRC: testRTX, NACK: true, PLI: true}
}

// Payloads of VP8.
var (
	vp8Key   = []byte{0x10, 0x00, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00}
	vp8Delta = []byte{0x10, 0x01, 0xaa}
)

func packet(t testing.TB, ssrc uint32, pt uint8, seq uint16, ts uint32, payload []byte) []byte {
	t.Helper()
	raw, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: seq, Timestamp: ts, SSRC: ssrc, Marker: true},
		Payload: payload}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func report(t testing.TB, ssrcs ...uint32) []byte {
	t.Helper()
	var packets []rtcp.Packet
	for _, s := range ssrcs {
		packets = append(packets, &rtcp.SenderReport{SSRC: s, NTPTime: 1 << 40}, rtcp.NewCNAMESourceDescription(s, "x"))
	}
	raw, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// memory is a sink that remembers. Its calls come one at a time; a channel hands them to the test where one is set.
type memory struct {
	got      []arrived
	calls    chan arrived
	overflow uint64
}

type arrived struct {
	at   time.Time
	kind recorder.PacketKind
	data []byte
}

func (m *memory) Overflow(_ time.Time, datagrams uint64) { m.overflow += datagrams }

func (m *memory) Packet(at time.Time, kind recorder.PacketKind, data []byte) {
	a := arrived{at: at, kind: kind, data: bytes.Clone(data)}
	if m.calls != nil {
		m.calls <- a
		return
	}
	m.got = append(m.got, a)
}

// capture is one track of testdata/media.
type capture struct {
	params    recorder.RTPParameters
	rtp, rtcp netip.AddrPort // where the SFU sent from
	packets   []recorded
}

type recorded struct {
	ms   int
	rtcp bool
	data []byte
}

func readCapture(t testing.TB, call, track string) capture {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", "media", call)
	raw, err := os.ReadFile(filepath.Join(dir, "tracks.json"))
	if err != nil {
		t.Fatal(err)
	}
	type tuple struct {
		LocalIP   string `json:"localIp"`
		LocalPort int    `json:"localPort"`
	}
	var info struct {
		Tracks []struct {
			Name          string          `json:"name"`
			Source        string          `json:"source"`
			RTPParameters json.RawMessage `json:"rtpParameters"`
			RTP           tuple           `json:"sfuTuple"`
			RTCP          tuple           `json:"sfuRtcpTuple"`
		} `json:"tracks"`
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]recorder.TrackKind{"screen": recorder.Screen, "webcam": recorder.Webcam, "mic": recorder.AgentAudio}
	addr := func(a tuple) netip.AddrPort {
		return netip.MustParseAddrPort(fmt.Sprintf("%s:%d", a.LocalIP, a.LocalPort))
	}
	for _, tr := range info.Tracks {
		if tr.Name != track {
			continue
		}
		params, err := recorder.ParseRTPParameters(tr.RTPParameters, kinds[tr.Source])
		if err != nil {
			t.Fatal(err)
		}
		return capture{params: params, rtp: addr(tr.RTP), rtcp: addr(tr.RTCP), packets: readDump(t, filepath.Join(dir, track+".rtpdump"))}
	}
	t.Fatalf("no track %s in %s", track, call)
	return capture{}
}

// readDump reads rtptools' rtpdump format, which the README beside the files describes.
func readDump(t testing.TB, path string) []recorded {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(raw, []byte("\n"))
	rest = rest[16:]
	var out []recorded
	for len(rest) > 0 {
		n := int(binary.BigEndian.Uint16(rest))
		out = append(out, recorded{ms: int(binary.BigEndian.Uint32(rest[4:])), rtcp: binary.BigEndian.Uint16(rest[2:]) == 0, data: rest[8:n]})
		rest = rest[n:]
	}
	return out
}
