package ingest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
)

// ranges hands out port ranges, so that neither tests nor runs beside each other meet: every process begins somewhere
// else below the ports of outgoing connections.
var ranges = struct {
	sync.Mutex
	next int
}{next: 10000 + 2*rand.IntN(10000)}

// portRange finds n free ports that begin with an even one.
func portRange(t testing.TB, n int) (first int) {
	t.Helper()
	ranges.Lock()
	defer ranges.Unlock()
	for range 1000 {
		first = ranges.next
		if ranges.next += n + n&1; ranges.next > 31000 {
			ranges.next = 10000
		}
		if allFree(first, n) {
			return first
		}
	}
	t.Fatalf("no %d free ports", n)
	return 0
}

func allFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			return false
		}
		_ = c.Close()
	}
	return true
}

func testReceiver(t testing.TB, ports int, change ...func(*Config)) *Receiver {
	t.Helper()
	cfg := DefaultConfig()
	cfg.PortMin = portRange(t, ports)
	cfg.PortMax = cfg.PortMin + ports - 1
	for _, f := range change {
		f(&cfg)
	}
	r, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if leased, _ := r.Ports(); leased != 0 {
			t.Errorf("%d ports leaked", leased)
		}
	})
	return r
}

func lease(t testing.TB, r *Receiver, mux bool) *Lease {
	t.Helper()
	l, err := r.Lease(t.Context(), recorder.LeaseRequest{RecordingID: "rec_1", TrackID: "trk_1", Kind: recorder.Webcam, RTCPMux: mux})
	if err != nil {
		t.Fatal(err)
	}
	return l.(*Lease)
}

// sender is one of the SFU's sockets.
func sender(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func portOf(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }

func send(t testing.TB, from *net.UDPConn, port int, data []byte) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort(data, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))); err != nil {
		t.Fatal(err)
	}
}

// receive waits for one datagram; a test that gets none fails after a generous time.
func receive(t *testing.T, c *net.UDPConn) ([]byte, int) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n], int(from.Port())
}

func next(t *testing.T, m *memory) arrived {
	t.Helper()
	select {
	case a := <-m.calls:
		return a
	case <-time.After(10 * time.Second):
		t.Fatal("nothing arrived")
		return arrived{}
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("rtcpMux %v", mux), func(t *testing.T) {
			t.Parallel()
			l := lease(t, testReceiver(t, 8), mux)
			rtp, control := sender(t), sender(t)
			if mux {
				control = rtp
			}
			ep := l.Endpoint()
			controlPort := ep.RTCPPort
			if mux {
				controlPort = ep.RTPPort
				if ep.RTCPPort != 0 {
					t.Fatalf("endpoint %+v", ep)
				}
			}
			sink := &memory{calls: make(chan arrived, 100)}
			if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink,
				Source: recorder.Source{IP: "127.0.0.1", RTPPort: portOf(rtp), RTCPPort: portOf(control)}}); err != nil {
				t.Fatal(err)
			}
			before := time.Now()
			key := packet(t, testSSRC, 101, 1, 1, vp8Key)
			send(t, rtp, ep.RTPPort, packet(t, 1234, 127, 1, 1, vp8Key))
			send(t, sender(t), ep.RTPPort, key)
			send(t, rtp, ep.RTPPort, make([]byte, maxDatagram+1))
			send(t, rtp, ep.RTPPort, key)
			a := next(t, sink)
			if a.kind != recorder.PacketRTP || !bytes.Equal(a.data, key) || a.at.Before(before) || a.at.After(time.Now()) {
				t.Errorf("%+v", a)
			}
			sr := report(t, testSSRC)
			send(t, control, controlPort, sr)
			if a := next(t, sink); a.kind != recorder.PacketRTCP || !bytes.Equal(a.data, sr) {
				t.Errorf("%+v", a)
			}
			if s := l.Stats(); s.Packets != 1 || s.RTCPPackets != 1 || s.DroppedForeign != 2 || s.DroppedMalformed != 1 || s.Keyframes != 1 {
				t.Errorf("%+v", s)
			}
			l.RequestKeyframe()
			l.RequestKeyframe() // held back
			raw, from := receive(t, control)
			var pli rtcp.PictureLossIndication
			if err := pli.Unmarshal(raw); err != nil || pli.MediaSSRC != testSSRC || pli.SenderSSRC == 0 {
				t.Errorf("%+v, error %v", pli, err)
			}
			if from != controlPort {
				t.Errorf("the request came from port %d, want %d", from, controlPort)
			}
			if s := l.Stats(); s.KeyframesAsked != 1 {
				t.Errorf("%d requests within a moment", s.KeyframesAsked)
			}
		})
	}
}

// TestTheTickAsks: the first packet is no keyframe and no other follows; the request must come all the same.
func TestTheTickAsks(t *testing.T) {
	t.Parallel()
	l := lease(t, testReceiver(t, 8), false)
	rtp, control := sender(t), sender(t)
	if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: &memory{calls: make(chan arrived, 10)},
		Source: recorder.Source{IP: "127.0.0.1", RTPPort: portOf(rtp), RTCPPort: portOf(control)}}); err != nil {
		t.Fatal(err)
	}
	sent := time.Now()
	send(t, rtp, l.Endpoint().RTPPort, packet(t, testSSRC, 101, 1, 1, vp8Delta))
	receive(t, control)
	if d := time.Since(sent); d < startPatience {
		t.Errorf("asked after %v", d)
	}
}

// TestRepairOverLoopback: a packet is missing; the request comes from the RTCP port to the RTCP port, soon, and the answer
// reaches the sink as the packet that was lost.
func TestRepairOverLoopback(t *testing.T) {
	t.Parallel()
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("rtcpMux %v", mux), func(t *testing.T) {
			t.Parallel()
			l := lease(t, testReceiver(t, 8), mux)
			rtp, control := sender(t), sender(t)
			if mux {
				control = rtp
			}
			sink := &memory{calls: make(chan arrived, 100)}
			if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink,
				Source: recorder.Source{IP: "127.0.0.1", RTPPort: portOf(rtp), RTCPPort: portOf(control)}}); err != nil {
				t.Fatal(err)
			}
			port := l.Endpoint().RTPPort
			send(t, rtp, port, packet(t, testSSRC, 101, 65534, 1, vp8Key))
			send(t, rtp, port, packet(t, testSSRC, 101, 1, 1, vp8Delta))
			next(t, sink)
			next(t, sink)
			raw, from := receive(t, control)
			var nack rtcp.TransportLayerNack
			if err := nack.Unmarshal(raw); err != nil || nack.MediaSSRC != testSSRC || len(nack.Nacks) != 1 ||
				nack.Nacks[0] != (rtcp.NackPair{PacketID: 65535, LostPackets: 1}) {
				t.Fatalf("%+v, error %v", nack, err)
			}
			if want := cmp.Or(l.Endpoint().RTCPPort, port); from != want {
				t.Errorf("the request came from port %d, want %d", from, want)
			}
			for i, seq := range []uint16{65535, 0} {
				lost := packet(t, testSSRC, 101, seq, 1, vp8Delta)
				send(t, rtp, port, asRTX(t, lost, uint16(i), 0))
				if a := next(t, sink); !bytes.Equal(a.data, lost) {
					t.Errorf("%x, want %x", a.data, lost)
				}
			}
			if s := l.Stats(); s.Nacked != 2 || s.Repaired != 2 || s.Lost != 0 || s.Packets != 4 || l.RTXPackets() != 2 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestAttachmentsReplaceEachOther(t *testing.T) {
	t.Parallel()
	l := lease(t, testReceiver(t, 8), false)
	rtp := sender(t)
	port := l.Endpoint().RTPPort
	source := recorder.Source{IP: "127.0.0.1", RTPPort: portOf(rtp)}
	first, second := &memory{calls: make(chan arrived, 10)}, &memory{calls: make(chan arrived, 10)}
	params := vp8Params()
	if err := l.Attach(recorder.Attachment{Params: params, Sink: first, Source: source}); err != nil {
		t.Fatal(err)
	}
	send(t, rtp, port, packet(t, testSSRC, 101, 1, 1, vp8Key))
	next(t, first)
	params.SSRC = 99
	if err := l.Attach(recorder.Attachment{Params: params, Sink: second, Source: source}); err != nil {
		t.Fatal(err)
	}
	send(t, rtp, port, packet(t, testSSRC, 101, 2, 1, vp8Delta))
	send(t, rtp, port, packet(t, 99, 101, 1, 1, vp8Key))
	if a := next(t, second); a.data[11] != 99 {
		t.Errorf("%x", a.data)
	}
	if s := l.Stats(); s.Packets != 2 || s.SSRC != 99 || s.DroppedForeign != 1 {
		t.Errorf("%+v", s)
	}
	if err := l.Attach(recorder.Attachment{Params: params, Sink: second, Source: recorder.Source{IP: "nowhere"}}); !errors.Is(err, ErrAttachment) {
		t.Errorf("error %v, want ErrAttachment", err)
	}
	l.Detach()
	send(t, rtp, port, packet(t, 99, 101, 2, 1, vp8Delta))
	waitFor(t, func() bool { return l.Stats().DroppedForeign == 2 })
	if len(first.calls)+len(second.calls) != 0 {
		t.Error("a sink was called after it was replaced or detached")
	}
}

// waitFor polls what has no signal: a counter that another goroutine moves.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it never happened")
		}
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	r := testReceiver(t, 2)
	l := lease(t, r, false)
	if _, err := r.Lease(t.Context(), recorder.LeaseRequest{}); !errors.Is(err, recorder.ErrNoPorts) {
		t.Fatalf("error %v, want ErrNoPorts", err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if leased, total := r.Ports(); leased != 0 || total != 2 {
		t.Errorf("%d of %d ports leased", leased, total)
	}
	if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: &memory{}}); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want ErrClosed", err)
	}
	l.RequestKeyframe()
	l.Detach()
	lease(t, r, false) // the ports are free again; the receiver closes this one
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lease(t.Context(), recorder.LeaseRequest{}); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want ErrClosed", err)
	}
}

func TestPortsOfOthersArePassedOver(t *testing.T) {
	t.Parallel()
	r := testReceiver(t, 4)
	first := lease(t, r, false)
	taken := first.Endpoint().RTPPort
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	blocker, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: taken + 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blocker.Close() }()
	if got := lease(t, r, false).Endpoint(); got.RTPPort == taken || got.RTCPPort != got.RTPPort+1 {
		t.Errorf("leased %+v beside a port that is taken", got)
	}
	if _, err := r.Lease(t.Context(), recorder.LeaseRequest{}); !errors.Is(err, recorder.ErrNoPorts) {
		t.Errorf("error %v, want ErrNoPorts", err)
	}
}

// TestLeasingAgain: after a restart a lease gets the ports that it had, and nobody else's.
func TestLeasingAgain(t *testing.T) {
	t.Parallel()
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("rtcpMux %v", mux), func(t *testing.T) {
			t.Parallel()
			r := testReceiver(t, 8)
			lease(t, r, mux)
			first := lease(t, r, mux)
			ep := first.Endpoint()
			req := recorder.LeaseRequest{RTCPMux: mux, RTPPort: ep.RTPPort, RTCPPort: ep.RTCPPort}
			if _, err := r.Lease(t.Context(), req); !errors.Is(err, recorder.ErrNoPorts) {
				t.Errorf("error %v, want ErrNoPorts: it is leased", err)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			blocker, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: cmp.Or(ep.RTCPPort, ep.RTPPort)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Lease(t.Context(), req); !errors.Is(err, recorder.ErrNoPorts) || !strings.Contains(err.Error(), "another program") {
				t.Errorf("error %v, want ErrNoPorts: another program has it", err)
			}
			_ = blocker.Close()
			again, err := r.Lease(t.Context(), req)
			if err != nil || again.Endpoint() != ep {
				t.Fatalf("leased %+v, error %v, want %+v", again, err, ep)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestConcurrentUse stresses a lease from all sides; the race detector judges.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	r := testReceiver(t, 8)
	rtp := sender(t)
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	var wg sync.WaitGroup
	for i := range 4 {
		l := lease(t, r, i%2 == 0)
		attach := func() {
			_ = l.Attach(recorder.Attachment{Params: vp8Params(), Sink: &memory{}, Source: recorder.Source{RTPPort: portOf(rtp)}})
		}
		seq := uint16(0)
		for _, f := range []func(){attach, l.Detach, l.RequestKeyframe, func() { l.Stats() }, func() {
			seq++
			send(t, rtp, l.Endpoint().RTPPort, packet(t, testSSRC, 101, seq, 1, vp8Delta))
		}} {
			wg.Go(func() {
				for ctx.Err() == nil {
					f()
				}
			})
		}
	}
	wg.Wait()
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.BindIP = "203.0.113.77" // a documentation address: not this machine's
	if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "203.0.113.77") {
		t.Errorf("error %v does not name the address", err)
	}
	cfg.PortMin = 0
	if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not a range") {
		t.Errorf("error %v does not name the range", err)
	}
}

// TestSmallReceiveBufferIsReported asks for more than any default system grants. A process with CAP_NET_ADMIN gets it.
func TestSmallReceiveBufferIsReported(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	cfg := DefaultConfig()
	cfg.ReceiveBuffer = maxReceiveBuffer
	r, err := New(cfg, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	s, err := openSocket(t.Context(), cfg.bindAddr(), 0, cfg.ReceiveBuffer, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	if warned := strings.Contains(text.String(), "sysctl -w net.core.rmem_max="); warned != (s.granted < cfg.ReceiveBuffer) {
		t.Errorf("granted %d of %d bytes, log: %s", s.granted, cfg.ReceiveBuffer, text.String())
	}
	if lines := strings.Count(text.String(), "\n"); lines > 1 {
		t.Errorf("%d log lines", lines)
	}
}

// gate is a sink that must not be called while it is shut.
type gate struct {
	t     *testing.T
	shut  atomic.Bool
	calls atomic.Uint64
}

func (g *gate) Overflow(time.Time, uint64) {}

func (g *gate) Packet(time.Time, recorder.PacketKind, []byte) {
	g.calls.Add(1)
	if g.shut.Load() {
		g.t.Error("the sink was called after Detach or Close had returned")
	}
}

func TestNoCallAfterDetachOrClose(t *testing.T) {
	t.Parallel()
	r := testReceiver(t, 8)
	from := sender(t)
	var ports [4]atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := uint16(0); ; seq++ {
			select {
			case <-stop:
				return
			default:
			}
			for i := range ports {
				if p := int(ports[i].Load()); p != 0 {
					send(t, from, p, packet(t, testSSRC, 101, seq, 1, vp8Delta))
				}
			}
		}
	})
	for i := range ports {
		l := lease(t, r, true)
		ports[i].Store(int64(l.Endpoint().RTPPort))
		for round := range 10 {
			g := &gate{t: t}
			if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: g}); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return g.calls.Load() > 0 })
			if round < 9 {
				l.Detach()
			} else if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			g.shut.Store(true)
		}
	}
	close(stop)
	wg.Wait()
}

// TestEndingDeliversWhatHasArrived: the last packets of a call lie in the socket until the next beat. Detaching and closing
// take them along.
func TestEndingDeliversWhatHasArrived(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Lease) error{
		"detach": func(l *Lease) error { l.Detach(); return nil },
		"close":  (*Lease).Close,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lease(t, testReceiver(t, 8), false)
			rtp, control := sender(t), sender(t)
			m := &memory{calls: make(chan arrived, 100)}
			source := recorder.Source{IP: "127.0.0.1", RTPPort: portOf(rtp), RTCPPort: portOf(control)}
			if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: m, Source: source}); err != nil {
				t.Fatal(err)
			}
			const packets = 3 * rtpBatch / 2
			for seq := range packets {
				send(t, rtp, l.Endpoint().RTPPort, packet(t, testSSRC, 101, uint16(seq), 1, vp8Delta))
			}
			send(t, control, l.Endpoint().RTCPPort, report(t, testSSRC))
			if err := end(l); err != nil {
				t.Fatal(err)
			}
			if got := len(m.calls); got != packets+1 {
				t.Errorf("the sink got %d of %d packets", got, packets+1)
			}
			if s := l.Stats(); s.Packets != packets || s.RTCPPackets != 1 {
				t.Errorf("afterwards the statistics say %+v", s)
			}
		})
	}
}

// panicking is a sink that meets a packet nobody thought of.
type panicking struct{}

func (panicking) Overflow(time.Time, uint64) {}

func (panicking) Packet(time.Time, recorder.PacketKind, []byte) { panic("unthought of") }

// TestAPanicClosesOneLease: both leases are read by one goroutine. The panic is logged with its recording, its lease is
// closed and gives its ports back, and the other lease goes on.
func TestAPanicClosesOneLease(t *testing.T) {
	t.Parallel()
	var text logBuffer
	r := testReceiver(t, 8)
	r.log = slog.New(slog.NewTextHandler(&text, nil))
	broken, healthy := lease(t, r, false), lease(t, r, false)
	from := sender(t)
	source := recorder.Source{IP: "127.0.0.1", RTPPort: portOf(from)}
	good := &memory{calls: make(chan arrived, 10)}
	for l, sink := range map[*Lease]recorder.Sink{broken: panicking{}, healthy: good} {
		if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink, Source: source}); err != nil {
			t.Fatal(err)
		}
	}
	key := packet(t, testSSRC, 101, 1, 1, vp8Key)
	send(t, from, broken.Endpoint().RTPPort, key)
	waitFor(t, func() bool { leased, _ := r.Ports(); return leased == 2 })
	send(t, from, healthy.Endpoint().RTPPort, key)
	next(t, good)
	if err := broken.Attach(recorder.Attachment{Params: vp8Params(), Sink: good, Source: source}); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want ErrClosed", err)
	}
	broken.RequestKeyframe()
	broken.Detach()
	if err := broken.Close(); err != nil {
		t.Error(err)
	}
	if said := text.String(); strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, "unthought of") || !strings.Contains(said, "recording_id=rec_1") {
		t.Errorf("the log says %q", said)
	}
}

// TestAPanicOfTheLastPacket: Detach and Close deliver what has arrived, on the goroutine of their caller.
func TestAPanicOfTheLastPacket(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Lease) error{
		"detach": func(l *Lease) error { l.Detach(); return nil },
		"close":  (*Lease).Close,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testReceiver(t, 2)
			l := lease(t, r, false)
			from := sender(t)
			if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: panicking{}, Source: recorder.Source{IP: "127.0.0.1", RTPPort: portOf(from)}}); err != nil {
				t.Fatal(err)
			}
			send(t, from, l.Endpoint().RTPPort, packet(t, testSSRC, 101, 1, 1, vp8Key))
			if err := end(l); err != nil {
				t.Error(err)
			}
			waitFor(t, func() bool { leased, _ := r.Ports(); return leased == 0 })
		})
	}
}

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
