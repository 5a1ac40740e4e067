package ingest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
)

// rig is a lease under test with its other side.
type rig struct {
	lease  recorder.Lease
	rtp    func(data []byte) // sends one packet; it has been taken when rtp returns
	rtcp   func(data []byte)
	source recorder.Source
	asked  func() []byte // waits for the next feedback
}

// implementations of recorder.Lease, each held to the same contract.
var implementations = map[string]func(t *testing.T) rig{
	"Lease":         func(t *testing.T) rig { return socketRig(t, false) },
	"Lease rtcpMux": func(t *testing.T) rig { return socketRig(t, true) },
	"Feed":          feedRig,
}

func socketRig(t *testing.T, mux bool) rig {
	l := lease(t, testReceiver(t, 4), mux)
	media, control := sender(t), sender(t)
	port := l.Endpoint().RTCPPort
	if mux {
		control, port = media, l.Endpoint().RTPPort
	}
	return rig{lease: l,
		rtp:    func(data []byte) { send(t, media, l.Endpoint().RTPPort, data); l.poll() },
		rtcp:   func(data []byte) { send(t, control, port, data); l.poll() },
		source: recorder.Source{IP: "127.0.0.1", RTPPort: portOf(media), RTCPPort: portOf(control)},
		asked:  func() []byte { raw, _ := receive(t, control); return raw },
	}
}

func feedRig(t *testing.T) rig {
	out := make(chan []byte, 100)
	f := NewFeed(slog.New(slog.DiscardHandler), func(p []byte) error { out <- bytes.Clone(p); return nil })
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait(); _ = f.Close() })
	return rig{lease: f,
		rtp:  func(data []byte) { f.RTP(data, time.Now()) },
		rtcp: func(data []byte) { f.RTCP(data, time.Now()) },
		asked: func() []byte {
			select {
			case p := <-out:
				return p
			case <-time.After(10 * time.Second):
				t.Fatal("nothing was asked for")
				return nil
			}
		},
	}
}

func TestLeases(t *testing.T) {
	t.Parallel()
	for name, build := range implementations {
		for what, check := range map[string]func(*testing.T, rig){
			"delivery":    checkDelivery,
			"replacing":   checkReplacing,
			"refusals":    checkRefusals,
			"keyframes":   checkKeyframes,
			"repair":      checkRepair,
			"pause":       checkPause,
			"closing":     checkClosing,
			"concurrency": checkConcurrency,
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				check(t, build(t))
			})
		}
	}
}

func (r rig) attach(t *testing.T, ssrc uint32) *memory {
	t.Helper()
	m, params := &memory{}, vp8Params()
	params.SSRC = ssrc
	if err := r.lease.Attach(recorder.Attachment{Params: params, Source: r.source, Sink: m}); err != nil {
		t.Fatal(err)
	}
	return m
}

// count is how many calls a sink has had. The lease's lock orders it behind the calls.
func (r rig) count(m *memory) int {
	r.lease.Stats()
	return len(m.got)
}

func checkDelivery(t *testing.T, r rig) {
	key, sr := withExtensions(t, 1, vp8Key), report(t, testSSRC)
	r.rtp(key)
	if s := r.lease.Stats(); s != (recorder.NetStats{DroppedForeign: 1}) {
		t.Errorf("nothing is attached: %+v", s)
	}
	m := r.attach(t, testSSRC)
	before := time.Now()
	r.rtp(key)
	r.rtp(packet(t, 1234, 127, 1, 1, vp8Key)) // a probe
	r.rtp(key[:9])
	r.rtcp(sr)
	if r.count(m) != 2 || !bytes.Equal(m.got[0].data, key) || m.got[0].kind != recorder.PacketRTP ||
		!bytes.Equal(m.got[1].data, sr) || m.got[1].kind != recorder.PacketRTCP {
		t.Fatalf("the sink was given %+v", m.got)
	}
	if at := m.got[0].at; at.Before(before.Add(-time.Second)) || at.After(time.Now()) {
		t.Errorf("arrived at %v, sent at %v", at, before)
	}
	s := r.lease.Stats()
	if s.FirstPacketAt != m.got[0].at || s.LastPacketAt != m.got[0].at {
		t.Errorf("first packet at %v, last at %v", s.FirstPacketAt, s.LastPacketAt)
	}
	s.FirstPacketAt, s.LastPacketAt = time.Time{}, time.Time{}
	want := recorder.NetStats{Packets: 1, Bytes: uint64(len(key)), RTCPPackets: 1, DroppedForeign: 2, DroppedMalformed: 1, Keyframes: 1, SSRC: testSSRC}
	if s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
}

func checkReplacing(t *testing.T, r rig) {
	first := r.attach(t, testSSRC)
	r.rtp(packet(t, testSSRC, 101, 1, 1, vp8Key))
	second := r.attach(t, 99)
	r.rtp(packet(t, testSSRC, 101, 2, 1, vp8Delta))
	r.rtp(packet(t, 99, 101, 1, 1, vp8Key))
	if r.count(first) != 1 || r.count(second) != 1 {
		t.Errorf("%d packets for the first, %d for the second", len(first.got), len(second.got))
	}
	r.lease.Detach()
	r.lease.Detach()
	r.rtp(packet(t, 99, 101, 2, 1, vp8Delta))
	if r.count(second) != 1 {
		t.Error("delivered after Detach")
	}
	if s := r.lease.Stats(); s.Packets != 2 || s.DroppedForeign != 2 || s.SSRC != 99 {
		t.Errorf("%+v", s)
	}
}

func checkRefusals(t *testing.T, r rig) {
	m := r.attach(t, testSSRC)
	for name, a := range map[string]recorder.Attachment{
		"no sink": {Params: vp8Params(), Source: r.source},
		"SRTP":    {Params: vp8Params(), Source: r.source, Sink: &memory{}, SRTP: srtpKey(recorder.AEADAES128GCM, "x")},
	} {
		if err := r.lease.Attach(a); !errors.Is(err, recorder.ErrAttachment) {
			t.Errorf("%s: error %v, want ErrAttachment", name, err)
		}
	}
	r.rtp(packet(t, testSSRC, 101, 1, 1, vp8Key))
	if r.count(m) != 1 {
		t.Error("what was refused has ended what was attached")
	}
}

func checkKeyframes(t *testing.T, r rig) {
	r.lease.RequestKeyframe() // of nobody
	r.attach(t, testSSRC)
	r.lease.RequestKeyframe() // nobody was heard
	if s := r.lease.Stats(); s.KeyframesAsked != 0 {
		t.Errorf("%+v", s)
	}
	r.rtp(packet(t, testSSRC, 101, 1, 1, vp8Delta))
	var pli rtcp.PictureLossIndication
	if err := pli.Unmarshal(r.asked()); err != nil || pli.MediaSSRC != testSSRC || pli.SenderSSRC == 0 || pli.SenderSSRC == testSSRC {
		t.Errorf("%+v, error %v", pli, err)
	}
	r.lease.RequestKeyframe() // too soon
	if s := r.lease.Stats(); s.KeyframesAsked != 1 {
		t.Errorf("%+v", s)
	}
}

func checkRepair(t *testing.T, r rig) {
	m := r.attach(t, testSSRC)
	r.rtp(packet(t, testSSRC, 101, 65535, 1, vp8Key))
	lost := withExtensions(t, 0, vp8Delta)
	r.rtp(packet(t, testSSRC, 101, 1, 6000, vp8Delta))
	var nack rtcp.TransportLayerNack
	if err := nack.Unmarshal(r.asked()); err != nil || nack.MediaSSRC != testSSRC || len(nack.Nacks) != 1 || nack.Nacks[0] != (rtcp.NackPair{}) {
		t.Fatalf("%+v, error %v", nack, err)
	}
	r.rtp(asRTX(t, lost, 7, 5))
	r.rtp(asRTX(t, lost, 8, 0))
	if r.count(m) != 3 || !bytes.Equal(m.got[2].data, lost) {
		t.Errorf("the sink was given %+v", m.got)
	}
	if s := r.lease.Stats(); s.Lost != 0 || s.Nacked != 1 || s.Repaired != 1 || s.Duplicates != 1 || s.Packets != 3 {
		t.Errorf("%+v", s)
	}
}

func checkPause(t *testing.T, r rig) {
	m := r.attach(t, testSSRC)
	r.rtp(packet(t, testSSRC, 101, 1, 1, vp8Key))
	before := r.lease.Stats()
	r.lease.Hold()
	r.lease.Hold()
	r.rtp(packet(t, testSSRC, 101, 3, 1, vp8Key))
	r.rtp(asRTX(t, packet(t, testSSRC, 101, 2, 1, vp8Delta), 7, 0))
	r.rtcp(report(t, testSSRC))
	r.lease.RequestKeyframe()
	if r.count(m) != 1 {
		t.Error("delivered in a pause")
	}
	after := r.lease.Stats()
	if after.DroppedHeld != 3 {
		t.Errorf("%d dropped", after.DroppedHeld)
	}
	if after.DroppedHeld = 0; after != before {
		t.Errorf("a pause was counted: %+v, before it %+v", after, before)
	}
	again := r.attach(t, testSSRC) // does not end it
	r.rtp(packet(t, testSSRC, 101, 4, 1, vp8Key))
	r.lease.Release(time.Now())
	r.lease.Release(time.Now())
	r.rtp(packet(t, testSSRC, 101, 5, 1, vp8Key)) // who knows when it was captured
	if r.count(again) != 0 {
		t.Error("delivered of a pause")
	}
}

func checkClosing(t *testing.T, r rig) {
	m := r.attach(t, testSSRC)
	r.rtp(packet(t, testSSRC, 101, 1, 1, vp8Key))
	for range 2 {
		if err := r.lease.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := r.lease.Attach(recorder.Attachment{Params: vp8Params(), Source: r.source, Sink: m}); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want ErrClosed", err)
	}
	r.lease.Detach()
	r.lease.Hold()
	r.lease.Release(time.Now())
	r.lease.RequestKeyframe()
	if s := r.lease.Stats(); s.Packets != 1 || r.count(m) != 1 {
		t.Errorf("%+v", s)
	}
}

// checkConcurrency calls everything at once; the race detector judges.
func checkConcurrency(t *testing.T, r rig) {
	var wg sync.WaitGroup
	attach := func() {
		_ = r.lease.Attach(recorder.Attachment{Params: vp8Params(), Source: r.source, Sink: &memory{}})
	}
	data := packet(t, testSSRC, 101, 1, 1, vp8Delta)
	for _, f := range []func(){attach, r.lease.Detach, r.lease.Hold, func() { r.lease.Release(time.Now()) }, r.lease.RequestKeyframe,
		func() { r.lease.Stats() }, func() { r.rtp(data) }, func() { r.lease.Endpoint() }} {
		wg.Go(func() {
			for range 200 {
				f()
			}
		})
	}
	wg.Wait()
	if err := r.lease.Close(); err != nil {
		t.Error(err)
	}
}
