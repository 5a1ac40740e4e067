package whip

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

func readTestOffer(t *testing.T, name string) offer {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	o, err := readOffer([]byte(strings.ReplaceAll(string(raw), "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestOffers: what is taken of the offers of a browser and of OBS.
func TestOffers(t *testing.T) {
	t.Parallel()
	all := func(recorder.TrackKind) bool { return true }
	expected := []recorder.TrackKind{recorder.Webcam, recorder.AgentAudio}
	for name, codec := range map[string]recorder.Codec{"chromium.sdp": recorder.VP8, "obs.sdp": recorder.H264} {
		chosen, err := readTestOffer(t, name).choose(WebcamSide, expected, all)
		if err != nil || len(chosen) != 2 {
			t.Fatalf("%s: %+v, %v", name, chosen, err)
		}
		for _, c := range chosen {
			_, p, err := c.parameters()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if p.CNAME == "" || p.MID == "" || p.SSRC == 0 {
				t.Errorf("%s: %+v", name, p)
			}
			if c.kind == recorder.AgentAudio && (p.Codec != recorder.Opus || p.Channels != 2 || p.NACK) {
				t.Errorf("%s: %+v", name, p)
			}
			if c.kind == recorder.Webcam && (p.Codec != codec || !p.NACK || !p.PLI || (p.RTXSSRC != 0) != (name == "chromium.sdp") ||
				codec == recorder.H264 && p.PacketizationMode != 1 || codec == recorder.VP8 && p.Extensions[recorder.ExtVideoOrientation] == 0) {
				t.Errorf("%s: %+v", name, p)
			}
		}
		if chosen, err := readTestOffer(t, name).choose(ScreenSide, []recorder.TrackKind{recorder.Screen, recorder.CustomerAudio}, all); err != nil || len(chosen) != 2 {
			t.Errorf("%s as screen: %+v, %v", name, chosen, err)
		}
	}
	if _, err := readTestOffer(t, "simulcast.sdp").choose(WebcamSide, expected, all); err == nil || !strings.Contains(err.Error(), "simulcast") {
		t.Errorf("simulcast: %v", err)
	}
}

func TestRecordable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		video      bool
		name, fmtp string
		want       recorder.Codec
	}{
		{true, "VP8/90000", "", recorder.VP8},
		{true, "vp9/90000", "", recorder.VP9},
		{true, "VP9/90000", "profile-id=0", recorder.VP9},
		{true, "VP9/90000", "profile-id=2", ""},
		{true, "H264/90000", "", recorder.H264},
		{true, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f", recorder.H264},
		{true, "H264/90000", "packetization-mode=0; profile-level-id=4D0032", recorder.H264},
		{true, "H264/90000", "packetization-mode=2;profile-level-id=42e01f", ""},
		{true, "H264/90000", "profile-level-id=f4001f", ""}, // 4:4:4
		{true, "H264/90000", "profile-level-id=42", ""},
		{true, "AV1/90000", "", ""},
		{true, "opus/48000/2", "", ""},
		{false, "opus/48000/2", "", recorder.Opus},
		{false, "opuſ/48000/2", "", recorder.Opus}, // folds to the same name, and is never copied
		{false, "opus/48000", "", ""},
		{false, "PCMU/8000", "", ""},
	} {
		f := format{name: c.name, fmtp: c.fmtp}
		if ok := f.recordable(c.video); ok != (c.want != "") || ok && f.codec != c.want {
			t.Errorf("%s %s: %v %s", c.name, c.fmtp, ok, f.codec)
		}
	}
}

// TestCleanHoldsWhatWasTakenOnly: nothing else of the offer reaches the library.
func TestCleanHoldsWhatWasTakenOnly(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"chromium.sdp", "obs.sdp"} {
		o := readTestOffer(t, name)
		chosen, err := o.choose(WebcamSide, []recorder.TrackKind{recorder.Webcam}, func(recorder.TrackKind) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		clean := o.clean(chosen)
		known := []string{"group", "mid", "sendonly", "inactive", "rtcp-mux", "rtcp-rsize", "ice-ufrag", "ice-pwd", "fingerprint", "setup", "rtpmap", "fmtp", "rtcp-fb", "ssrc", "ssrc-group", "extmap"}
		for line := range strings.Lines(clean) {
			line = strings.TrimSpace(line)
			attribute, is := strings.CutPrefix(line, "a=")
			attribute, _, _ = strings.Cut(attribute, ":")
			if is && !slices.Contains(known, attribute) {
				t.Errorf("%s: %q", name, line)
			}
		}
		if strings.Count(clean, "a=rtpmap") > 3 || strings.Count(clean, "a=sendonly") != 1 || strings.Count(clean, "a=inactive") != 1 {
			t.Errorf("%s:\n%s", name, clean)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{}.Validate()
	for _, problem := range []string{"UDP address", "receive buffer", "limits", "offer", "times"} {
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%v does not name %s", err, problem)
		}
	}
}
