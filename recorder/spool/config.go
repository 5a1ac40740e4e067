package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dualrec/dualrec/recorder"
)

// DefaultMinFreeBytes is left to the file system unless the configuration says otherwise.
const DefaultMinFreeBytes = 2 << 30

// Config says where the spool is and how much room it may take.
type Config struct {
	Root         string // folder; it is made if needed
	MaxBytes     int64  // above this, no recording is started; 0: no limit
	MinFreeBytes int64  // with less free on the file system, no recording is started; 0: DefaultMinFreeBytes
}

// Validate returns every problem at once.
func (c Config) Validate() error {
	var errs []error
	if c.Root == "" {
		errs = append(errs, errors.New("spool root: name the folder that takes the spool"))
	}
	if c.MaxBytes < 0 {
		errs = append(errs, fmt.Errorf("spool max bytes: %d is negative: use 0 for no limit", c.MaxBytes))
	}
	if c.MinFreeBytes < 0 {
		errs = append(errs, fmt.Errorf("spool min free bytes: %d is negative: use 0 for the default of %d", c.MinFreeBytes, int64(DefaultMinFreeBytes)))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.MinFreeBytes == 0 {
		c.MinFreeBytes = DefaultMinFreeBytes
	}
	return c
}

// Usage says how full the spool is.
type Usage struct {
	UsedBytes    int64 // by the spool's files, as this process counts them
	MaxBytes     int64 // 0: no limit
	FreeBytes    int64 // on the file system, for this user
	TotalBytes   int64 // of the file system
	MinFreeBytes int64
}

// Full tells whether Create refuses.
func (u Usage) Full() bool {
	return (u.MaxBytes > 0 && u.UsedBytes >= u.MaxBytes) || u.FreeBytes < u.MinFreeBytes
}

// Usage asks the file system and adds the spool's own count.
func (s *Spool) Usage() (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.cfg.Root, &st); err != nil {
		return Usage{}, fmt.Errorf("spool: free space of %s: %w", s.cfg.Root, err)
	}
	return Usage{UsedBytes: s.used.Load(), MaxBytes: s.cfg.MaxBytes, MinFreeBytes: s.cfg.MinFreeBytes,
		FreeBytes: int64(st.Bavail) * int64(st.Bsize), TotalBytes: int64(st.Blocks) * int64(st.Bsize)}, nil
}

func (s *Spool) checkRoom() error {
	u, err := s.Usage()
	if err != nil {
		return err
	}
	if u.Full() {
		return fmt.Errorf("%w (used %d of %d bytes, 0 = no limit; free %d, at least %d)", recorder.ErrSpoolFull, u.UsedBytes, u.MaxBytes, u.FreeBytes, u.MinFreeBytes)
	}
	return nil
}

// folderBytes adds up the files below a folder. What vanishes meanwhile does not count.
func folderBytes(root string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				sum += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return sum, err
}

// fileBytes is a file's size, 0 if there is none.
func fileBytes(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
