package redistest

import "syscall"

// endWithParent ends a server even when the test binary dies without running
// its clean-up, as it does after a timeout.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
