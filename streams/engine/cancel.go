package engine

import (
	"context"
	"errors"

	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// ErrCancelled is the cause with which the context of a job ends that an operator cancelled: the job alone is meant, not
// the worker.
var ErrCancelled = errors.New("cancelled by an operator")

// What Cancel did about a job.
const (
	// CancelRunning: it runs, and is being ended.
	CancelRunning = "running"
	// CancelNoted: it waits behind what this worker has in hand, and is not started when its turn comes here. It may come
	// elsewhere: ask again until it is gone.
	CancelNoted = "noted"
	// CancelAbsent: this worker has nothing of the lane in hand. Should the lane come, the job is not started.
	CancelAbsent = "absent"
)

var cancelNames = [...]string{lane.CancelAbsent: CancelAbsent, lane.CancelNoted: CancelNoted, lane.CancelNow: CancelRunning}

// Cancel ends jobs of a lane, as far as this worker has the lane in hand, and says for each sequence what it did. The
// job that runs is asked to end, then ended by force, and deleted when its processes are gone. Any goroutine.
func (e *Engine) Cancel(ctx context.Context, q subjects.Queue, entity subjects.Entity, seqs []uint64) (map[uint64]string, error) {
	answer := make(chan []lane.CancelState, 1)
	e.in.put(item{do: func() { answer <- e.holder.Cancel(string(q)+"."+entity.Token(), seqs) }})
	select {
	case states := <-answer:
		did := make(map[uint64]string, len(seqs))
		for i, seq := range seqs {
			did[seq] = cancelNames[states[i]]
		}
		return did, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-e.ended:
		return nil, errEnded
	}
}
