package ingest

import (
	"net/netip"
	"testing"
)

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
