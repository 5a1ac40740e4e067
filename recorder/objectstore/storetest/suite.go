// Package storetest is the conformance suite that every recorder.ObjectStore passes, and an in-memory store with
// injected faults to test against.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/objectstore"
)

// Run checks the contract of recorder.ObjectStore and of package objectstore. open returns an empty store for one
// test; it registers its own cleanup.
func Run(t *testing.T, open func(t *testing.T) recorder.ObjectStore) {
	for name, check := range map[string]func(*testing.T, recorder.ObjectStore){
		"RoundTrip":          roundTrip,
		"RewindsFirst":       rewindsFirst,
		"Replace":            replace,
		"OpenObjectIsOne":    openObjectIsOne,
		"NotFound":           notFound,
		"Delete":             deletes,
		"RefusesKeys":        refusesKeys,
		"RefusesArguments":   refusesArguments,
		"RefusesWrongSize":   refusesWrongSize,
		"RefusesWrongDigest": refusesWrongDigest,
		"PassesReaderErrors": passesReaderErrors,
		"Cancelled":          cancelled,
		"CancelledMidway":    cancelledMidway,
		"ReadAt":             readAt,
		"ReadEnds":           readEnds,
		"ConcurrentReads":    concurrentReads,
		"ConcurrentPuts":     concurrentPuts,
		"PutsRaceDeletes":    putsRaceDeletes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, open(t))
		})
	}
}

// Content is n bytes that depend on the seed.
func Content(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// Digest is the SHA-256 of b.
func Digest(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

func put(ctx context.Context, s recorder.ObjectStore, key string, b []byte) (recorder.ObjectInfo, error) {
	return s.Put(ctx, key, bytes.NewReader(b), int64(len(b)), Digest(b))
}

func mustPut(t *testing.T, s recorder.ObjectStore, key string, b []byte) {
	t.Helper()
	info, err := put(t.Context(), s, key, b)
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	if info.Key != key || info.Size != int64(len(b)) {
		t.Fatalf("put %q returned %+v, want this key and %d bytes", key, info, len(b))
	}
}

func get(ctx context.Context, s recorder.ObjectStore, key string) ([]byte, error) {
	o, err := s.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
	return b, errors.Join(err, o.Close())
}

func wantContent(t *testing.T, s recorder.ObjectStore, key string, want []byte) {
	t.Helper()
	got, err := get(t.Context(), s, key)
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%q holds %d bytes other than the %d that were put", key, len(got), len(want))
	}
}

func wantAbsent(t *testing.T, s recorder.ObjectStore, key string) {
	t.Helper()
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, recorder.ErrObjectNotFound) {
		t.Fatalf("stat %q: %v, want ErrObjectNotFound", key, err)
	}
	if _, err := s.Open(t.Context(), key); !errors.Is(err, recorder.ErrObjectNotFound) {
		t.Fatalf("open %q: %v, want ErrObjectNotFound", key, err)
	}
}

func roundTrip(t *testing.T, s recorder.ObjectStore) {
	for i, n := range []int{0, 1, 15, 4095, 4096, 4097, 65535, 65536, 65537, 65536 + 32, 1<<20 + 7} {
		key := fmt.Sprintf("tenant-1/rec_%d/video.mp4.enc", n)
		b := Content(uint64(i), n)
		mustPut(t, s, key, b)
		wantContent(t, s, key, b)
		info, err := s.Stat(t.Context(), key)
		if err != nil || info.Key != key || info.Size != int64(n) {
			t.Fatalf("stat after put of %d bytes: %+v, %v", n, info, err)
		}
	}
	mustPut(t, s, "flat", []byte("no folder"))
	wantContent(t, s, "flat", []byte("no folder"))
}

func rewindsFirst(t *testing.T, s recorder.ObjectStore) {
	b := Content(1, 5000)
	r := bytes.NewReader(b)
	if _, err := r.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "k", r, int64(len(b)), Digest(b)); err != nil {
		t.Fatalf("put of a reader that stands at its end: %v", err)
	}
	wantContent(t, s, "k", b)
}

func replace(t *testing.T, s recorder.ObjectStore) {
	for i, n := range []int{70000, 10, 0, 90000} {
		b := Content(uint64(i), n)
		mustPut(t, s, "a/b", b)
		wantContent(t, s, "a/b", b)
	}
}

func openObjectIsOne(t *testing.T, s recorder.ObjectStore) {
	old := bytes.Repeat([]byte{1}, 300000)
	mustPut(t, s, "a/b", old)
	o, err := s.Open(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "a/b", bytes.Repeat([]byte{2}, 300000))
	checkOld := func(when string) {
		p := make([]byte, len(old))
		if n, err := o.ReadAt(p, 0); err == nil && !bytes.Equal(p[:n], old) {
			t.Errorf("%s, an open object gave bytes of another Put", when)
		}
	}
	checkOld("after Put")
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	checkOld("after Delete")
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if err := o.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := o.ReadAt(make([]byte, 1), 0); err == nil || objectstore.Unavailable(err) {
		t.Errorf("read after Close: %v, want an error that is not the store's", err)
	}
}

func notFound(t *testing.T, s recorder.ObjectStore) {
	wantAbsent(t, s, "nothing")
	mustPut(t, s, "a/b/c", []byte("x"))
	for _, key := range []string{"a", "a/b", "a/b/c/d", "a/b/cc", "b", "A/b/c"} {
		wantAbsent(t, s, key)
	}
}

func deletes(t *testing.T, s recorder.ObjectStore) {
	for _, key := range []string{"a/b/c", "a/b/d", "a/e"} {
		mustPut(t, s, key, []byte(key))
	}
	for range 2 { // the second time it is absent, which is no error
		if err := s.Delete(t.Context(), "a/b/c"); err != nil {
			t.Fatal(err)
		}
		wantAbsent(t, s, "a/b/c")
	}
	for _, notAnObject := range []string{"a", "a/b", "never/was"} {
		if err := s.Delete(t.Context(), notAnObject); err != nil {
			t.Errorf("delete %q: %v", notAnObject, err)
		}
	}
	wantContent(t, s, "a/b/d", []byte("a/b/d"))
	wantContent(t, s, "a/e", []byte("a/e"))
	mustPut(t, s, "a/b/c", []byte("again"))
	wantContent(t, s, "a/b/c", []byte("again"))
}

// BadKeys are keys that every adapter refuses.
func BadKeys() []string {
	return []string{"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", "a/./b", ".hidden", "a/.tmp", `a\b`, `..\a`,
		"C:/a", "a b", "a\x00b", "a\nb", "ä", "a%2fb", "a?b", "a#b", strings.Repeat("x", objectstore.MaxPartBytes+1),
		strings.Repeat("abcdefg/", 70) + "x", ".incoming/x", "~/a", "a:b", "a*"}
}

func refusesKeys(t *testing.T, s recorder.ObjectStore) {
	for _, key := range BadKeys() {
		_, perr := put(t.Context(), s, key, []byte("x"))
		_, oerr := s.Open(t.Context(), key)
		_, serr := s.Stat(t.Context(), key)
		derr := s.Delete(t.Context(), key)
		for op, err := range map[string]error{"put": perr, "open": oerr, "stat": serr, "delete": derr} {
			var ke *objectstore.KeyError
			if !errors.Is(err, objectstore.ErrInvalid) || !errors.As(err, &ke) {
				t.Errorf("%s %.40q: %v, want a KeyError", op, key, err)
			}
		}
	}
}

func refusesArguments(t *testing.T, s recorder.ObjectStore) {
	for name, c := range map[string]struct {
		size   int64
		digest []byte
	}{
		"negative size": {-1, Digest(nil)},
		"no digest":     {0, nil},
		"short digest":  {0, Digest(nil)[:31]},
	} {
		if _, err := s.Put(t.Context(), "k", bytes.NewReader(nil), c.size, c.digest); !errors.Is(err, objectstore.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	wantAbsent(t, s, "k")
}

func refusesWrongSize(t *testing.T, s recorder.ObjectStore) {
	mustPut(t, s, "kept", []byte("before"))
	b := Content(3, 70000)
	for _, announced := range []int64{0, 1, 65536, 69999, 70001, 1 << 30} {
		_, err := s.Put(t.Context(), "kept", bytes.NewReader(b), announced, Digest(b[:min(announced, 70000)]))
		var se *objectstore.SizeError
		if !errors.As(err, &se) || se.Want != announced || (se.Got > se.Want) != (announced < 70000) {
			t.Errorf("put of %d bytes announced as %d: %v, want a SizeError that says so", len(b), announced, err)
		}
	}
	wantContent(t, s, "kept", []byte("before"))
}

func refusesWrongDigest(t *testing.T, s recorder.ObjectStore) {
	mustPut(t, s, "kept", []byte("before"))
	_, err := s.Put(t.Context(), "kept", strings.NewReader("after!"), 6, Digest([]byte("other!")))
	var de *objectstore.DigestError
	if !errors.Is(err, recorder.ErrDigestMismatch) || !errors.As(err, &de) || de.ReadBack {
		t.Errorf("put with another digest: %v, want a DigestError of the reader's side", err)
	}
	wantContent(t, s, "kept", []byte("before"))
}

var errReader = errors.New("the reader's own failure")

// badReader fails once its good bytes are read.
type badReader struct{ *bytes.Reader }

func (r badReader) Read(p []byte) (int, error) {
	if n, err := r.Reader.Read(p); err == nil {
		return n, nil
	}
	return 0, errReader
}

func passesReaderErrors(t *testing.T, s recorder.ObjectStore) {
	b := Content(4, 100)
	_, err := s.Put(t.Context(), "k", badReader{bytes.NewReader(b)}, 200, Digest(b))
	if !errors.Is(err, errReader) || objectstore.Unavailable(err) {
		t.Errorf("put from a failing reader: %v, want its own error and no blame on the store", err)
	}
	wantAbsent(t, s, "k")
}

func cancelled(t *testing.T, s recorder.ObjectStore) {
	mustPut(t, s, "kept", []byte("before"))
	o, err := s.Open(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }() // only its reading matters here
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, perr := put(ctx, s, "kept", []byte("after"))
	_, oerr := s.Open(ctx, "kept")
	_, serr := s.Stat(ctx, "kept")
	derr := s.Delete(ctx, "kept")
	for op, err := range map[string]error{"put": perr, "open": oerr, "stat": serr, "delete": derr} {
		if !errors.Is(err, context.Canceled) || objectstore.Unavailable(err) {
			t.Errorf("%s with a cancelled context: %v, want context.Canceled", op, err)
		}
	}
	wantContent(t, s, "kept", []byte("before"))
}

// cancellingReader ends the context while it is read.
type cancellingReader struct {
	*bytes.Reader
	cancel context.CancelFunc
}

func (r cancellingReader) Read(p []byte) (int, error) {
	if r.Len() < 200000 {
		r.cancel()
	}
	return r.Reader.Read(p[:min(len(p), 50000)])
}

func cancelledMidway(t *testing.T, s recorder.ObjectStore) {
	mustPut(t, s, "kept", []byte("before"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := Content(5, 400000)
	_, err := s.Put(ctx, "kept", cancellingReader{bytes.NewReader(b), cancel}, int64(len(b)), Digest(b))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("put cancelled midway: %v, want context.Canceled", err)
	}
	wantContent(t, s, "kept", []byte("before"))
}

func readAt(t *testing.T, s recorder.ObjectStore) {
	const size = 200001
	b := Content(6, size)
	mustPut(t, s, "k", b)
	o, err := s.Open(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }() // only its reading matters here
	if o.Size() != size {
		t.Fatalf("size %d, want %d", o.Size(), size)
	}
	for _, c := range []struct {
		off  int64
		n    int
		want int
		eof  bool
	}{
		{0, 1, 1, false}, {0, 0, 0, false}, {65535, 2, 2, false}, {131072, 65536, 65536, false}, {size - 1, 1, 1, false},
		{size - 1, 2, 1, true}, {size, 1, 0, true}, {size + 1, 1, 0, true}, {1 << 40, 10, 0, true}, {0, size + 5, size, true},
	} {
		p := make([]byte, c.n)
		n, err := o.ReadAt(p, c.off)
		if n != c.want || errors.Is(err, io.EOF) != c.eof && !(n == c.n && errors.Is(err, io.EOF)) || err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("ReadAt(%d bytes, %d) = %d, %v, want %d, EOF %t", c.n, c.off, n, err, c.want, c.eof)
			continue
		}
		if n > 0 && !bytes.Equal(p[:n], b[c.off:c.off+int64(n)]) {
			t.Errorf("ReadAt(%d bytes, %d) gave other bytes", c.n, c.off)
		}
	}
	if _, err := o.ReadAt(make([]byte, 1), -1); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("ReadAt at -1: %v, want an error", err)
	}
}

func readEnds(t *testing.T, s recorder.ObjectStore) {
	mustPut(t, s, "k", []byte("content"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o, err := s.Open(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }() // only its reading matters here
	cancel()
	if _, err := o.ReadAt(make([]byte, 3), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read after Open's context ended: %v, want context.Canceled", err)
	}
}

func concurrentReads(t *testing.T, s recorder.ObjectStore) {
	b := Content(7, 1<<20)
	mustPut(t, s, "k", b)
	o, err := s.Open(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }() // only its reading matters here
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			for range 50 {
				off := r.Int64N(int64(len(b)))
				p := make([]byte, min(r.Int64N(100000), int64(len(b))-off))
				if n, err := o.ReadAt(p, off); n != len(p) || !bytes.Equal(p, b[off:off+int64(n)]) {
					t.Errorf("concurrent ReadAt(%d bytes, %d) = %d, %v", len(p), off, n, err)
				}
			}
		})
	}
	wg.Wait()
}

func concurrentPuts(t *testing.T, s recorder.ObjectStore) {
	contents := make([][]byte, 6)
	var wg sync.WaitGroup
	for i := range contents {
		contents[i] = bytes.Repeat([]byte{byte(i)}, 50000+i)
		wg.Go(func() {
			if _, err := put(t.Context(), s, "same/key", contents[i]); err != nil {
				t.Errorf("concurrent put: %v", err)
			}
		})
	}
	wg.Wait()
	got, err := get(t.Context(), s, "same/key")
	if err != nil || len(got) < 50000 || !bytes.Equal(got, contents[len(got)-50000]) {
		t.Errorf("after concurrent puts the key holds a mixture of %d bytes, %v", len(got), err)
	}
}

func putsRaceDeletes(t *testing.T, s recorder.ObjectStore) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			key := fmt.Sprintf("tenant/recording/%d", g) // the folder is shared, so that an adapter's tidying is tried
			for range 10 {
				if _, err := put(t.Context(), s, key, []byte(key)); err != nil {
					t.Errorf("put: %v", err)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					t.Errorf("delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
}
