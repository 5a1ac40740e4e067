package fs_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/objectstore"
	objectfs "github.com/dualrec/dualrec/recorder/objectstore/fs"
	"github.com/dualrec/dualrec/recorder/objectstore/storetest"
)

func open(t *testing.T, dir string) *objectfs.Store {
	t.Helper()
	s, err := objectfs.Open(dir)
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

func put(t *testing.T, s recorder.ObjectStore, key, content string) error {
	t.Helper()
	sum := sha256.Sum256([]byte(content))
	_, err := s.Put(t.Context(), key, bytes.NewReader([]byte(content)), int64(len(content)), sum[:])
	return err
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != dir {
			rel, _ := filepath.Rel(dir, p) // p is below dir
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) recorder.ObjectStore { return open(t, t.TempDir()) })
}

func TestConformanceWrapped(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) recorder.ObjectStore {
		return objectstore.Retry(objectstore.NewBreaker(open(t, t.TempDir()), objectstore.Settings{Name: "fs"}), objectstore.Policy{})
	})
}

func TestFolderHoldsKeysAsPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := put(t, s, "t1/r1/video", "abc"); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "t1/r2/video", "abc"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "t1", "r1", "video"))
	if err != nil || string(got) != "abc" {
		t.Fatalf("file holds %q, %v", got, err)
	}
	info, err := os.Stat(filepath.Join(dir, "t1", "r1", "video"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if err := s.Delete(t.Context(), "t1/r1/video"); err != nil {
		t.Fatal(err)
	}
	if got, want := files(t, dir), []string{".incoming", "t1", "t1/r2", "t1/r2/video"}; !slices.Equal(got, want) {
		t.Errorf("after a delete the folder holds %v, want %v", got, want)
	}
}

func TestFailedPutLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Put(t.Context(), "a/b", bytes.NewReader([]byte("abc")), 3, make([]byte, 32)); !errors.Is(err, recorder.ErrDigestMismatch) {
		t.Fatal(err)
	}
	if got, want := files(t, dir), []string{".incoming"}; !slices.Equal(got, want) {
		t.Errorf("a failed put left %v", got)
	}
}

func TestKeyBelowAnotherKeyIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if err := put(t, s, "a/b", "x"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "a/b/c", "a/b/c/d"} {
		err := put(t, s, key, "y")
		if ke := (*objectstore.KeyError)(nil); !errors.As(err, &ke) {
			t.Errorf("put %q beside a/b: %v, want a KeyError", key, err)
		}
	}
	if err := put(t, s, "a/b", "z"); err != nil {
		t.Errorf("a/b itself can still be replaced: %v", err)
	}
}

func TestPlantedLinksLeadNowhere(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := open(t, dir)
	for link, target := range map[string]string{"folder": outside, "file": filepath.Join(outside, "secret")} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	for _, key := range []string{"file", "folder/secret"} {
		if _, err := s.Open(t.Context(), key); err == nil {
			t.Errorf("open %q followed a link out of the folder", key)
		}
	}
	if err := put(t, s, "folder/new", "x"); err == nil {
		t.Error("put followed a link out of the folder")
	}
	if got := files(t, outside); !slices.Equal(got, []string{"secret"}) {
		t.Errorf("outside now holds %v", got)
	}
}

func TestOpenRemovesWhatCrashesLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	old, fresh := filepath.Join(dir, ".incoming", "OLD"), filepath.Join(dir, ".incoming", "FRESH")
	for _, p := range []string{old, fresh} {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if got, want := files(t, dir), []string{".incoming", ".incoming/FRESH"}; !slices.Equal(got, want) {
		t.Errorf("after reopening: %v, want %v (another process may still write a fresh one)", got, want)
	}
}

func TestDiskFaultsAreUnavailable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, ".incoming")); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "a", "x"); !errors.Is(err, recorder.ErrStoreUnavailable) {
		t.Errorf("put without a place to write: %v, want ErrStoreUnavailable", err)
	}
}

// damagingReader flips a byte on the disk once everything was written, as a failing disk would.
type damagingReader struct {
	*bytes.Reader
	t   *testing.T
	dir string
}

func (r damagingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n == 0 {
		names, _ := filepath.Glob(filepath.Join(r.dir, ".incoming", "*"))
		if len(names) != 1 {
			r.t.Fatalf("%d unfinished files, want 1", len(names))
		}
		if err := os.WriteFile(names[0], []byte("abX"), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	return n, err
}

func TestReadBackFindsDamageOnTheDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	_, err := s.Put(t.Context(), "k", damagingReader{bytes.NewReader([]byte("abc")), t, dir}, 3, storetest.Digest([]byte("abc")))
	var de *objectstore.DigestError
	if !errors.As(err, &de) || !de.ReadBack || !objectstore.Retryable(t.Context(), err) {
		t.Errorf("got %v, want a DigestError of the store's side, worth another attempt", err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{".incoming"}) {
		t.Errorf("damaged bytes stayed: %v", got)
	}
}

func TestOpenRefusesAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := objectfs.Open(file); err == nil {
		t.Error("a file was taken as a folder")
	}
}
