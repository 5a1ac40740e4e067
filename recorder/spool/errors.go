package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Errors beside those of the port (recorder.ErrSpool…).
var (
	// ErrLocked: another handle, here or in another process, owns the folder.
	ErrLocked = errors.New("spool: the folder is in use by another owner: close it there first")
	// ErrJournalOpen: the journal has a writer already.
	ErrJournalOpen = errors.New("spool: the journal is open for appending already")
	// ErrClosed: used after Close.
	ErrClosed = errors.New("spool: closed")
	// ErrReadOnly: the folder was opened by View.
	ErrReadOnly = errors.New("spool: the folder was opened for reading only")
	// ErrName: an id or name that cannot be a file name here.
	ErrName = errors.New("spool: invalid name: want 1 to 128 of A-Z a-z 0-9 . _ - and no dot in front")
	// ErrRecord: a record that a journal cannot hold.
	ErrRecord = errors.New("spool: invalid record")
	// ErrPosition: no record can stand at this position. A crash may have cut it off, if it had not been synced.
	ErrPosition = errors.New("spool: no such position in the journal")
	// ErrVersion: a later dualrec wrote the file.
	ErrVersion = errors.New("spool: format version is not supported: use the dualrec that wrote it, or a later one")
)

// DamageError says which part of a journal cannot be read. It matches recorder.ErrSpoolDamaged.
// Reading goes on behind the damage with the next call of Next.
type DamageError struct {
	Journal       string
	Offset, End   int64     // the unreadable bytes of the file; empty when chunks are missing between readable ones
	Chunks        int64     // chunks lost; -1: unknown
	Before, After time.Time // arrival of the last record before and the first behind it; zero: unknown
}

// Error gives the place, to compare with a disk's error log, and the time, to compare with the call.
func (e *DamageError) Error() string {
	s := fmt.Sprintf("%v: journal %s, bytes %d to %d", recorder.ErrSpoolDamaged, e.Journal, e.Offset, e.End)
	if e.Chunks >= 0 {
		s += fmt.Sprintf(", %d chunks lost", e.Chunks)
	}
	if !e.Before.IsZero() && !e.After.IsZero() {
		s += fmt.Sprintf(", between %s and %s", e.Before.Format(time.RFC3339Nano), e.After.Format(time.RFC3339Nano))
	}
	return s
}

// Is makes errors.Is(err, recorder.ErrSpoolDamaged) true.
func (e *DamageError) Is(target error) bool { return target == recorder.ErrSpoolDamaged }
