package kms

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/minio/sio"
)

// Reader decrypts one file at any offset (docs/formats/envelope.md). It gives out authentic plaintext only.
// It is safe for concurrent use if the underlying io.ReaderAt is.
type Reader struct {
	env  *envelope
	body *packages
	dec  io.ReaderAt
	size int64
}

// NewReader reads the header and the final package of an encrypted file and checks both, so that a truncated or
// extended file is refused here and not half-way. ciphertextSize is the file's size as the file system or the store says;
// it must be the whole file's. The errors are those of the envelope, or r's own.
func NewReader(r io.ReaderAt, ciphertextSize int64, key FileKey) (*Reader, error) {
	if ciphertextSize < headerBytes {
		return nil, shortFile(r, ciphertextSize)
	}
	var head [headerBytes]byte
	if err := readFull(r, head[:], 0); err != nil {
		return nil, fmt.Errorf("kms: read envelope header: %w", err)
	}
	env, err := parseEnvelope(head[:], key)
	if err != nil {
		return nil, err
	}
	// The body is looked at before the size's arithmetic, because its headers know
	// whether an impossible size is one of too few bytes or of too many.
	body := &packages{r: r, env: env, size: ciphertextSize - headerBytes}
	if err := body.checkFinal(); err != nil {
		return nil, err
	}
	size, err := PlaintextSize(ciphertextSize)
	if err != nil {
		return nil, err
	}
	dec, err := sio.DecryptReaderAt(body, env.config(0))
	if err != nil {
		return nil, fmt.Errorf("kms: open envelope: %w", err)
	}
	rd := &Reader{env: env, body: body, dec: dec, size: size}
	return rd, rd.checkEnd()
}

// Size is the authenticated number of plaintext bytes.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt over the plaintext. It decrypts whole packages of 64 KiB; for longer
// stretches in order, Range is cheaper.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("kms: negative offset")
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= r.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > r.size-off
	if short {
		p = p[:r.size-off]
	}
	n, err := r.dec.ReadAt(p, off)
	if err != nil && (n < len(p) || !errors.Is(err, io.EOF)) {
		return n, r.refused(err, off+int64(n))
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// Range returns a reader of n plaintext bytes from off on, or of fewer where the file ends.
// Each package is read and decrypted once. An error is final.
func (r *Reader) Range(off, n int64) (io.Reader, error) {
	if off < 0 || n < 0 {
		return nil, errors.New("kms: negative offset or length")
	}
	off = min(off, r.size)
	index := off / packagePayload
	section := io.NewSectionReader(r.body, index*packageBytes, r.body.size-index*packageBytes)
	dec, err := sio.DecryptReader(section, r.env.config(uint32(index)))
	if err != nil {
		return nil, fmt.Errorf("kms: open range: %w", err)
	}
	return &rangeReader{r: r, dec: dec, pos: index * packagePayload, skip: off % packagePayload, left: min(n, r.size-off)}, nil
}

// checkEnd authenticates the final package and its end mark.
func (r *Reader) checkEnd() error {
	var end [1]byte
	if n, err := r.dec.ReadAt(end[:], r.size); n < 1 {
		return r.refused(err, r.size)
	}
	if end[0] != endMark {
		return &DamageError{Offset: headerBytes + r.size/packagePayload*packageBytes, Reason: "no end mark"}
	}
	return nil
}

// refused turns sio's words into ours and lets the storage's own errors through.
func (r *Reader) refused(err error, off int64) error {
	var refusal sio.Error
	switch {
	case errors.As(err, &refusal):
		return &DamageError{Offset: headerBytes + off/packagePayload*packageBytes, Reason: "does not authenticate"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the file became shorter", ErrTruncated)
	}
	return err
}

// rangeReader makes errors sticky (sio would go on with the next package) and hides the end mark.
type rangeReader struct {
	r    *Reader
	dec  io.Reader
	pos  int64 // plaintext offset of dec
	skip int64 // bytes of the first package before the range
	left int64
	err  error
}

func (s *rangeReader) Read(p []byte) (int, error) {
	if s.err == nil && s.skip > 0 {
		s.discard()
	}
	if s.err != nil {
		return 0, s.err
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.dec.Read(p[:min(int64(len(p)), s.left)])
	s.pos += int64(n)
	s.left -= int64(n)
	if err != nil && s.left > 0 {
		s.err = s.r.refused(err, s.pos)
	}
	return n, s.err
}

func (s *rangeReader) discard() {
	n, err := io.CopyN(io.Discard, s.dec, s.skip)
	s.pos += n
	s.skip = 0
	if err != nil {
		s.err = s.r.refused(err, s.pos)
	}
}

// packages is the body of an envelope. It hands a package to sio only if its header is the expected one:
// sio takes the nonce of the first package that it reads for the stream's, so that by itself
// it would accept a package moved elsewhere with its nonce adjusted.
type packages struct {
	r    io.ReaderAt
	env  *envelope
	size int64
}

// ReadAt reads whole packages. sio asks for one at a time, from its beginning on.
func (b *packages) ReadAt(p []byte, off int64) (int, error) {
	if off%packageBytes != 0 {
		return 0, fmt.Errorf("kms: internal: read of byte %d is not at a package", off)
	}
	if off >= b.size {
		return 0, io.EOF
	}
	want := min(int64(len(p)), b.size-off)
	if err := readFull(b.r, p[:want], headerBytes+off); err != nil {
		return 0, err
	}
	for at := int64(0); at < want; at += packageBytes {
		if err := b.check(p[at:want], off+at); err != nil {
			return 0, err
		}
	}
	if want < int64(len(p)) {
		return int(want), io.EOF
	}
	return int(want), nil
}

// check compares the header of the package at off, which p begins with.
func (b *packages) check(p []byte, off int64) error {
	left := b.size - off
	want := b.env.packageHead(min(left, packageBytes)-packageOverhead, left <= packageBytes)
	if len(p) < packageHeader || [packageHeader]byte(p) != want {
		return &DamageError{Offset: headerBytes + off, Reason: "its header belongs to another place or file"}
	}
	return nil
}

// checkFinal looks at the header of the last package and says, where it is not the expected one, what happened.
func (b *packages) checkFinal() error {
	if b.size <= packageOverhead {
		return fmt.Errorf("%w: nothing but its header is left", ErrTruncated)
	}
	last := (b.size - 1) / packageBytes
	left := b.size - last*packageBytes
	if left <= packageOverhead {
		return b.diagnose(last)
	}
	h, err := b.head(last)
	if err != nil {
		return err
	}
	if h == b.env.packageHead(left-packageOverhead, true) {
		return nil
	}
	return b.diagnose(last)
}

// diagnose finds the first package that is not a full one in the middle: with log n reads,
// because it is asked of files in remote stores too.
func (b *packages) diagnose(last int64) error {
	middle := b.env.packageHead(packagePayload, false)
	var failure error
	first := int64(sort.Search(int(last)+1, func(i int) bool {
		h, err := b.head(int64(i))
		if err != nil {
			failure = err
		}
		return h != middle
	}))
	if failure != nil && !errors.Is(failure, ErrTruncated) {
		return failure
	}
	if first > last {
		return fmt.Errorf("%w: it ends after %d packages without a final one", ErrTruncated, last+1)
	}
	h, err := b.head(first)
	if err != nil {
		return err
	}
	return b.classify(h, first)
}

func (b *packages) classify(h [packageHeader]byte, index int64) error {
	payload := int64(binary.LittleEndian.Uint16(h[2:])) + 1
	end := index*packageBytes + payload + packageOverhead
	switch {
	case h != b.env.packageHead(payload, true):
		return &DamageError{Offset: headerBytes + index*packageBytes, Reason: "its header belongs to another place or file"}
	case end > b.size:
		return fmt.Errorf("%w: %d bytes are missing", ErrTruncated, end-b.size)
	case end < b.size:
		return fmt.Errorf("%w: %d of them", ErrTrailing, b.size-end)
	}
	return &DamageError{Offset: headerBytes + index*packageBytes, Reason: "changed while it was read"}
}

// head reads the header of package index. Where fewer than 16 bytes are left, the file ends within it.
func (b *packages) head(index int64) (h [packageHeader]byte, err error) {
	off := index * packageBytes
	if b.size-off < packageHeader {
		return h, fmt.Errorf("%w: it ends within a package", ErrTruncated)
	}
	return h, readFull(b.r, h[:], headerBytes+off)
}

// readFull reads all of p and calls a premature end by its name.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the file is shorter than announced", ErrTruncated)
	}
	return err
}

// shortFile tells a cut envelope from a file that never was one.
func shortFile(r io.ReaderAt, size int64) error {
	n := max(min(size, int64(len(envelopeMagic))), 0)
	head := make([]byte, n)
	if err := readFull(r, head, 0); err != nil {
		return err
	}
	if string(head) != envelopeMagic[:n] {
		return ErrNotEnvelope
	}
	return fmt.Errorf("%w: %d bytes are fewer than the %d of an empty one", ErrTruncated, size, EnvelopeOverhead)
}
