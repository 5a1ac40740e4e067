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
	"github.com/pion/rtp"
)

// asRTX is a retransmission of a packet as mediasoup makes it: header extensions as they are, the original sequence number
// in front of the payload.
func asRTX(t testing.TB, original []byte, seq uint16, padding int) []byte {
	t.Helper()
	var p rtp.Packet
	if err := p.Unmarshal(original); err != nil {
		t.Fatal(err)
	}
	head := len(original) - len(p.Payload)
	raw := append(bytes.Clone(original[:head]), original[2], original[3])
	raw = append(raw, p.Payload...)
	raw[1] = raw[1]&0x80 | 102
	binary.BigEndian.PutUint16(raw[2:], seq)
	binary.BigEndian.PutUint32(raw[8:], testRTX)
	if padding > 0 {
		raw[0] |= 1 << 5
		raw = append(append(raw, make([]byte, padding-1)...), byte(padding))
	}
	return raw
}

// withExtensions is a packet with an RFC 8285 header extension in which padding stands between elements.
func withExtensions(t testing.TB, seq uint16, payload []byte) []byte {
	t.Helper()
	raw := packet(t, testSSRC, 101, seq, 3000, payload)
	head := append([]byte{raw[0] | 1<<4}, raw[1:12]...)
	ext := []byte{0xbe, 0xde, 0, 3, 0x10, '0', 0, 0, 0, 0, 0, 0, 0xb0, 1, 0, 0}
	return append(append(head, ext...), payload...)
}

func TestRetransmissions(t *testing.T) {
	t.Parallel()
	plain := func(t testing.TB, seq uint16) []byte { return packet(t, testSSRC, 101, seq, 3000, vp8Delta) }
	for _, tc := range []struct {
		name       string
		lost       func(t testing.TB, seq uint16) []byte
		rtx        func(t testing.TB, original []byte) []byte
		restored   bool
		duplicates uint64
	}{
		{"as it was", plain, func(t testing.TB, o []byte) []byte { return asRTX(t, o, 9, 0) }, true, 0},
		{"with header extensions", func(t testing.TB, seq uint16) []byte { return withExtensions(t, seq, vp8Delta) },
			func(t testing.TB, o []byte) []byte { return asRTX(t, o, 9, 0) }, true, 0},
		{"padded", plain, func(t testing.TB, o []byte) []byte { return asRTX(t, o, 9, 7) }, true, 0},
		{"with header extensions, padded", func(t testing.TB, seq uint16) []byte { return withExtensions(t, seq, vp8Delta) },
			func(t testing.TB, o []byte) []byte { return asRTX(t, o, 9, 200) }, true, 0},
		{"without payload", func(t testing.TB, seq uint16) []byte { return packet(t, testSSRC, 101, seq, 3000, nil) },
			func(t testing.TB, o []byte) []byte { return asRTX(t, o, 9, 0) }, true, 0},
		{"a probe of nothing", plain, func(t testing.TB, _ []byte) []byte { return packet(t, testRTX, 102, 9, 3000, nil) }, false, 0},
		{"a probe of padding", plain, func(t testing.TB, _ []byte) []byte {
			p := packet(t, testRTX, 102, 9, 3000, make([]byte, 99))
			p[0], p[len(p)-1] = p[0]|1<<5, 99
			return p
		}, false, 0},
		{"half a sequence number", plain, func(t testing.TB, _ []byte) []byte { return packet(t, testRTX, 102, 9, 3000, []byte{0}) }, false, 0},
		{"of what has come", plain, func(t testing.TB, _ []byte) []byte { return asRTX(t, plain(t, 12), 9, 0) }, false, 1},
		{"of what came first", plain, func(t testing.TB, _ []byte) []byte { return asRTX(t, plain(t, 9), 9, 0) }, false, 1},
		{"of what is still to come", plain, func(t testing.TB, _ []byte) []byte { return asRTX(t, plain(t, 13), 9, 0) }, false, 1},
		{"of what was long ago", plain, func(t testing.TB, _ []byte) []byte { return asRTX(t, plain(t, 30000), 9, 0) }, false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tr, sink := testTrack(t, announced, false)
			tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 10, 1, vp8Key), ms(0))
			original := tc.lost(t, 11)
			tr.onRTP(sfuRTP, plain(t, 12), ms(30))
			f, ok := tr.tick(ms(60))
			var nack rtcp.TransportLayerNack
			if err := nack.Unmarshal(f.data); !ok || err != nil || nack.MediaSSRC != testSSRC || len(nack.Nacks) != 1 ||
				nack.Nacks[0] != (rtcp.NackPair{PacketID: 11}) || f.to != sfuRTCP {
				t.Fatalf("%+v to %v, error %v", nack, f.to, err)
			}
			tr.onRTP(sfuRTP, tc.rtx(t, original), ms(80))
			s := tr.count.stats(tr)
			if s.Duplicates != tc.duplicates || tr.count.rtx != 1 || s.Nacked != 1 || s.Reordered != 0 {
				t.Errorf("%+v, %d retransmissions", s, tr.count.rtx)
			}
			if !tc.restored {
				if len(sink.got) != 2 || s.Packets != 2 || s.Lost != 1 || s.Repaired != 0 {
					t.Errorf("%d calls of the sink, %+v", len(sink.got), s)
				}
				return
			}
			if len(sink.got) != 3 || s.Packets != 3 || s.Lost != 0 || s.Repaired != 1 {
				t.Fatalf("%d calls of the sink, %+v", len(sink.got), s)
			}
			if got := sink.got[2]; !bytes.Equal(got.data, original) || !got.at.Equal(ms(80)) || got.kind != recorder.PacketRTP {
				t.Errorf("restored %x, want %x", got.data, original)
			}
			tr.onRTP(sfuRTP, tc.rtx(t, original), ms(190)) // answered twice
			if s := tr.count.stats(tr); s.Duplicates != 1 || len(sink.got) != 3 {
				t.Errorf("the second answer: %+v, %d calls of the sink", s, len(sink.got))
			}
		})
	}
}

// TestARepairedKeyframe: the first packet of a keyframe was lost and comes again. Nothing needs to be asked for any more.
func TestARepairedKeyframe(t *testing.T) {
	t.Parallel()
	tr, _ := testTrack(t, announced, false)
	tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 10, 1, vp8Key), ms(0))
	tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 13, 6000, []byte{0, 1}), ms(60)) // 11 and the keyframe's first, 12, are lost
	tr.tick(ms(90))
	tr.onRTP(sfuRTP, asRTX(t, packet(t, testSSRC, 101, 12, 6000, vp8Key), 1, 0), ms(110))
	asked := 0
	for now := 120; now < 3000; now += 10 {
		tr.onRTP(sfuRTP, packet(t, testSSRC, 101, uint16(14+(now-120)/10), uint32(now*90), vp8Delta), ms(now))
		tr.tick(ms(now))
		asked = int(tr.count.KeyframesAsked)
	}
	if asked != 0 || tr.count.Keyframes != 2 {
		t.Errorf("%d keyframes, %d asked for", tr.count.Keyframes, asked)
	}
}

// TestGoingOnAfterARestart: the spool holds a stream up to a packet; what is asked for when the next ones come?
func TestGoingOnAfterARestart(t *testing.T) {
	t.Parallel()
	const overtaken = "the first packet was overtaken"
	for _, tc := range []struct {
		name    string
		codec   recorder.Codec
		down    int    // ms from the newest spooled packet to the first one now
		seq     uint16 // of the first packet; 65500 is the newest spooled one
		ts      int    // its timestamp in ms; -1: as the time that has passed
		missing int
		oldest  uint16
	}{
		{"nothing is missing", recorder.VP8, 10, 65501, -1, 0, 0},
		{"a second", recorder.VP8, 1000, 264, -1, 299, 65501},
		{"two seconds", recorder.VP8, 2000, 564, -1, 599, 65501},
		{"ten seconds: the newest fifth", recorder.VP8, 10000, 2964, -1, 599, 2365},
		{"five minutes", recorder.VP8, 300_000, 24428, -1, 163, 24265}, // 90000 packets: the numbers have wrapped, which nobody can see
		{"a thick stream", recorder.VP8, 1000, 1964, -1, maxMissing, 940},
		{"paused at the SFU meanwhile", recorder.VP8, 60_000, 65501, -1, 0, 0},
		{"sound: one second", recorder.Opus, 3000, 114, -1, 49, 65},
		{overtaken, recorder.VP8, 5, 65499, -1, 0, 0},
		{"the same packet again", recorder.VP8, 5, 65500, 0, 0, 0},
		{"another source", recorder.VP8, 1000, 30000, 400_000, 0, 0},
		{"another source, just ahead", recorder.VP8, 1000, 200, 60_000, 0, 0},
		{"the clock was set back", recorder.VP8, -5000, 264, -1, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			params := vp8Params()
			params.Codec = tc.codec
			rate := tc.codec.ClockRate() / 1000
			if tc.ts < 0 {
				tc.ts = tc.down
			}
			sink := &memory{}
			tr, err := newTrack(recorder.Attachment{Params: params, Source: announced, Sink: sink,
				Spooled: &recorder.Spooled{Seq: 65500, RTP: 4294967000, At: ms(0)}}, false, anyIPv4, plainRTP, &counters{})
			if err != nil {
				t.Fatal(err)
			}
			if f, ok := tr.tick(ms(tc.down)); ok {
				t.Fatalf("%x sent before anything was heard", f.data)
			}
			timestamp := func(n int) uint32 { return uint32(4294967000 + n*rate) }
			tr.onRTP(sfuRTP, packet(t, testSSRC, 101, tc.seq, timestamp(tc.ts), vp8Delta), ms(tc.down))
			asked := map[uint16]bool{}
			plis := 0
			for now := tc.down; now < tc.down+1000; now += 25 {
				f, ok := tr.tick(ms(now))
				if !ok {
					continue
				}
				packets, err := rtcp.Unmarshal(f.data)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range packets {
					if _, ok := p.(*rtcp.PictureLossIndication); ok {
						plis++
						if now != tc.down {
							t.Errorf("a keyframe was asked for only after %d ms", now-tc.down)
						}
					} else {
						for _, pair := range p.(*rtcp.TransportLayerNack).Nacks {
							for _, seq := range pair.PacketList() {
								asked[seq] = true
							}
						}
					}
				}
			}
			oldest, ok := tc.seq, false
			for n := tc.seq - 1; asked[n]; n-- {
				oldest, ok = n, true
			}
			// What is at the horizon's edge may go before it is asked for: 128 go with one request.
			if slack := 20; len(asked) > tc.missing || len(asked) < tc.missing-slack || ok && oldest-tc.oldest > uint16(slack) {
				t.Errorf("asked for %d from %d on, want %d from %d on", len(asked), oldest, tc.missing, tc.oldest)
			}
			if want := map[bool]int{true: 1}[tc.codec != recorder.Opus]; plis != want {
				t.Errorf("%d keyframes asked for, want %d", plis, want)
			}
			want, held := 1, uint64(0)
			if tc.name == overtaken { // what is older than the spool's newest may be of a pause that only the former process saw
				want, held = 0, 1
			}
			if st := tr.count.stats(tr); len(sink.got) != want || st.DroppedHeld != held || int(st.Lost) != tc.missing {
				t.Errorf("%d delivered, %+v", len(sink.got), st)
			}
		})
	}
}

// ------------------------------------------------------------ an SFU that loses

// sim plays a stream from an SFU that repairs as mediasoup does, over a way that loses in both directions, in a time of
// its own.
type sim struct {
	t       *testing.T
	rnd     *rand.Rand
	loss    float64
	way     time.Duration // one direction
	rtx     bool
	horizon time.Duration

	track  *track
	sent   map[uint16]*simPacket
	rtxSeq uint16
	queue  simQueue
	nacks  int  // datagrams
	key    bool // the next frame is a keyframe
	cut    func(seq int) bool
}

type simPacket struct {
	data    []byte
	sent    time.Time
	resent  time.Time
	arrived bool
}

type simEvent struct {
	at    time.Time
	order int
	do    func()
}

type simQueue struct {
	events []simEvent
	order  int
}

func (q *simQueue) Len() int { return len(q.events) }
func (q *simQueue) Less(i, j int) bool {
	if !q.events[i].at.Equal(q.events[j].at) {
		return q.events[i].at.Before(q.events[j].at)
	}
	return q.events[i].order < q.events[j].order
}
func (q *simQueue) Swap(i, j int) { q.events[i], q.events[j] = q.events[j], q.events[i] }
func (q *simQueue) Push(x any)    { q.events = append(q.events, x.(simEvent)) }
func (q *simQueue) Pop() any {
	last := q.events[len(q.events)-1]
	q.events = q.events[:len(q.events)-1]
	return last
}

func (s *sim) at(at time.Time, do func()) {
	s.queue.order++
	heap.Push(&s.queue, simEvent{at, s.queue.order, do})
}

func (s *sim) lose() bool { return s.rnd.Float64() < s.loss }

// deliver carries RTP from the SFU.
func (s *sim) deliver(now time.Time, data []byte, seq uint16) {
	if s.lose() {
		return
	}
	at := now.Add(s.way + time.Duration(s.rnd.Int64N(int64(4*time.Millisecond))))
	s.at(at, func() {
		s.sent[seq].arrived = true
		s.track.onRTP(sfuRTP, data, at)
	})
}

// answer is mediasoup's: not the same packet within 100 ms, nothing that is older than its buffer.
func (s *sim) answer(now time.Time, raw []byte) {
	packets, err := rtcp.Unmarshal(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range packets {
		nack, ok := p.(*rtcp.TransportLayerNack)
		if !ok {
			s.key = true
			continue
		}
		for _, pair := range nack.Nacks {
			for _, seq := range pair.PacketList() {
				p := s.sent[seq]
				if p == nil || now.Sub(p.sent) > s.horizon || now.Sub(p.resent) <= 100*time.Millisecond {
					continue
				}
				p.resent = now
				data := p.data
				if s.rtx {
					s.rtxSeq++
					data = asRTX(s.t, data, s.rtxSeq, 0)
				}
				s.deliver(now, data, seq)
			}
		}
	}
}

// poll is the poller's: on calm beats, and sooner when the track wants it.
func (s *sim) poll(now, until time.Time) {
	if f, ok := s.track.tick(now); ok {
		s.nacks++
		if !s.lose() {
			data := bytes.Clone(f.data)
			s.at(now.Add(s.way), func() { s.answer(now.Add(s.way), data) })
		}
	}
	next := now.Add(untilBeat(now, calmBeat))
	if want := s.track.next; !want.IsZero() && want.Before(next) {
		if want.Before(now) {
			want = now
		}
		next = want.Add(untilBeat(want, repairBeat))
	}
	if next.Before(until) {
		s.at(next, func() { s.poll(next, until) })
	}
}

func (s *sim) run() {
	for s.queue.Len() > 0 {
		heap.Pop(&s.queue).(simEvent).do()
	}
}

// play sends n packets at 300 a second.
func (s *sim) play(n int) {
	s.sent = map[uint16]*simPacket{}
	end := epoch
	for i := range n {
		now := epoch.Add(time.Duration(i) * time.Second / 300)
		end = now
		s.at(now, func() {
			payload := vp8Delta
			if i == 0 || s.key && i%10 == 0 {
				payload, s.key = vp8Key, false
			}
			seq := uint16(60000 + i)
			s.sent[seq] = &simPacket{data: packet(s.t, testSSRC, 101, seq, uint32(i/10*3000), payload), sent: now}
			if i == 0 || i == n-1 { // nobody can miss what came before the first or behind the last
				s.sent[seq].arrived = true
				s.track.onRTP(sfuRTP, s.sent[seq].data, now)
				return
			}
			if s.cut == nil || !s.cut(i) {
				s.deliver(now, s.sent[seq].data, seq)
			}
		})
	}
	s.poll(epoch, end.Add(3*time.Second))
	s.run()
}

func (s *sim) missing() (n int) {
	for _, p := range s.sent {
		if !p.arrived {
			n++
		}
	}
	return n
}

// TestRepairUnderLoss: of 5 % random loss, in both directions, next to nothing stays.
func TestRepairUnderLoss(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		loss   float64
		way    time.Duration
		remain float64 // at most, of all packets
		asked  uint64  // keyframes, at most
	}{
		{0, 5 * time.Millisecond, 0, 0},
		{0.01, 5 * time.Millisecond, 0, 0},
		{0.05, 1 * time.Millisecond, 0, 1},
		{0.05, 40 * time.Millisecond, 0, 1},
		{0.05, 150 * time.Millisecond, 0.0005, 10},
		{0.10, 20 * time.Millisecond, 0.0005, 6},
	} {
		for _, rtx := range []bool{true, false} {
			t.Run(fmt.Sprintf("%.0f%% %v rtx %v", tc.loss*100, tc.way, rtx), func(t *testing.T) {
				t.Parallel()
				sink := &memory{}
				tr, err := newTrack(recorder.Attachment{Params: vp8Params(), Source: announced, Sink: sink}, false, anyIPv4, plainRTP, &counters{})
				if err != nil {
					t.Fatal(err)
				}
				s := &sim{t: t, rnd: rand.New(rand.NewPCG(uint64(tc.way), uint64(tc.loss*100))), loss: tc.loss, way: tc.way, rtx: rtx,
					horizon: videoHorizon, track: tr}
				const packets = 6000
				s.play(packets)
				st := tr.count.stats(tr)
				left := s.missing()
				t.Logf("%d lost at first, %d at last; %d NACKs; %d keyframes asked for; round trip %v; %+v",
					st.Nacked, left, s.nacks, st.KeyframesAsked, tr.gaps.rtt, st)
				if float64(left) > tc.remain*packets {
					t.Errorf("%d packets stay missing", left)
				}
				if st.KeyframesAsked > tc.asked {
					t.Errorf("%d keyframes asked for", st.KeyframesAsked)
				}
				if st.Lost > uint64(left) || tc.loss > 0 && st.Repaired+st.Reordered+st.Lost < st.Nacked {
					t.Errorf("%+v", st)
				}
				if tc.loss == 0 && s.nacks != 0 {
					t.Errorf("%d control packets without loss", s.nacks)
				}
				seen := map[uint16]bool{}
				for _, a := range sink.got {
					if rtx && seen[binary.BigEndian.Uint16(a.data[2:])] {
						t.Fatal("delivered twice")
					}
					seen[binary.BigEndian.Uint16(a.data[2:])] = true
				}
				if len(seen) != packets-left {
					t.Errorf("%d packets delivered, %d arrived", len(seen), packets-left)
				}
			})
		}
	}
}

// TestRepairOfABurst: 200 ms of silence are repaired whole; an outage of longer than the SFU remembers is asked for a few
// times and ends with a keyframe request.
func TestRepairOfABurst(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		from, to int
		left     int
		keyframe bool
	}{{"200 ms", 1500, 1560, 0, false}, {"1.5 s", 1500, 1950, 0, false}, {"3 s", 1500, 2400, 340, true}, {"6 s", 1500, 3300, 1800, true}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tr, _ := testTrack(t, announced, false)
			s := &sim{t: t, rnd: rand.New(rand.NewPCG(5, 6)), way: 10 * time.Millisecond, rtx: true, horizon: videoHorizon, track: tr,
				cut: func(seq int) bool { return seq >= tc.from && seq < tc.to }}
			s.play(6000)
			st := tr.count.stats(tr)
			t.Logf("%d stay missing; %d NACKs; %d keyframes asked for; %+v", s.missing(), s.nacks, st.KeyframesAsked, st)
			if left := s.missing(); left > tc.left || left < tc.left*9/10 {
				t.Errorf("%d packets stay missing, want about %d", left, tc.left)
			}
			if (st.KeyframesAsked > 0) != tc.keyframe {
				t.Errorf("%d keyframes asked for", st.KeyframesAsked)
			}
			if s.nacks > 60 {
				t.Errorf("%d control packets", s.nacks)
			}
		})
	}
}

// TestPhantomHoles: a simulcast switch leaves one number that never was, right before a keyframe. It costs a few NACKs and
// no keyframe.
func TestPhantomHoles(t *testing.T) {
	t.Parallel()
	tr, _ := testTrack(t, announced, false)
	nacks, wakes := 0, 0
	seq := uint16(100)
	for now := 0; now < 20000; now += 10 {
		payload := vp8Delta
		if now%10000 == 0 {
			seq++ // the phantom
			payload = vp8Key
		}
		seq++
		tr.onRTP(sfuRTP, packet(t, testSSRC, 101, seq, uint32(now*90), payload), ms(now))
		if _, ok := tr.tick(ms(now)); ok {
			nacks++
		}
		if !tr.next.IsZero() {
			wakes++
		}
	}
	if st := tr.count.stats(tr); st.KeyframesAsked != 0 || nacks > maxTries || st.Lost != 1 || wakes > 250 {
		t.Errorf("%d NACKs, in a hurry for %d ms, %+v", nacks, wakes*10, st)
	}
}

// TestNothingIsAskedOfAnUnknownPeer: the RTCP address is not known yet.
func TestNothingIsAskedOfAnUnknownPeer(t *testing.T) {
	t.Parallel()
	tr, _ := testTrack(t, recorder.Source{RTPPort: 41300}, false)
	tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 10, 1, vp8Key), ms(0))
	tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 12, 1, vp8Delta), ms(10))
	if f, ok := tr.tick(ms(50)); ok {
		t.Fatalf("sent %x to %v", f.data, f.to)
	}
	tr.onRTCP(sfuRTCP, report(t, testSSRC), ms(60))
	if f, ok := tr.tick(ms(70)); !ok || f.to != sfuRTCP || tr.count.Nacked != 1 {
		t.Errorf("sent %v to %v", ok, f.to)
	}
}
