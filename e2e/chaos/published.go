package chaos

import (
	"cmp"
	"slices"

	"github.com/seriatim/seriatim/e2e/record"
)

// Published is a job as its publisher saw it. Times are of the record's clock.
type Published struct {
	Op     int
	Entity string
	// Call is when it was first sent, Ack when the first answer came that it is stored, as message Seq.
	Call, Ack int64
	Seq       uint64
	// Sent is how often it was sent.
	Sent int
}

// Expect makes the list of jobs for the checker: each entity's in the order in which the stream has them, because
// several publishers may publish to one entity at once.
//
// JetStream forgets which ids it has seen when a server starts again after the message was deleted. A job whose first
// answer got lost, that ran, and that is sent again after that is a second message. The list has such copies as jobs of
// their own, under numbers from `first` on, and the log that is returned has their runs under these numbers. Only jobs
// that were sent more than once can have copies: else a run of a foreign message stays what it is, a run of the wrong
// job, and the checker finds it.
func Expect(all []Published, log record.Log) (jobs []record.Job, renamed record.Log, copies []Published) {
	byOp := map[int]Published{}
	next := 0
	for _, p := range all {
		byOp[p.Op] = p
		next = max(next, p.Op+1)
	}
	type message struct {
		op  int
		seq uint64
	}
	number := map[message]int{}
	renamed = record.Log{Events: slices.Clone(log.Events), Torn: log.Torn}
	for i, e := range renamed.Events {
		p, known := byOp[e.Op]
		if !known || e.Seq == p.Seq || p.Sent < 2 || e.Entity != p.Entity {
			continue
		}
		m := message{e.Op, e.Seq}
		if number[m] == 0 {
			number[m] = next
			c := p
			c.Op, c.Seq = next, e.Seq
			copies = append(copies, c)
			next++
		}
		renamed.Events[i].Op = number[m]
	}
	stored := append(slices.Clone(all), copies...)
	slices.SortFunc(stored, func(a, b Published) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, p := range stored {
		jobs = append(jobs, record.Job{Op: p.Op, Entity: p.Entity})
	}
	return jobs, renamed, copies
}
