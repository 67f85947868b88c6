package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seriatim/seriatim/e2e/record"
)

// A lane as a sequential machine, for the checker of linearizability. What happens to it: a job is published, a run
// starts, a run finishes. A publish takes effect at some moment between its first sending and its answer, which is what
// the checker searches for; starts and finishes have their moment from the witness. So the order of the jobs of several
// publishers is not taken from the sequences that JetStream answered: any order will do that explains all runs. Only one
// can: a job's first start comes when it is the oldest, so jobs entered the lane in the order of their first starts. The
// machine refuses every other order at once. That takes nothing away, and keeps the search from trying all orders of the
// publishes that were on their way together.
//
// The machine lets a run start only when its job is the oldest unfinished one, or the one that finished last (its
// delete may have got lost with its holder), and with a fence above all before. A run finishes only when no other one
// started since: the fence is still its own. A run that was cut short has no finish, and the next start takes the lane
// over. That two runs met, although one of them did not finish, is not this machine's to find but that of the locks, which
// the record's checker reads.
type laneState struct {
	waiting []int // by op, the oldest first; never changed in place
	last    int   // the job that finished last; 0 is none
	fence   uint64
	runs    int // the job that runs; 0 is none
	entered int // how many were published
}

// laneStep is an input of the machine.
type laneStep struct {
	what  string // of the record, or published
	op    int
	fence uint64
	place int // of a publish: the how many-th of its lane, from 1
}

const published = "published"

func (s laneState) step(in laneStep) (laneState, bool) {
	switch in.what {
	case published:
		if in.place != s.entered+1 {
			return s, false
		}
		s.entered++
		s.waiting = append(s.waiting[:len(s.waiting):len(s.waiting)], in.op)
		return s, true
	case record.Start:
		head := len(s.waiting) > 0 && s.waiting[0] == in.op
		if in.fence <= s.fence || !head && s.last != in.op {
			return s, false
		}
		if head {
			s.last = 0 // the one before it can never run again
		}
		s.fence, s.runs = in.fence, in.op
		return s, true
	case record.Finish:
		if s.runs != in.op || s.fence != in.fence {
			return s, false
		}
		if s.runs = 0; s.last != in.op {
			s.waiting, s.last = s.waiting[1:], in.op
		}
		return s, true
	default: // a run that says that it did not do its work
		ok := s.runs == in.op && s.fence == in.fence
		s.runs = 0
		return s, ok
	}
}

func laneModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return laneState{} },
		Step: func(state, input, _ any) (bool, any) {
			next, ok := state.(laneState).step(input.(laneStep))
			return ok, next
		},
		Equal: func(a, b any) bool {
			x, y := a.(laneState), b.(laneState)
			return x.last == y.last && x.fence == y.fence && x.runs == y.runs && x.entered == y.entered && slices.Equal(x.waiting, y.waiting)
		},
		DescribeOperation: func(input, _ any) string {
			in := input.(laneStep)
			return fmt.Sprintf("%s %d, fence %d", in.what, in.op, in.fence)
		},
	}
}

// linearBound is how long one lane's search may take. A search that is not through by then proves nothing.
const linearBound = time.Minute

// Linear checks every entity for itself and lists those whose history no order explains, and those whose search was not
// through in time. all and log are as Expect returned them, with copies among all.
func Linear(all []Published, log record.Log) (lanes int, broken, unknown []string) {
	history := map[string][]porcupine.Operation{}
	entered := map[string]int{}
	for _, p := range byFirstStart(all, log) {
		entered[p.Entity]++
		history[p.Entity] = append(history[p.Entity], porcupine.Operation{
			Input: laneStep{what: published, op: p.Op, place: entered[p.Entity]}, Call: p.Call, Return: p.Ack,
		})
	}
	for _, e := range log.Events {
		if e.What == record.LockBusy {
			continue // no run
		}
		history[e.Entity] = append(history[e.Entity], porcupine.Operation{
			Input: laneStep{what: e.What, op: e.Op, fence: e.Fence}, Call: e.T, Return: e.T,
		})
	}
	for entity, ops := range history {
		switch porcupine.CheckOperationsTimeout(laneModel(), ops, linearBound) {
		case porcupine.Illegal:
			broken = append(broken, entity)
		case porcupine.Unknown:
			unknown = append(unknown, entity)
		case porcupine.Ok:
		}
	}
	slices.Sort(broken)
	slices.Sort(unknown)
	return len(history), broken, unknown
}

// byFirstStart sorts publishes by when their job started first; what never did comes last, in the order of its sending.
func byFirstStart(all []Published, log record.Log) []Published {
	started := map[int]int64{}
	for _, e := range log.Events {
		if at, known := started[e.Op]; e.What == record.Start && (!known || e.T < at) {
			started[e.Op] = e.T
		}
	}
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b Published) int {
		x, aDid := started[a.Op]
		y, bDid := started[b.Op]
		switch {
		case aDid && bDid:
			return cmp.Compare(x, y)
		case aDid:
			return -1
		case bDid:
			return 1
		}
		return cmp.Compare(a.Call, b.Call)
	})
	return sorted
}
