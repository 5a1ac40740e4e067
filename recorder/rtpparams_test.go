package recorder_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

// TestRTPParametersOfTheWrongShape: the refusal says which field is wrong, and nothing of the program's own types.
func TestRTPParametersOfTheWrongShape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`[1]`:                   "it is of type array",
		`"x"`:                   "it is of type string",
		`{"codecs": {}}`:        "codecs cannot be of type object",
		`{"encodings": [true]}`: "encodings",
		`{"codecs": [`:          "unexpected end of JSON input",
	} {
		_, err := recorder.ParseRTPParameters([]byte(in), recorder.Webcam)
		if !errors.Is(err, recorder.ErrRTPParameters) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "struct") {
			t.Errorf("%s: error %q, want %q", in, err, want)
		}
	}
}

// FuzzParseRTPParameters: whatever an SFU sends is refused with a reason, or is within the limits that capture relies on.
func FuzzParseRTPParameters(f *testing.F) {
	f.Add([]byte(`{"codecs":[{"mimeType":"video/VP8","payloadType":101,"clockRate":90000,"rtcpFeedback":[{"type":"nack","parameter":""}]},{"mimeType":"video/rtx","payloadType":102,"clockRate":90000,"parameters":{"apt":101}}],"headerExtensions":[{"uri":"urn:3gpp:video-orientation","id":11}],"encodings":[{"ssrc":1,"rtx":{"ssrc":2}}],"rtcp":{"cname":"c"},"mid":"0"}`))
	f.Add([]byte(`{"codecs":[{"mimeType":"video/H264","payloadType":103,"clockRate":90000,"parameters":{"packetization-mode":1}}],"encodings":[{"ssrc":4294967295}]}`))
	f.Add([]byte(`{"codecs":[{"mimeType":"audio/opus","payloadType":100,"clockRate":48000,"channels":2}],"encodings":[{"ssrc":3}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, kind := range []recorder.TrackKind{recorder.Screen, recorder.AgentAudio} {
			p, err := recorder.ParseRTPParameters(raw, kind)
			if err != nil {
				if !errors.Is(err, recorder.ErrRTPParameters) {
					t.Errorf("error %v is not marked", err)
				}
				continue
			}
			if p.SSRC == 0 || p.PayloadType > 127 || p.RTXSSRC == p.SSRC || (p.RTXSSRC != 0) != (p.RTXPayloadType != 0) && p.RTXSSRC != 0 ||
				(p.Codec == recorder.Opus) == kind.IsVideo() || p.Codec.ClockRate() == 0 {
				t.Errorf("accepted as %s: %+v", kind, p)
			}
			for uri, id := range p.Extensions {
				if id < 1 || id > 14 {
					t.Errorf("extension %q has id %d", uri, id)
				}
			}
		}
	})
}
