package ingest

import "time"

// How it is told when a packet was captured. A pause must hold however late a packet comes: pacers keep packets for 830 ms
// and a stalled sender for many seconds, and a retransmission is late by nature. What does not lie is the timestamp.
const (
	// captureGuard is how long before its arrival even the quickest packet may have been captured. Within it after a
	// pause nothing is taken: for privacy's sake the benefit of the doubt goes to dropping.
	captureGuard = 100 * time.Millisecond
	// driftGuard widens it as the quickest packet ages: one part in 4,000 is more than sender's clocks are off.
	driftGuard = 4000

	captureBucket  = 4 * time.Second
	captureBuckets = 8

	// A mapping is trusted once it is old, or not so old and steady: a burst of stalled packets makes each look quicker
	// than the one before.
	oldMapping    = 10 * time.Second
	youngMapping  = time.Second
	steadyMapping = 500 * time.Millisecond
	quickerBy     = 20 * time.Millisecond
)

// captureClock maps RTP timestamps to the time at which the quickest packets arrive: the later of two bounds on when they
// can have been captured. It follows arrivals only; in silence it stays as it is, however long that lasts.
type captureClock struct {
	rate     int64
	started  bool
	origin   uint32 // timestamp of the first packet, and when it came
	since    time.Time
	newest   int64 // highest timestamp, in ticks since origin, and when it came
	at       time.Time
	improved time.Time // when a packet was much quicker than all before

	buckets [captureBuckets]quickest
	used    int
	current int
}

// quickest is the quickest packet of some seconds.
type quickest struct {
	from   time.Time
	offset time.Duration // arrival since the first packet, less timestamp since the first packet
	at     time.Time
}

// forget begins anew: timestamps mean nothing any more.
func (c *captureClock) forget() { *c = captureClock{rate: c.rate} }

// follow takes note of a packet.
func (c *captureClock) follow(timestamp uint32, at time.Time) {
	if !c.started {
		c.started, c.origin, c.since, c.at, c.improved = true, timestamp, at, at, at
		c.buckets[0] = quickest{from: at, at: at}
		c.used = 1
		return
	}
	ticks := c.extend(timestamp, at)
	if ticks > c.newest {
		c.newest, c.at = ticks, at
	}
	offset := at.Sub(c.since) - c.duration(ticks)
	if at.Sub(c.since) < oldMapping && offset < c.quickest().offset-quickerBy {
		c.improved = at
	}
	b := &c.buckets[c.current]
	if at.Sub(b.from) >= captureBucket {
		c.current = (c.current + 1) % captureBuckets
		c.used = min(c.used+1, captureBuckets)
		b = &c.buckets[c.current]
		*b = quickest{from: at, offset: offset, at: at}
		return
	}
	if offset <= b.offset {
		b.offset, b.at = offset, at
	}
}

// extend gives a timestamp in ticks since the first: the value nearest to what the time that has passed lets expect.
func (c *captureClock) extend(timestamp uint32, at time.Time) int64 {
	near := c.newest + int64(at.Sub(c.at)/time.Microsecond)*c.rate/1_000_000
	return near + int64(int32(timestamp-c.origin-uint32(near)))
}

func (c *captureClock) duration(ticks int64) time.Duration {
	return time.Duration(ticks/c.rate)*time.Second + time.Duration(ticks%c.rate)*time.Second/time.Duration(c.rate)
}

func (c *captureClock) quickest() quickest {
	best := c.buckets[c.current]
	for _, b := range c.buckets[:c.used] {
		if b.offset < best.offset {
			best = b
		}
	}
	return best
}

// trusted tells whether the mapping can be relied on.
func (c *captureClock) trusted(at time.Time) bool {
	age := at.Sub(c.since)
	return c.started && (age >= oldMapping || age >= youngMapping && at.Sub(c.improved) >= steadyMapping)
}

// capturedSince tells whether a packet that came at a moment was captured at an instant or later, beyond doubt.
func (c *captureClock) capturedSince(instant time.Time, timestamp uint32, at time.Time) bool {
	if !c.trusted(at) {
		return false
	}
	best := c.quickest()
	latest := c.since.Add(c.duration(c.extend(timestamp, at)) + best.offset)
	return !latest.Before(instant.Add(captureGuard + at.Sub(best.at).Abs()/driftGuard))
}
