package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxName       = 128
	headerName    = "header.json"
	lockName      = "lock"
	blobFolder    = "blobs"
	journalSuffix = ".journal"
	newPrefix     = ".new-"
	trashPrefix   = ".trash-"
	tempPrefix    = ".tmp-"
)

// checkName keeps ids and names within their folder: no separator, nothing hidden, nothing that could be ".." .
func checkName(name string) error {
	ok := len(name) >= 1 && len(name) <= maxName && name[0] != '.'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("%w: %.140q", ErrName, name)
	}
	return nil
}

// unique makes a name that nobody else has.
func unique(prefix, name string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return prefix + name + "-" + hex.EncodeToString(b[:])
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeDurably makes a new file: write, fsync, close. The folder is the caller's.
func writeDurably(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// lockFolder takes a folder for one owner until the file is closed, or the process ends.
func lockFolder(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryFlock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// The folder may have been removed between opening and locking: then the lock is worth nothing.
	mine, err := f.Stat()
	if err == nil {
		var now fs.FileInfo
		if now, err = os.Stat(path); err == nil && !os.SameFile(mine, now) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unlockFolder lets go of the folder. Closing alone would not do: a child process that is just being started shares the
// lock until it has executed its program.
func unlockFolder(f *os.File) error {
	err := os.NewSyscallError("flock", unix.Flock(int(f.Fd()), unix.LOCK_UN))
	return errors.Join(err, f.Close())
}

func tryFlock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		default:
			return err
		}
	}
}

// sweep deletes what an earlier process left unfinished. A folder that is being made is locked by its maker.
func (s *Spool) sweep() error {
	entries, err := os.ReadDir(s.cfg.Root)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(s.cfg.Root, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), trashPrefix):
			errs = append(errs, os.RemoveAll(path))
		case strings.HasPrefix(e.Name(), newPrefix):
			lock, err := lockFolder(path)
			if errors.Is(err, ErrLocked) || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			errs = append(errs, os.RemoveAll(path), lock.Close())
		}
	}
	return errors.Join(errs...)
}

// sweepBlobs deletes what writers of blobs left unfinished. The caller owns the folder.
func sweepBlobs(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, blobFolder, tempPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range left {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}
