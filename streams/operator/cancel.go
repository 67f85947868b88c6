package operator

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// CancelJobs removes jobs of a lane that do not run, as RemoveJobs does, and tells what became of them to the queue's
// history and to who waits for them. A job that runs is cancelled by who runs it.
func CancelJobs(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, seqs []uint64) (Removal, error) {
	if len(seqs) == 0 {
		return Removal{}, nil
	}
	return removeJobs(ctx, js, q, e, seqs, "job-cancel", func(s *Session, h *hold, m streams.Message) { s.tellCancelled(e, h, m) })
}

// tellCancelled tells of a job that is gone. Nothing waits for it, and when it is not heard it is not said again: a worker
// does no more for the jobs that it ends.
func (s *Session) tellCancelled(e subjects.Entity, h *hold, m streams.Message) {
	header, err := subjects.ReadJobHeader(s.queue, m.Seq, m.Header)
	if err != nil {
		return // nobody can be told by what cannot be read
	}
	f := streams.Finished{
		Seq: m.Seq, ID: header.ID, Kind: header.Kind, Entity: e.String(), Outcome: lane.EndCancelled.String(),
		Error: "cancelled by an operator before it ran", PublishedAt: m.Time.UTC(),
	}
	if h.had && h.before.Job == m.Seq {
		f.Attempts, f.Interrupted, f.Tries = h.before.Counts.Attempt()-1, h.before.Interrupted, h.before.Tries
	}
	nc := s.js.Conn()
	if f.Wanted(s.loaded.Policy.History) {
		_ = nc.PublishMsg(f.Message(s.queue, e.Token()))
	}
	if header.ReplyTo == "" {
		return
	}
	r := streams.Reply{Queue: string(s.queue), Entity: f.Entity, Kind: f.Kind, ID: f.ID, Seq: f.Seq, Outcome: f.Outcome, Error: f.Error, Attempts: f.Attempts}
	if msg := r.Message(header.ReplyTo, nc.MaxPayload()); msg != nil {
		_ = nc.PublishMsg(msg)
	}
}
