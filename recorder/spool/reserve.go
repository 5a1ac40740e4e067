package spool

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dualrec/dualrec/recorder"
)

// reserveName is a file below the root that takes up room. When a write fails because the disk is full, whoever filled
// it, the room is given to the journals of sound and events, which need little.
const reserveName = ".reserve"

type reserve struct {
	path string
	size int64
	mu   sync.Mutex
	kept bool
}

// keep allocates the reserve; it does nothing if it is there.
func (r *reserve) keep() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept || r.size == 0 {
		return nil
	}
	if err := r.allocate(); err != nil {
		return errors.Join(fmt.Errorf("spool: keep a reserve: %w", marked(err)), os.Remove(r.path))
	}
	r.kept = true
	return nil
}

func (r *reserve) allocate() error {
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = allocate(f, r.size)
	if err == nil {
		err = f.Truncate(r.size) // it may have been larger before
	}
	return errors.Join(err, f.Close())
}

// free gives the room back to the file system.
func (r *reserve) free() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = false
	if err := os.Remove(r.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("spool: free the reserve: %w", err)
	}
	return nil
}

// lacks is what keep would take from the file system.
func (r *reserve) lacks() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept {
		return 0
	}
	return r.size
}

// FreeReserve implements recorder.DiskMeter.
func (s *Spool) FreeReserve() error { return s.reserve.free() }

// KeepReserve implements recorder.DiskMeter.
func (s *Spool) KeepReserve() error { return s.reserve.keep() }

// marked says of an error that the disk or a quota is full.
func marked(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", recorder.ErrSpoolFull, err)
	}
	return err
}
