//go:build !linux

package fleet

import (
	"os/exec"
	"syscall"
)

func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// Leftovers cannot look into other processes here, and finds none.
func Leftovers(string) []int { return nil }
