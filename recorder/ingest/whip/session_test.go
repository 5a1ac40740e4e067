package whip

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/dualrec/dualrec/recorder"
)

// TestPublish: video and audio of one session reach the tracks of the webcam side, and what is missing is asked for.
func TestPublish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := newClient(t, true, true)
	c.publish(t, w, "/whip/rec_1/webcam")
	for range 2 {
		p := wait(t, w.shelf.published, "a publication")
		if p.TenantID != "ten_1" || p.RecordingID != "rec_1" || p.Source.IP != "127.0.0.1" || p.Source.RTPPort == 0 {
			t.Errorf("published %+v", p)
		}
		params, err := recorder.ParseRTPParameters(p.RTPParameters, p.Kind)
		if err != nil {
			t.Fatal(err)
		}
		if params.CNAME == "" || p.Kind == recorder.Webcam && (params.Codec != recorder.VP8 || !params.NACK || !params.PLI || params.RTXSSRC == 0) {
			t.Errorf("%s: %+v", p.Kind, params)
		}
	}
	c.sendVideo(t, 1, true)
	c.sendVideo(t, 2, false)
	c.sendVideo(t, 5, false)
	for range 3 {
		if p := wait(t, w.shelf.packets, "video"); p.kind != recorder.Webcam || p.what != recorder.PacketRTP {
			t.Errorf("%+v", p)
		}
	}
	for asked := false; !asked; {
		packets, err := rtcp.Unmarshal(wait(t, c.asked, "a NACK"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packets {
			if n, ok := p.(*rtcp.TransportLayerNack); ok {
				asked = true
				if seqs := n.Nacks[0].PacketList(); len(seqs) != 2 || seqs[0] != 3 || seqs[1] != 4 {
					t.Errorf("asked for %v, want 3 and 4", seqs)
				}
			}
		}
	}
	resp, _ := w.do(t, "DELETE", c.location, "all", "")
	if resp.StatusCode != 200 {
		t.Errorf("DELETE: %d", resp.StatusCode)
	}
	w.waitDropped(t, recorder.Webcam, recorder.AgentAudio)
	c.until(t, webrtc.PeerConnectionStateClosed)
	if resp, _ := w.do(t, "DELETE", c.location, "all", ""); resp.StatusCode != 404 {
		t.Errorf("DELETE again: %d", resp.StatusCode)
	}
}

// TestNewerSessionReplaces: the browser's page was loaded anew. The tracks go over, and the older session ends.
func TestNewerSessionReplaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first, second := newClient(t, true, false), newClient(t, true, false)
	first.publish(t, w, "/whip/rec_1/screen")
	wait(t, w.shelf.published, "the first")
	other := newClient(t, true, false)
	other.publish(t, w, "/whip/rec_1/webcam")
	wait(t, w.shelf.published, "the other side")
	second.publish(t, w, "/whip/rec_1/screen")
	wait(t, w.shelf.published, "the second")
	first.until(t, webrtc.PeerConnectionStateClosed)
	w.waitSessions(t, 2)
	second.sendVideo(t, 1, true)
	if p := wait(t, w.shelf.packets, "video of the second"); p.kind != recorder.Screen {
		t.Errorf("%+v", p)
	}
	if len(w.shelf.dropped) != 0 {
		t.Errorf("%v was detached", <-w.shelf.dropped)
	}
}

// TestClosedBrowser: the publisher closes its connection and says nothing else.
func TestClosedBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := newClient(t, true, true)
	c.publish(t, w, "/whip/rec_1/webcam")
	wait(t, w.shelf.published, "video")
	wait(t, w.shelf.published, "audio")
	c.close()
	w.waitDropped(t, recorder.Webcam, recorder.AgentAudio)
	w.waitSessions(t, 0)
}

// TestLostBrowser: the publisher's packets stop coming, as when its network is gone.
func TestLostBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.LostAfter = 3 * time.Second })
	c := newClient(t, true, false)
	c.publish(t, w, "/whip/rec_1/webcam")
	wait(t, w.shelf.published, "video")
	c.cut()
	w.waitDropped(t, recorder.Webcam)
	w.waitSessions(t, 0)
}

// TestNeverConnects: an offer without a browser behind it holds its place for a while and no track.
func TestNeverConnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.ConnectWithin = 50 * time.Millisecond })
	if resp, text := w.post(t, "/whip/rec_1/webcam", "all", newClient(t, true, true).offer(t)); resp.StatusCode != 201 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	w.waitSessions(t, 0)
	if len(w.shelf.published) != 0 {
		t.Error("it has published")
	}
}

// TestEndOfTheRecording: the recording closes its leases, and the browser sees its connection closed.
func TestEndOfTheRecording(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := newClient(t, true, true)
	c.publish(t, w, "/whip/rec_1/webcam")
	wait(t, w.shelf.published, "video")
	wait(t, w.shelf.published, "audio")
	w.shelf.stop()
	c.until(t, webrtc.PeerConnectionStateClosed)
	w.waitSessions(t, 0)
}

// TestRefusedPublication: the recording ended between the offer and the first packet, or the media comes from elsewhere.
func TestRefusedPublication(t *testing.T) {
	t.Parallel()
	for bearer, refusal := range map[string]error{"all": &recorder.StateError{RecordingID: "rec_1", Is: recorder.Finalizing}, "far": nil} {
		w := newWorld(t, nil)
		w.shelf.refusal = refusal
		c := newClient(t, true, false)
		c.beginAs(t, w, "/whip/rec_1/screen", bearer)
		c.until(t, webrtc.PeerConnectionStateClosed)
		w.waitSessions(t, 0)
		if len(w.shelf.published) != 0 {
			t.Errorf("%s has published", bearer)
		}
	}
}

// TestServerCloses: all sessions end with the server, and there is no new one.
func TestServerCloses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := newClient(t, true, false)
	c.publish(t, w, "/whip/rec_1/screen")
	wait(t, w.shelf.published, "video")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.waitDropped(t, recorder.Screen)
	if resp, _ := w.post(t, "/whip/rec_1/screen", "all", newClient(t, true, false).offer(t)); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a new session: %d", resp.StatusCode)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestAnnouncedAddresses: bound to every address, the answer names the announced ones alone, with the one port.
func TestAnnouncedAddresses(t *testing.T) {
	t.Parallel()
	for bind, announced := range map[string][]string{"0.0.0.0:0": {"203.0.113.7", "198.51.100.7"}, "127.0.0.1:0": {"203.0.113.7"}} {
		w := newWorld(t, func(c *Config) {
			c.Bind = netip.MustParseAddrPort(bind)
			for _, a := range announced {
				c.Announced = append(c.Announced, netip.MustParseAddr(a))
			}
		})
		resp, answer := w.post(t, "/whip/rec_1/screen", "all", newClient(t, true, false).offer(t))
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("%d %s", resp.StatusCode, answer)
		}
		seen := map[string]bool{}
		for line := range strings.Lines(answer) {
			if f := strings.Fields(line); strings.HasPrefix(line, "a=candidate:") {
				seen[f[4]] = true
				if f[5] != strconv.Itoa(w.Port()) || f[7] != "host" {
					t.Errorf("candidate %q, want host and port %d", line, w.Port())
				}
			}
		}
		if len(seen) != len(announced) {
			t.Errorf("%s: the answer names %v, want %v", bind, seen, announced)
		}
		for _, a := range announced {
			if !seen[a] {
				t.Errorf("%s: the answer does not name %s", bind, a)
			}
		}
	}
}

// TestBoundToEveryAddress: media comes to the announced address of a socket that is bound to all.
func TestBoundToEveryAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.Bind, c.Announced = netip.MustParseAddrPort("0.0.0.0:0"), []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	})
	c := newClient(t, true, false)
	c.publish(t, w, "/whip/rec_1/screen")
	if p := wait(t, w.shelf.published, "a publication"); p.Source.IP != "127.0.0.1" {
		t.Errorf("published from %+v", p.Source)
	}
	c.sendVideo(t, 1, true)
	wait(t, w.shelf.packets, "video")
}

// TestNarrowTokenEndsNoOther: who may feed the webcam alone takes it over, and leaves the sound to the session that it is of.
func TestNarrowTokenEndsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first, second := newClient(t, true, true), newClient(t, true, false)
	first.publish(t, w, "/whip/rec_1/webcam")
	for range 2 {
		wait(t, w.shelf.published, "the first")
	}
	second.beginAs(t, w, "/whip/rec_1/webcam", "webcam only")
	if p := wait(t, w.shelf.published, "the second"); p.Kind != recorder.Webcam {
		t.Errorf("published %s", p.Kind)
	}
	if resp, _ := w.do(t, "DELETE", second.location, "webcam only", ""); resp.StatusCode != 200 { // it has replaced what it may by now
		t.Errorf("DELETE of the second: %d", resp.StatusCode)
	}
	w.waitDropped(t, recorder.Webcam)
	if resp, _ := w.do(t, "DELETE", first.location, "webcam only", ""); resp.StatusCode != 404 {
		t.Errorf("DELETE of the first by the second's token: %d", resp.StatusCode)
	}
	if len(w.shelf.dropped) != 0 {
		t.Errorf("%v was detached", <-w.shelf.dropped)
	}
	if resp, _ := w.do(t, "DELETE", first.location, "all", ""); resp.StatusCode != 200 {
		t.Errorf("DELETE of the first: %d", resp.StatusCode)
	}
	w.waitDropped(t, recorder.AgentAudio)
}

// TestCloseWaitsForSessionsBeingMade: the socket is not closed under an offer that is being answered.
func TestCloseWaitsForSessionsBeingMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if err := w.reserve("rec_1"); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- w.Close() }()
	<-w.base.Done()
	select {
	case <-closed:
		t.Fatal("closed before the session was made")
	default:
	}
	w.release("rec_1")
	if err := wait(t, closed, "the end of Close"); err != nil {
		t.Error(err)
	}
}
