package objectstore

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/dualrec/dualrec/recorder"
)

// State is what a Breaker does now.
type State string

// The states of a breaker.
const (
	Closed   State = "CLOSED"    // calls go through
	HalfOpen State = "HALF_OPEN" // a few calls go through as probes
	Open     State = "OPEN"      // no call goes through
)

// Values lists all states.
func (State) Values() []string { return []string{string(Closed), string(HalfOpen), string(Open)} }

// Settings of a Breaker. A field that is zero takes its default.
type Settings struct {
	Name     string        // of the store, for errors and metrics
	Failures uint32        // failures in a row that open it; default 5
	OpenFor  time.Duration // how long it stays open before it probes; default 30 s
	Probes   uint32        // calls let through at once when half open, and successes that close it; default 1
	// OnStateChange is told of each change. It is called with the breaker locked: it must not block or call the store.
	OnStateChange func(name string, from, to State)
}

// Breaker stops asking a store that keeps failing. Only the store's own failures count (Unavailable, and a deadline
// that passed while the store was asked). Cancellations, mistakes of the caller and unclassified answers count for
// nothing; "not found" is an answer and counts as a success.
type Breaker struct {
	store recorder.ObjectStore
	cb    *gobreaker.CircuitBreaker[struct{}]
}

// NewBreaker puts a breaker before store.
func NewBreaker(store recorder.ObjectStore, s Settings) *Breaker {
	if s.Failures == 0 {
		s.Failures = 5
	}
	if s.OpenFor <= 0 {
		s.OpenFor = 30 * time.Second
	}
	return &Breaker{store: store, cb: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        s.Name,
		MaxRequests: s.Probes,
		Timeout:     s.OpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= s.Failures },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNoEvidence) },
		OnStateChange: func(name string, from, to gobreaker.State) {
			if s.OnStateChange != nil {
				s.OnStateChange(name, stateOf(from), stateOf(to))
			}
		},
	})}
}

func stateOf(s gobreaker.State) State {
	switch s {
	case gobreaker.StateOpen:
		return Open
	case gobreaker.StateHalfOpen:
		return HalfOpen
	default:
		return Closed
	}
}

// State says what the breaker does now.
func (b *Breaker) State() State { return stateOf(b.cb.State()) }

// Put implements recorder.ObjectStore.
func (b *Breaker) Put(ctx context.Context, key string, r io.ReadSeeker, size int64, digest []byte) (recorder.ObjectInfo, error) {
	return through(ctx, b, func() (recorder.ObjectInfo, error) { return b.store.Put(ctx, key, r, size, digest) })
}

// Open implements recorder.ObjectStore. Reads of the object pass the breaker too.
func (b *Breaker) Open(ctx context.Context, key string) (recorder.Object, error) {
	o, err := through(ctx, b, func() (recorder.Object, error) { return b.store.Open(ctx, key) })
	if err != nil {
		return nil, err
	}
	return &breakerObject{Object: o, read: func(p []byte, off int64) (int, error) {
		return through(ctx, b, func() (int, error) { return o.ReadAt(p, off) })
	}}, nil
}

// Stat implements recorder.ObjectStore.
func (b *Breaker) Stat(ctx context.Context, key string) (recorder.ObjectInfo, error) {
	return through(ctx, b, func() (recorder.ObjectInfo, error) { return b.store.Stat(ctx, key) })
}

// Delete implements recorder.ObjectStore.
func (b *Breaker) Delete(ctx context.Context, key string) error {
	_, err := through(ctx, b, func() (struct{}, error) { return struct{}{}, b.store.Delete(ctx, key) })
	return err
}

type breakerObject struct {
	recorder.Object
	read func(p []byte, off int64) (int, error)
}

func (o *breakerObject) ReadAt(p []byte, off int64) (int, error) { return o.read(p, off) }

// What a call told the breaker about the store. The caller gets the store's own error, never these.
var (
	errNoEvidence  = errors.New("objectstore: the call says nothing about the store")
	errStoreFailed = errors.New("objectstore: the store failed")
)

func verdict(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, recorder.ErrObjectNotFound):
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return errNoEvidence
	case errors.Is(ctx.Err(), context.DeadlineExceeded), Unavailable(err):
		return errStoreFailed
	default:
		return errNoEvidence
	}
}

func through[T any](ctx context.Context, b *Breaker, call func() (T, error)) (T, error) {
	var v T
	var err error
	if ended := context.Cause(ctx); ended != nil {
		return v, ended // before the breaker: a call that was never made says nothing
	}
	_, refused := b.cb.Execute(func() (struct{}, error) {
		v, err = call()
		return struct{}{}, verdict(ctx, err)
	})
	if errors.Is(refused, gobreaker.ErrOpenState) || errors.Is(refused, gobreaker.ErrTooManyRequests) {
		return v, &BreakerOpenError{Name: b.cb.Name()}
	}
	return v, err
}
