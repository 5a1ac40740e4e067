//go:build !linux

package fs

import "os"

// dropCache does nothing where the standard system calls have no such advice.
func dropCache(*os.File) {}
