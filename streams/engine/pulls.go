package engine

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// pull is a request for turns with a subscription of its own, because a delivery does not tell which pull it answers.
// Subscriptions are used again: making one costs more than a pull.
type pull struct {
	sub     *nats.Subscription
	inbox   string
	queue   string
	op      lane.Op
	left    int
	open    bool
	over    bool // given up: what was on its way still comes, and nothing more is asked through it
	refused bool // nobody gives out turns just now: it counts as asked until expires, so that nothing is asked meanwhile
	expires time.Duration
}

// pullLife is how long a pull waits at the server. Short: a pull of a client that is gone swallows a delivery until its
// ack wait, and after a change of leader an old pull is deaf.
const pullLife = 2 * time.Second

// A pull that is refused, because there is no leader, no consumer, or more pulls than it takes, is made again after a
// pause as long as that has gone on. Without it each idle worker of a queue that was removed would ask as fast as it can.
const (
	leastUnpulled = 50 * time.Millisecond
	mostUnpulled  = 2 * time.Second
	// unpulledTold is how long it goes on until it is told of: an election is over before that.
	unpulledTold = 10 * time.Second
)

// sendPull asks for turns.
func (e *Engine) sendPull(p lane.Pull) {
	pl, err := e.freePull()
	if err == nil {
		pl.queue, pl.op, pl.left, pl.open = p.Queue, p.Op, p.N, true
		pl.expires = e.now() + pullLife + time.Second
		err = e.conn.PublishMsg(&nats.Msg{
			Subject: e.api + "CONSUMER.MSG.NEXT.TURNS_" + p.Queue + "." + subjects.TurnsConsumer, Reply: pl.inbox,
			Data: []byte(`{"batch":` + strconv.Itoa(p.N) + `,"expires":` + strconv.FormatInt(int64(pullLife), 10) + `}`),
		})
	}
	if err != nil {
		// Away, most likely: the tick asks again.
		if pl != nil {
			e.endPull(pl)
		} else {
			e.in.put(item{do: func() { e.holder.PullEnded(p.Op) }})
		}
	}
}

func (e *Engine) freePull() (*pull, error) {
	if n := len(e.idlePulls); n > 0 {
		p := e.idlePulls[n-1]
		e.idlePulls = e.idlePulls[:n-1]
		return p, nil
	}
	p := &pull{inbox: nats.NewInbox()}
	sub, err := e.conn.Subscribe(p.inbox, func(m *nats.Msg) { e.in.put(item{msg: m, p: p}) })
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	p.sub = sub
	e.pulls = append(e.pulls, p)
	return p, nil
}

// endPull frees a pull for the next use.
func (e *Engine) endPull(p *pull) {
	if !p.open {
		return
	}
	p.open, p.refused = false, false
	e.holder.PullEnded(p.op)
	e.idlePulls = append(e.idlePulls, p)
}

// pullOver takes the server's word that a pull is over: nothing more came in its time, or it was refused.
func (e *Engine) pullOver(p *pull, m *nats.Msg) {
	q, status := e.queues[p.queue], m.Header.Get("Status")
	switch {
	case !p.open:
		return
	case status == "408" || status == "404":
		q.heard()
		e.endPull(p)
		return
	case q.refusedAt == 0:
		q.refusedAt = e.now()
	}
	since := e.now() - q.refusedAt
	if since >= unpulledTold && !q.refusalTold && q.told == nil {
		q.refusalTold = true
		e.opts.Log.Error().Str("queue", p.queue).Str("error", strings.TrimSpace(status+" "+m.Header.Get("Description"))).
			Msg("turns are not given out. Is something of the queue missing? `coordinator queue info` says so, and `coordinator queue edit` without flags makes it")
	}
	pause := max(leastUnpulled, min(since, mostUnpulled))
	p.refused, p.expires = true, e.now()+pause/2+rand.N(pause)
}

// heard notes that pulls are heard.
func (q *queueState) heard() { q.refusedAt, q.refusalTold = 0, false }

// pulled takes a message that came for a pull: a turn, or the end of the pull.
func (e *Engine) pulled(p *pull, m *nats.Msg) {
	if !strings.HasPrefix(m.Reply, "$JS.ACK.") { // not a turn: the server's word that the pull is over
		e.pullOver(p, m)
		return
	}
	e.queues[p.queue].heard()
	name, ok := strings.CutPrefix(m.Subject, "turns.")
	if !ok {
		return
	}
	seq, delivered, pending, ok := readAckSubject(m.Reply)
	if !ok {
		return
	}
	t := lane.Turn{Seq: seq, Delivered: delivered, Token: delivery{reply: m.Reply}}
	if guess := last(m.Header, "Nats-Sequence"); guess != "" {
		t.Guess, _ = strconv.ParseUint(guess, 10, 64)
		t.Alone = last(m.Header, "Nats-Last-Sequence") == "0"
		if t.Kind = last(m.Header, subjects.HeaderKind); t.Kind == "" {
			t.Kind = subjects.DefaultKind
		}
	} else if guess := last(m.Header, headerGuess); guess != "" {
		t.Relayed = true
		t.Guess, _ = strconv.ParseUint(guess, 10, 64)
	}
	if _, token, ok := strings.Cut(name, "."); !ok || strings.Count(token, ".") != 1 {
		return
	}
	e.opts.Observe(Event{Kind: EventTurn, Queue: subjects.Queue(p.queue)})
	e.holder.Delivered(name, t, p.op, pending)
	if p.left--; p.left == 0 {
		e.endPull(p)
	}
}

// readAckSubject reads $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, and the
// longer form with domain and account before the stream.
func readAckSubject(s string) (seq uint64, delivered, pending int, ok bool) {
	t := strings.Split(s, ".")
	switch {
	case len(t) == 9:
		t = t[4:]
	case len(t) >= 11:
		t = t[6:]
	default:
		return 0, 0, 0, false
	}
	seq, err := strconv.ParseUint(t[1], 10, 64)
	if err != nil {
		return 0, 0, 0, false
	}
	delivered, err = strconv.Atoi(t[0])
	if err != nil {
		return 0, 0, 0, false
	}
	pending, err = strconv.Atoi(t[4])
	return seq, delivered, pending, err == nil
}

// expirePulls gives up pulls whose end the server did not tell: it was away, or is late. Their subscriptions are not used
// again, since a late delivery would be counted for the wrong pull. What is on its way is waited for all the same: a turn
// that nobody takes stays away for its ack wait.
func (e *Engine) expirePulls() {
	now := e.now()
	e.pulls = slices.DeleteFunc(e.pulls, func(p *pull) bool {
		switch {
		case !p.open || now < p.expires:
		case p.refused:
			e.endPull(p)
		default:
			p.open = false
			e.holder.PullEnded(p.op)
			p.drain()
		}
		return p.over && !p.sub.IsValid()
	})
}

func (p *pull) drain() {
	if !p.over {
		p.over = true
		_ = p.sub.Drain() // fails only when the connection is closed
	}
}

// drainPulls ends all pulls; what was on its way still comes, and is given back. Drained tells when that is over.
func (e *Engine) drainPulls() {
	for _, p := range e.pulls {
		p.drain()
	}
}

func (e *Engine) pullsDrained() bool {
	for _, p := range e.pulls {
		if p.sub.IsValid() {
			return false
		}
	}
	return true
}
