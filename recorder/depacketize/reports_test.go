package depacketize

import (
	"slices"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
)

func marshal(t testing.TB, packets ...rtcp.Packet) []byte {
	t.Helper()
	raw, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParseReports(t *testing.T) {
	t.Parallel()
	ours := &rtcp.SenderReport{SSRC: 7, NTPTime: 5<<32 | 1<<31, RTPTime: 90000, PacketCount: 12, OctetCount: 99}
	other := &rtcp.SenderReport{SSRC: 8, NTPTime: 6 << 32, RTPTime: 1, PacketCount: 2}
	sdes := rtcp.NewCNAMESourceDescription(7, "x")
	want := recorder.SenderReport{NTP: 5500 * time.Millisecond, RTP: 90000, Packets: 12}
	for _, tc := range []struct {
		name string
		raw  []byte
		want []recorder.SenderReport
	}{
		{"compound", marshal(t, ours, sdes), []recorder.SenderReport{want}},
		{"several consumers in one datagram", marshal(t, other, sdes, ours, sdes), []recorder.SenderReport{want}},
		{"two of ours", marshal(t, ours, ours), []recorder.SenderReport{want, want}},
		{"another SSRC", marshal(t, other, sdes), nil},
		{"no sender report", marshal(t, sdes), nil},
		{"broken tail", append(marshal(t, ours), 0x81, 200, 0, 9, 1), []recorder.SenderReport{want}},
		{"unknown block before it", append([]byte{0x80, 250, 0, 1, 1, 2, 3, 4}, marshal(t, ours)...), []recorder.SenderReport{want}},
		{"report cut off", marshal(t, ours)[:20], nil},
		{"length says too little", append([]byte{0x80, 200, 0, 1, 0, 0, 0, 7}, marshal(t, ours)...), []recorder.SenderReport{want}},
		{"RTP", []byte{0x80, 101, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7}, nil},
		{"empty", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := (Set{}).ParseReports(tc.raw, 7); !slices.Equal(got, tc.want) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestRealReports: every RTCP datagram of the captures holds exactly one report, and they advance steadily.
func TestRealReports(t *testing.T) {
	t.Parallel()
	for track, want := range map[string]int{"screen-1": 24, "webcam-1": 24, "mic-1": 6} {
		t.Run(track, func(t *testing.T) {
			t.Parallel()
			c := readCapture(t, "chrome-vp8", track)
			var got []recorder.SenderReport
			for _, r := range c.packets {
				if r.rtcp {
					got = append(got, Set{}.ParseReports(r.data, c.params.SSRC)...)
				}
			}
			if len(got) != want {
				t.Fatalf("%d reports, want %d", len(got), want)
			}
			for i, r := range got[1:] {
				ntp := r.NTP - got[i].NTP
				byRTP := time.Duration(r.RTP-got[i].RTP) * time.Second / time.Duration(c.params.Codec.ClockRate())
				if d := ntp - byRTP; ntp <= 0 || d < -100*time.Millisecond || d > 100*time.Millisecond {
					t.Errorf("report %d: NTP advanced %v, RTP %v", i+1, ntp, byRTP)
				}
			}
		})
	}
}
