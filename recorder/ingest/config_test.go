package ingest

import (
	"net/netip"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		edit func(*Config)
		want []string // in the error's text; none: valid
	}{
		{"the default", func(*Config) {}, nil},
		{"all addresses with an announced one", func(c *Config) { c.BindIP, c.AnnouncedIP = "0.0.0.0", "203.0.113.5" }, nil},
		{"IPv6", func(c *Config) { c.BindIP = "::1" }, nil},
		{"one pair", func(c *Config) { c.PortMin, c.PortMax = 20000, 20001 }, nil},
		{"all addresses, none announced", func(c *Config) { c.BindIP = "0.0.0.0" }, []string{"set the announced IP"}},
		{"a host name", func(c *Config) { c.AnnouncedIP = "media.example" }, []string{"no host names"}},
		{"announcing everything", func(c *Config) { c.AnnouncedIP = "0.0.0.0" }, []string{"no address"}},
		{"no pair", func(c *Config) { c.PortMin, c.PortMax = 20001, 20002 }, []string{"widen"}},
		{"upside down", func(c *Config) { c.PortMin, c.PortMax = 20001, 20000 }, []string{"not a range"}},
		{"networks of SFUs", func(c *Config) { c.Peers = prefixes("10.1.0.0/16", "10.2.3.4/8", "0.0.0.0/0") }, nil},
		{"networks of IPv6", func(c *Config) { c.BindIP, c.Peers = "::1", prefixes("2001:db8::/32", "::/0") }, nil},
		{"networks of the other family", func(c *Config) { c.Peers = prefixes("2001:db8::/32") }, []string{"2001:db8::/32 is not of the family of bind IP 127.0.0.1"}},
		{"networks in IPv6 notation", func(c *Config) { c.BindIP, c.Peers = "::1", prefixes("::ffff:10.0.0.0/104") }, []string{"write it as IPv4"}},
		{"a multicast network", func(c *Config) { c.Peers = prefixes("224.0.0.0/4") }, []string{"224.0.0.0/4 is multicast"}},
		{"no network", func(c *Config) { c.Peers = make([]netip.Prefix, 1) }, []string{"not a prefix"}},
		{"a zone", func(c *Config) { c.BindIP = "fe80::1%eth0" }, []string{"fe80::1%eth0 has a zone"}},
		{"several at once", func(c *Config) { c.BindIP, c.PortMax, c.ReceiveBuffer = "x", 70000, 1 },
			[]string{"not an IP address", "not a range", "receive buffer of 1 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := DefaultConfig()
			tc.edit(&c)
			err := c.Validate()
			if len(tc.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, w := range tc.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %v does not say %q", err, w)
				}
			}
		})
	}
}
