package ingest

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/dualrec/dualrec/recorder"
	"golang.org/x/sys/unix"
)

// TestWhatTheKernelDropsIsCounted: nobody reads while a burst comes that the buffer cannot hold. What was not delivered was
// told to the sink, to the datagram.
func TestWhatTheKernelDropsIsCounted(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"RTP", "RTCP"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			l := lease(t, testReceiver(t, 8), false)
			rtp, control := sender(t), sender(t)
			sink := &memory{calls: make(chan arrived, 5000)}
			if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink,
				Source: recorder.Source{IP: "127.0.0.1", RTPPort: portOf(rtp), RTCPPort: portOf(control)}}); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*socket{l.rtp, l.rtcp} {
				if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 32<<10); err != nil {
					t.Fatal(err)
				}
			}
			const burst = 500
			seq := uint16(0)
			one := func() {
				if kind == "RTP" {
					send(t, rtp, l.Endpoint().RTPPort, packet(t, testSSRC, 101, seq, 1, vp8Key))
				} else {
					send(t, control, l.Endpoint().RTCPPort, report(t, testSSRC))
				}
				seq++
			}
			drain := func() {
				for had := -1; had != len(sink.calls); {
					had = len(sink.calls)
					l.poll()
				}
			}
			l.reading.Lock()
			for range burst {
				one()
			}
			l.reading.Unlock()
			drain() // the kernel tells with the next datagram that it takes in
			one()
			drain()
			s := l.Stats()
			delivered := uint64(len(sink.calls))
			if s.DroppedByKernel == 0 || delivered+s.DroppedByKernel != burst+1 || sink.overflow != s.DroppedByKernel {
				t.Errorf("%d delivered, the sink was told of %d dropped: %+v", delivered, sink.overflow, s)
			}
		})
	}
}

// TestNotesOfTheKernel: control messages in any order, of any length, or none.
func TestNotesOfTheKernel(t *testing.T) {
	t.Parallel()
	message := func(level, kind int, data []byte) []byte {
		b := make([]byte, unix.CmsgSpace(len(data)))
		h := unix.Cmsghdr{Level: int32(level), Type: int32(kind)}
		h.SetLen(unix.CmsgLen(len(data)))
		*(*unix.Cmsghdr)(unsafe.Pointer(&b[0])) = h
		copy(b[unix.CmsgLen(0):], data)
		return b
	}
	stamp := make([]byte, 16)
	stamp[0] = 9 // seconds
	drops := []byte{7, 0, 0, 0}
	now := time.Unix(100, 0)
	for _, tc := range []struct {
		name    string
		oob     []byte
		at      time.Time
		dropped uint32
	}{
		{"nothing", nil, now, 0},
		{"time alone", message(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, stamp), time.Unix(9, 0), 0},
		{"drops alone", message(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, drops), now, 7},
		{"both", append(message(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, stamp), message(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, drops)...), time.Unix(9, 0), 7},
		{"both, the other way round", append(message(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, drops), message(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, stamp)...), time.Unix(9, 0), 7},
		{"of another level", message(unix.SOL_IP, unix.SO_RXQ_OVFL, drops), now, 0},
		{"cut off", message(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, drops)[:18], now, 0},
		{"too short", message(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, drops[:2]), now, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if at, dropped := notesOf(tc.oob, now); !at.Equal(tc.at) || dropped != tc.dropped {
				t.Errorf("%v, %d dropped, want %v, %d", at, dropped, tc.at, tc.dropped)
			}
		})
	}
}

// TestSendingElsewhereIsAnError: an address of another family, a broadcast address or none must not end the process nor
// reach anybody.
func TestSendingElsewhereIsAnError(t *testing.T) {
	t.Parallel()
	s, err := openSocket(t.Context(), netip.MustParseAddr("127.0.0.1"), 0, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	for _, to := range []netip.AddrPort{{}, netip.MustParseAddrPort("[::1]:9"), netip.MustParseAddrPort("0.0.0.0:9"),
		netip.MustParseAddrPort("255.255.255.255:9"), netip.MustParseAddrPort("127.255.255.255:9")} {
		if err := s.write([]byte{1}, to); err == nil {
			t.Errorf("sent to %s", to)
		}
	}
	c := sender(t)
	if err := s.write([]byte{1}, netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), uint16(portOf(c)))); err != nil {
		t.Errorf("IPv4 in IPv6 notation: %v", err)
	}
	receive(t, c)
}
