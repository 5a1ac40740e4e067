package whip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"github.com/dualrec/dualrec/recorder"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline bounds what must happen at all; nothing is measured by it.
const deadline = 30 * time.Second

// shelf is a Recordings of one tenant.
type shelf struct {
	mu        sync.Mutex
	tenant    string
	expects   map[string][]recorder.TrackKind
	ended     map[string]bool
	feeding   map[recorder.TrackKind]recorder.PublishCommand
	refusal   error
	published chan recorder.PublishCommand
	dropped   chan recorder.TrackKind
	packets   chan got
}

type got struct {
	kind recorder.TrackKind
	what recorder.PacketKind
	data []byte
}

func newShelf() *shelf {
	return &shelf{tenant: "ten_1", ended: map[string]bool{}, feeding: map[recorder.TrackKind]recorder.PublishCommand{},
		expects:   map[string][]recorder.TrackKind{"rec_1": {recorder.Screen, recorder.Webcam, recorder.AgentAudio}},
		published: make(chan recorder.PublishCommand, 100), dropped: make(chan recorder.TrackKind, 100), packets: make(chan got, 10_000)}
}

func (s *shelf) Expected(_ context.Context, tenantID, recordingID string) ([]recorder.TrackKind, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended[recordingID] {
		return nil, &recorder.StateError{RecordingID: recordingID, Is: recorder.Available}
	}
	kinds, ok := s.expects[recordingID]
	if !ok || tenantID != s.tenant {
		return nil, &recorder.CommandError{Code: recorder.CodeNotFound, Msg: "no such recording"}
	}
	return kinds, nil
}

// Publish does what recorder.Service does with a lease: the older one is closed, the new one is attached.
func (s *shelf) Publish(_ context.Context, c recorder.PublishCommand) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != nil {
		return "", s.refusal
	}
	params, err := recorder.ParseRTPParameters(c.RTPParameters, c.Kind)
	if err != nil {
		return "", err
	}
	if old, ok := s.feeding[c.Kind]; ok {
		_ = old.Lease.Close()
	}
	if err := c.Lease.Attach(recorder.Attachment{Params: params, Source: c.Source, Sink: keeper{c.Kind, s.packets}}); err != nil {
		return "", err
	}
	s.feeding[c.Kind] = c
	s.published <- c
	return "trk", nil
}

func (s *shelf) Unpublish(_ context.Context, c recorder.UnpublishCommand) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for kind, f := range s.feeding {
		if f.Lease == c.Lease {
			delete(s.feeding, kind)
			s.dropped <- kind
			return c.Lease.Close()
		}
	}
	return nil
}

// stop is the end of a recording.
func (s *shelf) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for kind, f := range s.feeding {
		_ = f.Lease.Close()
		delete(s.feeding, kind)
	}
}

type keeper struct {
	kind recorder.TrackKind
	to   chan got
}

func (k keeper) Packet(_ time.Time, what recorder.PacketKind, data []byte) {
	select {
	case k.to <- got{k.kind, what, bytes.Clone(data)}:
	default: // the test does not look
	}
}

func (keeper) Overflow(time.Time, uint64) {}

// gate lets a few words in.
type gate struct{}

func (gate) Admit(r *http.Request, recordingID string) (Publisher, error) {
	switch word, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); word {
	case "all":
		return Publisher{TenantID: "ten_1"}, nil
	case "webcam only":
		return Publisher{TenantID: "ten_1", Kinds: []recorder.TrackKind{recorder.Webcam}}, nil
	case "rival":
		return Publisher{TenantID: "ten_2"}, nil
	case "far":
		return Publisher{TenantID: "ten_1", Near: func(netip.Addr) bool { return false }}, nil
	case "broken":
		return Publisher{}, errors.New("secret-db.internal is down")
	}
	return Publisher{}, refuse(http.StatusUnauthorized, "UNAUTHENTICATED", "no")
}

// world is a server with its HTTP side.
type world struct {
	*Server
	shelf *shelf
	url   string
}

func newWorld(t *testing.T, edit func(*Config)) *world {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Bind = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.AllowedOrigins = []string{"https://desk.example.com"}
	if edit != nil {
		edit(&cfg)
	}
	sh := newShelf()
	s, err := New(t.Context(), cfg, sh, gate{}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{Server: s, shelf: sh, url: web.URL}
}

// do sends a request; headers are pairs.
func (w *world) do(t *testing.T, method, path, bearer string, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func (w *world) post(t *testing.T, path, bearer, offer string) (*http.Response, string) {
	t.Helper()
	return w.do(t, http.MethodPost, path, bearer, offer, "Content-Type", "application/sdp")
}

// client is a publisher.
type client struct {
	pc       *webrtc.PeerConnection
	video    *webrtc.TrackLocalStaticRTP
	audio    *webrtc.TrackLocalStaticRTP
	state    chan webrtc.PeerConnectionState
	location string
	etag     string
	answer   string
	asked    chan []byte // RTCP that came for the video
	wg       sync.WaitGroup
	mux      ice.UDPMux
	line     *muteable
}

// muteable is a network that can be cut.
type muteable struct {
	*net.UDPConn
	cut atomic.Bool
}

func (m *muteable) WriteTo(b []byte, to net.Addr) (int, error) {
	if m.cut.Load() {
		return len(b), nil
	}
	return m.UDPConn.WriteTo(b, to)
}

func (c *client) cut() { c.line.cut.Store(true) }

func newClient(t *testing.T, video, audio bool) *client {
	t.Helper()
	settings := webrtc.SettingEngine{LoggerFactory: quietLog{slog.New(slog.DiscardHandler)}}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	line, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	mute := &muteable{UDPConn: line}
	mux := webrtc.NewICEUDPMux(nil, mute)
	settings.SetICEUDPMux(mux)
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(media)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{pc: pc, mux: mux, line: mute, state: make(chan webrtc.PeerConnectionState, 20), asked: make(chan []byte, 1000)}
	t.Cleanup(c.close)
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) { c.state <- s })
	add := func(mime string, rate uint32, channels uint16) *webrtc.TrackLocalStaticRTP {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime, ClockRate: rate, Channels: channels}, mime[:5], "stream")
		if err != nil {
			t.Fatal(err)
		}
		tr, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			t.Fatal(err)
		}
		c.wg.Go(func() { c.hear(tr.Sender(), rate == 90000) })
		return track
	}
	if video {
		c.video = add(webrtc.MimeTypeVP8, 90000, 0)
	}
	if audio {
		c.audio = add(webrtc.MimeTypeOpus, 48000, 2)
	}
	return c
}

func (c *client) hear(s *webrtc.RTPSender, video bool) {
	b := make([]byte, 1500)
	for {
		n, _, err := s.Read(b)
		if err != nil {
			return
		}
		if video {
			select {
			case c.asked <- bytes.Clone(b[:n]):
			default:
			}
		}
	}
}

func (c *client) close() {
	_ = c.pc.GracefulClose()
	c.wg.Wait()
	_ = c.mux.Close()
}

func (c *client) offer(t *testing.T) string {
	t.Helper()
	o, err := c.pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(o); err != nil {
		t.Fatal(err)
	}
	<-gathered
	return c.pc.LocalDescription().SDP
}

// publish begins a session and waits until it is connected.
func (c *client) publish(t *testing.T, w *world, path string) {
	t.Helper()
	c.begin(t, w, path)
	c.until(t, webrtc.PeerConnectionStateConnected)
}

func (c *client) begin(t *testing.T, w *world, path string) {
	t.Helper()
	c.beginAs(t, w, path, "all")
}

func (c *client) beginAs(t *testing.T, w *world, path, bearer string) {
	t.Helper()
	resp, text := w.post(t, path, bearer, c.offer(t))
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	c.location, c.etag, c.answer = resp.Header.Get("Location"), resp.Header.Get("ETag"), text
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: text}); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func (c *client) until(t *testing.T, want webrtc.PeerConnectionState) {
	t.Helper()
	limit := time.After(deadline)
	for {
		select {
		case is := <-c.state:
			if is == want {
				return
			}
		case <-limit:
			t.Fatalf("the publisher is %v and not %v", c.pc.ConnectionState(), want)
		}
	}
}

// sendVideo sends one packet; the first byte of a VP8 frame says whether it is a keyframe.
func (c *client) sendVideo(t *testing.T, seq uint16, key bool) {
	t.Helper()
	payload := []byte{0x10, 0x01, 0xaa}
	if key {
		payload = []byte{0x10, 0x00, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00}
	}
	err := c.video.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, SequenceNumber: seq, Timestamp: uint32(seq) * 3000}, Payload: payload})
	if err != nil {
		t.Fatal(err)
	}
}

func wait[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(deadline):
		t.Fatal("nothing came: " + what)
		panic("unreachable")
	}
}

func (w *world) waitDropped(t *testing.T, kinds ...recorder.TrackKind) {
	t.Helper()
	have := map[recorder.TrackKind]bool{}
	for range kinds {
		have[wait(t, w.shelf.dropped, fmt.Sprintf("the end of %v", kinds))] = true
	}
	for _, k := range kinds {
		if !have[k] {
			t.Errorf("ended are %v, want %v", have, kinds)
		}
	}
}

// waitSessions returns when there are so many sessions.
func (w *world) waitSessions(t *testing.T, want int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(deadline); w.Sessions() != want; {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%d sessions, want %d", w.Sessions(), want)
		}
	}
}
