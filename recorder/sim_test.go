package recorder

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"time"
)

// t0 is the wall clock at which simulated recordings begin.
var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// ---------------------------------------------------------------- a folder in memory

type memFolder struct {
	mu       sync.Mutex
	header   Header
	journals map[string][]Record
	opened   int
	closed   int
	damaged  map[string]int // journal → record that fails authentication
}

func newMemFolder(profile Profile, expect ...TrackKind) *memFolder {
	return &memFolder{header: Header{Version: 1, RecordingID: "rec", Profile: profile, Expect: expect}, journals: map[string][]Record{}}
}

func (m *memFolder) Header() Header { return m.header }

func (m *memFolder) append(name string, r Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.journals[name] = append(m.journals[name], r)
}

func (m *memFolder) event(t testing.TB, e Event) {
	t.Helper()
	data, err := e.Marshal()
	if err != nil {
		t.Fatalf("marshal %s: %v", e.Type, err)
	}
	m.append(EventsJournal, Record{At: e.At, Kind: RecordEvent, Data: data})
}

// sort brings every journal into order of arrival, as a recorder writes it.
func (m *memFolder) sort() {
	for _, j := range m.journals {
		slices.SortStableFunc(j, func(a, b Record) int { return a.At.Compare(b.At) })
	}
}

func (m *memFolder) Read(name string, from Position) (JournalReader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.journals[name]; !ok {
		return nil, fmt.Errorf("journal %s: %w", name, fs.ErrNotExist)
	}
	m.opened++
	return &memReader{folder: m, name: name, next: int(from.Offset)*10 + from.Index}, nil
}

type memReader struct {
	folder *memFolder
	name   string
	next   int
	buf    []byte
}

// Next hands out the same buffer every time, as a real reader may.
func (r *memReader) Next() (Record, Position, error) {
	r.folder.mu.Lock()
	defer r.folder.mu.Unlock()
	j := r.folder.journals[r.name]
	if r.next >= len(j) {
		return Record{}, Position{}, io.EOF
	}
	if n, ok := r.folder.damaged[r.name]; ok && r.next == n { // one chunk cannot be read, as the spool tells it
		r.next = min(n+10, len(j))
		return Record{}, Position{}, ErrSpoolDamaged
	}
	rec := j[r.next]
	r.buf = append(r.buf[:0], rec.Data...)
	rec.Data = r.buf
	pos := Position{Offset: int64(r.next / 10), Index: r.next % 10}
	r.next++
	return rec, pos, nil
}

func (r *memReader) Close() error {
	r.folder.mu.Lock()
	defer r.folder.mu.Unlock()
	r.folder.closed++
	return nil
}

// ------------------------------------------------------- a codec that shows what it carries

// simDepacketizers reads packets of simulated tracks: a bare 12-byte RTP header, and for pictures a payload of
// flags (1 key, 2 first packet of the frame), width, height, rotation/90 and the number of the frame.
type simDepacketizers struct{}

const (
	simKey   = 1
	simFirst = 2
)

func (simDepacketizers) ParseRTP(raw []byte, params RTPParameters) (RTPPacket, uint32, bool) {
	if len(raw) < 12 || raw[0] != 0x80 {
		return RTPPacket{}, 0, false
	}
	ssrc := binary.BigEndian.Uint32(raw[8:])
	if ssrc != params.SSRC || raw[1]&0x7f != params.PayloadType {
		return RTPPacket{}, ssrc, false
	}
	return RTPPacket{Seq: int64(binary.BigEndian.Uint16(raw[2:])), RTP: int64(binary.BigEndian.Uint32(raw[4:])),
		Marker: raw[1]&0x80 != 0, Payload: raw[12:], Rotation: -1}, ssrc, true
}

func (simDepacketizers) ParseReports(raw []byte, ssrc uint32) []SenderReport {
	if len(raw) != 28 || raw[1] != 200 || binary.BigEndian.Uint32(raw[4:]) != ssrc {
		return nil
	}
	ntp := binary.BigEndian.Uint64(raw[8:])
	return []SenderReport{{NTP: time.Duration(ntp>>32)*time.Second + time.Duration((ntp&0xffffffff)*1e9>>32),
		RTP: binary.BigEndian.Uint32(raw[16:])}}
}

func (simDepacketizers) New(codec Codec) (Depacketizer, error) {
	switch codec {
	case Opus:
		return &simSound{}, nil
	case VP8, H264:
		return &simPicture{}, nil
	}
	return nil, ErrCodec
}

type simSound struct{ unit Unit }

func (s *simSound) Push(p RTPPacket, _ bool) (*Unit, error) {
	s.unit = Unit{RTP: p.RTP, Key: true, FirstSeq: p.Seq, LastAt: p.At, Pos: p.Pos, Data: append(s.unit.Data[:0], p.Payload...)}
	return &s.unit, nil
}
func (s *simSound) Flush() *Unit { return nil }

type simPicture struct {
	unit Unit
	open bool
}

func (s *simPicture) Push(p RTPPacket, lost bool) (*Unit, error) {
	if len(p.Payload) < 10 {
		return nil, fmt.Errorf("short payload")
	}
	first := p.Payload[0]&simFirst != 0
	if first || !s.open {
		s.unit = Unit{RTP: p.RTP, Key: p.Payload[0]&simKey != 0, Damaged: !first, FirstSeq: p.Seq, Pos: p.Pos, Rotation: int(p.Payload[5]) * 90,
			Data: append(s.unit.Data[:0], p.Payload[6:10]...)}
		if s.unit.Key {
			s.unit.Size = Size{int(binary.BigEndian.Uint16(p.Payload[1:])), int(binary.BigEndian.Uint16(p.Payload[3:]))}
		}
		s.open = true
	} else if lost {
		s.unit.Damaged = true
	}
	s.unit.LastAt = p.At
	if !p.Marker {
		return nil, nil
	}
	s.open = false
	return &s.unit, nil
}
func (s *simPicture) Flush() *Unit { return nil }

// ------------------------------------------------------------------- a sender

// simDelay is the way from camera to recorder where a test says nothing else. No recorder can know it: time 0 is where
// the quickest packets put it.
const simDelay = 5 * time.Millisecond

// simLeg sends one track: it writes a journal as a recorder would have captured it.
type simLeg struct {
	folder *memFolder
	name   string
	kind   TrackKind
	ssrc   uint32
	seq    uint16
	rtp0   uint32
	born   time.Time // capture instant of rtp0
	ppm    float64   // sender clock against the recorder's
	delay  func(n int) time.Duration
	up     time.Duration // SFU uptime at t0
	hostPM float64       // SFU clock against the recorder's
	number uint32        // of the next frame
	lose   func(seq uint16) bool
	frames map[uint32]time.Time // number → capture instant
}

var simRates = map[TrackKind]int64{Screen: 90000, Webcam: 90000, AgentAudio: 48000, CustomerAudio: 48000}

func simParams(kind TrackKind, ssrc uint32) json.RawMessage {
	codec := `{"mimeType":"video/VP8","payloadType":101,"clockRate":90000}`
	if !kind.IsVideo() {
		codec = `{"mimeType":"audio/opus","payloadType":101,"clockRate":48000,"channels":2}`
	}
	return json.RawMessage(fmt.Sprintf(`{"codecs":[%s],"encodings":[{"ssrc":%d}],"rtcp":{"cname":"c"}}`, codec, ssrc))
}

// attach writes the event and returns the sender.
func attach(t testing.TB, f *memFolder, n int, kind TrackKind, at time.Time) *simLeg {
	t.Helper()
	return attachWith(t, f, n, kind, at, simParams(kind, uint32(1000+n)), Source{IP: "10.0.0.1", RTPPort: 1}, 1000*time.Second)
}

// attachFrom is attach at t0, of another host.
func attachFrom(t testing.TB, f *memFolder, n int, kind TrackKind, params json.RawMessage, from Source, up time.Duration) *simLeg {
	t.Helper()
	return attachWith(t, f, n, kind, t0, params, from, up)
}

func attachWith(t testing.TB, f *memFolder, n int, kind TrackKind, at time.Time, params json.RawMessage, from Source, up time.Duration) *simLeg {
	t.Helper()
	l := &simLeg{folder: f, name: LegName(n), kind: kind, ssrc: uint32(1000 + n), seq: uint16(65500 + 7*n), rtp0: 0xffff0000 - uint32(n)*5000,
		born: at, up: up, frames: map[uint32]time.Time{}, delay: func(int) time.Duration { return simDelay }}
	f.event(t, Event{Type: EventLegAttached, At: at, LegAttached: &LegAttached{Leg: l.name, Journal: l.name, TrackID: "track-" + string(kind),
		Kind: kind, RTPParameters: params, Source: from}})
	return l
}

// stamp is the RTP timestamp of a capture instant.
func (l *simLeg) stamp(capture time.Time) uint32 {
	d := capture.Sub(l.born)
	rate := float64(simRates[l.kind]) * (1 + l.ppm*1e-6)
	return l.rtp0 + uint32(int64(d.Seconds()*rate+0.5))
}

func (l *simLeg) write(rtp uint32, marker bool, payload []byte, arrive time.Time) {
	l.writeSeq(l.seq, rtp, marker, payload, arrive)
	l.seq++
}

func (l *simLeg) writeSeq(seq uint16, rtp uint32, marker bool, payload []byte, arrive time.Time) {
	if l.lose != nil && l.lose(seq) {
		return
	}
	b := make([]byte, 12, 12+len(payload))
	b[0], b[1] = 0x80, 101
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], rtp)
	binary.BigEndian.PutUint32(b[8:], l.ssrc)
	l.folder.append(l.name, Record{At: arrive, Kind: PacketRTP, Data: append(b, payload...)})
}

// frame sends one picture of n packets.
func (l *simLeg) frame(capture time.Time, key bool, size Size, rotation, packets int) uint32 {
	num := l.number
	l.number++
	l.frames[num] = capture
	for i := range packets {
		p := make([]byte, 10)
		if key {
			p[0] |= simKey
		}
		if i == 0 {
			p[0] |= simFirst
		}
		binary.BigEndian.PutUint16(p[1:], uint16(size.W))
		binary.BigEndian.PutUint16(p[3:], uint16(size.H))
		p[5] = byte(rotation / 90)
		binary.BigEndian.PutUint32(p[6:], num)
		l.write(l.stamp(capture), i == packets-1, p, capture.Add(l.delay(int(num))).Add(time.Duration(i)*100*time.Microsecond))
	}
	return num
}

// video sends pictures from capture instant a to b; keys tells which frames (counted from 0) are keyframes.
func (l *simLeg) video(a, b time.Time, fps float64, size Size, keys func(i int) bool) {
	for i := 0; ; i++ {
		at := a.Add(time.Duration(float64(i) * float64(time.Second) / fps))
		if !at.Before(b) {
			return
		}
		l.frame(at, keys(i), size, 0, 2)
	}
}

func keyEvery(n int) func(int) bool { return func(i int) bool { return i%n == 0 } }

// audio sends 20 ms packets from a to b.
func (l *simLeg) audio(a, b time.Time) {
	for at := a; at.Before(b); at = at.Add(20 * time.Millisecond) {
		l.packet(at)
	}
}

// packet sends one 20 ms packet that carries its number.
func (l *simLeg) packet(at time.Time) {
	num := l.number
	l.number++
	l.frames[num] = at
	l.write(l.stamp(at), false, binary.BigEndian.AppendUint32([]byte{0x78}, num), at.Add(l.delay(int(num))))
}

// reports sends a sender report every interval; wander moves its RTP time.
func (l *simLeg) reports(a, b time.Time, every time.Duration, wander func(i int) time.Duration) {
	for i, at := 0, a; at.Before(b); i, at = i+1, at.Add(every) {
		r := make([]byte, 28)
		r[0], r[1], r[3] = 0x80, 200, 6
		binary.BigEndian.PutUint32(r[4:], l.ssrc)
		host := l.up + time.Duration(float64(at.Sub(t0))*(1+l.hostPM*1e-6))
		binary.BigEndian.PutUint64(r[8:], uint64(host/time.Second)<<32|uint64(host%time.Second)<<32/1e9)
		binary.BigEndian.PutUint32(r[16:], l.stamp(at.Add(-wander(i))))
		l.folder.append(l.name, Record{At: at.Add(3 * time.Millisecond), Kind: PacketRTCP, Data: r})
	}
}

func steady(int) time.Duration { return 0 }
