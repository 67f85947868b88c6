package proc

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Read says who a process is. The error is fs.ErrNotExist when there is none, or none that may be seen.
func Read(pid int) (Stat, error) {
	text, err := os.ReadFile(path(pid, "stat"))
	if err != nil {
		if errors.Is(err, unix.ESRCH) { // it ended between opening and reading
			err = fs.ErrNotExist
		}
		return Stat{}, err
	}
	s, ok := Parse(text)
	if !ok {
		return Stat{}, fs.ErrInvalid
	}
	return s, nil
}

// Is reports whether a process is still the one that started then.
func Is(pid int, start uint64) bool {
	s, err := Read(pid)
	return err == nil && s.Start == start
}

// All lists the processes that may be seen.
func All() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Each calls do for every process that may be seen. An error says that not every one was.
func Each(do func(Stat)) error {
	pids, err := All()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		s, err := Read(pid)
		switch {
		case err == nil:
			do(s)
		case Passing(err):
			return err
		}
	}
	return nil
}

// Children lists the own children, dead ones that are not reaped included.
func Children() ([]int, error) {
	self := os.Getpid()
	threads, err := os.ReadDir(path(self, "task"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, t := range threads {
		more, err := childrenOf(self, t.Name())
		if errors.Is(err, fs.ErrNotExist) {
			if t.Name() == strconv.Itoa(self) {
				return scan(self) // this kernel does not list children
			}
			continue // a thread that has ended
		}
		if err != nil {
			return nil, err
		}
		pids = append(pids, more...)
	}
	return pids, nil
}

// Adopted lists the children that became ours because their parents died, and may list others of ours with them. The
// kernel gives orphans to the first thread of a process; what other threads have started is not listed. That is one
// short file to read.
func Adopted() ([]int, error) {
	self := os.Getpid()
	pids, err := childrenOf(self, strconv.Itoa(self))
	if errors.Is(err, fs.ErrNotExist) {
		return scan(self)
	}
	return pids, err
}

func childrenOf(pid int, thread string) ([]int, error) {
	text, err := os.ReadFile(path(pid, "task/"+thread+"/children"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range bytes.Fields(text) {
		if pid, err := strconv.Atoi(string(field)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func scan(parent int) ([]int, error) {
	var pids []int
	err := Each(func(s Stat) {
		if s.PPID == parent {
			pids = append(pids, s.PID)
		}
	})
	return pids, err
}

// Below lists the processes below others: their children, their children's children, and so on.
func Below(roots []int) []Stat {
	children := map[int][]Stat{}
	if Each(func(s Stat) { children[s.PPID] = append(children[s.PPID], s) }) != nil {
		return nil
	}
	var below []Stat
	for _, root := range roots {
		below = append(below, children[root]...)
		delete(children, root)
	}
	for i := 0; i < len(below); i++ {
		pid := below[i].PID
		below = append(below, children[pid]...)
		delete(children, pid)
	}
	return below
}

// Kill sends SIGKILL to a process that need not be the own child, and to nobody else: it is held by a descriptor before it
// is looked at again. An error says that it was not sent: the process is gone, may not be killed, or the kernel is older
// than 5.3.
func Kill(s Stat) error {
	fd, err := unix.PidfdOpen(s.PID, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // it was only a handle
	if !Is(s.PID, s.Start) {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}

// Env reads a variable of the environment that a process was started with. It is "" when it has none of that name.
// The error says that it may not be read; empty says that the process has no environment at all, which is also what it
// looks like for a moment while it executes a new program.
func Env(pid int, name string) (value string, empty bool, err error) {
	text, err := atOnce(func() (io.ReadCloser, error) { return os.Open(path(pid, "environ")) })
	if err != nil {
		return "", false, err
	}
	if len(text) == 0 {
		return "", true, nil
	}
	for entry := range strings.SplitSeq(string(text), "\x00") {
		if key, v, ok := strings.Cut(entry, "="); ok && key == name {
			return v, false, nil
		}
	}
	return "", false, nil
}

// atOnce reads a file with one call. What several calls read of a process that begins another program between them is the
// beginning of its old environment, and then nothing: as if that had ended there.
func atOnce(open func() (io.ReadCloser, error)) ([]byte, error) {
	for size := 16 << 10; ; size *= 4 {
		f, err := open()
		if err != nil {
			return nil, err
		}
		text := make([]byte, size)
		n, err := f.Read(text)
		_ = f.Close() // nothing was written
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if n < size {
			return text[:n], nil
		}
	}
}

// Bare reports whether a process runs a program that was started without any environment. It is false as well for one that
// is about to execute a program, that is ending, or that may not be looked at.
func Bare(pid int) bool {
	text, err := os.ReadFile(path(pid, "stat"))
	if err != nil {
		return false
	}
	// One file says all of it: what is put together from two may be of two programs.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 49 {
		return false
	}
	at := func(field int) uint64 { // by its number in proc(5)
		n, _ := strconv.ParseUint(string(fields[field-3]), 10, 64) // the kernel writes numbers
		return n
	}
	codeEnd, envStart, envEnd := at(27), at(50), at(51)
	// The kernel notes where the code of a program ends after all that it notes of the environment (load_elf_binary), and
	// writes it into this file before. Without it, a program that begins has an empty environment for a moment.
	return codeEnd != 0 && envStart != 0 && envStart == envEnd
}

// Args is the command line of a process, nil when it cannot be read.
func Args(pid int) []string {
	text, err := os.ReadFile(path(pid, "cmdline"))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

// Signals are the signals, as bits from 0 for signal 1, that a process catches and that its first thread blocks.
func Signals(pid int) (caught, blocked uint64, err error) {
	text, err := os.ReadFile(path(pid, "status"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		mask, _ := strconv.ParseUint(strings.TrimSpace(value), 16, 64) // of other lines it is no number, and not used
		switch key {
		case "SigCgt":
			caught = mask
		case "SigBlk":
			blocked = mask
		}
	}
	return caught, blocked, nil
}

// Namespace is a number for the pid namespace of a process: pids mean the same in the same one only.
func Namespace(pid int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path(pid, "ns/pid"), &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// AdoptOrphans makes this process the parent of whatever its descendants leave behind when they die. It stays so.
func AdoptOrphans() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// SetName sets the name under which the own process is listed and found by name, at most 15 bytes.
func SetName(name string) error {
	return os.WriteFile("/proc/self/comm", []byte(name), 0o644)
}

func path(pid int, file string) string { return "/proc/" + strconv.Itoa(pid) + "/" + file }
