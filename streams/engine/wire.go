package engine

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/limits"
)

// askKind is what a request asks, and so how its answer is read.
type askKind uint8

const (
	askHead      askKind = iota // one lane's first message, from the leader
	askHeads                    // first or last messages of several lanes, by direct get
	askFirst                    // one lane's first message and what follows, by direct get
	askRecord                   // a lane's claim
	askClaim                    // a claim's compare-and-set
	askOurs                     // after a refusal: is the record that stands the one we wrote?
	askDelete                   // a job's delete
	askDead                     // a dead letter, or a job's place in the schedule
	askPause                    // whether a lane is paused
	askLimit                    // the document of a limit, written
	askLimitRead                // the same, read
	askEnd                      // a turn's end
	askNak                      // a turn's return
	askTurn                     // a new turn
	askHistory                  // a record of a finished job
	askSession                  // the session's record
	askOwn                      // after a refusal: is the session's record the one we wrote?
	askBye                      // a farewell, or somebody's death
)

// ask is a request on its way.
type ask struct {
	kind  askKind
	lane  string
	op    lane.Op
	write *write     // of a claim
	heads *headBatch // of askHeads
	at    time.Duration
	then  func(ok bool) // of askBye

	record *lane.RecordRead // of askPause: what is told then

	gate  *gate // of askLimit and askLimitRead
	limit limits.Op
}

// wire sends requests and knows which are on their way. It belongs to the loop.
type wire struct {
	conn   *nats.Conn
	in     *inbox
	prefix string
	last   uint64
	asks   map[uint64]ask
	sub    *nats.Subscription
	now    func() time.Duration
}

func newWire(conn *nats.Conn, in *inbox, now func() time.Duration) (*wire, error) {
	w := &wire{conn: conn, in: in, prefix: nats.NewInbox() + ".", asks: map[uint64]ask{}, now: now}
	sub, err := conn.Subscribe(w.prefix+"*", func(m *nats.Msg) {
		n, err := strconv.ParseUint(m.Subject[len(w.prefix):], 36, 64)
		if err == nil {
			in.put(item{msg: m, n: n})
		}
	})
	if err != nil {
		return nil, err
	}
	// Answers are bounded by requests; a limit would only lose some of them under load.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	w.sub = sub
	return w, nil
}

// send makes a request. When it cannot be sent, its failure comes back through the inbox like an answer.
func (w *wire) send(a ask, subject string, header nats.Header, body []byte) {
	w.last++
	n := w.last
	a.at = w.now()
	w.asks[n] = a
	err := w.conn.PublishMsg(&nats.Msg{
		Subject: subject, Reply: w.prefix + strconv.FormatUint(n, 36), Header: header, Data: body,
	})
	if err != nil {
		w.in.put(item{n: n, failed: true})
	}
}

// forget drops requests that nobody answered: the machines have asked anew long ago.
func (w *wire) forget(olderThan time.Duration) {
	for n, a := range w.asks {
		if a.at < olderThan {
			delete(w.asks, n)
		}
	}
}

func (w *wire) close() error { return w.sub.Unsubscribe() }

// noResponders says that nobody listens on the request's subject: no leader, no stream, or no right.
func noResponders(m *nats.Msg) bool {
	return len(m.Data) == 0 && m.Header.Get("Status") == "503"
}
