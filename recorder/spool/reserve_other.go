//go:build !linux

package spool

import (
	"errors"
	"os"
)

// allocate is for Linux only.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
