package objectstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/objectstore"
	"github.com/dualrec/dualrec/recorder/objectstore/storetest"
)

var errDown = fmt.Errorf("503: %w", recorder.ErrStoreUnavailable)

func put(ctx context.Context, s recorder.ObjectStore, key, content string) error {
	_, err := s.Put(ctx, key, strings.NewReader(content), int64(len(content)), storetest.Digest([]byte(content)))
	return err
}

func TestConformance(t *testing.T) {
	t.Parallel()
	instant := objectstore.Policy{Sleep: func(context.Context, time.Duration) error { return nil }}
	for name, open := range map[string]func(*testing.T) recorder.ObjectStore{
		"memory": func(*testing.T) recorder.ObjectStore { return &storetest.Memory{} },
		"retry":  func(*testing.T) recorder.ObjectStore { return objectstore.Retry(&storetest.Memory{}, instant) },
		"breaker": func(*testing.T) recorder.ObjectStore {
			return objectstore.NewBreaker(&storetest.Memory{}, objectstore.Settings{})
		},
		// A store whose calls all fail at first is a conforming store behind Retry(Breaker(store)).
		"retry of breaker with faults": func(*testing.T) recorder.ObjectStore {
			m := &storetest.Memory{}
			for range 3 {
				m.Inject(storetest.Fault{Op: "put", Times: 1, Err: errDown, After: 10}, storetest.Fault{Op: "open", Times: 1, Err: errDown},
					storetest.Fault{Op: "stat", Times: 1, Err: errDown}, storetest.Fault{Op: "delete", Times: 1, Err: errDown},
					storetest.Fault{Op: "read", Times: 1, Err: errDown})
			}
			return objectstore.Retry(objectstore.NewBreaker(m, objectstore.Settings{Failures: 50}), instant)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, open)
		})
	}
}

func TestRetryRewinds(t *testing.T) {
	t.Parallel()
	m := &storetest.Memory{NoRewind: true}
	m.Inject(storetest.Fault{Op: "put", Times: 2, Err: errDown, After: 4})
	s := objectstore.Retry(m, objectstore.Policy{Base: time.Nanosecond})
	if err := put(t.Context(), s, "k", "content"); err != nil {
		t.Fatal(err)
	}
	o, err := s.Open(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
	if err != nil || string(got) != "content" {
		t.Errorf("stored %q, %v", got, err)
	}
}

type unseekable struct{ *strings.Reader }

var errSeek = errors.New("no way back")

func (unseekable) Seek(int64, int) (int64, error) { return 0, errSeek }

func TestRetryNeedsAReaderThatRewinds(t *testing.T) {
	t.Parallel()
	s := objectstore.Retry(&storetest.Memory{}, objectstore.Policy{})
	_, err := s.Put(t.Context(), "k", unseekable{strings.NewReader("x")}, 1, storetest.Digest([]byte("x")))
	if !errors.Is(err, objectstore.ErrInvalid) || !errors.Is(err, errSeek) {
		t.Errorf("got %v, want ErrInvalid with the reader's own error", err)
	}
}

func TestRetryBacksOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		random float64
		want   []time.Duration
	}{
		{"least jitter", 0, []time.Duration{50, 100, 200, 250, 250}},
		{"most jitter", 0.999999, []time.Duration{100, 200, 400, 500, 500}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &storetest.Memory{}
				m.Inject(storetest.Fault{Op: "stat", Err: errDown})
				var pauses []time.Duration
				start := time.Now()
				s := objectstore.Retry(m, objectstore.Policy{Attempts: 6, Base: 100 * time.Millisecond, Max: 500 * time.Millisecond,
					Random:  func() float64 { return c.random },
					OnRetry: func(a objectstore.Attempt) { pauses = append(pauses, a.Pause.Round(time.Millisecond)/time.Millisecond) }})
				_, err := s.Stat(t.Context(), "k")
				var re *objectstore.RetryError
				if !errors.As(err, &re) || re.Attempts != 6 || re.Op != "stat" || re.Key != "k" || !errors.Is(err, recorder.ErrStoreUnavailable) {
					t.Errorf("got %v, want a RetryError after 6 attempts", err)
				}
				if !slices.Equal(pauses, c.want) {
					t.Errorf("pauses %d ms, want %d", pauses, c.want)
				}
				var sum time.Duration
				for _, p := range c.want {
					sum += p * time.Millisecond
				}
				if waited := time.Since(start).Round(time.Millisecond); waited != sum {
					t.Errorf("waited %v, want %v", waited, sum)
				}
			})
		})
	}
}

func TestRetryOnlyWhatMayHelp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault storetest.Fault
		calls int
		is    error
	}{
		{"unavailable", storetest.Fault{Op: "put", Err: errDown}, 3, recorder.ErrStoreUnavailable},
		{"damaged in the store", storetest.Fault{Op: "put"}, 3, recorder.ErrDigestMismatch},
		{"not found", storetest.Fault{Op: "put", Err: recorder.ErrObjectNotFound}, 1, recorder.ErrObjectNotFound},
		{"caller's mistake", storetest.Fault{Op: "put", Err: objectstore.ErrInvalid}, 1, objectstore.ErrInvalid},
		{"reader's digest", storetest.Fault{Op: "put", Err: &objectstore.DigestError{}}, 1, recorder.ErrDigestMismatch},
		{"breaker open", storetest.Fault{Op: "put", Err: &objectstore.BreakerOpenError{Name: "s3"}}, 1, recorder.ErrStoreUnavailable},
		{"unknown", storetest.Fault{Op: "put", Err: io.ErrUnexpectedEOF}, 1, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := &storetest.Memory{}
			m.Inject(c.fault)
			s := objectstore.Retry(m, objectstore.Policy{Attempts: 3, Base: time.Nanosecond})
			if err := put(t.Context(), s, "k", "x"); !errors.Is(err, c.is) {
				t.Errorf("got %v, want %v", err, c.is)
			}
			if got := m.Calls("put"); got != c.calls {
				t.Errorf("%d calls, want %d", got, c.calls)
			}
		})
	}
}

func TestRetryStopsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.Memory{}
		m.Inject(storetest.Fault{Err: errDown})
		reason := errors.New("drain")
		ctx, cancel := context.WithCancelCause(t.Context())
		s := objectstore.Retry(m, objectstore.Policy{Base: time.Hour, Max: time.Hour, OnRetry: func(objectstore.Attempt) { cancel(reason) }})
		start := time.Now()
		err := s.Delete(ctx, "k")
		if !errors.Is(err, reason) || !errors.Is(err, recorder.ErrStoreUnavailable) {
			t.Errorf("got %v, want the cause of the end and the last failure", err)
		}
		if time.Since(start) != 0 || m.Calls("delete") != 1 {
			t.Errorf("waited %v and called %d times after the end", time.Since(start), m.Calls("delete"))
		}
	})
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.Memory{}
		var changes []string
		b := objectstore.NewBreaker(m, objectstore.Settings{Name: "main", Failures: 3, OpenFor: 10 * time.Second,
			OnStateChange: func(name string, from, to objectstore.State) {
				changes = append(changes, fmt.Sprintf("%s %s>%s", name, from, to))
			}})
		want := func(s objectstore.State) {
			t.Helper()
			if got := b.State(); got != s {
				t.Fatalf("state %s, want %s", got, s)
			}
		}
		m.Inject(storetest.Fault{Err: errDown})
		for range 3 {
			want(objectstore.Closed)
			if err := put(t.Context(), b, "k", "x"); !errors.Is(err, errDown) {
				t.Fatal(err)
			}
		}
		want(objectstore.Open)
		calls := m.Calls("put")
		err := put(t.Context(), b, "k", "x")
		var open *objectstore.BreakerOpenError
		if !errors.As(err, &open) || open.Name != "main" || !errors.Is(err, recorder.ErrStoreUnavailable) || m.Calls("put") != calls {
			t.Fatalf("open breaker: %v after %d calls, want a BreakerOpenError and no call", err, m.Calls("put")-calls)
		}
		time.Sleep(10*time.Second + 1) // the bubble's clock
		want(objectstore.HalfOpen)
		if err := put(t.Context(), b, "k", "x"); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		want(objectstore.Open)
		m.Heal()
		time.Sleep(10*time.Second + 1)
		if err := put(t.Context(), b, "k", "x"); err != nil {
			t.Fatal(err)
		}
		want(objectstore.Closed)
		wantChanges := []string{"main CLOSED>OPEN", "main OPEN>HALF_OPEN", "main HALF_OPEN>OPEN", "main OPEN>HALF_OPEN", "main HALF_OPEN>CLOSED"}
		if !slices.Equal(changes, wantChanges) {
			t.Errorf("changes %q, want %q", changes, wantChanges)
		}
	})
}

func TestBreakerCountsOnlyTheStoresFailures(t *testing.T) {
	t.Parallel()
	type call func(ctx context.Context, s recorder.ObjectStore) error
	stat := func(ctx context.Context, s recorder.ObjectStore) error { _, err := s.Stat(ctx, "k"); return err }
	for _, c := range []struct {
		name  string
		fault storetest.Fault
		call  call
		opens bool
	}{
		{"not found", storetest.Fault{Op: "none"}, stat, false},
		{"caller's mistake", storetest.Fault{Op: "none"}, func(ctx context.Context, s recorder.ObjectStore) error { return put(ctx, s, "../k", "x") }, false},
		{"forbidden", storetest.Fault{Op: "stat", Err: errors.New("403")}, stat, false},
		{"cancelled before", storetest.Fault{Op: "stat", Err: errDown}, func(ctx context.Context, s recorder.ObjectStore) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return stat(ctx, s)
		}, false},
		{"cancelled while asked", storetest.Fault{Op: "stat", Hang: true}, func(ctx context.Context, s recorder.ObjectStore) error {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return stat(ctx, s)
		}, false},
		{"too slow", storetest.Fault{Op: "stat", Hang: true}, func(ctx context.Context, s recorder.ObjectStore) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return stat(ctx, s)
		}, true},
		{"unavailable", storetest.Fault{Op: "stat", Err: errDown}, stat, true},
		{"damaged", storetest.Fault{Op: "put"}, func(ctx context.Context, s recorder.ObjectStore) error { return put(ctx, s, "k", "x") }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &storetest.Memory{}
				m.Inject(c.fault)
				b := objectstore.NewBreaker(m, objectstore.Settings{Failures: 3, OpenFor: time.Hour})
				for range 3 {
					if err := c.call(t.Context(), b); err == nil {
						t.Fatal("the call succeeded")
					}
				}
				if opened := b.State() == objectstore.Open; opened != c.opens {
					t.Errorf("after three of these the breaker is %s", b.State())
				}
			})
		})
	}
}

func TestBreakerProbeThatWasCancelledProbesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.Memory{}
		m.Inject(storetest.Fault{Op: "stat", Times: 1, Err: errDown}, storetest.Fault{Op: "stat", Times: 1, Hang: true})
		b := objectstore.NewBreaker(m, objectstore.Settings{Failures: 1, OpenFor: time.Second})
		_, _ = b.Stat(t.Context(), "k") // opens it
		time.Sleep(time.Second + 1)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := b.Stat(ctx, "k"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if got := b.State(); got != objectstore.HalfOpen {
			t.Fatalf("state %s after a cancelled probe, want HALF_OPEN", got)
		}
		if _, err := b.Stat(t.Context(), "k"); !errors.Is(err, recorder.ErrObjectNotFound) {
			t.Fatalf("the next probe: %v", err)
		}
		if got := b.State(); got != objectstore.Closed {
			t.Errorf("state %s after an answer, want CLOSED", got)
		}
	})
}

func TestReadsPassTheBreaker(t *testing.T) {
	t.Parallel()
	m := &storetest.Memory{}
	b := objectstore.NewBreaker(m, objectstore.Settings{Failures: 2})
	if err := put(t.Context(), b, "k", "content"); err != nil {
		t.Fatal(err)
	}
	o, err := b.Open(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for range 5 { // the end of an object is an answer
		if n, err := o.ReadAt(buf, 0); n != 7 || !errors.Is(err, io.EOF) {
			t.Fatal(n, err)
		}
	}
	m.Inject(storetest.Fault{Op: "read", Err: errDown})
	for range 2 {
		if _, err := o.ReadAt(buf, 0); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
	}
	var open *objectstore.BreakerOpenError
	if _, err := o.ReadAt(buf, 0); !errors.As(err, &open) {
		t.Errorf("read after failed reads: %v, want a BreakerOpenError", err)
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, key := range append(storetest.BadKeys(), "a", "a/b/c.enc", "t=1/r@2+3") {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if objectstore.CheckKey(key) != nil {
			return
		}
		if len(key) > objectstore.MaxKeyBytes || bytes.ContainsAny([]byte(key), "\\:\x00 %") {
			t.Errorf("accepted %q", key)
		}
		for part := range strings.SplitSeq(key, "/") {
			if part == "" || part[0] == '.' || len(part) > objectstore.MaxPartBytes {
				t.Errorf("accepted %q with part %q", key, part)
			}
		}
	})
}
