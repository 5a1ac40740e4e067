//go:build !linux

package compose

import "syscall"

// childAttributes puts a child into its own process group. Only Linux can also let it die with the recorder.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
