package ingest

import (
	"sync"
	"time"
)

// A beat is how often sockets are read. Packets of a call come one by one, hundreds a second, and waking for each costs
// more than all that is done with it. So the poller rests until the next beat and takes what has gathered. Nothing is
// lost by it: the kernel keeps the packets and notes when they came.
//
// Waking is most of what one call costs (three quarters of it at 25 beats a second), so a beat is as long as the kernel's
// buffers and a request for a keyframe can well wait. Together with the spool's half a second it stays far below the one
// second that a crash may cost.
const (
	quickBeat = 40 * time.Millisecond
	// repairBeat is how often a lease is read at most while something is to be asked for again.
	repairBeat = 25 * time.Millisecond
	// roomForCalm is the receive buffer from which calmBeat is safe: the kernel counts about twice a packet's bytes, and a
	// keyframe of a large screen may come at 50 Mbit/s.
	roomForCalm = 1 << 20
)

// beatFor is the beat for sockets with so large a receive buffer.
func beatFor(granted int) time.Duration {
	if granted < roomForCalm {
		return quickBeat
	}
	return calmBeat
}

// pollerLeases is how many leases one goroutine reads. More goroutines follow as leases are added, so that a sink that
// is slow for a moment holds up few others.
const pollerLeases = 24

// poller is the goroutine that owns the sockets of some leases.
type poller struct {
	beat time.Duration
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	leases map[*Lease]struct{}
}

func startPoller(beat time.Duration) *poller {
	p := &poller{beat: beat, stop: make(chan struct{}), leases: map[*Lease]struct{}{}}
	p.done.Go(p.run)
	return p
}

// add takes over a lease, unless there are enough.
func (p *poller) add(l *Lease) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.leases) >= pollerLeases {
		return false
	}
	p.leases[l] = struct{}{}
	return true
}

func (p *poller) remove(l *Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.leases, l)
}

func (p *poller) close() {
	close(p.stop)
	p.done.Wait()
}

func (p *poller) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var all []*Lease // reused
	var calm time.Time
	for {
		select {
		case <-p.stop:
			return
		case <-timer.C:
		}
		all = p.snapshot(all[:0])
		now := time.Now()
		due := !now.Before(calm)
		for _, l := range all {
			if due || l.hurries(now) {
				l.poll()
			}
		}
		now = time.Now()
		if due {
			calm = now.Add(untilBeat(now, p.beat))
		}
		timer.Reset(p.rest(now, calm, all))
		clear(all) // hold no lease that is closed
	}
}

// rest is the time until the next calm beat, or until the earliest lease wants to be read before it.
func (p *poller) rest(now, calm time.Time, all []*Lease) time.Duration {
	wake := calm
	for _, l := range all {
		if at := l.wants.Load(); at != 0 && at < wake.UnixNano() {
			wake = time.Unix(0, at)
		}
	}
	if wake.Equal(calm) {
		return calm.Sub(now)
	}
	wake = wake.Add(untilBeat(wake, repairBeat))
	return max(wake.Sub(now), untilBeat(now, repairBeat))
}

// hurries tells whether the lease wants to be read at a moment between two calm beats.
func (l *Lease) hurries(now time.Time) bool {
	at := l.wants.Load()
	return at != 0 && at <= now.UnixNano()
}

func (p *poller) snapshot(out []*Lease) []*Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.leases {
		out = append(out, l)
	}
	return out
}

// untilBeat aims at multiples of the beat, so that all pollers of a process wake together.
func untilBeat(now time.Time, beat time.Duration) time.Duration {
	return beat - time.Duration(now.UnixNano())%beat
}
