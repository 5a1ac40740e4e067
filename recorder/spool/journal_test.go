package spool

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dualrec/dualrec/kms"
	"golang.org/x/sys/unix"

	"github.com/dualrec/dualrec/recorder"
)

var update = flag.Bool("update", false, "rewrite the known answers")

func TestJournalRoundTrip(t *testing.T) {
	t.Parallel()
	_, f := newFolder(t)
	j := mustJournal(t, f, "screen")
	sizes := []int{8, 9, 100, 1200, 1500, 20_000, chunkTarget - recordHeader, chunkTarget - recordHeader - 1, chunkTarget - recordHeader + 1, maxRecord}
	const total = 150
	for n := range total {
		if err := j.Append(numbered(n, sizes[n%len(sizes)])); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := f.Read("screen", recorder.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var positions []recorder.Position
	for n := range total {
		rec, pos, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := checkNumbered(rec); err != nil || got != n {
			t.Fatalf("record %d: got %d, %v", n, got, err)
		}
		positions = append(positions, pos)
	}
	if _, _, err := r.Next(); err != io.EOF {
		t.Fatalf("at the end: %v", err)
	}
	for n := 0; n < total; n += 13 {
		r, err := f.Read("screen", positions[n])
		if err != nil {
			t.Fatal(err)
		}
		numbers, damage := readNumbers(t, r)
		wantRange(t, numbers, n, total)
		if len(damage) > 0 {
			t.Errorf("after seeking to %v: %v", positions[n], damage)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
		if _, _, err := r.Next(); !errors.Is(err, ErrClosed) {
			t.Errorf("Next after Close: %v", err)
		}
	}
}

func TestRecordKinds(t *testing.T) {
	t.Parallel()
	_, f := newFolder(t)
	j := mustJournal(t, f, "events")
	at := time.Date(1950, 1, 1, 0, 0, 0, 1, time.FixedZone("x", 3600))
	for _, kind := range []recorder.PacketKind{recorder.PacketRTP, recorder.PacketRTCP, recorder.RecordEvent, recorder.RecordOverflow} {
		if err := j.Append(recorder.Record{At: at, Kind: kind}); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []recorder.Record{{At: at}, {At: at, Kind: 5}, {At: at, Kind: 1, Data: make([]byte, maxRecord+1)}} {
		if err := j.Append(bad); !errors.Is(err, ErrRecord) {
			t.Errorf("kind %d with %d bytes: %v", bad.Kind, len(bad.Data), err)
		}
	}
	mustSync(t, f)
	r, err := f.Read("events", recorder.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for kind := recorder.PacketRTP; kind <= recorder.RecordOverflow; kind++ {
		rec, _, err := r.Next()
		if err != nil || rec.Kind != kind || len(rec.Data) != 0 || !rec.At.Equal(at) || rec.At.Location() != time.UTC {
			t.Errorf("got %+v, %v", rec, err)
		}
	}
}

func TestReaderFollowsWriter(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	j := mustJournal(t, f, "screen")
	view, err := s.View(t.Context(), "rec-1", testKey()) // as another process has it
	if err != nil {
		t.Fatal(err)
	}
	var readers []recorder.JournalReader
	for _, from := range []recorder.Folder{f, view} {
		r, err := from.Read("screen", recorder.Position{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers = append(readers, r)
	}
	for n := 0; n < 3000; {
		appendNumbered(t, j, n, n+300, 700)
		mustSync(t, f)
		for _, r := range readers {
			numbers, damage := readNumbers(t, r)
			wantRange(t, numbers, n, n+300)
			if len(damage) > 0 {
				t.Fatal(damage)
			}
		}
		n += 300
	}
}

// TestBackground: without any call of Sync, records can be read after half a second and are synced within the second.
func TestBackground(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool(t, root, io.Discard)
		disk := &countingFile{}
		s.wrapFile = func(f *os.File) appendFile { disk.appendFile = f; return disk }
		f, err := s.Create(t.Context(), testHeader("rec-1"), testKey())
		if err != nil {
			t.Fatal(err)
		}
		j := mustJournal(t, f, "screen")
		appendNumbered(t, j, 0, 3, 100)
		if numbers, _ := readAll(t, f, "screen"); len(numbers) != 0 {
			t.Errorf("%d records were written one by one", len(numbers))
		}
		time.Sleep(syncEvery)
		synctest.Wait()
		numbers, _ := readAll(t, f, "screen")
		wantRange(t, numbers, 0, 3)
		if disk.writes != 1 || disk.syncs != 1 {
			t.Errorf("%d writes and %d fsyncs for one chunk", disk.writes, disk.syncs)
		}
		time.Sleep(10 * syncEvery)
		synctest.Wait()
		if disk.writes != 1 || disk.syncs != 1 {
			t.Errorf("a clean file was written %d and synced %d times", disk.writes, disk.syncs)
		}
		appendNumbered(t, j, 3, 203, 700) // more than two chunks
		synctest.Wait()
		if numbers, _ := readAll(t, f, "screen"); len(numbers) < 3+2*(chunkTarget/(700+recordHeader)) {
			t.Errorf("full chunks wait for the clock: %d records can be read", len(numbers))
		}
	})
}

// countingFile counts what reaches the disk. synctest.Wait orders its use.
type countingFile struct {
	appendFile
	writes, syncs int
}

func (c *countingFile) WriteAt(p []byte, off int64) (int, error) {
	c.writes++
	return c.appendFile.WriteAt(p, off)
}

func (c *countingFile) Sync() error { c.syncs++; return c.appendFile.Sync() }

// failingFile fails on command. Its fields are guarded by the journal's own locks, and set before use.
type failingFile struct {
	appendFile
	writeErr, syncErr error
	short             int // bytes that a failing write leaves behind
}

func (d *failingFile) WriteAt(p []byte, off int64) (int, error) {
	if d.writeErr != nil {
		n, err := d.appendFile.WriteAt(p[:min(d.short, len(p))], off)
		return n, errors.Join(d.writeErr, err)
	}
	return d.appendFile.WriteAt(p, off)
}

func (d *failingFile) Sync() error {
	if d.syncErr != nil {
		return d.syncErr
	}
	return d.appendFile.Sync()
}

func TestDiskErrorsAreFinal(t *testing.T) {
	t.Parallel()
	full := error(&os.PathError{Op: "write", Err: unix.ENOSPC})
	tests := []struct {
		name     string
		fault    func(d *failingFile)
		min, max int // records that are there after reopening
	}{
		{"write fails", func(d *failingFile) { d.writeErr = full }, 5, 5},
		{"write is short", func(d *failingFile) { d.writeErr, d.short = full, 100 }, 5, 5},
		{"fsync fails", func(d *failingFile) { d.syncErr = full }, 5, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log logBuffer
			s, err := New(Config{Root: t.TempDir(), MinFreeBytes: 1}, testLogger(&log))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			disk := &failingFile{}
			s.wrapFile = func(f *os.File) appendFile { disk.appendFile = f; return disk }
			f, err := s.Create(t.Context(), testHeader("rec-1"), testKey())
			if err != nil {
				t.Fatal(err)
			}
			j := mustJournal(t, f, "screen").(*journal)
			appendNumbered(t, j, 0, 5, 100)
			mustSync(t, f)
			j.sync.Lock()
			j.io.Lock()
			tt.fault(disk)
			j.io.Unlock()
			j.sync.Unlock()
			if err := j.Append(numbered(5, 100)); err != nil {
				t.Fatal(err)
			}
			for n := 6; n < 10; n++ {
				if err := j.Append(numbered(n, 100)); err != nil && !errors.Is(err, full) {
					t.Fatal(err)
				}
			}
			if err := f.Sync(); !errors.Is(err, full) {
				t.Fatalf("Sync: %v", err)
			}
			j.sync.Lock()
			j.io.Lock()
			disk.writeErr, disk.syncErr = nil, nil
			j.io.Unlock()
			j.sync.Unlock()
			if err := j.Append(numbered(10, 100)); !errors.Is(err, full) || !strings.Contains(err.Error(), "rec-1") {
				t.Errorf("Append after the disk recovered: %v", err)
			} else if failed, is := errors.AsType[*recorder.DiskError](err); !is || !errors.Is(err, recorder.ErrSpoolFull) || !failed.Since.Equal(numbered(5, 0).At) {
				t.Errorf("the error does not say that the disk is full, or what is lost since: %#v", err)
			}
			if err := f.Sync(); !errors.Is(err, full) {
				t.Errorf("second Sync: %v", err)
			}
			if err := j.Close(); !errors.Is(err, full) {
				t.Errorf("Close: %v", err)
			}
			if got := strings.Count(log.String(), "spool journal failed"); got != 1 {
				t.Errorf("logged %d times", got)
			}
			again := mustJournal(t, f, "screen")
			numbers, _ := readAll(t, f, "screen")
			if len(numbers) < tt.min || len(numbers) > tt.max {
				t.Errorf("%d records left, want %d to %d", len(numbers), tt.min, tt.max)
			}
			wantRange(t, numbers, 0, len(numbers))
			appendNumbered(t, again, len(numbers), 20, 100)
			mustSync(t, f)
			numbers, damage := readAll(t, f, "screen")
			wantRange(t, numbers, 0, 20)
			if len(damage) > 0 {
				t.Error(damage)
			}
		})
	}
}

// TestSlowDisk: while the disk stands still, Append goes on from memory.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	s := newSpool(t, t.TempDir(), io.Discard)
	gate := make(chan struct{})
	s.wrapFile = func(f *os.File) appendFile { return &gatedFile{appendFile: f, gate: gate} }
	f, err := s.Create(t.Context(), testHeader("rec-1"), testKey())
	if err != nil {
		t.Fatal(err)
	}
	j := mustJournal(t, f, "screen")
	const records = (maxQueued - 2) * (chunkTarget / (1200 + recordHeader)) // just below what makes Append wait
	appendNumbered(t, j, 0, records, 1200)
	close(gate)
	mustSync(t, f)
	numbers, _ := readAll(t, f, "screen")
	wantRange(t, numbers, 0, records)
}

type gatedFile struct {
	appendFile
	gate chan struct{}
}

func (g *gatedFile) WriteAt(p []byte, off int64) (int, error) {
	<-g.gate
	return g.appendFile.WriteAt(p, off)
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	_, f := newFolder(t)
	var js []recorder.Journal
	for i := range 4 {
		js = append(js, mustJournal(t, f, fmt.Sprint("track-", i)))
	}
	done := make(chan error)
	for _, j := range js {
		go func() {
			for n := range 2000 {
				if err := j.Append(numbered(n, 300)); err != nil {
					done <- err
					return
				}
			}
			done <- j.Close()
		}()
	}
	go func() {
		var errs []error
		for range 20 {
			errs = append(errs, f.Sync())
		}
		done <- errors.Join(errs...)
	}()
	for range len(js) + 1 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i := range js {
		numbers, _ := readAll(t, f, fmt.Sprint("track-", i))
		wantRange(t, numbers, 0, 2000)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	_, f := newFolder(t)
	j := mustJournal(t, f, "screen")
	rec := numbered(1, 1200)
	if n := testing.AllocsPerRun(5000, func() {
		if err := j.Append(rec); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations per record", n)
	}
}

func TestJournalHasOneWriter(t *testing.T) {
	t.Parallel()
	_, f := newFolder(t)
	j := mustJournal(t, f, "screen")
	if _, err := f.Journal("screen"); !errors.Is(err, ErrJournalOpen) {
		t.Errorf("second writer: %v", err)
	}
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Error(err)
	}
	if err := j.Append(numbered(0, 10)); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	mustJournal(t, f, "screen")
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	if _, err := f.Journal("screen"); !errors.Is(err, ErrClosed) {
		t.Errorf("Journal after Close: %v", err)
	}
	if _, err := f.Read("screen", recorder.Position{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}

func TestBadPositions(t *testing.T) {
	t.Parallel()
	_, f := newFolder(t)
	j := mustJournal(t, f, "screen")
	appendNumbered(t, j, 0, 10, 100)
	mustSync(t, f)
	for _, pos := range []recorder.Position{{Offset: -1}, {Offset: 5}, {Offset: 1 << 40}, {Offset: journalHeader, Index: -1}, {Index: 3}} {
		if _, err := f.Read("screen", pos); !errors.Is(err, ErrPosition) {
			t.Errorf("%v: %v", pos, err)
		}
	}
	r, err := f.Read("screen", recorder.Position{Offset: journalHeader, Index: 11})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, _, err := r.Next(); !errors.Is(err, ErrPosition) {
		t.Errorf("record 11 of 10: %v", err)
	}
	if _, err := f.Read("webcam", recorder.Position{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing journal: %v", err)
	}
}

// TestNoNonceTwice opens a journal again and again, with torn tails in between, and looks at all chunks that ever were on the disk.
func TestNoNonceTwice(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	path := filepath.Join(s.cfg.Root, "rec-1", "screen.journal")
	seen := map[string][]byte{} // generation and index → ciphertext
	kept := 0
	for round := range 12 {
		j := mustJournal(t, f, "screen")
		for range 3 {
			appendNumbered(t, j, kept, kept+2, 50)
			mustSync(t, f)
			kept += 2
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(journalHeader); off < int64(len(file)); {
			h, ok := parseChunkHead(file[off:])
			if !ok {
				t.Fatalf("round %d: no chunk at %d", round, off)
			}
			id := fmt.Sprint(h.generation, h.index)
			chunk := file[off : off+h.size()]
			if old, ok := seen[id]; ok && !bytes.Equal(old, chunk) {
				t.Fatalf("round %d: generation and index of the chunk at %d sealed another one before", round, off)
			}
			seen[id] = bytes.Clone(chunk)
			off += h.size()
		}
		cut := round * 31 % 120
		if err := os.Truncate(path, int64(len(file)-cut)); err != nil {
			t.Fatal(err)
		}
		f = openFolder(t, s, "rec-1")
		numbers, damage := readAll(t, f, "screen")
		kept = len(numbers)
		wantRange(t, numbers, 0, kept)
		if len(damage) > 0 {
			t.Fatal(damage)
		}
	}
}

func TestNothingReadableOnDisk(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	const secret = "4111 1111 1111 1111 spoken by the customer"
	j := mustJournal(t, f, "screen")
	for range 100 {
		if err := j.Append(recorder.Record{At: epoch, Kind: recorder.PacketRTP, Data: []byte(secret)}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := f.Create("video.mp4")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, strings.Repeat(secret, 5000)); err != nil {
		t.Fatal(err)
	}
	mustSync(t, f)
	files := 0
	err = filepath.WalkDir(s.cfg.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		raw, err := os.ReadFile(path)
		if bytes.Contains(raw, []byte(secret[:16])) || bytes.Contains(raw, bytes.Repeat([]byte{0x5A}, 16)) {
			t.Errorf("%s shows plaintext or key", path)
		}
		if info, _ := d.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || files < 4 {
		t.Errorf("%d files, %v", files, err)
	}
	w.Abort()
}

// fixedJournal is a journal file of three chunks with five records each, in the generation 00 01 … 0f.
func fixedJournal(t testing.TB) (file []byte, keys *journalKeys) {
	t.Helper()
	_, f := newFolder(t)
	j := mustJournal(t, f, "screen").(*journal)
	keys, err := newJournalKeys(testKey(), "rec-1", "screen")
	if err != nil {
		t.Fatal(err)
	}
	for i := range j.gen {
		j.gen[i] = byte(i)
	}
	if j.aead, err = keys.aead(j.gen); err != nil {
		t.Fatal(err)
	}
	for chunk := range 3 {
		appendNumbered(t, j, chunk*5, chunk*5+5, 20)
		if err := j.flushAndSync(); err != nil {
			t.Fatal(err)
		}
	}
	file, err = os.ReadFile(f.(*folder).journalPath("screen"))
	if err != nil {
		t.Fatal(err)
	}
	return file, keys
}

func TestKnownAnswer(t *testing.T) {
	t.Parallel()
	file, _ := fixedJournal(t)
	const path = "testdata/journal.hex"
	if *update {
		if err := os.WriteFile(path, []byte(hex.EncodeToString(file)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(file) != strings.TrimSpace(string(want)) {
		t.Error("the format changed: journals that exist could not be read any more")
	}
	if err := independentRead(file); err != nil {
		t.Errorf("a reader written from the spec alone: %v", err)
	}
}

// independentRead is written from docs/formats/spool.md with the standard library alone.
func independentRead(file []byte) error {
	dek := bytes.Repeat([]byte{0x5A}, kms.KeySize)
	key, err := hkdf.Key(sha256.New, dek, nil, "dualrec/file/v1\x00journal\x00rec-1/screen", 32)
	if err != nil {
		return err
	}
	if string(file[:9]) != "DUALRECJ\x01" {
		return errors.New("magic")
	}
	var previous [16]byte
	n := 0
	for index, rest := uint64(0), file[32:]; len(rest) > 0; index++ {
		length := binary.LittleEndian.Uint32(rest[68:])
		if string(rest[:8]) != "\xd7DRJ1\r\n\x1a" || binary.LittleEndian.Uint64(rest[24:]) != index || !bytes.Equal(rest[32:48], previous[:]) {
			return fmt.Errorf("header of chunk %d", index)
		}
		chunkKey, err := hkdf.Key(sha256.New, key, rest[8:24], "dualrec/journal-chunk/v1\x00", 32)
		if err != nil {
			return err
		}
		block, err := aes.NewCipher(chunkKey)
		if err != nil {
			return err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return err
		}
		nonce := binary.LittleEndian.AppendUint64(make([]byte, 4), index)
		plain, err := aead.Open(nil, nonce, rest[72:72+length+16], []byte(string(rest[:72])+"rec-1/screen"))
		if err != nil {
			return err
		}
		copy(previous[:], rest[72+length:])
		rest = rest[72+length+16:]
		for len(plain) > 0 {
			size := int(binary.LittleEndian.Uint16(plain))
			at := time.Unix(0, int64(binary.LittleEndian.Uint64(plain[3:]))).UTC()
			got, err := checkNumbered(recorder.Record{At: at, Kind: recorder.PacketKind(plain[2]), Data: plain[11 : 11+size]})
			if err != nil || got != n {
				return fmt.Errorf("record %d is %d, %w", n, got, err)
			}
			plain = plain[11+size:]
			n++
		}
	}
	if n != 15 {
		return fmt.Errorf("%d records", n)
	}
	return nil
}
