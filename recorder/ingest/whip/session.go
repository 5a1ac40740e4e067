package whip

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/ingest"
)

// session is one publisher's peer connection and the tracks that it feeds. Its goroutine (run) owns it.
type session struct {
	id, etag    string
	recordingID string
	trackID     string // of the screen, where a recording has several
	side        Side
	who         Publisher
	number      uint64 // sessions are counted, so that a newer one ends an older one and not the other way
	secrets     transportLines

	recordings Recordings
	log        *slog.Logger
	pc         *webrtc.PeerConnection
	streams    []*stream

	connected chan struct{} // closed once ICE and DTLS are up
	up        sync.Once
	end       context.CancelCauseFunc // ends run
	done      chan struct{}           // closed when run has returned

	mu      sync.Mutex
	closing bool           // no more readers
	readers sync.WaitGroup // goroutines that read packets and run feeds
}

// Why a session ends.
var (
	errDeleted      = errors.New("the publisher ended it")
	errReplaced     = errors.New("a newer session publishes in its place")
	errNotConnected = errors.New("ICE and DTLS did not come up in time")
	errLost         = errors.New("nothing is heard of the publisher any more")
	errClosed       = errors.New("the publisher closed the connection")
	errTaken        = errors.New("the recording takes its tracks no more")
	errShutDown     = errors.New("the server is shutting down")
	errElsewhere    = errors.New("the media comes from outside the credential's networks")
)

// newSession makes a peer connection and its answer. run is still to be called; after an error everything is closed.
func (s *Server) newSession(ctx context.Context, o offer, chosen []taken, q request, end context.CancelCauseFunc) (_ *session, sdp string, err error) {
	n := &session{id: rand.Text(), etag: `"` + rand.Text() + `"`, recordingID: q.recordingID, trackID: q.trackID, side: q.side, who: q.who,
		recordings: s.recordings, connected: make(chan struct{}), done: make(chan struct{}), secrets: chosen[0].secrets, end: end}
	n.log = s.log.With("recording_id", q.recordingID, "side", string(q.side), "session", n.id[:8])
	n.pc, err = s.endpoint.connection(slices.Concat(chosen, o.idle(chosen)), &tap{rtp: n.rtp, rtcp: n.rtcp})
	if err != nil {
		return nil, "", fmt.Errorf("make a peer connection: %w", err)
	}
	defer func() {
		if err != nil {
			n.mu.Lock()
			n.closing = true
			n.mu.Unlock()
			err = errors.Join(err, n.pc.GracefulClose())
		}
	}()
	for _, t := range chosen {
		if t.cname == "" { // RFC 7022 wants one; two publishers without must not count as one clock
			t.cname = "whip-" + n.id
		}
		st := &stream{taken: t}
		if st.params, _, err = t.parameters(); err != nil {
			return nil, "", refuse(http.StatusUnprocessableEntity, codeUnsupported, "%v", err)
		}
		st.lease = &lease{Feed: ingest.NewFeed(n.log.With("track_kind", string(t.kind)), n.control), ended: n.leaseEnded}
		n.streams = append(n.streams, st)
	}
	n.pc.OnTrack(n.read)
	n.pc.OnConnectionStateChange(n.stateChanged)
	sdp, err = answer(ctx, n.pc, o.clean(chosen))
	if err != nil {
		return nil, "", &Refusal{Status: http.StatusUnprocessableEntity, Code: codeUnsupported, Detail: "the offer cannot be answered: send a plain offer of one video and one audio track", Err: err}
	}
	return n, sdp, nil
}

// control sends what a feed asks for.
func (n *session) control(data []byte) error {
	packets, err := rtcp.Unmarshal(data)
	if err != nil {
		return err
	}
	return n.pc.WriteRTCP(packets)
}

func (n *session) rtp(ssrc uint32, data []byte, at time.Time) {
	for _, st := range n.streams {
		if ssrc == st.ssrc || ssrc == st.rtxSSRC {
			st.take(packet{data: data, at: at})
		}
	}
}

func (n *session) rtcp(ssrc uint32, data []byte, at time.Time) {
	for _, st := range n.streams {
		if ssrc == st.ssrc {
			st.take(packet{data: data, at: at, rtcp: true})
		}
	}
}

// read takes packets out of the library, which hands them to the tap on the way.
func (n *session) read(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
	n.reader(func() {
		b := make([]byte, maxPacket)
		for {
			if _, _, err := t.Read(b); err != nil && !errors.Is(err, webrtc.ErrCodecNotFound) { // a foreign payload type is the feed's matter
				return
			}
		}
	})
	n.reader(func() {
		b := make([]byte, maxPacket)
		for {
			if _, _, err := r.Read(b); err != nil {
				return
			}
		}
	})
}

// maxPacket is the largest packet that is read, in bytes: more than any path lets through unfragmented.
const maxPacket = 2048

// reader runs f and is waited for; once the session is closing it does not begin.
func (n *session) reader(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closing {
		n.readers.Go(f)
	}
}

func (n *session) stateChanged(is webrtc.PeerConnectionState) {
	switch is {
	case webrtc.PeerConnectionStateConnected:
		n.up.Do(func() { close(n.connected) })
	case webrtc.PeerConnectionStateFailed:
		n.end(errLost)
	case webrtc.PeerConnectionStateClosed:
		n.end(errClosed)
	}
}

// leaseEnded is called by the recording, which must not wait: run looks whether any track is left.
func (n *session) leaseEnded() {
	for _, st := range n.streams {
		if !st.lease.closed.Load() {
			return
		}
	}
	n.end(errTaken)
}

// run sees the session to its end.
func (n *session) run(ctx context.Context, connectWithin time.Duration, replace func(*session)) {
	defer close(n.done)
	defer n.close()
	timer := time.NewTimer(connectWithin)
	defer timer.Stop()
	select {
	case <-n.connected:
	case <-timer.C:
		n.log.Info("whip session ends", "reason", errNotConnected.Error())
		return
	case <-ctx.Done():
		n.log.Info("whip session ends", "reason", context.Cause(ctx).Error())
		return
	}
	if err := n.publish(ctx); err != nil {
		n.log.Warn("whip session ends: its tracks were not taken", "err", err)
		return
	}
	replace(n)
	<-ctx.Done()
	n.log.Info("whip session ends", "reason", context.Cause(ctx).Error())
}

// publish begins the tracks' legs.
func (n *session) publish(ctx context.Context) error {
	host := n.host()
	if n.who.Near != nil && !n.who.Near(host.Addr()) {
		return errElsewhere
	}
	for _, st := range n.streams {
		n.reader(func() { _ = st.lease.Run(ctx) }) // it returns nil
		c := recorder.PublishCommand{TenantID: n.who.TenantID, RecordingID: n.recordingID, Kind: st.kind, RTPParameters: st.params,
			Source: recorder.Source{IP: host.Addr().String(), RTPPort: int(host.Port())}, Lease: st.lease, Actor: n.who.Actor}
		if st.kind == recorder.Screen {
			c.TrackID = n.trackID
		}
		if _, err := n.recordings.Publish(ctx, c); err != nil {
			return fmt.Errorf("publish %s: %w", st.kind, err)
		}
		st.begin()
		n.log.Info("whip publisher connected", "track_kind", string(st.kind), "codec", string(st.best.codec), "source", host.String())
	}
	return nil
}

// host is where the publisher's packets come from.
func (n *session) host() netip.AddrPort {
	for _, tr := range n.pc.GetTransceivers() {
		r := tr.Receiver()
		if r == nil || r.Transport() == nil {
			continue
		}
		pair, err := r.Transport().ICETransport().GetSelectedCandidatePair()
		if err != nil || pair == nil || pair.Remote == nil {
			continue
		}
		if ip, err := netip.ParseAddr(pair.Remote.Address); err == nil {
			return netip.AddrPortFrom(ip.Unmap().WithZone(""), pair.Remote.Port)
		}
	}
	return netip.AddrPort{}
}

const unpublishWithin = 10 * time.Second

// close ends the legs that the session still feeds, then the connection, and waits for everything.
func (n *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), unpublishWithin)
	defer cancel()
	for _, st := range n.streams {
		err := n.recordings.Unpublish(ctx, recorder.UnpublishCommand{TenantID: n.who.TenantID, RecordingID: n.recordingID, Lease: st.lease})
		if err != nil {
			n.log.Warn("end the track of a whip session", "track_kind", string(st.kind), "err", err)
		}
		if err := st.lease.Close(); err != nil {
			n.log.Warn("close feed", "track_kind", string(st.kind), "err", err)
		}
	}
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	if err := n.pc.GracefulClose(); err != nil && !errors.Is(err, net.ErrClosed) {
		n.log.Debug("close peer connection", "err", err)
	}
	n.readers.Wait()
}
