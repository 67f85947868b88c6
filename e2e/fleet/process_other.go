//go:build !linux

package fleet

import (
	"os/exec"
	"syscall"
)

func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// Leftovers cannot look into other processes here, and finds none.
func Leftovers(string) []int { return nil }

// LeftoversUnder finds none either.
func LeftoversUnder(string) []int { return nil }

// KillTree kills the process alone here; its children see that and end.
func (p *Process) KillTree() error {
	p.Kill()
	return nil
}

// Lives says whether a process is there.
func Lives(pid int) bool { return syscall.Kill(pid, 0) == nil }
