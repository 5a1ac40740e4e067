package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
)

var suites = []recorder.SRTPSuite{recorder.AES128CMHMACSHA1x80, recorder.AES128CMHMACSHA1x32, recorder.AEADAES128GCM, recorder.AEADAES256GCM}

// srtpKey makes one side's parameters.
func srtpKey(suite recorder.SRTPSuite, side string) recorder.SRTPParameters {
	a, b := sha256.Sum256([]byte(side)), sha256.Sum256([]byte(side+"'"))
	return recorder.SRTPParameters{Suite: suite, Key: append(a[:], b[:]...)[:suite.KeyBytes()]}
}

// secureSFU is the other side of an SRTP track.
type secureSFU struct {
	t        testing.TB
	out, in  *srtp.Context
	track    *track
	sink     *memory
	rtp, rep netip.AddrPort
}

func newSecureSFU(t testing.TB, suite recorder.SRTPSuite, a recorder.Attachment, mux bool) *secureSFU {
	t.Helper()
	ours, theirs := srtpKey(suite, "recorder"), srtpKey(suite, "SFU")
	s := &secureSFU{t: t, sink: &memory{}, rtp: sfuRTP, rep: sfuRTCP}
	var err error
	if s.out, err = srtpContext(theirs); err == nil {
		s.in, err = srtpContext(ours)
	}
	if err != nil {
		t.Fatal(err)
	}
	if mux {
		s.rep = s.rtp
	}
	a.SRTP, a.Sink = theirs, s.sink
	if a.Params.SSRC == 0 {
		a.Params = vp8Params()
	}
	if s.track, err = newTrack(a, mux, anyIPv4, ours, &counters{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *secureSFU) seal(plain []byte) []byte {
	s.t.Helper()
	sealed, err := s.out.EncryptRTP(nil, plain, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return sealed
}

func (s *secureSFU) sealReport(plain []byte) []byte {
	s.t.Helper()
	sealed, err := s.out.EncryptRTCP(nil, plain, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return sealed
}

func (s *secureSFU) stats() recorder.NetStats { return s.track.count.stats(s.track) }

func TestSRTP(t *testing.T) {
	t.Parallel()
	for _, suite := range suites {
		for _, mux := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s rtcpMux %v", suite, mux), func(t *testing.T) {
				t.Parallel()
				s := newSecureSFU(t, suite, recorder.Attachment{}, mux)
				tr := s.track
				key, sr := withExtensions(t, 10, vp8Key), report(t, testSSRC)
				sealed := s.seal(key)
				for i, bad := range [][]byte{key, flipped(sealed, len(sealed)-1), flipped(sealed, 40), flipped(sealed, 5), sealed[:len(sealed)-1], sealed[:30]} {
					tr.onRTP(other, bad, ms(i*1000))
					tr.onRTCP(other, sr, ms(i*1000))
				}
				if st := s.stats(); st.DroppedUnauthentic != 6 || st.Packets != 0 || tr.peer.ip.IsValid() || len(s.sink.got) != 0 || !st.FirstPacketAt.IsZero() {
					t.Fatalf("what does not authenticate was taken: %+v, pinned %v", st, tr.peer.ip)
				}
				tr.onRTP(s.rtp, sealed, ms(10000))
				tr.onRTP(s.rtp, sealed, ms(10001)) // replayed
				secureReport := s.sealReport(sr)
				tr.onRTCP(s.rep, sr, ms(10002)) // plain
				tr.onRTCP(s.rep, flipped(secureReport, 12), ms(10002))
				tr.onRTCP(s.rep, secureReport[:7], ms(10002))
				tr.onRTCP(s.rep, secureReport, ms(10003))
				tr.onRTCP(s.rep, secureReport, ms(10004)) // replayed
				if st := s.stats(); st.Packets != 1 || st.RTCPPackets != 1 || st.DroppedUnauthentic != 6+5 || st.Keyframes != 1 {
					t.Errorf("%+v", st)
				}
				if len(s.sink.got) != 2 || !bytes.Equal(s.sink.got[0].data, key) || !bytes.Equal(s.sink.got[1].data, sr) {
					t.Errorf("the sink was given %+v", s.sink.got)
				}
				// Our feedback, encrypted with our key; a repair by RTX.
				lost := withExtensions(t, 11, vp8Delta)
				tr.onRTP(s.rtp, s.seal(packet(t, testSSRC, 101, 12, 6000, vp8Delta)), ms(10030))
				tr.requestKeyframe()
				f, ok := tr.tick(ms(10060))
				plain, err := s.in.DecryptRTCP(nil, f.data, nil)
				if !ok || err != nil || f.to != s.rep {
					t.Fatalf("sent %v to %v, error %v", ok, f.to, err)
				}
				packets, err := rtcp.Unmarshal(plain)
				if err != nil || len(packets) != 2 || packets[0].(*rtcp.TransportLayerNack).Nacks[0].PacketID != 11 {
					t.Fatalf("%v, error %v", packets, err)
				}
				tr.onRTP(s.rtp, s.seal(asRTX(t, lost, 5, 3)), ms(10100))
				if st := s.stats(); st.Repaired != 1 || st.Lost != 0 || !bytes.Equal(s.sink.got[len(s.sink.got)-1].data, lost) {
					t.Errorf("%+v", st)
				}
				tr.requestKeyframe() // another datagram has another index
				if f, ok = tr.tick(ms(12000)); !ok {
					t.Fatal("nothing sent")
				}
				if _, err := s.in.DecryptRTCP(nil, f.data, nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func flipped(data []byte, at int) []byte {
	data = bytes.Clone(data)
	data[at] ^= 1
	return data
}

// TestRolloverRecovery: a recorder that was restarted in a long call cannot know how often the numbers have wrapped.
func TestRolloverRecovery(t *testing.T) {
	t.Parallel()
	for _, suite := range suites {
		for _, tc := range []struct {
			name  string
			roc   uint32
			rtx   uint32
			first uint16
			ok    bool
		}{
			{"a new stream", 0, 0, 30000, true},
			{"once", 1, 0, 7, true},
			{"right before a wrap", 17, 0, 65535, true},
			{"hours", maxRollovers - 1, 3, 60000, true},
			{"longer than anybody calls", maxRollovers, maxRollovers, 100, false},
		} {
			t.Run(fmt.Sprintf("%s %s", suite, tc.name), func(t *testing.T) {
				t.Parallel()
				s := newSecureSFU(t, suite, recorder.Attachment{}, false)
				s.out.SetROC(testSSRC, tc.roc)
				s.out.SetROC(testRTX, tc.rtx)
				early := s.seal(packet(t, testSSRC, 101, tc.first-1, 1, vp8Delta)) // overtaken
				for i := range uint16(5) {
					s.track.onRTP(sfuRTP, s.seal(packet(t, testSSRC, 101, tc.first+i+i/3, uint32(i), vp8Key)), ms(int(i)*10)) // without the fourth
				}
				s.track.onRTP(sfuRTP, early, ms(60))
				s.track.onRTP(sfuRTP, s.seal(asRTX(t, packet(t, testSSRC, 101, tc.first+3, 1, vp8Delta), 65535, 0)), ms(400))
				want := uint64(7)
				if !tc.ok {
					want = 0
				}
				if st := s.stats(); st.Packets != want || st.DroppedUnauthentic != 7-want || len(s.sink.got) != int(want) {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}

// TestRolloverAfterAnOutage: more than half the numbers were missed on a stream that was known.
func TestRolloverAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := newSecureSFU(t, recorder.AES128CMHMACSHA1x80, recorder.Attachment{}, false)
	at, seq := 0, uint16(60000)
	play := func(n int, heard bool) {
		for range n {
			sealed := s.seal(packet(t, testSSRC, 101, seq, 1, vp8Delta))
			if heard {
				s.track.onRTP(sfuRTP, sealed, ms(at))
			}
			seq++
			at += 3
		}
	}
	play(100, true)
	play(150_000, false)
	play(200, true)
	if st := s.stats(); st.DroppedUnauthentic > lostAfter+100 || st.Packets < 100+200-lostAfter-100 {
		t.Errorf("%+v", st)
	}
}

// TestRubbishIsCheap: whoever sends what does not authenticate causes four searches a second, and keeps nobody from being
// heard.
func TestRubbishIsCheap(t *testing.T) {
	t.Parallel()
	s := newSecureSFU(t, recorder.AEADAES128GCM, recorder.Attachment{}, false)
	s.out.SetROC(testSSRC, 2)
	rubbish := packet(t, testSSRC, 101, 9, 1, make([]byte, 1000))
	searches := 0
	for i := range 1000 {
		before := s.track.crypto.streams[testSSRC].searched
		s.track.onRTP(sfuRTP, rubbish, ms(i))
		if !s.track.crypto.streams[testSSRC].searched.Equal(before) {
			searches++
		}
	}
	if searches > 5 {
		t.Errorf("%d searches in a second", searches)
	}
	for i := range 300 {
		s.track.onRTP(sfuRTP, s.seal(packet(t, testSSRC, 101, uint16(i), 1, vp8Delta)), ms(1000+i))
	}
	if st := s.stats(); st.Packets < 40 || st.Packets+st.DroppedUnauthentic != 1300 {
		t.Errorf("%+v", st)
	}
}

// TestRestartsUseNoKeyStreamTwice: the lease's key is the same after a restart; our SSRC or index must not be.
func TestRestartsUseNoKeyStreamTwice(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 50 {
		s := newSecureSFU(t, recorder.AEADAES128GCM, recorder.Attachment{}, true)
		s.track.onRTP(sfuRTP, s.seal(packet(t, testSSRC, 101, 1, 1, vp8Key)), ms(0))
		s.track.requestKeyframe()
		f, ok := s.track.tick(ms(10))
		if !ok {
			t.Fatal("nothing sent")
		}
		which := string(f.data[4:8]) + string(f.data[len(f.data)-4:])
		if seen[which] {
			t.Fatal("the same SSRC and index again")
		}
		seen[which] = true
	}
}

// TestSRTPRefusals: the texts say what to pass, and no key.
func TestSRTPRefusals(t *testing.T) {
	t.Parallel()
	gcm, cm := srtpKey(recorder.AEADAES128GCM, "a"), srtpKey(recorder.AES128CMHMACSHA1x80, "b")
	short := gcm
	short.Key = short.Key[:27]
	for _, tc := range []struct {
		name         string
		ours, theirs recorder.SRTPParameters
		says         string
	}{
		{"plain", plainRTP, plainRTP, ""},
		{"both the same", gcm, srtpKey(recorder.AEADAES128GCM, "c"), ""},
		{"the SFU does not encrypt", gcm, plainRTP, "pass transport.srtpParameters as they are after connect()"},
		{"nobody asked for encryption", plainRTP, gcm, "srtpCryptoSuite"},
		{"read before connect()", gcm, cm, "read after connect()"},
		{"unknown suite", gcm, recorder.SRTPParameters{Suite: "ROT13", Key: gcm.Key}, "read after connect()"},
		{"short key", gcm, short, "27 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := &Lease{srtp: tc.ours}
			err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: &memory{}, SRTP: tc.theirs})
			if (err == nil) != (tc.says == "") {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				return
			}
			if !errors.Is(err, ErrAttachment) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v does not say %q", err, tc.says)
			}
			for _, p := range []recorder.SRTPParameters{tc.ours, tc.theirs} {
				for _, form := range []string{string(p.Key), base64.StdEncoding.EncodeToString(p.Key), fmt.Sprint(p.Key), fmt.Sprintf("%x", p.Key)} {
					if len(p.Key) > 0 && strings.Contains(err.Error(), form) {
						t.Errorf("the text shows a key: %v", err)
					}
				}
			}
		})
	}
	r := testReceiver(t, 2)
	for _, p := range []recorder.SRTPParameters{short, {Suite: "ROT13", Key: gcm.Key}, {Key: gcm.Key}} {
		if _, err := r.Lease(t.Context(), recorder.LeaseRequest{SRTP: p}); err == nil || strings.Contains(err.Error(), string(p.Key)) {
			t.Errorf("error %v", err)
		}
	}
	f, _ := feed(t)
	if err := f.Attach(recorder.Attachment{Params: vp8Params(), Sink: &memory{}, SRTP: gcm}); !errors.Is(err, ErrAttachment) {
		t.Errorf("error %v: a feed's packets are decrypted", err)
	}
}

// TestSRTPOverLoopback: what is encrypted goes through the sockets, with rtcpMux too.
func TestSRTPOverLoopback(t *testing.T) {
	t.Parallel()
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("rtcpMux %v", mux), func(t *testing.T) {
			t.Parallel()
			ours := srtpKey(recorder.AEADAES256GCM, "recorder")
			made, err := testReceiver(t, 2).Lease(t.Context(), recorder.LeaseRequest{RTCPMux: mux, SRTP: ours})
			if err != nil {
				t.Fatal(err)
			}
			l := made.(*Lease)
			s := newSecureSFU(t, ours.Suite, recorder.Attachment{}, mux)
			rtp, control := sender(t), sender(t)
			reports := l.Endpoint().RTCPPort
			if mux {
				control, reports = rtp, l.Endpoint().RTPPort
			}
			sink := &memory{calls: make(chan arrived, 10)}
			if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink, SRTP: srtpKey(ours.Suite, "SFU"),
				Source: recorder.Source{IP: "127.0.0.1", RTPPort: portOf(rtp), RTCPPort: portOf(control)}}); err != nil {
				t.Fatal(err)
			}
			key, sr := packet(t, testSSRC, 101, 1, 1, vp8Key), report(t, testSSRC)
			send(t, rtp, l.Endpoint().RTPPort, key)
			send(t, rtp, l.Endpoint().RTPPort, s.seal(key))
			if a := next(t, sink); !bytes.Equal(a.data, key) {
				t.Errorf("%x", a.data)
			}
			send(t, control, reports, s.sealReport(sr))
			if a := next(t, sink); a.kind != recorder.PacketRTCP || !bytes.Equal(a.data, sr) {
				t.Errorf("%x", a.data)
			}
			l.RequestKeyframe()
			raw, _ := receive(t, control)
			plain, err := s.in.DecryptRTCP(nil, raw, nil)
			var pli rtcp.PictureLossIndication
			if err == nil {
				err = pli.Unmarshal(plain)
			}
			if err != nil || pli.MediaSSRC != testSSRC {
				t.Errorf("%+v, error %v", pli, err)
			}
			if st := l.Stats(); st.DroppedUnauthentic != 1 || st.Packets != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// FuzzSRTP: whatever arrives on an SRTP track, nothing of it is taken, and each datagram is counted once.
func FuzzSRTP(f *testing.F) {
	s := newSecureSFU(f, recorder.AEADAES128GCM, recorder.Attachment{}, false)
	f.Add(byte(0), s.seal(packet(f, testSSRC, 101, 1, 1, vp8Key)), s.sealReport(report(f, testSSRC)))
	f.Add(byte(1), packet(f, testRTX, 102, 1, 1, vp8Key), report(f, testSSRC))
	f.Add(byte(3), []byte{0x90, 101, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 0xc0, 0xde, 0, 1, 0xb0, 1, 0, 0, 0x10, 0}, []byte{0x81, 200, 0, 0})
	f.Fuzz(func(t *testing.T, which byte, rtp, control []byte) {
		s := newSecureSFU(t, suites[int(which)%len(suites)], recorder.Attachment{}, which&4 != 0)
		s.track.crypto.in, _ = srtpContext(srtpKey(suites[int(which)%len(suites)], "another SFU"))
		for i := range 3 {
			s.track.onRTP(s.rtp, rtp, ms(i*100))
			s.track.onRTCP(s.rep, control, ms(i*100))
			s.track.tick(ms(i * 100))
		}
		st := s.stats()
		if len(s.sink.got) != 0 || st.DroppedUnauthentic+st.DroppedForeign+st.DroppedMalformed != 6 || s.track.peer.heard {
			t.Fatalf("%d calls of the sink, %+v", len(s.sink.got), st)
		}
	})
}
