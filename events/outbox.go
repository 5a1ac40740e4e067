package events

import "sync"

// Outbox holds changes until the log has taken them, so that publishing never blocks on the log. Equal changes are
// one; above the limit the changes of a tenant collapse into one without a recording id, which receivers see as a
// gap. It is safe for concurrent use.
type Outbox struct {
	max  int
	wake chan struct{}

	mu     sync.Mutex
	order  []Change
	held   map[Change]struct{}
	lost   map[string]struct{} // tenants whose changes collapsed; bounded by the number of tenants
	closed bool
}

// DefaultOutbox is how many changes wait for the log before they collapse.
const DefaultOutbox = 16384

// NewOutbox makes one for max changes; max ≤ 0 means DefaultOutbox.
func NewOutbox(limit int) *Outbox {
	if limit <= 0 {
		limit = DefaultOutbox
	}
	return &Outbox{max: limit, wake: make(chan struct{}, 1), held: map[Change]struct{}{}, lost: map[string]struct{}{}}
}

// Put adds a change. ErrChange, ErrClosed.
func (o *Outbox) Put(c Change) error {
	if err := c.Validate(); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrClosed
	}
	o.add(c)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil
}

func (o *Outbox) add(c Change) {
	if _, collapsed := o.lost[c.TenantID]; collapsed {
		return
	}
	if _, dup := o.held[c]; dup {
		return
	}
	if c.RecordingID == "" || len(o.order) >= o.max {
		o.lost[c.TenantID] = struct{}{}
		return
	}
	o.held[c] = struct{}{}
	o.order = append(o.order, c)
}

// Ready receives a value after something was put.
func (o *Outbox) Ready() <-chan struct{} { return o.wake }

// Next takes the oldest change out, collapsed tenants last. A caller whose log refuses it calls Return.
func (o *Outbox) Next() (Change, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.order) > 0 {
		c := o.order[0]
		o.order = o.order[1:]
		delete(o.held, c)
		return c, true
	}
	for tenant := range o.lost {
		delete(o.lost, tenant)
		return Change{TenantID: tenant}, true
	}
	return Change{}, false
}

// Return puts back what Next gave, also after Close.
func (o *Outbox) Return(c Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(c)
}

// Len is the number of changes that wait.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.order) + len(o.lost)
}

// Close refuses further changes; those that wait can still be taken.
func (o *Outbox) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}
