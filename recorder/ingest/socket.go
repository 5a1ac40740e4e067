package ingest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// maxDatagram is the largest datagram taken. WebRTC packets stay below 1,500 bytes; a longer one is malformed here.
const maxDatagram = 2048

// datagram is one received datagram; data is valid until the next read.
type datagram struct {
	from netip.AddrPort
	at   time.Time // when the kernel took it in
	data []byte
	cut  bool // longer than maxDatagram
	// dropped counts what the kernel has dropped of this socket since it was bound, before this datagram (modulo 2^32).
	dropped uint32
}

// slots are the buffers of one socket: what one read may return.
type slots struct {
	space []byte
	batch []datagram
}

func newSlots(n int) slots {
	return slots{space: make([]byte, n*maxDatagram), batch: make([]datagram, 0, n)}
}

// free is the buffer for the next datagram of a batch.
func (s *slots) free() []byte {
	i := len(s.batch) * maxDatagram
	return s.space[i : i+maxDatagram : i+maxDatagram]
}

// full tells that the last read took as much as it could: more may be waiting.
func (s *slots) full() bool { return len(s.batch) == cap(s.batch) }

// bindUDP binds one port. buffer 0 leaves the receive buffer alone; granted is what the kernel gave otherwise.
func bindUDP(ctx context.Context, ip netip.Addr, port, buffer int) (conn *net.UDPConn, granted int, err error) {
	network := "udp4"
	if ip.Is6() && !ip.Is4In6() {
		network = "udp6"
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, network, netip.AddrPortFrom(ip.Unmap(), uint16(port)).String())
	if err != nil {
		return nil, 0, err
	}
	conn = pc.(*net.UDPConn)
	if buffer > 0 {
		if granted, err = setReceiveBuffer(conn, buffer); err != nil {
			_ = conn.Close()
			return nil, 0, fmt.Errorf("set receive buffer: %w", err)
		}
	}
	return conn, granted, nil
}
