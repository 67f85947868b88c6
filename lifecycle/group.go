package lifecycle

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// group is a process group that we started: a leader, our child, and whatever it spawns without leaving the group. What
// left it is killed after it, if this process adopts orphans.
//
//	running ──leader exits──▶ group killed, leader reaped (exited) ──no member, no orphan left──▶ gone
//	   └── TERM, after a grace KILL ──▶ leader exits
//
// Signals go to the whole group and only while the leader is not reaped: until then its number cannot be another's.
// mu makes "check and signal" one step against the reaping. overdue is closed when the group is not gone within wait of
// the KILL or of its leader's exit; it may still go later. One goroutine (watch) ends by itself when the group is gone.
type group struct {
	pid  int
	mark string // of what it leaves behind
	proc *os.Process
	wait time.Duration

	mu        sync.Mutex
	reaped    bool
	ending    bool
	killAt    time.Time // with killTimer
	killTimer *time.Timer
	overTimer *time.Timer

	exited  chan struct{} // closed when state may be read
	gone    chan struct{} // closed when the group was seen to be empty
	overdue chan struct{}
	state   *os.ProcessState // nil when somebody else took the status
}

// watchGroup takes over a process that leads its own group.
func watchGroup(proc *os.Process, mark string, wait time.Duration) *group {
	g := &group{
		pid: proc.Pid, mark: mark, proc: proc, wait: wait,
		exited: make(chan struct{}), gone: make(chan struct{}), overdue: make(chan struct{}),
	}
	go g.watch()
	return g
}

func (g *group) watch() {
	waitExit(g.pid)
	g.mu.Lock()
	_ = syscall.Kill(-g.pid, syscall.SIGKILL) // the leader is not reaped: the number is still ours
	family.reap(g.pid, func() { g.state, _ = g.proc.Wait() })
	g.reaped = true
	if g.killTimer != nil {
		g.killTimer.Stop()
	}
	close(g.exited)
	g.startOverdue()
	g.mu.Unlock()

	// The killed members are reaped by whoever inherited them; that takes a moment. Only then all that the group leaves
	// behind has become an orphan.
	for pause := 100 * time.Microsecond; !g.isEmpty(pause > 5*time.Millisecond); pause = min(2*pause, g.longestPause()) {
		time.Sleep(pause)
	}
	g.mu.Lock()
	g.overTimer.Stop()
	g.mu.Unlock()
	close(g.gone)
}

// isEmpty reports whether nothing of the group, and nothing that it left behind, can still run.
func (g *group) isEmpty(zombies bool) bool {
	return groupIsEmpty(g.pid, zombies) && (g.mark == "" || family.clear(g.mark))
}

// longestPause is short while somebody waits for the answer, and long when all have given up.
func (g *group) longestPause() time.Duration {
	select {
	case <-g.overdue:
		return time.Second
	default:
		return 20 * time.Millisecond
	}
}

// startOverdue starts the clock of overdue; mu is held.
func (g *group) startOverdue() {
	if g.overTimer == nil {
		g.overTimer = time.AfterFunc(g.wait, func() { close(g.overdue) })
	}
}

// terminate sends TERM to the group now and KILL after a grace. Another call can only shorten the grace. A stopped process
// gets its TERM by the CONT.
func (g *group) terminate(grace time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	due := time.Now().Add(grace)
	if g.reaped {
		return
	}
	if g.ending {
		if g.killTimer != nil && due.Before(g.killAt) && g.killTimer.Stop() {
			g.killAt = due
			g.killTimer.Reset(grace)
		}
		return
	}
	g.ending, g.killAt = true, due
	_ = syscall.Kill(-g.pid, syscall.SIGTERM)
	_ = syscall.Kill(-g.pid, syscall.SIGCONT)
	g.killTimer = time.AfterFunc(grace, g.kill)
}

// kill sends KILL to the group now.
func (g *group) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reaped {
		return
	}
	g.ending = true
	_ = syscall.Kill(-g.pid, syscall.SIGKILL)
	g.startOverdue()
}

// leaderIsOver reports whether the leader has exited by now, reaped or not: then what follows is not our doing.
func (g *group) leaderIsOver() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reaped || hasExited(g.pid)
}

// exitError is how the leader ended, nil for exit code 0. Only after exited is closed; before, the status counts as lost.
func (g *group) exitError(last string) *ExitError {
	e := &ExitError{Code: -1, LastLine: last}
	select {
	case <-g.exited:
	default:
		return e
	}
	if g.state == nil {
		return e
	}
	status, ok := g.state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		e.Signal, e.Name = int(status.Signal()), signalName(status.Signal())
		return e
	}
	if e.Code = g.state.ExitCode(); e.Code == 0 {
		return nil
	}
	return e
}

// errNoExec is a file that the kernel knows no way to run.
var errNoExec error = syscall.ENOEXEC

// groupIsEmpty reports whether no process of the group can still run. Its leader must be reaped. With zombies it also
// takes the long way: a member that is dead but not yet reaped by its parent still counts for kill(2).
func groupIsEmpty(pgid int, zombies bool) bool {
	err := syscall.Kill(-pgid, 0)
	return errors.Is(err, syscall.ESRCH) || (zombies && onlyZombies(pgid))
}
