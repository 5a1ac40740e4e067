package player

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Config is one call to play.
type Config struct {
	Endpoint    string // the recorder's GraphQL
	APIKey      string // role SERVICE or ADMIN
	PlaybackKey string // for grantPlayback, which SERVICE may not; empty: APIKey

	Call       *Call
	ExternalID string
	Queue      string
	Agent      string
	Layout     string // empty: the queue's

	SourceIP string  // where the sockets are bound, and what is announced as source
	RTCPMux  bool    // RTCP on the RTP port
	Speed    float64 // 2 plays twice as fast
	Duration time.Duration
	Loop     bool
	// Drop, if set, loses packets on purpose. It is called with every packet in order.
	Drop func(Track, Packet) bool

	Out     string        // where the video goes; empty: it is not downloaded
	Poll    time.Duration // between questions after the call; default 500 ms
	Timeout time.Duration // for the recording to be done after the call; default 10 min
	// Progress is told what goes on, from one goroutine at a time. It may be nil.
	Progress func(Progress)
}

// Progress is where a run is.
type Progress struct {
	Phase   string // "start", "play", "compose", "download", "done"
	At      time.Duration
	Total   time.Duration // 0: not known
	Sent    uint64        // packets
	PLI     uint64
	Capture string
	LagMs   int
}

// Result is what came out.
type Result struct {
	RecordingID string        `json:"recordingId"`
	ExternalID  string        `json:"externalId"`
	Capture     string        `json:"capture"`
	DurationMs  int           `json:"durationMs"`
	ViewURL     string        `json:"viewUrl"`
	VideoURL    string        `json:"videoUrl"`
	Out         string        `json:"out,omitempty"`
	Bytes       int64         `json:"bytes,omitempty"`
	PlayedMs    int64         `json:"playedMs"`  // on the call's own clock
	MaxLateMs   float64       `json:"maxLateMs"` // how far this program fell behind its schedule
	ReadyMs     int64         `json:"readyMs"`   // from stopRecording until the recording was done
	Tracks      []TrackResult `json:"tracks"`
}

// TrackResult is one track's traffic.
type TrackResult struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`
	SSRC     uint32   `json:"ssrc"`
	Sent     Counts   `json:"sent"`
	Received Feedback `json:"received"`
}

// FailedError: the recording ended without a video.
type FailedError struct {
	RecordingID, Capture, Message string
}

// Error says how it ended and what the server says of it.
func (e *FailedError) Error() string {
	return fmt.Sprintf("recording %s is %s: %s", e.RecordingID, e.Capture, e.Message)
}

// ErrTimeout: the recording was not done in time after the call.
var ErrTimeout = errors.New("recording not done in time")

// Run plays a call against a recorder and waits for its video. Whatever has been found out is in the result, also with
// an error. A run that is cut short stops its recording.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if err := cfg.fill(); err != nil {
		return Result{}, err
	}
	r := &run{cfg: cfg, api: API{Endpoint: cfg.Endpoint, Key: cfg.APIKey}, result: Result{ExternalID: cfg.ExternalID}}
	defer r.close()
	err := r.all(ctx)
	r.collect()
	return r.result, err
}

func (c *Config) fill() error {
	if c.Call == nil || len(c.Call.Tracks) == 0 {
		return ErrNothingToPlay
	}
	if c.PlaybackKey == "" {
		c.PlaybackKey = c.APIKey
	}
	if c.SourceIP == "" {
		c.SourceIP = "127.0.0.1"
	}
	if c.Speed == 0 {
		c.Speed = 1
	}
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Minute
	}
	if c.Speed < 0 {
		return fmt.Errorf("speed %v is not above 0", c.Speed)
	}
	return nil
}

type run struct {
	cfg     Config
	api     API
	result  Result
	senders []*Sender
	total   time.Duration // length of what is played
}

func (r *run) all(ctx context.Context) error {
	// Before anything is started on the server: can this be played at all?
	timeline, err := Timeline(r.cfg.Call, r.cfg.Duration, r.cfg.Loop)
	if err != nil {
		return err
	}
	r.total = r.cfg.length()
	if err := r.start(ctx); err != nil {
		return err
	}
	late, playErr := Play(ctx, timeline, r.cfg.Speed, r.emit)
	r.result.MaxLateMs = float64(late.Microseconds()) / 1000
	stopped := time.Now()
	if err := r.stop(ctx); err != nil || playErr != nil {
		return errors.Join(playErr, err)
	}
	if err := r.wait(ctx); err != nil {
		return err
	}
	r.result.ReadyMs = time.Since(stopped).Milliseconds()
	return r.fetch(ctx)
}

// start starts the recording and attaches every track.
func (r *run) start(ctx context.Context) error {
	r.tell(Progress{Phase: "start"})
	in := StartInput{ExternalSessionID: r.cfg.ExternalID, Queue: r.cfg.Queue, Agent: r.cfg.Agent, Layout: r.cfg.Layout, RTCPMux: r.cfg.RTCPMux}
	for _, t := range r.cfg.Call.Tracks {
		in.Tracks = append(in.Tracks, t.Kind())
	}
	started, err := r.api.Start(ctx, in)
	if err != nil {
		return err
	}
	r.result.RecordingID, r.result.ViewURL = started.ID, started.ViewURL
	for _, t := range r.cfg.Call.Tracks {
		if err := r.attach(ctx, started, t); err != nil {
			return errors.Join(fmt.Errorf("track %s: %w", t.Name, err), r.stop(ctx))
		}
	}
	return nil
}

func (r *run) attach(ctx context.Context, started Started, t Track) error {
	s, err := NewSender(r.cfg.SourceIP, r.cfg.RTCPMux)
	if err != nil {
		return err
	}
	r.senders = append(r.senders, s)
	to := ingestOf(started, t.Kind())
	if to == nil {
		return fmt.Errorf("the recording has no ingest address for %s", t.Kind())
	}
	if err := s.Connect(to.IP, to.RTPPort, to.RTCPPort); err != nil {
		return err
	}
	rtp, rtcp := s.Ports()
	return r.api.Attach(ctx, started.ID, t.Kind(), t.RTPParameters, Source{IP: r.cfg.SourceIP, RTPPort: rtp, RTCPPort: rtcp})
}

func ingestOf(started Started, kind string) *Ingest {
	for _, t := range started.Tracks {
		if t.Kind == kind {
			return t.Ingest
		}
	}
	return nil
}

func (r *run) emit(s Scheduled) error {
	if r.cfg.Drop == nil || !r.cfg.Drop(r.cfg.Call.Tracks[s.Track], s.Packet) {
		r.senders[s.Track].Send(s.Packet)
	}
	before := r.result.PlayedMs
	r.result.PlayedMs = s.At.Milliseconds()
	if before/progressMs != r.result.PlayedMs/progressMs {
		r.tell(Progress{Phase: "play", At: s.At, Total: r.total})
	}
	return nil
}

// progressMs is how often progress is told while playing, on the call's clock.
const progressMs = 250

// length is how long the call plays.
func (c Config) length() time.Duration {
	if period := Period(c.Call); !c.Loop && (c.Duration <= 0 || c.Duration > period) {
		return period
	}
	return c.Duration
}

// stop ends the recording, also when the run was cut short.
func (r *run) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return r.api.Stop(ctx, r.result.RecordingID)
}

const stopTimeout = 15 * time.Second

// wait polls until the recording is done.
func (r *run) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeout, ErrTimeout)
	defer cancel()
	tick := time.NewTicker(r.cfg.Poll)
	defer tick.Stop()
	for {
		s, err := r.api.Recording(ctx, r.result.RecordingID)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return fmt.Errorf("last seen %s: %w", r.result.Capture, cause)
			}
			return err
		}
		r.result.Capture = s.Capture
		if s.DurationMs != nil {
			r.result.DurationMs = *s.DurationMs
		}
		r.tell(Progress{Phase: "compose", Capture: s.Capture, LagMs: deref(s.ComposeLagMs)})
		if s.Done() {
			return r.outcome(s)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("last seen %s: %w", s.Capture, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (r *run) outcome(s Status) error {
	if s.Capture == "AVAILABLE" || s.Capture == "PARTIAL" {
		return nil
	}
	e := &FailedError{RecordingID: r.result.RecordingID, Capture: s.Capture, Message: "no reason given"}
	if s.Failure != nil {
		e.Message = s.Failure.Message
	}
	return e
}

func (r *run) fetch(ctx context.Context) error {
	api := r.api
	api.Key = r.cfg.PlaybackKey
	var err error
	if r.result.VideoURL, err = api.Grant(ctx, r.result.RecordingID); err != nil {
		return err
	}
	if r.cfg.Out != "" {
		r.tell(Progress{Phase: "download", Capture: r.result.Capture})
		if r.result.Bytes, err = api.Download(ctx, r.result.VideoURL, r.cfg.Out); err != nil {
			return err
		}
		r.result.Out = r.cfg.Out
	}
	r.tell(Progress{Phase: "done", Capture: r.result.Capture})
	return nil
}

func (r *run) tell(p Progress) {
	if r.cfg.Progress == nil {
		return
	}
	for _, s := range r.senders {
		p.Sent += s.Sent().RTP + s.Sent().RTCP
		p.PLI += s.Received().PLI
	}
	r.cfg.Progress(p)
}

func (r *run) collect() {
	r.result.Tracks = nil
	for i, s := range r.senders {
		t := r.cfg.Call.Tracks[i]
		r.result.Tracks = append(r.result.Tracks, TrackResult{Name: t.Name, Kind: t.Kind(), SSRC: t.SSRC, Sent: s.Sent(), Received: s.Received()})
	}
}

func (r *run) close() {
	for _, s := range r.senders {
		_ = s.Close() // nothing was written that could be lost
	}
}

func deref(p *int) int {
	if p == nil {
		return 0
	}
	return *p
}
