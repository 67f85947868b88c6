package cli

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownGroup makes a command the leader of its own group, in the foreground of the terminal if that is wanted, and lets it
// die with the thread that starts it.
func ownGroup(foreground bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Foreground: foreground, Ctty: int(os.Stdin.Fd()), Pdeathsig: syscall.SIGKILL}
}

// takeTerminal puts this program's group back into the foreground.
func takeTerminal(was bool) {
	if was {
		_ = unix.IoctlSetPointerInt(int(os.Stdin.Fd()), unix.TIOCSPGRP, unix.Getpgrp()) // else the shell does it
	}
}
