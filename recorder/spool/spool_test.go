package spool

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	if err := (Config{Root: "x"}).Validate(); err != nil {
		t.Error(err)
	}
	err := Config{MaxBytes: -1, MinFreeBytes: -1}.Validate()
	for _, part := range []string{"root", "max bytes", "min free bytes"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	if _, err := New(Config{}, testLogger(io.Discard)); err == nil {
		t.Error("New accepted an invalid configuration")
	}
	if got := (Config{}).withDefaults().MinFreeBytes; got != DefaultMinFreeBytes {
		t.Errorf("default %d", got)
	}
}

func TestCreateAndHeader(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	want := testHeader("rec-1")
	if got := f.Header(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	got, err := s.Header(t.Context(), "rec-1")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := s.Create(t.Context(), want, testKey()); !errors.Is(err, recorder.ErrSpoolExists) {
		t.Errorf("second Create: %v", err)
	}
	if _, err := s.Open(t.Context(), "rec-1", testKey()); !errors.Is(err, ErrLocked) {
		t.Errorf("Open while it is open: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := openFolder(t, s, "rec-1").Header(); !reflect.DeepEqual(got, want) {
		t.Errorf("after Open: %+v", got)
	}
	if _, err := s.Header(t.Context(), "rec-2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing header: %v", err)
	}
	if _, err := s.Open(t.Context(), "rec-2", testKey()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	later := testHeader("rec-3")
	later.Version = 2
	if _, err := s.Create(t.Context(), later, testKey()); !errors.Is(err, ErrVersion) {
		t.Errorf("header of a later version: %v", err)
	}
}

func TestConcurrentCreateHasOneWinner(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	spools := []*Spool{newSpool(t, root, io.Discard), newSpool(t, root, io.Discard)}
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := spools[i%2].Create(context.Background(), testHeader("rec-1"), testKey())
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, recorder.ErrSpoolExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d folders were created", won.Load())
	}
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestNamesAreChecked(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	bad := []string{"", ".", "..", ".x", "a/b", "../rec-1", "a\\b", "a b", "ä", "a\x00", strings.Repeat("x", maxName+1)}
	for _, name := range bad {
		h := testHeader(name)
		_, e1 := s.Create(t.Context(), h, testKey())
		_, e2 := s.Open(t.Context(), name, testKey())
		_, e3 := s.Header(t.Context(), name)
		e4 := s.Remove(t.Context(), name)
		_, e5 := f.Journal(name)
		_, e6 := f.Read(name, recorder.Position{})
		_, e7 := f.Create(name)
		_, e8 := f.Blob(name)
		e9 := f.RemoveBlob(name)
		_, e10 := s.View(t.Context(), name, testKey())
		for i, err := range []error{e1, e2, e3, e4, e5, e6, e7, e8, e9, e10} {
			if !errors.Is(err, ErrName) {
				t.Errorf("%q, operation %d: %v", name, i+1, err)
			}
		}
	}
	for _, name := range []string{"a", "A-1_b.c", "0", "-", "_", strings.Repeat("x", maxName)} {
		if err := checkName(name); err != nil {
			t.Error(err)
		}
		w, err := f.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Error(err)
		}
		if err := mustJournal(t, f, name).Close(); err != nil {
			t.Error(err)
		}
	}
	names, err := f.Journals()
	if err != nil || !slices.IsSorted(names) || len(names) != 6 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestWrongKeyAndDamagedHeader(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := kms.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "rec-1", other); !errors.Is(err, recorder.ErrSpoolKey) {
		t.Errorf("wrong key: %v", err)
	}
	path := filepath.Join(s.cfg.Root, "rec-1", headerName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		raw  []byte
		want error
	}{
		{"tenant changed", bytes.Replace(good, []byte("acme"), []byte("evil"), 1), recorder.ErrSpoolDamaged},
		{"another recording", bytes.Replace(good, []byte("rec-1"), []byte("rec-2"), 1), recorder.ErrSpoolDamaged},
		{"empty", nil, recorder.ErrSpoolDamaged},
		{"truncated", good[:len(good)/2], recorder.ErrSpoolDamaged},
		{"trailing", append(bytes.Clone(good), '1'), recorder.ErrSpoolDamaged},
		{"too long", append(bytes.Clone(good), bytes.Repeat([]byte(" "), maxHeaderBytes)...), recorder.ErrSpoolDamaged},
		{"not JSON", []byte("hello"), recorder.ErrSpoolDamaged},
		{"other format", bytes.Replace(good, []byte(headerFormat), []byte("x"), 1), recorder.ErrSpoolDamaged},
		{"later version", bytes.Replace(good, []byte(`"version":1`), []byte(`"version":2`), 1), ErrVersion},
	}
	for _, tt := range tests {
		if err := os.WriteFile(path, tt.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(t.Context(), "rec-1", testKey()); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		ids, err := s.List(t.Context())
		if err != nil || !slices.Equal(ids, []string{"rec-1"}) {
			t.Errorf("%s: listed %v, %v", tt.name, ids, err)
		}
	}
}

func TestListIsOldestFirst(t *testing.T) {
	t.Parallel()
	s := newSpool(t, t.TempDir(), io.Discard)
	for i, id := range []string{"c", "a", "b"} {
		h := testHeader(id)
		h.CreatedAt = h.CreatedAt.Add(-time.Duration(i) * time.Hour)
		if _, err := s.Create(t.Context(), h, testKey()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.cfg.Root, "stray-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ids, err := s.List(t.Context())
	if err != nil || !slices.Equal(ids, []string{"b", "a", "c"}) {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	appendNumbered(t, mustJournal(t, f, "screen"), 0, 100, 1000)
	if err := s.Remove(t.Context(), "rec-1"); !errors.Is(err, ErrLocked) {
		t.Errorf("Remove of an open folder: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Remove(t.Context(), "rec-1"); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(s.cfg.Root)
	if err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if got := s.used.Load(); got != 0 {
		t.Errorf("%d bytes are still counted", got)
	}
	if _, err := s.Create(t.Context(), testHeader("rec-1"), testKey()); err != nil {
		t.Errorf("Create after Remove: %v", err)
	}
}

func TestNewSweepsWhatIsUnfinished(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, dir := range []string{".new-rec-9-00", ".trash-rec-8-00/blobs", "rec-7"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	making := filepath.Join(root, ".new-rec-6-00")
	if err := os.Mkdir(making, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := lockFolder(making) // another process is at it
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	newSpool(t, root, io.Discard)
	var left []string
	entries, err := os.ReadDir(root)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if err != nil || !slices.Equal(left, []string{".new-rec-6-00", "rec-7"}) {
		t.Errorf("%v, %v", left, err)
	}
}

func TestQuotaAndUsage(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, err := New(Config{Root: root, MaxBytes: 60_000, MinFreeBytes: 1}, testLogger(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := s.Create(t.Context(), testHeader("rec-1"), testKey())
	if err != nil {
		t.Fatal(err)
	}
	j := mustJournal(t, f, "screen")
	appendNumbered(t, j, 0, 100, 1000) // more than the quota: what runs is never stopped
	writeBlob(t, f, "b", make([]byte, 5000))
	writeBlob(t, f, "b", make([]byte, 3000))
	writeBlob(t, f, "c", make([]byte, 3000))
	if err := f.RemoveBlob("c"); err != nil {
		t.Fatal(err)
	}
	mustSync(t, f)
	onDisk, err := folderBytes(root)
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.Usage()
	if err != nil || u.Used != onDisk || u.Free <= 0 || u.Max != 60_000 {
		t.Errorf("%+v with %d bytes on disk, %v", u, onDisk, err)
	}
	if _, err := s.Create(t.Context(), testHeader("rec-2"), testKey()); !errors.Is(err, recorder.ErrSpoolFull) {
		t.Errorf("Create above the quota: %v", err)
	}
	appendNumbered(t, j, 100, 110, 1000)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := newSpool(t, root, io.Discard)
	if onDisk, err = folderBytes(root); err != nil || again.used.Load() != onDisk {
		t.Errorf("a new process counts %d of %d bytes, %v", again.used.Load(), onDisk, err)
	}
	if err := s.Remove(t.Context(), "rec-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), testHeader("rec-2"), testKey()); err != nil {
		t.Errorf("Create after making room: %v", err)
	}
	tight, err := New(Config{Root: t.TempDir(), MinFreeBytes: 1 << 60}, testLogger(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer tight.Close()
	if _, err := tight.Create(t.Context(), testHeader("rec-1"), testKey()); !errors.Is(err, recorder.ErrSpoolFull) {
		t.Errorf("Create with too little free: %v", err)
	}
}

func TestClosedSpoolAndCancelledContext(t *testing.T) {
	t.Parallel()
	s := newSpool(t, t.TempDir(), io.Discard)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Create(cancelled, testHeader("rec-1"), testKey()); !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
	f, err := s.Create(t.Context(), testHeader("rec-1"), testKey())
	if err != nil {
		t.Fatal(err)
	}
	j := mustJournal(t, f, "screen")
	appendNumbered(t, j, 0, 10, 100)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(numbered(10, 100)); !errors.Is(err, ErrClosed) {
		t.Errorf("Append: %v", err)
	}
	if _, err := s.Open(t.Context(), "rec-1", testKey()); !errors.Is(err, ErrClosed) {
		t.Errorf("Open: %v", err)
	}
	again := newSpool(t, s.cfg.Root, io.Discard)
	numbers, _ := readAll(t, openFolder(t, again, "rec-1"), "screen")
	wantRange(t, numbers, 0, 10)
}

func TestViewIsReadOnly(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	writeBlob(t, f, "b", []byte("x"))
	view, err := s.View(t.Context(), "rec-1", testKey())
	if err != nil {
		t.Fatal(err)
	}
	_, e1 := view.Journal("screen")
	_, e2 := view.Create("b")
	e3 := view.RemoveBlob("b")
	for _, err := range []error{e1, e2, e3} {
		if !errors.Is(err, ErrReadOnly) {
			t.Error(err)
		}
	}
	if got := readBlob(t, view, "b"); string(got) != "x" {
		t.Errorf("blob: %q", got)
	}
	if err := errors.Join(view.Sync(), view.Close()); err != nil {
		t.Error(err)
	}
}

func TestFolderDoesNotPrintItsKey(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	j := mustJournal(t, f, "screen")
	w, err := f.Create("b")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	raw := testKey().Bytes()
	for _, v := range []any{f, j, w, struct{ f any }{f}} {
		for _, text := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v)} {
			if strings.Contains(text, fmt.Sprint(raw)[1:40]) || strings.Contains(text, hex.EncodeToString(raw)) || strings.Contains(text, string(raw)) {
				t.Errorf("%T prints its key", v)
			}
		}
	}
	_ = s
}

func writeBlob(t testing.TB, f recorder.Folder, name string, content []byte) recorder.BlobInfo {
	t.Helper()
	w, err := f.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func readBlob(t testing.TB, f recorder.Folder, name string) []byte {
	t.Helper()
	b, err := f.Blob(name)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	content, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
