package recorder

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// admit refuses a new recording before running ones suffer, and otherwise counts it as one that captures until done is
// called: by then it is registered, or was given up.
func (s *Service) admit() (done func(), err error) {
	s.admission.Lock()
	defer s.admission.Unlock()
	if err := s.refusal(); err != nil {
		s.refused.add(err.Reason)
		s.log.Warn("recording refused", "reason", err.Reason, "because", err.Msg)
		return nil, err
	}
	s.opening.Add(1)
	return func() { s.opening.Add(-1) }, nil
}

// refusal says why no recording can be started now, nil if one can.
func (s *Service) refusal() *CommandError {
	refuse := func(reason RefusalReason, format string, args ...any) *CommandError {
		return &CommandError{Code: CodeCapacity, Reason: reason, Msg: fmt.Sprintf(format, args...)}
	}
	if level, why, _ := s.disk.now(); level >= DiskRefuse {
		return refuse(RefusedDisk, "this recorder's disk has no room for another recording (%s): retry later or on another recorder; the operator must free disk space", why)
	}
	live, lag := 0, time.Duration(0)
	for _, r := range s.all() {
		st := r.progress.lag()
		lag = max(lag, st)
		if r.captures() {
			live++
		}
	}
	if n := s.cfg.MaxRecordings; n > 0 && live+int(s.opening.Load()) >= n {
		return refuse(RefusedRecordings, "this recorder captures %d recordings, which is its limit: retry later or on another recorder, or raise --max-recordings", n)
	}
	if s.cfg.MaxLag > 0 && lag > s.cfg.MaxLag {
		return refuse(RefusedEncoder, "this recorder is %s behind with composing, and takes no recording above %s: retry later or on another recorder, or raise --max-lag",
			lag.Round(time.Second), s.cfg.MaxLag)
	}
	return nil
}

// NodeState says in one word how a recorder is.
type NodeState string

// The states of a recorder node.
const (
	NodeOK       NodeState = "OK"       // takes recordings
	NodeRefusing NodeState = "REFUSING" // takes no new ones: disk, lag or number
	NodeDropping NodeState = "DROPPING" // drops tracks of running ones for want of disk
	NodeDraining NodeState = "DRAINING" // is ending
)

// Values lists all states.
func (NodeState) Values() []string {
	return []string{string(NodeOK), string(NodeRefusing), string(NodeDropping), string(NodeDraining)}
}

// State says how this node is, and why if it is not well.
func (s *Service) State() (NodeState, string) {
	s.mu.Lock()
	closing := s.closing
	s.mu.Unlock()
	if closing {
		return NodeDraining, ""
	}
	if level, why, _ := s.disk.now(); level >= DiskShedWebcam {
		return NodeDropping, why
	}
	s.admission.Lock()
	defer s.admission.Unlock()
	if err := s.refusal(); err != nil {
		return NodeRefusing, err.Msg
	}
	return NodeOK, ""
}

// tally counts by a name.
type tally[K comparable] struct {
	mu sync.Mutex
	n  map[K]uint64
}

func (t *tally[K]) add(k K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[K]uint64{}
	}
	t.n[k]++
}

func (t *tally[K]) all() map[K]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[K]uint64, len(t.n))
	for k, n := range t.n {
		out[k] = n
	}
	return out
}

// lagBuckets are the upper bounds of LagHistogram in seconds.
var lagBuckets = [...]float64{5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600}

// LagHistogram counts sealed segments by how long after their last instant they were sealed.
type LagHistogram struct {
	Buckets map[float64]uint64 // upper bound in seconds → segments at or below it
	Count   uint64
	Sum     float64 // seconds
}

// lagMeter collects a LagHistogram. A segment of a call that has ended long ago, as after a restart, counts too.
type lagMeter struct {
	mu     sync.Mutex
	counts [len(lagBuckets)]uint64
	count  uint64
	sum    float64
}

func (m *lagMeter) observe(lag time.Duration) {
	s := max(0, lag.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	m.sum += s
	for i, b := range lagBuckets {
		if s <= b {
			m.counts[i]++
		}
	}
}

func (m *lagMeter) histogram() LagHistogram {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := LagHistogram{Buckets: map[float64]uint64{}, Count: m.count, Sum: m.sum}
	for i, b := range lagBuckets {
		h.Buckets[b] = m.counts[i]
	}
	return h
}

// Load is how busy a node is, for metrics.
type Load struct {
	State      NodeState
	Waiting    int // segments that wait for a slot
	Lag        LagHistogram
	Reduced    uint64 // segments that were rendered at a lower frame rate
	Refused    map[RefusalReason]uint64
	Disk       DiskUsage
	DiskLevel  DiskLevel
	Dropped    uint64 // packets not written for want of disk
	Overflowed uint64 // datagrams that the kernel dropped
}

// Load sums up; it takes locks briefly.
func (s *Service) Load() Load {
	state, _ := s.State()
	l := Load{State: state, Waiting: int(s.waiting.Load()), Lag: s.lag.histogram(), Reduced: s.reduced.Load(), Refused: s.refused.all(),
		Dropped: s.dropped.Load(), Overflowed: s.overflowed.Load()}
	s.disk.mu.Lock()
	l.Disk, l.DiskLevel = s.disk.usage, s.disk.level
	s.disk.mu.Unlock()
	for _, r := range s.all() {
		r.mu.Lock()
		for _, t := range r.tracks {
			l.Dropped += uint64(t.drop.packets.Load())
		}
		r.mu.Unlock()
	}
	return l
}

// slot waits for room on the disk and a turn to compose. Turns are given in order of asking, over all recordings of this
// node: overload makes all of them late together, and loses nothing.
func (s *Service) slot(ctx context.Context, r *recording) (done func(), err error) {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	if err := s.roomToCompose(ctx, r); err != nil {
		return nil, err
	}
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
