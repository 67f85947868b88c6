package guardian

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// Supported says whether this system can have a guardian.
const Supported = true

// guardian is one run. All of it belongs to Run's goroutine.
type guardian struct {
	Options
	instance instance
	signals  chan os.Signal
	died     chan os.Signal // SIGCHLD
	spared   map[int]uint64 // children from before, by pid: their start
	backoff  backoff
	sweepAt  time.Duration     // when to sweep once more; 0 is never
	due      map[instance]bool // what that is for
	lastBeat time.Duration
	patient  time.Duration // nothing is enforced until then

	stopping bool // TERM or INT came
	quiet    bool // TSTP came, and no CONT after it
	lives    int
	held     []byte // of the last engine that noted anything
	reason   Reason
}

// forwarded are the signals that go on to the engine.
var forwarded = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGTTIN, syscall.SIGHUP}

// The beat of the guardian, and the bound of a kill loop.
const (
	beat      = 50 * time.Millisecond
	killBound = 5 * time.Second
	// sweepAgain is after when an engine without a guardian has had its time to hand back and to leave.
	sweepAgain = 5 * time.Second
	// spareThreads is how many it has in hand: it has to be there when the process table is full.
	spareThreads = 2
	// unheard is how long TERM is kept back from an engine that does not listen.
	unheard = 10 * time.Second
)

// Run guards engines until one of them ends in order, or there were too many, and returns the exit status. It takes over
// the process: its signals and its children. It must be called once, before anything else was started, on a process that
// Attach has said to be no engine.
func Run(o Options) int {
	g := &guardian{
		Options: o, signals: make(chan os.Signal, 16), died: make(chan os.Signal, 1), spared: map[int]uint64{},
	}
	signal.Notify(g.signals, forwarded...)
	defer signal.Stop(g.signals)
	signal.Notify(g.died, syscall.SIGCHLD)
	defer signal.Stop(g.died)
	lifecycle.ReserveThreads(spareThreads)
	if err := g.prepare(); err != nil {
		g.event(Event{Kind: EventUnguarded, Err: err})
	}
	for {
		end, err := g.life()
		if err != nil {
			end.err = err
		}
		left := g.killAll()
		if left > 0 {
			g.held = nil // it may still run: nothing is handed on
			g.event(Event{Kind: EventLeft, N: left})
		}
		status, again := g.next(end)
		if !again {
			return status
		}
	}
}

// Usable says why there can be no guardian here although the system could have one: without a process table nothing that a
// job leaves behind could be found and ended, no memory limit would be kept, and no engine of before would be noticed.
func Usable() error {
	if _, err := proc.Children(); err != nil {
		return noTable(err)
	}
	if _, err := ownInstance(); err != nil {
		return noTable(err)
	}
	return nil
}

// ErrNoTable is a system whose process table cannot be read.
var ErrNoTable = errors.New("the process table cannot be read: what jobs leave running could not be found and ended, and no memory limit kept")

func noTable(err error) error {
	return problem.New("read /proc", fmt.Errorf("%w (%w)", ErrNoTable, err), "mount it: mount -t proc proc /proc; in a chroot, in the folder proc there")
}

// prepare makes this process the one that inherits orphans. An error says what is missing here; the engine is started all
// the same.
func (g *guardian) prepare() error {
	if err := proc.AdoptOrphans(); err != nil {
		return problem.New("adopt orphans", err, "")
	}
	children, err := proc.Children()
	if err != nil {
		return noTable(err)
	}
	for _, pid := range children {
		if s, err := proc.Read(pid); err == nil {
			g.spared[pid] = s.Start
		}
	}
	if g.instance, err = ownInstance(); err != nil {
		return noTable(err)
	}
	if err := swallowed(os.Getpid(), procTable{}); err != nil {
		g.event(Event{Kind: EventShell, Err: err})
	}
	n, waiting := sweep(g.instance, nil)
	if n > 0 {
		g.event(Event{Kind: EventSwept, N: n})
	}
	if len(waiting) > 0 {
		g.due, g.sweepAt = waiting, clock.Boot()+sweepAgain
	}
	return nil
}

// ending is how an engine's life ended.
type ending struct {
	err     error // it could not be started
	state   syscall.WaitStatus
	leaving bool // it said so before
	fenced  bool
	lived   time.Duration
	stopped bool // nothing was started, or it had not listened yet, when the end was asked for
}

// next decides what follows an engine's end.
func (g *guardian) next(e ending) (status int, again bool) {
	status = e.status()
	if e.stopped {
		g.event(Event{Kind: EventStopping})
		return 0, false
	}
	if e.leaving && (status == 0 || status == g.UsageStatus || g.lives == 1 || g.stopping) {
		return status, false
	}
	g.event(Event{Kind: EventEnded, Err: e.why()})
	if g.stopping {
		return max(1, status), false
	}
	g.reason = Crashed
	if e.fenced {
		g.reason = Fenced
	}
	wait, ok := g.backoff.died(clock.Boot(), e.lived)
	if !ok {
		g.event(Event{Kind: EventGivenUp, N: mostDeaths, Wait: deathWindow})
		return max(1, status), false
	}
	g.event(Event{Kind: EventRestarting, Wait: wait})
	if g.pause(wait) {
		return 0, false
	}
	return 0, true
}

// pause waits before the next life; true when the end was asked for meanwhile.
func (g *guardian) pause(d time.Duration) (end bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case s := <-g.signals:
			g.note(s)
			if g.stopping {
				return true
			}
		case <-g.died:
			g.reap(0)
		case <-timer.C:
			return false
		}
	}
}

// note keeps in mind what a signal means for engines to come.
func (g *guardian) note(s os.Signal) {
	switch s {
	case syscall.SIGTERM, syscall.SIGINT:
		g.stopping = true
	case syscall.SIGTSTP:
		g.quiet = true
	case syscall.SIGCONT:
		g.quiet = false
	}
}

// inLine adds a signal to those that wait for the engine. Of signals that are sent to it at once any may be handled first,
// and of TSTP and CONT the later one counts: so only that one is sent.
func inLine(waiting []os.Signal, s os.Signal) []os.Signal {
	quiets := func(s os.Signal) bool { return s == syscall.SIGTSTP || s == syscall.SIGCONT }
	if quiets(s) {
		waiting = slices.DeleteFunc(waiting, quiets)
	}
	return append(waiting, s)
}

// life is an engine's: it returns when the engine is dead and reaped.
func (g *guardian) life() (ending, error) {
	// A signal that came between two lives counts.
	for len(g.signals) > 0 {
		g.note(<-g.signals)
	}
	if g.stopping {
		return ending{stopped: true}, nil
	}
	e, err := g.start()
	if err != nil {
		return ending{}, err
	}
	g.lives++
	g.event(Event{Kind: EventStarted, PID: e.pid})
	defer e.close()
	slim()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	var waiting []os.Signal // until it listens
	var since time.Duration // when the first one of them came
	if g.quiet {
		waiting, since = append(waiting, syscall.SIGTSTP), clock.Boot()
	}
	var end ending
	begun := clock.Boot()
	for {
		select {
		case s := <-g.signals:
			g.note(s)
			if waiting = inLine(waiting, s); len(waiting) == 1 {
				since = clock.Boot()
			}
		case <-g.died:
			if state, dead := g.reap(e.pid); dead {
				end.state, end.lived = state, clock.Boot()-begun
				held, leaving, status := e.last()
				end.leaving = leaving && state.Exited() && state.ExitStatus() == status
				if held != nil {
					g.held = held
				}
				end.stopped = g.stopping && !end.leaving && !e.isListening()
				return end, nil
			}
		case <-tick.C:
			g.enforce(e, &end)
			g.sweepOnceMore()
		}
		if e.isListening() {
			for _, s := range waiting {
				_ = unix.Kill(e.pid, s.(syscall.Signal)) // not reaped: the number is its own
			}
			waiting = nil
		} else if g.stopping && clock.Boot() >= since+unheard {
			_ = unix.Kill(e.pid, unix.SIGKILL)
		}
	}
}

// enforce kills what is past its deadline. A guardian that did not run for a while, stopped or on a host that slept, first
// gives the engine a moment to tell what it could not.
func (g *guardian) enforce(e *engine, end *ending) {
	now := clock.Boot()
	if g.lastBeat != 0 && now-g.lastBeat > Slack {
		g.patient = now + Slack
	}
	g.lastBeat = now
	if end.fenced || now < g.patient {
		return
	}
	if over, _, groups := e.overdue(now); !over && len(groups) == 0 {
		return
	}
	e.catchUp()
	over, late, groups := e.overdue(clock.Boot())
	if over {
		end.fenced = true
		_ = unix.Kill(e.pid, unix.SIGKILL) // stopped processes too; first it, so that it starts nothing more
		for _, group := range e.groups() {
			killGroup(group)
		}
		g.event(Event{Kind: EventFenced, PID: e.pid, Late: late})
		return
	}
	for _, group := range groups {
		if killGroup(group) {
			g.event(Event{Kind: EventGroup, PID: group.PID, Late: late})
		}
	}
	e.forget(groups)
}

// killGroup kills a group if its leader is still the one that was told of. It is not our child: between the look and the
// signal it could end and its number be given to another one, if all numbers were used up in these microseconds.
func killGroup(group wireGroup) bool {
	return proc.Is(group.PID, group.Start) && unix.Kill(-group.PID, unix.SIGKILL) == nil
}

func (g *guardian) sweepOnceMore() {
	if g.sweepAt == 0 || clock.Boot() < g.sweepAt {
		return
	}
	g.sweepAt = 0
	if n, _ := sweep(g.instance, g.due); n > 0 {
		g.event(Event{Kind: EventSwept, N: n})
	}
}

// status is the exit status that stands for an end: 128 and the signal's number for a signal, as shells have it.
func (e ending) status() int {
	switch {
	case e.err != nil:
		return 1
	case e.state.Signaled():
		return 128 + int(e.state.Signal())
	}
	return e.state.ExitStatus()
}

func (e ending) why() error {
	switch {
	case e.err != nil:
		return e.err
	case e.fenced:
		return errors.New("it was killed because its session was over")
	case e.state.Signaled():
		return fmt.Errorf("it was killed by signal %d (%s)", int(e.state.Signal()), unix.SignalName(e.state.Signal()))
	}
	return fmt.Errorf("it exited with status %d", e.state.ExitStatus())
}
