package objectstore

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Policy says how Retry repeats. A field that is zero or negative takes its default.
type Policy struct {
	Attempts int           // calls in all, the first included; default 5
	Base     time.Duration // longest pause after the first failure, doubled after each further one; default 200 ms
	Max      time.Duration // upper bound of that; default 10 s
	// Sleep waits for d or until ctx ends, and returns the cause of that end. Default: a timer.
	Sleep func(ctx context.Context, d time.Duration) error
	// Random is uniform in [0, 1). The pause is between half of the bound and the whole of it, so that many waiting
	// uploads do not come back at the same instant and none comes back at once. Default: math/rand/v2.
	Random func() float64
	// OnRetry is told of each failure that will be repeated (for logs and metrics). It must not block.
	OnRetry func(Attempt)
}

// Attempt is one failure that Retry is about to repeat.
type Attempt struct {
	Op     string // put, open, stat, delete, read
	Key    string
	Number int // 1 for the first call
	Err    error
	Pause  time.Duration
}

func (p Policy) withDefaults() Policy {
	if p.Attempts <= 0 {
		p.Attempts = 5
	}
	if p.Base <= 0 {
		p.Base = 200 * time.Millisecond
	}
	if p.Max <= 0 {
		p.Max = 10 * time.Second
	}
	if p.Sleep == nil {
		p.Sleep = sleep
	}
	if p.Random == nil {
		p.Random = rand.Float64
	}
	if p.OnRetry == nil {
		p.OnRetry = func(Attempt) {}
	}
	return p
}

// pause is the wait after the n-th failure, n from 1.
func (p Policy) pause(n int) time.Duration {
	bound := p.Base
	for i := 1; i < n && bound < p.Max; i++ {
		bound *= 2
	}
	bound = min(bound, p.Max)
	return bound/2 + time.Duration(p.Random()*float64(bound/2))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Retry repeats calls of store that failed in a Retryable way, rewinding the reader of a Put each time. A call that
// failed otherwise returns that error as it is; one that failed too often returns a *RetryError.
// Reads of an opened object are repeated too, until the context given to Open ends.
func Retry(store recorder.ObjectStore, p Policy) recorder.ObjectStore {
	return &retrier{store: store, policy: p.withDefaults()}
}

type retrier struct {
	store  recorder.ObjectStore
	policy Policy
}

func (s *retrier) Put(ctx context.Context, key string, r io.ReadSeeker, size int64, digest []byte) (recorder.ObjectInfo, error) {
	return retry(ctx, s.policy, "put", key, func() (recorder.ObjectInfo, error) {
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return recorder.ObjectInfo{}, fmt.Errorf("%w: put %q: rewind the reader: %w", ErrInvalid, key, err)
		}
		return s.store.Put(ctx, key, r, size, digest)
	})
}

func (s *retrier) Open(ctx context.Context, key string) (recorder.Object, error) {
	o, err := retry(ctx, s.policy, "open", key, func() (recorder.Object, error) { return s.store.Open(ctx, key) })
	if err != nil {
		return nil, err
	}
	return &retryObject{Object: o, read: func(p []byte, off int64) (int, error) {
		return retry(ctx, s.policy, "read", key, func() (int, error) { return o.ReadAt(p, off) })
	}}, nil
}

func (s *retrier) Stat(ctx context.Context, key string) (recorder.ObjectInfo, error) {
	return retry(ctx, s.policy, "stat", key, func() (recorder.ObjectInfo, error) { return s.store.Stat(ctx, key) })
}

func (s *retrier) Delete(ctx context.Context, key string) error {
	_, err := retry(ctx, s.policy, "delete", key, func() (struct{}, error) { return struct{}{}, s.store.Delete(ctx, key) })
	return err
}

type retryObject struct {
	recorder.Object
	read func(p []byte, off int64) (int, error)
}

func (o *retryObject) ReadAt(p []byte, off int64) (int, error) { return o.read(p, off) }

func retry[T any](ctx context.Context, p Policy, op, key string, call func() (T, error)) (T, error) {
	for n := 1; ; n++ {
		v, err := call()
		if !Retryable(ctx, err) {
			return v, err
		}
		if n >= p.Attempts {
			return v, &RetryError{Op: op, Key: key, Attempts: n, Err: err}
		}
		pause := p.pause(n)
		p.OnRetry(Attempt{Op: op, Key: key, Number: n, Err: err, Pause: pause})
		if stop := p.Sleep(ctx, pause); stop != nil {
			return v, fmt.Errorf("objectstore: %s %q: %w while waiting to repeat it after: %w", op, key, stop, err)
		}
	}
}
