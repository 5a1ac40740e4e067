package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

func code(err error) recorder.ErrorCode {
	if c, is := errors.AsType[*recorder.CommandError](err); is {
		return c.Code
	}
	return ""
}

func TestRecordingsGoToTheLeastLoaded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	if _, err := w.client.Start(t.Context(), start("call-0")); code(err) != recorder.CodeUnavailable {
		t.Errorf("without a recorder: %v", err)
	}
	if _, err := w.client.Start(t.Context(), recorder.StartCommand{TenantID: "ten_a"}); code(err) != recorder.CodeInvalidInput {
		t.Errorf("an input that no recorder takes: %v", err)
	}
	busy := w.recorder("a-busy", Capacity{PortsUsed: 90, PortsTotal: 100})
	idle := w.recorder("b-idle", Capacity{PortsUsed: 10, PortsTotal: 100})
	w.until("both have told what they can take", func() bool {
		c := w.client.nodes.candidates()
		return len(c) == 2 && c[0] == "b-idle"
	})
	id, err := w.client.Start(t.Context(), start("call-1"))
	if err != nil || id != "rec_b-idle_call-1" {
		t.Fatalf("started %q, %v", id, err)
	}
	if s, ok := w.client.Live("ten_a", id); !ok || s.Capture != recorder.Pending {
		t.Errorf("right after the start it is %+v, known %v", s, ok)
	}
	if _, ok := w.client.Live("ten_b", id); ok {
		t.Error("another tenant sees it")
	}
	// A node that is full after all: the next is asked. Its own word counts when none takes it.
	idle.set(func(f *fake) { f.err = &recorder.CommandError{Code: recorder.CodeCapacity, Msg: "no ports"} })
	if id, err = w.client.Start(t.Context(), start("call-2")); err != nil || id != "rec_a-busy_call-2" {
		t.Errorf("started %q, %v", id, err)
	}
	busy.set(func(f *fake) { f.err = &recorder.CommandError{Code: recorder.CodeCapacity, Msg: "disk full"} })
	if _, err = w.client.Start(t.Context(), start("call-3")); code(err) != recorder.CodeCapacity || !strings.Contains(err.Error(), "no ports") {
		t.Errorf("when all are full: %v", err)
	}
	// Other refusals are not tried elsewhere.
	idle.set(func(f *fake) { f.err, f.got = recorder.ErrTenantSuspended, nil })
	busy.set(func(f *fake) { f.got = nil })
	if _, err = w.client.Start(t.Context(), start("call-4")); !errors.Is(err, recorder.ErrTenantSuspended) || len(busy.commands()) > 0 {
		t.Errorf("%v, and another was asked %d times", err, len(busy.commands()))
	}
}

// A session that has a recording gets that one, from its own node, however loaded that is.
func TestStartIsRepeatedWhereItBegan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	owner := w.recorder("owner", Capacity{PortsUsed: 99, PortsTotal: 100})
	other := w.recorder("other", Capacity{PortsTotal: 100})
	w.catalog.add(recorder.RecordingRow{TenantID: "ten_a", ID: "rec_owner_call-1", ExternalSessionID: "call-1", Node: "owner", Capture: recorder.Recording})
	w.catalog.add(recorder.RecordingRow{TenantID: "ten_a", ID: "rec_old", ExternalSessionID: "call-0", Node: "owner", Capture: recorder.Available})
	if id, err := w.client.Start(t.Context(), start("call-1")); err != nil || id != "rec_owner_call-1" {
		t.Errorf("started %q, %v", id, err)
	}
	if id, err := w.client.Start(t.Context(), start("call-0")); err != nil || id != "rec_old" {
		t.Errorf("an ended one: %q, %v", id, err)
	}
	if n := len(owner.commands()); n != 1 || len(other.commands()) != 0 {
		t.Errorf("the owner was asked %d times, the other %d", n, len(other.commands()))
	}
	w.catalog.add(recorder.RecordingRow{TenantID: "ten_a", ID: "rec_2", ExternalSessionID: "call-2", Node: "away", Capture: recorder.Recording})
	if _, err := w.client.Start(t.Context(), start("call-2")); code(err) != recorder.CodeUnavailable || len(other.commands()) != 0 {
		t.Errorf("its node is away: %v", err)
	}
	w.catalog.mu.Lock()
	w.catalog.err = recorder.ErrUnavailable
	w.catalog.mu.Unlock()
	if _, err := w.client.Start(t.Context(), start("call-3")); !errors.Is(err, recorder.ErrUnavailable) {
		t.Errorf("without the database: %v", err)
	}
}

func TestCommandsGoToTheOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	one, two := w.recorder("one", Capacity{}), w.recorder("two", Capacity{})
	for _, r := range []recorder.RecordingRow{{ID: "rec_1", Node: "two", Capture: recorder.Recording}, {ID: "rec_ended", Node: "two", Capture: recorder.Available},
		{ID: "rec_away", Node: "away", Capture: recorder.Paused}} {
		r.TenantID = "ten_a"
		w.catalog.add(r)
	}
	ctx := t.Context()
	all := func(tenant, id string) map[string]error {
		_, err := w.client.Attach(ctx, recorder.AttachCommand{TenantID: tenant, RecordingID: id})
		return map[string]error{"attach": err,
			"detach": w.client.Detach(ctx, recorder.DetachCommand{TenantID: tenant, RecordingID: id}),
			"pause":  w.client.Pause(ctx, recorder.PauseCommand{TenantID: tenant, RecordingID: id}),
			"layout": w.client.SetLayout(ctx, recorder.LayoutCommand{TenantID: tenant, RecordingID: id}),
			"resume": w.client.Resume(ctx, recorder.ResumeCommand{TenantID: tenant, RecordingID: id}),
			"stop":   w.client.Stop(ctx, recorder.StopCommand{TenantID: tenant, RecordingID: id})}
	}
	for name, err := range all("ten_a", "rec_1") {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(one.commands()) != 0 || len(two.commands()) != 6 {
		t.Errorf("%d commands went to one, %d to two", len(one.commands()), len(two.commands()))
	}
	if s, ok := w.client.Live("ten_a", "rec_1"); !ok || s.Capture != recorder.Paused {
		t.Errorf("after the pause it is %+v, %v", s, ok)
	}
	for name, err := range all("ten_b", "rec_1") {
		if code(err) != recorder.CodeNotFound {
			t.Errorf("another tenant's %s: %v", name, err)
		}
	}
	for name, err := range all("ten_a", "rec_ended") {
		_, state := errors.AsType[*recorder.StateError](err)
		if name == "stop" && err != nil || name != "stop" && !state {
			t.Errorf("%s of an ended one: %v", name, err)
		}
	}
	for name, err := range all("ten_a", "rec_away") {
		if code(err) != recorder.CodeUnavailable || !errors.Is(err, errNobody) { // known at once, without waiting for an answer
			t.Errorf("%s on a node that is away: %v", name, err)
		}
	}
}

// A node that dies is refused at once, and served again when it is back.
func TestKilledNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{Silence: 500 * time.Millisecond})
	r := w.recorder("one", Capacity{})
	id, err := w.client.Start(t.Context(), start("call-1"))
	if err != nil {
		t.Fatal(err)
	}
	w.catalog.add(recorder.RecordingRow{TenantID: "ten_a", ID: id, Node: "one", Capture: recorder.Recording})
	pause := recorder.PauseCommand{TenantID: "ten_a", RecordingID: id}
	r.kill()
	if err := w.client.Pause(t.Context(), pause); code(err) != recorder.CodeUnavailable {
		t.Errorf("right after its end: %v", err)
	}
	w.until("it is given up", func() bool { return w.client.Nodes() == 0 })
	if _, ok := w.client.Live("ten_a", id); ok {
		t.Error("the recording of a node that is lost is shown as live")
	}
	if err := w.client.Pause(t.Context(), pause); code(err) != recorder.CodeUnavailable {
		t.Errorf("when it is given up: %v", err)
	}
	again := w.recorder("one", Capacity{})
	if err := w.client.Pause(t.Context(), pause); err != nil || len(again.commands()) != 1 {
		t.Errorf("when it is back: %v", err)
	}
}

// A command that is under way when its node falls silent is refused without waiting for its own time limit.
func TestSilentNodeReleasesThoseWhoWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{Silence: 200 * time.Millisecond, Timeout: time.Hour})
	nc := connect(t, w.nats)
	if _, err := nc.SubscribeSync(commandSubject("mute")); err != nil { // takes commands and never answers
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	w.client.nodes.apply(time.Now(), told("mute", first))
	_, err := w.client.command(t.Context(), "mute", opStop, recorder.StopCommand{TenantID: "ten_a", RecordingID: "rec_1"})
	if code(err) != recorder.CodeUnavailable || !errors.Is(err, errLost) {
		t.Errorf("%v", err)
	}
}

func TestSlowNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{Timeout: 100 * time.Millisecond})
	r := w.recorder("one", Capacity{})
	ended := make(chan struct{})
	r.set(func(f *fake) { f.block = ended })
	defer close(ended)
	if _, err := w.client.Start(t.Context(), start("call-1")); code(err) != recorder.CodeUnavailable || !errors.Is(err, errSlow) {
		t.Errorf("our limit: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	called := make(chan string, 1)
	r.set(func(f *fake) { f.called = called })
	go func() { <-called; cancel() }()
	w.client.cfg.Timeout = time.Hour
	if _, err := w.client.Start(ctx, start("call-2")); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller went away: %v", err)
	}
}

// The time that the caller waits is the time that the recorder has.
func TestDeadlineCrosses(t *testing.T) {
	t.Parallel()
	s, err := NewServer(nil, ServerConfig{Name: "one"}, &fake{block: make(chan struct{})})
	if err != nil {
		t.Fatal(err)
	}
	data, err := encodeRequest(opStop, time.Millisecond, recorder.StopCommand{TenantID: "ten_a", RecordingID: "rec_1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := errorFromWire(s.answer(t.Context(), data).Error); !errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("%v, want the deadline", got)
	}
}

func TestWhatGoesWrongInTheRecorder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	r := w.recorder("one", Capacity{})
	r.set(func(f *fake) { f.panics = true })
	stop := recorder.StopCommand{TenantID: "ten_a", RecordingID: "rec_1"}
	if _, err := w.client.command(t.Context(), "one", opStop, stop); err == nil || strings.Contains(err.Error(), "a bug") {
		t.Errorf("a panic: %v", err)
	}
	r.set(func(f *fake) { f.panics, f.err = false, errors.New("open /secret: denied") })
	if _, err := w.client.command(t.Context(), "one", opStop, stop); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("an internal error: %v", err)
	}
	if _, err := w.client.command(t.Context(), "one", "dance", stop); code(err) != recorder.CodeUnavailable {
		t.Errorf("a command of another version: %v", err)
	}
	huge := recorder.StartCommand{TenantID: "ten_a", Agent: strings.Repeat("x", maxMessage)}
	if _, err := w.client.command(t.Context(), "one", opStart, huge); code(err) != recorder.CodeInvalidInput {
		t.Errorf("a huge command: %v", err)
	}
}

// Live recordings are told by themselves, with changes at once, and forgotten when they end.
func TestLiveIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	r := w.recorder("one", Capacity{})
	const many = 400 // more than one message holds
	for i := range many {
		r.put(recorder.LiveRecording{TenantID: "ten_a", RecordingID: fmt.Sprint("rec_", i), Status: recorder.LiveStatus{Capture: recorder.Recording,
			Tracks: []recorder.TrackRow{{ID: fmt.Sprint("trk_", i), Stats: recorder.NetStats{Packets: 5}}}}})
	}
	w.until("all are known", func() bool {
		for i := range many {
			if s, ok := w.client.Live("ten_a", fmt.Sprint("rec_", i)); !ok || s.Tracks[0].Stats.Packets != 5 {
				return false
			}
		}
		return true
	})
	if got := w.client.Totals().Live; got != many {
		t.Errorf("%d live in all", got)
	}
	r.put(recorder.LiveRecording{TenantID: "ten_a", RecordingID: "rec_1", Status: recorder.LiveStatus{Capture: recorder.Paused}})
	r.server.Changed("ten_a", "rec_1")
	w.until("the change is known", func() bool { s, _ := w.client.Live("ten_a", "rec_1"); return s.Capture == recorder.Paused })
	r.remove("rec_1")
	r.server.Changed("ten_a", "rec_1")
	r.remove("rec_2") // and nobody says so
	w.until("both are gone", func() bool {
		_, a := w.client.Live("ten_a", "rec_1")
		_, b := w.client.Live("ten_a", "rec_2")
		return !a && !b
	})
}

// A recorder that is asked to end takes nothing new, and ends what it has begun.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	r := w.recorder("one", Capacity{})
	finish, called := make(chan struct{}), make(chan string, 1)
	r.set(func(f *fake) { f.block, f.called = finish, called })
	started := make(chan error, 1)
	go func() {
		_, err := w.client.Start(t.Context(), start("call-1"))
		started <- err
	}()
	<-called
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	w.until("it is gone", func() bool { return w.client.Nodes() == 0 })
	if _, err := w.client.Start(t.Context(), start("call-2")); code(err) != recorder.CodeUnavailable {
		t.Errorf("a start on a node that ends: %v", err)
	}
	close(finish)
	if err := <-started; err != nil {
		t.Errorf("the command that was under way: %v", err)
	}
	<-stopped
	if n := len(r.commands()); n != 1 {
		t.Errorf("%d commands came", n)
	}
}

func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	w.recorder("one", Capacity{})
	twin, err := NewServer(connect(t, w.nats), ServerConfig{Name: "one"}, &fake{})
	if err != nil {
		t.Fatal(err)
	}
	if err := twin.Alone(t.Context()); !errors.Is(err, ErrName) {
		t.Errorf("a second recorder of the name: %v", err)
	}
	other, err := NewServer(connect(t, w.nats), ServerConfig{Name: "o.n>e *"}, &fake{}) // no name is a wildcard
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Alone(t.Context()); err != nil {
		t.Errorf("another name: %v", err)
	}
	for _, name := range []string{"", strings.Repeat("n", maxName+1)} {
		if _, err := NewServer(nil, ServerConfig{Name: name}, &fake{}); !errors.Is(err, ErrName) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// A process of the API that comes later knows the recorders at once: it asks.
func TestGreeting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	nc := connect(t, w.nats)
	s, err := NewServer(nc, ServerConfig{Name: "one", Beat: time.Hour}, &fake{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.until("the first client knows it", func() bool { return w.client.Nodes() == 1 })
	later, err := NewClient(connect(t, w.nats), ClientConfig{Silence: time.Hour}, w.catalog)
	if err != nil {
		t.Fatal(err)
	}
	w.until("the second client knows it", func() bool { return later.Nodes() == 1 })
	if err := later.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Without a connection nothing waits.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	w.catalog.add(recorder.RecordingRow{TenantID: "ten_a", ID: "rec_1", Node: "one", Capture: recorder.Recording})
	w.client.nc.Close()
	if err := w.client.Stop(t.Context(), recorder.StopCommand{TenantID: "ten_a", RecordingID: "rec_1"}); code(err) != recorder.CodeUnavailable {
		t.Errorf("%v", err)
	}
}
