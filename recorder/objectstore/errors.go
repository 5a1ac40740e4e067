package objectstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/dualrec/dualrec/recorder"
)

// ErrInvalid marks a mistake of the caller: the same call will never succeed.
var ErrInvalid = errors.New("objectstore: invalid call")

// KeyError says why a key cannot be used. It wraps ErrInvalid.
type KeyError struct {
	Key    string
	Reason string
}

// Error names the key, shortened, and the reason.
func (e *KeyError) Error() string {
	return fmt.Sprintf("objectstore: key %.80q: %s", e.Key, e.Reason)
}

// Unwrap makes it an ErrInvalid.
func (e *KeyError) Unwrap() error { return ErrInvalid }

// SizeError says that a Put's reader holds another number of bytes than announced. It wraps ErrInvalid.
type SizeError struct {
	Want, Got int64 // Got is Want+1 when the reader holds more than Want
}

// Error says which way the sizes differ.
func (e *SizeError) Error() string {
	if e.Got > e.Want {
		return fmt.Sprintf("objectstore: the reader holds more than the announced %d bytes", e.Want)
	}
	return fmt.Sprintf("objectstore: the reader ended after %d of the announced %d bytes", e.Got, e.Want)
}

// Unwrap makes it an ErrInvalid.
func (e *SizeError) Unwrap() error { return ErrInvalid }

// DigestError says whose bytes differ from the announced SHA-256. It wraps recorder.ErrDigestMismatch.
type DigestError struct {
	Key       string
	Want, Got []byte
	// ReadBack is true when the reader's bytes were right and the store returned others: then another attempt may
	// help. False means that the reader itself holds other bytes than announced, which no attempt changes.
	ReadBack bool
}

// Error names the side at fault.
func (e *DigestError) Error() string {
	side := "the reader holds"
	if e.ReadBack {
		side = "the store gave back"
	}
	return fmt.Sprintf("objectstore: put %q: %s bytes with SHA-256 %x, announced %x", e.Key, side, e.Got, e.Want)
}

// Unwrap makes it a recorder.ErrDigestMismatch.
func (e *DigestError) Unwrap() error { return recorder.ErrDigestMismatch }

// BreakerOpenError says that the store was not asked because it failed too often lately.
// It wraps recorder.ErrStoreUnavailable. Retry does not wait for it: whoever owns the work comes back later.
type BreakerOpenError struct {
	Name string
}

// Error names the breaker.
func (e *BreakerOpenError) Error() string {
	return fmt.Sprintf("objectstore: circuit breaker %q is open after repeated failures of the store", e.Name)
}

// Unwrap makes it a recorder.ErrStoreUnavailable.
func (e *BreakerOpenError) Unwrap() error { return recorder.ErrStoreUnavailable }

// RetryError says how often a call was attempted in vain. It wraps the last attempt's error.
type RetryError struct {
	Op       string // put, open, stat, delete, read
	Key      string
	Attempts int
	Err      error
}

// Error names the call and the last error.
func (e *RetryError) Error() string {
	return fmt.Sprintf("objectstore: %s %q failed %d times: %v", e.Op, e.Key, e.Attempts, e.Err)
}

// Unwrap returns the last attempt's error.
func (e *RetryError) Unwrap() error { return e.Err }

// Unavailable reports whether err is the store's own failure, as opposed to an answer (not found), a mistake of the
// caller or a cancellation. These are what a breaker counts.
func Unavailable(err error) bool {
	if errors.Is(err, recorder.ErrStoreUnavailable) {
		return true
	}
	var d *DigestError
	return errors.As(err, &d) && d.ReadBack
}

// Retryable reports whether the same call may succeed a moment later. It is Unavailable without an open breaker,
// which stays open for longer than any sensible backoff, and without the end of the caller's own context.
func Retryable(ctx context.Context, err error) bool {
	var open *BreakerOpenError
	return err != nil && ctx.Err() == nil && Unavailable(err) && !errors.As(err, &open)
}
