package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Feed is a recorder.Lease without sockets: one track whose packets come by a transport of their own, such as a WHIP
// peer connection, which has decrypted them and knows who sends. So no source is pinned, and Attachment.Source is not
// looked at. All methods are safe for concurrent use.
//
// The sink is called while the feed is locked. It must therefore not call methods of its own feed.
type Feed struct {
	seat
	log     *slog.Logger
	control func(rtcp []byte) error
	wake    chan struct{} // capacity 1: something is to be asked for before the next beat

	failing bool // the last call of control failed: one warning is enough

	closing sync.Once
	gone    chan struct{} // closed by Close
}

var _ recorder.Lease = (*Feed)(nil)

// feedBeat is how often time passes for a track at which nothing is missing.
const feedBeat = calmBeat

// NewFeed makes a feed. control sends one RTCP datagram to the sender of the packets; its data is valid during the call, and it
// must not block.
// It is called from Run and RequestKeyframe, one call at a time, and not from RTP and RTCP. The caller starts Run, without
// which nothing is ever asked for, and closes the feed.
func NewFeed(log *slog.Logger, control func(rtcp []byte) error) *Feed {
	return &Feed{log: log, control: control, wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// transport stands in for the address of a sender whom the transport has authenticated.
var transport = netip.AddrPortFrom(netip.IPv4Unspecified(), 1)

// Run lets time pass for the track, and sends what is to be asked for, until ctx or the feed ends. It returns nil.
func (f *Feed) Run(ctx context.Context) error {
	timer := time.NewTimer(feedBeat)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.gone:
			return nil
		case <-timer.C:
		case <-f.wake:
		}
		now := time.Now()
		rest := feedBeat
		if next := f.tick(now); !next.IsZero() {
			rest = min(rest, max(next.Sub(now), time.Millisecond))
		}
		timer.Reset(rest)
	}
}

// RTP takes one RTP packet, decrypted, and when it came. It keeps no part of data.
func (f *Feed) RTP(data []byte, at time.Time) { f.take(data, at, (*track).onRTP) }

// RTCP takes one RTCP datagram, decrypted, and when it came. It keeps no part of data.
func (f *Feed) RTCP(data []byte, at time.Time) { f.take(data, at, (*track).onRTCP) }

func (f *Feed) take(data []byte, at time.Time, on func(*track, netip.AddrPort, []byte, time.Time)) {
	defer f.survive()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.track == nil:
		f.count.DroppedForeign++
	case len(data) >= maxDatagram:
		f.count.DroppedMalformed++
	default:
		on(f.track, transport, data, at)
		if f.track.hurry {
			select {
			case f.wake <- struct{}{}:
			default:
			}
		}
	}
}

// Endpoint implements recorder.Lease: there is none.
func (f *Feed) Endpoint() recorder.Endpoint { return recorder.Endpoint{} }

// Attach implements recorder.Lease. It fails with ErrAttachment or ErrClosed.
func (f *Feed) Attach(a recorder.Attachment) error {
	return f.sit(func(c *counters) (*track, error) { return newFedTrack(a, c) })
}

// Detach implements recorder.Lease.
func (f *Feed) Detach() { f.leave() }

// Hold implements recorder.Lease.
func (f *Feed) Hold() { f.hold() }

// Release implements recorder.Lease.
func (f *Feed) Release(at time.Time) { f.release(at) }

// RequestKeyframe implements recorder.Lease. A request that the limiter holds back is sent when it may be, unless a
// keyframe has come by then.
func (f *Feed) RequestKeyframe() {
	f.wish()
	f.tick(time.Now())
}

// Close implements recorder.Lease and ends Run; it is idempotent.
func (f *Feed) Close() error {
	f.closing.Do(func() {
		f.shutDown()
		close(f.gone)
	})
	return nil
}

func (f *Feed) tick(now time.Time) (next time.Time) {
	defer f.survive()
	return f.pass(now, f.send)
}

func (f *Feed) send(fb feedback) {
	err := f.control(fb.data)
	if err != nil && !f.failing {
		f.log.Warn("control packet not sent", "error", err)
	}
	f.failing = err != nil
}

// survive is deferred where packets are handled: a panic, here or in the sink, costs this track alone.
func (f *Feed) survive() {
	cause := recover() //nolint:revive // it is called by defer alone, in the frame of whatever panics
	if cause == nil {
		return
	}
	f.log.Error("a panic has closed a media feed; other tracks go on", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	_ = f.Close() // fails never
}
