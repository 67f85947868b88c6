package lifecycle

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// macOS is for trying things out: there is no signal at the parent's death there, and no process table to read.

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// waitExit waits until the child has exited and leaves it unreaped. (waitid on macOS returns for stopped children too.)
func waitExit(pid int) {
	queue, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer unix.Close(queue)
	var change unix.Kevent_t
	unix.SetKevent(&change, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	change.Fflags = unix.NOTE_EXIT
	events := make([]unix.Kevent_t, 1)
	for {
		_, err := unix.Kevent(queue, []unix.Kevent_t{change}, events, nil)
		if !errors.Is(err, unix.EINTR) {
			return // it exited, or had exited before
		}
	}
}

func hasExited(int) bool { return false }

// onlyZombies: a group in which only dead processes are left answers EPERM on macOS, whoever asks.
func onlyZombies(pgid int) bool { return errors.Is(syscall.Kill(-pgid, 0), syscall.EPERM) }

func unread(*os.File) int64 { return 0 }

func rssBytes(int) int64 { return 0 }

func signalName(s syscall.Signal) string { return unix.SignalName(s) }
