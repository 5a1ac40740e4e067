package kms

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/minio/sio"
)

// Sum is what a Writer has written.
type Sum struct {
	Plaintext  int64             // bytes written into the writer
	Ciphertext int64             // bytes written out, header included
	SHA256     [sha256.Size]byte // of all bytes written out
}

// Writer encrypts one file front to back (docs/formats/envelope.md). It is not safe for concurrent use.
// The file is complete only when Close has returned nil. It buffers at most one package (64 KiB).
type Writer struct {
	out       *sumWriter
	enc       io.WriteCloser
	plaintext int64
	closed    bool
	err       error
}

// NewWriter writes the header to w and returns a writer of plaintext. It never closes w.
// One file key may seal several files: each draws its own salt, hence its own cipher key.
func NewWriter(w io.Writer, key FileKey) (*Writer, error) {
	e, err := newEnvelope(key)
	if err != nil {
		return nil, err
	}
	return newWriter(w, e)
}

func newWriter(w io.Writer, e *envelope) (*Writer, error) {
	out := &sumWriter{w: w, hash: sha256.New()}
	enc, err := newEncrypter(out, e)
	if err != nil {
		return nil, err
	}
	if _, err := out.Write(e.header[:]); err != nil {
		return nil, fmt.Errorf("kms: write envelope header: %w", err)
	}
	return &Writer{out: out, enc: enc}, nil
}

// Write encrypts p. The first error is final: every later call returns it.
func (w *Writer) Write(p []byte) (int, error) {
	if w.closed {
		return 0, ErrClosed
	}
	if w.err != nil {
		return 0, w.err
	}
	if int64(len(p)) > MaxPlaintext-w.plaintext {
		w.err = ErrTooLong
		return 0, w.err
	}
	n, err := w.enc.Write(p)
	w.plaintext += int64(n)
	if err != nil {
		w.err = fmt.Errorf("kms: write envelope: %w", err)
	}
	return n, w.err
}

// Close writes the final package. It is idempotent. An error means that the file is not complete.
func (w *Writer) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	if w.err != nil {
		return w.err
	}
	if _, err := w.enc.Write([]byte{endMark}); err != nil {
		w.err = fmt.Errorf("kms: write envelope: %w", err)
		return w.err
	}
	if err := w.enc.Close(); err != nil {
		w.err = fmt.Errorf("kms: write the envelope's final package: %w", err)
	}
	return w.err
}

// Sum reports sizes and digest. It is the truth about the file once Close has returned nil.
func (w *Writer) Sum() Sum {
	s := Sum{Plaintext: w.plaintext, Ciphertext: w.out.n}
	w.out.hash.Sum(s.SHA256[:0])
	return s
}

// sumWriter counts and digests what goes out. It is deliberately no io.Closer,
// because sio would close it with the last package.
type sumWriter struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (s *sumWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.hash.Write(p[:n])
	s.n += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

func newEncrypter(out io.Writer, e *envelope) (io.WriteCloser, error) {
	enc, err := sio.EncryptWriter(out, e.config(0))
	if err != nil {
		return nil, fmt.Errorf("kms: start envelope: %w", err)
	}
	return enc, nil
}
