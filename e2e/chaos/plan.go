package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is what a fault does.
type Kind string

// The faults. Those of servers come first; a plan for one server has ServerKill and ServerStop alone of them.
const (
	ServerKill  Kind = "server killed"          // SIGKILL, and started again after For
	ServerStop  Kind = "server stopped"         // SIGSTOP, SIGCONT after For
	ServerApart Kind = "server cut off"         // from its peers; clients still reach it
	ServerLate  Kind = "server late"            // to and from its peers, by Late
	ServersKill Kind = "all servers killed"     // within a second, and started again
	StepDown    Kind = "step-down"              // a leader gives up its office
	WorkerCut   Kind = "worker cut off"         // nothing between it and any server arrives
	WorkerLate  Kind = "worker late"            // to and from all servers, by Late
	HostKill    Kind = "host killed"            // all processes of a workerd at once; started again after For
	GuardKill   Kind = "guardian killed"        // started again after For
	GuardStop   Kind = "guardian stopped"       // SIGSTOP, SIGCONT after For
	EngineKill  Kind = "engine killed"          // its guardian starts a new one
	EngineStop  Kind = "engine stopped"         // SIGSTOP, SIGCONT after For
	ChildKill   Kind = "child killed"           // SIGKILL
	ChildStop   Kind = "child stopped"          // SIGSTOP, SIGCONT after For
	Deploy      Kind = "worker deployed"        // SIGTERM, and started again when it has ended
	TurnsPurge  Kind = "turns purged"           // all of the stream
	TurnsRemove Kind = "turns removed"          // those of some lanes, also while they are held
	Blind       Kind = "watches taken away"     // what shows workers each other's heartbeats
	Ended       Kind = "worker ended by itself" // never planned: it gave up, and was started again
)

// Kinds lists all of them in the order of tables.
func Kinds() []Kind {
	return []Kind{
		ServerKill, ServerStop, ServerApart, ServerLate, ServersKill, StepDown, WorkerCut, WorkerLate, HostKill, GuardKill, GuardStop,
		EngineKill, EngineStop, ChildKill, ChildStop, Deploy, TurnsPurge, TurnsRemove, Blind, Ended,
	}
}

// OfServers says that a fault may hit anybody's jobs, and not those of one worker.
func (k Kind) OfServers() bool {
	return slices.Contains([]Kind{ServerKill, ServerStop, ServerApart, ServerLate, ServersKill, StepDown}, k)
}

// Fault is one fault of a plan.
type Fault struct {
	Kind Kind
	// At is when it begins, For how long it lasts.
	At, For time.Duration
	// Server and Worker are whom it hits, by index. With Office set it hits the server that leads there at that moment.
	Server, Worker int
	Office         Office
	// Pick, from 0 to below 1, is which of several children, or what part of the lanes.
	Pick float64
	// Anew loses what was held back and breaks the connections; else it arrives at the end.
	Anew bool
	// Late is the delay.
	Late time.Duration
}

// Office is what a server can be the leader of; 0 is none.
type Office int

// The offices, in the order of rig.Rafts.
const (
	Nobody Office = iota
	OfJobs
	OfTurns
	OfDeliveries
	OfClaims
	OfWorkers
	offices
)

// String says what a fault does, for people.
func (f Fault) String() string {
	who := fmt.Sprintf("worker %d", f.Worker)
	switch {
	case f.Kind == ServersKill || f.Kind == TurnsPurge || f.Kind == TurnsRemove || f.Kind == Blind:
		who = ""
	case f.Kind.OfServers() && f.Office != Nobody:
		who = fmt.Sprintf("leader %d", f.Office)
	case f.Kind.OfServers():
		who = fmt.Sprintf("server %d", f.Server)
	}
	return fmt.Sprintf("%s %s at %s for %s", f.Kind, who, f.At.Round(time.Millisecond), f.For.Round(time.Millisecond))
}

// Shape is what a plan is made for.
type Shape struct {
	Servers, Workers int
	// Length is when the last fault is over.
	Length time.Duration
}

// choice is a fault that a track may choose. It lasts from least to most.
type choice struct {
	kind        Kind
	weight      int
	least, most time.Duration
}

const ms = time.Millisecond

var (
	// Some outlast a lease, some do not.
	oneServer = []choice{
		{ServerKill, 5, 100 * ms, 4 * time.Second},
		{ServerStop, 2, 300 * ms, 9 * time.Second},
	}
	threeServers = []choice{
		{ServerKill, 4, 100 * ms, 8 * time.Second},
		{ServerStop, 3, 300 * ms, 12 * time.Second},
		{ServerApart, 6, time.Second, 15 * time.Second},
		{ServerLate, 2, 2 * time.Second, 8 * time.Second},
		{ServersKill, 1, 500 * ms, 3 * time.Second},
		{StepDown, 6, 0, 0},
	}
	aWorker = []choice{
		{WorkerCut, 4, 500 * ms, 12 * time.Second},
		{WorkerLate, 2, 2 * time.Second, 8 * time.Second},
		{HostKill, 2, 0, 2 * time.Second},
		{GuardKill, 2, 0, 2 * time.Second},
		{GuardStop, 1, 500 * ms, 8 * time.Second},
		{EngineKill, 3, 0, 0},
		{EngineStop, 3, 500 * ms, 12 * time.Second},
		{ChildKill, 3, 0, 0},
		{ChildStop, 2, 500 * ms, 6 * time.Second},
		{Deploy, 2, 0, 0},
	}
	anOperator = []choice{
		{TurnsPurge, 1, 0, 0},
		{TurnsRemove, 2, 0, 0},
		{Blind, 1, 0, 0},
	}
)

// Plan makes the faults of a seed: the same each time. At any moment at most one server is away, but for ServersKill;
// each worker has one fault at a time. All are over at the shape's length.
func Plan(seed uint64, s Shape) []Fault {
	var plan []Fault
	track := func(number uint64, choices []choice, least, most time.Duration, set func(*rand.Rand, *Fault)) {
		rnd := rand.New(rand.NewPCG(seed, number))
		between := func(a, b time.Duration) time.Duration { return a + time.Duration(rnd.Int64N(int64(b-a)+1)) }
		for at := between(0, most); ; at += between(least, most) {
			c := choose(rnd, choices)
			f := Fault{Kind: c.kind, At: at, For: between(c.least, c.most), Pick: rnd.Float64(), Anew: rnd.IntN(3) == 0}
			set(rnd, &f)
			if at += f.For; at > s.Length {
				return
			}
			plan = append(plan, f)
		}
	}
	servers := threeServers
	if s.Servers == 1 {
		servers = oneServer
	}
	track(1, servers, 2*time.Second, 14*time.Second, func(rnd *rand.Rand, f *Fault) {
		f.Server = rnd.IntN(s.Servers)
		f.Late = time.Duration(20+rnd.IntN(400)) * ms
		if s.Servers > 1 && (f.Kind == StepDown || f.Kind != ServersKill && f.Kind != ServerLate && rnd.IntN(2) == 0) {
			f.Office = 1 + Office(rnd.IntN(int(offices)-1))
		}
	})
	for w := range s.Workers {
		track(uint64(10+w), aWorker, 3*time.Second, 12*time.Second, func(rnd *rand.Rand, f *Fault) {
			f.Worker = w
			f.Late = time.Duration(20+rnd.IntN(500)) * ms
		})
	}
	track(2, anOperator, 6*time.Second, 20*time.Second, func(*rand.Rand, *Fault) {})
	slices.SortStableFunc(plan, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return plan
}

func choose(rnd *rand.Rand, from []choice) choice {
	sum := 0
	for _, c := range from {
		sum += c.weight
	}
	n := rnd.IntN(sum)
	for _, c := range from {
		if n -= c.weight; n < 0 {
			return c
		}
	}
	panic("the weights have another sum")
}
