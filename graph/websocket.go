package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/gorilla/websocket"

	"github.com/dualrec/dualrec/auth"
)

// subprotocol is the only one spoken: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
const subprotocol = "graphql-transport-ws"

// The close codes of the protocol.
const (
	closeBadRequest     = 4400
	closeUnauthorized   = 4401
	closeForbidden      = 4403
	closeBadSubprotocol = 4406
	closeInitTimeout    = 4408
	closeDuplicate      = 4409
	closeTooManyInits   = 4429
)

// gorilla makes gqlgen speak over gorilla/websocket, and makes the protocol's rules hold that gqlgen leaves open: close
// codes, one connection_init, no subscribe before it is acknowledged, no two operations of one id.
type gorilla struct {
	upgrader     websocket.Upgrader
	writeTimeout time.Duration
}

// Accept implements transport.WebsocketImplementation.
func (g gorilla) Accept(w http.ResponseWriter, r *http.Request, o transport.WebsocketAcceptOptions) (transport.WebsocketConn, error) {
	up := g.upgrader
	up.Subprotocols = []string{subprotocol}
	c, err := up.Upgrade(w, r, o.ResponseHeader)
	if err != nil {
		return nil, fmt.Errorf("graph: upgrade: %w", err)
	}
	conn := &socketConn{Conn: c, writeTimeout: g.writeTimeout, outer: map[string]string{}, inner: map[string]string{}}
	if s, ok := r.Context().Value(socketKey{}).(*socket); ok {
		s.conn.Store(conn)
	}
	return conn, nil
}

// refuseSubprotocol upgrades only to say by the close code what is wrong: a browser shows nothing else.
func (g gorilla) refuseSubprotocol(w http.ResponseWriter, r *http.Request) {
	c, err := g.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	conn := &socketConn{Conn: c}
	_ = conn.WriteClose(closeBadSubprotocol, "Subprotocol not acceptable: use "+subprotocol)
	_ = conn.Close()
}

// socket is what a connection's operations share.
type socket struct {
	source netip.Addr
	conn   atomic.Pointer[socketConn]
	active atomic.Int32
	expiry atomic.Pointer[time.Timer]
	checks sync.WaitGroup

	// Set when the client is let in, which is before its first operation.
	principal auth.Principal
	verify    func(ctx context.Context) (auth.Principal, error)
}

type socketKey struct{}

// closeAt ends the connection when its principal's permission does.
func (s *socket) closeAt(at time.Time) {
	s.expiry.Store(time.AfterFunc(time.Until(at), func() { s.forbid("Forbidden: the token has expired") }))
}

// forbid ends the connection because of its credential.
func (s *socket) forbid(text string) {
	if c := s.conn.Load(); c != nil {
		_ = c.WriteClose(closeForbidden, text)
		_ = c.Close()
	}
}

// recheck verifies the credential again. One that is no longer good, or stands for somebody else now, ends the
// connection. A fault of ours says nothing about the credential and ends nothing.
func (s *socket) recheck(ctx context.Context) error {
	p, err := s.verify(ctx)
	if err == nil && !samePrincipal(p, s.principal) {
		err = fmt.Errorf("%w: the credential stands for another principal now", auth.ErrUnauthenticated)
	}
	if errors.Is(err, auth.ErrUnauthenticated) {
		s.forbid("Forbidden: the credential is no longer good")
	}
	return err
}

func samePrincipal(a, b auth.Principal) bool {
	return a.TenantID == b.TenantID && a.Subject == b.Subject && a.Role == b.Role && a.KeyID == b.KeyID &&
		slices.Equal(a.Queues, b.Queues) && slices.Equal(a.Networks, b.Networks)
}

// keepChecking rechecks until ctx or the credential ends, for subscriptions that go on without a new operation.
func (s *socket) keepChecking(ctx context.Context, every time.Duration, log *slog.Logger) {
	s.checks.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			err := s.recheck(ctx)
			if errors.Is(err, auth.ErrUnauthenticated) {
				log.InfoContext(ctx, "graphql socket ended with its credential", "request_id", requestID(ctx), "error", err)
				return
			}
			if err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "graphql socket's credential not checked", "request_id", requestID(ctx), "error", err)
			}
		}
	})
}

// done waits for what runs beside the connection. Its context has ended.
func (s *socket) done() {
	if t := s.expiry.Load(); t != nil {
		t.Stop()
	}
	s.checks.Wait()
}

// socketConn implements transport.WebsocketConn. gqlgen sees operation ids of ours: it would take the end of one
// operation for the end of the next if a client used an id again.
type socketConn struct {
	*websocket.Conn
	writeTimeout time.Duration

	write sync.Mutex
	mu    sync.Mutex
	early int // messages before connection_init, counted by the one reader
	inits int
	acked bool
	ops   int
	outer map[string]string // ours → the client's
	inner map[string]string // the client's → ours
}

type frame struct {
	Payload json.RawMessage `json:"payload,omitempty"`
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
}

// violation is a breach of the protocol, which ends the connection.
type violation struct {
	code int
	text string
}

func (v *violation) Error() string { return fmt.Sprintf("%d: %s", v.code, v.text) }

// NextReader implements transport.WebsocketConn. It returns the next message that concerns gqlgen.
func (c *socketConn) NextReader() (int, io.Reader, error) {
	for {
		kind, data, err := c.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseNoStatusReceived, websocket.CloseGoingAway) {
			return kind, nil, transport.ErrWebsocketClosed
		}
		if errors.Is(err, websocket.ErrReadLimit) { // gorilla has sent the close frame
			c.hangUp()
		}
		if err != nil {
			return kind, nil, err
		}
		out, err := c.incoming(kind, data)
		if errors.Is(err, errAnswered) {
			continue
		}
		if v, is := errors.AsType[*violation](err); is {
			_ = c.WriteClose(v.code, v.text)
			c.hangUp()
			return kind, nil, transport.ErrWebsocketClosed
		}
		return kind, bytes.NewReader(out), err
	}
}

// The bounds of hangUp.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 1 << 20
)

// hangUp closes the connection after a close frame. What the peer has sent already is read and thrown away first:
// a TCP connection that is closed with unread data is reset, and the reset can overtake the close frame, which says
// why. It is called by the one reader.
func (c *socketConn) hangUp() {
	raw := c.NetConn()
	_ = raw.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, raw, lingerBytes) // until the peer closes too
	_ = c.Close()
}

// errAnswered: the message needs nothing more. A client may ping before it is let in, which gqlgen does not expect.
var errAnswered = errors.New("graph: message answered")

// maxEarly is how many pings and pongs a client may send before it is let in. Nobody is known yet, so nothing is free.
const maxEarly = 16

func (c *socketConn) answerEarly(f frame) error {
	c.mu.Lock()
	acked := c.acked
	c.mu.Unlock()
	if acked || f.Type != "ping" && f.Type != "pong" {
		return nil
	}
	if c.early++; c.early > maxEarly {
		return &violation{closeBadRequest, "Too many messages before connection_init"}
	}
	if f.Type == "ping" {
		if err := c.WriteJSON(frame{Type: "pong", Payload: f.Payload}); err != nil {
			return err
		}
	}
	return errAnswered
}

func (c *socketConn) incoming(kind int, data []byte) ([]byte, error) {
	f, err := parseFrame(kind, data)
	if err != nil {
		return nil, err
	}
	if err := c.answerEarly(f); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Type {
	case "connection_init":
		if c.inits++; c.inits > 1 {
			return nil, &violation{closeTooManyInits, "Too many initialisation requests"}
		}
	case "subscribe":
		if err := c.subscribe(&f); err != nil {
			return nil, err
		}
	case "complete":
		ours, known := c.inner[f.ID]
		if !known {
			f.Type, f.ID = "pong", "" // of an operation that has just ended by itself: nothing to do
			break
		}
		delete(c.inner, f.ID)
		delete(c.outer, ours) // whatever it still says is not sent
		f.ID = ours
	}
	return json.Marshal(f)
}

func (c *socketConn) subscribe(f *frame) error {
	if !c.acked {
		return &violation{closeUnauthorized, "Unauthorized"}
	}
	if _, dup := c.inner[f.ID]; dup {
		return &violation{closeDuplicate, "Subscriber for " + cut(f.ID) + " already exists"}
	}
	c.ops++
	ours := strconv.Itoa(c.ops)
	c.inner[f.ID], c.outer[ours] = ours, f.ID
	f.ID = ours
	return nil
}

// cut keeps a close reason within the 123 bytes of RFC 6455.
func cut(s string) string { return s[:min(len(s), 64)] }

const maxOperationID = 256

// parseFrame reads a message of a client.
func parseFrame(kind int, data []byte) (f frame, err error) {
	bad := &violation{closeBadRequest, "Invalid message received"}
	if kind != websocket.TextMessage || json.Unmarshal(data, &f) != nil {
		return f, bad
	}
	object := len(f.Payload) == 0 || f.Payload[0] == '{' || string(f.Payload) == "null"
	switch f.Type {
	case "connection_init", "ping", "pong":
		if !object {
			return f, bad
		}
	case "subscribe":
		if f.ID == "" || len(f.ID) > maxOperationID || len(f.Payload) == 0 || f.Payload[0] != '{' {
			return f, bad
		}
	case "complete":
		if f.ID == "" {
			return f, bad
		}
	default:
		return f, bad
	}
	if string(f.Payload) == "null" {
		f.Payload = nil
	}
	return f, nil
}

// WriteJSON implements transport.WebsocketConn. A peer that does not take a message in time is cut off: nothing else
// would free the goroutines that wait for it.
func (c *socketConn) WriteJSON(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("graph: encode message: %w", err)
	}
	c.write.Lock()
	defer c.write.Unlock()
	data, err = c.outgoing(data)
	if err != nil || data == nil {
		return err
	}
	if c.writeTimeout > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(c.writeTimeout))
	}
	if err := c.WriteMessage(websocket.TextMessage, data); err != nil {
		_ = c.Close()
		return err
	}
	return nil
}

// outgoing gives a message the client's id; nil if its operation is over.
func (c *socketConn) outgoing(data []byte) ([]byte, error) {
	var f frame
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("graph: own message: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.Type == "connection_ack" {
		c.acked = true
	}
	if f.ID == "" {
		return data, nil
	}
	theirs, ok := c.outer[f.ID]
	if !ok {
		return nil, nil
	}
	if f.Type == "complete" || f.Type == "error" {
		delete(c.outer, f.ID)
		delete(c.inner, theirs)
	}
	f.ID = theirs
	return json.Marshal(f)
}

// WriteClose implements transport.WebsocketConn, with the protocol's codes instead of gqlgen's.
func (c *socketConn) WriteClose(code int, text string) error {
	if code == transport.WebsocketCloseProtocolError {
		code, text = closeBadRequest, "Invalid message received"
		c.mu.Lock()
		if c.inits == 0 {
			code, text = closeInitTimeout, "Connection initialisation timeout"
		}
		c.mu.Unlock()
	}
	return c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(time.Second))
}

// enter counts operations of a socket; the caller calls release when the operation ends.
func (s *socket) enter(limit int) (release func(), ok bool) {
	if s.active.Add(1) > int32(limit) {
		s.active.Add(-1)
		return nil, false
	}
	return func() { s.active.Add(-1) }, true
}

func socketOf(ctx context.Context) (*socket, bool) {
	s, ok := ctx.Value(socketKey{}).(*socket)
	return s, ok
}
