package eventstest

import (
	"context"
	"strconv"
	"sync"

	"github.com/dualrec/dualrec/events"
)

// Memory is a bus without a server. It passes the conformance suite.
type Memory struct {
	fan *events.Fanout

	mu     sync.Mutex
	log    []events.Change // entry i has sequence i+1
	first  uint64          // entries before it are forgotten
	closed bool
}

var _ events.Bus = (*Memory)(nil)

// NewMemory makes an empty bus of an epoch.
func NewMemory(epoch string, maxWaiting int) *Memory {
	return &Memory{fan: events.NewFanout(epoch, 0, maxWaiting), first: 1}
}

// Forget drops all entries, as a log does with old ones.
func (m *Memory) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first = uint64(len(m.log)) + 1
}

// Publish implements events.Publisher.
func (m *Memory) Publish(c events.Change) error {
	if err := c.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return events.ErrClosed
	}
	m.log = append(m.log, c)
	m.fan.Dispatch(uint64(len(m.log)), c)
	return nil
}

// Subscribe implements events.Subscriber.
func (m *Memory) Subscribe(ctx context.Context, tenantID string, from *events.Position) (events.Subscription, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, _, err := m.fan.Add(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	if from == nil {
		return q, nil
	}
	after, err := strconv.ParseUint(from.Offset, 10, 64)
	switch {
	case from.Epoch != m.fan.Epoch():
		q.Refuse(events.ReasonEpoch)
	case err != nil || after > uint64(len(m.log)):
		q.Refuse(events.ReasonInvalid)
	case after+1 < m.first:
		q.Refuse(events.ReasonExpired)
	default:
		q.Resume(after)
		for i, c := range m.log[after:] {
			if c.TenantID == tenantID {
				q.Replay(after+uint64(i)+1, c)
			}
		}
	}
	return q, nil
}

// Close implements events.Bus.
func (m *Memory) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.fan.Close()
	return nil
}
