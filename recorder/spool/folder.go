package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

// heldKey is only held by pointer: fmt prints the fields of nested structs without asking
// String, but not what a nested pointer points to.
type heldKey struct{ kms.DataKey }

// folder implements recorder.Folder.
type folder struct {
	spool    *Spool
	id, dir  string
	header   recorder.Header
	key      *heldKey
	lock     *os.File // nil: read only
	mu       sync.Mutex
	journals map[string]*journal // those open for appending
	closed   bool
	closing  sync.Once
	closeErr error
}

func (f *folder) Header() recorder.Header {
	h := f.header
	h.Expect = slices.Clone(h.Expect)
	h.WrappedKey.Ciphertext = slices.Clone(h.WrappedKey.Ciphertext)
	return h
}

func (f *folder) journalPath(name string) string { return filepath.Join(f.dir, name+journalSuffix) }

func (f *folder) blobPath(name string) string { return filepath.Join(f.dir, blobFolder, name) }

// usable checks a name and that the folder is open, and for writing too.
func (f *folder) usable(name string, write bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	if write && f.lock == nil {
		return ErrReadOnly
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	return nil
}

func (f *folder) Journal(name string) (recorder.Journal, error) {
	if err := f.usable(name, true); err != nil {
		return nil, fmt.Errorf("spool: open journal: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("spool: open journal: %w", ErrClosed)
	}
	if f.journals[name] != nil {
		return nil, fmt.Errorf("%w: %s of %s", ErrJournalOpen, name, f.id)
	}
	j, err := openJournal(f, name)
	if err != nil {
		return nil, fmt.Errorf("spool: open journal %s of %s: %w", name, f.id, marked(err))
	}
	f.journals[name] = j
	f.spool.addJournal(j)
	return j, nil
}

func (f *folder) dropJournal(j *journal) {
	f.spool.dropJournal(j)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.journals, j.name)
}

func (f *folder) Journals() ([]string, error) {
	entries, err := os.ReadDir(f.dir) // sorted
	if err != nil {
		return nil, fmt.Errorf("spool: journals of %s: %w", f.id, err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), journalSuffix); ok && e.Type().IsRegular() && checkName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names) // by name, not by name and suffix
	return names, nil
}

func (f *folder) Read(name string, from recorder.Position) (recorder.JournalReader, error) {
	if err := f.usable(name, false); err != nil {
		return nil, fmt.Errorf("spool: read journal: %w", err)
	}
	keys, err := newJournalKeys(f.key.DataKey, f.id, name)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(f.journalPath(name))
	if err != nil {
		return nil, fmt.Errorf("spool: read journal %s of %s: %w", name, f.id, err)
	}
	r, err := newReader(file, keys, name, from)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

func (f *folder) ReadTail(name string, bytes int64) (recorder.JournalReader, error) {
	if err := f.usable(name, false); err != nil {
		return nil, fmt.Errorf("spool: read journal: %w", err)
	}
	from, err := f.chunkBefore(name, bytes)
	if err != nil {
		return nil, fmt.Errorf("spool: find the end of journal %s of %s: %w", name, f.id, err)
	}
	return f.Read(name, from)
}

// chunkBefore is the last chunk that begins at least so many bytes before the end. It reads headers alone: where one is
// damaged the walk ends, and reading begins the earlier for it.
func (f *folder) chunkBefore(name string, bytes int64) (from recorder.Position, err error) {
	keys, err := newJournalKeys(f.key.DataKey, f.id, name)
	if err != nil {
		return from, err
	}
	file, err := os.Open(f.journalPath(name))
	if err != nil {
		return from, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return from, err
	}
	offsets, err := (&chunks{file: file, keys: keys}).walk(journalHeader, info.Size())
	if err != nil {
		return from, err
	}
	for _, off := range slices.Backward(offsets) {
		if info.Size()-off >= bytes {
			return recorder.Position{Offset: off}, nil
		}
	}
	return from, nil
}

func (f *folder) Sync() error {
	var errs []error
	for _, j := range f.open() {
		errs = append(errs, j.flushAndSync())
	}
	return errors.Join(errs...)
}

func (f *folder) open() []*journal {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*journal, 0, len(f.journals))
	for _, j := range f.journals {
		list = append(list, j)
	}
	return list
}

func (f *folder) Close() error {
	f.closing.Do(func() { f.closeErr = f.shut() })
	return f.closeErr
}

func (f *folder) shut() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	var errs []error
	for _, j := range f.open() {
		errs = append(errs, j.Close())
	}
	if f.lock != nil {
		f.spool.dropFolder(f)
		errs = append(errs, unlockFolder(f.lock))
	}
	return errors.Join(errs...)
}

// repair cuts the torn tails of all journals and deletes unfinished blobs. The caller owns the folder.
func (f *folder) repair() error {
	names, err := f.Journals()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := f.recoverJournal(name); err != nil {
			return fmt.Errorf("spool: recover journal %s of %s: %w", name, f.id, err)
		}
	}
	return sweepBlobs(f.dir)
}

func (f *folder) recoverJournal(name string) (err error) {
	keys, err := newJournalKeys(f.key.DataKey, f.id, name)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(f.journalPath(name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	t, cut, err := cutTail(file, keys)
	if err == nil {
		f.noteCut(name, t, cut)
	}
	return err
}

// noteCut accounts for a torn tail and tells the operator.
func (f *folder) noteCut(name string, t tail, cut int64) {
	if cut == 0 {
		return
	}
	f.spool.used.Add(-cut)
	f.spool.log.Warn("spool cut a torn tail", "recording_id", f.id, "journal", name, "bytes", cut, "kept_bytes", t.offset, "kept_chunks", t.index)
}

// String names the folder and keeps its key out of logs.
func (f *folder) String() string { return "spool folder " + f.id }

// GoString keeps the key out of %#v.
func (f *folder) GoString() string { return f.String() }

// makeFolder builds a complete folder beside its place and renames it there, so that a folder
// that has its name has its header too, whenever the power fails.
func (s *Spool) makeFolder(h recorder.Header, header []byte) (lock *os.File, err error) {
	temp := filepath.Join(s.cfg.Root, unique(newPrefix, h.RecordingID))
	dir := filepath.Join(s.cfg.Root, h.RecordingID)
	if err := os.Mkdir(temp, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
			if lock != nil {
				err = errors.Join(err, unlockFolder(lock))
			}
			lock = nil
		}
	}()
	if lock, err = lockFolder(temp); err != nil {
		return lock, err
	}
	if err = os.Mkdir(filepath.Join(temp, blobFolder), 0o700); err != nil {
		return lock, err
	}
	if err = writeDurably(filepath.Join(temp, headerName), header); err != nil {
		return lock, err
	}
	if err = syncDir(temp); err != nil {
		return lock, err
	}
	if err = os.Rename(temp, dir); errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: %s", recorder.ErrSpoolExists, h.RecordingID)
	}
	if err != nil {
		return lock, err
	}
	return lock, syncDir(s.cfg.Root)
}
