package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const patience = 20 * time.Second

// serve runs a server as the program does and ends it with the test.
func serve(t *testing.T, srv *http.Server, connections int) (address string) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(newLimitListener(tcp, connections)) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return tcp.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

// Whoever asks and never reads must not hold a connection and its goroutine for ever.
func TestAnswerThatNobodyReadsEnds(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	srv := newHTTPServer(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 1<<20)
		for range 1000 { // more than any socket's buffers hold
			if _, err := w.Write(piece); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}), slog.New(slog.DiscardHandler))
	if srv.WriteTimeout <= 0 || srv.WriteTimeout > time.Minute || srv.ReadTimeout <= 0 || srv.ReadHeaderTimeout <= 0 || srv.IdleTimeout <= 0 {
		t.Fatalf("a phase of a request has no limit: %+v", srv)
	}
	srv.WriteTimeout = 50 * time.Millisecond
	ask(t, dial(t, serve(t, srv, 10)))
	select {
	case err := <-ended:
		if err == nil {
			t.Error("everything was sent to a client that reads nothing")
		}
	case <-time.After(patience):
		t.Error("the answer still waits")
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 3)
	address := serve(t, newHTTPServer(t.Context(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }),
		slog.New(slog.DiscardHandler)), 2)
	answered := func(c net.Conn) {
		t.Helper()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", res, err)
		}
		_ = res.Body.Close()
		<-asked
	}
	first, second := dial(t, address), dial(t, address)
	ask(t, first)
	answered(first)
	ask(t, second)
	answered(second) // both places are taken by connections that are kept alive
	third := dial(t, address)
	ask(t, third)
	select {
	case <-asked:
		t.Fatal("a third connection was served")
	case <-time.After(100 * time.Millisecond):
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	answered(third)
}

func TestLimitListenerEnds(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLimitListener(tcp, 1)
	dial(t, tcp.Addr().String())
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := l.Accept() // there is no place
		waiting <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	for range 2 { // net/http closes a connection more than once
		_ = c.Close()
	}
	if len(l.places) != 0 {
		t.Errorf("%d places are taken", len(l.places))
	}
}

var lan = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestPlainHTTPIsForProxiesOnly(t *testing.T) {
	t.Parallel()
	h := proxiesOnly(lan, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for peer, status := range map[string]int{
		"10.1.2.3:5": 204, "[::ffff:10.1.2.3]:5": 204, "[fd00::1]:5": 204, "127.0.0.1:5": 204, "[::1]:5": 204,
		"192.0.2.1:5": 403, "[::ffff:192.0.2.1]:5": 403, "[2001:db8::1]:5": 403, "": 403, "pipe": 403,
	} {
		r := httptest.NewRequest("GET", "/graphql", nil)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", "10.0.0.1") // says nothing about the peer
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status || status == 403 && !strings.Contains(w.Body.String(), "--trusted-proxy") {
			t.Errorf("%q: %d %s", peer, w.Code, w.Body)
		}
	}
}

func TestListenAddresses(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]bool{"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true,
		"0.0.0.0:1": false, "[::]:1": false, ":1": false, "10.0.0.1:1": false, "rec.example.com:1": false, "nonsense": false} {
		if got := (serveConfig{Listen: listen}).loopbackOnly(); got != want {
			t.Errorf("%s: loopback %t", listen, got)
		}
	}
}

func TestUntrustedLocalProxyIsToldOfOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, peer, forwarded string
		trusted               []netip.Prefix
		warns                 bool
		want                  string
	}{
		{"local proxy, not named", "127.0.0.1:5", "192.0.2.9", lan, true, "127.0.0.1"},
		{"local proxy, named", "127.0.0.1:5", "192.0.2.9", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, false, "192.0.2.9"},
		{"local client", "127.0.0.1:5", "", lan, false, "127.0.0.1"},
		{"client that lies", "192.0.2.1:5", "192.0.2.9", lan, false, "192.0.2.1"},
	} {
		var log bytes.Buffer
		find := clientIP(tc.trusted, slog.New(slog.NewTextHandler(&log, nil)))
		for range 3 {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tc.peer
			if tc.forwarded != "" {
				r.Header.Set("X-Forwarded-For", tc.forwarded)
			}
			if got := find(r); got.String() != tc.want {
				t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
			}
		}
		if n := strings.Count(log.String(), "--trusted-proxy"); n > 1 || (n == 1) != tc.warns {
			t.Errorf("%s: warned %d times: %s", tc.name, n, &log)
		}
	}
}

func TestFirstStepsShowNoPassword(t *testing.T) {
	t.Parallel()
	text := common{Data: "/var/lib/dualrec", Database: "postgres://rec:hunter2@db.internal/rec"}.firstSteps("dualrec")
	if strings.Contains(text, "hunter2") || strings.Contains(text, "db.internal") {
		t.Errorf("it shows the database's address:\n%s", text)
	}
	if n := strings.Count(text, `--data /var/lib/dualrec --database "$DUALREC_DATABASE"`); n != 3 {
		t.Errorf("%d of 3 commands find the database:\n%s", n, text)
	}
	if text := (common{Data: "d"}).firstSteps("dualrec"); strings.Contains(text, "DATABASE") || !strings.Contains(text, "tenant create acme --plan ENTERPRISE --data d\n") {
		t.Errorf("without --database:\n%s", text)
	}
}

func TestConnectionsSetting(t *testing.T) {
	t.Parallel()
	for n, good := range map[int]bool{0: false, -1: false, 1: true, 4096: true, 1_000_001: false} {
		err := serveConfig{Listen: "127.0.0.1:1", MaxConnections: n, Node: "n", IdleStop: time.Minute}.Validate()
		if good != (err == nil || !strings.Contains(err.Error(), "--max-connections")) {
			t.Errorf("%d: %v", n, err)
		}
	}
}
