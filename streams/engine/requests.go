package engine

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
)

// write is a claim's compare-and-set on its way. Its id stands in the stored record, so that a refusal of the second
// sending can be told from a refusal of the first: the server checks the expected sequence before it looks for
// duplicates, and so refuses a write that it has stored already.
type write struct {
	id   string
	op   lane.Op
	sent int
}

// writeID is an id that no other write has.
func (e *Engine) writeID() string {
	e.lastWrite++
	return e.lifeID + "-" + strconv.FormatUint(e.lastWrite, 36)
}

const (
	headerWrite  = "Seriatim-Write"
	headerExpect = "Nats-Expected-Last-Subject-Sequence"
	headerTTL    = "Nats-TTL"
)

// perform carries out a lane's action.
func (e *Engine) perform(name string, a lane.Action) {
	switch a := a.(type) {
	case lane.ReadHead:
		e.readHead(name, a)
	case lane.ReadRecord:
		e.readRecord(ask{kind: askRecord, lane: name, op: a.Op})
	case lane.WriteClaim:
		e.writeClaim(name, a)
	case lane.Start:
		e.start(name, a)
	case lane.Kill:
		var why error
		if a.Cancel {
			why = ErrCancelled
		}
		e.fence.end(name, a.Fence, a.Now, why)
	case lane.DeleteJob:
		e.wire.send(ask{kind: askDelete, lane: name, op: a.Op}, e.api+"STREAM.MSG.DELETE."+streamOf("JOBS_", name), nil,
			[]byte(`{"seq":`+strconv.FormatUint(a.Seq, 10)+`,"no_erase":true}`))
	case lane.MoveDead:
		e.moveDead(name, a)
	case lane.MoveLater:
		e.moveLater(name, a)
	case lane.Report:
		e.report(name, a)
	case lane.EndTurn:
		e.endTurn(name, a)
	case lane.NakTurn:
		e.nakTurn(name, a)
	case lane.PublishTurn:
		e.publishTurn(name, a)
	case lane.Drop:
		e.dropped(name)
	}
}

func (e *Engine) writeClaim(name string, a lane.WriteClaim) {
	w := e.writes[name]
	if w == nil || w.op != a.Op {
		w = &write{id: e.writeID(), op: a.Op}
		e.writes[name] = w
	}
	w.sent++
	h := nats.Header{headerWrite: {w.id}}
	// A lane that no request can name has no record that could be read. Nothing ever runs in it: its jobs are dead at
	// once, and the move's id keeps two holders from moving one twice.
	if !a.Any && utf8.ValidString(name) {
		h[headerExpect] = []string{strconv.FormatUint(a.Expect, 10)}
	}
	if a.TTL > 0 {
		h[headerTTL] = []string{strconv.Itoa(int(a.TTL/time.Second)) + "s"}
	}
	e.wire.send(ask{kind: askClaim, lane: name, op: a.Op, write: w}, "claims."+name, h, a.Record.Encode())
}

// readRecord reads a lane's claim. On one server there is one copy, and the cheap read sees it; replicated, only the
// leader knows.
func (e *Engine) readRecord(a ask) {
	stream := streamOf("CLAIMS_", a.lane)
	if !e.queue(a.lane).replicated {
		e.wire.send(a, e.api+"DIRECT.GET."+stream, nil, []byte(`{"last_by_subj":`+quote("claims."+a.lane)+`}`))
		return
	}
	e.wire.send(a, e.api+"STREAM.MSG.GET."+stream, nil, []byte(`{"last_by_subj":`+quote("claims."+a.lane)+`}`))
}

// delivery is a turn's Token: how to answer it.
type delivery struct{ reply string }

// ending is how often the end of a lane's turn was sent.
type ending struct {
	op   lane.Op
	sent int
}

// ackTries is how often an ack without an answer is sent again before the turn is deleted instead. The server never
// answers the ack of a sequence that its consumer has not reached, as when the stream of turns was made anew or restored.
const ackTries = 3

func (e *Engine) endTurn(name string, a lane.EndTurn) {
	before := e.ends[name]
	if before.op != a.Op {
		before = ending{op: a.Op}
	}
	before.sent++
	e.ends[name] = before
	if e.queue(name).replicated || before.sent > ackTries {
		// After a confirmed ack the message stays visible for milliseconds on other servers, and refuses new turns.
		e.wire.send(ask{kind: askEnd, lane: name, op: a.Op}, e.api+"STREAM.MSG.DELETE."+streamOf("TURNS_", name), nil,
			[]byte(`{"seq":`+strconv.FormatUint(a.Turn.Seq, 10)+`,"no_erase":true}`))
		return
	}
	d, _ := a.Turn.Token.(delivery)
	e.wire.send(ask{kind: askEnd, lane: name, op: a.Op}, d.reply, nil, ackAck)
}

var (
	ackAck      = []byte("+ACK")
	ackNak      = []byte("-NAK")
	ackProgress = []byte("+WPI")
)

func (e *Engine) nakTurn(name string, a lane.NakTurn) {
	d, _ := a.Turn.Token.(delivery)
	body := ackNak
	if a.Delay > 0 {
		body = []byte(`-NAK {"delay":` + strconv.FormatInt(int64(a.Delay), 10) + `}`)
	}
	e.wire.send(ask{kind: askNak, lane: name, op: a.Op}, d.reply, nil, body)
}

// headerGuess tells the taker of a turn that a holder published which job it saw at the head.
const headerGuess = "Seriatim-Head"

func (e *Engine) publishTurn(name string, a lane.PublishTurn) {
	var h nats.Header
	if a.Guess != 0 {
		h = nats.Header{headerGuess: {strconv.FormatUint(a.Guess, 10)}}
	}
	e.wire.send(ask{kind: askTurn, lane: name, op: a.Op}, "turns."+name, h, nil)
}

// moveDead publishes the dead letter. Its id makes the second sending of one move a duplicate.
func (e *Engine) moveDead(name string, a lane.MoveDead) {
	msg := a.Head.Payload.(*message)
	r := a.Record
	counts, err := json.Marshal(r.Counts)
	if err != nil {
		panic(err) // numbers always marshal
	}
	m := streams.DeadMessage(msg.queue, streams.Message{
		Subject: "jobs." + name, Seq: a.Head.Seq, Header: subjects.Header(msg.header), Data: msg.body,
	}, streams.Death{
		Cause: r.Cause, Error: r.Error, Attempts: r.Attempt, PublishedAt: msg.published(),
		Worker: e.opts.Worker, History: string(counts), Tries: r.Tries, Room: e.conn.MaxPayload(),
	})
	if !a.Move {
		m.Header.Del(subjects.HeaderMsgID)
	}
	fitHeaders(m.Header, msg.header)
	e.wire.send(ask{kind: askDead, lane: name, op: a.Op}, m.Subject, m.Header, m.Data)
}

// moveLater stores a failed job in the schedule, with what it was charged with. The move's id makes the second sending a
// duplicate.
func (e *Engine) moveLater(name string, a lane.MoveLater) {
	msg := a.Head.Payload.(*message)
	r := a.Record
	carried := streams.Carried{Counts: r.Counts, Tries: r.Tries, Published: msg.published()}
	// What the job brings along must not make it too large for its lane, or for the server. Counts have room.
	bare := streams.Carried{Counts: r.Counts, Published: carried.Published}.Encode()
	header := maps.Clone(msg.header)
	header[streams.HeaderCarried] = []string{bare}
	m := schedule.Message(msg.queue, streams.Message{
		Subject: "jobs." + name, Seq: a.Head.Seq, Header: subjects.Header(header), Data: msg.body,
	}, time.UnixMilli(r.NotBefore), r.Attempt)
	room := min(maxHeaders-sizeOf(m.Header), int(e.conn.MaxPayload())-m.Size())
	if most := int(e.queue(name).loaded.Policy.MaxJobSize); most > 0 {
		room = min(room, most-schedule.SizeInLane(msg.queue, m))
	}
	m.Header[streams.HeaderCarried] = []string{carried.EncodeWithin(len(bare) + room)}
	fitHeaders(m.Header, msg.job.Own)
	e.wire.send(ask{kind: askDead, lane: name, op: a.Op}, m.Subject, m.Header, m.Data)
}

// maxHeaders is the most bytes of headers that the server takes, with room for its own.
const maxHeaders = 60 << 10

// sizeOf is what headers take up, but for the line before them.
func sizeOf(h nats.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// fitHeaders drops the publisher's own headers, the largest first, until the dead letter can be stored: a letter
// without some of them is better than a lane that stands still for ever.
func fitHeaders[V any](h nats.Header, own map[string]V) {
	size := func(key string) int { return sizeOf(nats.Header{key: h[key]}) }
	total := sizeOf(h)
	for total > maxHeaders {
		largest := ""
		for key := range own {
			if size(key) > size(largest) {
				largest = key
			}
		}
		if largest == "" {
			return
		}
		total -= size(largest)
		delete(h, largest)
	}
}

// start runs a job on a goroutine of its own; the fence knows it until it is over.
func (e *Engine) start(name string, a lane.Start) {
	msg := a.Head.Payload.(*message)
	kill := make(chan struct{})
	job := &Job{
		Queue: msg.queue, Entity: msg.entity, Header: msg.job, Kill: kill,
		Seq: a.Head.Seq, Fence: a.Fence, Attempt: a.Attempt, Body: msg.body, tell: e.tellerOf(msg),
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &run{lane: name, fence: a.Fence, job: job, stop: cancel, kill: kill, since: e.now(), wall: time.Now()}
	if !e.fence.add(r) {
		cancel(nil)
		e.in.put(item{done: r, out: lane.Outcome{Cause: lane.CauseInterrupted, NotStarted: true}})
		return
	}
	e.heldStale = true
	jobEvent(e.opts.Log.Debug(), r).Msg("start")
	e.opts.Observe(eventOf(EventStart, r, max(0, e.serverNow().Sub(msg.stored))))
	e.runs.Add(1)
	go func() {
		defer e.runs.Done()
		out := e.opts.Runner.Run(ctx, job)
		e.fence.remove(r)
		cancel(nil)
		e.in.put(item{done: r, out: out})
	}()
}
