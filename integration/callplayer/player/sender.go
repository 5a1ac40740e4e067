package player

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
)

// Sender is the SFU side of one track: a socket for RTP and one for RTCP, on two unrelated ports as mediasoup has them,
// or one for both with rtcpMux. It sends where Connect says, over a Line if there is one, and notes what comes back. After
// Offer it sends again what is asked for, as mediasoup does: within 2 s of video or 1 s of sound, and not twice within
// 100 ms.
type Sender struct {
	rtp  *net.UDPConn
	rtcp *net.UDPConn // the same as rtp with rtcpMux
	wg   sync.WaitGroup

	mu       sync.Mutex
	toRTP    netip.AddrPort
	toRTCP   netip.AddrPort
	sent     Counts
	received Feedback
	asked    []Asked
	secrets  *secrets
	store    *store // nil: nothing is sent again
	line     Line
	held     []heldPacket
	reports  int // RTCP datagrams sent
	inbound  int // datagrams of the recorder
	newest   time.Duration
	history  []Passed
	latest   map[uint16]int // of the newest packet with a number, its place in history
}

// Counts are what was sent.
type Counts struct {
	RTP    uint64 `json:"rtp"`
	RTCP   uint64 `json:"rtcp"`
	Failed uint64 `json:"failed"` // refused by this machine's network stack
	Again  uint64 `json:"again"`  // because it was asked for
	Lost   uint64 `json:"lost"`   // on the line, on purpose
}

// Feedback is what the recorder sent. PLI, FIR, NACK and RR count packets; Foreign those from any other address than the
// connected one, which an SFU ignores, and Malformed what could not be read or decrypted.
type Feedback struct {
	PLI       uint64 `json:"pli"`
	FIR       uint64 `json:"fir"`
	NACK      uint64 `json:"nack"`
	RR        uint64 `json:"rr"`
	Foreign   uint64 `json:"foreign"`
	Malformed uint64 `json:"malformed"`
}

// Asked is one wish of the recorder.
type Asked struct {
	At   time.Time
	Kind string   // "pli", "fir" or "nack"
	Seqs []uint16 // of a NACK
}

// Passed is a packet of the track that was sent.
type Passed struct {
	Seq       uint16
	At        time.Duration // on the call's clock
	Delivered bool          // by the line, at first or later
	First     bool          // at the first attempt
}

type heldPacket struct {
	data   []byte
	rtcp   bool
	behind int           // packets that pass it
	until  time.Duration // on the call's clock
	index  int           // in history; -1: none
}

// NewSender binds the sockets on ip.
func NewSender(ip string, rtcpMux bool) (*Sender, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, fmt.Errorf("source IP: %w", err)
	}
	local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))
	s := &Sender{line: Clear{}, latest: map[uint16]int{}}
	if s.rtp, err = net.ListenUDP("udp", local); err != nil {
		return nil, fmt.Errorf("bind RTP socket: %w", err)
	}
	s.rtcp = s.rtp
	if !rtcpMux {
		if s.rtcp, err = net.ListenUDP("udp", local); err != nil {
			return nil, errors.Join(fmt.Errorf("bind RTCP socket: %w", err), s.rtp.Close())
		}
	}
	s.wg.Go(s.listen)
	return s, nil
}

// Ports are the local ports, for attachTrack's source. rtcp is 0 with rtcpMux.
func (s *Sender) Ports() (rtp, rtcp int) {
	port := func(c *net.UDPConn) int { return c.LocalAddr().(*net.UDPAddr).Port }
	if s.rtcp == s.rtp {
		return port(s.rtp), 0
	}
	return port(s.rtp), port(s.rtcp)
}

// Connect sets where packets go: the recorder's ingest. rtcpPort is 0 with rtcpMux.
func (s *Sender) Connect(ip string, rtpPort, rtcpPort int) error {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return fmt.Errorf("ingest IP: %w", err)
	}
	if rtcpPort == 0 {
		rtcpPort = rtpPort
	}
	if rtpPort < 1 || rtpPort > 65535 || rtcpPort < 1 || rtcpPort > 65535 {
		return fmt.Errorf("ingest ports %d and %d are not within 1…65535", rtpPort, rtcpPort)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.toRTP, s.toRTCP = netip.AddrPortFrom(addr, uint16(rtpPort)), netip.AddrPortFrom(addr, uint16(rtcpPort))
	return nil
}

// Offer makes the sender keep account of a track's packets and answer wishes for them, in the way that the track's
// parameters announce.
func (s *Sender) Offer(t Track) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = newStore(t)
}

// Over puts a line between the sender and the recorder.
func (s *Sender) Over(l Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = l
}

// Forget drops what could be sent again, as mediasoup does when a consumer is paused.
func (s *Sender) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store != nil {
		s.store.clear()
	}
}

// Send sends one packet. A recorder that is gone is no error: an SFU does not notice either.
func (s *Sender) Send(p Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = max(s.newest, p.At)
	s.release(false, p.At)
	pass := Passing{RTCP: p.RTCP, At: s.newest}
	index := -1
	if p.RTCP {
		pass.Seq = uint16(s.reports)
		s.reports++
	} else if len(p.Data) >= 12 {
		pass.Seq, pass.SSRC = binary.BigEndian.Uint16(p.Data[2:]), binary.BigEndian.Uint32(p.Data[8:])
		if s.store != nil && s.store.ssrc == pass.SSRC {
			index = len(s.history)
			s.history = append(s.history, Passed{Seq: pass.Seq, At: p.At})
			s.latest[pass.Seq] = index
			s.store.add(pass.Seq, p, time.Now())
		}
	}
	fate := s.line.Media(pass)
	if index >= 0 {
		s.history[index].First = !fate.Lost
	}
	s.pass(p.Data, p.RTCP, index, fate)
	if !p.RTCP {
		for i := range s.held {
			s.held[i].behind--
		}
		s.release(false, s.newest)
	}
}

// pass lets a packet meet its fate.
func (s *Sender) pass(data []byte, rtcp bool, index int, fate Fate) {
	wire, err := s.secrets.sealed(data, rtcp)
	if err != nil {
		s.sent.Failed++
		return
	}
	switch {
	case fate.Lost:
		s.sent.Lost++
	case fate.Behind > 0 || fate.Delay > 0:
		h := heldPacket{data: slices.Clone(wire), rtcp: rtcp, behind: fate.Behind + 1, until: s.newest + fate.Delay, index: index}
		if fate.Behind == 0 {
			h.behind = 0
		}
		s.held = append(s.held, h)
		for range fate.Copies {
			s.held = append(s.held, h)
		}
	default:
		for range 1 + fate.Copies {
			s.write(wire, rtcp, index)
		}
	}
}

func (s *Sender) write(wire []byte, rtcp bool, index int) {
	conn, to, count := s.rtp, s.toRTP, &s.sent.RTP
	if rtcp {
		conn, to, count = s.rtcp, s.toRTCP, &s.sent.RTCP
	}
	if _, err := conn.WriteToUDPAddrPort(wire, to); err != nil {
		s.sent.Failed++
		return
	}
	*count++
	if index >= 0 {
		s.history[index].Delivered = true
	}
}

// release sends what was held back long enough, in the order in which it was to be sent.
func (s *Sender) release(all bool, now time.Duration) {
	rest := s.held[:0]
	for _, h := range s.held {
		if all || h.behind <= 0 && h.until <= now {
			s.write(h.data, h.rtcp, h.index)
		} else {
			rest = append(rest, h)
		}
	}
	s.held = rest
}

// Flush sends what the line still holds back. Call it at the end.
func (s *Sender) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(true, 0)
}

// Again sends packets of the last seconds once more although nobody asks, wrapped if the track is repaired so. It tells
// how many it had.
func (s *Sender) Again(seqs ...uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.again(seqs)
}

func (s *Sender) again(seqs []uint16) (n int) {
	if s.store == nil {
		return 0
	}
	for _, seq := range seqs {
		data, attempt := s.store.again(seq, time.Now())
		if data == nil {
			continue
		}
		n++
		s.sent.Again++
		index, ok := s.latest[seq]
		if !ok {
			index = -1
		}
		s.pass(data, false, index, s.line.Media(Passing{SSRC: s.store.ssrc, Seq: seq, Attempt: attempt, At: s.newest}))
	}
	return n
}

// Sent counts the packets so far.
func (s *Sender) Sent() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Received counts the feedback so far.
func (s *Sender) Received() Feedback {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received
}

// Asked lists the wishes so far, in order.
func (s *Sender) Asked() []Asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// History lists the packets of the track since Offer, in the order of sending, and what became of them.
func (s *Sender) History() []Passed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history)
}

// Close closes the sockets and waits for the reader.
func (s *Sender) Close() error {
	err := s.rtp.Close()
	if s.rtcp != s.rtp {
		err = errors.Join(err, s.rtcp.Close())
	}
	s.wg.Wait()
	return err
}

// listen takes feedback on the RTCP socket; an SFU does not look for it anywhere else.
func (s *Sender) listen() {
	buf := make([]byte, 2048)
	for {
		n, from, err := s.rtcp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			s.feedback(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		}
	}
}

func (s *Sender) feedback(data []byte, from netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from != s.toRTCP {
		s.received.Foreign++
		return
	}
	s.inbound++
	if !s.line.Feedback(s.inbound - 1) {
		return
	}
	plain, err := s.secrets.opened(data)
	if err != nil {
		s.received.Malformed++
		return
	}
	packets, err := rtcp.Unmarshal(plain)
	if err != nil {
		s.received.Malformed++
		return
	}
	for _, p := range packets {
		s.wish(p, time.Now())
	}
}

func (s *Sender) wish(p rtcp.Packet, now time.Time) {
	switch p := p.(type) {
	case *rtcp.PictureLossIndication:
		s.received.PLI++
		s.asked = append(s.asked, Asked{At: now, Kind: "pli"})
	case *rtcp.FullIntraRequest:
		s.received.FIR++
		s.asked = append(s.asked, Asked{At: now, Kind: "fir"})
	case *rtcp.ReceiverReport:
		s.received.RR++
	case *rtcp.TransportLayerNack:
		s.received.NACK++
		a := Asked{At: now, Kind: "nack"}
		for _, pair := range p.Nacks {
			a.Seqs = append(a.Seqs, pair.PacketList()...)
		}
		s.asked = append(s.asked, a)
		s.again(a.Seqs)
	}
}
