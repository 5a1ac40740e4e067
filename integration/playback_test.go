package integration_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// answer is an HTTP response, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func get(t *testing.T, method, url string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

func (s *site) grant(t *testing.T, bearer, id string, more ...any) string {
	t.Helper()
	input := map[string]any{"recordingId": id}
	for i := 0; i+1 < len(more); i += 2 {
		input[more[i].(string)] = more[i+1]
	}
	p := s.must(t, bearer, "grantPlayback", input)
	if p.Grant == nil || p.Grant.VideoURL == "" {
		t.Fatalf("no video URL in %+v", p)
	}
	return p.Grant.VideoURL
}

// TestForgedURLs: every URL that is not exactly what was signed gets the same short refusal.
func TestForgedURLs(t *testing.T) {
	t.Parallel()
	s, w := theSite(t), wholeCall(t, "chrome-vp8")
	url, other := s.grant(t, s.reviewer, w.RecordingID), s.grant(t, s.reviewer, w.RecordingID)
	token := func(u string) string { return strings.Split(u, "/")[5] }
	with := func(token string) string {
		parts := strings.Split(url, "/")
		parts[5] = token
		return strings.Join(parts, "/")
	}
	forged := map[string]string{
		"another version":                strings.Replace(url, "/v1/", "/v2/", 1),
		"another asset":                  strings.Replace(url, "video.mp4", "waveform.json", 1),
		"an escaped character":           strings.Replace(url, "video.mp4", "video%2Emp4", 1),
		"something before":               strings.Replace(url, "/media/", "/media/x/", 1),
		"something behind":               url + "/x",
		"a cut token":                    with(token(url)[:99]),
		"a longer token":                 with(token(url) + "A"),
		"the claim of one, MAC of other": with(token(url)[:57] + token(other)[57:]),
		"no token":                       with(""),
		"zeros":                          with(strings.Repeat("A", 100)),
	}
	for _, at := range []int{0, 1, 7, 20, 40, 57, 58, 80, 98, 99} {
		b := []byte(token(url))
		b[at] = map[bool]byte{true: 'A', false: 'B'}[b[at] != 'A']
		forged[fmt.Sprintf("character %d changed", at)] = with(string(b))
	}
	random := make([]byte, 75)
	_, _ = rand.Read(random) // never fails
	random[0] = 1
	forged["drawn at random"] = with(base64.RawURLEncoding.EncodeToString(random))
	for name, u := range forged {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := get(t, method, u)
			if a.status != http.StatusForbidden || len(a.body) > 100 {
				t.Errorf("%s %s: status %d with %d bytes", method, name, a.status, len(a.body))
			}
			if method == http.MethodGet && string(a.body) != `{"error":{"code":"FORBIDDEN"}}`+"\n" {
				t.Errorf("%s: says %q", name, a.body)
			}
			for key, values := range a.header {
				if strings.Contains(strings.Join(values, " "), w.RecordingID) || key == "Etag" || key == "Content-Range" {
					t.Errorf("%s: header %s: %v", name, key, values)
				}
			}
		}
	}
	if a := get(t, http.MethodHead, url); a.status != http.StatusOK {
		t.Errorf("the URL itself: status %d", a.status)
	}
	if a := get(t, http.MethodPost, url); a.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", a.status)
	}
}

// TestExpiredURL: a grant of one second plays, then is refused.
func TestExpiredURL(t *testing.T) {
	t.Parallel()
	s, w := theSite(t), wholeCall(t, "chrome-vp8")
	url := s.grant(t, s.reviewer, w.RecordingID, "ttlSeconds", 2)
	if a := get(t, http.MethodGet, url, "Range", "bytes=0-99"); a.status != http.StatusPartialContent {
		t.Fatalf("a fresh URL: status %d %s", a.status, a.body)
	}
	issued := time.Now()
	eventually(t, 20*time.Second, "the URL has expired", func() bool {
		a := get(t, http.MethodGet, url, "Range", "bytes=0-99")
		return a.status == http.StatusForbidden && string(a.body) == `{"error":{"code":"EXPIRED"}}`+"\n"
	})
	if lived := time.Since(issued); lived > 5*time.Second {
		t.Errorf("a grant of 2 s played for %v", lived)
	}
}

// TestOtherTenantsRecording: for another tenant it does not exist, whatever is asked.
func TestOtherTenantsRecording(t *testing.T) {
	t.Parallel()
	s, w := theSite(t), wholeCall(t, "chrome-vp8")
	p, top, err := s.mutate(t.Context(), s.rival, "grantPlayback", map[string]any{"recordingId": w.RecordingID})
	if err != nil || len(top) > 0 || len(p.UserErrors) != 1 || p.UserErrors[0].Code != "NOT_FOUND" || p.Grant != nil {
		t.Errorf("grantPlayback: %+v, %v, error %v", p, top, err)
	}
	foreign := fmt.Sprintf("%+v", p.UserErrors)
	p, _, err = s.mutate(t.Context(), s.rival, "grantPlayback", map[string]any{"recordingId": w.RecordingID[:len(w.RecordingID)-4] + "ZZZZ"})
	if unknown := fmt.Sprintf("%+v", p.UserErrors); err != nil || unknown != foreign {
		t.Errorf("another tenant's recording is told from none: %s and %s", foreign, unknown)
	}
	var out struct {
		Recording, Node, Session *struct{ ID string }
		Recordings               struct {
			TotalCount int
			Edges      []struct{ Node struct{ ID string } }
		}
	}
	err = s.MustQuery(t.Context(), s.rival, `query($id: ID!, $ext: ID!) { recording(id: $id) { id } node(id: $id) { id } session(externalId: $ext) { id }
		recordings(first: 10, filter: {sessionId: "whole-chrome-vp8"}) { totalCount edges { node { id } } } }`,
		map[string]any{"id": w.RecordingID, "ext": w.ExternalID}, &out)
	if err != nil || out.Recording != nil || out.Node != nil || out.Session != nil || out.Recordings.TotalCount != 0 || len(out.Recordings.Edges) != 0 {
		t.Errorf("another tenant sees %+v, error %v", out, err)
	}
}

// TestRanges: every form of range gives the bytes of the file, as RFC 9110 §14 has it.
func TestRanges(t *testing.T) {
	t.Parallel()
	s, w := theSite(t), wholeCall(t, "chrome-vp8")
	url := s.grant(t, s.reviewer, w.RecordingID)
	file, err := os.ReadFile(w.Out)
	if err != nil {
		t.Fatal(err)
	}
	size := len(file)
	head := get(t, http.MethodHead, url)
	if head.status != http.StatusOK || head.header.Get("Content-Length") != fmt.Sprint(size) || len(head.body) != 0 ||
		head.header.Get("Content-Type") != "video/mp4" || head.header.Get("Accept-Ranges") != "bytes" || !strings.Contains(head.header.Get("Cache-Control"), "no-store") {
		t.Errorf("HEAD: %d %v", head.status, head.header)
	}
	etag := head.header.Get("Etag")
	for _, c := range []struct {
		name, spec, ifRange string
		status, from, to    int // to is exclusive
	}{
		{name: "none", status: 200, to: size},
		{name: "first", spec: "0-0", status: 206, to: 1},
		{name: "over a block's edge", spec: "65530-65545", status: 206, from: 65530, to: 65546},
		{name: "middle to end", spec: fmt.Sprintf("%d-", size/2), status: 206, from: size / 2, to: size},
		{name: "longer than the file", spec: fmt.Sprintf("%d-%d", size-10, size+1000), status: 206, from: size - 10, to: size},
		{name: "suffix", spec: "-1000", status: 206, from: size - 1000, to: size},
		{name: "suffix longer than the file", spec: fmt.Sprintf("-%d", 2*size), status: 206, to: size},
		{name: "past the end", spec: fmt.Sprintf("%d-", size), status: 416},
		{name: "nothing", spec: "-0", status: 416},
		{name: "If-Range holds", spec: "10-19", ifRange: etag, status: 206, from: 10, to: 20},
		{name: "If-Range of another file", spec: "10-19", ifRange: `"x"`, status: 200, to: size},
	} {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			if c.spec != "" {
				headers = append(headers, "Range", "bytes="+c.spec)
			}
			if c.ifRange != "" {
				headers = append(headers, "If-Range", c.ifRange)
			}
			a := get(t, http.MethodGet, url, headers...)
			if a.status != c.status {
				t.Fatalf("status %d, want %d", a.status, c.status)
			}
			want := map[int]string{206: fmt.Sprintf("bytes %d-%d/%d", c.from, c.to-1, size), 416: fmt.Sprintf("bytes */%d", size)}[c.status]
			if got := a.header.Get("Content-Range"); got != want {
				t.Errorf("Content-Range %q, want %q", got, want)
			}
			if c.status != 416 && !bytes.Equal(a.body, file[c.from:c.to]) {
				t.Errorf("%d bytes that are not the file's", len(a.body))
			}
		})
	}
	t.Run("several", func(t *testing.T) {
		a := get(t, http.MethodGet, url, "Range", fmt.Sprintf("bytes=0-9,%d-%d", size/2, size/2+99))
		_, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
		if a.status != 206 || err != nil {
			t.Fatalf("status %d, %v", a.status, err)
		}
		r := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
		for _, want := range [][]byte{file[:10], file[size/2 : size/2+100]} {
			part, err := r.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(part); err != nil || !bytes.Equal(got, want) {
				t.Errorf("a part of %d bytes, error %v", len(got), err)
			}
		}
	})
	t.Run("unchanged", func(t *testing.T) {
		if a := get(t, http.MethodGet, url, "If-None-Match", etag); a.status != http.StatusNotModified || len(a.body) != 0 {
			t.Errorf("status %d", a.status)
		}
	})
}
