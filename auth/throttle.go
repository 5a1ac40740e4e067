package auth

import (
	"net/netip"
	"sync"
	"time"
)

// throttle counts failures per source and says when a source must wait. Its memory is bounded; a source that is
// forgotten starts afresh. It keeps, per source, the instant at which all its failures are paid off (GCRA): each
// failure costs pay, and a debt of more than burst failures blocks.
type throttle struct {
	burst int
	pay   time.Duration

	mu    sync.Mutex
	debts *lru[netip.Prefix, time.Time]
}

func newThrottle(burst int, pay time.Duration, sources int) *throttle {
	return &throttle{burst: burst, pay: pay, debts: newLRU[netip.Prefix, time.Time](sources)}
}

// failed counts a failure of a source, or says how long the source must wait first. What comes while it waits is not
// counted, so that nobody is blocked for longer by trying.
func (t *throttle) failed(source netip.Addr, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := sourceOf(source)
	paid, _ := t.debts.get(from)
	if paid.Before(now) {
		paid = now
	}
	if over := paid.Sub(now) - time.Duration(t.burst-1)*t.pay; over > 0 {
		return over
	}
	t.debts.set(from, paid.Add(t.pay))
	return 0
}

// sourceOf is an IPv4 address, or the /64 that one IPv6 customer has.
func sourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil { // the zero address: all unknown sources are one
		return netip.Prefix{}
	}
	return p
}
