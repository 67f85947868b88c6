package lifecycle

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/lifecycle/proc"
)

// reapDead reaps the dead among the orphans, whenever a child has died.
func (o *Orphans) reapDead() {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	o.done.Go(func() {
		defer signal.Stop(died)
		for {
			select {
			case <-o.stop:
				return
			case <-died:
				family.orphans(func(int) {})
			}
		}
	})
}

// orphans reaps the dead strangers among our children and calls do for the living ones. It reports whether the list has to
// be read again: any was reaped, and what that one left behind may have become ours after the list was read; or it could
// not be read now.
func (k *kin) orphans(do func(pid int)) (stale bool) {
	if pids, err := proc.Adopted(); err == nil && len(pids) == 0 {
		return false // nearly always: nobody has to wait for the lock
	}
	// Under the lock nobody is reaped but here: the list may only grow while it is read, and misses nobody that was on it.
	k.starting.Lock()
	defer k.starting.Unlock()
	pids, err := proc.Adopted()
	if err != nil {
		return proc.Passing(err) // without a process table groups are all that can be contained
	}
	for _, pid := range pids {
		if k.isKnown(pid) {
			continue
		}
		if reaped(pid) {
			delete(k.condemned, pid)
			delete(k.blank, pid)
			stale = true
			continue
		}
		do(pid)
	}
	return stale
}

// reaped reaps an orphan if it is dead.
func reaped(pid int) bool {
	got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	return got == pid || err != nil // an error: it is no child any more
}

// sweeps is how often clear looks again before it lets others go on. A process that does nothing but start its successor
// and exit is hit by one of the first few.
const (
	sweeps    = 16
	fewSweeps = 4
)

// clear kills what a child left behind, and what is nobody's. With an empty mark it kills all orphans. It reports whether
// there was nothing of that kind any more.
func (k *kin) clear(mark string) bool {
	if !k.adopting() {
		return true
	}
	for i := range sweeps {
		found := false
		var roots []int
		stale := k.orphans(func(pid int) {
			whose := toKill
			if mark != "" {
				whose = k.whose(pid, mark)
			}
			found = found || whose == undecided
			if whose == toKill && k.killOrphan(pid) {
				k.condemned[pid] = mark
				found = true
				roots = append(roots, pid)
			}
		})
		if i >= fewSweeps {
			// Not a few processes but a line of them, each of which becomes ours when the one above it dies. It is killed at
			// once, or it might grow faster.
			for _, s := range proc.Below(roots) {
				_ = proc.Kill(s) // it may be gone
			}
		}
		if !found && !stale {
			return true
		}
	}
	return false
}

// claim is what the end of a child means for an orphan.
type claim int

const (
	theirs    claim = iota // it is another child's, which lives
	toKill                 // it is the child's, or nobody's
	undecided              // it cannot be told now, but soon
)

// mostUndecided is how long an orphan may be undecided: longer than any program takes to begin, and shorter than a job's
// end may take.
const mostUndecided = 3 * time.Second

// whose says whether an orphan is the child's that has this mark, or nobody's. One that is nobody's and does not die is
// waited for after the end of one child, not of all that end later.
//
// While a process begins a new program it shows no environment, for microseconds as a rule, and for many milliseconds where
// there are too few processors or the program comes from a slow disk. It may be a living child's.
func (k *kin) whose(pid int, mark string) claim {
	its, empty, err := proc.Env(pid, MarkVariable)
	if proc.Passing(err) {
		return undecided
	}
	after, killed := k.condemned[pid]
	if empty && !killed && !proc.Bare(pid) {
		since, again := k.blank[pid]
		if !again {
			since = time.Now()
			k.blank[pid] = since
		}
		if time.Since(since) < mostUndecided {
			return undecided
		}
	} else {
		delete(k.blank, pid)
	}
	if err == nil && its == mark {
		return toKill
	}
	if (err != nil || its == "" || !k.lives(its)) && (!killed || after == mark) {
		return toKill
	}
	return theirs
}

// killOrphan kills an orphan and its group; false when it may not be killed (another user's, by a set-uid bit). Its number
// is its own until it is reaped, and its group's as long as it is in it; a group that one of our children leads belongs to
// that one, and our own is not meant either.
func (k *kin) killOrphan(pid int) bool {
	if unix.Kill(pid, unix.SIGKILL) != nil {
		return false
	}
	if pgid, err := unix.Getpgid(pid); err == nil && pgid > 1 && pgid != unix.Getpgrp() && !k.isKnown(pgid) {
		_ = unix.Kill(-pgid, unix.SIGKILL)
	}
	return true
}
