package spool

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dualrec/dualrec/recorder"
)

// maxQueued is how many full chunks wait for a slow disk before Append waits too.
const maxQueued = 64

// appendFile is what a journal needs of its file. Tests put a failing disk behind it.
type appendFile interface {
	WriteAt(p []byte, off int64) (int, error)
	Sync() error
	Close() error
}

// buffer is one chunk in the making: room for the header, then records.
type buffer struct {
	b           []byte
	first, last int64
	count       uint32
}

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, maxChunk)} }}

func newBuffer() *buffer {
	b := buffers.Get().(*buffer)
	b.b, b.count = b.b[:chunkHeaderSize], 0
	return b
}

func (b *buffer) add(r recorder.Record) {
	at := r.At.UnixNano()
	if b.count == 0 {
		b.first = at
	}
	b.last = at
	b.count++
	b.b = putRecord(b.b, r)
}

func (b *buffer) fits(r recorder.Record) bool {
	return b.count == 0 || len(b.b)-chunkHeaderSize+recordHeader+len(r.Data) <= chunkTarget
}

// journal appends to one file. Three locks keep the caller of Append away from the disk; where
// several are held they are taken in this order: sync, io, mu.
type journal struct {
	folder *folder
	name   string
	place  string

	mu      sync.Mutex // what Append touches
	cur     *buffer    // nil: nothing buffered
	full    []*buffer
	spare   []*buffer // full's other half, to swap with
	err     error     // the first error of the disk, a *recorder.DiskError; final
	closed  bool
	waiting atomic.Bool // full is not empty

	io       sync.Mutex // what writing touches
	file     appendFile
	aead     cipher.AEAD
	gen      generation
	index    uint64
	previous [tagSize]byte
	offset   int64
	aad      []byte
	nonce    [12]byte

	sync  sync.Mutex  // held while fsync runs, so that Close waits for it
	dirty atomic.Bool // written, not synced
	// unsynced is the arrival of the first record that is not synced, 0: all are.
	unsynced atomic.Int64

	closing  sync.Once
	closeErr error
}

// openJournal opens the file for appending behind its last authentic chunk, as a new generation. The
// file's name is on the disk when it returns.
func openJournal(f *folder, name string) (*journal, error) {
	keys, err := newJournalKeys(f.key.DataKey, f.id, name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(f.journalPath(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{folder: f, name: name, place: keys.place, file: file}
	if f.spool.wrapFile != nil {
		j.file = f.spool.wrapFile(file)
	}
	if err := j.start(file, keys); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, nil
}

func (j *journal) start(file *os.File, keys *journalKeys) error {
	t, cut, err := cutTail(file, keys)
	if err != nil {
		return err
	}
	j.folder.noteCut(j.name, t, cut)
	if t.offset == 0 {
		header := keys.fileHeader()
		if _, err := file.WriteAt(header, 0); err != nil {
			return err
		}
		if err := errors.Join(file.Sync(), syncDir(filepath.Dir(file.Name()))); err != nil {
			return err
		}
		t.offset = journalHeader
		j.folder.spool.used.Add(journalHeader)
	}
	j.offset, j.index, j.previous = t.offset, t.index, t.previous
	if _, err := rand.Read(j.gen[:]); err != nil {
		return fmt.Errorf("draw generation: %w", err)
	}
	j.aead, err = keys.aead(j.gen)
	return err
}

// Append implements recorder.Journal. It copies the record and allocates nothing.
func (j *journal) Append(r recorder.Record) error {
	if len(r.Data) > maxRecord {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrRecord, len(r.Data), maxRecord)
	}
	if r.Kind < recorder.PacketRTP || r.Kind > recorder.RecordOverflow {
		return fmt.Errorf("%w: kind %d is unknown", ErrRecord, r.Kind)
	}
	queued, err := j.buffer(r)
	if err != nil {
		return err
	}
	if queued >= maxQueued {
		return j.flush(false)
	}
	if queued > 0 {
		j.folder.spool.wakeWriter()
	}
	return nil
}

// buffer adds the record and returns how many full chunks wait, if there is one more than before.
func (j *journal) buffer(r recorder.Record) (queued int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return 0, j.err
	}
	if j.closed {
		return 0, fmt.Errorf("spool: append to journal %s: %w", j.name, ErrClosed)
	}
	if j.cur != nil && !j.cur.fits(r) {
		j.full = append(j.full, j.cur)
		j.cur = nil
		j.waiting.Store(true)
		queued = len(j.full)
	}
	if j.cur == nil {
		j.cur = newBuffer()
	}
	j.cur.add(r)
	return queued, nil
}

// flush writes the full chunks, and with all the one in the making too. It returns the journal's error.
func (j *journal) flush(all bool) error {
	j.io.Lock()
	defer j.io.Unlock()
	list := j.take(all)
	for i, b := range list {
		err := j.failure()
		if err == nil {
			if err = j.write(b); err != nil {
				j.fail("write", b.first, err)
			}
		}
		buffers.Put(b)
		list[i] = nil
	}
	j.spare = list[:0]
	return j.failure()
}

// take hands the waiting buffers to the writer. The caller holds io, so order is kept.
func (j *journal) take(all bool) []*buffer {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := j.full
	j.full, j.spare = j.spare[:0], nil
	if all && j.cur != nil {
		list = append(list, j.cur)
		j.cur = nil
	}
	j.waiting.Store(false)
	return list
}

// write seals a chunk in place and writes it with one call.
func (j *journal) write(b *buffer) error {
	h := chunkHead{generation: j.gen, index: j.index, previous: j.previous, first: b.first, last: b.last,
		count: b.count, length: uint32(len(b.b) - chunkHeaderSize)}
	h.put(b.b)
	j.aad = append(append(j.aad[:0], b.b[:chunkHeaderSize]...), j.place...)
	putNonce(&j.nonce, j.index)
	// The index moves on before anything can fail: a nonce that was used once is never used again.
	j.index++
	sealed := j.aead.Seal(b.b[chunkHeaderSize:chunkHeaderSize], j.nonce[:], b.b[chunkHeaderSize:], j.aad)
	b.b = b.b[:chunkHeaderSize+len(sealed)]
	n, err := j.file.WriteAt(b.b, j.offset)
	j.folder.spool.used.Add(int64(n))
	if err != nil {
		return err
	}
	j.offset += int64(n)
	copy(j.previous[:], sealed[len(sealed)-tagSize:])
	j.unsynced.CompareAndSwap(0, b.first)
	j.dirty.Store(true)
	return nil
}

// syncFile makes durable what was written before the call.
func (j *journal) syncFile() error {
	j.sync.Lock()
	defer j.sync.Unlock()
	if !j.dirty.Swap(false) {
		return j.failure()
	}
	since := j.unsynced.Swap(0)
	if err := j.file.Sync(); err != nil {
		j.fail("fsync", since, err)
	}
	return j.failure()
}

// flushAndSync is Sync of one journal.
func (j *journal) flushAndSync() error {
	return errors.Join(j.flush(true), j.syncFile())
}

func (j *journal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// fail makes an error of the disk final: what arrived from since on may be lost. It is logged here, once, because nobody waits for the background's results.
func (j *journal) fail(op string, since int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return
	}
	failed := &recorder.DiskError{Err: fmt.Errorf("spool: %s journal %s of %s: %w", op, j.name, j.folder.id, marked(err))}
	if since != 0 {
		failed.Since = time.Unix(0, since).UTC()
	}
	if older := j.unsynced.Load(); op == "write" && older != 0 && errors.Is(err, unix.EIO) {
		failed.Since = time.Unix(0, older).UTC() // a disk that fails may have kept nothing of what was not synced
	}
	j.err = failed
	j.folder.spool.log.Error("spool journal failed", "recording_id", j.folder.id, "journal", j.name, "op", op, "err", err)
}

// Close implements recorder.Journal: it writes, syncs and closes. It is idempotent and returns the journal's error, if it has one.
func (j *journal) Close() error {
	j.closing.Do(func() { j.closeErr = j.shut() })
	return j.closeErr
}

func (j *journal) shut() error {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	err := j.flush(true)
	if err == nil {
		err = j.syncFile()
	}
	j.sync.Lock()
	j.io.Lock()
	err = errors.Join(err, j.file.Close())
	j.io.Unlock()
	j.sync.Unlock()
	j.folder.dropJournal(j)
	return err
}
