package lifecycle

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/lifecycle/proc"
)

// ownGroup makes a child the leader of its own group, and lets it die with the thread that started it.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// waitExit waits until the child has exited and leaves it unreaped. An error means that there is no such child: somebody
// else reaped it.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// hasExited asks the same without waiting.
func hasExited(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	return err != nil || info.Signo != 0
}

// onlyZombies reads the process table: true when every member of the group is dead and waits to be reaped.
func onlyZombies(pgid int) bool {
	dead, living := 0, 0
	err := proc.Each(func(s proc.Stat) {
		switch {
		case s.PGID != pgid:
		case s.Dead():
			dead++
		default:
			living++
		}
	})
	// None at all: they cannot be seen (another user's, a hidden /proc). That shows nothing.
	return err == nil && living == 0 && dead > 0
}

// unread is how many bytes of a pipe nobody has read, asked at either end.
func unread(pipe *os.File) int64 {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	if raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) != nil || err != nil {
		return 0
	}
	return int64(n)
}

// rssBytes is the resident memory of one process, 0 when it cannot be read.
func rssBytes(pid int) int64 {
	statm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}

func signalName(s syscall.Signal) string { return unix.SignalName(s) }
