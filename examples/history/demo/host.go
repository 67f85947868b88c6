package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/internal/problem"
)

// stopBound is how long a workerd may take from SIGTERM to its end; its own bounds are shorter.
const stopBound = 30 * time.Second

// host is a workerd as if on a host of its own, and what stands between it and the server.
type host struct {
	d     *demo
	w     *fleet.Worker
	proxy *fleet.Proxy // nil unless the plan needs it
	proc  *fleet.Process
	gone  bool // its end was asked for; guarded by d.mu
}

func (d *demo) addHost(name string) (*host, error) {
	h := &host{d: d}
	url := d.url
	if d.plan.proxied {
		var err error
		if h.proxy, err = fleet.NewProxy(d.url); err != nil {
			return nil, err
		}
		url = h.proxy.URL()
	}
	env := map[string]string{
		"HISTORY_STATE": d.path("state"), "HISTORY_RECORD": d.path("record"), "HISTORY_WORKER": name,
		"HISTORY_WORK": d.plan.work.String(), "HISTORY_CONCURRENCY": fmt.Sprint(d.plan.concurrency), "HISTORY_CHILD": d.child,
	}
	command := []string{d.shell}
	if d.plan.stubborn {
		command = []string{d.self}
		env[stubbornEnv] = "1"
	}
	var pools []fleet.Pool
	if d.plan.shellEvery > 0 {
		own := maps.Clone(env)
		if d.plan.shellWork > 0 {
			own["HISTORY_WORK"] = d.plan.shellWork.String()
		}
		pools = append(pools, fleet.Pool{
			Name: "shell", Kinds: []string{"shell"}, Mode: "exec", Command: command, Concurrency: d.plan.shells, Env: own,
		})
	}
	pools = append(pools, fleet.Pool{
		Name: "go", Kinds: []string{"*"}, Mode: "pool", Command: []string{d.child},
		Processes: d.plan.processes, Concurrency: d.plan.concurrency, Env: env,
	})
	h.w = &fleet.Worker{
		Name: name, Binary: d.workerd, Dir: d.dir, Mark: d.dir, URL: url, Queue: queue, Pools: pools,
		Timeout: d.plan.timeout, KillAfter: d.plan.killAfter, Debug: d.keep,
	}
	d.hosts = append(d.hosts, h)
	return h, nil
}

func (d *demo) host(name string) *host {
	for _, h := range d.hosts {
		if h.w.Name == name {
			return h
		}
	}
	return nil
}

func (h *host) start(ctx context.Context) error {
	p, err := h.w.Start()
	if err != nil {
		return err
	}
	h.d.mu.Lock()
	h.proc, h.gone = p, false
	h.d.mu.Unlock()
	return fleet.Running(ctx, p)
}

// died is an error when the workerd ended and nobody wanted that.
func (h *host) died(ctx context.Context) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.gone || !h.proc.Ended() {
		return nil
	}
	err := h.proc.Wait(ctx)
	if err == nil {
		err = errors.New("it ended")
	}
	return problem.New("worker "+h.w.Name+" ended by itself", err, "")
}

// leave marks that the end that follows is wanted.
func (h *host) leave() {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.gone = true
}

// drain stops it as a deploy does and starts it again.
func (h *host) drain(ctx context.Context) error {
	h.leave()
	h.d.screen.event("SIGTERM to worker %s: it takes no more, lets its jobs end, and hands over", h.w.Name)
	begun := time.Now()
	if err := h.proc.Stop(stopBound); err != nil {
		return err
	}
	h.d.screen.event("worker %s ended with exit code 0 after %s, and is started again", h.w.Name, time.Since(begun).Round(time.Millisecond))
	return h.start(ctx)
}

// kill ends it as a dying host does: at once, with all its processes.
func (h *host) kill() error {
	h.leave()
	kill := record.Kill{At: record.Now(), Worker: h.w.Name}
	if err := h.proc.KillTree(); err != nil {
		return err
	}
	kill.Until = record.Now()
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.d.tail.Poll(); err != nil {
		return err
	}
	cut := len(h.d.tail.OpenOf(h.w.Name))
	h.d.tail.Killed(h.w.Name)
	h.d.kills = append(h.d.kills, kill)
	h.d.screen.event("SIGKILL to worker %s and all its processes, %d jobs cut short", h.w.Name, cut)
	return nil
}

// end ends it for good, however it is.
func (h *host) end() {
	if h.proc != nil {
		_ = h.proc.KillTree() // what outlives it is found by its mark
	}
	if h.proxy != nil {
		h.proxy.Close()
	}
}
