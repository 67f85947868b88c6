package worker

import (
	"context"
	"time"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// controlBound is how long an answer to an operator may take; who asks waits longer.
const controlBound = 3 * time.Second

// controlled does what an operator asks over NATS. When the program ends is its own business.
func (w *Worker) controlled(r streams.ControlRequest) streams.ControlReply {
	refuse := func(err error) streams.ControlReply { return streams.ControlReply{Error: err.Error()} }
	reply := streams.ControlReply{OK: true}
	switch r.Verb {
	case streams.VerbCancel:
		q, err := subjects.ParseQueue(r.Queue)
		if err != nil {
			return refuse(err)
		}
		entity, err := subjects.ParseLane(r.Lane)
		if err != nil {
			return refuse(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), controlBound)
		defer cancel()
		if reply.Jobs, err = w.engine.Cancel(ctx, q, entity, r.Seqs); err != nil {
			return refuse(err)
		}
	case streams.VerbQuiet:
		w.Quiet(true)
		reply.State = streams.StateQuiet
	case streams.VerbResume:
		w.Quiet(false)
		reply.State = streams.StateRunning
	default:
		return streams.ControlReply{
			Error: "it runs inside a program that uses the package worker, and cannot be told to " + r.Verb, Hint: "stop that program",
		}
	}
	reply.Busy = len(w.engine.Running())
	return reply
}
