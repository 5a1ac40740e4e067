package recorder_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// srtpOf is what an SFU would encrypt with.
func srtpOf(t *testing.T, suite recorder.SRTPSuite) recorder.SRTPParameters {
	t.Helper()
	p, err := recorder.NewSRTPParameters(suite)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func gapsOf(f recorder.FinishRow, kind recorder.GapKind) (out []recorder.GapRow) {
	for _, g := range f.Gaps {
		if g.Kind == kind {
			out = append(out, g)
		}
	}
	return out
}

// TestCaptureGoesOn: a process ends in mid-call, another one binds the same ports under the same key, and both parts are
// one recording whose ledger says how long nobody listened.
func TestCaptureGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.run()
	cmd := startOf("call", recorder.AgentAudio)
	cmd.SRTPSuite = recorder.AEADAES256GCM
	id, err := w.svc.Start(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	theirs := srtpOf(t, recorder.AEADAES256GCM)
	_, err = w.svc.Attach(t.Context(), recorder.AttachCommand{TenantID: "ten_1", RecordingID: id, Kind: recorder.AgentAudio, RTPParameters: opus(7),
		Source: recorder.Source{IP: "127.0.0.1", RTPPort: 5000}, SRTP: theirs, Actor: me})
	if err != nil {
		t.Fatal(err)
	}
	began := w.now()
	w.say(recorder.AgentAudio, 0, 100)
	before := w.net.of(recorder.AgentAudio)
	end()

	w.pass(3 * time.Second)
	t.Cleanup(w.run())
	w.catalog.wait(t, id, recorder.Recording)
	after := w.net.of(recorder.AgentAudio)
	if after == before {
		t.Fatal("no sockets were bound again")
	}
	if after.ports != before.ports || !after.req.SRTP.Equal(before.req.SRTP) || after.req.SRTP.Plain() || !after.attached.SRTP.Equal(theirs) {
		t.Errorf("bound %+v with %v, before %+v with %v", after.ports, after.req.SRTP, before.ports, before.req.SRTP)
	}
	if s := after.attached.Spooled; s == nil || s.Seq != 99 || s.RTP != 99*960 || s.At.Sub(began) < 1900*time.Millisecond || s.At.Sub(began) > 3*time.Second {
		t.Errorf("repair begins at %+v, want at packet 99", s)
	}
	w.talk(recorder.AgentAudio, 250, 50, began.Add(5*time.Second))
	w.stop(id)
	w.catalog.wait(t, id, recorder.Available)
	f := w.catalog.facts(id)
	downs := gapsOf(f, recorder.GapDowntime)
	if len(downs) != 1 || downs[0].TrackID == "" || downs[0].From.Duration() < 1900*time.Millisecond || downs[0].To-downs[0].From < 2_500_000 || downs[0].To-downs[0].From > 60_000_000 {
		t.Errorf("downtime %+v, want one of 3 s and what the test took, from 2 s on", downs)
	}
	if lost := gapsOf(f, recorder.GapLost); len(lost) != 0 {
		t.Errorf("what came while nobody listened counts as lost: %+v", lost)
	}
	if len(f.Copies) != 3 {
		t.Errorf("%d copies, want one file with waveform and manifest", len(f.Copies))
	}
}

// TestPortsAreTaken: the recording goes on, on other ports, and the database learns of them.
func TestPortsAreTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.run()
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	before := w.net.of(recorder.AgentAudio)
	end()
	w.net.mu.Lock()
	w.net.taken = true
	w.net.mu.Unlock()
	t.Cleanup(w.run())
	after := w.net.of(recorder.AgentAudio)
	st, ok := w.svc.Live("ten_1", id)
	if !ok || len(st.Tracks) != 1 || after == before || after.ports == before.ports || st.Tracks[0].Endpoint != after.ports {
		t.Errorf("live %v on %+v, lease %+v, before %+v", ok, st.Tracks, after.ports, before.ports)
	}
	w.say(recorder.AgentAudio, 0, 50)
	w.stop(id)
	w.catalog.wait(t, id, recorder.Available)
}

// TestReconnectWindow: whoever comes back after the queue's patience finishes the recording and binds nothing.
func TestReconnectWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shift.Store(int64(-time.Hour))
	end := w.run()
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	w.say(recorder.AgentAudio, 0, 100)
	before := w.net.of(recorder.AgentAudio)
	end()
	w.shift.Store(0)
	t.Cleanup(w.run())
	w.catalog.wait(t, id, recorder.Available)
	if w.net.of(recorder.AgentAudio) != before {
		t.Error("ports were bound for a call that is long over")
	}
	if d := time.Duration(w.catalog.facts(id).DurationUs) * time.Microsecond; d < 1900*time.Millisecond || d > time.Minute {
		t.Errorf("the recording lasts %v, want the 2 s that were captured and what the test took", d)
	}
}

// TestPauseOutlivesTheProcess: what pauses when the process ends pauses when the next one begins, and nothing of the pause
// is repaired.
func TestPauseOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.run()
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	w.say(recorder.AgentAudio, 0, 50)
	pause := recorder.PauseCommand{TenantID: "ten_1", RecordingID: id, Reason: recorder.PausePayment, Actor: me}
	if err := w.svc.Pause(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
	end()

	end = w.run()
	if st, ok := w.svc.Live("ten_1", id); !ok || st.Capture != recorder.Paused {
		t.Fatalf("live %v, %s; want PAUSED", ok, st.Capture)
	}
	l := w.net.of(recorder.AgentAudio)
	if l.attached.Spooled != nil || !l.held || !l.heldOver {
		t.Errorf("repair from %+v, held %v: want none of a pause", l.attached.Spooled, l.held)
	}
	w.say(recorder.AgentAudio, 50, 50)
	if err := w.svc.Resume(t.Context(), recorder.ResumeCommand{TenantID: "ten_1", RecordingID: id, Actor: me}); err != nil {
		t.Fatal(err)
	}
	if l.held || l.released.IsZero() {
		t.Error("the resumed lease is held")
	}
	end() // nothing has come since the pause

	end = w.run()
	l = w.net.of(recorder.AgentAudio)
	if l.attached.Spooled != nil || l.held || !l.heldOver || l.released.IsZero() {
		t.Errorf("repair from %+v after a pause of which nothing is spooled, held %v, when attached %v, released %v", l.attached.Spooled, l.held, l.heldOver, l.released)
	}
	w.say(recorder.AgentAudio, 100, 50)
	w.stop(id)
	w.catalog.wait(t, id, recorder.Available)
	end()
	f := w.catalog.facts(id)
	if len(gapsOf(f, recorder.GapPaused)) != 1 || len(gapsOf(f, recorder.GapDowntime)) != 2 {
		t.Errorf("gaps %+v, want one pause and two downtimes", f.Gaps)
	}
}

// TestALegThatCannotBeAttachedAgain: it ends, and the other track goes on.
func TestALegThatCannotBeAttachedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.run()
	id := w.start("call", recorder.AgentAudio, recorder.CustomerAudio)
	for i, kind := range []recorder.TrackKind{recorder.AgentAudio, recorder.CustomerAudio} {
		if err := w.attach(id, kind, uint32(7+i)); err != nil {
			t.Fatal(err)
		}
		w.say(kind, 0, 50)
	}
	end()
	w.net.mu.Lock()
	w.net.refuse = map[recorder.TrackKind]error{recorder.CustomerAudio: fmt.Errorf("%w: not within the networks of this recorder", recorder.ErrAttachment)}
	w.net.mu.Unlock()
	t.Cleanup(w.run())
	st, ok := w.svc.Live("ten_1", id)
	if !ok || !st.Capture.Live() {
		t.Fatalf("live %v, %s; want the recording to go on", ok, st.Capture)
	}
	for _, tr := range st.Tracks {
		if attached := tr.State != recorder.TrackClosed && tr.State != recorder.TrackExpected; attached != (tr.Kind == recorder.AgentAudio) {
			t.Errorf("%s is %s", tr.Kind, tr.State)
		}
	}
	w.say(recorder.AgentAudio, 50, 50)
	w.stop(id)
	w.catalog.wait(t, id, recorder.Available)
}

// TestAutomaticResumeOutlivesTheProcess: its time came while nobody was there.
func TestAutomaticResumeOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shift.Store(int64(-time.Minute))
	end := w.run()
	id := w.start("call", recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	w.say(recorder.AgentAudio, 0, 50)
	pause := recorder.PauseCommand{TenantID: "ten_1", RecordingID: id, Reason: recorder.PauseHold, AutoResume: 30 * time.Second, Actor: me}
	if err := w.svc.Pause(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
	end()
	w.shift.Store(0)
	t.Cleanup(w.run())
	w.catalog.wait(t, id, recorder.Recording)
	w.stop(id)
	w.catalog.wait(t, id, recorder.Available)
}

// TestSetLayout: pictures are laid out anew, on the same canvas, and nothing else is done by it.
func TestSetLayout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	end := w.run()
	id := w.start("call", recorder.Screen, recorder.AgentAudio)
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	set := func(l recorder.Layout) error {
		return w.svc.SetLayout(t.Context(), recorder.LayoutCommand{TenantID: "ten_1", RecordingID: id, Layout: l, Actor: me})
	}
	w.say(recorder.AgentAudio, 0, 50)
	for range 2 { // again is no change
		if err := set(recorder.ScreenOnly); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, set(recorder.AudioOnly), recorder.CodeConflict)
	wantCode(t, set("UPSIDE_DOWN"), recorder.CodeInvalidInput)
	w.pass(time.Second) // longer than a frame
	end()
	end = w.run()
	wantCode(t, set(recorder.AudioOnly), recorder.CodeConflict)
	if err := set(recorder.ScreenOnly); err != nil {
		t.Fatal(err)
	}
	if err := set(recorder.PictureInPicture); err != nil {
		t.Fatal(err)
	}
	w.say(recorder.AgentAudio, 50, 50)
	w.stop(id)
	w.catalog.wait(t, id, recorder.Partial) // no screen ever came
	end()
	var layouts []recorder.Layout
	for _, s := range w.catalog.facts(id).Segments {
		if n := len(layouts); n == 0 || layouts[n-1] != s.Layout {
			layouts = append(layouts, s.Layout)
		}
	}
	want := []recorder.Layout{recorder.SideBySide, recorder.ScreenOnly, recorder.PictureInPicture}
	if !slices.Equal(layouts, want) {
		t.Errorf("segments are laid out %v, want %v", layouts, want)
	}
	if n := w.count(id, recorder.EventLayoutChanged); n != 0 {
		t.Errorf("%d events are left of a recording that is done", n)
	}
}

// count counts events in a spool that nobody owns.
func (w *world) count(id string, kind recorder.EventType) (n int) {
	w.t.Helper()
	if _, err := os.Stat(filepath.Join(w.root, id)); errors.Is(err, os.ErrNotExist) {
		return 0
	}
	w.each(id, recorder.EventsJournal, func(r recorder.Record) {
		if e, err := recorder.ParseEvent(r.Data); err == nil && e.Type == kind {
			n++
		}
	})
	return n
}

// TestAttachWithTheWrongSRTP: either side of a mistake gets a text that says what to pass.
func TestAttachWithTheWrongSRTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Cleanup(w.run())
	plain := w.start("plain", recorder.AgentAudio)
	cmd := startOf("encrypted", recorder.AgentAudio)
	cmd.SRTPSuite = recorder.AES128CMHMACSHA1x80
	encrypted, err := w.svc.Start(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	attach := func(id string, srtp recorder.SRTPParameters) error {
		_, err := w.svc.Attach(t.Context(), recorder.AttachCommand{TenantID: "ten_1", RecordingID: id, Kind: recorder.AgentAudio, RTPParameters: opus(7),
			Source: recorder.Source{IP: "127.0.0.1", RTPPort: 5000}, SRTP: srtp, Actor: me})
		return err
	}
	wantCode(t, attach(plain, srtpOf(t, recorder.AEADAES128GCM)), recorder.CodeInvalidInput)
	wantCode(t, attach(encrypted, recorder.SRTPParameters{}), recorder.CodeInvalidInput)
	wantCode(t, attach(encrypted, srtpOf(t, recorder.AEADAES128GCM)), recorder.CodeInvalidInput)
	if err := attach(encrypted, srtpOf(t, recorder.AES128CMHMACSHA1x80)); err != nil {
		t.Error(err)
	}
	st, _ := w.svc.Live("ten_1", encrypted)
	if len(st.Tracks) != 1 || st.Tracks[0].SRTP.Suite != recorder.AES128CMHMACSHA1x80 || len(st.Tracks[0].SRTP.Key) != 30 {
		t.Errorf("tracks %+v have no key for connect()", st.Tracks)
	}
	cmd.ExternalSessionID, cmd.SRTPSuite = "unknown", "NULL"
	_, err = w.svc.Start(t.Context(), cmd)
	wantCode(t, err, recorder.CodeInvalidInput)
}

// TestKilledAtEveryStep keeps the spool and the database as they were at every step of a call, and lets a new process go
// on from each: the recording is completed from every one of them.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var synced atomic.Bool
	var mu sync.Mutex
	var states []moment
	look := func(what string) {
		if what == string(recorder.Finalizing) { // stopping has closed the journals
			synced.Store(true)
		}
		m := moment{what: what, root: t.TempDir(), rows: w.catalog.copy(), durable: synced.Load()}
		copySpool(t, w.root, m.root)
		mu.Lock()
		defer mu.Unlock()
		states = append(states, m)
	}
	w.catalog.step, w.shelf.step = look, look
	end := w.run()
	mu.Lock()
	states = nil // the probe's
	synced.Store(false)
	mu.Unlock()
	id := w.start("call", recorder.AgentAudio)
	look("started")
	if err := w.attach(id, recorder.AgentAudio, 7); err != nil {
		t.Fatal(err)
	}
	look("attached")
	w.say(recorder.AgentAudio, 0, 100)
	look("talking")
	w.stop(id)
	look("stopped")
	w.catalog.wait(t, id, recorder.Available)
	end()
	t.Logf("%d moments", len(states))
	for i, m := range states {
		t.Run(fmt.Sprintf("%02d %s", i, m.what), func(t *testing.T) {
			t.Parallel()
			m.goOn(t, id)
		})
		if m.durable {
			continue
		}
		cut := m.withoutPower(t, id, i)
		t.Run(fmt.Sprintf("%02d %s, without power", i, m.what), func(t *testing.T) {
			t.Parallel()
			cut.goOn(t, id)
		})
	}
}

// copySpool copies a spool that is in use. What is appended to goes first: then it never tells of a file that is not there.
func copySpool(t *testing.T, from, to string) {
	t.Helper()
	for _, journals := range []bool{true, false} {
		err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && (filepath.Ext(path) == ".journal") != journals && !d.IsDir() {
				return nil
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			if d.IsDir() {
				return os.MkdirAll(filepath.Join(to, rel), 0o700)
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) { // gone since
				return nil
			}
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(to, rel), data, 0o600)
		})
		if err != nil {
			t.Errorf("copy the spool: %v", err)
		}
	}
}

// moment is what a killed process leaves.
type moment struct {
	what, root string
	rows       []byte
	durable    bool // everything that was said is on the disk
}

// withoutPower is the same moment after a power cut: what was written to the tracks' journals and not synced is gone, in
// whole or from the middle of a chunk on. Events and files were synced before anything was built on them.
func (m moment) withoutPower(t *testing.T, id string, n int) moment {
	t.Helper()
	root := t.TempDir()
	copySpool(t, m.root, root)
	journals, err := filepath.Glob(filepath.Join(root, id, "leg-*.journal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range journals {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()*int64(n%4)/4); err != nil {
			t.Fatal(err)
		}
	}
	m.root = root
	return m
}

func (m moment) goOn(t *testing.T, id string) {
	w := newWorld(t)
	w.root = m.root
	w.catalog.restore(t, m.rows)
	end := w.run()
	defer end()
	was := w.catalog.state(id)
	if _, known := w.svc.Live("ten_1", id); known {
		w.stop(id)
	}
	switch got := w.catalog.ended(t, id); got {
	case recorder.Available:
		if d := time.Duration(w.catalog.facts(id).DurationUs) * time.Microsecond; !was.Ended() && m.durable && d < 1900*time.Millisecond {
			t.Errorf("the recording lasts %v, want the 2 s that were on the disk", d)
		}
	case recorder.Partial:
		if m.durable {
			t.Error("a track is missing")
		}
	case recorder.Failed:
		if code := *w.catalog.failure(id).Patch.FailureCode; code != "NO_MEDIA" && code != "SPOOL_LOST" || m.durable {
			t.Errorf("failed with %s", code)
		}
	default:
		t.Errorf("ended as %s", got)
	}
}
