package playback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestServesTheWholeFile(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 65535, 65536, 65537, 3*65536 + 5} {
		th := openTheatre(t, content(n), nil)
		got := th.get()
		if got.status != 200 || got.err != nil || !bytes.Equal(got.body, th.plain) {
			t.Errorf("%d bytes: status %d, %d bytes, %v", n, got.status, len(got.body), got.err)
		}
	}
}

func TestThousandRandomRanges(t *testing.T) {
	t.Parallel()
	const size = 1_500_000
	th := openTheatre(t, content(size), func(c *Config) { c.ReadAhead = 200_000 })
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		first := r.Int64N(size)
		last := first + r.Int64N(min(50_000, size-first))
		spec, wantFirst, wantLast := fmt.Sprintf("bytes=%d-%d", first, last), first, last
		switch i % 10 {
		case 0: // around the packages' borders
			wantFirst = (first/65536)*65536 + r.Int64N(3) - 1
			wantFirst = max(wantFirst, 0)
			wantLast = min(wantFirst+65536+r.Int64N(3)-1, size-1)
			spec = fmt.Sprintf("bytes=%d-%d", wantFirst, wantLast)
		case 1: // open end
			wantFirst, wantLast = size-1-r.Int64N(50_000), size-1
			spec = fmt.Sprintf("bytes=%d-", wantFirst)
		case 2: // suffix
			n := 1 + r.Int64N(50_000)
			wantFirst, wantLast = size-n, size-1
			spec = fmt.Sprintf("bytes=-%d", n)
		case 3: // end beyond the file
			wantFirst, wantLast = size-1-r.Int64N(1000), size-1
			spec = fmt.Sprintf("bytes=%d-%d", wantFirst, size+r.Int64N(1000))
		}
		got := th.get("Range", spec)
		want := th.plain[wantFirst : wantLast+1]
		if got.status != 206 || got.err != nil || !bytes.Equal(got.body, want) {
			t.Fatalf("%s: status %d, %d bytes, %v", spec, got.status, len(got.body), got.err)
		}
		if cr, want := got.header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", wantFirst, wantLast, size); cr != want {
			t.Fatalf("%s: Content-Range %q, want %q", spec, cr, want)
		}
	}
	if n := len(th.recordedViews()); n != 1 {
		t.Errorf("%d views recorded for 1000 requests of one grant, want 1", n)
	}
}

func TestRangeSemantics(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(100_000), func(c *Config) { c.MaxRanges = 4 })
	tag := th.get().header.Get("ETag")
	if len(tag) < 10 || tag[0] != '"' {
		t.Fatalf("ETag %q is not a strong one", tag)
	}
	modified := issued.Add(-time.Hour).Format(http.TimeFormat)
	for _, c := range []struct {
		name   string
		header []string
		status int
		length int
		code   string
	}{
		{"none", nil, 200, 100_000, ""},
		{"first byte", []string{"Range", "bytes=0-0"}, 206, 1, ""},
		{"unit in capitals", []string{"Range", "Bytes=0-9"}, 206, 10, ""},
		{"unknown unit is ignored", []string{"Range", "items=0-9"}, 200, 100_000, ""},
		{"beyond the end", []string{"Range", "bytes=100000-"}, 416, 0, "RANGE_NOT_SATISFIABLE"},
		{"empty suffix", []string{"Range", "bytes=-0"}, 416, 0, "RANGE_NOT_SATISFIABLE"},
		{"only empty suffixes", []string{"Range", "bytes=-0, -00"}, 416, 0, "RANGE_NOT_SATISFIABLE"},
		{"empty suffix beside another", []string{"Range", "bytes=-0,0-4"}, 206, 5, ""},
		{"backwards", []string{"Range", "bytes=9-0"}, 416, 0, "RANGE_NOT_SATISFIABLE"},
		{"no number", []string{"Range", "bytes=a-b"}, 416, 0, "RANGE_NOT_SATISFIABLE"},
		{"too many", []string{"Range", "bytes=0-0,2-2,4-4,6-6,8-8"}, 416, 0, "TOO_MANY_RANGES"},
		{"many commas", []string{"Range", "bytes=" + strings.Repeat(",", 9000)}, 416, 0, "TOO_MANY_RANGES"},
		{"more than the file", []string{"Range", "bytes=0-99999,0-99999"}, 200, 100_000, ""},
		{"if-range holds", []string{"Range", "bytes=0-9", "If-Range", tag}, 206, 10, ""},
		{"if-range of another file", []string{"Range", "bytes=0-9", "If-Range", `"other"`}, 200, 100_000, ""},
		{"if-range weak", []string{"Range", "bytes=0-9", "If-Range", "W/" + tag}, 200, 100_000, ""},
		{"if-range date", []string{"Range", "bytes=0-9", "If-Range", modified}, 206, 10, ""},
		{"if-none-match", []string{"If-None-Match", tag}, 304, 0, ""},
		{"if-none-match star", []string{"If-None-Match", "*"}, 304, 0, ""},
		{"if-none-match other", []string{"If-None-Match", `"other"`}, 200, 100_000, ""},
		{"if-modified-since", []string{"If-Modified-Since", modified}, 304, 0, ""},
		{"if-match", []string{"If-Match", tag}, 200, 100_000, ""},
		{"if-match other", []string{"If-Match", `"other"`}, 412, 0, "PRECONDITION_FAILED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := th.get(c.header...)
			if got.status != c.status || got.err != nil {
				t.Fatalf("status %d, %v, want %d", got.status, got.err, c.status)
			}
			if c.code != "" {
				wantRefusal(t, got, c.status, c.code)
				if c.status == 416 && got.header.Get("Content-Range") != "bytes */100000" && c.name != "backwards" && c.name != "no number" {
					t.Errorf("Content-Range %q", got.header.Get("Content-Range"))
				}
				return
			}
			if len(got.body) != c.length || !bytes.Equal(got.body, th.plain[:c.length]) {
				t.Errorf("%d bytes, want the first %d", len(got.body), c.length)
			}
		})
	}
}

func TestMultipartRanges(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(300_000), nil)
	got := th.get("Range", "bytes=0-9,131070-131075,-5")
	kind, params, err := mime.ParseMediaType(got.header.Get("Content-Type"))
	if got.status != 206 || err != nil || kind != "multipart/byteranges" {
		t.Fatalf("status %d, %s, %v", got.status, kind, err)
	}
	parts := multipart.NewReader(bytes.NewReader(got.body), params["boundary"])
	for _, want := range []struct {
		rng  string
		body []byte
	}{
		{"bytes 0-9/300000", th.plain[:10]},
		{"bytes 131070-131075/300000", th.plain[131070:131076]},
		{"bytes 299995-299999/300000", th.plain[299995:]},
	} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil || !bytes.Equal(body, want.body) || p.Header.Get("Content-Range") != want.rng || p.Header.Get("Content-Type") != "video/mp4" {
			t.Errorf("part %s: %d bytes, %v, want %s", p.Header.Get("Content-Range"), len(body), err, want.rng)
		}
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(100_000), nil)
	got := th.do(http.MethodHead, th.issued.URL, "Range", "bytes=0-9")
	if got.status != 200 || len(got.body) != 0 || got.header.Get("Content-Length") != "100000" {
		t.Errorf("status %d, %d bytes, Content-Length %s: ranges are for GET only", got.status, len(got.body), got.header.Get("Content-Length"))
	}
	if len(th.recordedViews()) != 0 {
		t.Error("HEAD was recorded as a view")
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(10), nil)
	always := map[string]string{"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff",
		"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer", "Content-Security-Policy": "default-src 'none'; sandbox"}
	for name, got := range map[string]reply{"200": th.get(), "206": th.get("Range", "bytes=1-2"), "416": th.get("Range", "bytes=99-"),
		"304": th.get("If-None-Match", "*"), "403": th.do("GET", th.issued.URL+"x"), "405": th.do("POST", th.issued.URL)} {
		for k, want := range always {
			if v := got.header.Values(k); len(v) != 1 || v[0] != want {
				t.Errorf("%s: %s is %q, want %q", name, k, v, want)
			}
		}
	}
	ok := th.get()
	for k, want := range map[string]string{"Content-Type": "video/mp4", "Content-Disposition": `inline; filename="video.mp4"`,
		"Accept-Ranges": "bytes", "Content-Length": "10"} {
		if v := ok.header.Get(k); v != want {
			t.Errorf("%s is %q, want %q", k, v, want)
		}
	}
}

func TestAssetsAndDispositions(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(10), nil)
	for asset, want := range map[Asset][2]string{Video: {"video.mp4", "video/mp4"}, Audio: {"audio.m4a", "audio/mp4"}, Waveform: {"waveform.json", "application/json"}} {
		th.change(func(w *world) { w.files[Ref{"t1", "rec-1", asset}] = th.file })
		issued, err := th.svc.Grant(t.Context(), Request{TenantID: "t1", RecordingID: "rec-1", Asset: asset, Viewer: "bob", Disposition: Attachment})
		if err != nil {
			t.Fatal(err)
		}
		got := th.do("GET", issued.URL)
		if got.status != 200 || got.header.Get("Content-Type") != want[1] || got.header.Get("Content-Disposition") != `attachment; filename="`+want[0]+`"` {
			t.Errorf("%s: status %d, %v", asset, got.status, got.header)
		}
	}
}

func wantRefusal(t *testing.T, got reply, status int, code string) {
	t.Helper()
	if want := `{"error":{"code":"` + code + `"}}` + "\n"; got.status != status || string(got.body) != want ||
		got.header.Get("Content-Type") != "application/json" || got.header.Get("Content-Disposition") != "" {
		t.Errorf("status %d, body %q, type %s, want %d and %q", got.status, got.body, got.header.Get("Content-Type"), status, want)
	}
}

func TestEveryCharacterOfTheURL(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(10), nil)
	th.change(func(w *world) { w.events = nil })
	var first http.Header
	for i := 1; i < len(th.issued.URL); i++ {
		c := byte('A')
		if th.issued.URL[i] == c {
			c = 'B'
		}
		got := th.do("GET", th.issued.URL[:i]+string(c)+th.issued.URL[i+1:])
		wantRefusal(t, got, 403, "FORBIDDEN")
		got.header.Del("Date")
		if first == nil {
			first = got.header
		}
		if fmt.Sprint(first) != fmt.Sprint(got.header) {
			t.Errorf("character %d: headers %v differ from %v", i, got.header, first)
		}
	}
	if len(th.recordedEvents()) != 0 {
		t.Errorf("forged URLs caused work: %v", th.recordedEvents())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		do     func(th *theatre)
		status int
		code   string
	}{
		{"expired", func(th *theatre) { th.change(func(w *world) { w.now = th.issued.Grant.ExpiresAt }) }, 403, "EXPIRED"},
		{"no row", func(th *theatre) { th.change(func(w *world) { clear(w.rows) }) }, 403, "FORBIDDEN"},
		{"revoked", func(th *theatre) { th.changeRow(th.issued.Grant.ID, func(s *GrantStatus) { s.Revoked = true }) }, 403, "FORBIDDEN"},
		{"unknown key", func(th *theatre) { th.svc.ports.Signer.Use(testSigner(th.t, testKey(th.t, 7)).ring.Load()) }, 403, "FORBIDDEN"},
		{"no file", func(th *theatre) { th.change(func(w *world) { clear(w.files) }) }, 404, "NOT_FOUND"},
		{"not ready", func(th *theatre) { th.change(func(w *world) { w.openErr = fmt.Errorf("upload: %w", ErrNotReady) }) }, 503, "NOT_READY"},
		{"key disabled", func(th *theatre) { th.change(func(w *world) { w.openErr = ErrKeyUnavailable }) }, 503, "KEY_UNAVAILABLE"},
		{"store fault", func(th *theatre) { th.change(func(w *world) { w.openErr = errors.New("secret-bucket.internal") }) }, 503, "UNAVAILABLE"},
		{"database fault", func(th *theatre) { th.change(func(w *world) { w.checkErr = errors.New("secret-db.internal") }) }, 503, "UNAVAILABLE"},
		{"audit fault", func(th *theatre) { th.change(func(w *world) { w.auditErr = errors.New("secret-log.internal") }) }, 503, "UNAVAILABLE"},
		{"damaged at its end", func(th *theatre) { th.change(func(*world) { th.file.stored[len(th.file.stored)-1] ^= 1 }) }, 503, "UNAVAILABLE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			th := openTheatre(t, content(100), nil)
			c.do(th)
			got := th.get()
			wantRefusal(t, got, c.status, c.code)
			if strings.Contains(fmt.Sprint(got.header), "secret") || got.header.Get("ETag") != "" {
				t.Errorf("headers tell too much: %v", got.header)
			}
			if len(th.recordedViews()) != 0 {
				t.Error("a refused request was recorded as a view")
			}
		})
	}
}

func TestChangedRowIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range grantChanges() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			th := openTheatre(t, content(100), nil)
			th.change(func(w *world) {
				w.files[Ref{"t2", "rec-1", Video}], w.files[Ref{"t1", "rec-2", Video}] = th.file, th.file
			})
			th.changeRow(th.issued.Grant.ID, func(s *GrantStatus) { change(&s.Grant) })
			wantRefusal(t, th.get(), 403, "FORBIDDEN")
			if slices.Contains(th.recordedEvents(), "open") {
				t.Error("the object was opened")
			}
		})
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.7")
	th := openTheatre(t, content(10), func(c *Config) { c.ClientIP = func(*http.Request) netip.Addr { return client } })
	for address, want := range map[string]int{"192.0.2.7": 200, "::ffff:192.0.2.7": 200, "192.0.2.8": 403, "2001:db8::7": 403} {
		issued, err := th.svc.Grant(t.Context(), Request{TenantID: "t1", RecordingID: "rec-1", Asset: Video, Viewer: "v", IP: netip.MustParseAddr(address)})
		if err != nil {
			t.Fatal(err)
		}
		if got := th.do("GET", issued.URL); got.status != want {
			t.Errorf("grant for %s used from %s: status %d, want %d", address, client, got.status, want)
		}
	}
}

func TestFirstViewComesBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(10), nil)
	th.change(func(w *world) { w.events = nil })
	var before []string
	th.onRead(theVideo, func(int64) { th.change(func(w *world) { before = slices.Clone(w.events) }) })
	for range 3 {
		if got := th.get("User-Agent", "Player/1 \xff"+strings.Repeat("é", 300)); got.status != 200 {
			t.Fatal(got.status)
		}
	}
	if !slices.Contains(before, "viewed") {
		t.Errorf("bytes were read after %v only", before)
	}
	if len(th.recordedViews()) != 1 {
		t.Fatalf("%d views, want 1", len(th.recordedViews()))
	}
	v := th.recordedViews()[0]
	if v.Grant != th.issued.Grant || !v.At.Equal(issued) || !v.Address.IsLoopback() || !strings.HasPrefix(v.UserAgent, "Player/1 ") ||
		len(v.UserAgent) > 256 || strings.ToValidUTF8(v.UserAgent, "?") != v.UserAgent {
		t.Errorf("view %+v", v)
	}
}

// TestGrantIsRecordedBeforeItsURL: a grant that could not be recorded has no URL.
func TestGrantIsRecordedBeforeItsURL(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, nil, func(c *Config) { c.BaseURL = "https://rec.example.com" })
	if !strings.HasPrefix(th.issued.URL, "https://rec.example.com/media/v1/") {
		t.Errorf("URL %s", th.issued.URL)
	}
	if want := issued.Add(10 * time.Minute); !th.issued.RefreshAfter.Equal(want) {
		t.Errorf("refresh after %v, want %v", th.issued.RefreshAfter, want)
	}
	if th.rows[th.issued.Grant.ID].Grant != th.issued.Grant {
		t.Error("the row is not the grant")
	}
	broken := errors.New("database down")
	th.checkErr = broken
	if got, err := th.svc.Grant(t.Context(), Request{TenantID: "t1", RecordingID: "r", Asset: Video, Viewer: "v"}); !errors.Is(err, broken) || got.URL != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, req := range map[string]Request{
		"too long":  {TenantID: "t", RecordingID: "r", Asset: Video, Viewer: "v", TTL: 13 * time.Hour},
		"too short": {TenantID: "t", RecordingID: "r", Asset: Video, Viewer: "v", TTL: time.Millisecond},
		"negative":  {TenantID: "t", RecordingID: "r", Asset: Video, Viewer: "v", TTL: -time.Hour},
		"no viewer": {TenantID: "t", RecordingID: "r", Asset: Video},
		"no asset":  {TenantID: "t", RecordingID: "r", Viewer: "v"},
	} {
		if _, err := th.svc.Grant(t.Context(), req); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v, want ErrRequest", name, err)
		}
	}
}

func TestRevokeIsTenantScoped(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(10), nil)
	if err := th.svc.Revoke(t.Context(), "t2", th.issued.Grant.ID, "mallory"); !errors.Is(err, ErrGrantNotFound) {
		t.Errorf("another tenant's revoke: %v", err)
	}
	if got := th.get(); got.status != 200 {
		t.Errorf("status %d after another tenant's revoke", got.status)
	}
	for range 2 {
		if err := th.svc.Revoke(t.Context(), "t1", th.issued.Grant.ID, "alice"); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, th.get(), 403, "FORBIDDEN")
	}
}

// TestStopsMidway changes the world once a part of the file was read, and looks at how much still leaves.
func TestStopsMidway(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	for _, c := range []struct {
		name  string
		stop  func(th *theatre)
		level string
	}{
		{"revoked here", func(th *theatre) {
			if err := th.svc.Revoke(context.Background(), "t1", th.issued.Grant.ID, "alice"); err != nil {
				th.t.Error(err)
			}
		}, "INFO"},
		{"revoked elsewhere", func(th *theatre) { th.changeRow(th.issued.Grant.ID, func(s *GrantStatus) { s.Revoked = true }) }, "INFO"},
		{"expired", func(th *theatre) { th.change(func(w *world) { w.now = th.issued.Grant.ExpiresAt }) }, "INFO"},
		{"database gone", func(th *theatre) { th.change(func(w *world) { w.checkErr = errors.New("down") }) }, "ERROR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			th := openTheatre(t, content(size), func(c *Config) { c.RecheckEvery, c.ReadAhead = time.Nanosecond, 128<<10 })
			closed := make(chan struct{})
			th.change(func(w *world) { w.onClosed = func() { close(closed) } })
			var stopped int64
			th.onRead(theVideo, func(off int64) {
				th.change(func(w *world) { w.now = w.now.Add(time.Microsecond) })
				if off >= 2<<20 && stopped == 0 {
					stopped = off
					c.stop(th)
				}
			})
			got := th.get()
			<-closed
			if !errors.Is(got.err, io.ErrUnexpectedEOF) || got.header.Get("Content-Length") != fmt.Sprint(size) {
				t.Errorf("the cut looks like a complete file: %d bytes, %v", len(got.body), got.err)
			}
			// What was read before is the most that may leave: the piece in which it happens must not.
			if n := len(got.body); int64(n) > stopped || !bytes.Equal(got.body, th.plain[:n]) {
				t.Errorf("%d bytes left, want at most %d", n, stopped)
			}
			th.server.Close() // so that the log is complete
			if !strings.Contains(th.log.String(), "level="+c.level) || !strings.Contains(th.log.String(), "recording_id=rec-1") {
				t.Errorf("log %q, want level %s", th.log, c.level)
			}
		})
	}
}

// TestHTTP2 looks at what HTTP/1.1 does by closing the connection: a cut response is a reset stream, and a stalled one ends.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(4<<20), nil)
	server := httptest.NewUnstartedServer(th.svc.Handler())
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	get := func() ([]byte, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+th.issued.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.ProtoMajor != 2 {
			t.Fatalf("protocol %s", res.Proto)
		}
		body, err := io.ReadAll(res.Body)
		return body, errors.Join(err, res.Body.Close())
	}
	if body, err := get(); err != nil || !bytes.Equal(body, th.plain) {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
	closed := make(chan struct{})
	th.change(func(w *world) { w.onClosed = func() { close(closed) } })
	th.onRead(theVideo, func(off int64) {
		if off > 1<<20 {
			th.change(func(w *world) { w.now = th.issued.Grant.ExpiresAt })
		}
	})
	if body, err := get(); err == nil || len(body) >= len(th.plain) {
		t.Errorf("the cut looks like a complete file: %d bytes, %v", len(body), err)
	}
	<-closed
}

func TestDamageMidwayCutsTheConnection(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(1<<20), func(c *Config) { c.ReadAhead = 64 << 10 })
	th.change(func(*world) { th.file.stored[700_000] ^= 1 })
	got := th.get()
	if !errors.Is(got.err, io.ErrUnexpectedEOF) || len(got.body) > 700_000 || !bytes.Equal(got.body, th.plain[:len(got.body)]) {
		t.Errorf("%d bytes, %v", len(got.body), got.err)
	}
	if got := th.get("Range", "bytes=900000-"); got.status != 206 || !bytes.Equal(got.body, th.plain[900_000:]) {
		t.Errorf("the undamaged end: status %d, %d bytes", got.status, len(got.body))
	}
	th.server.Close()
	if !strings.Contains(th.log.String(), "level=ERROR") || strings.Contains(th.log.String(), th.issued.URL[20:60]) {
		t.Errorf("log %q: want the damage and no token", th.log)
	}
}

// stall asks for a large file and takes nothing of it. It returns when the server has begun to send.
func stall(t *testing.T, th *theatre) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", th.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the server may have closed it
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", th.issued.URL); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestStalledViewerIsCut(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(16<<20), func(c *Config) { c.WriteTimeout = 50 * time.Millisecond })
	closed := make(chan struct{})
	th.change(func(w *world) { w.onClosed = func() { close(closed) } })
	stall(t, th)
	<-closed // the test's own time limit is the failure
}

// A film takes longer than a server lets other answers take: each piece has its own deadline.
func TestOutlivesTheServersWriteTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 50 * time.Millisecond
	th := openTheatre(t, content(4<<20), nil)
	srv := httptest.NewUnstartedServer(th.svc.Handler())
	srv.Config.WriteTimeout = timeout
	srv.Start()
	defer srv.Close()
	slow := sync.OnceFunc(func() { <-time.After(4 * timeout) }) // a store that takes its time
	th.onRead(theVideo, func(off int64) {
		if off >= 2<<20 {
			slow()
		}
	})
	res, err := srv.Client().Get(srv.URL + th.issued.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil || !bytes.Equal(body, th.plain) {
		t.Errorf("%d of %d bytes, %v", len(body), len(th.plain), err)
	}
}

func TestRevokeWakesAStalledResponse(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(16<<20), func(c *Config) { c.WriteTimeout = time.Hour })
	closed := make(chan struct{})
	th.change(func(w *world) { w.onClosed = func() { close(closed) } })
	stall(t, th)
	if err := th.svc.Revoke(t.Context(), "t1", th.issued.Grant.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	<-closed
}

func TestStreamLimits(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(16<<20), func(c *Config) { c.StreamsPerGrant, c.MaxStreams, c.WriteTimeout = 2, 3, time.Hour })
	// A client may see the end of a response before the handler has returned and is counted out.
	running := func(want int) {
		for {
			th.svc.streams.mu.Lock()
			got := th.svc.streams.running
			th.svc.streams.mu.Unlock()
			if got == want {
				return
			}
			runtime.Gosched()
		}
	}
	stall(t, th)
	stall(t, th)
	running(2)
	got := th.get("Range", "bytes=0-0")
	wantRefusal(t, got, 429, "TOO_MANY_STREAMS")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	first := th.issued
	second, err := th.svc.Grant(t.Context(), Request{TenantID: "t1", RecordingID: "rec-1", Asset: Video, Viewer: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	th.issued = second
	if got := th.get("Range", "bytes=0-0"); got.status != 206 {
		t.Errorf("another grant: status %d", got.status)
	}
	running(2)
	stall(t, th)
	running(3)
	wantRefusal(t, th.get("Range", "bytes=0-0"), 503, "BUSY")
	if err := th.svc.Revoke(t.Context(), "t1", first.Grant.ID, "x"); err != nil {
		t.Fatal(err)
	}
	running(1)
	if got := th.get("Range", "bytes=0-0"); got.status != 206 {
		t.Errorf("after two ended: status %d", got.status)
	}
	if err := th.svc.Revoke(t.Context(), "t1", second.Grant.ID, "x"); err != nil {
		t.Fatal(err)
	}
	running(0)
}

func TestCORS(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(10), func(c *Config) { c.AllowedOrigins = []string{"https://console.example.com"} })
	for _, c := range []struct{ origin, want string }{
		{"https://console.example.com", "https://console.example.com"}, {"https://evil.example.com", ""}, {"http://console.example.com", ""}, {"null", ""}, {"", ""},
	} {
		var header []string
		if c.origin != "" {
			header = []string{"Origin", c.origin}
		}
		for name, got := range map[string]reply{"get": th.get(header...), "refusal": th.do("GET", "/media/v1/x", header...), "preflight": th.do("OPTIONS", th.issued.URL, header...)} {
			if v := got.header.Get("Access-Control-Allow-Origin"); v != c.want {
				t.Errorf("%s from %q: Access-Control-Allow-Origin %q, want %q", name, c.origin, v, c.want)
			}
			if got.header.Get("Vary") != "Origin" {
				t.Errorf("%s: Vary %q", name, got.header.Get("Vary"))
			}
			if name == "preflight" && (got.status != 204 || (got.header.Get("Access-Control-Allow-Methods") != "") != (c.want != "")) {
				t.Errorf("preflight from %q: %d %v", c.origin, got.status, got.header)
			}
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	th := openTheatre(t, content(10), nil)
	for _, m := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		got := th.do(m, th.issued.URL)
		if got.status != 405 || got.header.Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: status %d, Allow %q", m, got.status, got.header.Get("Allow"))
		}
	}
}

func TestConfigSaysEverythingAtOnce(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatalf("the default: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"base URL":        func(c *Config) { c.BaseURL = "https://x/y" },
		"allowed origin":  func(c *Config) { c.AllowedOrigins = []string{"*"} },
		"resource policy": func(c *Config) { c.ResourcePolicy = "any" },
		"longest time":    func(c *Config) { c.MaxTTL = 8 * 24 * time.Hour },
		"default time":    func(c *Config) { c.DefaultTTL = 0 },
		"write timeout":   func(c *Config) { c.WriteTimeout = 0 },
		"recheck":         func(c *Config) { c.RecheckEvery = time.Hour },
		"read-ahead":      func(c *Config) { c.ReadAhead = 0 },
		"ranges":          func(c *Config) { c.MaxRanges = 0 },
		"per grant":       func(c *Config) { c.StreamsPerGrant = 0 },
		"limit of 1 str":  func(c *Config) { c.MaxStreams = 1 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := New(Config{}, Ports{}, nil)
	if err == nil || !strings.Contains(err.Error(), "write timeout") || !strings.Contains(err.Error(), "every port") {
		t.Errorf("New: %v, want all problems", err)
	}
}
