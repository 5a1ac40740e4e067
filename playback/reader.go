package playback

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// packageBytes is how much of the plaintext one authenticated package holds (docs/formats/envelope.md).
const packageBytes = 64 << 10

var errClosed = errors.New("playback: read after the response has ended")

// reader is an io.ReadSeeker over Content for http.ServeContent. It decrypts whole packages into a window: one package
// where a viewer jumps, twice as many each time it reads on, up to the limit. So a probe of two bytes decrypts
// one package, and a long read asks the store a few times per megabyte only.
//
// It locks, because http.ServeContent reads multipart ranges from a goroutine that may still run when it returns.
type reader struct {
	content Content
	limit   int

	mu     sync.Mutex
	pos    int64
	buf    []byte // capacity grows up to limit
	start  int64  // of buf in the content
	grow   int    // size of the next window
	err    error  // first failure of the content; final
	closed bool
}

func newReader(c Content, readAhead int) *reader {
	return &reader{content: c, limit: (readAhead + packageBytes - 1) / packageBytes * packageBytes, grow: packageBytes}
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, errClosed
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.pos >= r.content.Size() {
		return 0, io.EOF
	}
	if r.pos < r.start || r.pos >= r.start+int64(len(r.buf)) {
		if r.err = r.fill(); r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.buf[r.pos-r.start:])
	r.pos += int64(n)
	return n, nil
}

// fill decrypts the window that holds pos.
func (r *reader) fill() error {
	end := r.start + int64(len(r.buf))
	if r.pos == end && end > 0 {
		r.grow = min(r.grow*2, r.limit)
	} else {
		r.grow = packageBytes
	}
	start := r.pos / packageBytes * packageBytes
	n := int(min(int64(r.grow), r.content.Size()-start))
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	r.buf, r.start = r.buf[:n], start
	got, err := r.content.ReadAt(r.buf, start)
	if got == n {
		return nil
	}
	r.buf = r.buf[:0]
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("playback: read %d bytes at %d: %w", n, start, err)
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.content.Size()
	}
	if offset < 0 {
		return 0, errors.New("playback: seek before the start")
	}
	r.pos = offset
	return offset, nil
}

// finish ends all reading and returns the content's failure.
func (r *reader) finish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.buf = true, nil
	return r.err
}
