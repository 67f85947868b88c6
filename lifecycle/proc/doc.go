// Package proc reads the process table: who a process is, whose child it is, what it carries in its environment. It also
// says the few things about the own process that decide who inherits orphans, and under which name it is seen.
//
// Invariants: nothing here waits, and only Kill signals. A number (pid) alone names nobody for long: whoever keeps one
// keeps the start time with it and compares both before a signal, unless the process is the own child and not yet reaped.
//
// Failure: a process that is gone, or that may not be looked at, is an error or an empty answer, never a guess. Off
// Linux there is no table to read: everything answers ErrUnsupported or nothing.
package proc

import (
	"bytes"
	"errors"
	"strconv"
	"syscall"
)

// ErrUnsupported is the answer on a system without /proc.
var ErrUnsupported = errors.New("there is no process table to read on this system")

// Passing reports whether an error says nothing of a process, only that nobody can look now: too many files are open, or
// there is no memory. Who has to know has to ask again.
func Passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Stat is what the process table says about a process.
type Stat struct {
	PID, PPID, PGID, SID int
	// State is R, S, D, T, Z and so on.
	State   byte
	Threads int
	// Start is when it started, in clock ticks since the host started. With the pid it names a process for good.
	Start uint64
}

// Dead reports whether no code of the process can run any more. A process whose first thread has ended shows Z as well;
// it is dead only when that thread was the last one.
func (s Stat) Dead() bool { return (s.State == 'Z' || s.State == 'X') && s.Threads <= 1 }

// Parse reads the text of /proc/<pid>/stat; false when it is none.
func Parse(text []byte) (Stat, bool) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 1 || end < open {
		return Stat{}, false
	}
	// The name stands in parentheses and may hold anything, so fields are counted from the last one.
	fields := bytes.Fields(text[end+1:])
	if len(fields) < 20 {
		return Stat{}, false
	}
	number := func(b []byte) int {
		n, _ := strconv.Atoi(string(b)) // the kernel writes numbers
		return n
	}
	start, _ := strconv.ParseUint(string(fields[19]), 10, 64)
	return Stat{
		PID: number(bytes.TrimSpace(text[:open])), State: fields[0][0], PPID: number(fields[1]), PGID: number(fields[2]),
		SID: number(fields[3]), Threads: number(fields[17]), Start: start,
	}, true
}
