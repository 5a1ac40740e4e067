package objectstore

import (
	"errors"
	"io"
	"sync"

	"github.com/dualrec/dualrec/recorder"
)

const (
	firstWindow = 64 << 10
	// windows are kept at once: opening an encrypted file reads its head and its end before the place that is wanted.
	windows = 3
)

// ReadAhead reads an object in few, growing stretches where it is read in many small ones. A decrypting reader asks for
// one package of 64 KiB at a time, which from a remote store would be one request each. Every stretch begins where it is
// needed and is 64 KiB long; one that continues another is twice as long, up to limit bytes.
//
// The memory is at most three times limit. Close closes the object. It is safe for concurrent use; concurrent reads wait for each other.
func ReadAhead(o recorder.Object, limit int) recorder.Object {
	return &readAhead{Object: o, limit: max(limit, firstWindow)}
}

type readAhead struct {
	recorder.Object
	limit int

	mu   sync.Mutex
	held []window // latest used first
}

type window struct {
	off  int64
	data []byte
}

func (w window) holds(off int64) bool { return off >= w.off && off < w.end() }
func (w window) end() int64           { return w.off + int64(len(w.data)) }

func (r *readAhead) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 || len(p) == 0 || len(p) >= r.limit {
		return r.Object.ReadAt(p, off)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n < len(p) {
		at := off + int64(n)
		if at >= r.Size() {
			return n, io.EOF
		}
		w, err := r.window(at, len(p)-n)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], w.data[at-w.off:])
	}
	return n, nil
}

// window returns the stretch that holds off, fetching it if needed.
func (r *readAhead) window(off int64, want int) (window, error) {
	size := max(firstWindow, want)
	for i, w := range r.held {
		if w.holds(off) {
			copy(r.held[1:i+1], r.held[:i])
			r.held[0] = w
			return w, nil
		}
		if w.end() == off {
			size = max(size, 2*len(w.data))
		}
	}
	w := window{off: off, data: make([]byte, min(int64(min(size, r.limit)), r.Size()-off))}
	n, err := r.Object.ReadAt(w.data, off)
	if n < len(w.data) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return window{}, err
	}
	r.held = append([]window{w}, r.held[:min(len(r.held), windows-1)]...)
	return w, nil
}
