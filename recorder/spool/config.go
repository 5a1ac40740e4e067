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
	ReserveBytes int64  // kept allocated for when the disk is full (see reserve.go); 0: none
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
	if c.ReserveBytes < 0 {
		errs = append(errs, fmt.Errorf("spool reserve bytes: %d is negative: use 0 for none", c.ReserveBytes))
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

// Usage implements recorder.DiskMeter: it asks the file system what is free for this user, and adds the spool's own count.
func (s *Spool) Usage() (recorder.DiskUsage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.cfg.Root, &st); err != nil {
		return recorder.DiskUsage{}, fmt.Errorf("spool: free space of %s: %w", s.cfg.Root, err)
	}
	return recorder.DiskUsage{Used: s.used.Load(), Max: s.cfg.MaxBytes, Free: int64(st.Bavail)*int64(st.Bsize) - s.reserve.lacks()}, nil
}

func (s *Spool) checkRoom() error {
	u, err := s.Usage()
	if err != nil {
		return err
	}
	if u.Max > 0 && u.Used >= u.Max || u.Free < s.cfg.MinFreeBytes {
		return fmt.Errorf("%w (used %d of %d bytes, 0 = no limit; free %d, at least %d)", recorder.ErrSpoolFull, u.Used, u.Max, u.Free, s.cfg.MinFreeBytes)
	}
	return nil
}

// folderBytes adds up the files below a folder. What vanishes meanwhile does not count.
func folderBytes(root string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != reserveName {
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
