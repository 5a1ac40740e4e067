package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// recording is one recording while this node works on it: sockets and gates while it is live, then the
// follower (follower.go) until the store has confirmed everything.
type recording struct {
	s       *Service
	id      string
	header  Header
	folder  Folder
	events  Journal
	writing sync.Mutex // guards events; taken after mu

	mu          sync.Mutex // guards what follows; never held while waiting for network or disk of others
	capture     CaptureState
	tracks      []*track
	nextLeg     int
	resumeTimer *time.Timer
	written     CaptureState // what the database was last told
	draining    bool         // the process is ending: nothing is attached any more
	pauses      int          // numbers pauses, so that a late timer cannot end the next one
	unwritten   *Event       // a pause whose event could not be written yet
	undrops     []Event      // of dropping, not written yet
	complained  time.Time    // of a disk that still fails
	layout      Layout       // of the pictures now
	told        Layout       // … and as the database was last told
	returned    bool         // an earlier process began it

	encodeAll bool // a stream that was passed through was refused; only run uses it
	keep      bool // the folder stays; only run uses it

	gate     gate         // closed while paused
	lastSeen atomic.Int64 // arrival of the newest packet, UnixNano; 0 before the first
	// aliveSince is when the recording was last given reason to expect packets, UnixNano: attached or resumed.
	aliveSince atomic.Int64
	diskErr    atomic.Pointer[error]
	stopped    chan struct{} // closed by stop: the follower finishes
	progress   progress
}

// track is one expected track and its lease.
type track struct {
	id       string
	kind     TrackKind
	lease    Lease // nil when capture is over
	leg      *leg  // nil while nothing is attached
	codec    Codec
	past     NetStats       // statistics of what has fed the track and is closed
	endpoint Endpoint       // address of the lease when it was closed
	srtp     SRTPParameters // this side's
	drop     dropGate
}

// leg is one attachment: one SSRC, one journal.
type leg struct {
	feed
	name    string
	journal Journal
	sink    *legSink
}

// feed is what a leg's packets come from.
type feed struct {
	lease     Lease // the track's own sockets, or a publisher's
	published bool  // the lease is a publisher's, and is closed when the leg ends
	params    []byte
	source    Source
	srtp      SRTPParameters // the SFU's
}

// gate lets packets through or drops them. Closing waits for a packet that is being written, so that nothing
// reaches the disk after close has returned. A lease hands packets on a moment after they came: what came before
// the gate was opened is dropped afterwards too.
type gate struct {
	mu     sync.RWMutex
	closed bool
	opened time.Time // zero: never closed yet
}

func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
}

func (g *gate) open(at time.Time) {
	g.mu.Lock()
	g.closed, g.opened = false, at
	g.mu.Unlock()
}

// drops is called with mu held for reading.
func (g *gate) drops(at time.Time) bool { return g.closed || at.Before(g.opened) }

// legSink writes what a lease receives to the leg's journal, before anything looks into it.
type legSink struct {
	r       *recording
	journal Journal
	drop    *dropGate // of the track
	warned  int64     // second of the last warning about overflow
}

// Packet implements Sink.
func (k *legSink) Packet(at time.Time, kind PacketKind, data []byte) {
	k.r.gate.mu.RLock()
	defer k.r.gate.mu.RUnlock()
	if k.r.gate.drops(at) {
		return
	}
	if kind == PacketRTP {
		k.r.seen(at)
	}
	if k.drop.drops(kind) {
		return
	}
	if err := k.journal.Append(Record{At: at, Kind: kind, Data: data}); err != nil {
		k.drop.lost(at, kind, err)
		k.r.diskFailed(err)
	}
}

// Overflow implements Sink.
func (k *legSink) Overflow(at time.Time, datagrams uint64) { k.overflowed(at, datagrams) }

func (r *recording) diskFailed(err error) {
	if errors.Is(err, ErrSpoolFull) {
		r.s.disk.full()
	}
	if r.diskErr.CompareAndSwap(nil, &err) {
		r.s.log.Error("spool write failed: packets are being lost", "recording_id", r.id, "err", err)
	}
}

// seen notes the newest arrival; the first one makes a PENDING recording RECORDING (in run, not here:
// this is the packet path).
func (r *recording) seen(at time.Time) {
	for {
		old := r.lastSeen.Load()
		if old >= at.UnixNano() || r.lastSeen.CompareAndSwap(old, at.UnixNano()) {
			return
		}
	}
}

func newRecording(s *Service, folder Folder, rows []TrackRow) (*recording, error) {
	events, err := folder.Journal(EventsJournal)
	if err != nil {
		return nil, fmt.Errorf("open events journal: %w", err)
	}
	h := folder.Header()
	r := &recording{s: s, id: h.RecordingID, header: h, folder: folder, events: events, capture: Pending, written: Pending,
		layout: h.Profile.Layout, told: h.Profile.Layout, stopped: make(chan struct{})}
	for _, row := range rows {
		r.tracks = append(r.tracks, &track{id: row.ID, kind: row.Kind})
	}
	return r, nil
}

// event appends to the events journal. sync makes it durable before it returns: whatever readers need to
// interpret a journal must not be lost while the journal survives.
func (r *recording) event(e Event) error {
	if e.At.IsZero() {
		e.At = r.s.deps.Now()
	}
	data, err := e.Marshal()
	if err != nil {
		return err
	}
	if err := r.appendEvent(Record{At: e.At, Kind: RecordEvent, Data: data}); err != nil {
		return fmt.Errorf("write event %s: %w", e.Type, err)
	}
	return r.folder.Sync()
}

// appendEvent opens the journal again if the disk has ended it: an error of a minute ago must not be final.
func (r *recording) appendEvent(rec Record) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	err := r.events.Append(rec)
	var failed *DiskError
	if !errors.As(err, &failed) {
		return err
	}
	_ = r.events.Close() // it has failed already
	j, oerr := r.folder.Journal(EventsJournal)
	if oerr != nil {
		return errors.Join(err, oerr)
	}
	r.events = j
	return r.events.Append(rec)
}

// lease binds the sockets of all expected tracks, or none.
func (r *recording) lease(ctx context.Context, mux bool, suite SRTPSuite) error {
	for _, t := range r.tracks {
		srtp, err := NewSRTPParameters(suite)
		if err != nil {
			return err
		}
		if err := r.leaseTrack(ctx, t, LeaseRequest{RTCPMux: mux, SRTP: srtp}); err != nil {
			return err
		}
	}
	return nil
}

// leaseTrack binds the sockets of one track and writes down which.
func (r *recording) leaseTrack(ctx context.Context, t *track, req LeaseRequest) error {
	req.RecordingID, req.TrackID, req.Kind = r.id, t.id, t.kind
	l, err := r.s.deps.Receiver.Lease(ctx, req)
	if err != nil {
		return fmt.Errorf("lease ports of %s: %w", t.kind, err)
	}
	t.lease, t.srtp = l, req.SRTP
	ep := l.Endpoint()
	return r.event(Event{Type: EventTrackLeased, TrackLeased: &TrackLeased{TrackID: t.id, Kind: t.kind, RTPPort: ep.RTPPort, RTCPPort: ep.RTCPPort, SRTP: req.SRTP}})
}

// closeCapture closes sockets and leg journals; idempotent.
func (r *recording) closeCapture() {
	r.mu.Lock()
	r.draining = true
	tracks := append([]*track(nil), r.tracks...)
	if r.resumeTimer != nil {
		r.resumeTimer.Stop()
	}
	r.mu.Unlock()
	for _, t := range tracks {
		r.mu.Lock()
		lease, leg, past := t.lease, t.leg, t.past
		var ending []Lease
		if lease != nil {
			t.endpoint, ending = lease.Endpoint(), append(ending, lease)
		}
		if leg != nil && leg.published {
			ending = append(ending, leg.lease)
		}
		t.past = t.stats() // until closing has counted what had just come
		t.lease, t.leg = nil, nil
		r.mu.Unlock()
		for _, l := range ending {
			if err := l.Close(); err != nil {
				r.s.log.Warn("close media ports", "recording_id", r.id, "track_id", t.id, "err", err)
			}
			past = past.plus(l.Stats())
		}
		if len(ending) > 0 {
			r.mu.Lock()
			t.past = past
			r.mu.Unlock()
		}
		if leg != nil {
			if err := leg.journal.Close(); err != nil {
				t.drop.lostSince(r.s.deps.Now(), err)
				r.diskFailed(err)
			}
		}
	}
}

// find names a track by its kind, or by its id where an agent has several monitors.
func (r *recording) find(kind TrackKind, id string) (*track, error) {
	var found []*track
	for _, t := range r.tracks {
		if t.kind == kind && (id == "" || t.id == id) {
			found = append(found, t)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, &CommandError{Code: CodeInvalidInput, Field: []string{"input", "trackId"},
			Msg: fmt.Sprintf("this recording has %d tracks of kind %s: say which by trackId", len(found), kind)}
	case id != "":
		return nil, &CommandError{Code: CodeNotFound, Field: []string{"input", "trackId"}, Msg: fmt.Sprintf("this recording has no track of kind %s and this id", kind)}
	}
	return nil, &CommandError{Code: CodeNotFound, Field: []string{"input", "kind"},
		Msg: fmt.Sprintf("this recording does not expect %s: name it in startRecording.tracks", kind)}
}

func (r *recording) mustBeLive() error {
	if r.draining && r.capture.Live() {
		return &CommandError{Code: CodeUnavailable, Msg: "this recorder is shutting down: retry", Err: ErrNotRunning}
	}
	if !r.capture.Live() {
		return &StateError{RecordingID: r.id, Is: r.capture, Want: []CaptureState{Pending, Recording, Paused}}
	}
	return nil
}

func (r *recording) attach(c AttachCommand, params RTPParameters) (TrackRow, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mustBeLive(); err != nil {
		return TrackRow{}, err
	}
	t, err := r.find(c.Kind, c.TrackID)
	if err != nil {
		return TrackRow{}, err
	}
	if t.leg != nil && bytes.Equal(t.leg.params, c.RTPParameters) && t.leg.source == c.Source && t.leg.srtp.Equal(c.SRTP) {
		return t.row(r.capture), nil // the SFU repeats itself: no change
	}
	for _, other := range r.tracks {
		if other != t && other.leg != nil && other.leg.lease.Stats().SSRC == params.SSRC {
			return TrackRow{}, &CommandError{Code: CodeConflict, Field: []string{"input", "rtpParameters", "encodings"},
				Msg: fmt.Sprintf("ssrc %d is attached as %s already: consume each producer once", params.SSRC, other.kind)}
		}
	}
	if err := t.checkSRTP(c.SRTP); err != nil {
		return TrackRow{}, err
	}
	err = r.replaceLeg(t, feed{lease: t.lease, params: bytes.Clone(c.RTPParameters), source: c.Source, srtp: c.SRTP}, params)
	return t.row(r.capture), err
}

// replaceLeg begins a leg in place of the one that the track had, if any.
func (r *recording) replaceLeg(t *track, f feed, params RTPParameters) error {
	if r.nextLeg >= maxLegs {
		return &CommandError{Code: CodeCapacity, Reason: RefusedAttachments, Msg: fmt.Sprintf("this recording has had %d attachments, which is the limit", maxLegs)}
	}
	if err := r.endLeg(t); err != nil {
		return err
	}
	return r.beginLeg(t, f, params)
}

// checkSRTP refuses a side that encrypts otherwise than the recording was started with.
func (t *track) checkSRTP(theirs SRTPParameters) error {
	switch {
	case theirs.Suite == t.srtp.Suite:
		return nil
	case t.srtp.Plain():
		return invalid("srtpParameters", "this recording was started for plain RTP: name srtpCryptoSuite in startRecording, or leave srtpParameters out")
	case theirs.Plain():
		return invalid("srtpParameters", "this recording was started for %s: pass transport.srtpParameters, read after connect()", t.srtp.Suite)
	}
	return invalid("srtpParameters", "cryptoSuite is %s, the recording was started for %s: create the transport with enableSrtp and this srtpCryptoSuite, and read transport.srtpParameters after connect()",
		theirs.Suite, t.srtp.Suite)
}

// maxLegs bounds the attachments of one recording: each is a file, and a producer is replaced a few times a call.
const maxLegs = 500

// endLeg closes the running leg of a track, if any.
func (r *recording) endLeg(t *track) error {
	if t.leg == nil {
		return nil
	}
	r.endFeed(t)
	err := r.event(Event{Type: EventLegDetached, LegDetached: &LegDetached{Leg: t.leg.name}})
	if cerr := t.leg.journal.Close(); err == nil {
		err = cerr
	}
	t.leg = nil
	return err
}

// endFeed stops what the leg is fed by: the track's own sockets stay, a publisher's lease ends.
func (r *recording) endFeed(t *track) {
	lease := t.leg.lease
	if !t.leg.published {
		lease.Detach()
		return
	}
	if err := lease.Close(); err != nil {
		r.s.log.Warn("close publisher", "recording_id", r.id, "track_id", t.id, "err", err)
	}
	t.past = t.past.plus(lease.Stats())
}

func (r *recording) beginLeg(t *track, f feed, params RTPParameters) error {
	name := LegName(r.nextLeg)
	journal, err := r.folder.Journal(name)
	if err != nil {
		return fmt.Errorf("open journal %s: %w", name, err)
	}
	r.nextLeg++
	err = r.event(Event{Type: EventLegAttached, LegAttached: &LegAttached{Leg: name, Journal: name, TrackID: t.id, Kind: t.kind,
		RTPParameters: f.params, Source: f.source, SRTP: f.srtp, Published: f.published}})
	if err != nil {
		return errors.Join(err, journal.Close())
	}
	sink := &legSink{r: r, journal: journal, drop: &t.drop}
	err = f.lease.Attach(Attachment{Params: params, Source: f.source, SRTP: f.srtp, KeyframeInterval: r.keyframeInterval(t.kind), Sink: sink})
	if err != nil {
		if errors.Is(err, ErrAttachment) {
			err = &CommandError{Code: CodeInvalidInput, Field: []string{"input", "source"}, Msg: err.Error(), Err: err}
		}
		return errors.Join(fmt.Errorf("attach %s: %w", t.kind, err), r.event(Event{Type: EventLegDetached, LegDetached: &LegDetached{Leg: name}}), journal.Close())
	}
	if r.capture == Paused {
		f.lease.Hold()
	}
	r.aliveSince.Store(r.s.deps.Now().UnixNano())
	t.codec = params.Codec
	t.leg = &leg{feed: f, name: name, journal: journal, sink: sink}
	return nil
}

func (r *recording) keyframeInterval(kind TrackKind) time.Duration {
	switch kind {
	case Screen:
		return time.Duration(r.header.Profile.KeyframeScreen) * time.Second
	case Webcam:
		return time.Duration(r.header.Profile.KeyframeWebcam) * time.Second
	}
	return 0
}

func (r *recording) detach(kind TrackKind, id string) (TrackRow, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mustBeLive(); err != nil {
		return TrackRow{}, err
	}
	t, err := r.find(kind, id)
	if err != nil {
		return TrackRow{}, err
	}
	err = r.endLeg(t)
	return t.row(r.capture), err
}

// pause closes the gate, then writes the event: nothing that arrives later reaches the disk.
func (r *recording) pause(c PauseCommand) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mustBeLive(); err != nil {
		return false, err
	}
	if r.capture == Paused {
		return false, r.writePause()
	}
	for _, t := range r.tracks {
		if t.leg != nil {
			t.leg.lease.Hold()
		}
	}
	r.gate.close()
	pause := &PausedEvent{Reason: c.Reason, Actor: c.Actor.String()}
	auto := c.AutoResume
	if auto == 0 {
		auto = r.header.Profile.AutoResume()
	}
	if auto > 0 {
		pause.AutoResumeAt = r.s.deps.Now().Add(auto)
	}
	r.capture = Paused
	r.pauses++
	r.resumeBy(pause.AutoResumeAt)
	r.unwritten = &Event{Type: EventPaused, At: r.s.deps.Now(), Paused: pause}
	return true, r.writePause()
}

// resumeBy sets the clock for an automatic end of the pause that runs now; a zero instant is none.
func (r *recording) resumeBy(at time.Time) {
	if at.IsZero() {
		return
	}
	number := r.pauses
	r.resumeTimer = time.AfterFunc(at.Sub(r.s.deps.Now()), func() { r.autoResume(number) })
}

// writePause writes the event of a pause; what fails is tried again by the follower and by the next command.
func (r *recording) writePause() error {
	if r.unwritten == nil {
		return nil
	}
	if err := r.event(*r.unwritten); err != nil {
		return err
	}
	r.unwritten = nil
	return nil
}

func (r *recording) autoResume(number int) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.s.resume(ctx, r, System(), number); err != nil {
		r.s.log.Warn("automatic resume", "recording_id", r.id, "err", err)
	}
}

// resume writes the event, then opens the gate, and asks for keyframes: video restarts only at one.
// number is the pause to end, 0 for whichever there is.
func (r *recording) resume(actor Actor, number int) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mustBeLive(); err != nil {
		return false, err
	}
	if r.capture != Paused || number != 0 && number != r.pauses {
		return false, nil
	}
	if err := r.writePause(); err != nil {
		return false, err
	}
	if r.resumeTimer != nil {
		r.resumeTimer.Stop()
		r.resumeTimer = nil
	}
	at := r.s.deps.Now()
	if err := r.event(Event{Type: EventResumed, At: at, Resumed: &ResumedEvent{Actor: actor.String()}}); err != nil {
		return false, err // stays paused: an unmarked pause would show what must not be seen
	}
	r.capture = Pending
	if r.lastSeen.Load() != 0 {
		r.capture = Recording
	}
	r.aliveSince.Store(at.UnixNano())
	r.gate.open(at)
	for _, t := range r.tracks {
		if t.lease != nil {
			t.lease.Release(at) // though nothing is attached: it may have been, when the pause began
		}
		if t.leg == nil {
			continue
		}
		t.leg.lease.Release(at)
		if t.kind.IsVideo() {
			t.leg.lease.RequestKeyframe()
		}
	}
	return true, nil
}

// setLayout lays the pictures out anew from now on.
func (r *recording) setLayout(c LayoutCommand) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mustBeLive(); err != nil {
		return false, err
	}
	switch {
	case c.Layout == r.layout:
		return false, nil
	case c.Layout == AudioOnly || r.layout == AudioOnly:
		return false, &CommandError{Code: CodeConflict, Field: []string{"input", "layout"},
			Msg: "a recording has pictures from its start to its end or never: AUDIO_ONLY can only be chosen in startRecording"}
	case c.Layout == ScreenOnly && !slices.Contains(r.header.Expect, Screen):
		return false, invalid("layout", "SCREEN_ONLY needs a recording that expects SCREEN")
	}
	err = r.event(Event{Type: EventLayoutChanged, LayoutChanged: &LayoutChanged{Layout: c.Layout, Actor: c.Actor.String()}})
	if err != nil {
		return false, err
	}
	r.layout = c.Layout
	return true, nil
}

// stop ends capture: sockets are closed and everything received is durable when it returns.
func (r *recording) stop(reason string) (changed bool, err error) {
	r.mu.Lock()
	if !r.capture.Live() {
		r.mu.Unlock()
		return false, nil
	}
	r.capture = Finalizing
	at := r.s.deps.Now()
	r.mu.Unlock()
	r.closeCapture()
	r.mu.Lock()
	r.endDrops(at)
	if err := r.writeDrops(); err != nil {
		r.diskFailed(err)
	}
	r.mu.Unlock()
	if err := r.event(Event{Type: EventStopped, At: at, Stopped: &StoppedEvent{Reason: reason}}); err != nil {
		r.diskFailed(err)
	}
	close(r.stopped)
	return true, nil
}

// began moves PENDING to RECORDING once the first packet is in the spool.
func (r *recording) began() bool {
	if r.lastSeen.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.capture != Pending {
		return false
	}
	r.capture = Recording
	return true
}

// reopenJournals takes up again, on new files behind the good ones, the journals that a disk error has ended. That the
// events of what was lost can be written and synced is the proof that the disk takes writes.
func (r *recording) reopenJournals() {
	if r.diskErr.Load() == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.capture.Live() || r.draining || !r.reopenLegs() {
		return
	}
	r.accountLost(r.s.deps.Now(), causeOf(*r.diskErr.Load()))
	if err := errors.Join(r.writeDrops(), r.folder.Sync()); err != nil {
		if now := r.s.deps.Now(); now.Sub(r.complained) > time.Minute {
			r.complained = now
			r.s.log.Error("the disk still fails", "recording_id", r.id, "err", err)
		}
		return
	}
	r.diskErr.Store(nil)
	r.s.log.Warn("the disk takes writes again; what was lost is in the gap ledger", "recording_id", r.id)
}

// reopenLegs opens the journals of what is attached again, with mu held.
func (r *recording) reopenLegs() bool {
	r.gate.mu.Lock()
	defer r.gate.mu.Unlock()
	for _, t := range r.tracks {
		if t.leg == nil {
			continue
		}
		if err := t.leg.journal.Close(); err != nil {
			t.drop.lostSince(r.s.deps.Now(), err)
		}
		j, err := r.folder.Journal(t.leg.name)
		if err != nil {
			r.s.log.Error("the disk still fails", "recording_id", r.id, "journal", t.leg.name, "err", err)
			return false
		}
		t.leg.journal, t.leg.sink.journal = j, j
	}
	return true
}

func (r *recording) setCapture(s CaptureState) {
	r.mu.Lock()
	r.capture = s
	r.mu.Unlock()
}

const stalledAfter = 5 * time.Second

// stats are sums over all that has fed the track.
func (t *track) stats() NetStats {
	s := t.past
	if t.lease != nil {
		s = s.plus(t.lease.Stats())
	}
	if t.leg != nil && t.leg.published {
		s = s.plus(t.leg.lease.Stats())
	}
	return s
}

func (t *track) row(c CaptureState) TrackRow {
	row := TrackRow{ID: t.id, Kind: t.kind, Codec: t.codec, State: TrackExpected, Stats: t.stats(), Endpoint: t.endpoint}
	if t.lease != nil {
		row.Endpoint, row.SRTP = t.lease.Endpoint(), t.srtp
	}
	switch {
	case !c.Live() && t.codec != "":
		row.State = TrackClosed
	case t.leg == nil && t.codec != "":
		row.State = TrackClosed
	case t.leg != nil && row.Stats.LastPacketAt.IsZero():
		row.State = TrackAttached
	case t.leg != nil && time.Since(row.Stats.LastPacketAt) > stalledAfter:
		row.State = TrackStalled
	case t.leg != nil:
		row.State = TrackActive
	}
	return row
}

func (r *recording) trackRows() []TrackRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	rows := make([]TrackRow, 0, len(r.tracks))
	for _, t := range r.tracks {
		rows = append(rows, t.row(r.capture))
	}
	return rows
}

func (r *recording) status() LiveStatus {
	st := LiveStatus{Tracks: r.trackRows()}
	r.mu.Lock()
	st.Capture = r.capture
	r.mu.Unlock()
	st.ComposedTo, st.CapturedTo, st.ComposeLag = r.progress.get()
	return st
}

// progress is how far capturing and composing are; written by the follower, read by everyone.
type progress struct {
	composed, captured atomic.Int64 // Micros
}

func (p *progress) lag() time.Duration {
	_, _, lag := p.get()
	return lag
}

func (p *progress) get() (composed, captured Micros, lag time.Duration) {
	composed, captured = Micros(p.composed.Load()), Micros(p.captured.Load())
	return composed, captured, max(0, (captured - composed).Duration())
}
