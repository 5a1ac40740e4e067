package recorder_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

func (w *world) publish(tenant, id string, ssrc uint32) (*line, error) {
	l := &line{req: recorder.LeaseRequest{Kind: recorder.AgentAudio}}
	_, err := w.svc.Publish(w.t.Context(), recorder.PublishCommand{TenantID: tenant, RecordingID: id, Kind: recorder.AgentAudio, RTPParameters: opus(ssrc),
		Source: recorder.Source{IP: "198.51.100.7", RTPPort: 50000}, Lease: l, Actor: me})
	return l, err
}

func (w *world) unpublish(id string, l *line) {
	w.t.Helper()
	if err := w.svc.Unpublish(w.t.Context(), recorder.UnpublishCommand{TenantID: "ten_1", RecordingID: id, Lease: l}); err != nil {
		w.t.Fatal(err)
	}
}

// over tells that the recording has closed the lease and takes nothing from it.
func (n *line) over() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed && n.sink == nil
}

func (w *world) track(id string) recorder.TrackRow {
	w.t.Helper()
	st, ok := w.svc.Live("ten_1", id)
	if !ok {
		w.t.Fatal("the recording is not live")
	}
	return st.Tracks[0]
}

// TestPublish: an SFU, then a publisher, another one, and the SFU again feed one track; each ends the one before.
func TestPublish(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.run()
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	sfu := w.net.of(recorder.AgentAudio)
	sfu.send(0, time.Now())
	first, err := w.publish("ten_1", id, 8)
	if err != nil {
		t.Fatal(err)
	}
	if sfu.sink != nil || sfu.closed {
		t.Error("the SFU's sockets still deliver, or are closed")
	}
	first.send(1, time.Now())
	first.send(2, time.Now())
	if s := w.track(id).Stats; s.Packets != 3 || s.SSRC != 8 {
		t.Errorf("statistics %+v, want 3 packets", s)
	}
	second, err := w.publish("ten_1", id, 9)
	if err != nil {
		t.Fatal(err)
	}
	if !first.over() || second.over() {
		t.Error("the second publisher must end the first")
	}
	second.send(3, time.Now())
	w.unpublish(id, first) // says nothing about the second
	if got := w.track(id); got.State == recorder.TrackClosed || got.Stats.Packets != 4 {
		t.Errorf("after the first publisher went: %+v", got)
	}
	w.unpublish(id, second)
	w.unpublish(id, second)
	if got := w.track(id); !second.over() || got.State != recorder.TrackClosed || got.Stats.Packets != 4 {
		t.Errorf("after the second publisher went: %+v", got)
	}
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	stop()
	for n, want := range []int{1, 2, 1, 0} {
		if got := w.records(id, recorder.LegName(n)); got != want {
			t.Errorf("leg %d holds %d packets, want %d", n, got, want)
		}
	}
}

func TestPublisherEndsWithTheRecording(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world, id string) error{
		"stop": func(w *world, id string) error {
			return w.svc.Stop(t.Context(), recorder.StopCommand{TenantID: "ten_1", RecordingID: id, Actor: me})
		},
		"detach": func(w *world, id string) error {
			return w.svc.Detach(t.Context(), recorder.DetachCommand{TenantID: "ten_1", RecordingID: id, Kind: recorder.AgentAudio, Actor: me})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			t.Cleanup(w.run())
			id := w.start("call", recorder.AgentAudio)
			l, err := w.publish("ten_1", id, 8)
			if err != nil {
				t.Fatal(err)
			}
			l.send(0, time.Now())
			if err := end(w, id); err != nil {
				t.Fatal(err)
			}
			if !l.over() {
				t.Error("the publisher's lease is not closed")
			}
			w.unpublish(id, l)
		})
	}
}

func TestPublishRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Cleanup(w.run())
	id := w.start("call", recorder.AgentAudio)
	_, err := w.publish("ten_2", id, 1)
	wantCode(t, err, recorder.CodeNotFound)
	_, err = w.publish("ten_1", "rec_none", 1)
	wantCode(t, err, recorder.CodeNotFound)
	_, err = w.publish("ten_1", id, 0)
	wantCode(t, err, recorder.CodeInvalidInput)
	if _, err := w.svc.Expected(t.Context(), "ten_2", id); err == nil {
		t.Error("another tenant learns what is expected")
	}
	if kinds, err := w.svc.Expected(t.Context(), "ten_1", id); err != nil || !slices.Equal(kinds, []recorder.TrackKind{recorder.AgentAudio}) {
		t.Errorf("expected %v, %v", kinds, err)
	}
	if err := w.svc.Stop(t.Context(), recorder.StopCommand{TenantID: "ten_1", RecordingID: id, Actor: me}); err != nil {
		t.Fatal(err)
	}
	var ended *recorder.StateError
	if _, err := w.publish("ten_1", id, 1); !errors.As(err, &ended) {
		t.Errorf("publishing into a stopped recording: %v", err)
	}
	if _, err := w.svc.Expected(t.Context(), "ten_1", id); !errors.As(err, &ended) {
		t.Errorf("asking a stopped recording: %v", err)
	}
}
