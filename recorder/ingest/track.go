package ingest

import (
	"encoding/binary"
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
	gaps   gaps
	resume *recorder.Spooled // until the first packet
	goesOn bool              // it began behind what the spool holds: nothing from before is taken any more
	sender uint32            // our SSRC in feedback
	crypto *crypto           // nil: plain RTP

	packet   rtp.Packet // reused, so that parsing allocates nothing
	keyTime  uint32     // RTP timestamp of the last keyframe: its packets share it
	hasKey   bool
	strayKey bool // the stray packet before a restart began a keyframe
	pause    pause
	clock    captureClock

	restored []byte    // an original packet out of its retransmission
	seqs     []int64   // to ask for, reused
	out      []byte    // feedback, reused: valid until the next tick
	next     time.Time // when tick wants to be called again before the next calm beat; zero: no hurry
	hurry    bool      // something has gone missing since the last tick
}

// counters outlive attachments.
type counters struct {
	recorder.NetStats
	rtx      uint64 // retransmissions that came
	restored uint64 // of them: packets that had been missing
	lost     int64
}

// newTrack is for packets from sockets. ours is the key that the sockets were leased with.
func newTrack(a recorder.Attachment, mux bool, n networks, ours recorder.SRTPParameters, c *counters) (*track, error) {
	from, err := newPeer(a.Source, mux, n)
	if err != nil {
		return nil, err
	}
	return makeTrack(a, from, ours, c)
}

// newFedTrack is for packets from a transport that knows its sender.
func newFedTrack(a recorder.Attachment, c *counters) (*track, error) {
	return makeTrack(a, peer{known: true, mux: true}, recorder.SRTPParameters{}, c)
}

func makeTrack(a recorder.Attachment, from peer, ours recorder.SRTPParameters, c *counters) (*track, error) {
	if a.Sink == nil {
		return nil, errors.New("attachment without a sink")
	}
	t := &track{params: a.Params, sink: a.Sink, peer: from, count: c, seq: newSequence(a.Params.Codec.ClockRate()),
		gaps: gaps{nack: a.Params.NACK, horizon: audioHorizon}, clock: captureClock{rate: int64(a.Params.Codec.ClockRate())}, sender: senderSSRC(a.Params)}
	var err error
	if t.crypto, err = newCrypto(ours, a.SRTP, a.Params, t.sender); err != nil {
		return nil, err
	}
	if a.Params.Codec != recorder.Opus {
		t.keys = &keyframes{interval: a.KeyframeInterval}
		t.gaps.horizon = videoHorizon
	}
	if a.Spooled != nil {
		was := *a.Spooled
		t.resume, t.goesOn = &was, true
		t.requestKeyframe() // what is missing may be more than the SFU still has
	}
	c.SSRC, c.JitterMs = a.Params.SSRC, 0
	return t, nil
}

// senderSSRC is any that is not one of the stream's own.
func senderSSRC(p recorder.RTPParameters) uint32 {
	for {
		if s := rand.Uint32(); s != 0 && s != p.SSRC && s != p.RTXSSRC {
			return s
		}
	}
}

// appendPLI appends a picture loss indication (RFC 4585 §6.3.1). It is sent whether or not rtcpFeedback lists it:
// SFUs heed it anyway, and without it a track that began in mid-picture would stay dark.
func appendPLI(out []byte, sender, media uint32) []byte {
	const version, pictureLoss, payloadFeedback = 2 << 6, 1, 206
	out = append(out, version|pictureLoss, payloadFeedback, 0, 2)
	out = binary.BigEndian.AppendUint32(out, sender)
	return binary.BigEndian.AppendUint32(out, media)
}

// onRTP takes a datagram of the RTP socket.
func (t *track) onRTP(from netip.AddrPort, data []byte, at time.Time) {
	if !t.peer.sendsRTP(from) {
		t.count.DroppedForeign++
		return
	}
	data, ok := t.open(data, at)
	if !ok {
		return
	}
	t.peer.pinRTP(from)
	switch {
	case t.packet.SSRC == t.params.SSRC:
		t.media(data, at)
	case t.pause.flow != flowing:
		t.count.DroppedHeld++ // nobody has asked for it
	default:
		t.count.rtx++
		t.repair(data, at)
	}
}

// open checks and decrypts a packet and parses it into t.packet. What is none of the stream's is counted and not ok.
func (t *track) open(data []byte, at time.Time) (plain []byte, ok bool) {
	if err := t.parse(data); err != nil || t.packet.Version != 2 {
		t.count.DroppedMalformed++
		return nil, false
	}
	if !t.announced(&t.packet.Header) {
		t.count.DroppedForeign++
		return nil, false
	}
	if t.crypto == nil {
		return data, true
	}
	if plain, ok = t.crypto.openRTP(data, &t.packet.Header, at); !ok {
		t.count.DroppedUnauthentic++
		return nil, false
	}
	if err := t.packet.Unmarshal(plain); err != nil {
		t.count.DroppedMalformed++
		return nil, false
	}
	return plain, true
}

// parse reads what can be read before decryption: of SRTP, the header.
func (t *track) parse(data []byte) error {
	if t.crypto == nil {
		return t.packet.Unmarshal(data)
	}
	_, err := t.packet.Header.Unmarshal(data)
	return err
}

// announced tells whether a packet is of the announced stream, or of its retransmissions.
func (t *track) announced(h *rtp.Header) bool {
	p := &t.params
	return h.SSRC == p.SSRC && h.PayloadType == p.PayloadType ||
		p.RTXSSRC != 0 && h.SSRC == p.RTXSSRC && h.PayloadType == p.RTXPayloadType
}

// repair takes a retransmission (RFC 4588 §4) and goes on with the packet that it repeats, if that is missing.
func (t *track) repair(data []byte, at time.Time) {
	payload := t.packet.Payload
	if len(payload) < 2 {
		return // padding, to probe for bandwidth
	}
	seq := binary.BigEndian.Uint16(payload)
	if !t.seq.lacks(seq) {
		t.count.Duplicates++
		return
	}
	head := len(data) - int(t.packet.PaddingSize) - len(payload)
	t.restored = append(append(t.restored[:0], data[:head]...), payload[2:]...)
	const hasPadding, marker = 1 << 5, 1 << 7
	t.restored[0] &^= hasPadding
	t.restored[1] = t.restored[1]&marker | t.params.PayloadType
	binary.BigEndian.PutUint16(t.restored[2:], seq)
	binary.BigEndian.PutUint32(t.restored[8:], t.params.SSRC)
	t.packet.SequenceNumber, t.packet.Payload = seq, payload[2:]
	t.count.restored++
	t.media(t.restored, at)
}

// media takes a packet of the announced SSRC and follows its stream.
func (t *track) media(data []byte, at time.Time) {
	if t.resume != nil {
		t.seq.resume(*t.resume, t.packet.SequenceNumber, t.packet.Timestamp, at, t.gaps.horizon)
		t.resume = nil
	}
	before := t.seq.newest
	kind, ext, lost := t.seq.observe(t.packet.SequenceNumber, at)
	if kind == restarted {
		t.gaps.forget()
		t.clock.forget()
		t.pause.early = nil
	}
	if kind != stray && kind != duplicate {
		t.clock.follow(t.packet.Timestamp, at)
	}
	if t.goesOn && kind == late && ext < t.seq.first { // nobody asked for it, and it may be of a pause that only the former process saw
		t.count.DroppedHeld++
		return
	}
	was := t.pause.flow
	if !t.passes(kind, ext, data, at) {
		t.count.DroppedHeld++
		return
	}
	t.accept(data, at)
	if was == waiting {
		t.startAgain(ext, at)
		return
	}
	t.count.lost += lost
	switch kind {
	case duplicate:
		t.count.Duplicates++
		return
	case late:
		if t.gaps.close(ext, at) {
			t.count.Repaired++
		} else {
			t.count.Reordered++
		}
	case afterHole:
		t.missing(ext-lost, ext-1, before, at)
		t.seq.time(t.packet.Timestamp, at)
	case inOrder, restarted:
		t.seq.time(t.packet.Timestamp, at)
	}
	if t.keys != nil {
		t.picture(kind, ext, at)
	}
}

// startAgain goes on after a pause with t.packet, which is delivered: nothing before it is missed.
func (t *track) startAgain(ext int64, at time.Time) {
	t.seq.first = ext
	if t.keys != nil {
		t.hasKey = false
		t.picture(inOrder, ext, at)
	}
	t.catchUp(at)
}

// missing has the packets from … to watched, where that is of use.
func (t *track) missing(from, to int64, before, at time.Time) {
	if t.keys == nil && !t.gaps.nack {
		return
	}
	t.gaps.open(from, to, before, at)
	t.hurry = true
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
	t.gaps.settle(ext)
	t.keys.keyframe(at)
}

// onRTCP takes a datagram of the RTCP socket, or one of RTCP on a multiplexed one.
func (t *track) onRTCP(from netip.AddrPort, data []byte, at time.Time) {
	if !t.peer.sendsRTCP(from) {
		t.count.DroppedForeign++
		return
	}
	if t.crypto != nil {
		var ok bool
		if data, ok = t.crypto.openRTCP(data); !ok {
			t.count.DroppedUnauthentic++
			return
		}
	}
	ours, ok := reportsAbout(data, t.params.SSRC)
	switch {
	case !ok:
		t.count.DroppedMalformed++
	case !ours:
		t.count.DroppedForeign++
	case t.pause.flow == held:
		t.count.DroppedHeld++
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

// feedback is a datagram of control packets to send; data is valid until the next tick.
type feedback struct {
	data []byte
	to   netip.AddrPort
}

// tick decides what is due at a moment, and sets next. ok is false when nothing is to be sent.
func (t *track) tick(now time.Time) (f feedback, ok bool) {
	t.next, t.hurry = time.Time{}, false
	if t.pause.flow == held {
		return feedback{}, false
	}
	to := t.peer.control()
	if !to.IsValid() {
		t.gaps.expire(now)
		return feedback{}, false // stays due until the SFU was heard and its address is known
	}
	t.out = t.out[:0]
	t.askMissing(now)
	t.askKeyframe(now)
	return t.sealed(to)
}

// sealed is what is to be sent, encrypted where the track is.
func (t *track) sealed(to netip.AddrPort) (feedback, bool) {
	if t.crypto == nil || len(t.out) == 0 {
		return feedback{data: t.out, to: to}, len(t.out) > 0
	}
	data, err := t.crypto.seal(t.out)
	return feedback{data: data, to: to}, err == nil // it fails after 2^31 datagrams
}

func (t *track) askMissing(now time.Time) {
	if len(t.gaps.missing) == 0 {
		return
	}
	var fresh uint64
	t.seqs, fresh, t.next = t.gaps.due(now, t.seqs[:0])
	if len(t.seqs) > 0 {
		t.count.Nacked += fresh
		t.out = appendNACK(t.out, t.sender, t.params.SSRC, t.seqs)
	}
}

func (t *track) askKeyframe(now time.Time) {
	if t.keys == nil {
		return
	}
	if from := t.pause.released.Add(captureGuard); t.pause.flow == waiting && now.Before(from) {
		t.next = from // what the answer shows would not be known to be new
		return
	}
	if !t.keys.due(now, t.gaps.damaged(now)) {
		return
	}
	t.keys.asked(now)
	t.count.KeyframesAsked++
	t.out = appendPLI(t.out, t.sender, t.params.SSRC)
}

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
