package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// ErrAttachment marks an Attachment that cannot be used; the text says why.
var ErrAttachment = fmt.Errorf("ingest: %w", recorder.ErrAttachment)

// attachmentError says what is wrong with an Attachment in words for whoever sent it, and matches ErrAttachment.
type attachmentError struct{ reason error }

func (e *attachmentError) Error() string   { return e.reason.Error() }
func (e *attachmentError) Unwrap() []error { return []error{ErrAttachment, e.reason} }

// ErrClosed: the lease or its receiver is closed.
var ErrClosed = errors.New("ingest: closed")

// Lease is one track's sockets. It implements recorder.Lease.
//
// The sink is called while the lease is locked. It must therefore not call methods of its own lease.
type Lease struct {
	seat
	endpoint recorder.Endpoint
	mux      bool
	networks networks
	srtp     recorder.SRTPParameters // what our RTCP is encrypted with; zero: plain RTP
	ports    ports
	rtp      *socket
	rtcp     *socket // nil with rtcpMux
	log      *slog.Logger
	forget   func(*Lease) // the receiver's part of closing
	wants    atomic.Int64 // when to be polled if that is before the next calm beat, UnixNano; 0: no hurry

	reading sync.Mutex // held while the sockets are read, taken before mu
	gone    bool       // the sockets are closed
	dropped [2]uint32  // by the kernel, of RTP and RTCP, as last told
	failing bool       // the last read failed: one warning is enough

	closing  sync.Once
	closeErr error
}

var _ recorder.Lease = (*Lease)(nil)

// Datagrams that one read may return. A keyframe of a screen is a burst of about 50 packets.
const (
	rtpBatch  = 32
	rtcpBatch = 4
)

func (l *Lease) bind(ctx context.Context, cfg Config, p ports) (err error) {
	if l.rtp, err = openSocket(ctx, cfg.bindAddr(), p.rtp, cfg.ReceiveBuffer, rtpBatch); err != nil {
		return err
	}
	if p.rtcp == 0 {
		return nil
	}
	if l.rtcp, err = openSocket(ctx, cfg.bindAddr(), p.rtcp, 0, rtcpBatch); err != nil {
		_ = l.rtp.close()
	}
	return err
}

// Endpoint implements recorder.Lease.
func (l *Lease) Endpoint() recorder.Endpoint { return l.endpoint }

// Attach implements recorder.Lease. It fails with ErrAttachment or ErrClosed. What is pinned holds for one attachment: each
// Attach begins with what its source says, whatever came before, so that a track that a stranger took over is freed by
// attaching anew.
func (l *Lease) Attach(a recorder.Attachment) error {
	return l.sit(func(c *counters) (*track, error) { return newTrack(a, l.mux, l.networks, l.srtp, c) })
}

// Detach implements recorder.Lease. What has arrived by now is delivered first.
func (l *Lease) Detach() {
	l.poll()
	l.leave()
}

// Hold implements recorder.Lease. What has arrived by now is delivered first.
func (l *Lease) Hold() {
	l.poll()
	l.hold()
}

// Release implements recorder.Lease.
func (l *Lease) Release(at time.Time) {
	l.poll() // what came during the pause is dropped
	l.release(at)
}

// RequestKeyframe implements recorder.Lease. A request that the limiter holds back is sent when it may be, unless a
// keyframe has come by then.
func (l *Lease) RequestKeyframe() {
	defer l.survive()
	l.wish()
	l.tick(time.Now())
}

// Close implements recorder.Lease. It delivers what has arrived by now, as Detach does, and gives the ports back; it is
// idempotent.
func (l *Lease) Close() error {
	l.poll()
	return l.shut()
}

// shut closes without delivering.
func (l *Lease) shut() error {
	l.closing.Do(func() {
		l.shutDown()
		l.reading.Lock()
		defer l.reading.Unlock()
		l.gone = true
		l.closeErr = l.rtp.close()
		if l.rtcp != nil {
			l.closeErr = errors.Join(l.closeErr, l.rtcp.close())
		}
		l.forget(l)
	})
	return l.closeErr
}

// survive is deferred where packets are handled. Should a packet lead to a panic, here or in the sink, it costs this
// track: all other calls of the process go on.
func (l *Lease) survive() {
	cause := recover() //nolint:revive // it is called by defer alone, in the frame of whatever panics
	if cause == nil {
		return
	}
	l.log.Error("a panic has closed a media lease; other tracks go on", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if err := l.shut(); err != nil {
		l.log.Warn("media lease not closed cleanly", "error", err)
	}
}

// poll takes what has gathered on the sockets, and lets time pass for the track. Its poller calls it.
func (l *Lease) poll() {
	defer l.survive() // when the locks are released
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.gone {
		return
	}
	var reports []datagram
	if l.rtcp != nil {
		reports = l.read(l.rtcp)
		l.overflow(reports, &l.dropped[1])
	}
	// A burst may fill more than one batch. What arrives meanwhile waits for the next beat: one lease must not keep
	// the others.
	for range maxBatches {
		batch := l.read(l.rtp)
		l.overflow(batch, &l.dropped[0])
		reports = l.deliver(batch, reports)
		if !l.rtp.full() {
			break
		}
	}
	l.deliver(nil, reports)
	l.tick(time.Now())
}

// maxBatches lets a lease catch up at 25,000 packets a second.
const maxBatches = 2500 / rtpBatch

func (l *Lease) read(s *socket) []datagram {
	batch, err := s.read()
	if err != nil && !l.failing {
		l.log.Warn("media socket cannot be read", "error", err)
	}
	l.failing = err != nil
	return batch
}

// overflow tells the track what the kernel dropped before the newest datagram. The kernel counts on from binding.
func (l *Lease) overflow(batch []datagram, told *uint32) {
	if len(batch) == 0 {
		return
	}
	newest := batch[len(batch)-1]
	if n := newest.dropped - *told; newest.dropped != 0 && n != 0 {
		*told = newest.dropped
		l.overflowed(newest.at, uint64(n))
	}
}

// deliver hands RTP on and, in the order of arrival, the reports that came before; it returns the other reports.
// Without RTP all reports are due.
func (l *Lease) deliver(media, reports []datagram) []datagram {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range media {
		for len(reports) > 0 && !reports[0].at.After(d.at) {
			l.take(reports[0], true)
			reports = reports[1:]
		}
		l.take(d, l.mux && isRTCP(d.data))
	}
	if len(media) > 0 {
		return reports
	}
	for _, d := range reports {
		l.take(d, true)
	}
	return nil
}

func (l *Lease) take(d datagram, rtcp bool) {
	switch {
	case l.track == nil:
		l.count.DroppedForeign++
	case d.cut || len(d.data) >= maxDatagram:
		l.count.DroppedMalformed++
	case rtcp:
		l.track.onRTCP(d.from, d.data, d.at)
	default:
		l.track.onRTP(d.from, d.data, d.at)
	}
}

// isRTCP tells RTP from RTCP on a multiplexed socket by the packet type (RFC 5761 §4).
func isRTCP(data []byte) bool { return len(data) > 1 && data[1] >= 192 && data[1] <= 223 }

// tick lets time pass for the track.
func (l *Lease) tick(now time.Time) {
	wants := int64(0)
	if next := l.pass(now, l.send); !next.IsZero() {
		wants = next.UnixNano()
	}
	l.wants.Store(wants)
}

// send sends from the socket whose address the SFU was told: it ignores control packets from any other.
func (l *Lease) send(f feedback) {
	s := l.rtp
	if l.rtcp != nil {
		s = l.rtcp
	}
	if err := s.write(f.data, f.to); err != nil && !errors.Is(err, net.ErrClosed) {
		l.log.Warn("control packet not sent", "to", f.to.String(), "error", err)
	}
}
