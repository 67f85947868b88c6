package memory

import (
	"errors"
	"syscall"
	"time"
)

// embryonic is how long a process may take to begin its program: it is a matter of microseconds, and of many
// milliseconds where there are too few processors.
const embryonic = time.Second

// twin reports whether a process is seen in its parent's memory: in the moment in which it is about to begin a program,
// after vfork, as most runtimes start one. The kernel shows the whole of that memory, undivided, for both of them. Where it
// does not say who shares (see sharesMemory), a process that has begun no program counts once it was there for a while.
func (r *Reader) twin(pid int) bool {
	m := r.members[pid]
	if m == nil || !m.embryo {
		return false
	}
	shares, err := r.shares(pid, m.parent)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return r.now().Sub(m.seen) < embryonic
	}
	return shares
}
