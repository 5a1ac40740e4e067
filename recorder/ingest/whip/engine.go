package whip

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"

	"github.com/dualrec/dualrec/recorder"
)

// endpoint is the socket of all sessions. A session's datagrams are told by the ICE credentials of its first one, and by
// its address from then on.
type endpoint struct {
	mux ice.UDPMux
	cfg Config
	log logging.LoggerFactory
}

// listen binds the socket.
func listen(ctx context.Context, cfg Config, log *slog.Logger) (*endpoint, error) {
	network := "udp4"
	if cfg.Bind.Addr().Unmap().Is6() {
		network = "udp6"
	}
	c, err := new(net.ListenConfig).ListenPacket(ctx, network, cfg.Bind.String())
	if err != nil {
		return nil, fmt.Errorf("whip: bind: %w", err)
	}
	conn, ok := c.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("whip: %T is no UDP socket", c)
	}
	if err := conn.SetReadBuffer(cfg.ReceiveBuffer); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("whip: receive buffer: %w", err)
	}
	quiet := quietLog{log}
	return &endpoint{mux: webrtc.NewICEUDPMux(quiet.NewLogger("ice"), conn), cfg: cfg, log: quiet}, nil
}

func (e *endpoint) close() error { return e.mux.Close() }

// port is the UDP port that publishers reach.
func (e *endpoint) port() int {
	for _, a := range e.mux.GetListenAddresses() {
		if udp, ok := a.(*net.UDPAddr); ok {
			return udp.Port
		}
	}
	return 0
}

// connection makes the peer connection of a session.
func (e *endpoint) connection(chosen []taken, t *tap) (*webrtc.PeerConnection, error) {
	media, err := codecsOf(chosen)
	if err != nil {
		return nil, err
	}
	settings, err := e.settings()
	if err != nil {
		return nil, err
	}
	interceptors := &interceptor.Registry{}
	interceptors.Add(t)
	reports, err := report.NewReceiverInterceptor()
	if err != nil {
		return nil, err
	}
	interceptors.Add(reports)
	congestion, err := twcc.NewSenderInterceptor()
	if err != nil {
		return nil, err
	}
	interceptors.Add(congestion)
	api := webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithSettingEngine(settings), webrtc.WithInterceptorRegistry(interceptors))
	return api.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle, RTCPMuxPolicy: webrtc.RTCPMuxPolicyRequire})
}

func (e *endpoint) settings() (webrtc.SettingEngine, error) {
	s := webrtc.SettingEngine{LoggerFactory: e.log}
	bind := e.cfg.Bind.Addr().Unmap()
	s.SetLite(true)
	s.SetICEUDPMux(e.mux)
	s.SetNetworkTypes([]webrtc.NetworkType{map[bool]webrtc.NetworkType{true: webrtc.NetworkTypeUDP6, false: webrtc.NetworkTypeUDP4}[bind.Is6()]})
	s.SetIncludeLoopbackCandidate(bind.IsLoopback())
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetFireOnTrackBeforeFirstRTP(true)
	// The library calls a connection lost in two steps; it is over after both.
	s.SetICETimeouts(e.cfg.LostAfter/3, e.cfg.LostAfter-e.cfg.LostAfter/3, 2*time.Second)
	if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
		return s, err
	}
	if len(e.cfg.Announced) == 0 {
		return s, nil
	}
	announced := make([]string, 0, len(e.cfg.Announced))
	for _, a := range e.cfg.Announced {
		announced = append(announced, a.Unmap().String())
	}
	return s, s.SetICEAddressRewriteRules(webrtc.ICEAddressRewriteRule{External: announced, AsCandidateType: webrtc.ICECandidateTypeHost,
		Mode: webrtc.ICEAddressRewriteReplace})
}

// codecsOf knows what was taken and nothing else, so that nothing else is negotiated.
func codecsOf(chosen []taken) (*webrtc.MediaEngine, error) {
	m := &webrtc.MediaEngine{}
	for _, t := range chosen {
		kind := webrtc.RTPCodecTypeAudio
		if t.video {
			kind = webrtc.RTPCodecTypeVideo
		}
		f := t.best
		c := webrtc.RTPCodecCapability{MimeType: f.mime, ClockRate: uint32(f.codec.ClockRate()), SDPFmtpLine: f.answered()}
		if f.codec == recorder.Opus {
			c.Channels = 2
		}
		for _, fb := range t.feedback() {
			c.RTCPFeedback = append(c.RTCPFeedback, feedbackOf[fb])
		}
		if err := m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: c, PayloadType: webrtc.PayloadType(f.pt)}, kind); err != nil {
			return nil, err
		}
		if f.rtx != 0 {
			rtx := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX, ClockRate: c.ClockRate, SDPFmtpLine: fmt.Sprintf("apt=%d", f.pt)}
			if err := m.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: rtx, PayloadType: webrtc.PayloadType(f.rtx)}, kind); err != nil {
				return nil, err
			}
		}
		for _, uri := range knownExtensions[t.video] {
			if t.extensions[uri] == 0 {
				continue
			}
			if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, kind); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

var feedbackOf = map[string]webrtc.RTCPFeedback{
	"nack":         {Type: webrtc.TypeRTCPFBNACK},
	"nack pli":     {Type: webrtc.TypeRTCPFBNACK, Parameter: "pli"},
	"ccm fir":      {Type: webrtc.TypeRTCPFBCCM, Parameter: "fir"},
	"transport-cc": {Type: webrtc.TypeRTCPFBTransportCC},
}

// answer gives the library the cleaned offer and returns its answer with all candidates.
func answer(ctx context.Context, pc *webrtc.PeerConnection, offer string) (string, error) {
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	a, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(a); err != nil {
		return "", err
	}
	select {
	case <-gathered:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	return pc.LocalDescription().SDP, nil
}

// quietLog writes what the library says to the program's log. Most of it is about one publisher's packets, and whoever
// sends packets could fill the log with it: so all of it is for debugging.
type quietLog struct{ log *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (q quietLog) NewLogger(scope string) logging.LeveledLogger {
	return &scopedLog{q.log.With("scope", "pion/"+scope)}
}

type scopedLog struct{ log *slog.Logger }

var _ logging.LeveledLogger = (*scopedLog)(nil)

func (s *scopedLog) say(level, msg string) {
	s.log.Debug("webrtc library", "library_level", level, "text", msg)
}

func (s *scopedLog) sayf(level, format string, args ...any) {
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.say(level, fmt.Sprintf(format, args...))
	}
}

// Trace implements logging.LeveledLogger: packets one by one are not written.
func (*scopedLog) Trace(string) {}

// Tracef implements logging.LeveledLogger.
func (*scopedLog) Tracef(string, ...any) {}

// Debug implements logging.LeveledLogger.
func (s *scopedLog) Debug(msg string) { s.say("debug", msg) }

// Debugf implements logging.LeveledLogger.
func (s *scopedLog) Debugf(format string, args ...any) { s.sayf("debug", format, args...) }

// Info implements logging.LeveledLogger.
func (s *scopedLog) Info(msg string) { s.say("info", msg) }

// Infof implements logging.LeveledLogger.
func (s *scopedLog) Infof(format string, args ...any) { s.sayf("info", format, args...) }

// Warn implements logging.LeveledLogger.
func (s *scopedLog) Warn(msg string) { s.say("warn", msg) }

// Warnf implements logging.LeveledLogger.
func (s *scopedLog) Warnf(format string, args ...any) { s.sayf("warn", format, args...) }

// Error implements logging.LeveledLogger.
func (s *scopedLog) Error(msg string) { s.say("error", msg) }

// Errorf implements logging.LeveledLogger.
func (s *scopedLog) Errorf(format string, args ...any) { s.sayf("error", format, args...) }
