package engine

import (
	"encoding/json"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

// errMaxPerSubject is the server's error code for a turn that its lane has already.
const errMaxPerSubject = 10077

// apiAnswer is what publishes and API requests answer, as far as it matters.
type apiAnswer struct {
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Success   bool   `json:"success"`
	Error     *struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

func readAnswer(m *nats.Msg) (apiAnswer, bool) {
	var a apiAnswer
	if noResponders(m) || json.Unmarshal(m.Data, &a) != nil {
		return a, false
	}
	return a, true
}

func (a apiAnswer) code() int {
	if a.Error == nil {
		return 0
	}
	return a.Error.ErrCode
}

// refused says that a compare-and-set met another record.
func (a apiAnswer) refused() bool { return streams.WrongLast(jetstream.ErrorCode(a.code())) }

// gone says that a delete found nothing left to delete.
func (a apiAnswer) gone() bool {
	return a.Error != nil && streams.NothingDeleted(jetstream.ErrorCode(a.Error.ErrCode), a.Error.Description)
}

// answered turns an answer into the lane's event. Requests whose answer has several messages stay known until the last.
func (e *Engine) answered(n uint64, m *nats.Msg) {
	a, ok := e.wire.asks[n]
	if !ok {
		return
	}
	switch a.kind {
	case askHeads:
		if e.headsAnswered(a.heads, m) {
			delete(e.wire.asks, n)
		}
		return
	case askFirst:
		if e.firstAnswered(a, m) {
			delete(e.wire.asks, n)
		}
		return
	}
	delete(e.wire.asks, n)
	switch a.kind {
	case askHead:
		e.leaderHeadAnswered(a, m)
	case askRecord, askOurs:
		e.recordAnswered(a, m)
	case askHistory:
		e.recordStored(a.lane, m)
	case askLimit, askLimitRead:
		e.limitAnswered(a, m)
	case askPause:
		e.pauseAnswered(a, m)
	case askEnd, askNak:
		e.turnAnswered(a, m)
	case askSession, askOwn, askBye:
		e.sessionAnswered(a, m)
	default:
		e.storeAnswered(a, m)
	}
}

// unsent: the request could not be sent.
func (e *Engine) unsent(n uint64) {
	a, ok := e.wire.asks[n]
	if !ok {
		return
	}
	delete(e.wire.asks, n)
	if a.kind == askHeads {
		for _, w := range a.heads.wanted {
			e.holder.Lane(w.lane, lane.Failed{Op: w.op})
		}
		return
	}
	if a.then != nil {
		a.then(false)
	}
	if a.gate != nil {
		a.gate.Failed(a.limit)
	}
	if a.lane != "" && a.kind != askHistory {
		e.holder.Lane(a.lane, lane.Failed{Op: a.op})
	}
}

// storeAnswered reads the answers of publishes and deletes.
func (e *Engine) storeAnswered(a ask, m *nats.Msg) {
	ans, ok := readAnswer(m)
	ev := lane.Event(lane.Failed{Op: a.op})
	code := ans.code()
	switch {
	case !ok:
	case a.kind == askClaim && code == 0:
		delete(e.writes, a.lane)
		ev = lane.Stored{Op: a.op, Seq: ans.Seq}
	case a.kind == askClaim && ans.refused():
		if a.write.sent > 1 {
			// Perhaps the first sending is what stands.
			e.readRecord(ask{kind: askOurs, lane: a.lane, op: a.op, write: a.write})
			return
		}
		delete(e.writes, a.lane)
		ev = lane.Refused{Op: a.op}
	case a.kind == askDelete && (code == 0 && ans.Success || ans.gone()):
		ev = lane.Deleted{Op: a.op}
	case a.kind == askDead && code == 0:
		// Stored, or a duplicate of this very move: either way the letter is there.
		ev = lane.Moved{Op: a.op}
	case a.kind == askTurn && (code == 0 || code == errMaxPerSubject):
		ev = lane.Published{Op: a.op}
		e.visited(a.lane)
	}
	if _, failed := ev.(lane.Failed); failed && ok {
		e.opts.Log.Warn().Str("lane", a.lane).Int("code", code).Str("answer", string(m.Data)).Msg("the server refused a request; it is tried again")
	}
	e.holder.Lane(a.lane, ev)
}

// recordAnswered reads a claim, by direct get or from the leader.
func (e *Engine) recordAnswered(a ask, m *nats.Msg) {
	var (
		seq    uint64
		header nats.Header
		body   []byte
		found  bool
		ok     = true
	)
	if e.queue(a.lane).replicated {
		seq, header, body, found, ok = readStored(m)
	} else {
		switch statusOf(m) {
		case "":
			seq, _ = strconv.ParseUint(last(m.Header, "Nats-Sequence"), 10, 64)
			header, body, found = m.Header, m.Data, true
		case "404":
		default:
			ok = false
		}
	}
	if !ok {
		e.holder.Lane(a.lane, lane.Failed{Op: a.op})
		return
	}
	if a.kind == askOurs {
		delete(e.writes, a.lane)
		if found && last(header, headerWrite) == a.write.id {
			e.holder.Lane(a.lane, lane.Stored{Op: a.op, Seq: seq})
		} else {
			e.holder.Lane(a.lane, lane.Refused{Op: a.op})
		}
		return
	}
	ev := lane.RecordRead{Op: a.op}
	if found {
		r, err := lane.DecodeRecord(seq, body)
		if err != nil {
			// Not ours to judge: the lane is left to those who can read it.
			e.opts.Log.Error().Err(err).Str("lane", a.lane).Msg("a claim cannot be read")
			e.holder.Lane(a.lane, lane.Failed{Op: a.op})
			return
		}
		ev.Found, ev.Record = true, r
	}
	if e.holder.LanePaused(a.lane) {
		e.readPause(a, ev)
		return
	}
	e.holder.Lane(a.lane, ev)
}

// turnAnswered reads the answers of acks and NAKs, which are empty, and of deletes.
func (e *Engine) turnAnswered(a ask, m *nats.Msg) {
	ok := !noResponders(m)
	if ok && a.kind == askEnd && len(m.Data) > 0 {
		ans, read := readAnswer(m)
		ok = read && (ans.code() == 0 && ans.Success || ans.gone())
	}
	switch {
	case !ok:
		e.holder.Lane(a.lane, lane.Failed{Op: a.op})
	case a.kind == askEnd:
		e.holder.Lane(a.lane, lane.Ended{Op: a.op})
	default:
		e.holder.Lane(a.lane, lane.Returned{Op: a.op})
	}
}

// finished hands a run's outcome to its lane.
func (e *Engine) finished(r *run, o lane.Outcome) {
	ev := e.opts.Log.Info()
	switch {
	case o.Stuck:
		ev = e.opts.Log.Error()
	case o.Cause != lane.CauseDone:
		ev = e.opts.Log.Warn()
	}
	if o.Error != "" {
		ev = ev.Str("error", o.Error)
	}
	took := e.now() - r.since
	if o.StartedAt.IsZero() {
		o.StartedAt, o.Took = r.wall, took
	}
	o.StartedAt = o.StartedAt.Add(e.skew) // by the server's clock, as all that it is shown beside
	jobEvent(ev, r).Str("outcome", o.Cause.String()).Dur("took", took).Msg("end")
	told := eventOf(EventEnd, r, took)
	told.Outcome, told.Error = o.Cause.String(), o.Error
	e.opts.Observe(told)
	e.heldStale = true
	e.holder.Lane(r.lane, lane.Finished{Fence: r.fence, Outcome: o})
}
