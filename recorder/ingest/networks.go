package ingest

import (
	"errors"
	"net/netip"
)

// networks says from where media may come.
type networks struct {
	v6     bool
	within []netip.Prefix // empty: from everywhere
}

func (c Config) networks() networks {
	return networks{v6: c.bindAddr().Unmap().Is6(), within: c.Peers}
}

// Why an address is no peer's. The texts follow the address and say what to do.
var (
	errZone      = errors.New("has a zone, which means nothing on another machine: pass transport.tuple.localIp of a transport that listens on a global or unique local address")
	errWantsIPv4 = errors.New("is an IPv6 address, but media is taken over IPv4 here: let the SFU's transport listen on an IPv4 address")
	errWantsIPv6 = errors.New("is an IPv4 address, but media is taken over IPv6 here: let the SFU's transport listen on an IPv6 address")
	errMulticast = errors.New("is a multicast address: pass transport.tuple.localIp, from which the SFU sends")
	errBroadcast = errors.New("is a broadcast address: pass transport.tuple.localIp, from which the SFU sends")
	errLinkLocal = errors.New("is an IPv6 link-local address, which cannot be answered: let the SFU's transport listen on a global or unique local address")
	errOutside   = errors.New("is not within the networks that media is taken from: send from one of them, or have the operator of the recorder allow the SFU's network")
)

// check tells why a peer cannot have this address, or nil. It is called for every packet of an unknown sender, so it
// makes no text of its own.
func (n networks) check(ip netip.Addr) error {
	switch {
	case ip.Zone() != "":
		return errZone
	case ip.Is6() && !n.v6:
		return errWantsIPv4
	case ip.Is4() && n.v6:
		return errWantsIPv6
	case ip.IsMulticast():
		return errMulticast
	case ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errBroadcast
	case ip.Is6() && ip.IsLinkLocalUnicast():
		return errLinkLocal
	case !n.hold(ip):
		return errOutside
	}
	return nil
}

func (n networks) hold(ip netip.Addr) bool {
	for _, p := range n.within {
		if p.Contains(ip) {
			return true
		}
	}
	return len(n.within) == 0
}
