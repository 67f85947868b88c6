package lifecycle

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MarkVariable is the environment variable that every child carries, and whatever it spawns with it: the instance of
// workerd that started it, a dot, and the child's number in that instance.
const MarkVariable = "SERIATIM_CHILD"

// family tells the processes that were started here from the strangers that are our children too: orphans of jobs, which
// the kernel gives to us when their own parents die. There is one, because children belong to a process.
//
// A process that is in the table is waited for by whoever started it, and by nobody else: a status can be taken once. A
// child that is not in the table is a stranger; it may be killed and reaped by anyone who holds starting. So whoever
// starts a process, or reaps it, holds starting for reading until the table says so.
var family = &kin{known: map[int]string{}, condemned: map[int]string{}, blank: map[int]time.Time{}}

type kin struct {
	starting  sync.RWMutex
	condemned map[int]string    // by pid: orphans that were killed, and after whose end; guarded by starting
	blank     map[int]time.Time // by pid: since when an orphan shows no environment and may get one; guarded by starting

	mu       sync.Mutex
	known    map[int]string // by pid: its mark
	instance string         // "" as long as nobody adopts orphans
	last     uint64
}

// start starts a process in a way of the caller's and enters it. do gets its mark, "" for none.
func (k *kin) start(do func(mark string) (*os.Process, error)) (proc *os.Process, mark string, err error) {
	k.starting.RLock()
	defer k.starting.RUnlock()
	k.mu.Lock()
	if k.instance != "" {
		k.last++
		mark = k.instance + "." + strconv.FormatUint(k.last, 10)
	}
	k.mu.Unlock()
	if proc, err = do(mark); err != nil {
		return nil, "", err
	}
	k.mu.Lock()
	k.known[proc.Pid] = mark
	k.mu.Unlock()
	return proc, mark, nil
}

// reap takes a process's status in a way of the caller's and crosses it out.
func (k *kin) reap(pid int, do func()) {
	k.starting.RLock()
	defer k.starting.RUnlock()
	// The number is free as soon as do has returned, but whoever starts another process with it must not be crossed out.
	k.mu.Lock()
	mark := k.known[pid]
	k.mu.Unlock()
	do()
	k.mu.Lock()
	if k.known[pid] == mark {
		delete(k.known, pid)
	}
	k.mu.Unlock()
}

// isKnown reports whether a child was started here.
func (k *kin) isKnown(pid int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.known[pid]
	return ok
}

// lives reports whether the child with this mark is not reaped yet.
func (k *kin) lives(mark string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.known {
		if m == mark {
			return true
		}
	}
	return false
}

func (k *kin) adopting() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.instance != ""
}

// withMark replaces the mark in an environment: an inherited one is of a workerd that this one runs under.
func withMark(env []string, mark string) []string {
	if mark == "" {
		return env
	}
	marked := make([]string, 0, len(env)+1)
	for _, entry := range env {
		if !strings.HasPrefix(entry, MarkVariable+"=") {
			marked = append(marked, entry)
		}
	}
	return append(marked, MarkVariable+"="+mark)
}

// Spare runs a function that starts a process which is no job, such as a command that tells people of an alert, so that
// it is not taken for an orphan. wait has to be called to take its status, once. Any goroutine may call it.
func Spare(start func() (*os.Process, error)) (wait func() (*os.ProcessState, error), err error) {
	proc, _, err := family.start(func(string) (*os.Process, error) { return start() })
	if err != nil {
		return nil, err
	}
	return func() (state *os.ProcessState, err error) {
		waitExit(proc.Pid)
		family.reap(proc.Pid, func() { state, err = proc.Wait() })
		return state, err
	}, nil
}
