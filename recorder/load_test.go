package recorder_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/spool"
)

func vp8(ssrc uint32) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"codecs":[{"mimeType":"video/VP8","payloadType":100,"clockRate":90000}],"encodings":[{"ssrc":%d}],"rtcp":{"cname":"c"}}`, ssrc))
}

func (w *world) attachVideo(id string, kind recorder.TrackKind, ssrc uint32) {
	w.t.Helper()
	_, err := w.svc.Attach(w.t.Context(), recorder.AttachCommand{TenantID: "ten_1", RecordingID: id, Kind: kind, RTPParameters: vp8(ssrc),
		Source: recorder.Source{IP: "127.0.0.1", RTPPort: 5000}, Actor: me})
	if err != nil {
		w.t.Fatal(err)
	}
}

// show delivers one VP8 picture of one packet, always a keyframe, with so many bytes behind it.
func (n *line) show(seq int, at time.Time, more int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.attached.Sink == nil {
		return
	}
	ts, ssrc := uint32(seq)*1800, n.attached.Params.SSRC
	p := []byte{0x80, 0x80 | 100, byte(seq >> 8), byte(seq), byte(ts >> 24), byte(ts >> 16), byte(ts >> 8), byte(ts),
		byte(ssrc >> 24), byte(ssrc >> 16), byte(ssrc >> 8), byte(ssrc), 0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 48, 0}
	n.attached.Sink.Packet(at, recorder.PacketRTP, append(p, make([]byte, more)...))
	n.n++
}

// gauge is a disk of which a test says how full it is.
type gauge struct {
	free  atomic.Int64
	freed atomic.Int64
	kept  atomic.Int64
}

func (g *gauge) Usage() (recorder.DiskUsage, error) {
	return recorder.DiskUsage{Free: g.free.Load()}, nil
}
func (g *gauge) FreeReserve() error { g.freed.Add(1); return nil }
func (g *gauge) KeepReserve() error { g.kept.Add(1); return nil }

func wantReason(t *testing.T, err error, reason recorder.RefusalReason) {
	t.Helper()
	wantCode(t, err, recorder.CodeCapacity)
	var ce *recorder.CommandError
	if errors.As(err, &ce) && ce.Reason != reason {
		t.Errorf("reason %s (%v), want %s", ce.Reason, err, reason)
	}
}

// TestRefusalsHaveReasons: each resource that is used up is named, and the calls that run go on.
func TestRefusalsHaveReasons(t *testing.T) {
	t.Parallel()
	disk := &gauge{}
	disk.free.Store(1 << 40)
	w := newWorld(t)
	stuck := make(chan struct{})
	w.scribe.hold = stuck
	w.tune = func(c *recorder.Config, d *recorder.Deps, _ *spool.Config) {
		c.MaxRecordings, c.MaxLag, d.Disk = 2, time.Minute, disk
	}
	t.Cleanup(w.run())
	start := func(session string) error {
		_, err := w.svc.Start(t.Context(), startOf(session, recorder.Screen, recorder.AgentAudio))
		return err
	}
	id := w.start("runs", recorder.Screen, recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	second := w.start("second", recorder.CustomerAudio)
	wantReason(t, start("third"), recorder.RefusedRecordings)
	if again := w.start("runs", recorder.AgentAudio); again != id { // idempotent, also where a new one is refused
		t.Errorf("the running call got %s", again)
	}
	w.stop(second)

	disk.free.Store(1 << 30)
	w.svc.LookAtDisk()
	wantReason(t, start("no disk"), recorder.RefusedDisk)
	disk.free.Store(1 << 40)
	w.svc.LookAtDisk()

	w.say(recorder.AgentAudio, 0, 4000) // 80 s, of which nothing is composed
	until(t, func() bool {
		st, _ := w.svc.Live("ten_1", id)
		return st.ComposeLag > time.Minute && w.svc.Load().Waiting > 0
	})
	wantReason(t, start("too late"), recorder.RefusedEncoder)
	load := w.svc.Load()
	if load.State != recorder.NodeRefusing || load.Waiting == 0 || load.Refused[recorder.RefusedEncoder] != 1 || load.Refused[recorder.RefusedDisk] != 1 ||
		load.Refused[recorder.RefusedRecordings] != 1 {
		t.Errorf("load %+v", load)
	}

	// Never a dropped packet because of encoding: with a composer that was stuck all the time, everything is there.
	w.stop(id)
	close(stuck)
	w.catalog.wait(t, id, recorder.Partial) // no screen ever came
	f := w.catalog.facts(id)
	for _, g := range f.Gaps {
		if g.Kind != recorder.GapMissing {
			t.Errorf("ledger %+v", g)
		}
	}
	if f.DurationUs < 80_000_000 {
		t.Errorf("the file lasts %d µs, want 80 s", f.DurationUs)
	}
	if h := w.svc.Load().Lag; h.Count == 0 || h.Sum < 60 || h.Buckets[5] == h.Count {
		t.Errorf("lag %+v", h)
	}
}

// until waits for something that a background task brings about.
func until(t *testing.T, f func() bool) {
	t.Helper()
	deadline, tick := time.After(30*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited for 30 s in vain")
		}
	}
}

// TestReducedWhileBehind: segments of a recording that is behind show fewer pictures, and the ledger says when.
func TestReducedWhileBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stuck := make(chan struct{})
	w.scribe.hold = stuck
	var mu sync.Mutex
	frames, few := int64(0), int64(0)
	w.scribe.watch = func(job recorder.VideoJob) {
		mu.Lock()
		defer mu.Unlock()
		frames += job.Frames
		sparse := true
		for _, r := range job.Regions {
			if r.Source == nil {
				continue
			}
			for {
				f, err := r.Source.Next(context.Background())
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Errorf("segment %d: %v", job.Segment, err)
					break
				}
				sparse = sparse && (f.Slot < 0 || f.Slot%3 == 0)
			}
		}
		if sparse {
			few += job.Frames
		}
	}
	w.tune = func(c *recorder.Config, _ *recorder.Deps, _ *spool.Config) { c.ShedLag = 10 * time.Second }
	t.Cleanup(w.run())
	id := w.start("call", recorder.Screen)
	w.attachVideo(id, recorder.Screen, 9)
	for i := range 2000 {
		w.net.of(recorder.Screen).show(i, w.now(), 0)
		w.pass(20 * time.Millisecond)
	}
	until(t, func() bool { st, _ := w.svc.Live("ten_1", id); return st.ComposeLag > 20*time.Second })
	close(stuck)
	w.stop(id)
	w.catalog.wait(t, id, recorder.Available)
	f := w.catalog.facts(id)
	var reduced recorder.Micros
	for _, g := range f.Gaps {
		if g.Kind == recorder.GapReduced && g.TrackID == "" && g.Detail == "shown at 10 frames a second: the machine was overloaded" {
			reduced += g.To - g.From
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if d := reduced - recorder.Micros(few*1_000_000/30); reduced < 10_000_000 || d < -100 || d > 100 || f.Segments[len(f.Segments)-1].ToFrame != frames || w.svc.Load().Reduced == 0 {
		t.Errorf("%s reduced, %d of %d frames, ledger %+v", reduced, few, frames, f.Gaps)
	}
}

// TestDiskSheds: webcam, then screen are dropped as the disk fills up, sound never; each comes back with a keyframe, and
// the ledger has the times.
func TestDiskSheds(t *testing.T) {
	t.Parallel()
	disk := &gauge{}
	disk.free.Store(1 << 40)
	w := newWorld(t)
	w.tune = func(_ *recorder.Config, d *recorder.Deps, _ *spool.Config) { d.Disk = disk }
	end := w.run()
	id := w.start("call", recorder.Screen, recorder.Webcam, recorder.AgentAudio)
	w.attachVideo(id, recorder.Screen, 1)
	w.attachVideo(id, recorder.Webcam, 2)
	if err := w.attach(id, recorder.AgentAudio, 3); err != nil {
		t.Fatal(err)
	}
	seq := 0
	seconds := func(n int) {
		for range n * 50 {
			w.net.of(recorder.Screen).show(seq, w.now(), 0)
			w.net.of(recorder.Webcam).show(seq, w.now(), 0)
			w.net.of(recorder.AgentAudio).send(seq, w.now())
			w.pass(20 * time.Millisecond)
			seq++
		}
	}
	at := func(free int64) { disk.free.Store(free); w.svc.LookAtDisk() }
	seconds(2)
	at(900 << 20)
	seconds(2)
	at(400 << 20)
	seconds(2)
	if l := w.svc.Load(); l.State != recorder.NodeDropping || l.DiskLevel != recorder.DiskShedScreen || l.Dropped != 300 {
		t.Errorf("load %+v", l)
	}
	asked := w.net.of(recorder.Screen).asked
	at(800 << 20)
	seconds(2)
	if got := w.net.of(recorder.Screen).asked; got <= asked {
		t.Error("the screen came back without a keyframe")
	}
	at(1 << 40)
	seconds(2)
	at(900 << 20)
	seconds(2)
	w.stop(id) // while the webcam is dropped
	w.catalog.wait(t, id, recorder.Available)
	end()
	dropped := map[string]recorder.GapRow{}
	for _, g := range w.catalog.facts(id).Gaps {
		switch {
		case g.Kind == recorder.GapDropped && g.Detail == recorder.CauseDiskFull:
			sum := dropped[g.TrackID]
			sum.Packets, sum.To = sum.Packets+g.Packets, sum.To+g.To-g.From
			dropped[g.TrackID] = sum
		case g.Kind == recorder.GapLost || g.Kind == recorder.GapMissing:
			t.Errorf("unexpected %+v", g)
		}
	}
	var screen, webcam string
	for _, tr := range w.catalog.facts(id).Tracks {
		switch tr.Kind {
		case recorder.Screen:
			screen = tr.ID
		case recorder.Webcam:
			webcam = tr.ID
		}
	}
	// The test's own time passes too, so spans are at least what was sent in them.
	if s, c := dropped[screen], dropped[webcam]; len(dropped) != 2 || s.Packets != 100 || c.Packets != 400 || s.To < 1_900_000 || c.To < 7_900_000 {
		t.Errorf("dropped %+v", dropped)
	}
	if l := w.svc.Load(); l.Dropped != 500 {
		t.Errorf("%d packets dropped of recordings that have ended, want 500", l.Dropped)
	}
	if disk.kept.Load() == 0 || disk.freed.Load() != 0 {
		t.Errorf("the reserve was kept %d and freed %d times", disk.kept.Load(), disk.freed.Load())
	}
}

// spoolDisk is the spool that the world will have.
type spoolDisk struct{ w *world }

func (d spoolDisk) Usage() (recorder.DiskUsage, error) { return d.w.spool.Usage() }
func (d spoolDisk) FreeReserve() error                 { return d.w.spool.FreeReserve() }
func (d spoolDisk) KeepReserve() error                 { return d.w.spool.KeepReserve() }

// TestFullDisk fills a real file system in mid-call. Sound goes on in what was kept for it, pictures come back when there
// is room, and the ledger has all of it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := syscall.Mount("dualrec-test", w.root, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("no small file system can be mounted (%v): run as root with CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(w.root, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	const mb = 1 << 20
	w.tune = func(c *recorder.Config, d *recorder.Deps, s *spool.Config) {
		c.Disk = recorder.DiskPolicy{UsedPercent: [3]int{90, 95, 98}, FreeBytes: [3]int64{3 * mb, 2 * mb, mb}}
		s.ReserveBytes, d.Disk = 4*mb, spoolDisk{w}
	}
	end := w.run()
	defer end()
	id := w.start("call", recorder.Screen, recorder.AgentAudio)
	w.attachVideo(id, recorder.Screen, 1)
	if err := w.attach(id, recorder.AgentAudio, 3); err != nil {
		t.Fatal(err)
	}
	seq := 0
	second := func() {
		for range 50 {
			w.net.of(recorder.Screen).show(seq, w.now(), 1000)
			w.net.of(recorder.AgentAudio).send(seq, w.now())
			w.pass(20 * time.Millisecond)
			seq++
		}
	}
	for range 4 {
		second()
	}
	filler := filepath.Join(w.root, "filler")
	fill(t, filler)
	until(t, func() bool { second(); return w.svc.Load().DiskLevel == recorder.DiskShedScreen }) // found by a write, or by looking
	for range 10 {
		second()
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		w.pass(time.Second)
		second()
		w.svc.LookAtDisk()
		return w.svc.Load().DiskLevel == recorder.DiskOK
	})
	for range 4 {
		second()
	}
	sent := seq
	w.stop(id)
	w.catalog.wait(t, id, recorder.Available)
	end()
	var pictures, sound recorder.Micros
	f := w.catalog.facts(id)
	for _, g := range f.Gaps {
		if g.Kind != recorder.GapDropped || g.Detail != recorder.CauseDiskFull {
			continue
		}
		for _, tr := range f.Tracks {
			if tr.ID == g.TrackID && tr.Kind == recorder.Screen {
				pictures += g.To - g.From
			} else if tr.ID == g.TrackID {
				sound += g.To - g.From
			}
		}
	}
	t.Logf("%d packets of each, pictures dropped %s, sound %s", sent, pictures, sound)
	if pictures < 10_000_000 || sound > pictures/2 {
		t.Errorf("pictures dropped %s, sound %s: %+v", pictures, sound, f.Gaps)
	}
}

// fill writes until the file system takes no more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 4096; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
