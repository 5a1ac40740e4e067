package compose

import "syscall"

// childAttributes puts a child into its own process group, so that all of it can be ended at once, and lets it die with
// the recorder.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
