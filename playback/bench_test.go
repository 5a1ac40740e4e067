package playback

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// BenchmarkServe sends 32 MiB over the loopback, decrypted from memory by the handler, beside the same bytes served
// by http.ServeContent alone, and 64 KiB ranges of both.
func BenchmarkServe(b *testing.B) {
	const size = 32 << 20
	plain := content(size)
	th := openTheatre(b, plain, nil)
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "video.mp4", time.Time{}, bytes.NewReader(plain))
	}))
	b.Cleanup(bare.Close)
	for _, c := range []struct {
		name, url, rng string
		bytes          int64
	}{
		{"whole/decrypted", th.server.URL + th.issued.URL, "", size},
		{"whole/plain", bare.URL, "", size},
		{"range_64KiB/decrypted", th.server.URL + th.issued.URL, "bytes=1000000-1065535", 65536},
		{"range_64KiB/plain", bare.URL, "bytes=1000000-1065535", 65536},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(c.bytes)
			for b.Loop() {
				fetch(b, c.url, c.rng, c.bytes)
			}
		})
	}
}

func fetch(b *testing.B, url, rng string, want int64) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	if rng != "" {
		req.Header.Set("Range", rng)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	n, err := io.Copy(io.Discard, res.Body)
	if cerr := res.Body.Close(); err != nil || cerr != nil || n != want {
		b.Fatalf("%d bytes, %v, %v, want %d", n, err, cerr, want)
	}
}

// BenchmarkHandler leaves the network out: what verifying, decrypting and copying cost.
func BenchmarkHandler(b *testing.B) {
	const size = 32 << 20
	th := openTheatre(b, content(size), nil)
	h := th.svc.Handler()
	b.SetBytes(size)
	for b.Loop() {
		h.ServeHTTP(&sink{h: http.Header{}}, httptest.NewRequest(http.MethodGet, th.issued.URL, nil))
	}
}

type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// BenchmarkVerify is the cost of a URL, genuine or not.
func BenchmarkVerify(b *testing.B) {
	s := testSigner(b, testKey(b, 0))
	path := mustSign(b, s, testGrant())
	for b.Loop() {
		if _, err := s.Verify(path, issued); err != nil {
			b.Fatal(err)
		}
	}
}
