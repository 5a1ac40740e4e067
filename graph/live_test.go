package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/events"
	"github.com/dualrec/dualrec/events/eventstest"
	"github.com/dualrec/dualrec/graph/model"
	"github.com/dualrec/dualrec/recorder"
)

// wire is a raw client.
type wire struct {
	t *testing.T
	*websocket.Conn
}

const patience = 10 * time.Second

func (h *house) dial(protocols ...string) *wire {
	h.t.Helper()
	d := websocket.Dialer{Subprotocols: protocols}
	c, res, err := d.DialContext(h.t.Context(), "ws"+strings.TrimPrefix(h.url, "http"), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	_ = res.Body.Close()
	h.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		h.t.Fatal(err)
	}
	return &wire{h.t, c}
}

func (w *wire) say(text string) {
	w.t.Helper()
	if err := w.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

type heard struct {
	ID, Type string
	Payload  json.RawMessage
}

// hear returns the next message that is no ping.
func (w *wire) hear() heard {
	w.t.Helper()
	for {
		var m heard
		if err := w.ReadJSON(&m); err != nil {
			w.t.Fatal(err)
		}
		if m.Type != "ping" {
			return m
		}
		w.say(`{"type":"pong"}`)
	}
}

func (w *wire) in(token string) *wire {
	w.t.Helper()
	w.say(fmt.Sprintf(`{"type":"connection_init","payload":{"Authorization":"Bearer %s"}}`, token))
	if m := w.hear(); m.Type != "connection_ack" {
		w.t.Fatalf("got %+v", m)
	}
	return w
}

func (w *wire) subscribe(id, query string) {
	w.t.Helper()
	q, err := json.Marshal(map[string]any{"query": query})
	if err != nil {
		w.t.Fatal(err)
	}
	w.say(fmt.Sprintf(`{"id":%q,"type":"subscribe","payload":%s}`, id, q))
}

// event returns the data of the next "next" message for a field.
func (w *wire) event(field string) map[string]any {
	w.t.Helper()
	m := w.hear()
	var p struct {
		Data   map[string]map[string]any
		Errors json.RawMessage
	}
	if err := json.Unmarshal(m.Payload, &p); m.Type != "next" || err != nil || p.Errors != nil {
		w.t.Fatalf("%s %s, %v", m.Type, m.Payload, err)
	}
	return p.Data[field]
}

// closes returns the close code that ends the connection.
func (w *wire) closes() int {
	w.t.Helper()
	for {
		_, _, err := w.ReadMessage()
		if c, is := errors.AsType[*websocket.CloseError](err); is {
			return c.Code
		}
		if err != nil {
			w.t.Fatalf("no close frame: %v", err)
		}
	}
}

func TestSocketRules(t *testing.T) {
	t.Parallel()
	const ack = `{"type":"connection_init","payload":{"Authorization":"Bearer a-SUPERVISOR"}}`
	const sub = `{"id":"1","type":"subscribe","payload":{"query":"subscription{floor{__typename}}"}}`
	for _, tc := range []struct {
		name string
		say  []string
		code int
	}{
		{"subscribe before init", []string{sub}, 4401},
		{"init twice", []string{ack, ack}, 4429},
		{"one id twice", []string{ack, sub, sub}, 4409},
		{"unknown token", []string{`{"type":"connection_init","payload":{"Authorization":"Bearer nope"}}`}, 4403},
		{"no token", []string{`{"type":"connection_init"}`}, 4403},
		{"no message comes", nil, 4408},
		{"not JSON", []string{`{`}, 4400},
		{"unknown type", []string{`{"type":"start"}`}, 4400},
		{"init payload no object", []string{`{"type":"connection_init","payload":5}`}, 4400},
		{"subscribe without id", []string{ack, `{"type":"subscribe","payload":{"query":"{__typename}"}}`}, 4400},
		{"subscribe without payload", []string{ack, `{"id":"1","type":"subscribe"}`}, 4400},
		{"pings before init", slices.Repeat([]string{`{"type":"ping"}`}, maxEarly+1), 4400},
		{"pongs before init", slices.Repeat([]string{`{"type":"pong"}`}, maxEarly+1), 4400},
		{"message too large", []string{ack, `{"type":"ping","payload":{"x":"` + strings.Repeat("x", 5000) + `"}}`}, websocket.CloseMessageTooBig},
		{"message far too large", []string{ack, `{"type":"ping","payload":{"x":"` + strings.Repeat("x", 300_000) + `"}}`}, websocket.CloseMessageTooBig},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{MaxMessage: 4000}
			if tc.say == nil {
				cfg.InitTimeout = 50 * time.Millisecond
			}
			w := newHouse(t, cfg).dial(subprotocol)
			for _, s := range tc.say {
				w.say(s)
				if s == ack && w.t != nil && len(tc.say) > 1 && s != tc.say[len(tc.say)-1] {
					if m := w.hear(); m.Type != "connection_ack" {
						t.Fatalf("%+v", m)
					}
				}
			}
			if got := w.closes(); got != tc.code {
				t.Fatalf("closed with %d, want %d", got, tc.code)
			}
		})
	}
}

func TestOtherSubprotocolsAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	for _, p := range [][]string{nil, {"graphql-ws"}} {
		if got := h.dial(p...).closes(); got != 4406 {
			t.Errorf("%v: %d", p, got)
		}
	}
}

func TestForeignOriginIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{AllowedOrigins: []string{"https://desk.example.com"}})
	for origin, status := range map[string]int{"https://evil.example.com": 403, "https://desk.example.com": 101, "https://rec.example.com": 101} {
		d := websocket.Dialer{Subprotocols: []string{subprotocol}}
		c, res, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(h.url, "http"), http.Header{"Origin": {origin}})
		if res == nil || res.StatusCode != status {
			t.Errorf("%s: %v %v", origin, res, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}

func TestSocketEndsWithItsCredential(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.auth.people["brief"] = auth.Principal{TenantID: h.a.tenant, Subject: "s", Role: auth.Supervisor, ExpiresAt: time.Now().Add(100 * time.Millisecond)}
	if got := h.dial(subprotocol).in("brief").closes(); got != 4403 {
		t.Fatalf("closed with %d", got)
	}
}

// A credential that is no longer good ends its socket: without a word from the client, and before a command is heard.
func TestSocketEndsWhenItsCredentialDoes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(f *fakeAuth)
	}{
		{"revoked", func(f *fakeAuth) { delete(f.people, "a-ADMIN") }},
		{"bad and throttled", func(f *fakeAuth) { f.err = &auth.ThrottledError{RetryAfter: time.Second} }},
		{"another role", func(f *fakeAuth) { f.people["a-ADMIN"] = f.people["a-AUDITOR"] }},
		{"another tenant", func(f *fakeAuth) { f.people["a-ADMIN"] = f.people["b-ADMIN"] }},
		{"fewer queues", func(f *fakeAuth) {
			p := f.people["a-ADMIN"]
			p.Queues = []string{"one"}
			f.people["a-ADMIN"] = p
		}},
	} {
		t.Run(tc.name+", while it only listens", func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Config{Recheck: 10 * time.Millisecond})
			w := h.dial(subprotocol).in("a-ADMIN")
			w.subscribe("f", fmt.Sprintf(floorQuery, ""))
			w.event("floor")
			h.auth.change(tc.change)
			if got := w.closes(); got != closeForbidden {
				t.Errorf("closed with %d", got)
			}
		})
		t.Run(tc.name+", at a command", func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Config{})
			w := h.dial(subprotocol).in("a-ADMIN")
			h.auth.change(tc.change)
			w.subscribe("m", `mutation{stopRecording(input:{recordingId:"`+h.a.recording+`"}){userErrors{code}}}`)
			if got := w.closes(); got != closeForbidden {
				t.Errorf("closed with %d", got)
			}
			if len(h.rec.calls) != 0 {
				t.Errorf("the command was carried out: %v", h.rec.calls)
			}
		})
	}
}

func TestSocketOutlivesAFaultOfTheKeyStore(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Recheck: 10 * time.Millisecond})
	w := h.dial(subprotocol).in("a-ADMIN")
	h.auth.change(func(f *fakeAuth) { f.err = auth.ErrUnavailable })
	for range 3 {
		select {
		case <-h.auth.asked:
		case <-time.After(patience):
			t.Fatal("the credential is not checked again")
		}
	}
	w.subscribe("1", "{recordings(first:1){totalCount}}")
	if m := w.hear(); m.ID != "1" || !strings.Contains(string(m.Payload), "UNAVAILABLE") {
		t.Fatalf("%+v %s", m, m.Payload)
	}
	w.hear() // complete
	h.auth.change(func(f *fakeAuth) { f.err = nil })
	w.subscribe("2", "{recordings(first:1){totalCount}}")
	if got := w.event("recordings")["totalCount"]; got != float64(1) {
		t.Fatalf("total %v", got)
	}
}

// A socket stays open for hours behind a server that bounds how long an answer may take.
func TestSocketOutlivesTheServersWriteTimeout(t *testing.T) {
	t.Parallel()
	const timeout, recheck = 40 * time.Millisecond, 20 * time.Millisecond
	h := newHouse(t, Config{Recheck: recheck})
	srv := httptest.NewUnstartedServer(h.api)
	srv.Config.WriteTimeout = timeout
	srv.Start()
	t.Cleanup(srv.Close)
	h.url = srv.URL
	w := h.dial(subprotocol).in("a-ADMIN")
	for range 2 + 2*timeout/recheck { // checks are the clock here
		select {
		case <-h.auth.asked:
		case <-time.After(patience):
			t.Fatal("the credential is not checked again")
		}
	}
	w.subscribe("q", "{recordings(first:1){totalCount}}")
	if got := w.event("recordings")["totalCount"]; got != float64(1) {
		t.Fatalf("total %v", got)
	}
}

func TestSocketServesQueriesAndPings(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Heartbeat: 300 * time.Millisecond})
	w := h.dial(subprotocol)
	w.say(`{"type":"ping","payload":{"n":1}}`) // allowed before init
	if m := w.hear(); m.Type != "pong" || string(m.Payload) != `{"n":1}` {
		t.Fatalf("%+v", m)
	}
	w.in("a-ADMIN")
	w.subscribe("q", "{recordings(first:1){totalCount}}")
	if got := w.event("recordings")["totalCount"]; got != float64(1) {
		t.Fatalf("total %v", got)
	}
	if m := w.hear(); m.Type != "complete" || m.ID != "q" {
		t.Fatalf("%+v", m)
	}
	w.subscribe("q", "mutation{stopRecording(input:{recordingId:\""+h.a.recording+"\"}){userErrors{code}}}") // the id is free again
	w.event("stopRecording")
	var m heard
	for m.Type != "ping" {
		if err := w.ReadJSON(&m); err != nil {
			t.Fatal(err)
		}
	}
	// The server's pings are not answered: the connection is given up.
	for err := error(nil); err == nil; {
		_, _, err = w.ReadMessage()
	}
}

func TestOperationsPerSocketAreLimited(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MaxOperations: 2})
	w := h.dial(subprotocol).in("a-SUPERVISOR")
	for _, id := range []string{"1", "2"} {
		w.subscribe(id, "subscription{floor{__typename}}")
		w.event("floor")
	}
	w.subscribe("3", "subscription{floor{__typename}}")
	if m := w.hear(); m.ID != "3" || !strings.Contains(string(m.Payload), "LIMIT_EXCEEDED") {
		t.Fatalf("%+v %s", m, m.Payload)
	}
}

const floorQuery = `subscription{floor%s{__typename
 ... on FloorSnapshot{position{epoch offset} complete tiles{id capture viewUrl agent{externalId} queue{name} session{externalId} recording{id} tracks{kind} lastBookmark{label} lastComment{body}}}
 ... on FloorDelta{position{epoch offset} upserts{id capture} removed} ... on FloorGap{position{epoch offset} reason} ... on FloorHeartbeat{position{epoch offset}}}}`

func resumeAt(e map[string]any) string {
	p, _ := e["position"].(map[string]any)
	return fmt.Sprintf(`(resume:{epoch:%q,offset:%q})`, p["epoch"], p["offset"])
}

func (h *house) changed(e *estate, recording string) {
	h.t.Helper()
	if err := h.bus.Publish(events.Change{TenantID: e.tenant, RecordingID: recording, Kind: string(recorder.ChangeStatus)}); err != nil {
		h.t.Fatal(err)
	}
}

func TestFloor(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	w := h.dial(subprotocol).in("a-SUPERVISOR")
	w.subscribe("f", fmt.Sprintf(floorQuery, ""))
	snap := w.event("floor")
	want := `[map[agent:map[externalId:acme-agent] capture:RECORDING id:# lastBookmark:map[label:acme-mark] lastComment:map[body:acme-remark] ` +
		`queue:map[name:acme-queue] recording:map[id:#] session:map[externalId:acme-call] tracks:[map[kind:SCREEN]] viewUrl:https://rec.example.com/recordings/#]]`
	if got := fmt.Sprint(snap["tiles"]); got != strings.ReplaceAll(want, "#", h.a.recording) || snap["complete"] != true {
		t.Fatalf("tiles %s", got)
	}

	h.changed(h.b, h.b.recording) // nothing of another tenant arrives
	second := h.a.call("acme-2", epoch.Add(time.Hour), recorder.Paused)
	h.changed(h.a, second.ID)
	d := w.event("floor")
	if got := fmt.Sprint(d["upserts"], d["removed"]); got != "[map[capture:PAUSED id:"+second.ID+"]] []" {
		t.Fatalf("delta %s", got)
	}
	second.Update().SetCapture(recorder.Finalizing).ExecX(h.a.ctx)
	h.changed(h.a, second.ID)
	last := w.event("floor")
	if got := fmt.Sprint(last["upserts"], last["removed"]); got != "[] ["+second.ID+"]" {
		t.Fatalf("delta %s", got)
	}

	// Back after a break: what happened since the first delta is told again, and nothing else.
	w.subscribe("r", fmt.Sprintf(floorQuery, resumeAt(d)))
	if e := w.event("floor"); e["__typename"] != "FloorDelta" {
		t.Fatalf("resumed with %v", e)
	}
	if e := w.event("floor"); fmt.Sprint(e["removed"]) != "["+second.ID+"]" {
		t.Fatalf("missed %v", e)
	}
}

// After a resume the server does not know what is shown, and must not name calls that the viewer may not see.
func TestResumedFloorNamesOnlyWhatTheViewerMaySee(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.auth.people["one-queue"] = auth.Principal{TenantID: h.a.tenant, Subject: "s", Role: auth.Supervisor, Queues: []string{"acme-queue"}}
	other := h.db.Queue.Create().SetTenantID(h.a.tenant).SetName("secret-queue").SaveX(h.a.ctx).ID
	hidden := h.a.callIn(other, "acme-hidden", epoch.Add(time.Hour), recorder.Available)
	own := h.a.call("acme-own", epoch.Add(time.Hour), recorder.Available)

	w := h.dial(subprotocol).in("one-queue")
	w.subscribe("f", fmt.Sprintf(floorQuery, ""))
	at := resumeAt(w.event("floor"))
	h.changed(h.a, hidden.ID)
	h.changed(h.a, "rec_of_nobody")
	h.changed(h.a, own.ID)
	w.subscribe("r", fmt.Sprintf(floorQuery, at))
	if e := w.event("floor"); e["__typename"] != "FloorDelta" {
		t.Fatalf("resumed with %v", e)
	}
	if e := w.event("floor"); fmt.Sprint(e["removed"]) != "["+own.ID+"]" {
		t.Fatalf("removed %v, want %s alone", e["removed"], own.ID)
	}
}

func TestResumeThatCannotBeProven(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	other := h.dial(subprotocol).in("b-SUPERVISOR")
	other.subscribe("f", fmt.Sprintf(floorQuery, ""))
	foreign := resumeAt(other.event("floor"))
	w := h.dial(subprotocol).in("a-SUPERVISOR")
	w.subscribe("f", fmt.Sprintf(floorQuery, ""))
	old := resumeAt(w.event("floor"))
	h.changed(h.a, h.a.recording)
	w.event("floor")
	h.bus.Forget()
	for name, tc := range map[string]struct{ args, reason string }{
		"expired":           {old, events.ReasonExpired},
		"of another tenant": {foreign, events.ReasonInvalid},
		"invented":          {`(resume:{epoch:"e1",offset:"1"})`, events.ReasonInvalid},
		"of another epoch":  {`(resume:{epoch:"e0",offset:"1"})`, events.ReasonEpoch},
	} {
		w := h.dial(subprotocol).in("a-SUPERVISOR")
		w.subscribe("r", fmt.Sprintf(floorQuery, tc.args))
		if e := w.event("floor"); e["__typename"] != "FloorGap" || e["reason"] != tc.reason {
			t.Errorf("%s: %v", name, e)
		}
		if e := w.event("floor"); e["__typename"] != "FloorSnapshot" {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestFloorScope(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.auth.people["one-queue"] = auth.Principal{TenantID: h.a.tenant, Subject: "s", Role: auth.Supervisor, Queues: []string{"another"}}
	for _, tc := range []struct {
		token, args string
		tiles       int
	}{
		{"a-SUPERVISOR", `(scope:{queues:["acme-queue"],agents:["acme-agent"]})`, 1},
		{"a-SUPERVISOR", `(scope:{queues:["another"]})`, 0},
		{"a-SUPERVISOR", `(scope:{agents:["zeta-agent"]})`, 0},
		{"one-queue", ``, 0},
		{"b-SUPERVISOR", ``, 1},
	} {
		w := h.dial(subprotocol).in(tc.token)
		w.subscribe("f", fmt.Sprintf(floorQuery, tc.args))
		if l, _ := w.event("floor")["tiles"].([]any); len(l) != tc.tiles {
			t.Errorf("%s %s: %d tiles", tc.token, tc.args, len(l))
		}
	}
}

func TestRecordingUpdates(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	const query = `subscription{recordingUpdates(id:%q){__typename ... on RecordingSnapshot{recording{capture} lastComment{body}}
		... on RecordingDelta{changed recording{capture} lastBookmark{label}}}}`
	w := h.dial(subprotocol).in("a-REVIEWER")
	w.subscribe("u", fmt.Sprintf(query, h.a.recording))
	if got := fmt.Sprint(w.event("recordingUpdates")); got != "map[__typename:RecordingSnapshot lastComment:map[body:acme-remark] recording:map[capture:RECORDING]]" {
		t.Fatal(got)
	}
	h.changed(h.a, "rec_of_nobody")
	if err := h.bus.Publish(events.Change{TenantID: h.a.tenant, RecordingID: h.a.recording, Kind: string(recorder.ChangeComment)}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.event("recordingUpdates")); got != "map[__typename:RecordingDelta changed:[COMMENT] lastBookmark:map[label:acme-mark] recording:map[capture:RECORDING]]" {
		t.Fatal(got)
	}
	for name, id := range map[string]string{"foreign": h.b.recording, "none": "rec_none"} {
		w.subscribe(name, fmt.Sprintf(query, id))
		if m := w.hear(); !strings.Contains(string(m.Payload), "NOT_FOUND") || strings.Contains(string(m.Payload), "zeta") {
			t.Errorf("%s: %s %s", name, m.Type, m.Payload)
		}
		if m := w.hear(); m.Type != "complete" {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestSubscriptionEndsWithTheBus(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	w := h.dial(subprotocol).in("a-SUPERVISOR")
	w.subscribe("f", fmt.Sprintf(floorQuery, ""))
	w.event("floor")
	if err := h.bus.Close(); err != nil {
		t.Fatal(err)
	}
	if m := w.hear(); m.Type != "error" || m.ID != "f" || !strings.Contains(string(m.Payload), "UNAVAILABLE") {
		t.Fatalf("%s %s", m.Type, m.Payload)
	}
}

// A source without a database, so that time can be made to stand still.
type plainSource struct{}

func (plainSource) snapshot(_ context.Context, _ *model.StreamPosition) (string, error) {
	return "snapshot", nil
}
func (plainSource) resumed(_ context.Context, _ *model.StreamPosition) (string, error) {
	return "resumed", nil
}
func (plainSource) delta(_ context.Context, _ *model.StreamPosition, c []events.Merged) (string, bool, error) {
	return fmt.Sprint("delta ", len(c)), true, nil
}
func (plainSource) gap(_ *model.StreamPosition, reason string) string { return "gap " + reason }
func (plainSource) heartbeat(*model.StreamPosition) string            { return "heartbeat" }

func TestHeartbeatsAndConflation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seal, err := newSealer(make([]byte, minSecret))
		if err != nil {
			t.Fatal(err)
		}
		bus := eventstest.NewMemory("e1", 3)
		w := watcher{bus: bus, seal: seal, heartbeat: 15 * time.Second, tick: 100 * time.Millisecond}
		ctx := withViewer(t.Context(), viewer{Principal: auth.Principal{TenantID: "ten_a"}})
		ch, err := watch(ctx, w, nil, plainSource{})
		if err != nil {
			t.Fatal(err)
		}
		publish := func(ids ...string) {
			for _, id := range ids {
				if err := bus.Publish(events.Change{TenantID: "ten_a", RecordingID: id, Kind: "PROGRESS"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		expect := func(want string, after time.Duration) {
			t.Helper()
			from := time.Now()
			if got := <-ch; got != want || time.Since(from) != after {
				t.Fatalf("%s after %v, want %s after %v", got, time.Since(from), want, after)
			}
		}
		expect("snapshot", 0)
		expect("heartbeat", 15*time.Second)
		expect("heartbeat", 15*time.Second)
		publish("1", "2", "1", "1")
		expect("delta 2", 100*time.Millisecond)
		publish("1")
		synctest.Wait()
		time.Sleep(time.Minute) // the viewer does not read: its goroutine waits with the first delta
		publish("1", "2", "3", "4")
		expect("delta 1", 0)
		expect("gap "+events.ReasonSlow, 100*time.Millisecond)
		expect("snapshot", 0)
		expect("heartbeat", 15*time.Second)
	})
}

func FuzzParseFrame(f *testing.F) {
	for _, s := range []string{`{"type":"ping"}`, `{"id":"1","type":"subscribe","payload":{"query":"{a}"}}`, `{"id":"","type":"complete"}`, `null`, `[]`, `{"type":"connection_init","payload":null}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fr, err := parseFrame(websocket.TextMessage, []byte(s))
		if err != nil {
			return
		}
		if fr.Type == "subscribe" && (fr.ID == "" || fr.Payload[0] != '{') {
			t.Fatalf("accepted %+v", fr)
		}
		if _, err := json.Marshal(fr); err != nil {
			t.Fatalf("cannot be passed on: %v", err)
		}
	})
}
