package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// cutOff is a worker on the side of a leader that is cut off from its peers, and one on the other side.
type cutOff struct {
	*rig.Rig
	t          *testing.T
	near, far  *rig.Host
	round, all int
	back       []time.Duration // from the cut until the last job ran on the far side
}

// cutLease is the lease in the cut-off case.
const cutLease = 6 * time.Second

func newCutOff(t *testing.T, broken string) *cutOff {
	t.Helper()
	c := &cutOff{t: t, Rig: rig.NewCluster(t, 3, "--replicas", "3", "--lease", cutLease.String(), "--max-lost", "0", "--max-crashes", "0")}
	host := func(name string, servers ...int) *rig.Host {
		h := c.Host(name, c.SleepPool(1, 16))
		if broken != "" {
			h.Binary = rig.Binary(t, fleet.Build{Name: "workerd", Broken: broken})
		}
		c.Proxied(h)
		var urls []string
		for _, i := range servers {
			urls = append(urls, strings.Split(h.URL, ",")[i])
		}
		h.URL = strings.Join(urls, ",")
		return h.Start()
	}
	c.near, c.far = host("near", 0), host("far", 1, 2)
	return c
}

// play is one round: the first server leads, jobs run on both workers, it is cut off until its worker's jobs run on the
// other side, and comes back.
func (c *cutOff) play(lead []rig.Raft) {
	c.t.Helper()
	const jobs = 12
	c.round++
	c.Lead(1, rig.Rafts()...)
	c.Lead(0, lead...)
	end := fmt.Sprintf("end-%d", c.round)
	var list []rig.Job
	for i := range jobs {
		list = append(list, rig.Job{Entity: fmt.Sprintf("e.%d", i), Until: c.Path(end)}, rig.Job{Entity: fmt.Sprintf("e.%d", i), MS: 5})
	}
	var started map[int]string // by op: on whose side it started last
	met := false               // what must not be: there is nothing more to wait for
	c.Tail.On = func(e record.Event) {
		switch e.What {
		case record.Start:
			started[e.Op] = e.Worker
		case record.LockBusy:
			met = true
		}
	}
	for near := 0; near == 0; { // until some run on the near side
		started = map[int]string{}
		c.Import(list...)
		c.Await("all jobs run", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == jobs })
		for _, side := range started {
			if side == c.near.Name {
				near++
			}
		}
		if near == 0 {
			c.Touch(end)
			c.all += len(list)
			c.AwaitFinished(c.all, rig.Bound)
			end += "-again"
			for i := range list {
				list[i].Op = 0
				if list[i].Until != "" {
					list[i].Until = c.Path(end)
				}
			}
		}
	}
	c.all += len(list)
	at := record.Now()
	c.Apart(0)
	c.Await("all jobs run on the far side", rig.Bound, func(*fleet.Tail) bool {
		for _, side := range started {
			if side != c.far.Name {
				return met
			}
		}
		return true
	})
	c.back = append(c.back, time.Duration(record.Now()-at))
	c.Together(0, c.round%2 == 0)
	c.Fault(record.Kill{At: at, Until: record.Now() + int64(settleServers)})
	c.Touch(end)
	if !met {
		c.AwaitFinished(c.all, rig.Bound)
	}
}

// A leader that is cut off from its peers goes on to answer its worker for many seconds. The worker knows better: it
// kills its jobs before the other side may have them.
func TestCutOffLeader(t *testing.T) {
	t.Parallel()
	c := newCutOff(t, "")
	all := rig.Rafts()
	deliveries := all[1:3] // the turns and their consumer, as leaders of nothing else
	for i := range rig.Size(1, 10) {
		c.play([][]rig.Raft{all, deliveries}[i%2])
	}
	c.AwaitEmpty(rig.Bound)
	rep := c.Check()
	var rounds []string
	for _, d := range c.back {
		rounds = append(rounds, round(d).String())
	}
	t.Logf("%d rounds: %d jobs, %d run again; from the cut until the last job ran on the other side: %s; %d overlaps, %d found the lock busy",
		c.round, rep.Finished, rep.Again, strings.Join(rounds, ", "), rep.Overlaps, rep.LockBusy)
}
