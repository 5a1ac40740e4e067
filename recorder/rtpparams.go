package recorder

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Codec names what the recorder can record.
type Codec string

// The codecs.
const (
	VP8  Codec = "VP8"
	VP9  Codec = "VP9"
	H264 Codec = "H264"
	Opus Codec = "OPUS"
)

// ClockRate is the codec's RTP clock in Hz.
func (c Codec) ClockRate() int {
	if c == Opus {
		return 48000
	}
	return 90000
}

// RTPParameters is the part of mediasoup's rtpParameters that the recorder uses, checked.
type RTPParameters struct {
	Codec             Codec
	PayloadType       uint8
	SSRC              uint32
	RTXPayloadType    uint8  // 0: none
	RTXSSRC           uint32 // 0: none
	NACK              bool
	PLI               bool
	CNAME             string
	MID               string
	PacketizationMode int // H.264: 0 or 1
	Channels          int
	// Extensions maps URIs to one-byte ids (RFC 8285).
	Extensions map[string]uint8
}

// Header extension URIs that the recorder reads.
const (
	ExtVideoOrientation = "urn:3gpp:video-orientation"
	ExtAbsCaptureTime   = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
	ExtAbsSendTime      = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
	ExtMID              = "urn:ietf:params:rtp-hdrext:sdes:mid"
	ExtAudioLevel       = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
)

// ErrRTPParameters marks rtpParameters that cannot be used; the text says why and what to do.
var ErrRTPParameters = errors.New("rtpParameters")

const maxRTPParametersBytes = 64 << 10

// ParseRTPParameters reads mediasoup's consumer.rtpParameters (verbatim JSON) for a track of the given kind.
// Every error wraps ErrRTPParameters and says what is wrong and what to do.
func ParseRTPParameters(raw []byte, kind TrackKind) (RTPParameters, error) {
	fail := func(format string, args ...any) (RTPParameters, error) {
		return RTPParameters{}, fmt.Errorf("%w: "+format, append([]any{ErrRTPParameters}, args...)...)
	}
	if len(raw) > maxRTPParametersBytes {
		return fail("%d bytes are more than the limit of %d", len(raw), maxRTPParametersBytes)
	}
	var in struct {
		MID    string `json:"mid"`
		Codecs []struct {
			MimeType    string         `json:"mimeType"`
			PayloadType int            `json:"payloadType"`
			ClockRate   int            `json:"clockRate"`
			Channels    int            `json:"channels"`
			Parameters  map[string]any `json:"parameters"`
			Feedback    []struct {
				Type      string `json:"type"`
				Parameter string `json:"parameter"`
			} `json:"rtcpFeedback"`
		} `json:"codecs"`
		HeaderExtensions []struct {
			URI     string `json:"uri"`
			ID      int    `json:"id"`
			Encrypt bool   `json:"encrypt"`
		} `json:"headerExtensions"`
		Encodings []struct {
			SSRC *uint32 `json:"ssrc"`
			RTX  *struct {
				SSRC uint32 `json:"ssrc"`
			} `json:"rtx"`
		} `json:"encodings"`
		RTCP struct {
			CNAME string `json:"cname"`
		} `json:"rtcp"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return fail("not the JSON object that consumer.rtpParameters is: %s", jsonProblem(err))
	}
	if len(in.Encodings) != 1 || in.Encodings[0].SSRC == nil || *in.Encodings[0].SSRC == 0 {
		return fail("want exactly one encoding with an ssrc: pass the parameters of a consumer, not of a producer")
	}
	p := RTPParameters{SSRC: *in.Encodings[0].SSRC, CNAME: in.RTCP.CNAME, MID: in.MID, PacketizationMode: 0, Extensions: map[string]uint8{}}
	rtxFor := map[int]int{}
	for _, c := range in.Codecs {
		if c.PayloadType < 0 || c.PayloadType > 127 || (c.PayloadType >= 64 && c.PayloadType <= 95) {
			return fail("payload type %d of %s is not within 0…63 or 96…127 (RFC 5761)", c.PayloadType, c.MimeType)
		}
		mime := strings.ToLower(c.MimeType)
		if strings.HasSuffix(mime, "/rtx") {
			if apt, ok := c.Parameters["apt"].(float64); ok {
				rtxFor[int(apt)] = c.PayloadType
			}
			continue
		}
		if p.Codec != "" {
			return fail("more than one codec besides RTX (%s and %s): a consumer has one", p.Codec, c.MimeType)
		}
		switch mime {
		case "video/vp8":
			p.Codec = VP8
		case "video/vp9":
			p.Codec = VP9
		case "video/h264":
			p.Codec = H264
			if m, ok := c.Parameters["packetization-mode"].(float64); ok {
				p.PacketizationMode = int(m)
			}
			if p.PacketizationMode != 0 && p.PacketizationMode != 1 {
				return fail("packetization-mode %d cannot be recorded: negotiate 0 or 1", p.PacketizationMode)
			}
		case "audio/opus":
			p.Codec = Opus
		default:
			return fail("codec %q cannot be recorded: use VP8, VP9, H264 or opus (query ingestCapabilities)", c.MimeType)
		}
		if c.ClockRate != p.Codec.ClockRate() {
			return fail("clockRate of %s is %d, want %d", c.MimeType, c.ClockRate, p.Codec.ClockRate())
		}
		p.PayloadType, p.Channels = uint8(c.PayloadType), c.Channels
		for _, f := range c.Feedback {
			p.NACK = p.NACK || (f.Type == "nack" && f.Parameter == "")
			p.PLI = p.PLI || (f.Type == "nack" && f.Parameter == "pli")
		}
	}
	if p.Codec == "" {
		return fail("no codec")
	}
	if (p.Codec == Opus) == kind.IsVideo() {
		return fail("a track of kind %s cannot carry %s", kind, p.Codec)
	}
	if rtx := in.Encodings[0].RTX; rtx != nil && rtx.SSRC != 0 {
		pt, ok := rtxFor[int(p.PayloadType)]
		if !ok || rtx.SSRC == p.SSRC {
			return fail("encodings[0].rtx has no codec video/rtx with apt %d, or the same ssrc", p.PayloadType)
		}
		p.RTXSSRC, p.RTXPayloadType = rtx.SSRC, uint8(pt)
	}
	for _, x := range in.HeaderExtensions {
		if x.Encrypt {
			return fail("header extension %s is encrypted, which is not supported: leave it out", x.URI)
		}
		if x.ID < 1 || x.ID > 14 {
			return fail("header extension %s has id %d, want 1…14", x.URI, x.ID)
		}
		p.Extensions[x.URI] = uint8(x.ID)
	}
	return p, nil
}

// Capabilities is the recorder's mediasoup RtpCapabilities, to pass to consume():
// payload types are only preferences there; the router's are used.
func Capabilities() map[string]any {
	fb := []map[string]string{{"type": "nack"}, {"type": "nack", "parameter": "pli"}, {"type": "ccm", "parameter": "fir"}}
	video := func(mime string, pt int, params map[string]any) []map[string]any {
		return []map[string]any{
			{"kind": "video", "mimeType": mime, "preferredPayloadType": pt, "clockRate": 90000, "parameters": params, "rtcpFeedback": fb},
			{"kind": "video", "mimeType": "video/rtx", "preferredPayloadType": pt + 1, "clockRate": 90000, "parameters": map[string]any{"apt": pt}, "rtcpFeedback": []any{}},
		}
	}
	ext := func(kind, uri string, id int) map[string]any {
		return map[string]any{"kind": kind, "uri": uri, "preferredId": id, "preferredEncrypt": false, "direction": "sendrecv"}
	}
	codecs := []map[string]any{{"kind": "audio", "mimeType": "audio/opus", "preferredPayloadType": 100, "clockRate": 48000, "channels": 2,
		"parameters": map[string]any{}, "rtcpFeedback": []map[string]string{{"type": "nack"}}}}
	codecs = slices.Concat(codecs,
		video("video/VP8", 101, map[string]any{}),
		video("video/H264", 103, map[string]any{"packetization-mode": 1, "profile-level-id": "42e01f", "level-asymmetry-allowed": 1}),
		video("video/H264", 105, map[string]any{"packetization-mode": 1, "profile-level-id": "4d0032", "level-asymmetry-allowed": 1}),
		video("video/H264", 107, map[string]any{"packetization-mode": 0, "profile-level-id": "42e01f", "level-asymmetry-allowed": 1}),
		video("video/VP9", 109, map[string]any{"profile-id": 0}))
	return map[string]any{"codecs": codecs, "headerExtensions": []map[string]any{
		ext("audio", ExtMID, 1), ext("video", ExtMID, 1),
		ext("audio", ExtAbsSendTime, 4), ext("video", ExtAbsSendTime, 4),
		ext("audio", ExtAudioLevel, 10), ext("video", ExtVideoOrientation, 11),
		ext("audio", ExtAbsCaptureTime, 13), ext("video", ExtAbsCaptureTime, 13),
	}}
}

// jsonProblem says what is wrong with JSON without the Go types that the library's own text spells out.
func jsonProblem(err error) string {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err.Error()
	}
	if wrong.Field == "" {
		return fmt.Sprintf("it is of type %s", wrong.Value)
	}
	return fmt.Sprintf("%s cannot be of type %s", wrong.Field, wrong.Value)
}
