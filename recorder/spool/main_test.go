package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

// TestMain is also the child process of the tests that need one: told so by the environment.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(crashEnv) != "":
		os.Exit(crashChild(os.Getenv(crashEnv)))
	case os.Getenv(holdEnv) != "":
		os.Exit(holdChild(os.Getenv(holdEnv)))
	}
	goleak.VerifyTestMain(m)
}

// testKey is fixed, so that a child process and the fuzzing engine's processes have the same.
func testKey() kms.DataKey {
	k, err := kms.DataKeyFromBytes(bytes.Repeat([]byte{0x5A}, kms.KeySize))
	if err != nil {
		panic(err)
	}
	return k
}

func testHeader(id string) recorder.Header {
	return recorder.Header{Version: 1, RecordingID: id, TenantID: "acme", SessionID: "s-1", ExternalSessionID: "<call & 1>",
		CreatedAt: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), Profile: recorder.DefaultProfile(),
		Expect:     []recorder.TrackKind{recorder.Screen, recorder.Webcam},
		WrappedKey: kms.WrappedKey{Provider: "local", KeyRef: "kek_1", Ciphertext: []byte{1, 2, 3}}}
}

// logBuffer is a log that a test can look at while the spool writes it.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func newSpool(t testing.TB, root string, log io.Writer) *Spool {
	t.Helper()
	s, err := New(Config{Root: root, MinFreeBytes: 1}, testLogger(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newFolder(t testing.TB) (*Spool, recorder.Folder) {
	t.Helper()
	s := newSpool(t, t.TempDir(), io.Discard)
	f, err := s.Create(t.Context(), testHeader("rec-1"), testKey())
	if err != nil {
		t.Fatal(err)
	}
	return s, f
}

func openFolder(t testing.TB, s *Spool, id string) recorder.Folder {
	t.Helper()
	f, err := s.Open(t.Context(), id, testKey())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustJournal(t testing.TB, f recorder.Folder, name string) recorder.Journal {
	t.Helper()
	j, err := f.Journal(name)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

var epoch = time.Date(2026, 3, 1, 9, 0, 0, 123456789, time.UTC)

// numbered is record n of a journal: its content follows from its number alone.
func numbered(n, size int) recorder.Record {
	data := make([]byte, max(size, 8))
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(data) //nolint:errcheck // it has none
	binary.LittleEndian.PutUint64(data, uint64(n))
	return recorder.Record{At: epoch.Add(time.Duration(n) * time.Millisecond), Kind: recorder.PacketRTP, Data: data}
}

func appendNumbered(t testing.TB, j recorder.Journal, from, to, size int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := j.Append(numbered(n, size)); err != nil {
			t.Fatal(err)
		}
	}
}

func mustSync(t testing.TB, f recorder.Folder) {
	t.Helper()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// readNumbers reads to the end and returns the numbers of the records, checked byte by byte, and the damage met.
func readNumbers(t testing.TB, r recorder.JournalReader) (numbers []int, damage []*DamageError) {
	t.Helper()
	for {
		rec, _, err := r.Next()
		var d *DamageError
		switch {
		case err == io.EOF:
			return numbers, damage
		case errors.As(err, &d):
			damage = append(damage, d)
			continue
		case err != nil:
			t.Fatal(err)
		}
		n, err := checkNumbered(rec)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
}

func checkNumbered(rec recorder.Record) (int, error) {
	if len(rec.Data) < 8 {
		return 0, fmt.Errorf("record of %d bytes", len(rec.Data))
	}
	n := int(binary.LittleEndian.Uint64(rec.Data))
	want := numbered(n, len(rec.Data))
	if !bytes.Equal(rec.Data, want.Data) || !rec.At.Equal(want.At) || rec.Kind != want.Kind || rec.At.Location() != time.UTC {
		return 0, fmt.Errorf("record %d was altered", n)
	}
	return n, nil
}

func readAll(t testing.TB, f recorder.Folder, name string) (numbers []int, damage []*DamageError) {
	t.Helper()
	r, err := f.Read(name, recorder.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return readNumbers(t, r)
}

func wantRange(t testing.TB, got []int, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Fatalf("read %d records, want %d", len(got), to-from)
	}
	for i, n := range got {
		if n != from+i {
			t.Fatalf("record %d is number %d, want %d", i, n, from+i)
		}
	}
}
