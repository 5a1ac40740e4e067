package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/dualrec/dualrec/auth"
)

// What stands between the network and the handlers: how long and how many connections may hold the server, and whom it
// speaks plain HTTP to.

// newHTTPServer bounds how long a request may take to come and its answer to go. Media sets a deadline of its own for
// each piece that it sends, and a WebSocket has none: both outlive WriteTimeout.
func newHTTPServer(ctx context.Context, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
}

// limitListener holds at most so many connections open; further ones wait in the system's queue.
type limitListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newLimitListener(l net.Listener, limit int) *limitListener {
	return &limitListener{Listener: l, places: make(chan struct{}, limit), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener. It wakes an Accept that waits for a place.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

// Close gives the place back.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite keeps what net/http does with a TCP connection that it hangs up: the client still reads the answer.
func (c *limitedConn) CloseWrite() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return errors.ErrUnsupported
}

// peerOf is the address of the connection, without regard to headers.
func peerOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// proxiesOnly refuses everybody but this machine and the proxies: what listens beyond loopback speaks plain HTTP, and
// credentials and media must not cross a network that way because somebody forgot a firewall.
func proxiesOnly(proxies []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer := peerOf(r); !peer.IsLoopback() && !within(proxies, peer) {
			http.Error(w, "this port speaks plain HTTP to its TLS proxy only: use the public address, or add your proxy's network to --trusted-proxy", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// clientIP is auth.ClientIP, and tells the operator once of a proxy on this machine that was not named: all of its
// clients have one address then, in audit events and for slowing down failed sign-ins.
func clientIP(proxies []netip.Prefix, log *slog.Logger) auth.SourceFunc {
	find := auth.ClientIP(proxies)
	var once sync.Once
	return func(r *http.Request) netip.Addr {
		if peer := peerOf(r); peer.IsLoopback() && !within(proxies, peer) && r.Header.Get("X-Forwarded-For") != "" {
			once.Do(func() {
				log.Warn("a proxy on this machine sends X-Forwarded-For and is not trusted: all of its clients count as one address; name it by --trusted-proxy", "peer", peer)
			})
		}
		return find(r)
	}
}
