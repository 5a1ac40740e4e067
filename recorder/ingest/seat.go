package ingest

import (
	"sync"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// seat is what Lease and Feed have in common: the place where one track at a time is attached, and the counters that
// outlive it. Its mutex guards the track and makes the calls of the sink one at a time. The sink must therefore not call
// methods of its own lease.
type seat struct {
	mu     sync.Mutex
	track  *track // nil: detached
	count  counters
	closed bool

	// A pause is the lease's: who attaches in it, or right after it, is subject to it as well.
	held     bool
	released time.Time // the end of the last pause

	sending sync.Mutex // makes feedback one at a time, taken before mu
}

// sit attaches the track that make returns. It fails with ErrAttachment or ErrClosed.
func (s *seat) sit(make func(*counters) (*track, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	t, err := make(&s.count)
	if err != nil {
		return &attachmentError{err}
	}
	switch {
	case s.held:
		t.hold()
	case time.Since(s.released) < longAgo:
		t.release(s.released)
	}
	s.track = t
	return nil
}

// leave ends the attachment. It keeps what the statistics say of the track.
func (s *seat) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

// drop is called with mu held.
func (s *seat) drop() {
	if s.track != nil {
		s.count.JitterMs = s.track.seq.jitterMs()
	}
	s.track = nil
}

// shutDown ends the attachment for good.
func (s *seat) shutDown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
}

func (s *seat) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held {
		return
	}
	s.held = true
	if s.track != nil {
		s.track.hold()
	}
}

// release does nothing unless there is a pause.
func (s *seat) release(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held {
		return
	}
	s.held, s.released = false, at
	if s.track != nil {
		s.track.release(at)
	}
}

// wish notes that somebody wants a keyframe; the next tick carries it out.
func (s *seat) wish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.track != nil {
		s.track.requestKeyframe()
	}
}

// pass lets time pass for the track and sends what is due. next is when to come again if that is sooner than usual.
func (s *seat) pass(now time.Time, send func(feedback)) (next time.Time) {
	s.sending.Lock()
	defer s.sending.Unlock()
	f, ok, next := s.due(now)
	if ok {
		send(f)
	}
	return next
}

func (s *seat) due(now time.Time) (f feedback, ok bool, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.track == nil {
		return feedback{}, false, time.Time{}
	}
	f, ok = s.track.tick(now)
	return f, ok, s.track.next
}

// overflowed notes that the kernel dropped datagrams. During a pause nobody misses them.
func (s *seat) overflowed(at time.Time, datagrams uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.track == nil || s.held {
		return
	}
	s.count.DroppedByKernel += datagrams
	s.track.sink.Overflow(at, datagrams)
}

// Stats implements recorder.Lease.
func (s *seat) Stats() recorder.NetStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count.stats(s.track)
}

// RTXPackets counts the retransmissions that came (RFC 4588).
func (s *seat) RTXPackets() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count.rtx
}
