package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dualrec/dualrec/kms"
)

// Config is how a Service behaves. Zero values mean the defaults.
type Config struct {
	Node        string        // name of this recorder node; recordings belong to the node that captures them
	Target      string        // name of the object store, for the copies table; default "local"
	Workers     int           // segments composed at once; default: number of CPUs, set by the caller
	IdleStop    time.Duration // stop a recording that received nothing for so long; default 5 min (after a restart: the profile's Reconnect)
	Rest        time.Duration // unit of the pauses between attempts at a failing segment; default 1 s
	UploadRetry time.Duration // pause between upload attempts once the store's own retries gave up; default 15 s
	KeepSpool   bool          // keep the local spool after the store has confirmed everything
	AudioKbps   int           // AAC bit rate of mono; stereo gets one and a half times as much; default 64

	MaxRecordings int           // refuse new recordings while so many capture; 0: no limit
	MaxLag        time.Duration // refuse new recordings while composing is further behind; 0: never
	ShedLag       time.Duration // show fewer pictures of a recording that is further behind; 0: never
	Disk          DiskPolicy    // zero: DefaultDiskPolicy
}

func (c Config) withDefaults() Config {
	set := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&c.IdleStop, 5*time.Minute)
	set(&c.UploadRetry, 15*time.Second)
	set(&c.Rest, time.Second)
	if c.Disk == (DiskPolicy{}) {
		c.Disk = DefaultDiskPolicy()
	}
	if c.Node == "" {
		c.Node = "node-1"
	}
	if c.Target == "" {
		c.Target = "local"
	}
	if c.Workers <= 0 {
		c.Workers = 2
	}
	if c.AudioKbps <= 0 {
		c.AudioKbps = 64
	}
	return c
}

// Deps are the service's ports. All are required but Now and Disk.
type Deps struct {
	Catalog       Catalog
	Spool         Spool
	Disk          DiskMeter // of the spool; nil: its room is not watched
	Receiver      Receiver
	Depacketizers Depacketizers
	Composer      Composer
	Muxer         Muxer
	Store         ObjectStore
	Keys          kms.Wrapper
	Notifier      Notifier
	Logger        *slog.Logger
	NewID         func(prefix string) string // sortable unique ids: "rec_…"
	Now           func() time.Time
	NewPeaks      func() PeakWriter
	AudioPriming  int // encoder delay of Composer.Audio's AAC in samples, for the edit list
}

// PeakWriter takes the peaks stream of Composer.Audio and writes the waveform file (audiowaveform JSON, version 2).
type PeakWriter interface {
	io.Writer
	io.WriterTo
}

// Service takes commands and sees every recording through to its end. Create it with New, start it with Run.
type Service struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	slots     chan struct{} // one token per segment that may be composed now
	takeOvers chan struct{} // one token per recording of an earlier process that is being finished

	mu         sync.Mutex
	live       map[string]*recording // by recording id, from start to the end of its upload
	tasks      sync.WaitGroup
	ctx        context.Context // set by Run: ends background work
	startedAt  time.Time
	closing    bool
	disk       *disk
	admission  sync.Mutex   // held while a start is judged
	opening    atomic.Int64 // recordings that were admitted and are not registered yet
	waiting    atomic.Int64 // segments that wait for a slot
	lag        lagMeter
	refused    tally[RefusalReason]
	reduced    atomic.Uint64 // segments shown at a lower rate
	dropped    atomic.Uint64 // packets not written for want of disk, of spans that have ended
	overflowed atomic.Uint64 // datagrams that the kernel dropped

	rebound chan struct{} // closed when the recordings of an earlier process have their ports again
}

// ErrNotRunning: the service has not been started, or is draining.
var ErrNotRunning = errors.New("recorder: service is not running")

// New checks the dependencies and returns a service that is not yet running.
func New(cfg Config, deps Deps) (*Service, error) {
	for name, missing := range map[string]bool{
		"Catalog": deps.Catalog == nil, "Spool": deps.Spool == nil, "Receiver": deps.Receiver == nil,
		"Depacketizers": deps.Depacketizers == nil, "Composer": deps.Composer == nil, "Muxer": deps.Muxer == nil,
		"Store": deps.Store == nil, "Keys": deps.Keys == nil, "Notifier": deps.Notifier == nil,
		"Logger": deps.Logger == nil, "NewID": deps.NewID == nil, "NewPeaks": deps.NewPeaks == nil,
	} {
		if missing {
			return nil, fmt.Errorf("recorder: dependency %s is missing", name)
		}
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	cfg = cfg.withDefaults()
	if err := cfg.Disk.Validate(); err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	return &Service{cfg: cfg, deps: deps, log: deps.Logger, slots: make(chan struct{}, cfg.Workers), takeOvers: make(chan struct{}, 2*cfg.Workers), rebound: make(chan struct{}),
		live: map[string]*recording{}, disk: newDisk(deps.Disk, cfg.Disk)}, nil
}

// Run recovers what an earlier process left in the spool, then works until ctx ends. It returns when every
// background task has stopped. Captured media stays in the spool: the next Run goes on with it.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.disk.meter != nil {
		s.lookAtDisk() // before anything is admitted
	}
	s.mu.Lock()
	s.ctx, s.startedAt = ctx, s.deps.Now()
	s.mu.Unlock()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		s.watchDisk(ctx)
	}()
	defer func() { <-watching }()
	s.recover(ctx)
	<-ctx.Done()
	s.drain()
	return nil
}

// drain stops capture sockets and waits for background work that ctx has told to end.
func (s *Service) drain() {
	s.mu.Lock()
	s.closing = true
	all := make([]*recording, 0, len(s.live))
	for _, r := range s.live {
		all = append(all, r)
	}
	s.mu.Unlock()
	for _, r := range all {
		r.closeCapture()
	}
	s.tasks.Wait()
	for _, r := range all {
		if err := r.folder.Close(); err != nil {
			s.log.Error("close spool folder", "recording_id", r.id, "err", err)
		}
	}
}

// background runs f until it returns or the service's context ends; drain waits for it.
func (s *Service) background(f func(ctx context.Context)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.closing {
		return ErrNotRunning
	}
	ctx := s.ctx
	s.tasks.Go(func() {
		err := guard(func() error {
			f(ctx)
			return nil
		})
		if err != nil {
			s.log.Error("background task", "err", err)
		}
	})
	return nil
}

func (s *Service) find(tenantID, recordingID string) (*recording, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.live[recordingID]
	if !ok || r.header.TenantID != tenantID {
		return nil, false
	}
	return r, true
}

// lookup finds the live recording of a command, or says why there is none.
func (s *Service) lookup(ctx context.Context, tenantID, recordingID string) (*recording, error) {
	if r, ok := s.find(tenantID, recordingID); ok {
		return r, nil
	}
	row, err := s.deps.Catalog.Recording(ctx, tenantID, recordingID)
	if errors.Is(err, ErrNotFound) {
		return nil, &CommandError{Code: CodeNotFound, Field: []string{"input", "recordingId"}, Msg: "no such recording", Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("look up recording: %w", err)
	}
	if row.Capture.Live() {
		return nil, &CommandError{Code: CodeUnavailable, Field: []string{"input", "recordingId"},
			Msg: "this recording is captured by another recorder, or its recorder is just starting: retry, or ask that one"}
	}
	return nil, &StateError{RecordingID: recordingID, Is: row.Capture, Want: []CaptureState{Pending, Recording, Paused}}
}

// Live returns what this node knows of a recording that it works on.
func (s *Service) Live(tenantID, recordingID string) (LiveStatus, bool) {
	r, ok := s.find(tenantID, recordingID)
	if !ok {
		return LiveStatus{}, false
	}
	return r.status(), true
}

// Totals are sums over all recordings of this node, for metrics.
type Totals struct {
	Live, Composing int
	MaxLag          time.Duration
	Net             NetStats
}

// Totals sums up; it takes locks briefly.
func (s *Service) Totals() Totals {
	t := Totals{Composing: len(s.slots)}
	for _, r := range s.all() {
		st := r.status()
		if st.Capture.Live() {
			t.Live++
		}
		t.MaxLag = max(t.MaxLag, st.ComposeLag)
		for _, tr := range st.Tracks {
			t.Net.Packets += tr.Stats.Packets
			t.Net.Bytes += tr.Stats.Bytes
			t.Net.Lost += tr.Stats.Lost
			t.Net.DroppedForeign += tr.Stats.DroppedForeign
			t.Net.DroppedMalformed += tr.Stats.DroppedMalformed
			t.Net.KeyframesAsked += tr.Stats.KeyframesAsked
		}
	}
	return t
}

// Start begins a recording, or returns the one that the external session id has already.
// Order: row and wrapped key, then the spool folder with its fsynced header, then ports.
func (s *Service) Start(ctx context.Context, c StartCommand) (string, error) {
	if err := c.Validate(); err != nil {
		return "", err
	}
	if err := s.afterRebound(ctx); err != nil {
		return "", startError("wait for the ports of earlier recordings", err)
	}
	profile, err := s.deps.Catalog.Profile(ctx, c.TenantID, c.Queue)
	if err != nil {
		return "", startError("resolve the queue's profile", err)
	}
	if c.Layout != "" {
		profile.Layout = c.Layout
	}
	if err := validateTracks(c.Tracks, profile.Layout); err != nil {
		return "", err
	}
	begin, key, err := s.beginRow(ctx, c, profile)
	if err != nil {
		return "", err
	}
	// From here on the call is recorded even if the caller goes away: it will ask again and get this recording.
	ctx = context.WithoutCancel(ctx)
	row, created, err := s.deps.Catalog.Begin(ctx, begin)
	if err != nil {
		return "", startError("write the recording's rows", err)
	}
	if !created {
		return row.ID, nil
	}
	r, err := s.open(ctx, begin, key)
	if err != nil {
		s.abort(begin, err)
		return "", startError("prepare capture", err)
	}
	s.log.Info("recording started", "recording_id", r.id, "tenant_id", c.TenantID, "external_session_id", c.ExternalSessionID, "queue", c.Queue,
		"layout", profile.Layout, "tracks", len(begin.Tracks))
	s.notify(r, ChangeStatus)
	return r.id, nil
}

func (s *Service) beginRow(ctx context.Context, c StartCommand, profile Profile) (BeginRow, kms.DataKey, error) {
	now := s.deps.Now()
	if c.StartedAt.IsZero() {
		c.StartedAt = now
	}
	b := BeginRow{TenantID: c.TenantID, RecordingID: s.deps.NewID("rec"), SessionID: s.deps.NewID("ses"), Node: s.cfg.Node,
		ExternalSessionID: c.ExternalSessionID, Queue: c.Queue, Agent: c.Agent, CustomerID: c.CustomerID, Client: c.Client,
		SessionType: c.SessionType, Tags: c.Tags, Metadata: c.Metadata, StartedAt: c.StartedAt, Profile: profile,
		Canvas: profile.Canvas(), RTCPMux: c.RTCPMux, SRTPSuite: c.SRTPSuite, Actor: c.Actor}
	for _, k := range c.Tracks {
		b.Tracks = append(b.Tracks, TrackRow{ID: s.deps.NewID("trk"), Kind: k, State: TrackExpected})
	}
	key, err := kms.NewDataKey()
	if err != nil {
		return b, key, err
	}
	b.WrappedKey, err = s.deps.Keys.Wrap(ctx, key, kms.WrapContext{TenantID: b.TenantID, RecordingID: b.RecordingID})
	if err != nil {
		return b, key, startError("wrap the data key", err)
	}
	return b, key, nil
}

// open makes folder and leases of a new recording and registers it as live.
func (s *Service) open(ctx context.Context, b BeginRow, key kms.DataKey) (*recording, error) {
	admitted, err := s.admit()
	if err != nil {
		return nil, err
	}
	defer admitted()
	folder, err := s.deps.Spool.Create(ctx, headerOf(b, s.deps.Now()), key)
	if err != nil {
		return nil, err
	}
	r, err := newRecording(s, folder, b.Tracks)
	if err != nil {
		return nil, errors.Join(err, folder.Close(), s.deps.Spool.Remove(ctx, b.RecordingID))
	}
	if err := r.writeBegin(b); err != nil {
		return nil, errors.Join(err, folder.Close(), s.deps.Spool.Remove(ctx, b.RecordingID))
	}
	if err := r.lease(ctx, b.RTCPMux, b.SRTPSuite); err != nil {
		r.closeCapture()
		return nil, errors.Join(err, folder.Close(), s.deps.Spool.Remove(ctx, b.RecordingID))
	}
	if err := s.register(r); err != nil {
		r.closeCapture()
		return nil, errors.Join(err, folder.Close(), s.deps.Spool.Remove(ctx, b.RecordingID))
	}
	for _, t := range r.trackRows() {
		if err := s.deps.Catalog.SaveTrack(ctx, b.TenantID, b.RecordingID, t); err != nil {
			s.log.Warn("save track", "recording_id", r.id, "track_id", t.ID, "err", err) // reconciled when it ends
		}
	}
	return r, nil
}

// register makes a recording live and starts the task that follows it to its end.
func (s *Service) register(r *recording) error {
	s.mu.Lock()
	s.live[r.id] = r
	s.mu.Unlock()
	if err := s.background(r.run); err != nil {
		s.forget(r.id)
		return err
	}
	return nil
}

func (s *Service) forget(id string) {
	s.mu.Lock()
	delete(s.live, id)
	s.mu.Unlock()
}

// abort closes the rows of a recording that could not be opened.
func (s *Service) abort(b BeginRow, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(context.Background()), 10*time.Second)
	defer cancel()
	code, text := string(CodeUnavailable), "capture could not be started"
	var ce *CommandError
	if errors.As(startError("", cause), &ce) {
		code, text = string(ce.Code), ce.Msg
	}
	err := s.deps.Catalog.Transition(ctx, Transition{TenantID: b.TenantID, RecordingID: b.RecordingID, From: []CaptureState{Pending},
		To: Aborted, At: s.deps.Now(), Actor: b.Actor, Action: "recording.abort", Reason: text,
		Patch: RecordingPatch{FailureCode: &code, FailureText: &text}})
	if err != nil {
		s.log.Error("abort recording", "recording_id", b.RecordingID, "err", err)
	}
}

// startError maps what may go wrong at the start to something that the caller can act on.
func startError(op string, err error) error {
	var ce *CommandError
	switch {
	case errors.As(err, &ce):
		return err
	case errors.Is(err, ErrNoPorts):
		return &CommandError{Code: CodeCapacity, Reason: RefusedPorts, Msg: "this recorder has no free media ports: retry later or on another recorder", Err: err}
	case errors.Is(err, ErrSpoolFull):
		return &CommandError{Code: CodeCapacity, Reason: RefusedDisk, Msg: "this recorder's spool is full: retry later or on another recorder; the operator must free disk space", Err: err}
	case errors.Is(err, kms.ErrKeyUnavailable):
		return &CommandError{Code: CodeUnavailable, Msg: "the tenant's encryption key is not available: retry later", Err: err}
	case errors.Is(err, ErrTenantSuspended):
		return &CommandError{Code: CodeForbidden, Msg: "this tenant is suspended", Err: err}
	case errors.Is(err, ErrNotRunning):
		return &CommandError{Code: CodeUnavailable, Msg: "this recorder is shutting down: retry", Err: err}
	}
	return fmt.Errorf("start recording: %s: %w", op, err)
}

// Attach hands a producer's RTP to an expected track. The same parameters again are no change;
// others replace the producer.
func (s *Service) Attach(ctx context.Context, c AttachCommand) (string, error) {
	params, err := ParseRTPParameters(c.RTPParameters, c.Kind)
	if err != nil {
		return "", &CommandError{Code: CodeInvalidInput, Field: []string{"input", "rtpParameters"}, Msg: err.Error(), Err: err}
	}
	if c.Source.RTPPort < 1 || c.Source.RTPPort > 65535 || c.Source.RTCPPort < 0 || c.Source.RTCPPort > 65535 {
		return "", invalid("source", "rtpPort must be 1…65535 and rtcpPort absent or 1…65535: pass transport.tuple.localPort and rtcpTuple.localPort")
	}
	if c.Source.IP != "" { // checked before a running leg is ended for it
		if ip, err := netip.ParseAddr(c.Source.IP); err != nil || ip.IsMulticast() {
			return "", invalid("source", "ip %.60q is not the address of an SFU: pass transport.tuple.localIp, or leave it out", c.Source.IP)
		}
	}
	r, err := s.lookup(ctx, c.TenantID, c.RecordingID)
	if err != nil {
		return "", err
	}
	track, err := r.attach(c, params)
	if err != nil {
		return "", err
	}
	s.saveTrack(ctx, r, track)
	s.notify(r, ChangeStatus)
	return track.ID, nil
}

// Detach stops taking a track; its part of the picture becomes a placeholder, its sound silence.
func (s *Service) Detach(ctx context.Context, c DetachCommand) error {
	r, err := s.lookup(ctx, c.TenantID, c.RecordingID)
	if err != nil {
		return err
	}
	track, err := r.detach(c.Kind, c.TrackID)
	if err != nil {
		return err
	}
	s.saveTrack(ctx, r, track)
	s.notify(r, ChangeStatus)
	return nil
}

func (s *Service) saveTrack(ctx context.Context, r *recording, t TrackRow) {
	if err := s.deps.Catalog.SaveTrack(ctx, r.header.TenantID, r.id, t); err != nil {
		s.log.Warn("save track", "recording_id", r.id, "track_id", t.ID, "err", err) // reconciled when it ends
	}
}

// Pause stops everything before the disk, on every track, before it returns.
func (s *Service) Pause(ctx context.Context, c PauseCommand) error {
	r, err := s.lookup(ctx, c.TenantID, c.RecordingID)
	if err != nil {
		return err
	}
	if c.AutoResume < 0 || c.AutoResume > 24*time.Hour {
		return invalid("autoResumeAfterSeconds", "must be 0…86400")
	}
	changed, err := r.pause(c)
	if err != nil || !changed {
		return err
	}
	s.transition(ctx, r, []CaptureState{Pending, Recording}, Paused, c.Actor, "recording.pause", string(c.Reason))
	s.notify(r, ChangeStatus)
	return nil
}

// SetLayout lays the pictures out anew, from now on, on the canvas that the recording began with. The layout that it has
// already is no change.
func (s *Service) SetLayout(ctx context.Context, c LayoutCommand) error {
	if !slices.Contains(c.Layout.Values(), string(c.Layout)) {
		return invalid("layout", "%.60q is not one of %v", c.Layout, c.Layout.Values())
	}
	r, err := s.lookup(ctx, c.TenantID, c.RecordingID)
	if err != nil {
		return err
	}
	changed, err := r.setLayout(c)
	if err != nil || !changed {
		return err
	}
	is := r.status().Capture
	s.write(ctx, r, Transition{From: []CaptureState{is}, To: is, Actor: c.Actor, Action: "recording.layout", Reason: string(c.Layout), Patch: RecordingPatch{Layout: &c.Layout}})
	s.notify(r, ChangeStatus)
	return nil
}

// Resume ends a pause and asks every video track for a keyframe.
func (s *Service) Resume(ctx context.Context, c ResumeCommand) error {
	r, err := s.lookup(ctx, c.TenantID, c.RecordingID)
	if err != nil {
		return err
	}
	return s.resume(ctx, r, c.Actor, 0)
}

// resume ends the pause of that number, or with 0 whichever there is.
func (s *Service) resume(ctx context.Context, r *recording, actor Actor, number int) error {
	changed, err := r.resume(actor, number)
	if err != nil || !changed {
		return err
	}
	s.transition(ctx, r, []CaptureState{Paused}, r.status().Capture, actor, "recording.resume", "")
	s.notify(r, ChangeStatus)
	return nil
}

// Stop ends capture. Composing the rest, checks, upload and AVAILABLE follow by themselves. Stopping again is no error.
func (s *Service) Stop(ctx context.Context, c StopCommand) error {
	r, err := s.lookup(ctx, c.TenantID, c.RecordingID)
	var se *StateError
	if errors.As(err, &se) {
		return nil // it has ended already: the goal is reached
	}
	if err != nil {
		return err
	}
	return s.stop(ctx, r, c.Actor, "stopped")
}

func (s *Service) stop(ctx context.Context, r *recording, actor Actor, reason string) error {
	changed, err := r.stop(reason)
	if err != nil || !changed {
		return err
	}
	s.transition(ctx, r, []CaptureState{Pending, Recording, Paused}, Finalizing, actor, "recording.stop", reason)
	s.notify(r, ChangeStatus)
	return nil
}

const stateTimeout = 10 * time.Second

// transition writes a state. The spool already knows it, so a database that does not answer, or a caller who goes
// away, delays and loses nothing: writeState comes back to it.
func (s *Service) transition(ctx context.Context, r *recording, from []CaptureState, to CaptureState, actor Actor, action, reason string) {
	s.write(ctx, r, Transition{From: from, To: to, Actor: actor, Action: action, Reason: reason})
}

func (s *Service) write(ctx context.Context, r *recording, t Transition) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stateTimeout)
	defer cancel()
	t.TenantID, t.RecordingID, t.At = r.header.TenantID, r.id, s.deps.Now()
	if t.To == Finalizing {
		t.Patch.EndedAt = &t.At
	}
	err := s.deps.Catalog.Transition(ctx, t)
	var past *StateError
	if errors.As(err, &past) {
		return // the follower was quicker, and the recording is further on
	}
	if err != nil {
		s.log.Error("write state: will be tried again", "recording_id", r.id, "to", t.To, "err", err)
		return
	}
	r.mu.Lock()
	r.written = t.To
	if t.Patch.Layout != nil {
		r.told = *t.Patch.Layout
	}
	r.mu.Unlock()
}

// writeState brings the database up to what a live recording is, where an earlier write failed or came out of order.
func (s *Service) writeState(ctx context.Context, r *recording) {
	r.mu.Lock()
	is, written, layout, told := r.capture, r.written, r.layout, r.told
	if err := r.writePause(); err != nil {
		r.diskFailed(err)
	}
	r.mu.Unlock()
	if is.Live() && is != written {
		s.transition(ctx, r, []CaptureState{Pending, Recording, Paused}, is, System(), "recording.state", "")
	}
	if is.Live() && layout != told {
		s.write(ctx, r, Transition{From: []CaptureState{is}, To: is, Actor: System(), Action: "recording.layout", Patch: RecordingPatch{Layout: &layout}})
	}
}

// rest waits for so many units of Config.Rest; false if ctx ended.
func (s *Service) rest(ctx context.Context, units int) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(units) * s.cfg.Rest):
		return true
	}
}

func (s *Service) notify(r *recording, kind ChangeKind) {
	s.deps.Notifier.Notify(Change{TenantID: r.header.TenantID, RecordingID: r.id, Kind: kind})
}

func headerOf(b BeginRow, now time.Time) Header {
	h := Header{Version: 1, RecordingID: b.RecordingID, TenantID: b.TenantID, SessionID: b.SessionID,
		ExternalSessionID: b.ExternalSessionID, CreatedAt: now, Profile: b.Profile, WrappedKey: b.WrappedKey}
	for _, t := range b.Tracks {
		h.Expect = append(h.Expect, t.Kind)
	}
	return h
}
