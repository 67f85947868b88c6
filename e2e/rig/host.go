package rig

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/streams/rights"
)

// Host is a workerd as if on a host of its own.
type Host struct {
	*fleet.Worker
	// Proc is its present life, or the last one.
	Proc *fleet.Process

	r    *Rig
	gone bool // its end was asked for
}

// Host adds a workerd that is not started yet. Change what is to be changed before Start.
func (r *Rig) Host(name string, pools ...fleet.Pool) *Host {
	r.t.Helper()
	for i, p := range pools {
		env := map[string]string{"CHILD_WORKER": name, "HISTORY_WORKER": name}
		for k, v := range p.Env {
			env[k] = v
		}
		pools[i].Env = env
	}
	at, domain := r.entry()
	h := &Host{r: r, Worker: &fleet.Worker{
		Name: name, Binary: Binary(r.t, fleet.Build{Name: "workerd", Race: raceEnabled}), Dir: r.Dir, Mark: r.Dir,
		URL: As(rights.Worker, at), Domain: domain, Queue: Queue, Pools: pools,
	}}
	r.hosts = append(r.hosts, h)
	return h
}

// Hosts are all workerds of the rig.
func (r *Rig) Hosts() []*Host { return r.hosts }

// SleepPool is a pool of children of e2e/child.
func (r *Rig) SleepPool(processes, concurrency int) fleet.Pool {
	p := r.SleepExec(concurrency)
	p.Mode, p.Processes = "pool", processes
	return p
}

// SleepExec is a pool with a process of e2e/child per job.
func (r *Rig) SleepExec(concurrency int) fleet.Pool {
	return fleet.Pool{
		Name: "sleep", Kinds: []string{"*"}, Mode: "exec", Command: []string{Binary(r.t, fleet.Build{Name: "child"})},
		Concurrency: concurrency, Env: map[string]string{
			"CHILD_RECORD": r.Path("record"), "CHILD_LOCKS": r.Path("locks"), "CHILD_CONCURRENCY": fmt.Sprint(concurrency),
		},
	}
}

// HistoryPool is a pool of children of examples/history/child, whose jobs take a random time from 0 to work.
func (r *Rig) HistoryPool(processes, concurrency int, work time.Duration) fleet.Pool {
	return fleet.Pool{
		Name: "history", Kinds: []string{"*"}, Mode: "pool", Command: []string{Binary(r.t, fleet.Build{Name: "history-child"})},
		Processes: processes, Concurrency: concurrency, Env: map[string]string{
			"HISTORY_RECORD": r.Path("record"), "HISTORY_STATE": r.Path("state"), "HISTORY_WORK": work.String(),
			"HISTORY_CONCURRENCY": fmt.Sprint(concurrency),
		},
	}
}

// Begin begins a life, which may take a while to take jobs.
func (h *Host) Begin() {
	h.r.t.Helper()
	proc, err := h.Worker.Start()
	if err != nil {
		h.r.t.Fatal(err)
	}
	h.Proc, h.gone = proc, false
}

// Start begins a life and waits until it takes jobs.
func (h *Host) Start() *Host {
	h.r.t.Helper()
	h.Begin()
	ctx, cancel := context.WithTimeout(h.r.t.Context(), Bound)
	defer cancel()
	if err := fleet.Running(ctx, h.Proc); err != nil {
		h.r.t.Fatal(err)
	}
	return h
}

// Stop ends it in order, and with exit code 0. Stopping what has been stopped is fine.
func (h *Host) Stop() {
	h.r.t.Helper()
	if h.Proc == nil || h.gone {
		return
	}
	h.gone = true
	if err := h.Proc.Stop(Bound); err != nil {
		h.r.t.Error(err)
	}
}

// Dying says that its end is to come, by whoever kills it otherwise than by a method of this type.
func (h *Host) Dying() { h.gone = true }

// Kill ends it as a dying host does, and notes the fault.
func (h *Host) Kill() {
	h.r.t.Helper()
	h.gone = true
	at := record.Now()
	if err := h.Proc.KillTree(); err != nil {
		h.r.t.Fatal(err)
	}
	h.r.Fault(record.Kill{At: at, Until: record.Now(), Worker: h.Name})
	h.r.Tail.Killed(h.Name)
}

// Signal sends it a signal.
func (h *Host) Signal(s syscall.Signal) {
	h.r.t.Helper()
	if s == syscall.SIGTERM || s == syscall.SIGINT {
		h.gone = true
	}
	if err := h.Proc.Signal(s); err != nil {
		h.r.t.Fatal(err)
	}
}

func (h *Host) end() {
	if h.Proc != nil {
		_ = h.Proc.KillTree() // what outlives it is found by its mark
	}
}
