package ingest

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
)

func TestCaptureClock(t *testing.T) {
	t.Parallel()
	const origin = uint32(4294900000) // it wraps soon
	rtp := func(msec int) uint32 { return origin + uint32(msec*90) }
	for _, tc := range []struct {
		name   string
		play   func(c *captureClock)
		ts, at int // of the packet asked about
		since  int
		want   bool
	}{
		{"quick, captured before", every33(0, 20000, 0), 14990, 20010, 15000, false},
		{"within the guard", every33(0, 20000, 0), 15050, 20010, 15000, false},
		{"behind the guard", every33(0, 20000, 0), 15120, 20010, 15000, true},
		{"nothing is known", func(*captureClock) {}, 0, 0, -1000, false},
		{"a young mapping that is steady", every33(0, 1100, 0), 1200, 1200, 0, true},
		{"a younger one", every33(0, 900, 0), 900, 900, 0, false},
		{"a burst of what was stalled: not trusted", func(c *captureClock) {
			for n := range 600 {
				c.follow(rtp(n*33), ms(18000+n*3))
			}
		}, 600 * 33, 18000 + 1800, 17000, false},
		{"and when it is over", func(c *captureClock) {
			for n := range 600 {
				c.follow(rtp(n*33), ms(18000+n*3))
			}
			every33(19800, 21000, 0)(c)
		}, 21000, 21010, 17000, true},
		{"a stalled sender's old frames", func(c *captureClock) { every33(0, 20000, 0)(c) }, 20500, 40000, 30000, false},
		{"after a silence of ten minutes, old", func(c *captureClock) { every33(0, 20000, 0)(c) }, 600_000, 620_010, 620_000, false},
		{"after a silence of ten minutes, new", func(c *captureClock) { every33(0, 20000, 0)(c) }, 620_300, 620_310, 620_000, true},
		{"after a silence of ten minutes, new but drifting", func(c *captureClock) { every33(0, 20000, 0)(c) }, 620_200, 620_210, 620_000, false},
		{"the sender's clock is 200 ppm slow", every33(0, 60000, -200), 60000 - 12, 60000, 59850, true},
		{"the sender's clock is 200 ppm fast", every33(0, 60000, 200), 60000 + 12, 60000, 59850, true},
		{"hours", every33(0, 3000, 0), 8 * 3600 * 1000, 8*3600*1000 + 5, 8*3600*1000 - 10_000, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := &captureClock{rate: 90000}
			tc.play(c)
			if got := c.capturedSince(ms(tc.since), rtp(tc.ts), ms(tc.at)); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// every33 sends a packet every 33 ms; most come some time late.
func every33(from, to, ppm int) func(*captureClock) {
	return func(c *captureClock) {
		rnd := rand.New(rand.NewPCG(1, uint64(to)))
		for at := from; at < to; at += 33 {
			late := 0
			if at%10 != 0 {
				late = rnd.IntN(100)
			}
			c.follow(4294900000+uint32((at+at*ppm/1_000_000)*90), ms(at+late))
		}
	}
}

// script plays packets into a track by hand.
type script struct {
	t    *testing.T
	tr   *track
	sink *memory
}

func newScript(t *testing.T, codec recorder.Codec) *script {
	t.Helper()
	params, sink := vp8Params(), &memory{}
	params.Codec = codec
	tr, err := newTrack(recorder.Attachment{Params: params, Source: announced, Sink: sink}, false, anyIPv4, plainRTP, &counters{})
	if err != nil {
		t.Fatal(err)
	}
	return &script{t, tr, sink}
}

// frame sends a packet that was captured and comes at these moments.
func (s *script) frame(seq int, captured, arrives int, payload []byte) {
	s.tr.onRTP(sfuRTP, packet(s.t, testSSRC, 101, uint16(seq), uint32(captured*s.tr.params.Codec.ClockRate()/1000), payload), ms(arrives))
}

// steady plays 33 packets a second from a moment to another; the sequence number is the time over 30.
func (s *script) steady(from, to int) {
	for at := from; at < to; at += 30 {
		payload := vp8Delta
		if at == 0 {
			payload = vp8Key
		}
		s.frame(at/30, at, at+5, payload)
	}
}

// delivered are the sequence numbers that the sink got since it was asked last.
func (s *script) delivered() (seqs []int) {
	for _, a := range s.sink.got {
		seqs = append(seqs, int(binary.BigEndian.Uint16(a.data[2:])))
	}
	s.sink.got = nil
	return seqs
}

func (s *script) want(what string, seqs ...int) {
	s.t.Helper()
	if got := s.delivered(); fmt.Sprint(got) != fmt.Sprint(seqs) {
		s.t.Errorf("%s: delivered %v, want %v", what, got, seqs)
	}
}

// asked lets time pass and returns what was asked for.
func (s *script) asked(now int) (nacks []int, plis int) {
	s.t.Helper()
	f, ok := s.tr.tick(ms(now))
	if !ok {
		return nil, 0
	}
	packets, err := rtcp.Unmarshal(f.data)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range packets {
		if n, ok := p.(*rtcp.TransportLayerNack); ok {
			for _, pair := range n.Nacks {
				for _, seq := range pair.PacketList() {
					nacks = append(nacks, int(seq))
				}
			}
			continue
		}
		plis++
	}
	return nacks, plis
}

func TestPausedPictures(t *testing.T) {
	t.Parallel()
	s := newScript(t, recorder.VP8)
	s.steady(0, 12000) // 0 … 399
	s.frame(401, 12030, 12035, vp8Delta)
	s.delivered()
	before := s.tr.count.stats(s.tr)
	s.tr.hold()
	s.frame(400, 12000, 12040, vp8Delta) // late
	s.frame(403, 12090, 12095, vp8Key)
	s.tr.onRTP(sfuRTP, asRTX(t, packet(t, testSSRC, 101, 400, 1, vp8Delta), 1, 0), ms(12100))
	s.tr.onRTCP(sfuRTCP, report(t, testSSRC), ms(12100))
	s.tr.requestKeyframe()
	if nacks, plis := s.asked(12500); len(nacks)+plis != 0 {
		t.Errorf("asked for %v and %d keyframes in a pause", nacks, plis)
	}
	s.want("in the pause")
	after := s.tr.count.stats(s.tr)
	if after.DroppedHeld != 4 {
		t.Errorf("%d dropped", after.DroppedHeld)
	}
	if after.DroppedHeld = 0; after != before {
		t.Errorf("the pause was counted: %+v, before it %+v", after, before)
	}
	s.tr.release(ms(13000))
	if nacks, plis := s.asked(13050); len(nacks)+plis != 0 {
		t.Errorf("asked for %v and %d keyframes at once", nacks, plis)
	}
	if nacks, plis := s.asked(13100); len(nacks) != 0 || plis != 1 {
		t.Errorf("asked for %v and %d keyframes", nacks, plis)
	}
	s.frame(430, 12900, 13105, vp8Key)                                                                // captured in the pause
	s.frame(431, 13050, 13110, vp8Key)                                                                // perhaps
	s.frame(432, 13150, 13155, vp8Delta)                                                              // no keyframe
	s.frame(434, 13200, 13210, []byte{0, 1})                                                          // has overtaken
	s.frame(435, 13230, 13211, vp8Delta)                                                              // and so has this
	s.tr.onRTP(sfuRTP, asRTX(t, packet(t, testSSRC, 101, 420, 12_600*90, vp8Delta), 2, 0), ms(13212)) // of the pause
	s.want("nothing yet")
	s.frame(433, 13200, 13213, vp8Key)
	s.want("from the keyframe on", 433, 434, 435)
	s.frame(431, 13050, 13220, vp8Key)
	s.frame(432, 13150, 13221, vp8Delta)
	s.frame(438, 13300, 13300, vp8Delta)
	s.want("behind it", 438)
	if nacks, plis := s.asked(13350); fmt.Sprint(nacks) != "[436 437]" || plis != 0 {
		t.Errorf("asked for %v and %d keyframes", nacks, plis)
	}
	s.tr.onRTP(sfuRTP, asRTX(t, packet(t, testSSRC, 101, 436, 13_250*90, vp8Delta), 3, 0), ms(13360))
	s.tr.onRTP(sfuRTP, asRTX(t, packet(t, testSSRC, 101, 421, 12_630*90, vp8Delta), 4, 0), ms(13361))
	s.want("repaired", 436)
	if st := s.tr.count.stats(s.tr); st.Lost != 1+1 || st.Packets != before.Packets+5 || st.Repaired != 1 {
		t.Errorf("%+v", st)
	}
}

// TestTheKeyframesOwnPacketIsLost: behind the start, what is missing is asked for.
func TestTheKeyframesOwnPacketIsLost(t *testing.T) {
	t.Parallel()
	s := newScript(t, recorder.VP8)
	s.steady(0, 12000)
	s.tr.hold()
	s.steady(12000, 13000)
	s.tr.release(ms(13000))
	s.delivered()
	s.frame(442, 13260, 13261, vp8Delta) // of the next picture; 441, the keyframe's second packet, is lost
	s.frame(440, 13230, 13263, vp8Key)
	s.want("from the keyframe on", 440, 442)
	if nacks, _ := s.asked(13300); fmt.Sprint(nacks) != "[441]" {
		t.Errorf("asked for %v", nacks)
	}
	s.frame(441, 13230, 13320, []byte{0, 1})
	s.want("repaired", 441)
	if st := s.tr.count.stats(s.tr); st.Lost != 0 || st.Repaired != 1 {
		t.Errorf("%+v", st)
	}
}

// TestParameterSetsAreOvertaken: of H.264, the slices of a keyframe may come before its parameter sets.
func TestParameterSetsAreOvertaken(t *testing.T) {
	t.Parallel()
	s := newScript(t, recorder.H264)
	for at := 0; at < 12000; at += 30 {
		s.frame(at/30, at, at+5, []byte{0x41, 1})
	}
	s.tr.hold()
	s.tr.release(ms(12500))
	s.delivered()
	s.frame(402, 12700, 12705, []byte{0x7c, 0x85, 1})                // IDR, first part
	s.frame(401, 12700, 12706, []byte{0x78, 0, 1, 0x67, 0, 1, 0x68}) // SPS, PPS
	s.frame(400, 12600, 12707, []byte{0x41, 1})                      // the picture before
	s.frame(403, 12700, 12708, []byte{0x7c, 0x45, 1})                // IDR, last part
	s.want("the keyframe whole", 402, 401, 403)
}

func TestPausedSound(t *testing.T) {
	t.Parallel()
	s := newScript(t, recorder.Opus)
	s.steady(0, 12000)
	s.tr.hold()
	s.steady(12000, 13000)
	s.tr.release(ms(13000))
	s.delivered()
	s.steady(13000, 13090) // within the guard
	s.want("of the pause, perhaps")
	s.frame(438, 13140, 13145, vp8Delta)
	s.frame(437, 13110, 13146, vp8Delta) // overtaken
	s.frame(430, 12900, 13147, vp8Delta) // late, of the pause
	s.frame(440, 13200, 13205, vp8Delta)
	s.want("after it", 438, 437, 440)
	if nacks, _ := s.asked(13240); fmt.Sprint(nacks) != "[439]" {
		t.Errorf("asked for %v", nacks)
	}
}

// TestPausesOfTheSFU: the SFU pauses its consumer during ours. No packets, then a jump of the timestamp.
func TestPausesOfTheSFU(t *testing.T) {
	t.Parallel()
	s := newScript(t, recorder.VP8)
	s.steady(0, 12000)
	s.tr.hold()
	s.tr.release(ms(300_000))
	s.delivered()
	s.frame(400, 299_000, 300_300, vp8Key) // stalled
	s.want("captured in the pause")
	s.frame(401, 300_300, 300_305, vp8Key)
	s.want("captured after it", 401)
	if st := s.tr.count.stats(s.tr); st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

// TestAStalledSender: its pictures of the pause come in a burst when it is over.
func TestAStalledSender(t *testing.T) {
	t.Parallel()
	s := newScript(t, recorder.VP8)
	s.steady(0, 12000)
	s.tr.hold()
	s.tr.release(ms(25000))
	s.delivered()
	for n := range 600 { // captured from 12 s to 30 s, all at 30 s
		s.frame(400+n, 12000+30*n, 30000+n/10, vp8Key)
	}
	got := s.delivered()
	if first := 400 + (25000+100-12000)/30; len(got) == 0 || got[0] < first || got[0] > first+2 {
		t.Errorf("delivered %v, want from %d on", got, first)
	}
}

// TestARestartRightAfterAPause: the timestamps are another source's; nothing says when its pictures were captured.
func TestARestartRightAfterAPause(t *testing.T) {
	t.Parallel()
	s := newScript(t, recorder.VP8)
	s.steady(0, 12000)
	s.tr.hold()
	s.steady(12000, 12500)
	s.tr.release(ms(12500))
	s.delivered()
	for n := range 60 { // from 12.6 s on
		s.frame(40000+n, 90000+30*n, 12600+30*n, vp8Key)
	}
	got := s.delivered()
	if len(got) == 0 || got[0] < 40000+int(youngMapping/time.Millisecond)/30 {
		t.Errorf("delivered %v", got)
	}
	s.frame(9, 1, 14500, vp8Key) // gone astray
	s.want("a stray packet")
	for n := range 30 { // again, long after
		s.frame(20000+n, 5000+30*n, 30000+30*n, vp8Delta)
	}
	if got := s.delivered(); len(got) != 30 {
		t.Errorf("%d packets delivered of a source that is new, long after the pause", len(got))
	}
}

// TestAttachingInAPause: the pause is the lease's. Who attaches in it, or right after it, is subject to it.
func TestAttachingInAPause(t *testing.T) {
	t.Parallel()
	f, _ := feed(t)
	start := time.Now()
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }
	play := func(from, to int) {
		for n := from; n < to; n += 30 {
			f.RTP(packet(t, testSSRC, 101, uint16(n/30), uint32(n*90), vp8Key), at(n))
		}
	}
	attach := func() *memory {
		m := &memory{}
		if err := f.Attach(recorder.Attachment{Params: vp8Params(), Sink: m}); err != nil {
			t.Fatal(err)
		}
		return m
	}
	f.Release(at(0)) // there is no pause
	before := attach()
	play(0, 60)
	f.Hold()
	f.Hold()
	m := attach()
	play(60, 3000)
	if len(before.got) != 2 || len(m.got) != 0 {
		t.Errorf("%d packets before, %d in the pause", len(before.got), len(m.got))
	}
	f.Release(at(3000))
	play(3000, 3300)
	if len(m.got) == 0 || m.got[0].at.Before(at(3100)) {
		t.Errorf("%d packets after the pause", len(m.got))
	}
	next := attach()
	play(3300, 6000)
	if len(next.got) == 0 || next.got[0].at.Before(at(3300).Add(youngMapping)) {
		t.Errorf("%d packets of who attached right after the pause, the first at %v", len(next.got), next.got[0].at.Sub(start))
	}
}

// ------------------------------------------------------------ the property

// truth is a packet and when what it shows was captured.
type truth struct {
	captured time.Time
	key      bool
}

// TestNothingOfAPauseIsDelivered plays calls with pauses over ways that delay, reorder, lose, repair, duplicate and stall
// at random. No packet that shows a moment of a pause reaches the sink, by whichever SSRC; pictures begin again with a
// keyframe; nothing from before is asked for; and the call does go on.
func TestNothingOfAPauseIsDelivered(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			newPausedCall(t, seed).run()
		})
	}
}

type pausedCall struct {
	t    *testing.T
	rnd  *rand.Rand
	tr   *track
	sim  *sim // for its queue and its SFU
	seen map[uint16]truth

	encode, way time.Duration // at least
	stall       time.Time     // nothing leaves the sender before
	seq         uint16
	wantKey     bool
	held        bool
	pauses      [][2]time.Time // from, to
	unpaused    time.Time
	resumed     int
	keyframe    bool // the first packet after a pause has to begin one
}

func newPausedCall(t *testing.T, seed uint64) *pausedCall {
	c := &pausedCall{t: t, rnd: rand.New(rand.NewPCG(seed, 9)), seen: map[uint16]truth{}, wantKey: true}
	c.encode, c.way = time.Duration(c.rnd.IntN(50))*time.Millisecond, time.Duration(1+c.rnd.IntN(45))*time.Millisecond
	params := vp8Params()
	if seed%3 == 0 {
		params.Codec, params.RTXSSRC, params.RTXPayloadType = recorder.Opus, 0, 0
	}
	tr, err := newTrack(recorder.Attachment{Params: params, Source: announced, Sink: c}, false, anyIPv4, plainRTP, &counters{})
	if err != nil {
		t.Fatal(err)
	}
	c.tr = tr
	c.sim = &sim{t: t, rnd: c.rnd, loss: float64(c.rnd.IntN(3)) * 0.05, way: c.way, rtx: params.RTXSSRC != 0, horizon: videoHorizon, track: tr,
		sent: map[uint16]*simPacket{}}
	c.seq = uint16(c.rnd.IntN(1 << 16))
	return c
}

func (c *pausedCall) Overflow(time.Time, uint64) {}

// Packet is the sink: it knows the truth.
func (c *pausedCall) Packet(at time.Time, kind recorder.PacketKind, data []byte) {
	if kind != recorder.PacketRTP {
		return
	}
	seq := binary.BigEndian.Uint16(data[2:])
	p, ok := c.seen[seq]
	switch {
	case !ok || binary.BigEndian.Uint32(data[8:]) != testSSRC:
		c.t.Fatalf("delivered what was never sent: %x", data)
	case c.held:
		c.t.Fatalf("delivered %d in a pause", seq)
	}
	for _, pause := range c.pauses {
		if !p.captured.Before(pause[0]) && p.captured.Before(pause[1]) {
			c.t.Fatalf("delivered at %v what was captured at %v, in the pause %v … %v", at.Sub(epoch), p.captured.Sub(epoch), pause[0].Sub(epoch), pause[1].Sub(epoch))
		}
		if !at.Before(pause[1]) && p.captured.Before(pause[1]) {
			c.t.Fatalf("delivered after the pause what was captured before it")
		}
	}
	if c.keyframe {
		if c.tr.keys != nil && !p.key {
			c.t.Fatalf("pictures begin with %d, which begins no keyframe", seq)
		}
		c.keyframe = false
		c.resumed++
		if wait := at.Sub(c.unpaused); wait > 6*time.Second {
			c.t.Errorf("delivery began %v after the pause", wait)
		}
	}
}

// capture makes the packets of one moment and sends them.
func (c *pausedCall) capture(now time.Time) {
	ticks := uint32(now.Sub(epoch) * time.Duration(c.tr.params.Codec.ClockRate()) / time.Second)
	n := 1 + c.rnd.IntN(4)
	key := c.wantKey
	if key {
		n += 8
	}
	if c.tr.keys == nil {
		n = 1
	}
	c.wantKey = false
	leaves := now.Add(c.encode + time.Duration(c.rnd.Int64N(int64(3*time.Millisecond))))
	if c.rnd.IntN(20) == 0 {
		leaves = leaves.Add(time.Duration(c.rnd.Int64N(int64(830 * time.Millisecond)))) // the pacer
	}
	if leaves.Before(c.stall) {
		leaves = c.stall
	}
	for i := range n {
		c.seq++
		payload := []byte{0, 1, byte(i)}
		if i == 0 {
			payload = vp8Delta
			if key {
				payload = vp8Key
			}
		}
		seq := c.seq
		c.seen[seq] = truth{now, key && i == 0}
		leaves = leaves.Add(time.Duration(i) * 100 * time.Microsecond)
		c.sim.sent[seq] = &simPacket{data: packet(c.t, testSSRC, 101, seq, ticks, payload), sent: leaves}
		c.sim.at(leaves, func() { c.send(leaves, seq) })
	}
}

func (c *pausedCall) send(now time.Time, seq uint16) {
	p := c.sim.sent[seq]
	p.sent = now
	c.sim.deliver(now, p.data, seq)
	if c.rnd.IntN(50) == 0 { // twice, the second time late
		c.sim.deliver(now.Add(time.Duration(c.rnd.Int64N(int64(time.Second)))), p.data, seq)
	}
}

func (c *pausedCall) poll(now, until time.Time) {
	floor := c.tr.pause.floor
	if f, ok := c.tr.tick(now); ok {
		if c.held {
			c.t.Fatalf("%x was sent in a pause", f.data)
		}
		c.requests(f.data, floor)
		data := bytes.Clone(f.data)
		c.sim.at(now.Add(c.way), func() { c.answer(now.Add(c.way), data) })
	}
	if next := now.Add(25 * time.Millisecond); next.Before(until) {
		c.sim.at(next, func() { c.poll(next, until) })
	}
}

// requests checks that nothing from before the last pause's end is asked for.
func (c *pausedCall) requests(raw []byte, floor int64) {
	packets, err := rtcp.Unmarshal(raw)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range packets {
		nack, ok := p.(*rtcp.TransportLayerNack)
		if !ok {
			continue
		}
		for _, pair := range nack.Nacks {
			for _, seq := range pair.PacketList() {
				if len(c.pauses) > 0 && int16(seq-uint16(floor)) < 0 {
					c.t.Fatalf("asked for %d, from before the pause's end at %d", seq, uint16(floor))
				}
			}
		}
	}
}

func (c *pausedCall) answer(now time.Time, raw []byte) {
	c.sim.answer(now, raw)
	if c.sim.key {
		c.sim.key = false
		c.sim.at(now.Add(30*time.Millisecond), func() { c.wantKey = true })
	}
}

func (c *pausedCall) run() {
	const length = 40 * time.Second
	for at := time.Duration(0); at < length; at += time.Second / 30 {
		now := epoch.Add(at)
		c.sim.at(now, func() { c.capture(now) })
	}
	cycles := 0
	for at := 2*time.Second + time.Duration(c.rnd.Int64N(int64(2*time.Second))); at < length-8*time.Second; {
		from := epoch.Add(at)
		to := from.Add(time.Duration(50+c.rnd.IntN(3000)) * time.Millisecond)
		c.sim.at(from, func() {
			c.held = true
			c.pauses = append(c.pauses, [2]time.Time{from, from.Add(time.Hour)})
			c.tr.hold()
			if c.rnd.IntN(3) == 0 {
				c.stall = from.Add(time.Duration(c.rnd.IntN(6000)) * time.Millisecond)
			}
		})
		c.sim.at(to, func() {
			c.held = false
			c.pauses[len(c.pauses)-1][1] = to
			c.tr.release(to)
			c.unpaused, c.keyframe = to, true
			if c.stall.After(to) {
				c.unpaused = c.stall
			}
		})
		cycles++
		at = to.Sub(epoch) + 6*time.Second + time.Duration(c.rnd.Int64N(int64(3*time.Second)))
	}
	c.poll(epoch, epoch.Add(length+3*time.Second))
	for c.sim.queue.Len() > 0 {
		heap.Pop(&c.sim.queue).(simEvent).do()
	}
	if c.resumed != cycles {
		c.t.Errorf("%d pauses, delivery began again %d times", cycles, c.resumed)
	}
	if c.tr.count.Packets < uint64(len(c.seen))/3 {
		c.t.Errorf("%d of %d packets delivered", c.tr.count.Packets, len(c.seen))
	}
}
