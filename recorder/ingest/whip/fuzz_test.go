package whip

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"github.com/dualrec/dualrec/recorder"
)

// FuzzOffer: whatever an offer holds, it is refused as the caller's fault, or what is taken of it describes itself and
// leaves an offer for the library that reads back as the same.
func FuzzOffer(f *testing.F) {
	// Short ones, because the engine shortens whatever it finds of interest.
	const head = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=ice-ufrag:zp5K\r\na=ice-pwd:8Dn3Hq1VZ5xWc1cXyMnmQf\r\na=setup:actpass\r\n" +
		"a=fingerprint:sha-256 F0:13:7E:AF:18:5C:93:D9:69:38:54:0A:8D:B2:E0:2F:F5:16:27:99:8C:E5:58:E3:0C:76:AE:30:0E:90:52:9C\r\n"
	const video = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\na=rtcp-mux\r\na=extmap:4 " + extTransportCC +
		"\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc-group:FID 1 2\r\na=ssrc:1 cname:x\r\n"
	const audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:3 cname:x\r\n"
	f.Add(head + video + audio)
	f.Add(head + strings.NewReplacer("VP8/90000", "H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f").Replace(video))
	f.Add(head + audio + "a=rid:h send\r\n")
	f.Add("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n")
	all := []recorder.TrackKind{recorder.Screen, recorder.CustomerAudio, recorder.Webcam, recorder.AgentAudio}
	f.Fuzz(func(t *testing.T, raw string) {
		o, err := readOffer([]byte(raw))
		var chosen []taken
		if err == nil {
			chosen, err = o.choose(WebcamSide, all, func(recorder.TrackKind) bool { return true })
		}
		if err != nil {
			if r, is := errors.AsType[*Refusal](err); !is || r.Status < 400 || r.Status > 499 || r.Detail == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, c := range chosen {
			if _, p, err := c.parameters(); err != nil || p.SSRC != c.ssrc || p.PayloadType != c.best.pt || p.RTXSSRC != c.rtxSSRC {
				t.Fatalf("%+v: %+v, %v", c, p, err)
			}
		}
		clean := o.clean(chosen)
		var desc sdp.SessionDescription
		if err := desc.UnmarshalString(clean); err != nil || len(desc.MediaDescriptions) != len(o.sections) || strings.Contains(clean, "candidate") {
			t.Fatalf("%v in\n%s", err, clean)
		}
		again, err := readOffer([]byte(clean))
		if err != nil {
			t.Fatalf("%v in\n%s", err, clean)
		}
		for i, s := range again.sections {
			was := o.sections[i]
			for _, c := range chosen {
				if c.mid == s.mid && (s.ssrc != was.ssrc || s.rtxSSRC != was.rtxSSRC || s.best.codec != was.best.codec || s.best.pt != was.best.pt || s.best.rtx != was.best.rtx) {
					t.Fatalf("%+v became %+v", was, s)
				}
			}
		}
	})
}

func FuzzFragment(f *testing.F) {
	f.Add("a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\na=end-of-candidates\r\n")
	f.Add("a=candidate:")
	f.Add("m=x\r\na=candidate:\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		fr, err := readFragment([]byte(raw))
		if err != nil {
			if r, is := errors.AsType[*Refusal](err); !is || r.Status != http.StatusBadRequest {
				t.Fatal(err)
			}
			return
		}
		if fr.candidates > maxCandidates || len(fr.ufrag) > maxText || len(fr.pwd) > maxText {
			t.Fatalf("%+v", fr)
		}
	})
}
