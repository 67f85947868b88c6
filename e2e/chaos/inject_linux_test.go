package chaos

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// How long a fault goes on to explain that something ran again: an election takes 4 to 9 s after the loss of a leader,
// and a session that was not confirmed meanwhile is over up to a lease later.
const (
	settleServers = 15 * time.Second
	settleWorker  = 3 * time.Second
)

// inject carries out a plan and returns when its last fault is over.
func (w *world) inject(plan []Fault) {
	w.t.Helper()
	end := w.set.Length
	for now := time.Duration(0); now < end || len(plan) > 0 || len(w.ends) > 0; time.Sleep(5 * time.Millisecond) {
		now = time.Duration(record.Now() - w.start)
		slices.SortStableFunc(w.ends, func(a, b ending) int { return int(a.at - b.at) })
		switch {
		case len(w.ends) > 0 && w.ends[0].at <= now:
			do := w.ends[0].do
			w.ends = w.ends[1:]
			do()
		case len(plan) > 0 && plan[0].At <= now:
			w.begin(plan[0])
			plan = plan[1:]
		default:
			w.supervise()
		}
	}
}

// supervise starts a workerd again that has ended.
func (w *world) supervise() {
	for _, h := range w.hosts {
		if h.away || !h.Proc.Ended() {
			continue
		}
		d := h.leaving
		if d == nil {
			d = &Done{Fault: Fault{Kind: Ended, Worker: slices.Index(w.hosts, h), At: time.Duration(record.Now() - w.start), For: time.Second}, Began: record.Now()}
			h.leaving = d
			w.t.Logf("worker %s ended by itself: %v", h.Name, h.Proc.Wait(w.t.Context()))
		}
		if record.Now() < d.Began+int64(d.For) {
			continue // as whoever supervises it would wait
		}
		h.leaving = nil
		h.Begin()
		w.over(*d, h.Name)
	}
}

// up waits until all workers take jobs: one that was just started would die of being told to end.
func (w *world) up() {
	for end := time.Now().Add(rig.Bound); ; time.Sleep(20 * time.Millisecond) {
		w.supervise()
		starts := slices.ContainsFunc(w.hosts, func(h *host) bool {
			said, err := fleet.Said(h.Proc.Log, func(l fleet.LogLine) bool { return l.Message == "running" })
			return err != nil || !said
		})
		if !starts {
			return
		}
		if time.Now().After(end) {
			w.note("not all workers take jobs again")
			return
		}
	}
}

// over notes a fault that is over now.
func (w *world) over(d Done, who string) {
	d.Over, d.Who = record.Now(), who
	w.done = append(w.done, d)
	k := record.Kill{At: d.Began, Until: d.Over}
	switch d.Kind {
	case TurnsPurge, TurnsRemove, Blind, ChildStop, ChildKill:
		return // they explain nothing, or were noted with their process
	case ServerKill, ServerStop, ServerApart, ServerLate, ServersKill, StepDown:
		k.Until += int64(settleServers)
	default:
		k.Worker = who
		k.Until += int64(settleWorker)
	}
	w.kills = append(w.kills, k)
}

// later ends a fault when its time has come.
func (w *world) later(d Done, who string, undo func()) {
	w.ends = append(w.ends, ending{d.At + d.For, func() {
		undo()
		w.over(d, who)
	}})
}

// begin carries out one fault.
func (w *world) begin(f Fault) {
	w.t.Helper()
	d := Done{Fault: f, Began: record.Now()}
	switch {
	case f.Kind.OfServers():
		w.beginServer(d)
	case f.Kind == TurnsPurge || f.Kind == TurnsRemove || f.Kind == Blind:
		w.meddle(d)
	default:
		if h := w.hosts[f.Worker]; !h.away && !h.Proc.Ended() {
			w.beginWorker(d, h)
		}
	}
}

func (w *world) beginServer(d Done) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Second)
	defer cancel()
	i, who := d.Server, ""
	if d.Office != Nobody {
		g := rig.Rafts()[d.Office-1]
		if leader := w.Leader(ctx, w.every, g); leader >= 0 {
			i = leader
		}
		who = ", leader of " + g.String()
	}
	s := w.Servers[i]
	who = serverName(i) + who
	if d.Server = i; d.Kind == ServersKill {
		who = "all"
	}
	again := func(s interface{ Again() error }) {
		if err := s.Again(); err != nil {
			w.t.Fatal(err)
		}
	}
	switch d.Kind {
	case ServerKill:
		s.Kill()
		w.later(d, who, func() { again(s) })
	case ServersKill:
		for _, s := range w.Servers {
			s.Kill()
		}
		w.later(d, who, func() {
			for _, s := range w.Servers {
				again(s)
			}
		})
	case ServerStop:
		_ = syscall.Kill(s.PID(), syscall.SIGSTOP) // our own child, not reaped
		w.later(d, who, func() { _ = syscall.Kill(s.PID(), syscall.SIGCONT) })
	case ServerApart:
		w.Apart(i)
		w.later(d, who, func() { w.Together(i, d.Anew) })
	case ServerLate:
		w.Late(i, d.Late)
		w.later(d, who, func() { w.Late(i, 0) })
	case StepDown:
		_ = w.StepDown(ctx, w.every, rig.Rafts()[d.Office-1], -1) // without an answer it may have been heard all the same
		w.over(d, who)
	}
}

func (w *world) beginWorker(d Done, h *host) {
	w.t.Helper()
	engine, children := family(h.Proc.PID())
	signal := func(p proc.Stat, s syscall.Signal) {
		if p.PID != 0 && proc.Is(p.PID, p.Start) {
			_ = syscall.Kill(p.PID, s) // it may end any moment
		}
	}
	// stop sends SIGSTOP, and SIGCONT when the fault is over.
	stop := func(p proc.Stat) {
		signal(p, syscall.SIGSTOP)
		w.later(d, h.Name, func() { signal(p, syscall.SIGCONT) })
	}
	top, err := proc.Read(h.Proc.PID())
	if err != nil {
		return // it has just ended
	}
	switch d.Kind {
	case WorkerCut:
		for _, way := range h.ways {
			way.Hold(fleet.Up, fleet.Down)
		}
		w.later(d, h.Name, func() {
			for _, way := range h.ways {
				if d.Anew {
					way.Break()
				}
				way.Release()
			}
		})
	case WorkerLate:
		late := func(by time.Duration) {
			for _, way := range h.ways {
				way.Delay(by)
			}
		}
		late(d.Late)
		w.later(d, h.Name, func() { late(0) })
	case HostKill, GuardKill:
		if h.leaving != nil { // told to end before, and still at it
			w.over(*h.leaving, h.Name)
			h.leaving = nil
		}
		h.Dying()
		h.away = true
		if d.Kind == GuardKill {
			h.Proc.Kill()
		} else if err := h.Proc.KillTree(); err != nil {
			w.t.Fatal(err)
		}
		w.dead(d, children)
		w.later(d, h.Name, func() {
			h.away = false
			h.Begin()
		})
	case EngineKill:
		signal(engine, syscall.SIGKILL)
		w.dead(d, children)
		w.over(d, h.Name)
	case GuardStop:
		stop(top)
	case EngineStop:
		stop(engine)
	case ChildKill, ChildStop:
		if len(children) == 0 {
			return
		}
		child := children[int(d.Pick*float64(len(children)))]
		if d.Kind == ChildStop {
			stop(child)
			return
		}
		signal(child, syscall.SIGKILL)
		w.dead(d, []proc.Stat{child})
		w.over(d, h.Name)
	case Deploy:
		if h.leaving == nil {
			h.leaving = &d
			h.Signal(syscall.SIGTERM)
		}
	}
}

// dead waits until processes are dead, which proves that their runs were over.
func (w *world) dead(d Done, ps []proc.Stat) {
	for end := time.Now().Add(rig.Bound); len(ps) > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		ps = slices.DeleteFunc(ps, func(p proc.Stat) bool {
			now := record.Now()
			if s, err := proc.Read(p.PID); err == nil && s.Start == p.Start && !s.Dead() {
				return false
			}
			w.kills = append(w.kills, record.Kill{At: d.Began, Until: now, PID: p.PID})
			return true
		})
	}
}

// family lists a workerd's engine and its children.
func family(guard int) (engine proc.Stat, children []proc.Stat) {
	below := proc.Below([]int{guard})
	for _, p := range below {
		if args := proc.Args(p.PID); p.PPID == guard && !p.Dead() && len(args) > 0 && args[0] == guardian.EngineName {
			engine = p
		}
	}
	for _, p := range below {
		if engine.PID != 0 && p.PPID == engine.PID && !p.Dead() {
			children = append(children, p)
		}
	}
	return engine, children
}

// meddle does what an operator should not.
func (w *world) meddle(d Done) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Second)
	defer cancel()
	m, err := fleet.NewMeddler(w.URL(), rig.Queue)
	if err != nil {
		return // no server answers
	}
	defer m.Close()
	switch d.Kind {
	case TurnsPurge:
		err = m.PurgeTurns(ctx)
	case TurnsRemove:
		_, err = m.DropTurns(ctx, func(entity string) bool {
			return d.Pick < .5 || strings.HasSuffix(entity, "1") || strings.HasPrefix(entity, "hot")
		})
	case Blind:
		err = m.BlindWatches(ctx)
	}
	if err == nil {
		w.over(d, "")
	}
}
