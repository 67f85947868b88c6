package limits

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// The simulation: one store of documents and several workers, each with a real Machine, in virtual time. Lanes wait at
// a server that hands them out; each of a lane's jobs runs for a while under up to three limits. Requests and answers
// get lost or come late, watches lag, sessions end in each way, limits change.

// profile is what a history is made of.
type profile struct {
	name    string
	nodes   int
	slots   int
	limits  map[string]int
	lanes   []simLane
	span    time.Duration // with faults
	calm    time.Duration // without, in which everything has to get on
	job     time.Duration // longest
	pause   time.Duration // longest between two jobs of a lane
	loss    float64       // of a request or an answer
	nothing float64       // of a lane that comes to nothing when it is opened
	late    time.Duration // how late an answer or a document can be
	kill    time.Duration // mean distances; 0 is never
	cut     time.Duration
	stop    time.Duration
	change  time.Duration
	stale   time.Duration // how long a watch may tell nothing
	serves  func(node int, l *simLane) bool
	patient time.Duration // the longest that a lane may wait while all its limits have room
	hungry  time.Duration // the longest that a worker with waiting lanes may go without a start; 0 is not looked at
	broken  Broken
}

type simLane struct {
	id      int
	typ     string
	kind    string
	names   []string
	ready   bool // a turn waits at the server
	work    bool // it has a job that does not run
	ran     int
	running *simJob
	since   time.Duration // since when nothing but the algorithm keeps it; 0 is not
}

const (
	simLease  = 5 * time.Second
	simMargin = 2 * time.Second
	simWindow = 15 * time.Second // until everybody knows a limit
)

type simStats struct {
	steps, starts, writes, refused, kills, cuts, sessions, changes int
	waste, hunger                                                  time.Duration
}

func (s *simStats) add(o simStats) {
	s.steps += o.steps
	s.starts += o.starts
	s.writes += o.writes
	s.refused += o.refused
	s.kills += o.kills
	s.cuts += o.cuts
	s.sessions += o.sessions
	s.changes += o.changes
	s.waste, s.hunger = max(s.waste, o.waste), max(s.hunger, o.hunger)
}

type simJob struct {
	node   *simNode
	lane   *simLane
	names  []string
	permit Permit
	life   int
	alive  bool
}

type simEvent struct {
	at   time.Duration
	seq  int
	what func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

type simDoc struct {
	rev  uint64
	text []byte
}

type simSession struct {
	beat  time.Duration // when its record was last stored
	final bool
}

type world struct {
	p     profile
	rng   *rand.Rand
	now   time.Duration
	queue simQueue
	seq   int
	calm  bool

	rev      uint64
	docs     map[string]simDoc
	sessions map[string]*simSession
	names    []string // of sessions, in order
	nodes    []*simNode
	lanes    []*simLane
	ready    []*simLane
	jobs     []*simJob

	bounds map[string]int
	past   map[string][]bound // what each limit was

	stats simStats
	found error
	log   []string
	keep  bool
}

type bound struct {
	n     int
	until time.Duration // 0: still
}

func (w *world) in(d time.Duration, what func()) {
	w.seq++
	heap.Push(&w.queue, simEvent{at: w.now + d, seq: w.seq, what: what})
}

func (w *world) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *world) note(format string, args ...any) {
	if w.keep {
		w.log = append(w.log, fmt.Sprintf("%12v ", w.now)+fmt.Sprintf(format, args...))
	}
}

func (w *world) fail(format string, args ...any) {
	if w.found != nil {
		return
	}
	last := w.log
	if len(last) > 150 {
		last = last[len(last)-150:]
	}
	text := fmt.Sprintf("step %d, %v: ", w.stats.steps, w.now) + fmt.Sprintf(format, args...)
	for _, line := range last {
		text += "\n" + line
	}
	w.found = fmt.Errorf("%s", text)
}

// runSim plays one history.
func runSim(p profile, seed uint64) (simStats, error) {
	w := playSim(p, seed, false)
	if w.found != nil {
		w = playSim(p, seed, true)
		return w.stats, fmt.Errorf("profile %s, seed %d: %w", p.name, seed, w.found)
	}
	return w.stats, nil
}

func playSim(p profile, seed uint64, keep bool) *world {
	w := &world{
		p: p, rng: rand.New(rand.NewPCG(seed, 0x11417)), now: time.Second, keep: keep,
		docs: map[string]simDoc{}, sessions: map[string]*simSession{}, bounds: map[string]int{}, past: map[string][]bound{},
	}
	for name, n := range p.limits {
		w.bounds[name] = n
		w.past[name] = []bound{{n: n}}
	}
	for i := range p.lanes {
		l := p.lanes[i]
		l.id, l.names = i, Names(l.typ, l.kind)
		w.lanes = append(w.lanes, &l)
		l.work = true
		w.in(w.upTo(time.Second), func() { w.offer(&l) })
	}
	for i := range p.nodes {
		n := &simNode{w: w, idx: i}
		w.nodes = append(w.nodes, n)
		w.in(w.upTo(time.Second), n.start)
	}
	w.plan(p.kill, func() { w.anyNode().crash() })
	w.plan(p.cut, func() { w.anyNode().cut() })
	w.plan(p.stop, func() { w.anyNode().stop() })
	w.plan(p.change, w.change)
	w.observe()
	w.watchLanes()
	w.in(p.span, w.heal)
	for end := p.span + p.calm + time.Second; w.found == nil && len(w.queue) > 0 && w.now < end; {
		e := heap.Pop(&w.queue).(simEvent)
		w.now = e.at
		w.stats.steps++
		e.what()
	}
	return w
}

// plan repeats what at random distances until the faults stop.
func (w *world) plan(every time.Duration, what func()) {
	if every <= 0 {
		return
	}
	var again func()
	again = func() {
		if !w.calm {
			what()
			w.in(w.upTo(2*every), again)
		}
	}
	w.in(w.upTo(2*every), again)
}

func (w *world) anyNode() *simNode { return w.nodes[w.rng.IntN(len(w.nodes))] }

// heal ends the faults. What they left has to be over some leases later.
func (w *world) heal() {
	w.note("-- the faults are over")
	w.calm = true
	for _, n := range w.nodes {
		n.cutUntil, n.deafUntil = 0, 0
		if !n.up {
			n.start()
		}
	}
}

// observe declares sessions dead that have been silent for a lease, and tells everybody, later.
func (w *world) observe() {
	w.in(200*time.Millisecond, w.observe)
	for _, id := range w.names {
		if s := w.sessions[id]; !s.final && w.now-s.beat > simLease+500*time.Millisecond {
			w.end(id)
		}
	}
}

// end makes a session final and shows it to all.
func (w *world) end(id string) {
	w.sessions[id].final = true
	w.note("session %s is over", id)
	for _, n := range w.nodes {
		n.show(id)
	}
}

// change moves a limit.
func (w *world) change() {
	names := make([]string, 0, len(w.p.limits))
	for name := range w.p.limits {
		names = append(names, name)
	}
	slices.Sort(names)
	name := names[w.rng.IntN(len(names))]
	n := 1 + w.rng.IntN(2*w.p.limits[name]+1)
	if w.chance(.2) {
		n = 0
	}
	w.stats.changes++
	w.note("-- limit %s becomes %d", name, n)
	if n == 0 {
		delete(w.bounds, name)
	} else {
		w.bounds[name] = n
	}
	h := w.past[name]
	h[len(h)-1].until = w.now
	w.past[name] = append(h, bound{n: n})
	for _, node := range w.nodes {
		life := node.life
		w.in(w.upTo(3*time.Second), func() {
			if node.up && node.life == life {
				node.do(func() { node.m.SetLimits(w.bounds) })
			}
		})
	}
}

// most is the largest bound of a limit that anybody may still count with; 0 is none.
func (w *world) most(name string) int {
	most := 0
	for _, b := range w.past[name] {
		if b.until != 0 && w.now-b.until > simWindow {
			continue
		}
		if b.n == 0 {
			return 0
		}
		most = max(most, b.n)
	}
	return most
}

// running counts the jobs under a limit, those too that are being killed.
func (w *world) running(name string) (n int) {
	for _, j := range w.jobs {
		if slices.Contains(j.names, name) {
			n++
		}
	}
	return n
}

// begin starts a job. It is the only thing that can break a bound.
func (w *world) begin(j *simJob) {
	w.jobs = append(w.jobs, j)
	w.stats.starts++
	j.alive = true
	if other := j.lane.running; other != nil {
		panic("two jobs of a lane")
	}
	j.lane.running, j.lane.work = j, false
	for _, name := range j.names {
		if n, most := w.running(name), w.most(name); most > 0 && n > most {
			w.fail("%s starts a job: %d run under %s, which is %d", j.node.name(), n, name, most)
		}
	}
}

// finish ends a job and offers its lane again.
func (w *world) finish(j *simJob, pause time.Duration) {
	j.alive = false
	w.jobs = slices.DeleteFunc(w.jobs, func(o *simJob) bool { return o == j })
	j.lane.running = nil
	j.lane.ran++
	w.note("%s: lane %d ends", j.node.name(), j.lane.id)
	w.in(pause, func() {
		j.lane.work = true
		w.offer(j.lane)
	})
}

func (w *world) offer(l *simLane) {
	w.note("lane %d is offered", l.id)
	if !l.ready {
		l.ready = true
		w.ready = append(w.ready, l)
	}
}

// watchLanes looks, in the calm, at lanes that nothing but the algorithm keeps.
func (w *world) watchLanes() {
	w.in(20*time.Millisecond, w.watchLanes)
	if !w.calm || w.now < w.p.span+5*simLease {
		return
	}
	for _, l := range w.lanes {
		waits := l.work
		for _, name := range l.names {
			if n := w.bounds[name]; n > 0 && w.running(name) >= n {
				waits = false
			}
		}
		if waits && !slices.ContainsFunc(w.nodes, func(n *simNode) bool { return n.jobs() < w.p.slots && w.p.serves(n.idx, l) }) {
			waits = false
		}
		switch {
		case !waits:
			l.since = 0
		case l.since == 0:
			l.since = w.now
		default:
			w.stats.waste = max(w.stats.waste, w.now-l.since)
			if w.now-l.since > w.p.patient {
				w.fail("lane %d (%s, %s) could run for %v and does not", l.id, l.typ, l.kind, w.p.patient)
			}
		}
	}
}
