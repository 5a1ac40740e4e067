package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate takes up room without writing it. A file system that cannot do that has no reserve: zeros that were written
// might be compressed or shared.
func allocate(f *os.File, size int64) error {
	for {
		if err := unix.Fallocate(int(f.Fd()), 0, 0, size); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
