package objectstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/objectstore"
	"github.com/dualrec/dualrec/recorder/objectstore/storetest"
)

// aheadStore opens everything with read-ahead.
type aheadStore struct {
	recorder.ObjectStore
	limit int
}

func (s aheadStore) Open(ctx context.Context, key string) (recorder.Object, error) {
	o, err := s.ObjectStore.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	return objectstore.ReadAhead(o, s.limit), nil
}

func openAhead(t *testing.T, content []byte, limit int) (recorder.Object, *storetest.Memory) {
	t.Helper()
	m := &storetest.Memory{}
	if _, err := m.Put(t.Context(), "k", bytes.NewReader(content), int64(len(content)), storetest.Digest(content)); err != nil {
		t.Fatal(err)
	}
	o, err := aheadStore{m, limit}.Open(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	return o, m
}

func TestReadAheadConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) recorder.ObjectStore { return aheadStore{&storetest.Memory{}, 100_000} })
}

func TestReadAheadGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	content := storetest.Content(1, 700_001)
	for _, limit := range []int{0, 100_000, 256 << 10, 1 << 20} {
		o, _ := openAhead(t, content, limit)
		r := rand.New(rand.NewPCG(3, 4))
		off := int64(0)
		for range 500 {
			if r.IntN(4) == 0 {
				off = r.Int64N(int64(len(content)))
			}
			p := make([]byte, r.IntN(90_000))
			n, err := o.ReadAt(p, off)
			want := content[off:min(off+int64(len(p)), int64(len(content)))]
			if !bytes.Equal(p[:n], want) || err != nil && !(errors.Is(err, io.EOF) && n < len(p)) {
				t.Fatalf("limit %d: ReadAt(%d, %d) = %d, %v, want %d", limit, len(p), off, n, err, len(want))
			}
			if off += int64(n); off >= int64(len(content)) {
				off = 0
			}
		}
	}
}

func TestReadAheadAsksSeldom(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	o, m := openAhead(t, storetest.Content(2, size), 1<<20)
	p := make([]byte, 65568)
	for _, off := range []int64{0, size - 1000} { // as the opening of an encrypted file does
		if _, err := o.ReadAt(p[:80], off); err != nil {
			t.Fatal(err)
		}
	}
	for off := int64(80); off < size; off += int64(len(p)) {
		if _, err := o.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	// 64, 128, 256, 512 KiB, then megabytes, and the end.
	if got := m.Calls("read"); got > 14 {
		t.Errorf("%d reads of the store for 8 MiB in packages, want at most 14", got)
	}
}

func TestReadAheadKeepsFailures(t *testing.T) {
	t.Parallel()
	o, m := openAhead(t, storetest.Content(3, 300_000), 1<<20)
	p := make([]byte, 10)
	m.Inject(storetest.Fault{Op: "read", Times: 1, Err: errDown})
	if n, err := o.ReadAt(p, 5); n != 0 || !errors.Is(err, errDown) {
		t.Errorf("%d, %v, want the store's error", n, err)
	}
	if n, err := o.ReadAt(p, 5); n != 10 || err != nil {
		t.Errorf("after the fault: %d, %v", n, err)
	}
}
