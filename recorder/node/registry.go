package node

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Limits on what is remembered, whatever the bus says.
const (
	maxNodes = 1024
	maxLive  = 100_000
	forget   = 10 * time.Minute // after which a node that is silent was never there
)

// registry is what a process of the API knows of the nodes: who is there, what they can take, and how their live
// recordings are. It has no goroutine and no clock of its own.
type registry struct {
	silence time.Duration // after which a node counts as lost

	mu    sync.Mutex
	nodes map[string]*member
	live  map[string]known // by recording id
}

// member is one node.
type member struct {
	instance instance
	seen     time.Time
	draining bool
	lost     bool
	capacity Capacity
	totals   recorder.Totals
	placed   int
	waiting  map[*func()]struct{} // to be called when it is lost
}

// there: it takes commands.
func (m *member) there() bool { return !m.draining && !m.lost }

type known struct {
	node string
	item item
}

// event is what the operator should know of.
type event string

const (
	eventNone   event = ""
	eventJoined event = "joined"
	eventLeft   event = "left"
	eventFull   event = "ignored: too many nodes"
)

func newRegistry(silence time.Duration) *registry {
	return &registry{silence: silence, nodes: map[string]*member{}, live: map[string]known{}}
}

// apply takes what a node has told.
func (r *registry) apply(now time.Time, s status) event {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, met := r.nodes[s.Node]
	switch {
	case !met && len(r.nodes) >= maxNodes:
		return eventFull
	case met && m.instance != s.Instance && m.there() && s.Instance.StartedAt.Before(m.instance.StartedAt):
		return eventNone // the last words of an earlier process
	case !met || m.instance != s.Instance:
		r.drop(s.Node)
		m = &member{instance: s.Instance, lost: true, waiting: map[*func()]struct{}{}}
		r.nodes[s.Node] = m
	}
	was := m.there()
	m.seen, m.lost, m.draining = now, false, m.draining || s.Draining
	m.capacity, m.totals = s.Capacity, s.Totals
	if s.Whole != 0 { // measured just now: what was placed before is in it
		m.placed = 0
	}
	if m.draining {
		r.dropLive(s.Node)
	} else {
		r.items(s.Node, s.Items, s.Whole)
	}
	switch {
	case m.there() && !was:
		return eventJoined
	case was && !m.there():
		return eventLeft
	}
	return eventNone
}

func (r *registry) items(node string, items []item, whole uint64) {
	for _, it := range items {
		r.item(node, it)
	}
	if whole == 0 {
		return
	}
	maps.DeleteFunc(r.live, func(_ string, k known) bool { return k.node == node && k.item.Revision < whole })
}

func (r *registry) item(node string, it item) {
	old, met := r.live[it.RecordingID]
	same := met && old.node == node && old.item.TenantID == it.TenantID
	switch {
	case same && it.Revision < old.item.Revision:
	case it.Ended && same:
		delete(r.live, it.RecordingID)
	case it.Ended, !met && len(r.live) >= maxLive:
	default:
		if same && it.SRTP == nil {
			it.SRTP = old.item.SRTP // told in a reply, never again
		}
		r.live[it.RecordingID] = known{node, it.withKeys()}
	}
}

// withKeys puts the keys where they belong. The tracks are the item's own: nobody else has them yet.
func (it item) withKeys() item {
	for i, t := range it.Status.Tracks {
		it.Status.Tracks[i].SRTP = it.SRTP[t.ID]
	}
	return it
}

// replied takes what a reply says of the recording.
func (r *registry) replied(node string, from instance, it *item) {
	if it == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.nodes[node]; m == nil || m.instance == from && m.there() {
		r.item(node, *it)
	}
}

// status is how a recording is. Its slices are shared and never written again.
func (r *registry) status(tenantID, recordingID string) (recorder.LiveStatus, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.live[recordingID]
	if !ok || k.item.TenantID != tenantID {
		return recorder.LiveStatus{}, false
	}
	return k.item.Status, true
}

// owner is the node that works on a recording, as it says itself.
func (r *registry) owner(tenantID, recordingID string) (node string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.live[recordingID]
	return k.node, ok && k.item.TenantID == tenantID
}

// candidates are the nodes that a new recording may be placed on, the best first.
func (r *registry) candidates() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []candidate
	for name, m := range r.nodes {
		if m.there() {
			all = append(all, candidate{name, m.capacity, m.placed})
		}
	}
	return rank(all)
}

// place counts a recording that is being sent to a node, until it tells its capacity again.
func (r *registry) place(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.nodes[node]; m != nil {
		m.placed++
	}
}

// onLost calls f when a node is lost, unless stop is called before. lost tells that it is lost already.
func (r *registry) onLost(node string, f func()) (stop func(), lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.nodes[node]
	if m == nil {
		return func() {}, false // never heard of: the bus knows whether it is there
	}
	m.waiting[&f] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(m.waiting, &f)
	}, m.lost
}

// expire marks the nodes that have been silent for too long, and returns them.
func (r *registry) expire(now time.Time) (lost []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, m := range r.nodes {
		switch quiet := now.Sub(m.seen); {
		case quiet > forget:
			r.drop(name)
		case quiet > r.silence && !m.lost:
			m.lost = true
			m.release()
			r.dropLive(name)
			if !m.draining {
				lost = append(lost, name)
			}
		}
	}
	maps.DeleteFunc(r.live, func(_ string, k known) bool { return r.nodes[k.node] == nil })
	slices.Sort(lost)
	return lost
}

func (m *member) release() {
	for f := range m.waiting {
		(*f)()
	}
	clear(m.waiting)
}

// drop forgets a node: this process of it has ended.
func (r *registry) drop(node string) {
	if m := r.nodes[node]; m != nil {
		m.release()
		delete(r.nodes, node)
		r.dropLive(node)
	}
}

func (r *registry) dropLive(node string) {
	maps.DeleteFunc(r.live, func(_ string, k known) bool { return k.node == node })
}

// totals are sums over all nodes that are there.
func (r *registry) totals() (sum recorder.Totals, nodes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.nodes {
		if m.there() {
			nodes++
			sum = sum.Plus(m.totals)
		}
	}
	return sum, nodes
}
