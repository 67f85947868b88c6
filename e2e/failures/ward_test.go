package failures

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// poisonAfter is when a poison acts: others run beside it by then.
const poisonAfter = 300 * time.Millisecond

// ward is a fleet with neighbours of a poison: jobs that have nothing to do with it. What has died is started again, as a
// supervisor does.
type ward struct {
	*scene
	members []*member
	dead    jetstream.Stream
	records chan lane.Record
	lost    map[uint64]int // by job: the most lost workers that a claim of it has counted
	crashed map[uint64]int
	jobs    int
	deaths  int
	looked  time.Time
}

// member is one worker of the fleet.
type member struct {
	name  string
	begin func() *fleet.Process
	proc  *fleet.Process
	alive int64 // when it was last seen so
}

const neighbours = 30 // entities

// policy is that of a ward's queue.
var policy = []string{"--lease", "6s", "--backoff", "50ms,50ms,1,0"}

func newWard(s *scene) *ward {
	s.t.Helper()
	w := &ward{scene: s, lost: map[uint64]int{}, crashed: map[uint64]int{}, records: make(chan lane.Record, 1<<18)}
	js := s.Server.JetStream()
	var err error
	if w.dead, err = js.Stream(s.t.Context(), subjects.Queue(rig.Queue).DeadStream()); err != nil {
		s.t.Fatal(err)
	}
	c, err := js.OrderedConsumer(s.t.Context(), subjects.Queue(rig.Queue).ClaimsStream(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	following, err := c.Consume(func(m jetstream.Msg) {
		if r, err := lane.DecodeRecord(0, m.Data()); err == nil {
			w.records <- r
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(following.Stop)
	return w
}

// host adds a workerd.
func (w *ward) host(h *rig.Host) {
	w.add(h.Name, func() *fleet.Process {
		h.Begin()
		h.Dying() // whenever it likes
		return h.Proc
	})
}

func (w *ward) add(name string, begin func() *fleet.Process) {
	w.members = append(w.members, &member{name: name, begin: begin, proc: begin(), alive: record.Now()})
}

// supervise starts again what has died, keeps the neighbours supplied, and notes what is counted against whom.
func (w *ward) supervise() {
	w.t.Helper()
	for _, m := range w.members {
		if !m.proc.Ended() {
			m.alive = record.Now()
			continue
		}
		w.deaths++
		w.t.Logf("worker %s died: %v", m.name, m.proc.Wait(w.t.Context()))
		w.Fault(record.Kill{At: m.alive, Until: record.Now(), Worker: m.name})
		w.Fault(record.Kill{At: m.alive, Until: record.Now(), PID: m.proc.PID()})
		m.proc = m.begin()
	}
	for {
		select {
		case r := <-w.records:
			w.lost[r.Job], w.crashed[r.Job] = max(w.lost[r.Job], r.Lost), max(w.crashed[r.Job], r.Crashes)
			continue
		default:
		}
		return
	}
}

// supply publishes jobs of neighbours when few are left.
func (w *ward) supply() {
	w.t.Helper()
	if w.jobs > w.Tail.Finished+2*neighbours {
		return
	}
	list := make([]rig.Job, 2*neighbours)
	for i := range list {
		list[i] = rig.Job{Entity: fmt.Sprint("e.", (w.jobs+i)%neighbours), MS: 100}
	}
	w.Import(list...)
	w.jobs += len(list)
}

// poisoned lets the fleet work, gives it a poison, and waits until that is dead. Behind it in its lane is a job that is not.
func (w *ward) poisoned(entity string, o streams.PublishOptions, after streams.PublishOptions) (d streams.DeadInfo, seq uint64) {
	w.t.Helper()
	before := w.Tail.Finished
	w.Await("the fleet works", rig.Bound, func(tail *fleet.Tail) bool {
		w.supervise()
		w.supply()
		return tail.Finished >= before+neighbours
	})
	was := w.letterCount()
	since, from := time.Now(), w.Tail.Finished
	seq = w.publish(entity, o)
	w.publish(entity, after)
	w.Await("the poison is dead", 2*rig.Bound, func(*fleet.Tail) bool {
		w.supervise()
		w.supply()
		if time.Since(w.looked) < 100*time.Millisecond {
			return false
		}
		w.looked = time.Now()
		return w.letterCount() > was
	})
	w.t.Logf("%s was dead after %v, %d deaths of workers so far; %d other jobs were done meanwhile",
		entity, time.Since(since).Round(time.Millisecond), w.deaths, w.Tail.Finished-from)
	return w.letter(entity), seq
}

func (w *ward) letterCount() uint64 {
	w.t.Helper()
	for end := time.Now().Add(rig.Bound); ; {
		info, err := w.dead.Info(w.t.Context())
		if err == nil {
			return info.State.Msgs
		}
		if !streams.IsTemporary(err) || time.Now().After(end) { // memory is short here at times, and all stand still
			w.t.Fatal(err)
		}
	}
}

// finish waits until all is done, and holds the fleet against what is to be: nobody dead but so many poisons, nobody but
// they blamed more than once, and all in order.
func (w *ward) finish(poisons ...uint64) {
	w.t.Helper()
	w.Await("the neighbours are done", 2*rig.Bound, func(tail *fleet.Tail) bool {
		w.supervise()
		return tail.Finished >= w.jobs
	})
	w.AwaitEmpty(rig.Bound)
	for _, m := range w.members {
		if err := m.proc.Stop(rig.Bound); err != nil {
			w.t.Error(err)
		}
	}
	w.supervised()
	if n := w.letterCount(); n != uint64(len(poisons)) {
		w.t.Errorf("%d dead, not %d: %+v", n, len(poisons), w.letters())
	}
	for _, seq := range poisons {
		delete(w.lost, seq)
		delete(w.crashed, seq)
	}
	blamed := map[int]int{}
	for seq, n := range w.lost {
		blamed[n]++
		if n > 2 { // the last loss is never a neighbour's
			w.t.Errorf("job %d, which is no poison, has lost %d workers", seq, n)
		}
	}
	for seq, n := range w.crashed {
		if n > 0 {
			w.t.Errorf("job %d, which is no poison, has crashed %d times", seq, n)
		}
	}
	report := w.Check()
	w.t.Logf("%d jobs of neighbours, %d runs, %d of them again; claims of %d jobs were seen, %d of which had lost a worker once, %d twice",
		report.Jobs, report.Runs, report.Again, blamed[0]+blamed[1]+blamed[2], blamed[1], blamed[2])
}

// supervised reads the last claims.
func (w *ward) supervised() {
	for {
		select {
		case r := <-w.records:
			w.lost[r.Job], w.crashed[r.Job] = max(w.lost[r.Job], r.Lost), max(w.crashed[r.Job], r.Crashes)
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}

// evidence holds the letter of a job that took workers down against what it is to say: each worker, with its time.
func (w *ward) evidence(d streams.DeadInfo) {
	w.t.Helper()
	if d.Cause != "lost" || d.Attempts != 3 || len(d.Tries) != 3 {
		w.t.Errorf("%+v", d)
	}
	behind := record.Now() - time.Now().UnixNano() // what its clock is behind that of the claims
	for i, try := range d.Tries {
		// An engine that died under a guardian that lives is no death to the supervisor.
		name, _, _ := strings.Cut(try.Worker, ".")
		w.Fault(record.Kill{At: try.Start*1e6 + behind, Until: try.End*1e6 + behind, Worker: name})
		w.t.Logf("try %d: %s; on %s from %s to %s", i+1, try.Cause, try.Worker,
			time.UnixMilli(try.Start).Format("15:04:05.000"), time.UnixMilli(try.End).Format("15:04:05.000"))
		if try.Cause != "lost" || try.Worker == "" || try.Start == 0 || try.End <= try.Start || i > 0 && try.Fence <= d.Tries[i-1].Fence {
			w.t.Errorf("%+v", try)
		}
	}
}
