package engine

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// sessionWrite is the own session's record on its way. Sent again it is the same to the byte.
type sessionWrite struct {
	op     lane.Op
	id     string // of the session
	write  string
	body   []byte
	expect uint64
	sent   int
	wall   time.Time
	seen   bool // by the watch
}

// writeSession stores the own record by compare-and-set.
func (e *Engine) writeSession(w lane.WriteSession) {
	if s := e.sessionWrite; s == nil || s.op != w.Op || s.id != w.ID {
		body, err := e.describe(w.ID).Encode()
		if err != nil {
			panic(err) // a record has no field that can fail to encode
		}
		e.sessionWrite = &sessionWrite{
			op: w.Op, id: w.ID, expect: w.Expect, body: body, wall: time.Now(),
			write: e.writeID(),
		}
	}
	s := e.sessionWrite
	s.sent++
	e.putSession(ask{kind: askSession, op: s.op}, s.id, s.write, s.expect, s.body)
}

func (e *Engine) putSession(a ask, session, write string, expect uint64, body []byte) {
	h := nats.Header{
		headerWrite:  {write},
		headerExpect: {strconv.FormatUint(expect, 10)},
		headerTTL:    {strconv.Itoa(int(streams.RecordTTL(e.lease)/time.Second)) + "s"},
	}
	e.wire.send(a, e.kv+sessionSubject(session), h, body)
}

func sessionSubject(session string) string { return "$KV." + subjects.WorkersBucket + "." + session }

// describe is the record of the own session as it is now.
func (e *Engine) describe(session string) streams.SessionRecord {
	r := streams.SessionRecord{
		Session: session, FirstSeq: e.firstSeq[session], Worker: e.opts.Worker, State: e.phase,
		StartedAt: e.startedAt, BeatAt: time.Now().UTC(), LeaseMS: e.lease.Milliseconds(),
		Slots: e.slots, BusyByQueue: map[string]int{},
	}
	for _, q := range e.opts.Queues {
		r.Queues = append(r.Queues, string(q))
	}
	e.fence.each(func(run *run) {
		r.Busy++
		r.BusyByQueue[queueOf(run.lane)]++
	})
	e.opts.Describe(&r)
	return r
}

// declareDead writes `dead` on a session's record that was silent for a lease.
func (e *Engine) declareDead(d lane.WriteDead) {
	r := e.others[d.Session]
	r.Session, r.State = d.Session, streams.StateDead
	e.end(r, d.Expect, func(ok bool) {
		if !ok {
			return
		}
		e.opts.Log.Warn().Str("session", d.Session).Str("host", r.Host).Int("pid", r.PID).
			Msg("a worker is lost: its session was silent for a lease and is declared dead; its lanes can be taken over")
		e.holder.See(lane.Sighting{Session: d.Session, Seq: d.Expect + 1, Final: true})
		e.wantSweep("a worker was lost")
	})
}

// sayGoodbye ends a session of one's own whose groups are empty and whose claims are given back.
func (e *Engine) sayGoodbye(f lane.Farewell, then func(ok bool)) {
	r := e.describe(f.Session)
	r.State = streams.StateStopped
	e.end(r, f.Expect, then)
}

func (e *Engine) end(r streams.SessionRecord, expect uint64, then func(ok bool)) {
	body, err := r.Encode()
	if err != nil {
		panic(err)
	}
	if then == nil {
		then = func(bool) {}
	}
	e.putSession(ask{kind: askBye, then: then}, r.Session, e.writeID(), expect, body)
}

// sessionAnswered reads the answers about session records.
func (e *Engine) sessionAnswered(a ask, m *nats.Msg) {
	if a.kind == askOwn {
		seq, header, _, found, ok := readStored(m)
		s := e.sessionWrite
		switch {
		case !ok || s == nil || s.op != a.op:
		case found && last(header, headerWrite) == s.write:
			e.sessionStored(a.op, seq)
		default:
			e.holder.SessionRefused(a.op)
		}
		return
	}
	ans, ok := readAnswer(m)
	code := ans.code()
	refused := ans.refused()
	switch {
	case a.kind == askBye:
		a.then(ok && code == 0)
	case !ok || code != 0 && !refused:
		// The tick sends it again.
	case refused && e.sessionWrite != nil && e.sessionWrite.sent > 1:
		e.wire.send(ask{kind: askOwn, op: a.op}, e.api+"STREAM.MSG.GET.KV_"+subjects.WorkersBucket, nil,
			[]byte(`{"last_by_subj":`+quote(sessionSubject(e.sessionWrite.id))+`}`))
	case refused:
		e.holder.SessionRefused(a.op)
	default:
		e.sessionStored(a.op, ans.Seq)
	}
}

// sessionStored: the own record stands. Its first sequence goes into all later ones: it tells who of two was there first.
func (e *Engine) sessionStored(op lane.Op, seq uint64) {
	if s := e.sessionWrite; s != nil && s.op == op && s.expect == 0 {
		if e.firstSeq != nil {
			e.sessions.Anew() // perhaps the bucket was made anew, and that is why there is another session
		}
		e.firstSeq = map[string]uint64{s.id: seq}
		e.sessionBegun()
	}
	e.holder.SessionStored(op, seq)
}

// watchSessions follows all session records until ctx ends.
func (e *Engine) watchSessions(ctx context.Context, kv jetstream.KeyValue) error {
	var err error
	e.sessions, err = streams.WatchKeys(ctx, e.conn, kv, streams.KeyTold{
		Key: func(entry jetstream.KeyValueEntry) bool {
			e.in.put(item{do: func() { e.sessionSeen(entry) }})
			return entry.Operation() == jetstream.KeyValuePut
		},
		Listed: func(there map[string]bool) { e.in.put(item{do: func() { e.sessionsListed(there) }}) },
	})
	if err != nil {
		return err
	}
	e.tasks.Add(1)
	go func() {
		defer e.tasks.Done()
		<-ctx.Done()
		e.sessions.Stop()
	}()
	return nil
}

// sessionsListed forgets sessions whose records are gone, although nobody told that they went.
func (e *Engine) sessionsListed(there map[string]bool) {
	for id := range e.others {
		if !there[id] {
			e.forget(id)
		}
	}
}

func (e *Engine) forget(session string) {
	delete(e.others, session)
	e.holder.Forget(session)
}

// sessionSeen notes a session's record.
func (e *Engine) sessionSeen(entry jetstream.KeyValueEntry) {
	id := entry.Key()
	if entry.Operation() != jetstream.KeyValuePut {
		e.forget(id)
		return
	}
	r, err := streams.DecodeSession(entry.Value())
	if err != nil && !errors.Is(err, streams.ErrNewerRecord) || r.Session != id {
		return // not a session's
	}
	if s := e.sessionWrite; s != nil && !s.seen && s.sent == 1 && bytes.Equal(entry.Value(), s.body) {
		// Our own record's time stamp, against ours when we sent it: how far the clocks are apart, for delays alone. A record
		// that is told late, or again, says nothing of that.
		s.seen = true
		e.skew = entry.Created().Sub(s.wall.Add(time.Since(s.wall) / 2))
	}
	e.others[id] = r
	e.holder.See(lane.Sighting{
		Session: id, Seq: entry.Revision(), Lease: r.Lease(), Final: r.Final(),
	})
}
