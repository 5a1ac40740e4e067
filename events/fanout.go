package events

import (
	"context"
	"slices"
	"strconv"
	"sync"
)

// Fanout hands the changes of one log, in order, to the subscriptions of this process. It has no goroutine of
// its own: whoever reads the log calls Dispatch. The zero value is not usable; call NewFanout.
type Fanout struct {
	epoch   string
	maxWait int

	mu     sync.Mutex
	last   uint64 // sequence of the last dispatched change
	subs   map[string]map[*Queue]struct{}
	closed bool
}

// DefaultMaxWaiting is how many recordings may wait for one viewer before they become a gap.
const DefaultMaxWaiting = 4096

// NewFanout starts after sequence last of the log of an epoch. maxWaiting ≤ 0 means DefaultMaxWaiting.
func NewFanout(epoch string, last uint64, maxWaiting int) *Fanout {
	if maxWaiting <= 0 {
		maxWaiting = DefaultMaxWaiting
	}
	return &Fanout{epoch: epoch, last: last, maxWait: maxWaiting, subs: map[string]map[*Queue]struct{}{}}
}

// Epoch is the epoch of the log.
func (f *Fanout) Epoch() string { return f.epoch }

// Last is the sequence of the last dispatched change.
func (f *Fanout) Last() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Dispatch takes the next change of the log. Sequences at or before the last one are ignored; a jump means that the
// log lost changes before they were read, and every subscription gets a gap.
func (f *Fanout) Dispatch(seq uint64, c Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq <= f.last || f.closed {
		return
	}
	if seq != f.last+1 {
		f.gapAll(seq, ReasonLogGap)
	}
	f.last = seq
	for q := range f.subs[c.TenantID] {
		q.push(seq, c)
	}
}

// Skip takes a log entry that could not be read as a change: what it said is unknown, so everyone gets a gap.
func (f *Fanout) Skip(seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq <= f.last || f.closed {
		return
	}
	f.gapAll(seq, ReasonLogGap)
	f.last = seq
}

func (f *Fanout) gapAll(seq uint64, reason string) {
	for _, qs := range f.subs {
		for q := range qs {
			q.setGap(seq, reason)
		}
	}
}

// Add makes a subscription of a tenant. It returns the sequence after which live changes arrive by themselves:
// a caller that resumes must Replay what lies between its position and that.
func (f *Fanout) Add(ctx context.Context, tenantID string) (*Queue, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, 0, ErrClosed
	}
	q := &Queue{fan: f, tenant: tenantID, wake: make(chan struct{}, 1), waiting: map[string][]string{}}
	q.start = Start{Position: f.position(f.last)}
	q.taken = f.last
	if f.subs[tenantID] == nil {
		f.subs[tenantID] = map[*Queue]struct{}{}
	}
	f.subs[tenantID][q] = struct{}{}
	stop := context.AfterFunc(ctx, func() { q.end(context.Cause(ctx)) })
	q.mu.Lock()
	q.stop = stop
	q.mu.Unlock()
	return q, f.last, nil
}

// Close ends all subscriptions.
func (f *Fanout) Close() {
	f.mu.Lock()
	f.closed = true
	var all []*Queue
	for _, qs := range f.subs {
		for q := range qs {
			all = append(all, q)
		}
	}
	f.mu.Unlock()
	for _, q := range all {
		q.end(ErrClosed)
	}
}

func (f *Fanout) position(seq uint64) Position {
	return Position{Epoch: f.epoch, Offset: strconv.FormatUint(seq, 10)}
}

func (f *Fanout) remove(q *Queue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subs[q.tenant], q)
	if len(f.subs[q.tenant]) == 0 {
		delete(f.subs, q.tenant)
	}
}

// Queue is one subscription of a Fanout; it implements Subscription.
// Lock order: Fanout.mu before Queue.mu.
type Queue struct {
	fan    *Fanout
	tenant string
	wake   chan struct{}

	mu      sync.Mutex
	start   Start
	stop    func() bool
	waiting map[string][]string // recording → kinds
	order   []string            // recordings in the order in which they first changed
	gap     string
	floor   uint64 // changes at or before it are known to the viewer
	pushed  uint64 // sequence of the newest waiting change
	taken   uint64
	err     error
	ended   bool
}

// Resume marks the subscription as resumed after sequence from. Call it before Replay.
func (q *Queue) Resume(from uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.start = Start{Position: q.fan.position(from), Resumed: true}
	q.floor, q.taken = from, from
}

// Refuse marks why the subscription did not resume; the viewer must take a snapshot.
func (q *Queue) Refuse(reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.start.Resumed, q.start.Reason = false, reason
}

// Replay adds a change that the log held before the subscription began.
func (q *Queue) Replay(seq uint64, c Change) { q.push(seq, c) }

func (q *Queue) push(seq uint64, c Change) {
	if c.RecordingID == "" {
		q.setGap(seq, ReasonOverflow)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || seq <= q.floor {
		return
	}
	q.pushed = max(q.pushed, seq)
	if q.gap == "" {
		q.merge(c)
	}
	q.signal()
}

func (q *Queue) merge(c Change) {
	kinds, known := q.waiting[c.RecordingID]
	if !known && len(q.order) >= q.fan.maxWait {
		q.dropAll(ReasonSlow)
		return
	}
	if !known {
		q.order = append(q.order, c.RecordingID)
	}
	if !slices.Contains(kinds, c.Kind) {
		q.waiting[c.RecordingID] = append(kinds, c.Kind)
	}
}

func (q *Queue) setGap(seq uint64, reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || seq <= q.floor {
		return
	}
	q.pushed = max(q.pushed, seq)
	q.dropAll(reason)
	q.signal()
}

func (q *Queue) dropAll(reason string) {
	if q.gap == "" {
		q.gap = reason
	}
	clear(q.waiting)
	q.order = nil
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Start implements Subscription.
func (q *Queue) Start() Start {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.start
}

// Ready implements Subscription.
func (q *Queue) Ready() <-chan struct{} { return q.wake }

// Take implements Subscription.
func (q *Queue) Take() (Batch, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || (len(q.order) == 0 && q.gap == "") {
		return Batch{}, false
	}
	b := Batch{Gap: q.gap}
	for _, id := range q.order {
		kinds := q.waiting[id]
		slices.Sort(kinds)
		b.Changes = append(b.Changes, Merged{RecordingID: id, Kinds: kinds})
	}
	q.waiting, q.order, q.gap = map[string][]string{}, nil, ""
	q.taken = max(q.taken, q.pushed)
	b.Position = q.fan.position(q.taken)
	return b, true
}

// Position implements Subscription. While nothing waits it moves on with the whole log, so that the position of
// a viewer of a quiet tenant does not fall out of the log.
func (q *Queue) Position() Position {
	q.fan.mu.Lock()
	defer q.fan.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 && q.gap == "" {
		q.taken = max(q.taken, q.fan.last)
	}
	return q.fan.position(q.taken)
}

// Err implements Subscription.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Close implements Subscription.
func (q *Queue) Close() { q.end(nil) }

// end is the only place that closes wake. push and setGap hold mu and look at ended first.
func (q *Queue) end(cause error) {
	q.fan.remove(q)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	q.ended, q.err = true, cause
	if q.stop != nil {
		q.stop()
	}
	close(q.wake)
}

var _ Subscription = (*Queue)(nil)
