package fs

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache asks the kernel to forget the file's clean pages. It is advice: without it the read-back still compares,
// only with pages that may never have left memory.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
