package synth

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// Codec of a video.
type Codec string

// The codecs that FFmpeg is asked for.
const (
	VP8  Codec = "VP8"
	H264 Codec = "H264"
)

// Video describes one video track.
type Video struct {
	Kind      string // "screen" or "webcam"
	Codec     Codec
	FPS       int           // a divisor of 30, so that a recording shows every picture
	KeyEvery  time.Duration // 0: only the first of each stretch
	SSRC      uint32
	Repair    player.Repair
	PPM       float64 // how much faster than the SFU's the sender's clock runs, in millionths
	Stretches []Stretch
}

// Stretch is a part of a track. Within it nothing changes.
type Stretch struct {
	From, To      time.Duration // on the call's clock
	Width, Height int           // multiples of 2, at least 160×90
	Skip          uint16        // sequence numbers that are missing before it: an SFU that switches layers leaves one
	Anew          bool          // the source begins anew: sequence numbers and timestamps jump
	// Stalled is time before it that the timestamps do not know of: the sender stood still, and went on as if nothing had been.
	Stalled time.Duration
}

// Steady is one stretch of 320×180.
func Steady(from, to time.Duration) []Stretch {
	return []Stretch{{From: from, To: to, Width: 320, Height: 180}}
}

const (
	mtu        = 1100
	pacing     = 300 * time.Microsecond // between packets of one picture
	onTheWay   = 5 * time.Millisecond   // from the camera to the recorder
	videoClock = 90000
	soundClock = 48000
	uptime     = 1000 * time.Second // of the SFU's host when the call begins
)

func (s Video) frames(d time.Duration) int { return int(d * time.Duration(s.FPS) / time.Second) }

// Numbers are the numbers of the first picture of [from, to) and of the first behind it.
func (s Video) Numbers(from, to time.Duration) (first, end int) {
	up := func(d time.Duration) int {
		return int((d*time.Duration(s.FPS) + time.Second - 1) / time.Second)
	}
	return up(from), up(to)
}

// capturedAt is the instant of a picture on the call's clock.
func (s Video) capturedAt(n int) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(s.FPS)
}

func (s Video) payloadType() uint8 {
	if s.Codec == H264 {
		return 103
	}
	return 101
}

// Track encodes and packetizes.
func (s Video) Track(ctx context.Context) (player.Track, error) {
	if len(s.Stretches) == 0 || s.FPS < 1 || 30%s.FPS != 0 {
		return player.Track{}, fmt.Errorf("video %s: no stretch, or %d pictures a second do not divide 30", s.Kind, s.FPS)
	}
	t, err := s.empty()
	if err != nil {
		return t, err
	}
	w := newWriter(s.SSRC, s.payloadType(), videoClock, s.PPM)
	for _, st := range s.Stretches {
		first, end := s.Numbers(st.From, st.To)
		if end > MaxNumber || end <= first || st.Width < 160 || st.Height < 90 || st.Width%2+st.Height%2 != 0 {
			return t, fmt.Errorf("video %s: stretch %+v cannot be made", s.Kind, st)
		}
		units, err := s.encode(ctx, first, end, st.Width, st.Height)
		if err != nil {
			return t, err
		}
		w.begin(st, s.Codec)
		for i, unit := range units {
			w.picture(s.capturedAt(first+i), unit)
		}
	}
	t.Packets = w.packets
	return t, nil
}

func (s Video) empty() (player.Track, error) {
	codec := map[string]any{"mimeType": "video/" + string(s.Codec), "payloadType": s.payloadType(), "clockRate": videoClock,
		"parameters": map[string]any{}, "rtcpFeedback": []any{map[string]any{"type": "nack", "parameter": "pli"}, map[string]any{"type": "ccm", "parameter": "fir"}}}
	if s.Codec == H264 {
		codec["parameters"] = map[string]any{"packetization-mode": 1, "profile-level-id": "42e01f", "level-asymmetry-allowed": 1}
	}
	return newTrack(s.Kind, codec, s.SSRC, videoClock, s.Repair)
}

func newTrack(source string, codec map[string]any, ssrc uint32, clock int, repair player.Repair) (player.Track, error) {
	raw, err := json.Marshal(map[string]any{"codecs": []any{codec}, "headerExtensions": []any{}, "encodings": []any{map[string]any{"ssrc": ssrc}},
		"rtcp": map[string]any{"cname": "synth-" + source, "reducedSize": true}, "mid": "0"})
	if err != nil {
		return player.Track{}, err
	}
	t := player.Track{Name: source, Source: source, RTPParameters: raw, SSRC: ssrc, ClockRate: clock}
	if t.Kind() == "" || ssrc == 0 {
		return t, errors.New("a track needs a kind and an SSRC")
	}
	return t.With(repair)
}

// writer makes the packets of one track.
type writer struct {
	ssrc       uint32
	pt         uint8
	rate       float64 // ticks of the timestamps a second
	seq        uint16
	base       uint32 // timestamp at the call's beginning
	payloader  rtp.Payloader
	nextReport time.Duration
	reports    time.Duration // between two
	sent       uint32
	octets     uint32
	packets    []player.Packet
	started    bool
}

func newWriter(ssrc uint32, pt uint8, clock int, ppm float64) *writer {
	return &writer{ssrc: ssrc, pt: pt, rate: float64(clock) * (1 + ppm/1e6), seq: uint16(ssrc), base: ssrc * 2654435761, reports: time.Second}
}

// begin starts a stretch. The first report comes half a second after the first packet.
func (w *writer) begin(st Stretch, codec Codec) {
	switch {
	case !w.started:
		w.nextReport = st.From + w.reports/2
	case st.Anew:
		w.seq += 20000
		w.base += 1_000_000_000
	default:
		for ; w.nextReport < st.From; w.nextReport += w.reports { // an SFU goes on reporting by the old clock
			w.report(w.nextReport)
		}
		w.seq += st.Skip
		w.base -= uint32(int64(math.Round(st.Stalled.Seconds() * w.rate)))
	}
	if codec == H264 {
		w.payloader = &codecs.H264Payloader{}
	} else if w.payloader == nil {
		w.payloader = &codecs.VP8Payloader{EnablePictureID: true}
	}
	w.started = true
}

func (w *writer) time(at time.Duration) uint32 {
	return w.base + uint32(int64(math.Round(at.Seconds()*w.rate)))
}

func (w *writer) picture(at time.Duration, unit []byte) {
	payloads := w.payloader.Payload(mtu, unit)
	for i, payload := range payloads {
		w.packet(at, at+onTheWay+time.Duration(i)*pacing, i == len(payloads)-1, payload)
	}
}

// packet adds one packet, captured at a time and received at another, and the report before it that is due.
func (w *writer) packet(captured, at time.Duration, marker bool, payload []byte) {
	for w.nextReport <= at {
		w.report(w.nextReport)
		w.nextReport += w.reports
	}
	p := rtp.Packet{Header: rtp.Header{Version: 2, Marker: marker, PayloadType: w.pt, SequenceNumber: w.seq, Timestamp: w.time(captured), SSRC: w.ssrc}, Payload: payload}
	data, err := p.Marshal()
	if err != nil {
		panic(err) // a header without extensions of a payload in memory
	}
	w.seq++
	w.sent++
	w.octets += uint32(len(data))
	w.packets = append(w.packets, player.Packet{At: at, Data: data})
}

// report adds a sender report as mediasoup makes it: NTP time is the host's uptime, RTP time is that of arrival.
func (w *writer) report(at time.Duration) {
	up := uptime + at
	sr := &rtcp.SenderReport{SSRC: w.ssrc, NTPTime: uint64(up/time.Second)<<32 | uint64(up%time.Second)<<32/uint64(time.Second),
		RTPTime: w.time(at - onTheWay), PacketCount: w.sent, OctetCount: w.octets}
	sdes := &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: w.ssrc, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: "synth"}}}}}
	data, err := rtcp.Marshal([]rtcp.Packet{sr, sdes})
	if err != nil {
		panic(err) // nothing in it can be out of range
	}
	w.packets = append(w.packets, player.Packet{At: at, RTCP: true, Data: data})
}

// Sequence is a packet's sequence number.
func Sequence(p player.Packet) uint16 { return binary.BigEndian.Uint16(p.Data[2:]) }
