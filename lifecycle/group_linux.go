package lifecycle

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
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
	dir, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false
	}
	zombies := 0
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		group, dead := readStat(stat)
		if group != pgid {
			continue
		}
		if !dead {
			return false
		}
		zombies++
	}
	// None at all: they cannot be seen (another user's, a hidden /proc). That shows nothing.
	return zombies > 0
}

// readStat takes the group out of /proc/<pid>/stat, and whether the process is dead. A process whose first thread has
// ended shows Z as well; it is dead only when that thread was the last one.
func readStat(stat []byte) (pgid int, dead bool) {
	// The name stands in parentheses and may hold anything, so fields are counted from the last one.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 18 {
		return 0, false
	}
	pgid, _ = strconv.Atoi(string(fields[2]))
	threads, _ := strconv.Atoi(string(fields[17]))
	state := fields[0][0]
	return pgid, (state == 'Z' || state == 'X') && threads <= 1
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
