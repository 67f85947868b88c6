package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Stats tell what a history held, so that a test can see that it was not empty.
type Stats struct {
	Steps                                 int
	Virtual                               time.Duration
	Published, Starts, Done, Dead         int
	Steals, Sessions, Declared, Reclaimed int
	Pauses, Kills, Stops, Cuts, Restarts  int
	Passed, Cancelled, Halted             int
}

// Add sums.
func (s *Stats) Add(o Stats) {
	s.Steps += o.Steps
	s.Virtual += o.Virtual
	s.Published += o.Published
	s.Starts += o.Starts
	s.Done += o.Done
	s.Dead += o.Dead
	s.Steals += o.Steals
	s.Sessions += o.Sessions
	s.Declared += o.Declared
	s.Reclaimed += o.Reclaimed
	s.Pauses += o.Pauses
	s.Kills += o.Kills
	s.Stops += o.Stops
	s.Cuts += o.Cuts
	s.Restarts += o.Restarts
	s.Passed += o.Passed
	s.Cancelled += o.Cancelled
	s.Halted += o.Halted
}

// Violation is a broken invariant, with what is needed to see it again.
type Violation struct {
	Profile string
	Seed    uint64
	Step    int
	At      time.Duration
	Lane    string
	What    string
	// Events are the last ones of the lane and of the world around it.
	Events []string
}

// Error tells the whole story.
func (v *Violation) Error() string {
	return fmt.Sprintf("profile %s, seed %d, step %d, %v: %s: %s\n%s",
		v.Profile, v.Seed, v.Step, v.At, v.Lane, v.What, strings.Join(v.Events, "\n"))
}

// world is one history.
type world struct {
	p     Profile
	rng   *rand.Rand
	now   time.Duration
	queue queue
	seq   uint64
	calm  bool // faults have stopped
	ended bool

	lanes  []*entity
	byName map[string]*entity
	nodes  []*node
	server server
	turns  turns
	workers
	waiting int // jobs in the schedule

	stats Stats
	found *Violation
	trace []traced
	keep  bool // write events down
}

type traced struct {
	lane *entity // nil: of the world
	text string
}

// Run plays one history and returns what it held, and a *Violation or nil.
func Run(p Profile, seed uint64) (Stats, error) {
	w := play(p, seed, false)
	if w.found == nil {
		return w.stats, nil
	}
	return w.stats, play(p, seed, true).found
}

func play(p Profile, seed uint64, keep bool) *world {
	w := &world{p: p, rng: rand.New(rand.NewPCG(seed, 0x5e71a71)), keep: keep, byName: map[string]*entity{}}
	w.begin()
	for w.found == nil && len(w.queue) > 0 && !w.ended {
		e := w.queue.pop()
		w.now = e.at
		w.stats.Steps++
		e.what()
	}
	w.stats.Virtual = w.now
	if w.found != nil {
		w.found.Profile, w.found.Seed = p.Name, seed
	}
	return w
}

func (w *world) begin() {
	w.server.init(w)
	for i := range w.p.Lanes {
		e := &entity{name: fmt.Sprintf("ci.e.%d", i)}
		w.lanes = append(w.lanes, e)
		w.byName[e.name] = e
	}
	for i := range w.p.Holders {
		n := &node{w: w, idx: i}
		w.nodes = append(w.nodes, n)
		w.in(w.upTo(time.Second), n.start)
	}
	w.plan(w.p.Every, w.publish)
	w.startFaults()
	w.startOperators()
	w.startUpkeep()
	w.in(w.p.Span, w.heal)
}

// at plans an event.
func (w *world) at(t time.Duration, what func()) {
	w.seq++
	w.queue.push(event{at: max(t, w.now), seq: w.seq, what: what})
}

func (w *world) in(d time.Duration, what func()) { w.at(w.now+d, what) }

// plan repeats what at random distances until the faults stop.
func (w *world) plan(every time.Duration, what func()) {
	if every <= 0 {
		return
	}
	var again func()
	again = func() {
		if w.calm {
			return
		}
		what()
		w.in(w.around(every), again)
	}
	w.in(w.around(every), again)
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// upTo is a random duration in [0,d).
func (w *world) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

// around is a random distance with mean d.
func (w *world) around(d time.Duration) time.Duration {
	return min(time.Duration(w.rng.ExpFloat64()*float64(d)), 5*d) + 1
}

// violate ends the history.
func (w *world) violate(e *entity, format string, args ...any) {
	if w.found != nil {
		return
	}
	v := &Violation{Step: w.stats.Steps, At: w.now, What: fmt.Sprintf(format, args...)}
	if e != nil {
		v.Lane = e.name
	}
	for _, t := range w.trace {
		if t.lane == nil || t.lane == e {
			v.Events = append(v.Events, t.text)
		}
	}
	if n := len(v.Events); n > shown {
		v.Events = v.Events[n-shown:]
	}
	w.found = v
}

// shown is how many events a violation tells.
const shown = 120

// note writes an event down; callers that would build arguments for nothing ask keep first.
func (w *world) note(e *entity, who, format string, args ...any) {
	if !w.keep {
		return
	}
	w.trace = append(w.trace, traced{e, fmt.Sprintf("%14v %-6s %s", w.now, who, fmt.Sprintf(format, args...))})
}

// wall is the server's clock.
func (w *world) wall() time.Time { return time.Unix(1_700_000_000, 0).Add(w.now) }

// created is the creation time of JOBS.
const created = 1_600_000_000_000_000_000

// sessionName makes ids that say whose they are.
func sessionName(n *node) string { return fmt.Sprintf("h%d.%d.%d", n.idx, n.gen, n.sessions) }
