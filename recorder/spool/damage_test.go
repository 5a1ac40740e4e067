package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dualrec/dualrec/recorder"
)

// memory reads a journal from memory.
func memory(t testing.TB, file []byte, keys *journalKeys, from recorder.Position) *reader {
	t.Helper()
	r, err := startReader(bytes.NewReader(file), func() (int64, error) { return int64(len(file)), nil }, func() error { return nil }, keys, "screen", from)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tailOf(t testing.TB, file []byte, keys *journalKeys) tail {
	t.Helper()
	c := &chunks{file: bytes.NewReader(file), keys: keys}
	got, err := c.findTail(int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestEveryTruncation cuts a journal at every byte: what remains readable and what recovery keeps are the whole chunks.
func TestEveryTruncation(t *testing.T) {
	t.Parallel()
	file, keys := fixedJournal(t)
	chunk := (len(file) - journalHeader) / 3
	for n := range len(file) + 1 {
		whole := max(n-journalHeader, 0) / chunk
		wantEnd := int64(journalHeader + whole*chunk)
		if n < journalHeader {
			wantEnd = 0
		}
		for _, filler := range [][]byte{nil, make([]byte, 200), append(make([]byte, 30), bytes.Repeat([]byte(chunkMagic), 3)...), file[:journalHeader+10]} {
			cut := append(bytes.Clone(file[:n]), filler...)
			if n >= journalHeader && n < len(file) && bytes.HasPrefix(cut, file[:journalHeader+(whole+1)*chunk]) {
				continue // the filler happens to complete the chunk
			}
			if n < journalHeader && bytes.HasPrefix(cut, file[:journalHeader]) {
				continue // the filler happens to complete the file header
			}
			if n == 8 && len(filler) > 0 && filler[0] > journalVersion {
				continue // this is a later version's header, which is refused
			}
			if got := tailOf(t, cut, keys); got.offset != wantEnd || got.index != uint64(whole) {
				t.Fatalf("cut at %d, filled with %d bytes: tail at %d after %d chunks, want %d after %d", n, len(filler), got.offset, got.index, wantEnd, whole)
			}
			numbers, damage := readNumbers(t, memory(t, cut, keys, recorder.Position{}))
			wantRange(t, numbers, 0, whole*5)
			if len(damage) > 0 {
				t.Fatalf("cut at %d: a torn tail was called damage: %v", n, damage)
			}
		}
	}
}

// TestEveryFlip changes each byte before the last chunk: exactly the chunk that it hits is lost, it is
// said so once, and recovery cuts nothing.
func TestEveryFlip(t *testing.T) {
	t.Parallel()
	file, keys := fixedJournal(t)
	chunk := (len(file) - journalHeader) / 3
	for at := range journalHeader + 2*chunk {
		flipped := bytes.Clone(file)
		flipped[at] ^= 1 << (at % 8)
		if got := tailOf(t, flipped, keys); got.offset != int64(len(file)) || got.index != 3 {
			t.Fatalf("flip at %d: recovery would cut at %d", at, got.offset)
		}
		numbers, damage := readNumbers(t, memory(t, flipped, keys, recorder.Position{}))
		want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
		start, lost := int64(0), int64(0)
		if at >= journalHeader {
			k := (at - journalHeader) / chunk
			want = slices.Delete(want, k*5, k*5+5)
			start, lost = int64(journalHeader+k*chunk), 1
		}
		if !slices.Equal(numbers, want) {
			t.Fatalf("flip at %d: read %v", at, numbers)
		}
		if len(damage) != 1 || damage[0].Offset != start || damage[0].Chunks != lost || !errors.Is(damage[0], recorder.ErrSpoolDamaged) {
			t.Fatalf("flip at %d: %v", at, damage)
		}
		if damage[0].After.IsZero() || !strings.Contains(damage[0].Error(), "journal screen") {
			t.Fatalf("flip at %d: no facts in %v", at, damage[0])
		}
	}
}

func TestRearrangedChunks(t *testing.T) {
	t.Parallel()
	file, keys := fixedJournal(t)
	size := (len(file) - journalHeader) / 3
	head := file[:journalHeader]
	c := func(i int) []byte { return file[journalHeader+i*size : journalHeader+(i+1)*size] }
	otherKeys, err := newJournalKeys(testKey(), "rec-2", "screen")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		file   []byte
		keys   *journalKeys
		chunks []int // that are read
		damage int
	}{
		{"whole", slices.Concat(head, c(0), c(1), c(2)), keys, []int{0, 1, 2}, 0},
		{"middle removed", slices.Concat(head, c(0), c(2)), keys, []int{0, 2}, 1},
		{"beginning removed", slices.Concat(head, c(1), c(2)), keys, []int{1, 2}, 1},
		{"swapped", slices.Concat(head, c(1), c(0), c(2)), keys, []int{1, 2}, 2},
		{"repeated", slices.Concat(head, c(0), c(0), c(1), c(2)), keys, []int{0, 1, 2}, 1},
		{"replayed at the end", slices.Concat(head, c(0), c(1), c(2), c(0)), keys, []int{0, 1, 2}, 0},
		{"noise between", slices.Concat(head, c(0), make([]byte, 77), c(1), c(2)), keys, []int{0, 1, 2}, 1},
		{"noise of a whole window between", slices.Concat(head, c(0), make([]byte, scanWindow+scanWindow/2), c(1), c(2)), keys, []int{0, 1, 2}, 1},
		{"magic across a window", slices.Concat(head, c(0), make([]byte, scanWindow-3), c(1), c(2)), keys, []int{0, 1, 2}, 1},
		{"header lost", slices.Concat(make([]byte, journalHeader), c(0), c(1), c(2)), keys, []int{0, 1, 2}, 1},
		{"another recording's", file, otherKeys, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			numbers, damage := readNumbers(t, memory(t, tt.file, tt.keys, recorder.Position{}))
			var got []int
			for i, n := range numbers {
				if i%5 == 0 {
					got = append(got, n/5)
				}
			}
			if !slices.Equal(got, tt.chunks) || len(damage) != tt.damage {
				t.Errorf("chunks %v, damage %v", got, damage)
			}
		})
	}
}

// TestLaterVersionIsNotCut: what a later dualrec wrote is refused, not taken for a torn tail.
func TestLaterVersionIsNotCut(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	path := filepath.Join(s.cfg.Root, "rec-1", "screen.journal")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	later := append([]byte(journalMagic+"\x02"), make([]byte, 1000)...)
	if err := os.WriteFile(path, later, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "rec-1", testKey()); !errors.Is(err, ErrVersion) {
		t.Errorf("Open: %v", err)
	}
	view, err := s.View(t.Context(), "rec-1", testKey())
	if err != nil {
		t.Fatal(err)
	}
	r, err := view.Read("screen", recorder.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, _, err := r.Next(); !errors.Is(err, ErrVersion) {
		t.Errorf("Next: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, later) {
		t.Errorf("the file was changed: %v", err)
	}
}

// badSector is a disk that cannot read some of its sectors.
type badSector struct {
	*bytes.Reader
	from, to int64
}

func (b *badSector) ReadAt(p []byte, off int64) (int, error) {
	if off < b.to && off+int64(len(p)) > b.from {
		return 0, fmt.Errorf("read: %w", unix.EIO)
	}
	return b.Reader.ReadAt(p, off)
}

func TestBadSectorCostsItsChunks(t *testing.T) {
	t.Parallel()
	_, f := newFolder(t)
	j := mustJournal(t, f, "screen")
	const total = 2000 // 1,200 bytes each: about 37 chunks
	appendNumbered(t, j, 0, total, 1200)
	mustSync(t, f)
	file, err := os.ReadFile(f.(*folder).journalPath("screen"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := newJournalKeys(testKey(), "rec-1", "screen")
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []int64{0, 100 * sector, 333 * sector} {
		disk := &badSector{bytes.NewReader(file), from, from + sector}
		r, err := startReader(disk, func() (int64, error) { return int64(len(file)), nil }, func() error { return nil }, keys, "screen", recorder.Position{})
		if err != nil {
			t.Fatal(err)
		}
		numbers, damage := readNumbers(t, r)
		const perChunk = chunkTarget / (1200 + recordHeader)
		if len(numbers) < total-2*perChunk || len(numbers) == total || len(damage) != 1 {
			t.Errorf("bad sector at %d: %d of %d records, damage %v", from, len(numbers), total, damage)
		}
		if !slices.IsSorted(numbers) {
			t.Error("records out of order")
		}
		c := &chunks{file: disk, keys: keys}
		if tail, err := c.findTail(int64(len(file))); err != nil || tail.offset != int64(len(file)) {
			t.Errorf("recovery would cut at %d: %v", tail.offset, err)
		}
	}
	broken := errors.New("transport endpoint is not connected")
	r, err := startReader(errReaderAt{broken}, func() (int64, error) { return 1000, nil }, func() error { return nil }, keys, "screen", recorder.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Next(); !errors.Is(err, broken) || errors.Is(err, recorder.ErrSpoolDamaged) {
		t.Errorf("an error that is not of a sector: %v", err)
	}
}

type errReaderAt struct{ err error }

func (e errReaderAt) ReadAt([]byte, int64) (int, error) { return 0, e.err }

func TestReaderOvertakesDamageWhileFollowing(t *testing.T) {
	t.Parallel()
	file, keys := fixedJournal(t)
	chunk := (len(file) - journalHeader) / 3
	torn := bytes.Clone(file)
	torn[journalHeader+chunk+90] ^= 1 // the second chunk
	size := int64(journalHeader)
	r, err := startReader(bytes.NewReader(torn), func() (int64, error) { return size, nil }, func() error { return nil }, keys, "screen", recorder.Position{})
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	var damage []*DamageError
	for ; size <= int64(len(file)); size++ { // the file grows byte by byte
		n, d := readNumbers(t, r)
		numbers, damage = append(numbers, n...), append(damage, d...)
	}
	if !slices.Equal(numbers, []int{0, 1, 2, 3, 4, 10, 11, 12, 13, 14}) || len(damage) != 1 || damage[0].Chunks != 1 {
		t.Errorf("read %v, damage %v", numbers, damage)
	}
}

func TestOpenCutsTheTailAndSaysSo(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var log logBuffer
	s := newSpool(t, root, &log)
	f, err := s.Create(t.Context(), testHeader("rec-1"), testKey())
	if err != nil {
		t.Fatal(err)
	}
	j := mustJournal(t, f, "screen")
	appendNumbered(t, j, 0, 50, 1000)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "rec-1", "screen.journal")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := s.used.Load()
	if err := os.WriteFile(path, append(bytes.Clone(good), chunkMagic+"torn"...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.used.Add(12)
	f = openFolder(t, s, "rec-1")
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, good) {
		t.Errorf("%d bytes where %d were good, %v", len(got), len(good), err)
	}
	if !strings.Contains(log.String(), "bytes=12") || !strings.Contains(log.String(), "recording_id=rec-1") {
		t.Errorf("log: %s", log.String())
	}
	if s.used.Load() != used {
		t.Errorf("used %d, want %d", s.used.Load(), used)
	}
	j = mustJournal(t, f, "screen")
	appendNumbered(t, j, 50, 60, 1000)
	mustSync(t, f)
	numbers, damage := readAll(t, f, "screen")
	wantRange(t, numbers, 0, 60)
	if len(damage) > 0 {
		t.Error(damage)
	}
}

func FuzzJournal(f *testing.F) {
	file, keys := fixedJournal(f)
	f.Add(file, uint16(0), byte(0))
	f.Add(file[:200], uint16(40), byte(1))
	f.Add([]byte(journalMagic), uint16(0), byte(0))
	f.Add(append(bytes.Clone(file), chunkMagic...), uint16(70), byte(0x80))
	f.Fuzz(func(t *testing.T, file []byte, at uint16, mask byte) {
		if len(file) > 0 {
			file = bytes.Clone(file)
			file[int(at)%len(file)] ^= mask
		}
		c := &chunks{file: bytes.NewReader(file), keys: keys}
		end, err := c.findTail(int64(len(file)))
		if err != nil && !errors.Is(err, ErrVersion) {
			t.Fatal(err)
		}
		if end.offset > int64(len(file)) {
			t.Fatalf("tail at %d of %d", end.offset, len(file))
		}
		last := -1
		r := memory(t, file, keys, recorder.Position{})
		for steps := 0; ; steps++ {
			rec, _, err := r.Next()
			if err == io.EOF || errors.Is(err, ErrVersion) {
				return
			}
			if steps > 10_000 {
				t.Fatal("no end")
			}
			if errors.Is(err, recorder.ErrSpoolDamaged) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			n, err := checkNumbered(rec)
			if err != nil || n <= last {
				t.Fatalf("record %d after %d: %v", n, last, err)
			}
			last = n
		}
	})
}

// FuzzRecords reads plaintext as if it had authenticated.
func FuzzRecords(f *testing.F) {
	f.Add(putRecord(putRecord(nil, numbered(1, 20)), numbered(2, 8)), uint32(2))
	f.Add([]byte{0xFF, 0xFF, 1}, uint32(1))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, plain []byte, count uint32) {
		if !wellFormed(plain, count) {
			return
		}
		var again []byte
		for rest := plain; len(rest) > 0; {
			rec, next, ok := cutRecord(rest)
			if !ok {
				t.Fatal("well-formed, yet not readable")
			}
			again = putRecord(again, rec)
			rest = next
		}
		if !bytes.Equal(again, plain) {
			t.Fatal("records do not survive the round trip")
		}
	})
}
