//go:build !linux

package e2e

import "syscall"

// lives says whether a process is there.
func lives(pid int) bool { return syscall.Kill(pid, 0) == nil }
