package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// setting is what a run is made of.
type setting struct {
	Shape
	seed  uint64
	lease time.Duration
	load  load
	// plan is what is done; nil is the seed's.
	plan []Fault
	// broken names rules that the workerds are built without.
	broken string
	// stubborn jobs do not heed SIGTERM.
	stubborn bool
}

// world is a system under chaos. All but publishers and watcher belongs to the test's goroutine.
type world struct {
	*rig.Rig
	t     *testing.T
	set   setting
	hosts []*host
	every []*nats.Conn // the operator's
	pubs  *publishers
	watch *watcher
	start int64
	ends  []ending // of faults that last
	done  []Done
	kills []record.Kill
	notes []string // what went wrong beside what the checker finds
}

// host is a workerd behind proxies.
type host struct {
	*rig.Host
	ways    []*fleet.Proxy
	away    bool  // killed, and not to be started again yet
	leaving *Done // it was told to end, or has by itself, and is to be started again
}

// ending is what ends a fault.
type ending struct {
	at time.Duration
	do func()
}

// slots is how many jobs a worker runs at once.
const slots = 16

func newWorld(t *testing.T, set setting) *world {
	t.Helper()
	replicas := "1"
	if set.Servers >= 3 {
		replicas = "3"
	}
	// Nothing is ever given up: every job that was acknowledged must finish.
	r := rig.NewCluster(t, set.Servers, "--replicas", replicas, "--lease", set.lease.String(),
		"--max-attempts", "0", "--max-lost", "0", "--max-crashes", "0", "--backoff", "200ms,1s")
	w := &world{Rig: r, t: t, set: set, every: r.Everywhere()}
	for i := range set.Workers {
		pool := r.SleepPool(2, slots/2)
		if set.stubborn {
			pool = r.SleepExec(slots)
			pool.Env["CHILD_STUBBORN"] = "1"
		}
		h := &host{Host: r.Host(string(rune('a'+i)), pool)}
		if set.broken != "" {
			h.Binary = rig.Binary(t, fleet.Build{Name: "workerd", Broken: set.broken})
		}
		h.Timeout, h.KillAfter = 3*time.Second, 500*time.Millisecond
		if set.stubborn {
			h.Timeout, h.KillAfter = 200*time.Millisecond, time.Second // none is through in time, and none ends when told
		}
		h.ways = r.Proxied(h.Host)
		w.hosts = append(w.hosts, h)
		h.Start()
	}
	return w
}

// run publishes, carries out the plan, waits until everything is through, and judges.
func (w *world) run() Result {
	w.t.Helper()
	res := Result{Seed: w.set.seed, Servers: w.set.Servers, Began: time.Now(), Bound: w.idleBound()}
	for _, h := range w.hosts {
		res.Workers = append(res.Workers, h.Name)
	}
	w.watch = watch(w.Rig)
	w.pubs = w.set.load.start(w.Rig, w.set.seed)
	plan := w.set.plan
	if plan == nil {
		plan = Plan(w.set.seed, w.set.Shape)
	}
	w.start = record.Now()
	w.inject(plan)
	res.Start, res.Calm = w.start, record.Now()
	all, unanswered := w.pubs.end()
	for _, op := range unanswered {
		w.note("job %d was never answered", op)
	}
	w.drain(len(all))
	res.End = record.Now()
	w.up()
	for _, h := range w.hosts {
		h.Stop()
	}
	res.Leads = w.watch.end()
	res.Faults = w.done
	w.judge(&res, all)
	res.Trouble = w.notes
	return res
}

func (w *world) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// idleBound is what no lane with work may be idle beyond the faults: a lease until its holder is given up, the audit's
// delay until its missing turn is noticed, two elections of at most 9 s that went wrong before, and the 30 s in which
// only one sweep of a queue is made, for turns that got lost after the audit.
func (w *world) idleBound() time.Duration {
	return w.set.lease + 5*time.Second + 2*10*time.Second + 30*time.Second
}

// patience is how long nothing may finish, without faults, before the rest counts as lost.
const patience = 2 * time.Minute

// drain waits until so many jobs have finished and the queue is empty.
func (w *world) drain(jobs int) {
	w.t.Helper()
	last := 0
	for moved := time.Now(); w.Tail.Finished < jobs; time.Sleep(20 * time.Millisecond) {
		if err := w.Tail.Poll(); err != nil {
			w.t.Fatal(err)
		}
		w.supervise()
		if w.Tail.Finished != last {
			last, moved = w.Tail.Finished, time.Now()
		}
		if time.Since(moved) > patience {
			w.note("nothing moves any more: %d of %d jobs finished", last, jobs)
			return
		}
	}
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		w.supervise()
		info, err := w.Admin.QueueInfo(w.t.Context(), rig.Queue)
		if err == nil && info.Jobs == 0 {
			return
		}
		if time.Now().After(end) {
			w.note("the queue does not get empty: %d jobs, %v", info.Jobs, err)
			return
		}
	}
}

// judge gives what was recorded to all checkers.
func (w *world) judge(res *Result, all []Published) {
	w.t.Helper()
	log, err := record.ReadFiles(w.Path("record"))
	if err != nil {
		w.t.Fatal(err)
	}
	jobs, log, copies := Expect(all, log)
	res.Copies = len(copies)
	stored := append(slices.Clone(all), copies...)
	res.Report = record.Check(log, jobs, w.kills)
	own := slices.DeleteFunc(slices.Clone(w.kills), func(k record.Kill) bool { return k.PID == 0 && k.Worker == "" })
	strict := record.Check(log, jobs, own)
	res.OwnAgain = strict.Again - strict.AgainUnexplained
	res.Lanes, res.Broken, res.Unknown = Linear(stored, log)
	idles := Idles(stored, log, w.excuses())
	res.Idles = idles[:min(5, len(idles))]
	for i, idle := range idles {
		if i == 0 {
			res.Longest = idle
		}
		if idle.Calm > res.LongestCalm.Calm {
			res.LongestCalm = idle
		}
	}
	for _, e := range log.Events {
		if e.What == record.Finish {
			res.Finishes = append(res.Finishes, e.T)
		}
	}
}

// excuses are the times at which no lane need move: a server is away, or all workers are.
func (w *world) excuses() (spans []Span) {
	away := make([][]Span, len(w.hosts))
	for _, d := range w.done {
		s := Span{d.Began, d.Over}
		switch d.Kind {
		case ServerKill, ServerStop, ServerApart, ServersKill:
			spans = append(spans, s)
		case HostKill, GuardKill, EngineStop, EngineKill, WorkerCut, Deploy, Ended:
			away[d.Worker] = append(away[d.Worker], s)
		}
	}
	all := away[0]
	for _, other := range away[1:] {
		all = Meet(all, other)
	}
	return append(spans, all...)
}
