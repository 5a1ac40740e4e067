package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// calmBeat is long, because the kernel's stamps tell when a packet came.
const calmBeat = 100 * time.Millisecond

// socket is one bound UDP socket that one goroutine reads; write may be called by any.
//
// It is not a net.UDPConn, because the runtime's poller would wake a thread for every packet, whether or not somebody
// waits for it, and that is most of the cost of a call. This socket is known to no poller; its reader
// comes by on a beat and takes without waiting what has gathered, and the kernel's stamps tell when it came.
type socket struct {
	slots
	granted int // receive buffer in bytes; 0 where it was left alone
	oob     []byte

	mu     sync.Mutex // guards fd against use after close: the kernel hands its number out again
	fd     int
	closed bool
}

// openSocket binds. buffer 0 leaves the receive buffer alone; batch is how many datagrams one read may return.
func openSocket(ctx context.Context, ip netip.Addr, port, buffer, batch int) (*socket, error) {
	conn, granted, err := bindUDP(ctx, ip, port, buffer)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // the duplicate stays, out of the poller
	fd, err := dupFD(conn)
	if err != nil {
		return nil, fmt.Errorf("take socket out of the poller: %w", err)
	}
	// Package net lets every UDP socket send to broadcast addresses, which no SFU has.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 0); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("forbid broadcast: %w", os.NewSyscallError("setsockopt", err))
	}
	// Without stamps from the kernel, datagrams count from when they are read.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	// Without this count, what the kernel drops looks as if the network had lost it.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	return &socket{slots: newSlots(batch), granted: granted, oob: make([]byte, 128), fd: fd}, nil
}

func dupFD(conn *net.UDPConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var operr error
	err = raw.Control(func(old uintptr) { fd, operr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = operr
	}
	return fd, err
}

// read returns the datagrams that are there, which may be none. Only the socket's own goroutine may call it, and not
// after close.
func (s *socket) read() ([]datagram, error) {
	s.batch = s.batch[:0]
	for !s.full() {
		buf := s.free()
		n, oobn, flags, from, err := unix.Recvmsg(s.fd, buf, s.oob, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return s.batch, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return s.batch, os.NewSyscallError("recvmsg", err)
		}
		d := datagram{from: addrPort(from), data: buf[:n], cut: flags&unix.MSG_TRUNC != 0}
		d.at, d.dropped = notesOf(s.oob[:oobn], time.Now())
		s.batch = append(s.batch, d)
	}
	return s.batch, nil
}

// write sends one datagram. It fails with net.ErrClosed after close, and with the kernel's word when the address is not
// of the socket's family.
func (s *socket) write(data []byte, to netip.AddrPort) error {
	addr, err := sockaddr(to)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return os.NewSyscallError("sendto", unix.Sendto(s.fd, data, unix.MSG_DONTWAIT, addr))
}

// close gives the port back. Nothing may be reading.
func (s *socket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return os.NewSyscallError("close", unix.Close(s.fd))
}

// sockaddr refuses the zero address: the kernel would take it for this machine's own.
func sockaddr(to netip.AddrPort) (unix.Sockaddr, error) {
	switch ip := to.Addr().Unmap(); {
	case !ip.IsValid() || ip.IsUnspecified():
		return nil, fmt.Errorf("send to %s: not an address", to)
	case ip.Is4():
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}, nil
	default:
		return &unix.SockaddrInet6{Port: int(to.Port()), Addr: ip.As16()}, nil
	}
}

func addrPort(from unix.Sockaddr) netip.AddrPort {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// setReceiveBuffer asks past the system's limit first, which needs CAP_NET_ADMIN, then within it. It returns what
// holds then, in bytes of payload and overhead as asked for: the kernel doubles the number and tells the double.
func setReceiveBuffer(conn *net.UDPConn, bytes int) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	granted, operr := 0, error(nil)
	err = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil {
			if operr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes); operr != nil {
				return
			}
		}
		granted, operr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	})
	if err == nil {
		err = operr
	}
	return granted / 2, err
}

// notesOf reads what the kernel notes on a datagram (socket(7)): its time of arrival (SO_TIMESTAMPNS), and how many were
// dropped before it since the socket was bound (SO_RXQ_OVFL), 0 where it says nothing. now stands in where there is no
// time, and where it lies in the future because the clock was set back.
func notesOf(oob []byte, now time.Time) (at time.Time, dropped uint32) {
	at = now
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		switch {
		case h.Level != unix.SOL_SOCKET:
		case h.Type == unix.SO_TIMESTAMPNS && len(data) == 16: // two 64-bit numbers; machines with 32-bit times do without
			stamp := time.Unix(int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:])))
			if !stamp.After(now) {
				at = stamp
			}
		case h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			dropped = binary.NativeEndian.Uint32(data)
		}
		oob = rest
	}
	return at, dropped
}
