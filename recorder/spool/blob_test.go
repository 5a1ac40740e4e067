package spool

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

func TestBlobRoundTrip(t *testing.T) {
	t.Parallel()
	_, f := newFolder(t)
	content := bytes.Repeat([]byte("segment "), 30_000)
	info := writeBlob(t, f, "seg-1.h264", content)
	if got := readBlob(t, f, "seg-1.h264"); !bytes.Equal(got, content) {
		t.Error("wrong content")
	}
	b, err := f.Blob("seg-1.h264")
	if err != nil {
		t.Fatal(err)
	}
	file, size, err := b.Ciphertext()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	writeBlob(t, f, "seg-1.h264", []byte("a later version"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // an upload may start again
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(raw)
		want := recorder.BlobInfo{Name: "seg-1.h264", Size: int64(len(content)), CiphertextSize: int64(len(raw)), CiphertextSHA256: sum[:]}
		if info.Name != want.Name || info.Size != want.Size || info.CiphertextSize != want.CiphertextSize || size != want.CiphertextSize ||
			!bytes.Equal(info.CiphertextSHA256, want.CiphertextSHA256) {
			t.Errorf("got %+v, want %+v", info, want)
		}
		// Playback has the stored object, the data key and the two names, and nothing else.
		key, err := testKey().FileKey(BlobFileID("rec-1", "seg-1.h264"), BlobRole)
		if err != nil {
			t.Fatal(err)
		}
		r, err := kms.NewReader(bytes.NewReader(raw), int64(len(raw)), key)
		if err != nil || r.Size() != int64(len(content)) {
			t.Errorf("the uploaded copy: %v", err)
		}
	}
	if got := readBlob(t, f, "seg-1.h264"); string(got) != "a later version" {
		t.Errorf("after replacing: %q", got)
	}
}

func TestBlobAppearsOnCommit(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	writeBlob(t, f, "b", []byte("old"))
	w, err := f.Create("b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 200_000)); err != nil {
		t.Fatal(err)
	}
	if got := readBlob(t, f, "b"); string(got) != "old" {
		t.Error("an uncommitted blob is visible")
	}
	w.Abort()
	w.Abort()
	if _, err := w.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Write after Abort: %v", err)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("Commit after Abort: %v", err)
	}
	w, err = f.Create("b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if got := readBlob(t, f, "b"); len(got) != 0 {
		t.Error("Abort after Commit did something")
	}
	left, err := filepath.Glob(filepath.Join(s.cfg.Root, "rec-1", blobFolder, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := errors.Join(f.RemoveBlob("b"), f.RemoveBlob("b")); err != nil {
		t.Error(err)
	}
	if _, err := f.Blob("b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after RemoveBlob: %v", err)
	}
}

func TestUnfinishedBlobIsDeletedAtOpen(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	w, err := f.Create("b")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("Commit into a closed folder: %v", err)
	}
	stray := filepath.Join(s.cfg.Root, "rec-1", blobFolder, tempPrefix+"blob-0")
	if err := os.WriteFile(stray, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	openFolder(t, s, "rec-1")
	if _, err := os.Stat(stray); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the unfinished blob is still there: %v", err)
	}
}

func TestDamagedBlobIsRefused(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	writeBlob(t, f, "a", make([]byte, 300_000))
	writeBlob(t, f, "b", []byte("b"))
	path := func(name string) string { return filepath.Join(s.cfg.Root, "rec-1", blobFolder, name) }
	good, err := os.ReadFile(path("a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("a"), good[:200_000], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Blob("a"); !errors.Is(err, recorder.ErrSpoolDamaged) || !errors.Is(err, kms.ErrTruncated) {
		t.Errorf("truncated: %v", err)
	}
	good[100_000] ^= 1
	if err := os.WriteFile(path("a"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := f.Blob("a")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.ReadAt(make([]byte, 10), 99_000); !errors.Is(err, recorder.ErrSpoolDamaged) || !errors.Is(err, kms.ErrDamaged) {
		t.Errorf("flipped: %v", err)
	}
	if err := os.Rename(path("b"), path("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Blob("a"); !errors.Is(err, kms.ErrWrongKey) {
		t.Errorf("another blob's file: %v", err)
	}
}

func FuzzHeader(f *testing.F) {
	good, err := encodeHeader(testHeader("rec-1"), testKey())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":"dualrec-spool","version":1,"header":{"recording_id":"rec-1"}}`))
	f.Add([]byte(`{"format":"dualrec-spool","version":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, h, err := parseHeader(raw, "rec-1")
		if err != nil {
			if !errors.Is(err, recorder.ErrSpoolDamaged) && !errors.Is(err, ErrVersion) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		if h.RecordingID != "rec-1" {
			t.Fatal("another recording's header was accepted")
		}
		original, _, err := parseHeader(good, "rec-1")
		if err != nil {
			t.Fatal(err)
		}
		if file.authenticate("rec-1", testKey()) == nil && !bytes.Equal(file.Header, original.Header) {
			t.Fatal("a forged header authenticates")
		}
	})
}
