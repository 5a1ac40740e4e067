package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// reader implements recorder.JournalReader with a file handle of its own. It is for one goroutine.
type reader struct {
	c     *chunks
	name  string
	stat  func() (int64, error)
	close func() error

	next    int64 // offset of the chunk to load
	skip    int   // records of it to pass over (after a seek)
	checked bool  // the file header was looked at

	at    int64 // offset of the chunk that rest belongs to
	rec   int   // number of the next record in it
	rest  []byte
	known bool // a chunk was read before, so index and previous are due
	index uint64
	prev  [tagSize]byte
	last  int64 // arrival of the last record of the last chunk

	resume   int64 // where to search on, when there was no good chunk behind next
	searched int64 // the file's size then
	jumped   bool  // the gap before next was reported
	closed   bool
}

func newReader(f *os.File, keys *journalKeys, name string, from recorder.Position) (*reader, error) {
	stat := func() (int64, error) {
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	return startReader(f, stat, f.Close, keys, name, from)
}

func startReader(file io.ReaderAt, stat func() (int64, error), closeFile func() error, keys *journalKeys, name string, from recorder.Position) (*reader, error) {
	r := &reader{c: &chunks{file: file, keys: keys}, name: name, stat: stat, close: closeFile, next: journalHeader}
	if from == (recorder.Position{}) {
		return r, nil
	}
	size, err := stat()
	if err != nil {
		return nil, fmt.Errorf("spool: seek in journal %s: %w", name, err)
	}
	if from.Index < 0 || from.Offset < journalHeader || from.Offset >= size {
		return nil, fmt.Errorf("%w: journal %s has %d bytes, position is %d/%d", ErrPosition, name, size, from.Offset, from.Index)
	}
	r.next, r.skip, r.checked = from.Offset, from.Index, true
	r.jumped = from.Offset != journalHeader // what is before it is not this reader's
	return r, nil
}

// Next implements recorder.JournalReader. After a *DamageError, the position is where the next call goes on.
func (r *reader) Next() (recorder.Record, recorder.Position, error) {
	if r.closed {
		return recorder.Record{}, recorder.Position{}, fmt.Errorf("spool: read journal %s: %w", r.name, ErrClosed)
	}
	for len(r.rest) == 0 {
		if err := r.advance(); err != nil {
			return recorder.Record{}, recorder.Position{Offset: r.next}, err
		}
	}
	pos := recorder.Position{Offset: r.at, Index: r.rec}
	rec, rest, ok := cutRecord(r.rest)
	if !ok { // load has checked it
		return recorder.Record{}, pos, fmt.Errorf("spool: internal: record %v of journal %s is malformed", pos, r.name)
	}
	r.rest = rest
	r.rec++
	return rec, pos, nil
}

// advance loads the next chunk. A nil error means: look again whether there are records.
func (r *reader) advance() error {
	size, err := r.stat()
	if err != nil {
		return fmt.Errorf("spool: read journal %s: %w", r.name, err)
	}
	if !r.checked {
		return r.checkHeader(size)
	}
	if r.next >= size {
		return io.EOF
	}
	h, plain, state, err := r.c.load(r.next, size)
	if err != nil {
		return fmt.Errorf("spool: read journal %s: %w", r.name, err)
	}
	if state != chunkWhole || (r.known && h.index < r.index) {
		return r.leap(r.next, r.next+1, size)
	}
	if !r.jumped && !r.continues(h) {
		return r.report(r.next, r.next, h)
	}
	return r.enter(h, plain)
}

// checkHeader looks at the file header once. Its loss is reported, and costs nothing else.
func (r *reader) checkHeader(size int64) error {
	ok, later, err := r.c.checkFileHeader(size)
	if err != nil {
		return fmt.Errorf("spool: read journal %s: %w", r.name, err)
	}
	if ok {
		r.checked = true
		return nil
	}
	err = r.leap(0, journalHeader, size)
	if errors.Is(err, io.EOF) && later {
		return fmt.Errorf("%w: journal %s", ErrVersion, r.name)
	}
	r.checked = !errors.Is(err, io.EOF)
	return err
}

// leap looks for the next good chunk behind the damage at off. If there is none, the damage is the tail.
func (r *reader) leap(off, from, size int64) error {
	if size < r.searched { // the owner cut a torn tail
		r.resume, r.searched = 0, 0
	}
	if size == r.searched {
		return io.EOF
	}
	found, h, ok, resume, err := r.c.search(max(from, r.resume), size, func(h chunkHead) bool { return !r.known || h.index >= r.index })
	if err != nil {
		return fmt.Errorf("spool: read journal %s: %w", r.name, err)
	}
	if !ok {
		r.resume, r.searched = resume, size
		return io.EOF
	}
	return r.report(off, found, h)
}

// continues tells whether h is the chunk that is due.
func (r *reader) continues(h chunkHead) bool {
	if !r.known {
		return h.index == 0 && h.previous == [tagSize]byte{}
	}
	return h.index == r.index && h.previous == r.prev
}

// report says what lies between off and the good chunk at found, and goes on there.
func (r *reader) report(off, found int64, h chunkHead) error {
	e := &DamageError{Journal: r.name, Offset: off, End: found, Chunks: -1, After: time.Unix(0, h.first).UTC()}
	if r.known {
		e.Chunks = int64(h.index - r.index)
		e.Before = time.Unix(0, r.last).UTC()
	} else if !r.jumped {
		e.Chunks = int64(h.index)
	}
	r.next, r.skip, r.jumped = found, 0, true
	r.resume, r.searched = 0, 0
	return e
}

// enter makes the chunk the current one.
func (r *reader) enter(h chunkHead, plain []byte) error {
	if r.skip > int(h.count) {
		return fmt.Errorf("%w: journal %s has %d records at %d, position is %d", ErrPosition, r.name, h.count, r.next, r.skip)
	}
	r.at, r.rec, r.rest = r.next, 0, plain
	for ; r.skip > 0; r.skip-- {
		_, r.rest, _ = cutRecord(r.rest)
		r.rec++
	}
	r.next += h.size()
	r.known, r.index, r.prev, r.last = true, h.index+1, r.c.tag(), h.last
	r.resume, r.searched, r.jumped = 0, 0, false
	return nil
}

// Close implements recorder.JournalReader; it is idempotent.
func (r *reader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	r.rest = nil
	return r.close()
}
