package whip

import (
	"encoding/json"

	"github.com/dualrec/dualrec/recorder"
)

// parameters describes the stream as mediasoup's rtpParameters do, which is the form that the spool keeps.
func (t taken) parameters() (json.RawMessage, recorder.RTPParameters, error) {
	type feedback struct {
		Type      string `json:"type"`
		Parameter string `json:"parameter"`
	}
	type codec struct {
		MimeType    string         `json:"mimeType"`
		PayloadType uint8          `json:"payloadType"`
		ClockRate   int            `json:"clockRate"`
		Channels    int            `json:"channels,omitempty"`
		Parameters  map[string]any `json:"parameters"`
		Feedback    []feedback     `json:"rtcpFeedback"`
	}
	type source struct {
		SSRC uint32 `json:"ssrc"`
	}
	type encoding struct {
		SSRC uint32  `json:"ssrc"`
		RTX  *source `json:"rtx,omitempty"`
	}
	type extension struct {
		URI string `json:"uri"`
		ID  uint8  `json:"id"`
	}
	f := t.best
	main := codec{MimeType: f.mime, PayloadType: f.pt, ClockRate: f.codec.ClockRate(), Parameters: map[string]any{}, Feedback: []feedback{}}
	switch f.codec {
	case recorder.Opus:
		main.Channels = 2
	case recorder.H264:
		main.Parameters["packetization-mode"] = 0
		if mode, _ := parameter(f.fmtp, "packetization-mode"); mode == "1" {
			main.Parameters["packetization-mode"] = 1
		}
		if profile, ok := parameter(f.fmtp, "profile-level-id"); ok {
			main.Parameters["profile-level-id"] = profile
		}
	}
	for _, fb := range t.feedback() {
		switch fb {
		case "nack", "transport-cc":
			main.Feedback = append(main.Feedback, feedback{Type: fb})
		case "nack pli":
			main.Feedback = append(main.Feedback, feedback{"nack", "pli"})
		case "ccm fir":
			main.Feedback = append(main.Feedback, feedback{"ccm", "fir"})
		}
	}
	codecs, from := []codec{main}, encoding{SSRC: t.ssrc}
	if f.rtx != 0 {
		codecs = append(codecs, codec{MimeType: "video/rtx", PayloadType: f.rtx, ClockRate: f.codec.ClockRate(),
			Parameters: map[string]any{"apt": f.pt}, Feedback: []feedback{}})
		from.RTX = &source{t.rtxSSRC}
	}
	extensions := []extension{}
	for _, uri := range knownExtensions[t.video] {
		if id := t.extensions[uri]; id != 0 {
			extensions = append(extensions, extension{uri, id})
		}
	}
	raw, err := json.Marshal(map[string]any{"mid": t.mid, "codecs": codecs, "headerExtensions": extensions,
		"encodings": []encoding{from}, "rtcp": map[string]any{"cname": t.cname, "reducedSize": true}})
	if err != nil {
		return nil, recorder.RTPParameters{}, err
	}
	p, err := recorder.ParseRTPParameters(raw, t.kind)
	return raw, p, err
}
