package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// watcher is one graphql-transport-ws connection with one subscription.
type watcher struct {
	conn *websocket.Conn
	done chan struct{}

	mu     sync.Mutex
	events []event
	err    string // an error or close that ended it
}

// event is what both subscriptions send.
type event struct {
	Typename string `json:"__typename"`
	Position struct{ Epoch, Offset string }
	Tiles    []tile
	Upserts  []tile
	Removed  []string
	Changed  []string
	Reason   string
	Rec      *struct{ ID, Capture string } `json:"recording"`
}

type tile struct {
	ID, Capture string
	Tracks      []struct{ Kind, State string }
}

const floorQuery = `subscription($scope: FloorScope, $resume: StreamPositionInput) { events: floor(scope: $scope, resume: $resume) { __typename
	... on FloorSnapshot { position { epoch offset } tiles { id capture tracks { kind state } } }
	... on FloorDelta { position { epoch offset } upserts { id capture tracks { kind state } } removed }
	... on FloorGap { position { epoch offset } reason } ... on FloorHeartbeat { position { epoch offset } } } }`

const updatesQuery = `subscription($id: ID!) { events: recordingUpdates(id: $id) { __typename
	... on RecordingSnapshot { position { epoch offset } recording { id capture } }
	... on RecordingDelta { position { epoch offset } changed recording { id capture } }
	... on RecordingGap { position { epoch offset } reason } ... on RecordingHeartbeat { position { epoch offset } } } }`

// watch opens a socket, signs in as browsers do, and subscribes.
func (s *site) watch(t *testing.T, bearer, query string, variables input) *watcher {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{"graphql-transport-ws"}, HandshakeTimeout: 10 * time.Second}
	conn, resp, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http")+"/graphql", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	w := &watcher{conn: conn, done: make(chan struct{})}
	t.Cleanup(w.close)
	var ack struct{ Type string }
	err = conn.WriteJSON(input{"type": "connection_init", "payload": input{"Authorization": "Bearer " + bearer}})
	if err == nil {
		err = conn.ReadJSON(&ack)
	}
	if err == nil && ack.Type != "connection_ack" {
		err = fmt.Errorf("instead of connection_ack came %q", ack.Type)
	}
	if err == nil {
		err = conn.WriteJSON(input{"id": "1", "type": "subscribe", "payload": input{"query": query, "variables": variables}})
	}
	if err != nil {
		t.Fatal(err)
	}
	go w.read()
	return w
}

func (w *watcher) read() {
	defer close(w.done)
	for {
		var m struct {
			Type    string
			Payload json.RawMessage
		}
		if err := w.conn.ReadJSON(&m); err != nil {
			w.end(err.Error())
			return
		}
		switch m.Type {
		case "next":
			var p struct {
				Data   struct{ Events event }
				Errors []struct{ Message string }
			}
			if err := json.Unmarshal(m.Payload, &p); err != nil || len(p.Errors) > 0 {
				w.end(string(m.Payload))
				return
			}
			w.mu.Lock()
			w.events = append(w.events, p.Data.Events)
			w.mu.Unlock()
		case "error", "complete":
			w.end(m.Type + " " + string(m.Payload))
			return
		case "ping":
			if err := w.conn.WriteJSON(input{"type": "pong"}); err != nil {
				w.end(err.Error())
				return
			}
		}
	}
}

func (w *watcher) end(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = why
}

func (w *watcher) close() {
	_ = w.conn.Close()
	<-w.done
}

func (w *watcher) seen() ([]event, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events), w.err
}

// captures lists the states of one recording in the order in which they were told, without repetitions.
func (w *watcher) captures(id string) (states []string) {
	add := func(s string) {
		if len(states) == 0 || states[len(states)-1] != s {
			states = append(states, s)
		}
	}
	events, _ := w.seen()
	for _, e := range events {
		for _, tile := range append(e.Tiles, e.Upserts...) {
			if tile.ID == id {
				add(tile.Capture)
			}
		}
		if e.Rec != nil && e.Rec.ID == id {
			add(e.Rec.Capture)
		}
		if slices.Contains(e.Removed, id) {
			add("removed")
		}
	}
	return states
}

// inOrder tells that all of want are in got, in that order; got may hold more.
func inOrder(got []string, want ...string) bool {
	for _, s := range got {
		if len(want) > 0 && s == want[0] {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// TestSubscriptions: a supervisor's floor and one recording's updates tell a call from its start to its video; another
// tenant's sockets tell nothing.
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	s.set(t, "floor", "--layout", "AUDIO_ONLY")
	scope := input{"scope": input{"queues": []string{"floor"}}}
	floor := s.watch(t, s.admin, floorQuery, scope)
	elsewhere := s.watch(t, s.admin, floorQuery, input{"scope": input{"queues": []string{"another"}}})
	rival := s.watch(t, s.rival, floorQuery, input{})
	eventually(t, 10*time.Second, "all floors have a snapshot", func() bool {
		for _, w := range []*watcher{floor, elsewhere, rival} {
			if events, _ := w.seen(); len(events) == 0 {
				return false
			}
		}
		return true
	})
	if events, err := floor.seen(); events[0].Typename != "FloorSnapshot" || len(events[0].Tiles) != 0 || err != "" {
		t.Fatalf("the floor begins with %+v, error %s", events[0], err)
	}
	c := s.startCall(t, capture(t, "chrome-vp8"), player.StartInput{Queue: "floor"})
	id := c.started.ID
	updates := s.watch(t, s.admin, updatesQuery, input{"id": id})
	spy := s.watch(t, s.rival, updatesQuery, input{"id": id})
	c.play(4*time.Second,
		during{2 * time.Second, func() error { return s.act(t.Context(), "pauseRecording", input{"recordingId": id, "reason": "HOLD"}) }},
		during{3 * time.Second, func() error { return s.act(t.Context(), "resumeRecording", input{"recordingId": id}) }})
	c.stop()
	s.await(t, id, "AVAILABLE")
	eventually(t, 20*time.Second, "both have told the end", func() bool {
		return inOrder(updates.captures(id), "AVAILABLE") && inOrder(floor.captures(id), "RECORDING", "removed")
	})
	if got := floor.captures(id); !inOrder(got, "PENDING", "RECORDING", "PAUSED", "RECORDING", "removed") {
		t.Errorf("the floor told %v", got)
	}
	if got := updates.captures(id); !inOrder(got, "RECORDING", "PAUSED", "RECORDING", "AVAILABLE") {
		t.Errorf("the updates told %v", got)
	}
	if events, err := updates.seen(); events[0].Typename != "RecordingSnapshot" || err != "" {
		t.Errorf("the updates begin with %+v, error %s", events[0], err)
	}
	for name, w := range map[string]*watcher{"another queue's": elsewhere, "another tenant's": rival} {
		events, err := w.seen()
		for _, e := range events {
			if strings.Contains(fmt.Sprintf("%+v", e), id) {
				t.Errorf("%s floor shows the call: %+v", name, e)
			}
		}
		if err != "" {
			t.Errorf("%s floor ended: %s", name, err)
		}
	}
	if events, err := spy.seen(); len(events) != 0 || !strings.Contains(err, "NOT_FOUND") {
		t.Errorf("another tenant's updates: %+v, error %q, want NOT_FOUND and nothing else", events, err)
	}
	resumes(t, s, floor, scope)
}

func (s *site) act(ctx context.Context, name string, in input) error {
	_, err := s.do(ctx, s.service, name, in)
	return err
}

// resumes: who comes back with a position gets what was missed, and no second snapshot.
func resumes(t *testing.T, s *site, floor *watcher, scope input) {
	t.Helper()
	events, _ := floor.seen()
	first := events[0].Position
	again := s.watch(t, s.admin, floorQuery, with(scope, "resume", input{"epoch": first.Epoch, "offset": first.Offset}))
	eventually(t, 10*time.Second, "the resumed floor says something", func() bool { e, _ := again.seen(); return len(e) > 0 })
	if got, err := again.seen(); got[0].Typename != "FloorDelta" || err != "" {
		t.Errorf("after a resume comes %+v, error %s", got[0], err)
	}
	unknown := s.watch(t, s.admin, floorQuery, with(scope, "resume", input{"epoch": "another", "offset": first.Offset}))
	eventually(t, 10*time.Second, "a gap and a snapshot", func() bool { e, _ := unknown.seen(); return len(e) > 1 })
	if got, _ := unknown.seen(); got[0].Typename != "FloorGap" || got[0].Reason == "" || got[1].Typename != "FloorSnapshot" {
		t.Errorf("after a resume that cannot be proven come %+v", got)
	}
}

// TestSocketsNeedACredential: without one nothing is subscribed, and the connection ends with the code of the API's manual.
func TestSocketsNeedACredential(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	for name, in := range map[string]input{"no credential": {}, "a wrong one": {"Authorization": "Bearer drk_x_y"}} {
		d := websocket.Dialer{Subprotocols: []string{"graphql-transport-ws"}, HandshakeTimeout: 10 * time.Second}
		conn, resp, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http")+"/graphql", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if err := conn.WriteJSON(input{"type": "connection_init", "payload": in}); err != nil {
			t.Fatal(err)
		}
		_, _, err = conn.ReadMessage()
		if !websocket.IsCloseError(err, 4403) {
			t.Errorf("%s: %v, want close code 4403", name, err)
		}
		_ = conn.Close()
	}
}
