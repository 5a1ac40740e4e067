package player

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// recorder is the other side: GraphQL over HTTP, and sockets that keep what arrives.
type recorder struct {
	t    *testing.T
	http *httptest.Server
	mux  bool

	mu       sync.Mutex
	tracks   []*ingest
	calls    []string
	keys     map[string]string // operation → bearer token
	started  StartInput
	attached map[string]attachment
	polls    int
	statuses []string // recording answers, one by one, the last for ever
	refuse   string   // the operation that answers with a user error
}

type attachment struct {
	RTPParameters json.RawMessage
	Source        Source
}

// ingest are the sockets of one track.
type ingest struct {
	kind      string
	rtp, rtcp *net.UDPConn
	wg        sync.WaitGroup

	mu   sync.Mutex
	got  map[bool][][]byte // by "is RTCP"
	from map[bool]int      // port
}

func newRecorder(t *testing.T, mux bool, statuses ...string) *recorder {
	r := &recorder{t: t, mux: mux, statuses: statuses, keys: map[string]string{}, attached: map[string]attachment{}}
	r.http = httptest.NewServer(r)
	t.Cleanup(func() {
		r.http.Close()
		http.DefaultClient.CloseIdleConnections()
		for _, i := range r.tracks {
			_ = i.rtp.Close()
			_ = i.rtcp.Close()
			i.wg.Wait()
		}
	})
	return r
}

func (r *recorder) endpoint() string { return r.http.URL + "/graphql" }

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/media/video" {
		_, _ = io.WriteString(w, "the video")
		return
	}
	var q struct {
		Query     string
		Variables struct {
			ID    string
			Input json.RawMessage
		}
	}
	if err := json.NewDecoder(req.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, answer := range map[string]func(json.RawMessage) string{
		"startRecording(": r.start, "attachTrack(": r.attach, "stopRecording(": r.stop, "recording(id": r.status, "grantPlayback(": r.grant,
	} {
		if !strings.Contains(q.Query, name) {
			continue
		}
		r.calls = append(r.calls, name)
		r.keys[name] = req.Header.Get("Authorization")
		if r.refuse == name {
			_, _ = fmt.Fprintf(w, `{"data":{"payload":{"userErrors":[{"field":["input","kind"],"message":"no","code":"CONFLICT"}]}}}`)
			return
		}
		_, _ = io.WriteString(w, answer(q.Variables.Input))
		return
	}
	_, _ = io.WriteString(w, `{"errors":[{"message":"unknown operation"}]}`)
}

func (r *recorder) start(in json.RawMessage) string {
	if err := json.Unmarshal(in, &r.started); err != nil {
		r.t.Error(err)
	}
	var tracks []string
	for _, kind := range r.started.Tracks {
		i := newIngest(r.t, kind)
		r.tracks = append(r.tracks, i)
		rtcpPort := fmt.Sprint(local(i.rtcp).Port())
		if r.mux {
			rtcpPort = "null"
		}
		tracks = append(tracks, fmt.Sprintf(`{"id":"trk","kind":%q,"ingest":{"ip":"127.0.0.1","rtpPort":%d,"rtcpPort":%s}}`, kind, local(i.rtp).Port(), rtcpPort))
	}
	return `{"data":{"startRecording":{"recording":{"id":"rec_1","viewUrl":"http://console/rec_1","tracks":[` + strings.Join(tracks, ",") + `]},"userErrors":[]}}}`
}

func (r *recorder) attach(in json.RawMessage) string {
	var a struct {
		RecordingID, Kind string
		attachment
	}
	if err := json.Unmarshal(in, &a); err != nil || a.RecordingID != "rec_1" {
		r.t.Errorf("attachTrack(%s): %v", in, err)
	}
	r.attached[a.Kind] = a.attachment
	return `{"data":{"payload":{"userErrors":[]}}}`
}

func (r *recorder) stop(json.RawMessage) string { return `{"data":{"payload":{"userErrors":[]}}}` }

func (r *recorder) status(json.RawMessage) string {
	capture := r.statuses[min(r.polls, len(r.statuses)-1)]
	r.polls++
	failure := "null"
	if capture == "FAILED" {
		failure = `{"message":"disk full"}`
	}
	return fmt.Sprintf(`{"data":{"recording":{"capture":%q,"composeLagMs":1200,"durationMs":2000,"failure":%s}}}`, capture, failure)
}

func (r *recorder) grant(json.RawMessage) string {
	return `{"data":{"grantPlayback":{"grant":{"videoUrl":"/media/video?sig=x"},"userErrors":[]}}}`
}

func local(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func newIngest(t *testing.T, kind string) *ingest {
	i := &ingest{kind: kind, got: map[bool][][]byte{}, from: map[bool]int{}}
	for _, c := range []**net.UDPConn{&i.rtp, &i.rtcp} {
		var err error
		if *c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	_ = i.rtp.SetReadBuffer(4 << 20)
	i.wg.Go(func() { i.read(i.rtp) })
	i.wg.Go(func() { i.read(i.rtcp) })
	return i
}

// read keeps what arrives and answers the first packet of a socket with a request for a keyframe.
func (i *ingest) read(c *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		isRTCP := n > 1 && buf[1] >= 192 && buf[1] <= 223
		i.mu.Lock()
		if i.got[isRTCP] == nil && isRTCP {
			pli, _ := (&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 2}).Marshal()
			_, _ = c.WriteToUDPAddrPort(pli, from)
		}
		i.got[isRTCP] = append(i.got[isRTCP], bytes.Clone(buf[:n]))
		i.from[isRTCP] = int(from.Port())
		i.mu.Unlock()
	}
}

func (i *ingest) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.got[false]) + len(i.got[true])
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it never happened")
		}
	}
}

func testConfig(t *testing.T, r *recorder) Config {
	return Config{Endpoint: r.endpoint(), APIKey: "service", PlaybackKey: "reviewer", Call: load(t, "chrome-vp8"),
		ExternalID: "call-1", Queue: "sales", Agent: "ann", Speed: 10, Duration: 2 * time.Second, RTCPMux: r.mux, Poll: time.Millisecond}
}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("rtcpMux %v", mux), func(t *testing.T) {
			t.Parallel()
			r := newRecorder(t, mux, "FINALIZING", "UPLOADING", "AVAILABLE")
			cfg := testConfig(t, r)
			cfg.Out = filepath.Join(t.TempDir(), "call.mp4")
			var phases []string
			cfg.Progress = func(p Progress) {
				if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
					phases = append(phases, p.Phase)
				}
			}
			res, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(phases, " "); got != "start play compose download done" {
				t.Errorf("phases: %s", got)
			}
			checkResult(t, r, res, cfg)
			for i, tr := range cfg.Call.Tracks {
				checkWire(t, r, tr, res.Tracks[i])
			}
		})
	}
}

func checkResult(t *testing.T, r *recorder, res Result, cfg Config) {
	t.Helper()
	if res.RecordingID != "rec_1" || res.Capture != "AVAILABLE" || res.DurationMs != 2000 || res.ViewURL != "http://console/rec_1" ||
		res.VideoURL != r.http.URL+"/media/video?sig=x" || res.Bytes != 9 || res.PlayedMs < 1900 {
		t.Errorf("%+v", res)
	}
	if video, err := os.ReadFile(cfg.Out); err != nil || string(video) != "the video" {
		t.Errorf("%q, error %v", video, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.started; s.ExternalSessionID != "call-1" || s.Queue != "sales" || s.Agent != "ann" || s.RTCPMux != r.mux ||
		strings.Join(s.Tracks, " ") != "SCREEN WEBCAM AGENT_AUDIO" {
		t.Errorf("started with %+v", s)
	}
	if r.keys["attachTrack("] != "Bearer service" || r.keys["grantPlayback("] != "Bearer reviewer" {
		t.Errorf("keys: %v", r.keys)
	}
}

// checkWire: the recorder got the packets of the capture, in order, from the ports that were announced.
func checkWire(t *testing.T, r *recorder, tr Track, res TrackResult) {
	t.Helper()
	var in *ingest
	for _, i := range r.tracks {
		if i.kind == tr.Kind() {
			in = i
		}
	}
	waitFor(t, func() bool { return uint64(in.count()) == res.Sent.RTP+res.Sent.RTCP })
	in.mu.Lock()
	defer in.mu.Unlock()
	n := map[bool]int{}
	for _, p := range tr.Packets {
		if k := n[p.RTCP]; k < len(in.got[p.RTCP]) {
			if !bytes.Equal(in.got[p.RTCP][k], p.Data) {
				t.Fatalf("%s: packet %d (RTCP %v) differs", tr.Name, k, p.RTCP)
			}
			n[p.RTCP]++
		}
	}
	if len(in.got[false]) < 90 || len(in.got[true]) < 1 || n[true] != len(in.got[true]) {
		t.Errorf("%s: %d RTP, %d RTCP", tr.Name, len(in.got[false]), len(in.got[true]))
	}
	a := r.attached[tr.Kind()]
	if !sameJSON(t, a.RTPParameters, tr.RTPParameters) {
		t.Errorf("%s: rtpParameters were changed: %s", tr.Name, a.RTPParameters)
	}
	rtcpPort := a.Source.RTCPPort
	if r.mux {
		rtcpPort = a.Source.RTPPort
	}
	if in.from[false] != a.Source.RTPPort || in.from[true] != rtcpPort || a.Source.IP != "127.0.0.1" || r.mux != (a.Source.RTCPPort == 0) {
		t.Errorf("%s: packets came from %v, announced was %+v", tr.Name, in.from, a.Source)
	}
	if res.Received.PLI+res.Received.Foreign != 1 || res.Received.Foreign != 0 {
		t.Errorf("%s: feedback %+v", tr.Name, res.Received)
	}
}

func sameJSON(t *testing.T, a, b json.RawMessage) bool {
	t.Helper()
	var x, y bytes.Buffer
	if err := errors.Join(json.Compact(&x, a), json.Compact(&y, b)); err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}

func TestRunEndsBadly(t *testing.T) {
	t.Parallel()
	t.Run("the recording fails", func(t *testing.T) {
		t.Parallel()
		res, err := Run(t.Context(), testConfig(t, newRecorder(t, false, "FINALIZING", "FAILED")))
		var failed *FailedError
		if !errors.As(err, &failed) || failed.Message != "disk full" || res.Capture != "FAILED" {
			t.Errorf("error %v, result %+v", err, res)
		}
	})
	t.Run("it is never done", func(t *testing.T) {
		t.Parallel()
		cfg := testConfig(t, newRecorder(t, false, "FINALIZING"))
		cfg.Timeout = 20 * time.Millisecond
		if _, err := Run(t.Context(), cfg); !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "FINALIZING") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a track is refused", func(t *testing.T) {
		t.Parallel()
		r := newRecorder(t, false, "ABORTED")
		r.refuse = "attachTrack("
		_, err := Run(t.Context(), testConfig(t, r))
		var refusals UserErrors
		if !errors.As(err, &refusals) || refusals[0].Code != "CONFLICT" || !strings.Contains(err.Error(), "screen-1") {
			t.Errorf("error %v", err)
		}
		if last := r.calls[len(r.calls)-1]; last != "stopRecording(" {
			t.Errorf("the recording was left open: %v", r.calls)
		}
	})
	t.Run("cut short", func(t *testing.T) {
		t.Parallel()
		r := newRecorder(t, false, "AVAILABLE")
		ctx, cancel := context.WithCancel(t.Context())
		cfg := testConfig(t, r)
		cfg.Speed, cfg.Duration, cfg.Loop = 1, time.Hour, true
		cfg.Progress = func(p Progress) {
			if p.Phase == "play" {
				cancel()
			}
		}
		if _, err := Run(ctx, cfg); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if last := r.calls[len(r.calls)-1]; last != "stopRecording(" {
			t.Errorf("the recording was left open: %v", r.calls)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		r := newRecorder(t, false, "AVAILABLE")
		cfg := testConfig(t, r)
		r.http.Close()
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "startRecording") {
			t.Errorf("error %v", err)
		}
	})
}

func TestDrop(t *testing.T) {
	t.Parallel()
	r := newRecorder(t, false, "AVAILABLE")
	cfg := testConfig(t, r)
	dropped := uint64(0)
	cfg.Drop = func(tr Track, p Packet) bool {
		if tr.Source == "webcam" && !p.RTCP {
			dropped++
			return true
		}
		return false
	}
	res, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if dropped == 0 || res.Tracks[1].Sent.RTP != 0 || res.Tracks[0].Sent.RTP == 0 {
		t.Errorf("%d dropped, %+v", dropped, res.Tracks)
	}
}

func TestAFailedDownloadLeavesNothing(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/gone" {
			http.Error(w, "expired", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	}))
	defer srv.Close()
	dir := t.TempDir()
	for _, path := range []string{"/gone", "/half"} {
		if _, err := (API{HTTP: srv.Client()}).Download(t.Context(), srv.URL+path, filepath.Join(dir, "x.mp4")); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}

func TestFeedbackFromElsewhereIsForeign(t *testing.T) {
	t.Parallel()
	s, err := NewSender("127.0.0.1", false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	peer, stranger := newIngest(t, "x"), newIngest(t, "y")
	defer func() {
		for _, i := range []*ingest{peer, stranger} {
			_ = i.rtp.Close()
			_ = i.rtcp.Close()
			i.wg.Wait()
		}
	}()
	if err := s.Connect("127.0.0.1", int(local(peer.rtp).Port()), int(local(peer.rtcp).Port())); err != nil {
		t.Fatal(err)
	}
	_, port := s.Ports()
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
	raw, err := rtcp.Marshal([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: 1}, &rtcp.TransportLayerNack{MediaSSRC: 1, Nacks: []rtcp.NackPair{{PacketID: 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*net.UDPConn{peer.rtcp, peer.rtp, stranger.rtcp} {
		if _, err := c.WriteToUDPAddrPort(raw, to); err != nil {
			t.Fatal(err)
		}
	}
	want := Feedback{PLI: 1, NACK: 1, Foreign: 2}
	waitFor(t, func() bool { return s.Received() == want })
}
