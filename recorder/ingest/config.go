package ingest

import (
	"errors"
	"fmt"
	"net/netip"
)

// Config says where media arrives.
type Config struct {
	// BindIP is the local address of every socket.
	BindIP string
	// AnnouncedIP is the address under which the SFU reaches BindIP; empty means BindIP itself.
	AnnouncedIP string
	// PortMin and PortMax bound the pool, both inclusive. A track takes an even port for RTP and the odd one above it
	// for RTCP, or one port with rtcpMux; a dual recording takes six.
	PortMin, PortMax int
	// ReceiveBuffer is the kernel's buffer per RTP socket, in bytes. It bridges the moments when the process does not
	// run: 2 MiB hold about 8 s of a 2 Mbit/s track.
	ReceiveBuffer int
	// Peers are the networks of the SFUs. A source IP outside them is refused, and a packet from outside pins no track.
	// Empty allows every unicast address of BindIP's family.
	Peers []netip.Prefix
}

// DefaultConfig listens on the loopback address alone. The ports lie below those that Linux gives to outgoing
// connections (32768 and up), so that nothing takes them by chance.
func DefaultConfig() Config {
	return Config{BindIP: "127.0.0.1", PortMin: 20000, PortMax: 21999, ReceiveBuffer: 2 << 20}
}

// Bounds of ReceiveBuffer.
const (
	minReceiveBuffer = 64 << 10
	maxReceiveBuffer = 256 << 20
)

// Validate returns every problem at once.
func (c Config) Validate() error {
	var errs []error
	bind, err := netip.ParseAddr(c.BindIP)
	if err != nil {
		errs = append(errs, fmt.Errorf("bind IP %q is not an IP address", c.BindIP))
	}
	if bind.Zone() != "" {
		errs = append(errs, fmt.Errorf("bind IP %s has a zone: choose a global or unique local address of this machine", c.BindIP))
	}
	switch announced, err := netip.ParseAddr(c.AnnouncedIP); {
	case c.AnnouncedIP == "" && bind.IsValid() && bind.IsUnspecified():
		errs = append(errs, fmt.Errorf("bind IP %s stands for every address: set the announced IP that the SFU reaches this machine at", c.BindIP))
	case c.AnnouncedIP == "":
	case err != nil:
		errs = append(errs, fmt.Errorf("announced IP %q is not an IP address: mediasoup's connect() takes no host names", c.AnnouncedIP))
	case announced.IsUnspecified():
		errs = append(errs, fmt.Errorf("announced IP %s is no address that an SFU can send to", c.AnnouncedIP))
	}
	if c.PortMin < 1 || c.PortMax > 65535 || c.PortMin > c.PortMax {
		errs = append(errs, fmt.Errorf("ports %d…%d are not a range within 1…65535", c.PortMin, c.PortMax))
	} else if firstEven(c.PortMin)+1 > c.PortMax {
		errs = append(errs, fmt.Errorf("ports %d…%d hold no even port followed by an odd one: widen the range", c.PortMin, c.PortMax))
	}
	if c.ReceiveBuffer < minReceiveBuffer || c.ReceiveBuffer > maxReceiveBuffer {
		errs = append(errs, fmt.Errorf("receive buffer of %d bytes is not within %d…%d", c.ReceiveBuffer, minReceiveBuffer, maxReceiveBuffer))
	}
	if bind.IsValid() {
		errs = append(errs, c.validatePeers(bind.Unmap()))
	}
	return errors.Join(errs...)
}

func (c Config) validatePeers(bind netip.Addr) error {
	var errs []error
	for _, p := range c.Peers {
		switch {
		case !p.IsValid():
			errs = append(errs, errors.New("a media peer network is not a prefix such as 10.1.0.0/16"))
		case p.Addr().Is4In6():
			errs = append(errs, fmt.Errorf("media peer network %s is IPv4 in IPv6 notation: write it as IPv4", p))
		case p.Addr().Is4() != bind.Is4():
			errs = append(errs, fmt.Errorf("media peer network %s is not of the family of bind IP %s", p, bind))
		case p.Addr().IsMulticast():
			errs = append(errs, fmt.Errorf("media peer network %s is multicast: name the networks that the SFUs send from", p))
		}
	}
	return errors.Join(errs...)
}

func (c Config) announced() string {
	if c.AnnouncedIP != "" {
		return c.AnnouncedIP
	}
	return c.BindIP
}

func firstEven(port int) int { return port + port&1 }
