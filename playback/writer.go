package playback

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// writeBytes is the most that leaves between two looks at whether the grant still holds. It is also the package size of
// the encrypted file.
const writeBytes = 64 << 10

var writeBuffers = sync.Pool{New: func() any { return new([writeBytes]byte) }}

// writer puts the headers that every response has on whatever net/http decides to answer, gives each piece of the body
// its own deadline, and stops when the grant does.
type writer struct {
	http.ResponseWriter
	headers http.Header
	timeout time.Duration
	// hold is asked before each piece; an error ends the response.
	hold func() error

	mu      sync.Mutex
	control *http.ResponseController // nil once the handler has returned
	stopped error
	refused bool // the body was written with the header, in our own words
}

// WriteHeader restores the headers that http.ServeContent drops from its refusals, and gives these the form of all others.
func (w *writer) WriteHeader(code int) {
	for k, v := range w.headers {
		w.Header()[k] = v
	}
	switch code {
	case http.StatusRequestedRangeNotSatisfiable:
		w.refuse(refusal{code, "RANGE_NOT_SATISFIABLE", 0})
	case http.StatusPreconditionFailed:
		w.refuse(refusal{code, "PRECONDITION_FAILED", 0})
	default:
		w.ResponseWriter.WriteHeader(code)
	}
}

func (w *writer) refuse(f refusal) {
	w.refused = true
	w.Header().Del("Content-Disposition")
	writeRefusal(w.ResponseWriter, f)
}

// Write sends one piece.
func (w *writer) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	if err := w.hold(); err != nil {
		w.cut(err, time.Now())
	}
	if err := w.arm(); err != nil {
		return 0, err
	}
	n, err := w.ResponseWriter.Write(p)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.stopped != nil {
			err = w.stopped
		}
	}
	return n, err
}

// ReadFrom copies in pieces, so that io.CopyN neither allocates nor hands the whole body to one write.
func (w *writer) ReadFrom(r io.Reader) (total int64, err error) {
	buf := writeBuffers.Get().(*[writeBytes]byte)
	defer writeBuffers.Put(buf)
	for {
		n, rerr := r.Read(buf[:])
		if n > 0 {
			written, werr := w.Write(buf[:n])
			total += int64(written)
			if werr != nil {
				return total, werr
			}
		}
		if rerr == io.EOF { // io.Reader's contract is the bare io.EOF
			return total, nil
		}
		if rerr != nil {
			return total, rerr
		}
	}
}

// arm sets the next piece's deadline unless the response was cut; both under the lock, so that a cut is never undone.
func (w *writer) arm() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped != nil {
		return w.stopped
	}
	// A writer without deadlines (a test's recorder) is not a reason to refuse.
	_ = w.control.SetWriteDeadline(time.Now().Add(w.timeout))
	return nil
}

// cut ends the response: pieces to come are refused, and one that waits for the viewer is woken by its deadline.
func (w *writer) cut(reason error, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped != nil || w.control == nil {
		return
	}
	w.stopped = reason
	_ = w.control.SetWriteDeadline(now)
}

// finish detaches the writer from its connection, which may serve another request next, and returns why it was cut.
func (w *writer) finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.control != nil && w.stopped == nil {
		_ = w.control.SetWriteDeadline(time.Now().Add(w.timeout)) // for what net/http still holds
	}
	w.control = nil
	return w.stopped
}
