package objectstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Source is the reading side of one attempt of a Put: it yields exactly the announced number of bytes, hashes them on
// the way, stops when the context ends, and tells the reader's faults from the store's. An adapter copies from it
// and calls Finish before it makes anything visible. It is not safe for concurrent use.
type Source struct {
	ctx    func() error
	r      io.Reader
	want   int64
	got    int64
	hash   hash.Hash
	failed error
}

// NewSource rewinds r and prepares it for one attempt.
func NewSource(ctx context.Context, r io.ReadSeeker, size int64) (*Source, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("objectstore: put: %w", err)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("%w: rewind the reader: %w", ErrInvalid, err)
	}
	return &Source{ctx: func() error { return context.Cause(ctx) }, r: r, want: size, hash: sha256.New()}, nil
}

// Read implements io.Reader. Its own failures are remembered for Err.
func (s *Source) Read(p []byte) (int, error) {
	if err := s.ctx(); err != nil {
		s.failed = fmt.Errorf("objectstore: put: %w", err)
		return 0, s.failed
	}
	if s.got >= s.want {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.want-s.got)])
	s.got += int64(n)
	s.hash.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = fmt.Errorf("objectstore: read what is to be stored: %w", err)
		return n, s.failed
	}
	return n, err
}

// Err is the reader's own failure or the end of the context, nil if a failed copy is the store's fault.
func (s *Source) Err() error { return s.failed }

// Finish checks that the reader ended where it was announced to end and held the announced bytes.
func (s *Source) Finish(key string, digest []byte) error {
	if s.failed != nil {
		return s.failed
	}
	if s.got < s.want {
		return &SizeError{Want: s.want, Got: s.got}
	}
	if n, err := io.ReadFull(s.r, make([]byte, 1)); n > 0 {
		return &SizeError{Want: s.want, Got: s.want + 1}
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("objectstore: read the end of what is to be stored: %w", err)
	}
	if sum := s.hash.Sum(nil); !bytes.Equal(sum, digest) {
		return &DigestError{Key: key, Want: bytes.Clone(digest), Got: sum}
	}
	return nil
}
