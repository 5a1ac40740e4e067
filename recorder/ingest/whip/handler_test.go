package whip

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

// problem reads an answer as problem+json.
func problem(t *testing.T, resp *http.Response, text string) (code, detail string) {
	t.Helper()
	var p struct {
		Type, Title, Code, Detail string
		Status                    int
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" ||
		p.Status != resp.StatusCode || p.Title == "" || p.Detail == "" || p.Code == "" || p.Type != "about:blank" {
		t.Errorf("%d %s is no problem+json: %v", resp.StatusCode, text, err)
	}
	return p.Code, p.Detail
}

// TestRefusals: whatever is wrong, the answer says what to do, and no session is left behind.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.shelf.ended["rec_over"] = true
	w.shelf.expects["rec_sound"] = []recorder.TrackKind{recorder.AgentAudio}
	good := newClient(t, true, true).offer(t)
	const sdpType, screen = "application/sdp", "/whip/rec_1/screen"
	for name, c := range map[string]struct {
		method, path, bearer, body, contentType, accept string
		status                                          int
		says                                            string
	}{
		"no credential":          {"POST", screen, "", good, sdpType, "", 401, "no"},
		"credential fault":       {"POST", screen, "broken", good, sdpType, "", 500, "internal error"},
		"another tenant":         {"POST", screen, "rival", good, sdpType, "", 404, "no such recording"},
		"unknown recording":      {"POST", "/whip/rec_2/screen", "all", good, sdpType, "", 404, "no such recording"},
		"ended recording":        {"POST", "/whip/rec_over/screen", "all", good, sdpType, "", 409, "AVAILABLE"},
		"unknown side":           {"POST", "/whip/rec_1/mirror", "all", good, sdpType, "", 404, "webcam"},
		"nothing there":          {"POST", "/whip/rec_1", "all", good, sdpType, "", 404, "/whip/"},
		"token of the other":     {"POST", screen, "webcam only", good, sdpType, "", 403, "SCREEN"},
		"not SDP":                {"POST", screen, "all", good, "text/plain", "", 415, sdpType},
		"no type":                {"POST", screen, "all", good, "", "", 415, sdpType},
		"cannot take the answer": {"POST", screen, "all", good, sdpType, "application/json, application/sdp;q=0", 406, "Accept"},
		"too large":              {"POST", screen, "all", strings.Repeat("x", 65<<10), sdpType, "", 413, "65536"},
		"empty":                  {"POST", screen, "all", "", sdpType, "", 400, "SDP offer"},
		"garbage":                {"POST", screen, "all", "v=0\r\nhello", sdpType, "", 400, "SDP offer"},
		"unexpected":             {"POST", "/whip/rec_sound/screen", "all", good, sdpType, "", 422, "expects [AGENT_AUDIO]"},
		"simulcast":              {"POST", screen, "all", strings.Replace(good, "a=rtcp-mux", "a=rtcp-mux\r\na=rid:h send\r\na=simulcast:send h", 1), sdpType, "", 422, "simulcast"},
		"receives":               {"POST", screen, "all", strings.Replace(good, "a=sendonly", "a=recvonly", 1), sdpType, "", 422, "sends nothing"},
		"without a stream":       {"POST", screen, "all", without(good, "a=ssrc"), sdpType, "", 422, "a=ssrc"},
		"without mux":            {"POST", screen, "all", without(good, "a=rtcp-mux"), sdpType, "", 422, "rtcp-mux"},
		"without ICE":            {"POST", screen, "all", without(good, "a=ice-pwd"), sdpType, "", 400, "ice-pwd"},
		"without DTLS":           {"POST", screen, "all", without(good, "a=fingerprint"), sdpType, "", 400, "fingerprint"},
		"a bad fingerprint":      {"POST", screen, "all", strings.ReplaceAll(good, "a=fingerprint:sha-256 ", "a=fingerprint:md5 "), sdpType, "", 400, "sha-256"},
		"wants to be asked":      {"POST", screen, "all", strings.ReplaceAll(good, "a=setup:actpass", "a=setup:passive"), sdpType, "", 422, "actpass"},
		"no known codec":         {"POST", screen, "all", strings.NewReplacer("VP8/", "VPX/", "VP9/", "VPX/", "H264/", "VPX/").Replace(good), sdpType, "", 422, "VP8"},
		"not bundled":            {"POST", "/whip/rec_1/webcam", "all", without(good, "a=group:BUNDLE"), sdpType, "", 422, "bundled"},
		"two videos":             {"POST", screen, "all", strings.Replace(good, "m=audio", "m=video", 1), sdpType, "", 422, "two sessions"},
		"two of one mid":         {"POST", screen, "all", strings.Replace(good, "a=mid:1", "a=mid:0", 1), sdpType, "", 400, "mid"},
		"a data channel":         {"POST", screen, "all", strings.Replace(good, "m=audio", "m=application", 1), sdpType, "", 422, "data channels"},
		"GET":                    {"GET", screen, "all", "", "", "", 405, "POST"},
		"PUT on a session":       {"PUT", screen + "/x", "all", "", "", "", 405, "DELETE"},
		"no such session":        {"DELETE", screen + "/x", "all", "", "", "", 404, "no such session"},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"Accept", c.accept}
			if c.accept == "" {
				headers = nil
			}
			if c.contentType != "" {
				headers = append(headers, "Content-Type", c.contentType)
			}
			resp, text := w.do(t, c.method, c.path, c.bearer, c.body, headers...)
			if resp.StatusCode != c.status {
				t.Fatalf("%d %s, want %d", resp.StatusCode, text, c.status)
			}
			if _, detail := problem(t, resp, text); !strings.Contains(detail, c.says) || strings.Contains(text, "secret-db") {
				t.Errorf("it says %q, want %q", detail, c.says)
			}
			if c.status == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
				t.Error("no WWW-Authenticate")
			}
		})
	}
	if n := w.Sessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// without drops the lines that begin so.
func without(sdp, prefix string) string {
	var out []string
	for line := range strings.SplitSeq(sdp, "\r\n") {
		if !strings.HasPrefix(line, prefix) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\r\n")
}

// TestUnexpectedAudioIsIdle: the recording expects no sound of the customer, so the screen's is answered as inactive.
func TestUnexpectedAudioIsIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := newClient(t, true, true)
	c.publish(t, w, "/whip/rec_1/screen")
	video, audio, _ := strings.Cut(c.answer, "m=audio 9 ")
	if !strings.Contains(video, "a=recvonly\r\n") || !strings.Contains(audio, "a=inactive\r\n") || !strings.Contains(audio, "a=rtcp-mux\r\n") ||
		!strings.Contains(video, "a=group:BUNDLE 0 1\r\n") {
		t.Errorf("the answer is\n%s", c.answer)
	}
	if p := wait(t, w.shelf.published, "a publication"); p.Kind != recorder.Screen || len(w.shelf.published) != 0 {
		t.Errorf("published %s and %d more", p.Kind, len(w.shelf.published))
	}
	c.sendVideo(t, 1, true)
	wait(t, w.shelf.packets, "video")
}

func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.MaxSessions, c.MaxPerRecording = 3, 2 })
	w.shelf.expects["rec_2"] = w.shelf.expects["rec_1"]
	offer := newClient(t, true, false).offer(t)
	for _, c := range []struct {
		path   string
		status int
	}{{"/whip/rec_1/screen", 201}, {"/whip/rec_1/screen", 201}, {"/whip/rec_1/webcam", 503}, {"/whip/rec_2/screen", 201}, {"/whip/rec_2/webcam", 503}} {
		resp, text := w.post(t, c.path, "all", offer)
		if resp.StatusCode != c.status {
			t.Fatalf("%s: %d %s", c.path, resp.StatusCode, text)
		}
		if c.status == 503 && resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	w.shelf.mu.Lock()
	w.shelf.refusal = &recorder.CommandError{Code: recorder.CodeConflict, Msg: "no"}
	w.shelf.mu.Unlock()
}

func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for origin, allowed := range map[string]bool{"https://desk.example.com": true, "https://evil.example.com": false} {
		for path, methods := range map[string]string{"/whip/rec_1/screen": endpointMethods, "/whip/rec_1/screen/x": sessionMethods} {
			resp, _ := w.do(t, "OPTIONS", path, "", "", "Origin", origin, "Access-Control-Request-Method", "POST")
			h := resp.Header
			if resp.StatusCode != 204 || h.Get("Accept-Post") != "application/sdp" || h.Get("Vary") != "Origin" ||
				(h.Get("Access-Control-Allow-Origin") == origin) != allowed || (h.Get("Access-Control-Allow-Methods") == methods) != allowed ||
				strings.Contains(h.Get("Access-Control-Allow-Headers"), "If-Match") != allowed || h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s of %s: %d %v", path, origin, resp.StatusCode, h)
			}
		}
		resp, _ := w.do(t, "POST", "/whip/rec_1/screen", "", "", "Origin", origin)
		if (resp.Header.Get("Access-Control-Allow-Origin") == origin) != allowed {
			t.Errorf("%s may read a refusal: %v", origin, resp.Header)
		}
	}
	bare := newWorld(t, func(c *Config) { c.AllowedOrigins = nil })
	if resp, _ := bare.do(t, "OPTIONS", "/whip/rec_1/screen", "", "", "Origin", "https://desk.example.com"); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("an origin is allowed that nobody named")
	}
}

// TestPatch: candidates are taken under the right ETag, an ICE restart is refused.
func TestPatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := newClient(t, true, false)
	offer := c.offer(t)
	resp, text := w.post(t, "/whip/rec_1/screen", "all", offer)
	if resp.StatusCode != 201 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	location, etag := resp.Header.Get("Location"), resp.Header.Get("ETag")
	if resp.Header.Get("Content-Type") != "application/sdp" || resp.Header.Get("Accept-Patch") != typeFragment || !strings.HasPrefix(location, "/whip/rec_1/screen/") {
		t.Errorf("headers %v", resp.Header)
	}
	line := func(name string) string {
		_, rest, _ := strings.Cut(offer, "a="+name+":")
		value, _, _ := strings.Cut(rest, "\r\n")
		return value
	}
	ours := "a=ice-ufrag:" + line("ice-ufrag") + "\r\na=ice-pwd:" + line("ice-pwd") + "\r\n"
	candidate := "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 2130706431 198.51.100.1 39132 typ host\r\na=end-of-candidates\r\n"
	restart := "a=ice-ufrag:other\r\na=ice-pwd:0123456789012345678901\r\n"
	for name, c := range map[string]struct {
		path, bearer, body, contentType, match string
		status                                 int
	}{
		"candidates":               {location, "all", ours + candidate, typeFragment, etag, 204},
		"no candidates":            {location, "all", "", typeFragment, etag, 204},
		"no If-Match":              {location, "all", ours + candidate, typeFragment, "", 428},
		"another ETag":             {location, "all", ours + candidate, typeFragment, `"x"`, 412},
		"any ETag":                 {location, "all", ours + candidate, typeFragment, "*", 412},
		"a restart":                {location, "all", restart, typeFragment, "*", 422},
		"a restart, another ETag":  {location, "all", restart, typeFragment, `"x"`, 412},
		"not a fragment":           {location, "all", ours + candidate, "application/sdp", etag, 415},
		"malformed":                {location, "all", "hello\r\n", typeFragment, etag, 400},
		"a candidate out of place": {location, "all", "a=candidate:1 1 udp 1 198.51.100.1 1 typ host\r\n", typeFragment, etag, 400},
		"a malformed candidate":    {location, "all", "m=video 9 x 0\r\na=candidate:1 1 udp\r\n", typeFragment, etag, 400},
		"two passwords":            {location, "all", "a=ice-pwd:a\r\na=ice-pwd:b\r\n", typeFragment, etag, 400},
		"another tenant":           {location, "rival", ours + candidate, typeFragment, etag, 404},
		"another recording":        {strings.Replace(location, "rec_1", "rec_2", 1), "all", ours + candidate, typeFragment, etag, 404},
		"another side":             {strings.Replace(location, "screen", "webcam", 1), "all", ours + candidate, typeFragment, etag, 404},
		"nobody":                   {location, "", ours + candidate, typeFragment, etag, 401},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"Content-Type", c.contentType}
			if c.match != "" {
				headers = append(headers, "If-Match", c.match)
			}
			resp, text := w.do(t, "PATCH", c.path, c.bearer, c.body, headers...)
			if resp.StatusCode != c.status {
				t.Errorf("%d %s, want %d", resp.StatusCode, text, c.status)
			}
			if c.status != 204 {
				problem(t, resp, text)
			}
		})
	}
	if resp, _ := w.do(t, "DELETE", location, "rival", ""); resp.StatusCode != 404 || w.Sessions() != 1 {
		t.Errorf("another tenant's DELETE: %d", resp.StatusCode)
	}
}

func TestAccepts(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{"": true, "*/*": true, "application/*": true, "text/html, application/sdp;q=0.5": true,
		"application/sdp;q=0": false, "text/html": false, "nonsense;;": false} {
		r, err := http.NewRequest("POST", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", header)
		if accepts(r, "application/sdp") != want {
			t.Errorf("Accept %q: %v", header, !want)
		}
	}
}
