package recorder

import (
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// dropGate stops the packets of one track before the spool while the disk has no room for them, and notes what a
// journal that has failed did not take. Its methods may be called on nil, which lets everything through.
type dropGate struct {
	closed  atomic.Bool
	packets atomic.Int64 // not written since the last account
	since   atomic.Int64 // UnixNano of the first record that a failed journal lost; 0: none
}

// drops counts a packet that is not to be written.
func (g *dropGate) drops(kind PacketKind) bool {
	if g == nil || !g.closed.Load() {
		return false
	}
	if kind == PacketRTP {
		g.packets.Add(1)
	}
	return true
}

// lost notes a packet that its journal refused.
func (g *dropGate) lost(at time.Time, kind PacketKind, err error) {
	if g == nil {
		return
	}
	if kind == PacketRTP {
		g.packets.Add(1)
	}
	g.lostSince(at, err)
}

// lostSince notes from when a failed journal lacks something: at, or earlier if it says so.
func (g *dropGate) lostSince(at time.Time, err error) {
	n := at.UnixNano()
	var failed *DiskError
	if errors.As(err, &failed) && !failed.Since.IsZero() {
		n = min(n, failed.Since.UnixNano())
	}
	for old := g.since.Load(); old == 0 || old > n; old = g.since.Load() {
		if g.since.CompareAndSwap(old, n) {
			return
		}
	}
}

// takeSince returns from when something was lost, and forgets it; false: nothing was.
func (g *dropGate) takeSince() (time.Time, bool) {
	n := g.since.Swap(0)
	return time.Unix(0, n), n != 0
}

// shed closes and opens the gates of the tracks as the level of the disk demands. changed: tell those who watch.
func (r *recording) shed(level DiskLevel, changed bool) {
	r.mu.Lock()
	any := false
	if r.capture.Live() && !r.draining {
		now := r.s.deps.Now()
		for _, t := range r.tracks {
			if want := level.sheds(t.kind); want != t.drop.closed.Load() {
				any = true
				r.shedTrack(t, want, now)
			}
		}
	}
	if err := r.writeDrops(); err != nil {
		r.diskFailed(err)
	}
	r.mu.Unlock()
	if any || changed {
		r.s.notify(r, ChangeStatus)
	}
}

// shedTrack is called with mu held. An event that cannot be written now is written by a later call.
func (r *recording) shedTrack(t *track, drop bool, now time.Time) {
	if drop {
		t.drop.packets.Store(0)
		t.drop.closed.Store(true)
		r.undrops = append(r.undrops, Event{Type: EventDropBegan, At: now, DropBegan: &DropBegan{TrackID: t.id, Cause: CauseDiskFull}})
		r.s.log.Error("the disk is nearly full: this track is not written", "recording_id", r.id, "track_id", t.id, "kind", t.kind)
		return
	}
	n := t.drop.packets.Swap(0)
	r.s.dropped.Add(uint64(n))
	r.undrops = append(r.undrops, Event{Type: EventDropEnded, At: now, DropEnded: &DropEnded{TrackID: t.id, Packets: n}})
	t.drop.closed.Store(false)
	r.s.log.Warn("the disk has room again: this track is written", "recording_id", r.id, "track_id", t.id, "kind", t.kind, "dropped_packets", n)
	if t.leg != nil && r.capture != Paused {
		t.leg.lease.RequestKeyframe()
	}
}

// writeDrops writes the events of dropping that are due, with mu held; what fails is tried again by the follower.
func (r *recording) writeDrops() error {
	for len(r.undrops) > 0 {
		if err := r.event(r.undrops[0]); err != nil {
			return err
		}
		r.undrops = r.undrops[1:]
	}
	return nil
}

// accountLost makes events of what failed journals lost, with mu held: from the first lost record until now.
func (r *recording) accountLost(now time.Time, cause string) {
	for _, t := range r.tracks {
		since, lost := t.drop.takeSince()
		if !lost || r.stillLost(t, since, now) {
			continue
		}
		r.undrops = append(r.undrops, Event{Type: EventDropBegan, At: since, DropBegan: &DropBegan{TrackID: t.id, Cause: cause}})
		if t.drop.closed.Load() { // the span that lasts begins earlier than was known
			continue
		}
		n := t.drop.packets.Swap(0)
		r.s.dropped.Add(uint64(n))
		r.undrops = append(r.undrops, Event{Type: EventDropEnded, At: now, DropEnded: &DropEnded{TrackID: t.id, Packets: n}})
	}
}

// endDrops ends with mu held, at the end of the call, what was dropped until then.
func (r *recording) endDrops(now time.Time) {
	cause := CauseDiskFailed
	if err := r.diskErr.Load(); err != nil {
		cause = causeOf(*err)
	}
	r.accountLost(now, cause)
	for _, t := range r.tracks {
		if t.drop.closed.Load() {
			n := t.drop.packets.Swap(0)
			r.s.dropped.Add(uint64(n))
			r.undrops = append(r.undrops, Event{Type: EventDropEnded, At: now, DropEnded: &DropEnded{TrackID: t.id, Packets: n}})
		}
	}
}

// stillLost extends what is accounted for but could not be written yet; false: there is no such thing of this track.
func (r *recording) stillLost(t *track, since, now time.Time) bool {
	for i, e := range slices.Backward(r.undrops) {
		switch {
		case e.DropBegan != nil && e.DropBegan.TrackID == t.id:
			if since.Before(e.At) {
				r.undrops[i].At = since
			}
			return true // it lasts
		case e.DropEnded != nil && e.DropEnded.TrackID == t.id:
			n := t.drop.packets.Swap(0)
			r.s.dropped.Add(uint64(n))
			r.undrops[i] = Event{Type: EventDropEnded, At: now, DropEnded: &DropEnded{TrackID: t.id, Packets: e.DropEnded.Packets + n}}
			return true
		}
	}
	return false
}

// captures tells whether the recording takes packets.
func (r *recording) captures() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.capture.Live() && !r.draining
}

// overflowed counts what the kernel dropped, and writes it down where the leg's packets are.
func (k *legSink) overflowed(at time.Time, datagrams uint64) {
	k.r.gate.mu.RLock()
	defer k.r.gate.mu.RUnlock()
	if k.r.gate.drops(at) || datagrams == 0 {
		return
	}
	k.r.s.overflowed.Add(datagrams)
	if k.drop.drops(RecordOverflow) {
		return
	}
	if err := k.journal.Append(overflowRecord(at, datagrams)); err != nil {
		k.drop.lost(at, RecordOverflow, err)
		k.r.diskFailed(err)
	}
	if now := at.Unix(); now-k.warned >= 10 { // it comes with every datagram while it lasts
		k.warned = now
		k.r.s.log.Warn("this machine did not read its sockets in time: its kernel dropped datagrams", "recording_id", k.r.id,
			"datagrams", min(datagrams, math.MaxInt64))
	}
}
