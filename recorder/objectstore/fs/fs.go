// Package fs keeps objects as files below one local folder, key a/b/c as file a/b/c. It writes durably (temporary file,
// write, fsync, read back, rename, fsync of every folder on the way) and never leaves the folder: all access goes
// through os.Root, so that neither a key nor a symbolic link planted inside leads out.
//
// Because files and folders share their names, an object a and an object a/b cannot exist together here; the later Put
// is refused with a *objectstore.KeyError. It keeps no versions.
package fs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/objectstore"
)

const (
	// incoming holds unfinished files. No key starts with a dot, so none can name it.
	incoming = ".incoming"
	// abandoned is the age at which an unfinished file must be a crash's: no single Put writes for so long.
	abandoned = 24 * time.Hour
	copyBytes = 256 << 10
	// placeAttempts bounds the race of a Put with a Delete that removes the folder it has just made.
	placeAttempts = 16
)

// Store is a recorder.ObjectStore in a local folder. It is safe for concurrent use, also by several processes.
type Store struct{ root *os.Root }

var _ recorder.ObjectStore = (*Store)(nil)

// Open opens the store in folder dir, making it (mode 0700) if needed, and removes what crashed Puts left behind.
// The caller must Close it.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("objectstore/fs: make the folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("objectstore/fs: open the folder: %w", err)
	}
	s := &Store{root: root}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

func (s *Store) prepare() error {
	if err := s.root.MkdirAll(incoming, 0o700); err != nil {
		return fmt.Errorf("objectstore/fs: make %s: %w", incoming, err)
	}
	left, err := fs.ReadDir(s.root.FS(), incoming)
	if err != nil {
		return fmt.Errorf("objectstore/fs: read %s: %w", incoming, err)
	}
	for _, e := range left {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			if err := s.root.Remove(path.Join(incoming, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("objectstore/fs: remove an abandoned file: %w", err)
			}
		}
	}
	return nil
}

// Close releases the folder. Objects that are open stay readable until they are closed.
func (s *Store) Close() error { return s.root.Close() }

// Put implements recorder.ObjectStore.
func (s *Store) Put(ctx context.Context, key string, r io.ReadSeeker, size int64, digest []byte) (recorder.ObjectInfo, error) {
	if err := objectstore.CheckPut(key, size, digest); err != nil {
		return recorder.ObjectInfo{}, err
	}
	src, err := objectstore.NewSource(ctx, r, size)
	if err != nil {
		return recorder.ObjectInfo{}, err
	}
	temp := path.Join(incoming, rand.Text())
	if err := s.write(ctx, temp, key, src, digest); err != nil {
		return recorder.ObjectInfo{}, s.discard(temp, err)
	}
	if err := s.place(temp, key); err != nil {
		return recorder.ObjectInfo{}, s.discard(temp, err)
	}
	return recorder.ObjectInfo{Key: key, Size: size}, nil
}

// discard drops an unfinished file; the failure that led here matters more than one in removing it.
func (s *Store) discard(temp string, cause error) error {
	if err := s.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(cause, err)
	}
	return cause
}

// write fills the temporary file and proves that the disk holds the announced bytes.
func (s *Store) write(ctx context.Context, temp, key string, src *objectstore.Source, digest []byte) (err error) {
	f, err := s.root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return unavailable("put", key, err)
	}
	defer func() {
		if cerr := f.Close(); cerr != nil && err == nil {
			err = unavailable("put", key, cerr)
		}
	}()
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, src, make([]byte, copyBytes)); err != nil {
		if src.Err() != nil {
			return src.Err()
		}
		return unavailable("put", key, err)
	}
	if err := src.Finish(key, digest); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return unavailable("put", key, err)
	}
	return readBack(ctx, f, key, digest)
}

// readBack hashes the file from its start. The page cache is dropped first where the system can do that, so that the
// bytes come from the disk and not from the memory they were written from.
func readBack(ctx context.Context, f *os.File, key string, digest []byte) error {
	dropCache(f)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return unavailable("put", key, err)
	}
	h := sha256.New()
	buf := make([]byte, copyBytes)
	for {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("objectstore/fs: put %q: %w", key, err)
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return unavailable("put", key, err)
		}
	}
	if sum := h.Sum(nil); !bytes.Equal(sum, digest) {
		return &objectstore.DigestError{Key: key, Want: bytes.Clone(digest), Got: sum, ReadBack: true}
	}
	return nil
}

// place renames the finished file to its key and makes the name durable.
func (s *Store) place(temp, key string) error {
	dir := path.Dir(key)
	for attempt := 1; ; attempt++ {
		err := s.root.MkdirAll(dir, 0o700)
		if err == nil {
			err = s.root.Rename(temp, key)
		}
		if err == nil {
			break
		}
		// A Delete may remove an empty folder between the two calls.
		if errors.Is(err, fs.ErrNotExist) && attempt < placeAttempts {
			continue
		}
		if isNameConflict(err) {
			return &objectstore.KeyError{Key: key, Reason: "another object's key is a part of it, or it is a part of another's: a folder cannot hold both"}
		}
		return unavailable("put", key, err)
	}
	for {
		if err := s.syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unavailable("put", key, err)
		}
		if dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
}

func (s *Store) syncDir(dir string) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open implements recorder.ObjectStore. Replacing or deleting the key leaves an open object as it is.
func (s *Store) Open(ctx context.Context, key string) (recorder.Object, error) {
	if err := begin(ctx, "open", key); err != nil {
		return nil, err
	}
	if _, err := s.regular("open", key); err != nil {
		return nil, err
	}
	f, err := s.root.Open(key)
	if err != nil {
		return nil, lookup("open", key, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(unavailable("open", key, err), f.Close())
	}
	return &object{f: f, size: info.Size(), key: key, ended: func() error { return context.Cause(ctx) }}, nil
}

// Stat implements recorder.ObjectStore.
func (s *Store) Stat(ctx context.Context, key string) (recorder.ObjectInfo, error) {
	if err := begin(ctx, "stat", key); err != nil {
		return recorder.ObjectInfo{}, err
	}
	info, err := s.regular("stat", key)
	if err != nil {
		return recorder.ObjectInfo{}, err
	}
	return recorder.ObjectInfo{Key: key, Size: info.Size()}, nil
}

// Delete implements recorder.ObjectStore. Folders that become empty go too.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, "delete", key); err != nil {
		return err
	}
	if _, err := s.regular("delete", key); errors.Is(err, recorder.ErrObjectNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if err := s.root.Remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable("delete", key, err)
	}
	dir := path.Dir(key)
	for dir != "." && s.root.Remove(dir) == nil { // fails, rightly, on a folder that is not empty
		dir = path.Dir(dir)
	}
	if err := s.syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable("delete", key, err)
	}
	return nil
}

// regular looks a key up. Anything but a regular file (a folder of other keys, a planted link or pipe) is no object.
func (s *Store) regular(op, key string) (fs.FileInfo, error) {
	info, err := s.root.Lstat(key)
	if err != nil {
		return nil, lookup(op, key, err)
	}
	if !info.Mode().IsRegular() {
		return nil, lookup(op, key, fs.ErrNotExist)
	}
	return info, nil
}

func begin(ctx context.Context, op, key string) error {
	if err := objectstore.CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("objectstore/fs: %s %q: %w", op, key, err)
	}
	return nil
}

func lookup(op, key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("objectstore/fs: %s %q: %w", op, key, recorder.ErrObjectNotFound)
	}
	return unavailable(op, key, err)
}

func unavailable(op, key string, err error) error {
	return fmt.Errorf("objectstore/fs: %s %q: %w: %w", op, key, recorder.ErrStoreUnavailable, err)
}

func isNameConflict(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, fs.ErrExist) ||
		errors.Is(err, syscall.ENOTEMPTY)
}

type object struct {
	f     *os.File
	size  int64
	key   string
	ended func() error
}

func (o *object) Size() int64 { return o.size }

func (o *object) Close() error {
	if err := o.f.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

func (o *object) ReadAt(p []byte, off int64) (int, error) {
	if err := o.ended(); err != nil {
		return 0, fmt.Errorf("objectstore/fs: read %q: %w", o.key, err)
	}
	if off < 0 {
		return 0, fmt.Errorf("%w: read %q at offset %d", objectstore.ErrInvalid, o.key, off)
	}
	n, err := o.f.ReadAt(p, off)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if errors.Is(err, fs.ErrClosed) {
		return n, fmt.Errorf("%w: read %q after Close: %w", objectstore.ErrInvalid, o.key, err)
	}
	return n, unavailable("read", o.key, err)
}
