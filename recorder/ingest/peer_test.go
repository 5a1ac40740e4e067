package ingest

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestSourceAddresses(t *testing.T) {
	t.Parallel()
	v4, v6 := networks{}, networks{v6: true}
	inside := networks{within: prefixes("10.1.0.0/16", "192.0.2.0/24")}
	inside6 := networks{v6: true, within: prefixes("2001:db8:1::/48")}
	for _, tc := range []struct {
		name     string
		networks networks
		ip       string
		want     error // nil: accepted
	}{
		{"unicast", v4, "192.0.2.10", nil},
		{"loopback", v4, "127.0.0.1", nil},
		{"IPv4 in IPv6 notation", v4, "::ffff:192.0.2.10", nil},
		{"none", v4, "", nil},
		{"a transport on every address", v4, "0.0.0.0", nil},
		{"within", inside, "10.1.255.255", nil},
		{"within the second", inside, "192.0.2.10", nil},
		{"within, in IPv6 notation", inside, "::ffff:10.1.0.1", nil},
		{"none, networks listed", inside, "", nil},
		{"IPv6", v6, "2001:db8::1", nil},
		{"IPv6 loopback", v6, "::1", nil},
		{"IPv6 within", inside6, "2001:db8:1:2::3", nil},
		{"IPv6 on every address", v6, "::", nil},

		{"IPv6 where media is IPv4", v4, "2001:db8::1", errWantsIPv4},
		{"IPv6 loopback where media is IPv4", v4, "::1", errWantsIPv4},
		{"every IPv6 address where media is IPv4", v4, "::", errWantsIPv4},
		{"IPv4 where media is IPv6", v6, "192.0.2.10", errWantsIPv6},
		{"IPv4 in IPv6 notation where media is IPv6", v6, "::ffff:192.0.2.10", errWantsIPv6},
		{"every IPv4 address where media is IPv6", v6, "0.0.0.0", errWantsIPv6},
		{"multicast", v4, "224.0.0.1", errMulticast},
		{"multicast in IPv6 notation", v4, "::ffff:239.1.2.3", errMulticast},
		{"IPv6 multicast", v6, "ff02::1", errMulticast},
		{"broadcast", v4, "255.255.255.255", errBroadcast},
		{"a zone", v6, "fe80::1%eth0", errZone},
		{"a zone on loopback", v6, "::1%lo", errZone},
		{"a zone where media is IPv4", v4, "fe80::1%eth0", errZone},
		{"IPv6 link-local", v6, "fe80::1", errLinkLocal},
		{"outside", inside, "10.2.0.1", errOutside},
		{"loopback outside", inside, "127.0.0.1", errOutside},
		{"the cloud's metadata service outside", inside, "169.254.169.254", errOutside},
		{"IPv6 outside", inside6, "2001:db8:2::1", errOutside},
		{"multicast within everything", networks{within: prefixes("0.0.0.0/0")}, "224.0.0.1", errMulticast},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := newPeer(recorder.Source{IP: tc.ip, RTPPort: 41300}, false, tc.networks)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

// TestRefusalsSayWhatToDo: the text goes to whoever called attachTrack. It names the address, a remedy and no package.
func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	r := testReceiver(t, 8, func(c *Config) { c.Peers = prefixes("127.0.0.0/8") })
	l := lease(t, r, false)
	for ip, remedy := range map[string]string{
		"::1":             "listen on an IPv4 address",
		"224.0.0.1":       "pass transport.tuple.localIp",
		"255.255.255.255": "pass transport.tuple.localIp",
		"fe80::1%eth0":    "global or unique local address",
		"169.254.169.254": "have the operator of the recorder allow",
		"sfu.example":     "leave it out to pin the first sender",
	} {
		err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: &memory{}, Source: recorder.Source{IP: ip, RTPPort: 9, RTCPPort: 53}})
		if !errors.Is(err, ErrAttachment) || !errors.Is(err, recorder.ErrAttachment) {
			t.Errorf("%s: error %v, want ErrAttachment", ip, err)
			continue
		}
		if s := err.Error(); !strings.Contains(s, ip) || !strings.Contains(s, remedy) || strings.Contains(s, "ingest") || strings.Contains(s, "recorder:") {
			t.Errorf("%s: %s", ip, s)
		}
	}
	l.RequestKeyframe() // of nothing: no refused attachment may have left a track
	if s := l.Stats(); s.KeyframesAsked != 0 || s.SSRC != 0 {
		t.Errorf("%+v", s)
	}
}

// TestNothingIsSentToAnUnheardPeer: whoever may attach a track chooses an address and a port. Without a packet from there,
// wishes for keyframes are held back; the first valid packet lets one of them out.
func TestNothingIsSentToAnUnheardPeer(t *testing.T) {
	t.Parallel()
	for _, mux := range []bool{false, true} {
		l := lease(t, testReceiver(t, 8), mux)
		rtp, control := sender(t), sender(t)
		toRTCP := l.Endpoint().RTCPPort
		if mux {
			control, toRTCP = rtp, l.Endpoint().RTPPort
		}
		sink := &memory{calls: make(chan arrived, 10)}
		if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink,
			Source: recorder.Source{IP: "127.0.0.1", RTPPort: portOf(rtp), RTCPPort: portOf(control)}}); err != nil {
			t.Fatal(err)
		}
		// Neither wishes nor packets that are not the track's make it speak. Reports are taken and prove nothing.
		l.RequestKeyframe()
		send(t, rtp, l.Endpoint().RTPPort, packet(t, 77, 101, 1, 1, vp8Delta))
		send(t, sender(t), l.Endpoint().RTPPort, packet(t, testSSRC, 101, 1, 1, vp8Delta))
		send(t, control, toRTCP, report(t, testSSRC))
		next(t, sink)
		waitFor(t, func() bool { return l.Stats().DroppedForeign == 2 })
		l.RequestKeyframe()
		if s := l.Stats(); s.KeyframesAsked != 0 {
			t.Errorf("rtcpMux %v: %d requests to a peer that never sent", mux, s.KeyframesAsked)
		}
		mark := []byte("after the wishes")
		send(t, sender(t), portOf(control), mark)
		if got, _ := receive(t, control); string(got) != string(mark) {
			t.Errorf("rtcpMux %v: a peer that never sent was sent %x", mux, got)
		}
		send(t, rtp, l.Endpoint().RTPPort, packet(t, testSSRC, 101, 1, 1, vp8Delta))
		raw, _ := receive(t, control)
		var pli rtcp.PictureLossIndication
		if err := pli.Unmarshal(raw); err != nil || pli.MediaSSRC != testSSRC {
			t.Errorf("rtcpMux %v: %x, error %v", mux, raw, err)
		}
	}
}

// TestAKeyframeFulfilsAWishHeldBack: what comes first is what was wished for.
func TestAKeyframeFulfilsAWishHeldBack(t *testing.T) {
	t.Parallel()
	tr, _ := testTrack(t, announced, false)
	tr.requestKeyframe()
	if f, ok := tr.tick(ms(0)); ok {
		t.Fatalf("asked %v before it was heard", f.to)
	}
	tr.onRTP(sfuRTP, packet(t, testSSRC, 101, 1, 1, vp8Key), ms(10))
	if _, ok := tr.tick(ms(20)); ok {
		t.Error("asked for the keyframe that has just come")
	}
}

// TestHijack: the IP is left open, and a stranger who has learnt SSRC, payload type and port sends first.
func TestHijack(t *testing.T) {
	t.Parallel()
	stranger := netip.AddrPortFrom(other.Addr(), sfuRTP.Port())
	open := recorder.Source{RTPPort: 41300, RTCPPort: 41266}
	valid := packet(t, testSSRC, 101, 1, 1, vp8Delta)

	t.Run("from outside the networks", func(t *testing.T) {
		t.Parallel()
		sink := &memory{}
		tr, err := newTrack(recorder.Attachment{Params: vp8Params(), Source: open, Sink: sink}, false,
			networks{within: prefixes("192.0.2.0/24")}, plainRTP, &counters{})
		if err != nil {
			t.Fatal(err)
		}
		tr.onRTP(stranger, valid, ms(0))
		tr.requestKeyframe()
		if f, ok := tr.tick(ms(1)); ok {
			t.Errorf("asked the stranger at %v", f.to)
		}
		tr.onRTP(sfuRTP, valid, ms(2))
		if s := tr.count.stats(tr); s.Packets != 1 || s.DroppedForeign != 1 || len(sink.got) != 1 {
			t.Errorf("%+v", s)
		}
		if f, ok := tr.tick(ms(3)); !ok || f.to != sfuRTCP {
			t.Errorf("asked %v %v, want %v", f.to, ok, sfuRTCP)
		}
	})
	t.Run("an odd address", func(t *testing.T) {
		t.Parallel()
		tr, _ := testTrack(t, open, false)
		for _, from := range []string{"[2001:db8::1]:41300", "224.0.0.1:41300", "255.255.255.255:41300"} {
			tr.onRTP(netip.MustParseAddrPort(from), valid, ms(0))
		}
		tr.onRTP(sfuRTP, valid, ms(1))
		if s := tr.count.stats(tr); s.Packets != 1 || s.DroppedForeign != 3 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("attaching anew frees the track", func(t *testing.T) {
		t.Parallel()
		for name, between := range map[string]func(*Lease){"at once": func(*Lease) {}, "after detaching": (*Lease).Detach} {
			l := lease(t, testReceiver(t, 8), false)
			rtp, hijacker := sender(t), sender(t)
			sink := &memory{calls: make(chan arrived, 10)}
			same := recorder.Attachment{Params: vp8Params(), Sink: sink}
			attach := func() {
				if err := l.Attach(same); err != nil {
					t.Fatal(err)
				}
			}
			attach()
			send(t, hijacker, l.Endpoint().RTPPort, valid)
			next(t, sink)
			send(t, rtp, l.Endpoint().RTPPort, valid)
			waitFor(t, func() bool { return l.Stats().DroppedForeign == 1 })
			between(l)
			attach()
			mine := packet(t, testSSRC, 101, 9, 1, vp8Key)
			send(t, rtp, l.Endpoint().RTPPort, mine)
			if a := next(t, sink); string(a.data) != string(mine) {
				t.Errorf("%s: %x", name, a.data)
			}
			send(t, hijacker, l.Endpoint().RTPPort, valid)
			waitFor(t, func() bool { return l.Stats().DroppedForeign == 2 })
		}
	})
}

// TestPeersOverSockets: the list of the configuration reaches the sockets.
func TestPeersOverSockets(t *testing.T) {
	t.Parallel()
	second := netip.MustParseAddr("127.0.0.2")
	sfu, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(second, 0)))
	if err != nil {
		t.Skipf("this machine has no second loopback address: %v", err)
	}
	defer func() { _ = sfu.Close() }()
	l := lease(t, testReceiver(t, 8, func(c *Config) { c.Peers = prefixes("127.0.0.2/32") }), false)
	sink := &memory{calls: make(chan arrived, 10)}
	if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink}); err != nil {
		t.Fatal(err)
	}
	mine := packet(t, testSSRC, 101, 2, 1, vp8Key)
	send(t, sender(t), l.Endpoint().RTPPort, packet(t, testSSRC, 101, 1, 1, vp8Key))
	send(t, sfu, l.Endpoint().RTPPort, mine)
	if a := next(t, sink); string(a.data) != string(mine) {
		t.Errorf("%x", a.data)
	}
	if s := l.Stats(); s.Packets != 1 || s.DroppedForeign != 1 {
		t.Errorf("%+v", s)
	}
}

// TestIPv6 has both sides on IPv6, control packets too.
func TestIPv6(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.BindIP, cfg.PortMin, cfg.Peers = "::1", portRange(t, 8), prefixes("::1/128")
	cfg.PortMax = cfg.PortMin + 7
	r, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	defer func() { _ = r.Close() }()
	l := lease(t, r, false)
	rtp, control := sender6(t), sender6(t)
	sink := &memory{calls: make(chan arrived, 1)}
	if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink,
		Source: recorder.Source{IP: "::1", RTPPort: portOf(rtp), RTCPPort: portOf(control)}}); err != nil {
		t.Fatal(err)
	}
	l.RequestKeyframe()
	if _, err := rtp.WriteToUDPAddrPort(packet(t, testSSRC, 101, 1, 1, vp8Delta), netip.AddrPortFrom(netip.IPv6Loopback(), uint16(l.Endpoint().RTPPort))); err != nil {
		t.Fatal(err)
	}
	next(t, sink)
	raw, from := receive(t, control)
	var pli rtcp.PictureLossIndication
	if err := pli.Unmarshal(raw); err != nil || pli.MediaSSRC != testSSRC || from != l.Endpoint().RTCPPort {
		t.Errorf("%x from port %d, error %v", raw, from, err)
	}
	if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink, Source: recorder.Source{IP: "127.0.0.1"}}); !errors.Is(err, errWantsIPv6) {
		t.Errorf("error %v, want errWantsIPv6", err)
	}
}

func sender6(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestNoAddressEndsTheProcess is the attack that once did: an address of the other family, ports that answer nobody, and
// two wishes within a second, the second of which the limiter holds back for the poller.
func TestNoAddressEndsTheProcess(t *testing.T) {
	t.Parallel()
	l := lease(t, testReceiver(t, 8), false)
	if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: &memory{}, Source: recorder.Source{IP: "::1", RTPPort: 9, RTCPPort: 53}}); err == nil {
		t.Error("accepted")
	}
	// Should a track get there all the same, sending to it is an error and no more.
	smuggle(t, l, netip.MustParseAddrPort("[::1]:9"), 53)
	l.RequestKeyframe()
	l.RequestKeyframe()
	l.tick(time.Now().Add(askPause))
	if s := l.Stats(); s.KeyframesAsked != 2 {
		t.Errorf("%d requests, want both", s.KeyframesAsked)
	}
}

func smuggle(t *testing.T, l *Lease, rtp netip.AddrPort, rtcpPort uint16) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	tr, err := newTrack(recorder.Attachment{Params: vp8Params(), Sink: &memory{}}, false, anyIPv4, plainRTP, &l.count)
	if err != nil {
		t.Fatal(err)
	}
	tr.peer.pinRTP(rtp)
	tr.peer.rtcpPort = rtcpPort
	l.track = tr
}
