package guardian

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// reap takes the status of every dead child, and never waits. It reports whether the engine was among them.
func (g *guardian) reap(engine int) (state syscall.WaitStatus, dead bool) {
	for {
		var st syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &st, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || pid <= 0:
			return state, dead
		case pid == engine:
			state, dead = st, true
		default:
			delete(g.spared, pid)
		}
	}
}

// killAll kills all children and whatever becomes one by that, until there are none. It returns how many could not be
// shown to be gone within the bound. The engine is reaped.
func (g *guardian) killAll() (left int) {
	end := clock.Boot() + killBound
	killed := map[int]bool{}
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		g.reap(0)
		left = 0
		children, err := proc.Children()
		if err != nil {
			left = 1 // nobody can be found without a process table; whether there is anybody the kernel still says
		}
		var roots []int
		for _, pid := range children {
			if !g.spares(pid) {
				left++
				killed[pid] = true
				killChild(pid)
				roots = append(roots, pid)
			}
		}
		if pause > time.Millisecond {
			// It takes long: perhaps a line of processes that grows while each one becomes ours when the one above it dies.
			for _, s := range proc.Below(roots) {
				_ = proc.Kill(s) // it may be gone
			}
		}
		if (left == 0 || err != nil) && g.childless() {
			left = 0
			break
		}
		if clock.Boot() >= end {
			break
		}
		time.Sleep(pause)
	}
	if len(killed) > 0 {
		g.event(Event{Kind: EventKilled, N: len(killed)})
	}
	return left
}

// childless asks the kernel, because a list that is read while it changes may miss some.
func (g *guardian) childless() bool {
	if len(g.spared) > 0 {
		children, err := proc.Children() // twice the same answer has to do
		if err != nil {
			return false
		}
		for _, pid := range children {
			if !g.spares(pid) {
				return false
			}
		}
		return true
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return errors.Is(err, unix.ECHILD)
}

func (g *guardian) spares(pid int) bool {
	start, ok := g.spared[pid]
	return ok && proc.Is(pid, start)
}

// killChild kills a child and its group. Its number is its own until it is reaped, and its group's as long as it is in it.
func killChild(pid int) {
	_ = unix.Kill(pid, unix.SIGKILL) // what may not be killed is counted as left
	if pgid, err := unix.Getpgid(pid); err == nil && pgid > 1 && pgid != unix.Getpgrp() {
		_ = unix.Kill(-pgid, unix.SIGKILL)
	}
}
