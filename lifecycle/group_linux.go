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

// waitExit waits until the child has exited and leaves it unreaped; also when there is no such child, because somebody else
// reaped it.
func waitExit(pid int) {
	if waitPolled(pid) {
		return
	}
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// waitPolled waits by a descriptor, as for a pipe. A wait in the kernel would cost a thread for each child, and when the
// process table is full and another thread cannot be had, the Go runtime ends the whole process. It is false on a kernel
// before 5.10, and when descriptors have run out.
func waitPolled(pid int) bool {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), "child")
	defer f.Close()
	raw, err := f.SyscallConn()
	return err == nil && raw.Read(func(uintptr) bool { return hasExited(pid) }) == nil
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
