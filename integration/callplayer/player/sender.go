package player

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/rtcp"
)

// Sender is the SFU side of one track: a socket for RTP and one for RTCP, on two unrelated ports as mediasoup has them,
// or one for both with rtcpMux. It sends where Connect says and counts what comes back.
type Sender struct {
	rtp  *net.UDPConn
	rtcp *net.UDPConn // the same as rtp with rtcpMux
	wg   sync.WaitGroup

	mu       sync.Mutex
	toRTP    netip.AddrPort
	toRTCP   netip.AddrPort
	sent     Counts
	received Feedback
}

// Counts are what was sent.
type Counts struct {
	RTP    uint64 `json:"rtp"`
	RTCP   uint64 `json:"rtcp"`
	Failed uint64 `json:"failed"` // refused by this machine's network stack
}

// Feedback is what the recorder sent. PLI, FIR and NACK count packets; Foreign those from any other address than the
// connected one, which an SFU ignores.
type Feedback struct {
	PLI     uint64 `json:"pli"`
	FIR     uint64 `json:"fir"`
	NACK    uint64 `json:"nack"`
	Foreign uint64 `json:"foreign"`
}

// NewSender binds the sockets on ip.
func NewSender(ip string, rtcpMux bool) (*Sender, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, fmt.Errorf("source IP: %w", err)
	}
	local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))
	s := &Sender{}
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

// Send sends one packet. A recorder that is gone is no error: an SFU does not notice either.
func (s *Sender) Send(p Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn, to, count := s.rtp, s.toRTP, &s.sent.RTP
	if p.RTCP {
		conn, to, count = s.rtcp, s.toRTCP, &s.sent.RTCP
	}
	if _, err := conn.WriteToUDPAddrPort(p.Data, to); err != nil {
		s.sent.Failed++
		return
	}
	*count++
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

// Close closes the sockets and waits for the reader.
func (s *Sender) Close() error {
	err := s.rtp.Close()
	if s.rtcp != s.rtp {
		err = errors.Join(err, s.rtcp.Close())
	}
	s.wg.Wait()
	return err
}

// listen counts feedback on the RTCP socket; an SFU does not look for it anywhere else.
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
	packets, err := rtcp.Unmarshal(data)
	if err != nil {
		return
	}
	for _, p := range packets {
		switch p.(type) {
		case *rtcp.PictureLossIndication:
			s.received.PLI++
		case *rtcp.FullIntraRequest:
			s.received.FIR++
		case *rtcp.TransportLayerNack:
			s.received.NACK++
		}
	}
}
