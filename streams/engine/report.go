package engine

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// What becomes of a job is stored before it is told here, to the queue's history and to who waits for the job. Neither is
// waited for: a record that is not stored and a reply that nobody gets change nothing for the lane.

// report tells what became of a job, once that is stored.
func (e *Engine) report(name string, r lane.Report) {
	if r.End == lane.EndHalted {
		e.opts.Log.Error().Str("lane", name).Uint64("seq", r.Head.Seq).Str("cause", r.Record.Cause).Str("error", r.Record.Error).
			Msg("the job is dead and halts its lane until an operator releases it")
	}
	msg, ok := r.Head.Payload.(*message)
	if !ok {
		return // a job that was never read, so nobody knows who waits for it
	}
	if r.End == lane.EndDead { // not when its letter is stored: a letter that was sent twice is answered twice
		e.opts.Observe(Event{
			Kind: EventDead, Queue: msg.queue, Entity: msg.entity, Header: msg.job, Seq: r.Head.Seq, Attempt: r.Record.Attempt,
			Outcome: r.Record.Cause, Error: r.Record.Error,
		})
	}
	f := e.finishedJob(name, msg, r)
	if r.End != lane.EndRetry && (f.Wanted(e.queue(name).loaded.Policy.History) || e.awaited(name, msg)) {
		_, token, _ := strings.Cut(name, ".")
		e.record(name, f.Message(msg.queue, token))
	}
	if msg.job.ReplyTo != "" {
		e.reply(msg, f, r)
	}
}

// recordAskEvery is how often one asks whether records are stored: an answer to each would cost more than the record.
const recordAskEvery = time.Second

func (e *Engine) record(name string, m *nats.Msg) {
	q := e.queue(name)
	if q.recordAsked == 0 || e.now() >= q.recordAsked+recordAskEvery {
		q.recordAsked = e.now()
		e.wire.send(ask{kind: askHistory, lane: name}, m.Subject, m.Header, m.Data)
		return
	}
	_ = e.conn.PublishMsg(m) // a connection that is down is told of elsewhere
}

// awaited says that a job's record is kept although nothing went wrong: who waits for it may have missed the reply.
func (e *Engine) awaited(name string, msg *message) bool {
	return msg.job.ReplyTo != "" && e.queue(name).loaded.Policy.History != streams.HistoryOff
}

// finishedJob is the record of a job.
func (e *Engine) finishedJob(name string, msg *message, r lane.Report) streams.Finished {
	f := streams.Finished{
		Seq: r.Head.Seq, ID: msg.job.ID, Kind: msg.job.Kind, Entity: msg.entity.String(), Outcome: r.End.String(),
		Attempts: r.Record.Attempt, Interrupted: r.Record.Interrupted, Worker: e.opts.Worker, Fence: r.Record.RunFence(),
		PublishedAt: msg.published().UTC(), TookMS: r.Outcome.Took.Milliseconds(), Log: r.Outcome.Log, Tries: r.Record.Tries,
	}
	if msg.entity == (subjects.Entity{}) {
		_, f.Entity, _ = strings.Cut(name, ".")
	}
	if f.ID == "" { // its headers cannot be used
		f.ID = fmt.Sprintf("%s-%d", msg.queue, f.Seq)
	}
	if !r.Outcome.StartedAt.IsZero() {
		f.StartedAt = r.Outcome.StartedAt.UTC()
	}
	switch r.End {
	case lane.EndDone:
	case lane.EndCancelled:
		f.Cause, f.Error = r.Outcome.Cause.String(), r.Outcome.Error
	default:
		f.Cause, f.Error = r.Record.Cause, r.Record.Error
		if n := len(f.Tries); n > 0 {
			last := f.Tries[n-1]
			f.Fence = last.Fence // the record has been rewritten since
			if f.Log == "" {
				f.Log = last.Log
			}
		}
	}
	return f
}

// recordStored reads the answer to a record of the history. Trouble is told once, until a record is stored again.
func (e *Engine) recordStored(name string, m *nats.Msg) {
	q := e.queue(name)
	ans, ok := readAnswer(m)
	if ok && ans.code() == 0 {
		q.historyLost = false
		return
	}
	if q.historyLost {
		return
	}
	q.historyLost = true
	ev := e.opts.Log.Warn().Str("queue", string(q.name))
	if !ok {
		ev.Str("hint", "make what an earlier version did not: coordinator queue edit "+string(q.name)).
			Msg("records of finished jobs are not stored: the queue has no history; jobs go on")
		return
	}
	ev.Int("code", ans.code()).Str("answer", string(m.Data)).Msg("a record of a finished job was not stored; jobs go on")
}

// reply tells who waits for the job.
func (e *Engine) reply(msg *message, f streams.Finished, r lane.Report) {
	reply := msg.reply(f.Seq)
	reply.Outcome, reply.Cause, reply.Error, reply.Attempts, reply.Worker, reply.Fence = f.Outcome, f.Cause, f.Error, f.Attempts, f.Worker, f.Fence
	switch r.End {
	case lane.EndDone:
		reply.SetResult(r.Outcome.Result)
	case lane.EndRetry:
		reply.Outcome = streams.OutcomeRetry
		if r.Record.NotBefore != 0 {
			reply.RetryAt = time.UnixMilli(r.Record.NotBefore).UTC()
		}
	}
	m := reply.Message(msg.job.ReplyTo, e.conn.MaxPayload())
	if m == nil {
		e.noReply(msg)
		return
	}
	// A connection that is down takes nothing: then who waits looks into the stores.
	_ = e.conn.PublishMsg(m)
}

// reply is what every reply about a job says.
func (m *message) reply(seq uint64) streams.Reply {
	return streams.Reply{Queue: string(m.queue), Entity: m.entity.String(), Kind: m.job.Kind, ID: m.job.ID, Seq: seq}
}

// noReply tells that replies of this publisher go nowhere: seldom, because each of its jobs may ask for one.
func (e *Engine) noReply(msg *message) {
	if e.repliedAt != 0 && e.at < e.repliedAt+unservedEvery {
		return
	}
	e.repliedAt = e.at
	e.opts.Log.Warn().Str("queue", string(msg.queue)).Str("entity", msg.entity.String()).Str("reply_to", msg.job.ReplyTo).
		Msg("nothing is sent to this subject: workers reply to inboxes (_INBOX.…) and to results.… alone")
}

// progressEvery bounds how often one job's progress is sent.
const progressEvery = 100 * time.Millisecond

// teller sends a job's progress to who waits for it.
type teller struct {
	conn *nats.Conn
	msg  *message
	from time.Time    // when it was made
	last atomic.Int64 // when progress was sent, in nanoseconds since from; 0 for never
}

// Progress tells who waits for the job how far it is; of is 0 when nobody knows how far it has to go. Any goroutine, while
// the job runs. What comes faster than ten times a second is dropped, and so is all when nobody waits.
func (j *Job) Progress(at, of float64, note string) {
	t := j.tell
	if t == nil {
		return
	}
	now, last := max(1, int64(time.Since(t.from))), t.last.Load()
	if last != 0 && now-last < int64(progressEvery) || !t.last.CompareAndSwap(last, now) {
		return
	}
	reply := t.msg.reply(j.Seq)
	reply.Outcome, reply.At, reply.Of, reply.Note, reply.Fence = streams.OutcomeProgress, at, of, note, j.Fence
	reply.Attempts = j.Attempt
	if m := reply.Message(t.msg.job.ReplyTo, t.conn.MaxPayload()); m != nil {
		_ = t.conn.PublishMsg(m) // as of an outcome
	}
}

// tellerOf is nil when nobody waits for the job.
func (e *Engine) tellerOf(msg *message) *teller {
	if msg.job.ReplyTo == "" {
		return nil
	}
	return &teller{conn: e.conn, msg: msg, from: time.Now()}
}
