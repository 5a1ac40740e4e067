package ingest

import (
	"fmt"
	"net/netip"

	"github.com/dualrec/dualrec/recorder"
)

// peer is the SFU's side of one track: who may send, and where control packets go. What the announcement left open is
// pinned by the first valid packet and holds for as long as the attachment.
type peer struct {
	networks networks
	ip       netip.Addr // invalid: not known yet
	rtpPort  uint16     // 0: not known yet
	rtcpPort uint16
	mux      bool
	heard    bool // valid RTP came from ip
	known    bool // the transport below has authenticated the sender: there is no address to check
}

// newPeer refuses a source that cannot be an SFU's; the text says what to do. The unspecified address (0.0.0.0, or :: for
// IPv6) stands for a transport that listens on every address: it leaves the IP open as no IP does.
func newPeer(s recorder.Source, mux bool, n networks) (peer, error) {
	p := peer{mux: mux, networks: n}
	if s.RTPPort < 0 || s.RTPPort > 65535 || s.RTCPPort < 0 || s.RTCPPort > 65535 {
		return p, fmt.Errorf("source ports %d and %d are not within 0…65535", s.RTPPort, s.RTCPPort)
	}
	p.rtpPort, p.rtcpPort = uint16(s.RTPPort), uint16(s.RTCPPort)
	if s.IP == "" {
		return p, nil
	}
	ip, err := netip.ParseAddr(s.IP)
	if err != nil {
		return p, fmt.Errorf("source IP %q is not an IP address: pass transport.tuple.localIp, or leave it out to pin the first sender", s.IP)
	}
	ip = ip.Unmap()
	if ip.IsUnspecified() && ip.Is6() == n.v6 {
		return p, nil
	}
	if err := n.check(ip); err != nil {
		return p, fmt.Errorf("source IP %s %w", ip, err)
	}
	p.ip = ip
	return p, nil
}

// sendsRTP tells whether RTP from this address can be the peer's.
func (p *peer) sendsRTP(from netip.AddrPort) bool {
	if p.known {
		return true
	}
	if p.rtpPort != 0 && p.rtpPort != from.Port() {
		return false
	}
	if p.ip.IsValid() {
		return p.ip == from.Addr()
	}
	return p.networks.check(from.Addr()) == nil
}

// sendsRTCP tells the same of RTCP. It waits for the IP: RTP alone proves who sends.
func (p *peer) sendsRTCP(from netip.AddrPort) bool {
	if p.known {
		return true
	}
	if p.mux {
		return p.ip.IsValid() && p.sendsRTP(from)
	}
	return p.ip.IsValid() && p.ip == from.Addr() && (p.rtcpPort == 0 || p.rtcpPort == from.Port())
}

// pinRTP and pinRTCP take over the address of a valid packet.
func (p *peer) pinRTP(from netip.AddrPort) { p.ip, p.rtpPort, p.heard = from.Addr(), from.Port(), true }

func (p *peer) pinRTCP(from netip.AddrPort) {
	if !p.mux {
		p.rtcpPort = from.Port()
	}
}

// control is where feedback goes: exactly the address whose RTCP the SFU expects. It is invalid while that is unknown, and
// until the peer was heard: otherwise whoever attaches could have packets sent to machines that never asked for any.
func (p *peer) control() netip.AddrPort {
	port := p.rtcpPort
	if p.mux {
		port = p.rtpPort
	}
	if !p.heard || port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(p.ip, port)
}
