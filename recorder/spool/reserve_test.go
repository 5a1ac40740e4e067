package spool

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReserve: it takes up room that is not counted as the spool's, gives it back at once, and is taken again.
func TestReserve(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	root := t.TempDir()
	path := filepath.Join(root, reserveName)
	if err := os.WriteFile(path, make([]byte, 2*size), 0o600); err != nil { // an earlier process kept more
		t.Fatal(err)
	}
	s, err := New(Config{Root: root, MinFreeBytes: 1, ReserveBytes: size}, testLogger(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return 0
		}
		return st.Blocks * 512
	}
	if s.reserve.lacks() != 0 {
		t.Skip("this file system cannot allocate room")
	}
	if got := blocks(); got < size || got > size+64<<10 {
		t.Errorf("the reserve takes %d bytes, want %d", got, size)
	}
	if u, err := s.Usage(); err != nil || u.Used != 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	for range 2 {
		if err := s.FreeReserve(); err != nil || blocks() != 0 || s.reserve.lacks() != size {
			t.Errorf("freed: %v, %d bytes are left, %d lack", err, blocks(), s.reserve.lacks())
		}
	}
	for range 2 {
		if err := s.KeepReserve(); err != nil || blocks() < size || s.reserve.lacks() != 0 {
			t.Errorf("kept again: %v, %d bytes", err, blocks())
		}
	}
}

func TestNoReserve(t *testing.T) {
	t.Parallel()
	s := newSpool(t, t.TempDir(), io.Discard)
	if err := s.KeepReserve(); err != nil || s.reserve.lacks() != 0 {
		t.Errorf("%v, %d lack", err, s.reserve.lacks())
	}
	if _, err := os.Stat(s.reserve.path); err == nil {
		t.Error("there is a reserve")
	}
	if (Config{Root: "x", ReserveBytes: -1}).Validate() == nil {
		t.Error("a negative reserve is accepted")
	}
}
