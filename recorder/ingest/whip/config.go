package whip

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Config says where media arrives and how much of it. Start from DefaultConfig.
type Config struct {
	// Bind is the UDP address of all sessions.
	Bind netip.AddrPort
	// Announced are the addresses under which publishers reach Bind; none: Bind itself.
	Announced []netip.Addr
	// ReceiveBuffer is the kernel's buffer of the socket, in bytes.
	ReceiveBuffer int
	// AllowedOrigins may publish from a browser's page, e.g. "https://desk.example.com".
	AllowedOrigins []string

	MaxSessions     int           // at the same time
	MaxPerRecording int           // sessions of one recording, those included that are not connected yet
	MaxBody         int64         // bytes of an offer or fragment
	ConnectWithin   time.Duration // from the answer until media can flow
	LostAfter       time.Duration // nothing is heard of a publisher for so long: its tracks are detached
}

// DefaultConfig listens on the loopback address alone.
func DefaultConfig() Config {
	return Config{Bind: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 8189), ReceiveBuffer: 4 << 20, MaxSessions: 200, MaxPerRecording: 6,
		MaxBody: 64 << 10, ConnectWithin: 15 * time.Second, LostAfter: 15 * time.Second}
}

// Validate returns every problem at once.
func (c Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf("whip: "+format, args...)) }
	bind := c.Bind.Addr().Unmap()
	if !c.Bind.IsValid() || bind.Zone() != "" || bind.IsMulticast() {
		refuse("%v is not a UDP address of this machine", c.Bind)
	}
	if bind.IsUnspecified() && len(c.Announced) == 0 {
		refuse("%s stands for every address: set the announced address that publishers reach this machine at", bind)
	}
	for _, a := range c.Announced {
		if a = a.Unmap(); !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is4() != bind.Is4() {
			refuse("announced address %v is not one that publishers can send to, of the family of %s", a, bind)
		}
	}
	if c.ReceiveBuffer < 64<<10 || c.ReceiveBuffer > 256<<20 {
		refuse("receive buffer of %d bytes is not within 64 KiB…256 MiB", c.ReceiveBuffer)
	}
	if c.MaxSessions < 1 || c.MaxSessions > 100_000 || c.MaxPerRecording < 2 || c.MaxPerRecording > c.MaxSessions+1 {
		refuse("limits of %d sessions and %d per recording: a call takes two, and their sum must fit", c.MaxSessions, c.MaxPerRecording)
	}
	if c.MaxBody < 1<<10 || c.MaxBody > 1<<20 {
		refuse("limit of %d bytes for an offer is not within 1 KiB…1 MiB", c.MaxBody)
	}
	if c.ConnectWithin <= 0 || c.LostAfter <= 0 {
		refuse("times to connect and to be lost must be positive")
	}
	return errors.Join(errs...)
}
