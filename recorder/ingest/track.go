package ingest

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// track is what is known of one attachment. It is a state machine: datagrams and ticks go in, calls of the sink and
// decisions come out. It has no sockets, no clock and no goroutine; its lease calls it under a mutex.
type track struct {
	params recorder.RTPParameters
	sink   recorder.Sink
	peer   peer
	seq    *sequence
	keys   *keyframes // nil: sound has no keyframes
	count  *counters
	pli    []byte

	packet   rtp.Packet // reused, so that parsing allocates nothing
	keyTime  uint32     // RTP timestamp of the last keyframe: its packets share it
	hasKey   bool
	strayKey bool // the stray packet before a restart began a keyframe
	held     bool // paused: nothing is delivered
}

// counters outlive attachments.
type counters struct {
	recorder.NetStats
	rtx  uint64
	lost int64
}

// newTrack is for packets from sockets.
func newTrack(a recorder.Attachment, mux bool, n networks, c *counters) (*track, error) {
	from, err := newPeer(a.Source, mux, n)
	if err != nil {
		return nil, err
	}
	return makeTrack(a, from, c)
}

// newFedTrack is for packets from a transport that knows its sender.
func newFedTrack(a recorder.Attachment, c *counters) (*track, error) {
	return makeTrack(a, peer{known: true, mux: true}, c)
}

func makeTrack(a recorder.Attachment, from peer, c *counters) (*track, error) {
	if a.Sink == nil {
		return nil, errors.New("attachment without a sink")
	}
	t := &track{params: a.Params, sink: a.Sink, peer: from, count: c, seq: newSequence(a.Params.Codec.ClockRate())}
	if a.Params.Codec != recorder.Opus {
		t.keys = &keyframes{interval: a.KeyframeInterval}
		var err error
		if t.pli, err = pictureLossIndication(a.Params.SSRC); err != nil {
			return nil, err
		}
	}
	c.SSRC, c.JitterMs = a.Params.SSRC, 0
	return t, nil
}

// pictureLossIndication builds the request (RFC 4585 §6.3.1) once. It is sent whether or not rtcpFeedback lists it:
// SFUs heed it anyway, and without it a track that began in mid-picture would stay dark.
func pictureLossIndication(media uint32) ([]byte, error) {
	sender := rand.Uint32()
	for sender == 0 || sender == media {
		sender = rand.Uint32()
	}
	return (&rtcp.PictureLossIndication{SenderSSRC: sender, MediaSSRC: media}).Marshal()
}

// onRTP takes a datagram of the RTP socket.
func (t *track) onRTP(from netip.AddrPort, data []byte, at time.Time) {
	if !t.peer.sendsRTP(from) {
		t.count.DroppedForeign++
		return
	}
	if err := t.packet.Unmarshal(data); err != nil || t.packet.Version != 2 {
		t.count.DroppedMalformed++
		return
	}
	switch h := &t.packet.Header; {
	case t.held:
		t.count.DroppedHeld++
	case h.SSRC == t.params.SSRC && h.PayloadType == t.params.PayloadType:
		t.peer.pinRTP(from)
		t.sink.Packet(at, recorder.PacketRTP, data)
		t.media(len(data), at)
	case t.params.RTXSSRC != 0 && h.SSRC == t.params.RTXSSRC && h.PayloadType == t.params.RTXPayloadType:
		t.peer.pinRTP(from)
		t.sink.Packet(at, recorder.PacketRTP, data)
		t.count.rtx++
	default:
		t.count.DroppedForeign++
	}
}

// media counts a packet of the announced SSRC and follows its stream.
func (t *track) media(bytes int, at time.Time) {
	c := t.count
	c.Packets++
	c.Bytes += uint64(bytes)
	if c.FirstPacketAt.IsZero() {
		c.FirstPacketAt = at
	}
	c.LastPacketAt = at
	kind, ext, lost := t.seq.observe(t.packet.SequenceNumber, at)
	c.lost += lost
	switch kind {
	case duplicate:
		c.Duplicates++
		return
	case late:
		c.Reordered++
	case inOrder, afterHole, restarted:
		t.seq.time(t.packet.Timestamp, at)
	}
	if t.keys != nil {
		t.picture(kind, ext, at)
	}
}

func (t *track) picture(kind arrival, ext int64, at time.Time) {
	t.keys.packet(at)
	key := beginsKeyframe(t.params.Codec, t.packet.Payload)
	if kind == stray {
		t.strayKey = key
		return
	}
	if kind == restarted {
		t.keys.restart(at)
		t.hasKey = false
		key = key || t.strayKey
	}
	t.strayKey = false
	if !key || t.hasKey && t.keyTime == t.packet.Timestamp {
		return
	}
	t.hasKey, t.keyTime = true, t.packet.Timestamp
	t.count.Keyframes++
	t.seq.settle(ext)
	t.keys.keyframe(at)
}

// onRTCP takes a datagram of the RTCP socket, or one of RTCP on a multiplexed one.
func (t *track) onRTCP(from netip.AddrPort, data []byte, at time.Time) {
	if !t.peer.sendsRTCP(from) {
		t.count.DroppedForeign++
		return
	}
	ours, ok := reportsAbout(data, t.params.SSRC)
	switch {
	case !ok:
		t.count.DroppedMalformed++
	case !ours:
		t.count.DroppedForeign++
	default:
		t.peer.pinRTCP(from)
		t.count.RTCPPackets++
		t.sink.Packet(at, recorder.PacketRTCP, data)
	}
}

// reportsAbout looks for a sender report of an SSRC. ok: the datagram is a chain of whole RTCP packets (RFC 3550 §6.1).
func reportsAbout(data []byte, ssrc uint32) (ours, ok bool) {
	for len(data) > 0 {
		var h rtcp.Header
		if err := h.Unmarshal(data); err != nil {
			return false, false
		}
		n := (int(h.Length) + 1) * 4
		if n > len(data) {
			return false, false
		}
		if h.Type == rtcp.TypeSenderReport {
			var sr rtcp.SenderReport
			if err := sr.Unmarshal(data[:n]); err != nil {
				return false, false
			}
			ours = ours || sr.SSRC == ssrc
		}
		ok, data = true, data[n:]
	}
	return ours, ok
}

// feedback is a control packet to send.
type feedback struct {
	data []byte
	to   netip.AddrPort
}

// tick decides what is due at a moment. ok is false when nothing is.
func (t *track) tick(now time.Time) (f feedback, ok bool) {
	if t.keys == nil || !t.keys.due(now, t.seq.missingSince()) {
		return feedback{}, false
	}
	to := t.peer.control()
	if !to.IsValid() {
		return feedback{}, false // stays due until the SFU was heard and its address is known
	}
	t.keys.asked(now)
	t.count.KeyframesAsked++
	return feedback{data: t.pli, to: to}, true
}

// hold and release begin and end a pause.
func (t *track) hold()               { t.held = true }
func (t *track) release(_ time.Time) { t.held = false }

// requestKeyframe notes a wish; the next tick carries it out.
func (t *track) requestKeyframe() {
	if t.keys != nil {
		t.keys.request()
	}
}

// stats is a snapshot of the counters.
func (c *counters) stats(t *track) recorder.NetStats {
	s := c.NetStats
	s.Lost = uint64(max(c.lost, 0))
	if t != nil {
		s.JitterMs = t.seq.jitterMs()
	}
	return s
}
