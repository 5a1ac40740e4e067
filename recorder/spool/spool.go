package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

// syncEvery is how often all that is buffered is written and made durable. Half of the promised
// second is left to the disk.
const syncEvery = 500 * time.Millisecond

// syncParallel is how many files are fsynced at once: file systems combine them into one commit.
const syncParallel = 8

// Spool implements recorder.Spool below one folder. Several processes may share the
// folder; each recording has one owner at a time.
type Spool struct {
	cfg  Config
	log  *slog.Logger
	used atomic.Int64

	reserve reserve

	mu       sync.Mutex
	folders  map[string]*folder // owned
	journals map[*journal]struct{}
	closed   bool

	wake     chan struct{} // a full chunk waits
	dirty    chan struct{} // something was written that is not synced
	stop     chan struct{}
	done     sync.WaitGroup
	closing  sync.Once
	closeErr error

	wrapFile func(*os.File) appendFile // nil but in tests
}

var (
	_ recorder.Spool     = (*Spool)(nil)
	_ recorder.DiskMeter = (*Spool)(nil)
)

// New opens the spool, makes its folder if needed and deletes what earlier processes left unfinished. Recordings are not touched.
// The caller must Close it.
func New(cfg Config, logger *slog.Logger) (*Spool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Root, 0o700); err != nil {
		return nil, fmt.Errorf("spool: make root: %w", err)
	}
	s := &Spool{cfg: cfg, log: logger, folders: map[string]*folder{}, journals: map[*journal]struct{}{},
		wake: make(chan struct{}, 1), dirty: make(chan struct{}, 1), stop: make(chan struct{})}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("spool: clean up %s: %w", cfg.Root, err)
	}
	used, err := folderBytes(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("spool: measure %s: %w", cfg.Root, err)
	}
	s.used.Store(used)
	s.reserve = reserve{path: filepath.Join(cfg.Root, reserveName), size: cfg.ReserveBytes}
	if err := s.reserve.keep(); err != nil {
		logger.Warn("spool has no reserve for a full disk", "bytes", cfg.ReserveBytes, "err", err)
	}
	s.done.Go(s.writeLoop)
	s.done.Go(s.syncLoop)
	return s, nil
}

// Close closes all folders that this process owns (which makes everything durable) and waits for the background. It is idempotent.
func (s *Spool) Close() error {
	s.closing.Do(func() { s.closeErr = s.shut() })
	return s.closeErr
}

func (s *Spool) shut() error {
	s.mu.Lock()
	s.closed = true
	var open []*folder
	for _, f := range s.folders {
		open = append(open, f)
	}
	s.mu.Unlock()
	var errs []error
	for _, f := range open {
		errs = append(errs, f.Close())
	}
	close(s.stop)
	s.done.Wait()
	return errors.Join(errs...)
}

// writeLoop writes full chunks as soon as they wait, and the others when they are half a second old.
func (s *Spool) writeLoop() {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	var list []*journal
	for {
		all := false
		select {
		case <-s.stop:
			return
		case <-s.wake:
		case <-tick.C:
			all = true
		}
		list = s.list(list)
		for _, j := range list {
			if all || j.waiting.Load() {
				j.flush(all) //nolint:errcheck // sticky: fail has logged it and every Append returns it
			}
		}
		if all {
			signal(s.dirty)
		}
	}
}

// syncLoop makes durable what was written.
func (s *Spool) syncLoop() {
	var list []*journal
	for {
		select {
		case <-s.stop:
			return
		case <-s.dirty:
		}
		list = s.list(list)
		var g errgroup.Group
		g.SetLimit(syncParallel)
		for _, j := range list {
			if j.dirty.Load() {
				g.Go(j.syncFile)
			}
		}
		g.Wait() //nolint:errcheck // sticky: fail has logged it and every Append returns it
	}
}

func (s *Spool) wakeWriter() { signal(s.wake) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *Spool) list(into []*journal) []*journal {
	clear(into)
	into = into[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	for j := range s.journals {
		into = append(into, j)
	}
	return into
}

func (s *Spool) addJournal(j *journal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journals[j] = struct{}{}
}

func (s *Spool) dropJournal(j *journal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.journals, j)
}

// adopt registers a folder that this process owns now.
func (s *Spool) adopt(f *folder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.folders[f.id] = f
	return nil
}

func (s *Spool) dropFolder(f *folder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.folders[f.id] == f {
		delete(s.folders, f.id)
	}
}

// enter checks what every operation on a recording checks first, and names its folder.
func (s *Spool) enter(ctx context.Context, recordingID string) (dir string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := checkName(recordingID); err != nil {
		return "", fmt.Errorf("recording id: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", ErrClosed
	}
	return filepath.Join(s.cfg.Root, recordingID), nil
}

// Create implements recorder.Spool.
func (s *Spool) Create(ctx context.Context, h recorder.Header, key kms.DataKey) (recorder.Folder, error) {
	dir, err := s.enter(ctx, h.RecordingID)
	if err != nil {
		return nil, fmt.Errorf("spool: create: %w", err)
	}
	if h.Version != headerVersion {
		return nil, fmt.Errorf("spool: create %s: %w: header version %d, want %d", h.RecordingID, ErrVersion, h.Version, headerVersion)
	}
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("%w: %s", recorder.ErrSpoolExists, h.RecordingID)
	}
	if err := s.checkRoom(); err != nil {
		return nil, err
	}
	raw, err := encodeHeader(h, key)
	if err != nil {
		return nil, err
	}
	lock, err := s.makeFolder(h, raw)
	if err != nil {
		return nil, fmt.Errorf("spool: create %s: %w", h.RecordingID, err)
	}
	s.used.Add(int64(len(raw)))
	return s.own(&folder{id: h.RecordingID, dir: dir, header: h, key: &heldKey{key}, lock: lock})
}

func (s *Spool) own(f *folder) (recorder.Folder, error) {
	f.spool, f.journals = s, map[string]*journal{}
	if err := s.adopt(f); err != nil {
		return nil, errors.Join(err, unlockFolder(f.lock))
	}
	return f, nil
}

// Header implements recorder.Spool.
func (s *Spool) Header(ctx context.Context, recordingID string) (recorder.Header, error) {
	dir, err := s.enter(ctx, recordingID)
	if err != nil {
		return recorder.Header{}, fmt.Errorf("spool: read header: %w", err)
	}
	_, h, err := readHeader(dir, recordingID)
	return h, err
}

// Open implements recorder.Spool. ErrLocked: someone owns the folder, in this process or another.
func (s *Spool) Open(ctx context.Context, recordingID string, key kms.DataKey) (recorder.Folder, error) {
	dir, err := s.enter(ctx, recordingID)
	if err != nil {
		return nil, fmt.Errorf("spool: open: %w", err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: open %s: %w", recordingID, err)
	}
	h, err := authenticHeader(dir, recordingID, key)
	if err != nil {
		return nil, errors.Join(err, unlockFolder(lock))
	}
	f := &folder{spool: s, id: recordingID, dir: dir, header: h, key: &heldKey{key}, lock: lock}
	if err := f.repair(); err != nil {
		return nil, errors.Join(err, unlockFolder(lock))
	}
	return s.own(f)
}

// View opens a folder that another process may own, for reading only: nothing is locked, cut or deleted,
// and what would write fails with ErrReadOnly.
func (s *Spool) View(ctx context.Context, recordingID string, key kms.DataKey) (recorder.Folder, error) {
	dir, err := s.enter(ctx, recordingID)
	if err != nil {
		return nil, fmt.Errorf("spool: view: %w", err)
	}
	h, err := authenticHeader(dir, recordingID, key)
	if err != nil {
		return nil, err
	}
	return &folder{spool: s, id: recordingID, dir: dir, header: h, key: &heldKey{key}}, nil
}

func authenticHeader(dir, recordingID string, key kms.DataKey) (recorder.Header, error) {
	file, h, err := readHeader(dir, recordingID)
	if err != nil {
		return recorder.Header{}, err
	}
	return h, file.authenticate(recordingID, key)
}

// List implements recorder.Spool. A folder with a damaged header is listed too, by the age of its file.
func (s *Spool) List(ctx context.Context) ([]string, error) {
	entries, err := os.ReadDir(s.cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("spool: list: %w", err)
	}
	type aged struct {
		id string
		at time.Time
	}
	var found []aged
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e.IsDir() && checkName(e.Name()) == nil {
			found = append(found, aged{e.Name(), createdAt(filepath.Join(s.cfg.Root, e.Name()), e.Name())})
		}
	}
	slices.SortFunc(found, func(a, b aged) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) })
	ids := make([]string, len(found))
	for i, f := range found {
		ids[i] = f.id
	}
	return ids, nil
}

func createdAt(dir, id string) time.Time {
	_, h, err := readHeader(dir, id)
	if err == nil {
		return h.CreatedAt
	}
	info, err := os.Stat(filepath.Join(dir, headerName))
	if err != nil {
		if info, err = os.Stat(dir); err != nil {
			return time.Time{}
		}
	}
	return info.ModTime()
}

// Remove implements recorder.Spool. A folder that is open is refused with ErrLocked. The folder loses its name
// first and durably, so that a crash leaves all of it or nothing.
func (s *Spool) Remove(ctx context.Context, recordingID string) (err error) {
	dir, err := s.enter(ctx, recordingID)
	if err != nil {
		return fmt.Errorf("spool: remove: %w", err)
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := lockFolder(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // someone else was quicker
	}
	if err != nil {
		return fmt.Errorf("spool: remove %s: %w", recordingID, err)
	}
	defer func() { err = errors.Join(err, unlockFolder(lock)) }()
	size, err := folderBytes(dir)
	if err != nil {
		return fmt.Errorf("spool: remove %s: %w", recordingID, err)
	}
	trash := filepath.Join(s.cfg.Root, unique(trashPrefix, recordingID))
	if err := os.Rename(dir, trash); err != nil {
		return fmt.Errorf("spool: remove %s: %w", recordingID, err)
	}
	s.used.Add(-size)
	if err := errors.Join(syncDir(s.cfg.Root), os.RemoveAll(trash)); err != nil {
		return fmt.Errorf("spool: remove %s: %w", recordingID, err)
	}
	return nil
}
