package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/objectstore"
)

// Fault makes the next matching calls of a Memory store fail.
type Fault struct {
	Op    string // put, open, stat, delete, read; empty: every call
	Times int    // how many calls; 0: every call from now on
	// Err is what the call returns. Nil with Op put: the store keeps damaged bytes, which the read-back finds.
	Err error
	// Hang makes the call wait for the end of its context and return its error.
	Hang bool
	// After lets a put read so many bytes before it fails.
	After int64
}

// Memory is an object store in memory with injected faults, for tests. It passes the conformance suite.
// The zero value is ready.
type Memory struct {
	// NoRewind lets Put read from where the reader stands, so that a test can see whether a wrapper rewinds it.
	NoRewind bool

	mu      sync.Mutex
	objects map[string][]byte
	faults  []*Fault
	calls   map[string]int
}

var _ recorder.ObjectStore = (*Memory)(nil)

// Inject adds faults; they apply in order, each call uses up at most one.
func (m *Memory) Inject(faults ...Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range faults {
		m.faults = append(m.faults, &f)
	}
}

// Heal forgets all faults.
func (m *Memory) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = nil
}

// Calls counts the calls of one kind since the start.
func (m *Memory) Calls(op string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[op]
}

// begin counts a call and takes its fault.
func (m *Memory) begin(ctx context.Context, op string) (*Fault, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("storetest: %s: %w", op, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls == nil {
		m.calls = map[string]int{}
	}
	m.calls[op]++
	for i, f := range m.faults {
		if f.Op != "" && f.Op != op {
			continue
		}
		taken := *f
		if f.Times == 1 {
			m.faults = append(m.faults[:i], m.faults[i+1:]...)
		} else if f.Times > 1 {
			f.Times--
		}
		return &taken, nil
	}
	return nil, nil
}

// fail turns a fault into the call's error, waiting first if it says so.
func fail(ctx context.Context, f *Fault) error {
	if f == nil {
		return nil
	}
	if f.Hang {
		<-ctx.Done()
		return fmt.Errorf("storetest: %w", context.Cause(ctx))
	}
	return f.Err
}

// Put implements recorder.ObjectStore.
func (m *Memory) Put(ctx context.Context, key string, r io.ReadSeeker, size int64, digest []byte) (recorder.ObjectInfo, error) {
	if err := objectstore.CheckPut(key, size, digest); err != nil {
		return recorder.ObjectInfo{}, err
	}
	f, err := m.begin(ctx, "put")
	if err != nil {
		return recorder.ObjectInfo{}, err
	}
	if f != nil && f.After > 0 {
		if _, err := io.CopyN(io.Discard, r, f.After); err != nil && !errors.Is(err, io.EOF) {
			return recorder.ObjectInfo{}, err
		}
	}
	if err := fail(ctx, f); err != nil {
		return recorder.ObjectInfo{}, err
	}
	content, err := m.read(ctx, key, r, size, digest)
	if err != nil {
		return recorder.ObjectInfo{}, err
	}
	if f != nil { // no error to give: keep damaged bytes and find them
		sum := sha256.Sum256(append(content, 0))
		return recorder.ObjectInfo{}, &objectstore.DigestError{Key: key, Want: digest, Got: sum[:], ReadBack: true}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects == nil {
		m.objects = map[string][]byte{}
	}
	m.objects[key] = content
	return recorder.ObjectInfo{Key: key, Size: size}, nil
}

func (m *Memory) read(ctx context.Context, key string, r io.ReadSeeker, size int64, digest []byte) ([]byte, error) {
	if m.NoRewind {
		content, err := io.ReadAll(r)
		if err == nil && int64(len(content)) != size {
			err = &objectstore.SizeError{Want: size, Got: int64(len(content))}
		}
		return content, err
	}
	src, err := objectstore.NewSource(ctx, r, size)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(src)
	if err != nil {
		return nil, err
	}
	return content, src.Finish(key, digest)
}

// Open implements recorder.ObjectStore.
func (m *Memory) Open(ctx context.Context, key string) (recorder.Object, error) {
	content, err := m.lookup(ctx, "open", key)
	if err != nil {
		return nil, err
	}
	return &memoryObject{store: m, content: content, ctx: func() context.Context { return ctx }}, nil
}

// Stat implements recorder.ObjectStore.
func (m *Memory) Stat(ctx context.Context, key string) (recorder.ObjectInfo, error) {
	content, err := m.lookup(ctx, "stat", key)
	if err != nil {
		return recorder.ObjectInfo{}, err
	}
	return recorder.ObjectInfo{Key: key, Size: int64(len(content))}, nil
}

func (m *Memory) lookup(ctx context.Context, op, key string) ([]byte, error) {
	if err := m.check(ctx, op, key); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	content, ok := m.objects[key]
	if !ok {
		return nil, fmt.Errorf("storetest: %s %q: %w", op, key, recorder.ErrObjectNotFound)
	}
	return content, nil
}

func (m *Memory) check(ctx context.Context, op, key string) error {
	if err := objectstore.CheckKey(key); err != nil {
		return err
	}
	f, err := m.begin(ctx, op)
	if err != nil {
		return err
	}
	return fail(ctx, f)
}

// Delete implements recorder.ObjectStore.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := m.check(ctx, "delete", key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}

type memoryObject struct {
	store   *Memory
	content []byte
	ctx     func() context.Context // of Open, which bounds the reads

	mu     sync.Mutex
	closed bool
}

func (o *memoryObject) Size() int64 { return int64(len(o.content)) }

func (o *memoryObject) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return nil
}

func (o *memoryObject) ReadAt(p []byte, off int64) (int, error) {
	o.mu.Lock()
	closed := o.closed
	o.mu.Unlock()
	if closed || off < 0 {
		return 0, fmt.Errorf("%w: read at %d, closed %t", objectstore.ErrInvalid, off, closed)
	}
	f, err := o.store.begin(o.ctx(), "read")
	if err != nil {
		return 0, err
	}
	if err := fail(o.ctx(), f); err != nil {
		return 0, err
	}
	return bytes.NewReader(o.content).ReadAt(p, off)
}
