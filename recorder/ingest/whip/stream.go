package whip

import (
	"bytes"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/ingest"
)

// stream is one media stream of a session.
type stream struct {
	taken
	params json.RawMessage
	lease  *lease

	mu     sync.Mutex
	open   bool     // the feed takes packets
	held   []packet // that came before it did
	report []byte   // the newest report handed on
}

type packet struct {
	data []byte
	at   time.Time
	rtcp bool
}

// maxHeld bounds what is kept between the first packet and the recording's consent, which comes within milliseconds.
const maxHeld = 400

// take hands a packet to the feed. A report that is read twice is handed on once.
func (s *stream) take(p packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.rtcp {
		if bytes.Equal(p.data, s.report) {
			return
		}
		s.report = append(s.report[:0], p.data...)
	}
	if s.open {
		s.lease.take(p)
		return
	}
	if len(s.held) < maxHeld {
		p.data = bytes.Clone(p.data)
		s.held = append(s.held, p)
	}
}

// begin hands over what was held, and everything from now on.
func (s *stream) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.held {
		s.lease.take(p)
	}
	s.open, s.held = true, nil
}

// lease is the feed as the recording has it: the session hears when the recording closes it.
type lease struct {
	*ingest.Feed
	closed atomic.Bool
	ended  func()
}

var _ recorder.Lease = (*lease)(nil)

// Close implements recorder.Lease.
func (l *lease) Close() error {
	err := l.Feed.Close()
	if !l.closed.Swap(true) {
		l.ended()
	}
	return err
}

func (l *lease) take(p packet) {
	if p.rtcp {
		l.RTCP(p.data, p.at)
		return
	}
	l.RTP(p.data, p.at)
}
