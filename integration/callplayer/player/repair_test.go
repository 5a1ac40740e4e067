package player

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

func TestParametersAnnounceRepair(t *testing.T) {
	t.Parallel()
	for _, tr := range load(t, "chrome-vp8").Tracks {
		for _, c := range []struct {
			repair             Repair
			nack, rtx, changed bool
		}{{RepairAsIs, tr.Source != "mic", false, false}, {RepairNone, false, false, true}, {RepairNACK, true, false, true}, {RepairRTX, true, true, true}} {
			got, err := tr.With(c.repair)
			if err != nil {
				t.Fatal(err)
			}
			var p struct {
				Codecs []struct {
					MimeType     string
					PayloadType  int
					Parameters   map[string]any
					RTCPFeedback []struct{ Type, Parameter string }
				}
				Encodings []struct {
					SSRC uint32
					RTX  *struct{ SSRC uint32 }
				}
				RTCP json.RawMessage
			}
			if err := json.Unmarshal(got.RTPParameters, &p); err != nil {
				t.Fatal(err)
			}
			nack := slices.ContainsFunc(p.Codecs[0].RTCPFeedback, func(f struct{ Type, Parameter string }) bool { return f.Type == "nack" && f.Parameter == "" })
			pli := slices.ContainsFunc(p.Codecs[0].RTCPFeedback, func(f struct{ Type, Parameter string }) bool { return f.Parameter == "pli" })
			if nack != c.nack || pli != (tr.Source != "mic") || p.RTCP == nil || p.Encodings[0].SSRC != tr.SSRC || c.changed == bytes.Equal(got.RTPParameters, tr.RTPParameters) {
				t.Errorf("%s %q: %s", tr.Name, c.repair, got.RTPParameters)
			}
			if !c.rtx {
				if len(p.Codecs) != 1 || p.Encodings[0].RTX != nil {
					t.Errorf("%s %q announces RTX", tr.Name, c.repair)
				}
				continue
			}
			if x := p.Codecs[1]; !strings.HasSuffix(x.MimeType, "/rtx") || x.Parameters["apt"] != float64(p.Codecs[0].PayloadType) || p.Encodings[0].RTX.SSRC != tr.SSRC+1 {
				t.Errorf("%s: %s", tr.Name, got.RTPParameters)
			}
		}
	}
}

func packet(t *testing.T, seq uint16, payload string) Packet {
	t.Helper()
	p := rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, PayloadType: 101, SequenceNumber: seq, Timestamp: 9000, SSRC: 77}, Payload: []byte(payload)}
	raw, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return Packet{Data: raw}
}

// TestStoreHasTheLimitsOfMediasoup: how long, how often, and after a pause.
func TestStoreHasTheLimitsOfMediasoup(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	for _, c := range []struct {
		source string
		keep   time.Duration
	}{{"webcam", 2 * time.Second}, {"mic", time.Second}} {
		s := newStore(Track{Source: c.source, SSRC: 77, Repair: RepairNACK})
		one := packet(t, 1, "one")
		s.add(1, one, begin)
		ask := func(after time.Duration) bool { data, _ := s.again(1, begin.Add(after)); return data != nil }
		for _, step := range []struct {
			after time.Duration
			want  bool
		}{{0, true}, {99 * time.Millisecond, false}, {100 * time.Millisecond, true}, {c.keep, true}, {c.keep + time.Millisecond, false}} {
			if got := ask(step.after); got != step.want {
				t.Errorf("%s: again after %v: %v, want %v", c.source, step.after, got, step.want)
			}
		}
		s.add(2, packet(t, 2, "two"), begin.Add(c.keep+time.Millisecond))
		if len(s.packets) != 1 || len(s.order) != 1 {
			t.Errorf("%s: %d packets are kept", c.source, len(s.packets))
		}
		s.clear()
		if data, _ := s.again(2, begin.Add(c.keep+time.Millisecond)); data != nil {
			t.Errorf("%s: a packet was sent again after a pause", c.source)
		}
	}
	for _, r := range []Repair{RepairNone, RepairAsIs} {
		s := newStore(Track{Source: "webcam", SSRC: 77, Repair: r})
		s.add(1, packet(t, 1, "one"), begin)
		if data, _ := s.again(1, begin); data != nil {
			t.Errorf("%q answers", r)
		}
	}
}

func TestLinesRepeat(t *testing.T) {
	t.Parallel()
	a, b, c := Random{Seed: 1, Loss: 0.05}, Random{Seed: 1, Loss: 0.05}, Random{Seed: 2, Loss: 0.05}
	lost, others, twice := 0, 0, 0
	for n := range 20000 {
		p := Passing{SSRC: 77, Seq: uint16(n), At: time.Duration(n) * time.Millisecond}
		if a.Media(p) != b.Media(p) {
			t.Fatalf("packet %d has two fates", n)
		}
		if a.Media(p).Lost {
			lost++
			if p.Attempt = 1; a.Media(p).Lost {
				twice++
			}
		}
		if c.Media(p).Lost {
			others++
		}
	}
	if lost < 850 || lost > 1150 || others < 850 || others > 1150 || twice < 20 || twice > 90 {
		t.Errorf("of 20000 packets %d and %d are lost, %d of them twice, want about 1000 and 50", lost, others, twice)
	}
	o := Outages{{time.Second, 1200 * time.Millisecond}}
	if o.Media(Passing{At: 999 * time.Millisecond}).Lost || !o.Media(Passing{At: time.Second}).Lost || o.Media(Passing{At: 1200 * time.Millisecond}).Lost {
		t.Error("an outage is not where it is said to be")
	}
}

// scripted is a line that a test writes down.
type scripted map[uint16]Fate

func (l scripted) Media(p Passing) Fate {
	if p.Attempt > 0 {
		return Fate{}
	}
	return l[p.Seq]
}

func (scripted) Feedback(n int) bool { return n != 0 }

// peerOf makes a sender of track that is connected to sockets of the test.
func peerOf(t *testing.T, track Track) (*Sender, *ingest) {
	t.Helper()
	s, err := NewSender("127.0.0.1", false)
	if err != nil {
		t.Fatal(err)
	}
	i := newIngest(t, "WEBCAM")
	t.Cleanup(func() {
		_ = s.Close()
		_ = i.rtp.Close()
		_ = i.rtcp.Close()
		i.wg.Wait()
	})
	if err := s.Connect("127.0.0.1", int(local(i.rtp).Port()), int(local(i.rtcp).Port())); err != nil {
		t.Fatal(err)
	}
	s.Offer(track)
	return s, i
}

func (i *ingest) ask(t *testing.T, s *Sender, data []byte) {
	t.Helper()
	_, port := s.Ports()
	if _, err := i.rtcp.WriteToUDPAddrPort(data, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))); err != nil {
		t.Fatal(err)
	}
}

func (i *ingest) seqs(t *testing.T, n int) (out []uint16) {
	for _, raw := range i.wait(t, n) {
		var h rtp.Header
		if _, err := h.Unmarshal(raw); err == nil {
			out = append(out, h.SequenceNumber)
		}
	}
	return out
}

// wait returns the first n datagrams of the RTP socket.
func (i *ingest) wait(t *testing.T, n int) (got [][]byte) {
	t.Helper()
	until(t, func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		got = slices.Clone(i.got[false])
		return len(got) >= n
	})
	return got[:n]
}

// until asks again and again until it is so; what it waits for comes from the kernel.
func until(t *testing.T, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

func nack(t *testing.T, seqs ...uint16) []byte {
	t.Helper()
	raw, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1}, &rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: 77, Nacks: rtcp.NackPairsFromSequenceNumbers(seqs)}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestLineFates(t *testing.T) {
	t.Parallel()
	s, i := peerOf(t, Track{Source: "webcam", SSRC: 77, Repair: RepairNACK})
	s.Over(scripted{2: {Lost: true}, 3: {Copies: 1}, 4: {Behind: 2}, 7: {Delay: 30 * time.Millisecond}, 9: {Behind: 100}})
	for n := range uint16(9) {
		p := packet(t, n+1, "x")
		p.At = time.Duration(n) * 20 * time.Millisecond
		s.Send(p)
	}
	s.Flush()
	if got, want := i.seqs(t, 9), []uint16{1, 3, 3, 5, 6, 4, 8, 7, 9}; !slices.Equal(got, want) {
		t.Errorf("arrived %v, want %v", got, want)
	}
	for _, p := range s.History() {
		if p.Delivered != (p.Seq != 2) || p.First != (p.Seq != 2) {
			t.Errorf("%+v", p)
		}
	}
}

// TestSentAgain: a lost packet comes again on the recorder's wish, as it was or wrapped, also under SRTP, and the account
// says so. Wishes that are lost on the way or not encrypted are not heard.
func TestSentAgain(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"} {
		for _, repair := range []Repair{RepairNACK, RepairRTX, RepairNone} {
			t.Run(suite+" "+string(repair), func(t *testing.T) {
				t.Parallel()
				track, err := (Track{Source: "webcam", SSRC: 77, ClockRate: 90000, RTPParameters: []byte(`{"codecs":[{"payloadType":101}],"encodings":[{"ssrc":77}]}`)}).With(repair)
				if err != nil {
					t.Fatal(err)
				}
				s, i := peerOf(t, track)
				open, seal := func(b []byte) []byte { return b }, func(b []byte) []byte { return b }
				if suite != "" {
					open, seal = secure(t, s, suite)
				}
				s.Over(scripted{2: {Lost: true}})
				for n := range uint16(3) {
					s.Send(packet(t, n+1, "payload"))
				}
				i.ask(t, s, seal(nack(t, 2))) // lost by the line
				if suite != "" {
					i.ask(t, s, nack(t, 2))
				}
				i.ask(t, s, seal(nack(t, 2, 9)))
				until(t, func() bool { return len(s.Asked()) > 0 })
				if a := s.Asked(); len(a) != 1 || a[0].Kind != "nack" || !slices.Equal(a[0].Seqs, []uint16{2, 9}) || s.Received().RR != 1 || suite != "" && s.Received().Malformed != 1 {
					t.Errorf("asked %+v, received %+v", a, s.Received())
				}
				want := 3
				if repair == RepairNone {
					want = 2
				}
				var last rtp.Packet
				for n, raw := range i.wait(t, want) {
					if err := last.Unmarshal(open(raw)); err != nil {
						t.Fatalf("packet %d: %v", n, err)
					}
				}
				switch {
				case repair == RepairNone:
					if s.Sent().Again != 0 || s.History()[1].Delivered {
						t.Error("it was sent again")
					}
				case repair == RepairNACK:
					if last.SSRC != 77 || last.SequenceNumber != 2 || string(last.Payload) != "payload" {
						t.Errorf("it came again as %+v", last)
					}
				default:
					if last.SSRC != 78 || last.PayloadType != 102 || !last.Marker || last.Timestamp != 9000 || string(last.Payload) != "\x00\x02payload" {
						t.Errorf("it came again as %+v", last)
					}
				}
				if repair != RepairNone && (!s.History()[1].Delivered || s.History()[1].First) {
					t.Errorf("%+v", s.History())
				}
			})
		}
	}
}

// secure encrypts both directions and returns the recorder's side.
func secure(t *testing.T, s *Sender, suite string) (open, seal func([]byte) []byte) {
	t.Helper()
	ours, err := NewSRTPParameters(suite, bytes.Repeat([]byte{1}, 44))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := NewSRTPParameters(suite, bytes.Repeat([]byte{2}, 44))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Secure(ours, theirs); err != nil {
		t.Fatal(err)
	}
	in, err := ours.context()
	if err != nil {
		t.Fatal(err)
	}
	out, err := theirs.context()
	if err != nil {
		t.Fatal(err)
	}
	open = func(b []byte) []byte {
		if b, err = in.DecryptRTP(nil, b, nil); err != nil {
			t.Error(err)
		}
		return b
	}
	seal = func(b []byte) []byte {
		if b, err = out.EncryptRTCP(nil, b, nil); err != nil {
			t.Error(err)
		}
		return b
	}
	return open, seal
}

func TestSRTPParametersAreChecked(t *testing.T) {
	t.Parallel()
	s := &Sender{}
	good, err := NewSRTPParameters("AEAD_AES_128_GCM", make([]byte, 44))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []SRTPParameters{{}, {"AEAD_AES_128_GCM", "AAAA"}, {"AEAD_AES_128_GCM", "?"}, {"NULL", good.KeyBase64}} {
		if s.Secure(good, p) == nil || s.Secure(p, good) == nil {
			t.Errorf("%+v is taken", p)
		}
	}
	if _, err := NewSRTPParameters("AEAD_AES_256_GCM", make([]byte, 43)); err == nil {
		t.Error("a key that is too short is taken")
	}
}
