//go:build !linux

package ingest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
)

// calmBeat is short, because a packet counts from when it is read.
const calmBeat = quickBeat

// socket is one bound UDP socket, by portable means: correct, but without the kernel's stamps and not as cheap.
type socket struct {
	slots
	granted int
	conn    *net.UDPConn
}

func openSocket(ctx context.Context, ip netip.Addr, port, buffer, batch int) (*socket, error) {
	conn, granted, err := bindUDP(ctx, ip, port, buffer)
	if err != nil {
		return nil, err
	}
	return &socket{slots: newSlots(batch), granted: granted, conn: conn}, nil
}

// read returns the datagrams that are there, which may be none.
func (s *socket) read() ([]datagram, error) {
	s.batch = s.batch[:0]
	if err := s.conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return nil, err
	}
	for !s.full() {
		buf := s.free()
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return s.batch, nil
		}
		if err != nil {
			return s.batch, err
		}
		s.batch = append(s.batch, datagram{from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), at: time.Now(),
			data: buf[:n], cut: n == len(buf)})
	}
	return s.batch, nil
}

func (s *socket) write(data []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(data, to)
	return err
}

func (s *socket) close() error { return s.conn.Close() }

// setReceiveBuffer asks for the buffer; what was granted cannot be read portably and is taken as asked.
func setReceiveBuffer(conn *net.UDPConn, bytes int) (int, error) {
	return bytes, conn.SetReadBuffer(bytes)
}
