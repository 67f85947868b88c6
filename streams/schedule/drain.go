package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

const (
	// dueBatch is how many due jobs are moved at a time.
	dueBatch = 256
	// pullLife is short: a pull of a client that is gone swallows a delivery until its ack wait, and after a change of
	// leader an old pull is deaf.
	pullLife = 2 * time.Second
	// doubtful is how old a due job is when it may be a delivery that this process slept through, while others moved it:
	// well below the duplicate window of the queue, within which moving it again is harmless.
	doubtful = 10 * time.Second
	// A job whose lane does not take it is tried again after a pause that grows with its deliveries.
	leastNak = time.Second
	mostNak  = time.Minute
	// clockAge is how old an answer about the server's clock may be.
	clockAge = 30 * time.Second
	// unpulled is the pause after a pull that could not be sent or was refused.
	unpulled = time.Second
)

// moved is the message that publishes a due job to its lane, under an id that only this job has: that is a secret, since
// whoever could guess it could have the job taken for published.
func moved(q subjects.Queue, lane string, m streams.Message) *nats.Msg {
	out := nats.NewMsg(q.Job(lane))
	out.Data = m.Data
	out.Header = nats.Header(subjects.StripServer(m.Header))
	key := subjects.Get(m.Header, headerKey)
	if key == "" { // delayed by another client
		key = strconv.FormatInt(m.Time.UnixNano(), 36)
	}
	for name := range out.Header {
		if strings.EqualFold(name, headerKey) || strings.EqualFold(name, headerRecord) {
			delete(out.Header, name)
		}
	}
	out.Header.Set(subjects.HeaderMsgID, subjects.SecretMoveID(q.ScheduleStream(), 0, 0, key))
	return out
}

// drainer moves the due jobs of one queue to their lanes.
type drainer struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	q   subjects.Queue
	log zerolog.Logger
	// server is the server's clock, asked for again when it is old.
	server serverTime
}

// run ends with ctx, when all that was delivered has been moved or given back.
func (d *drainer) run(ctx context.Context) {
	inbox := d.nc.NewInbox()
	in := make(chan *nats.Msg, 2*dueBatch)
	sub, err := d.nc.ChanSubscribe(inbox+".*", in)
	if err != nil {
		d.log.Error().Err(err).Msg("due jobs cannot be asked for") // the connection is closed
		return
	}
	for n := 1; ctx.Err() == nil; n++ {
		d.pull(ctx, inbox+"."+strconv.Itoa(n), in)
	}
	// What the server has sent by now still comes, and must not wait for its ack wait.
	_ = sub.Drain() // fails only when the connection is closed
	for {
		select {
		case m := <-in:
			batch, _ := d.more(m, in, "")
			d.move(context.WithoutCancel(ctx), batch)
			continue
		case <-time.After(10 * time.Millisecond):
		}
		if !sub.IsValid() && len(in) == 0 {
			return
		}
	}
}

// pull asks for due jobs once, and moves what comes until the pull is over. Its inbox is its own, or the late end of the
// one before it would be taken for its own.
func (d *drainer) pull(ctx context.Context, inbox string, in <-chan *nats.Msg) {
	ask := fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, dueBatch, pullLife)
	err := d.nc.PublishRequest(streams.API(d.nc)+"CONSUMER.MSG.NEXT."+d.q.ScheduleStream()+"."+streams.DueConsumer, inbox, ask)
	if err != nil {
		_ = streams.Pause(ctx, unpulled) // away; the next pull comes when this is over
		return
	}
	over := time.NewTimer(pullLife + time.Second)
	defer over.Stop()
	for got := 0; got < dueBatch; {
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			return
		case m := <-in:
			if !isDelivery(m) {
				if m.Subject != inbox {
					continue
				}
				if status := m.Header.Get("Status"); status != "408" && status != "404" { // over, or nothing there
					d.trouble(fmt.Errorf("%s %s", status, m.Header.Get("Description")), "due jobs are not given out")
					_ = streams.Pause(ctx, unpulled)
				}
				return
			}
			batch, end := d.more(m, in, inbox)
			got += len(batch)
			if d.move(context.WithoutCancel(ctx), batch); end {
				return
			}
		}
	}
}

// more takes what else has come. end says that the word was among it that the pull with this inbox is over.
func (d *drainer) more(m *nats.Msg, in <-chan *nats.Msg, inbox string) (batch []*nats.Msg, end bool) {
	for {
		if isDelivery(m) {
			batch = append(batch, m)
		} else if m.Subject == inbox {
			end = true
		}
		if len(batch) >= dueBatch {
			return batch, end
		}
		select {
		case m = <-in:
		default:
			return batch, end
		}
	}
}

func isDelivery(m *nats.Msg) bool { return strings.HasPrefix(m.Reply, "$JS.ACK.") }

// move publishes due jobs in order, and acknowledges those that their lanes have.
func (d *drainer) move(ctx context.Context, batch []*nats.Msg) {
	ctx, cancel := context.WithTimeout(ctx, streams.RequestTimeout)
	defer cancel()
	futures := make([]jetstream.PubAckFuture, len(batch))
	for i, m := range batch {
		one, delivered, err := d.due(m)
		if err != nil {
			d.trouble(err, "a due job cannot be read")
			continue
		}
		if lane, ok := subjects.LaneOf(one.Subject); ok && d.stands(ctx, one, delivered) {
			if futures[i], err = d.js.PublishMsgAsync(moved(d.q, lane, one)); err != nil {
				d.trouble(err, "a due job is not moved to its lane")
			}
		}
	}
	var acks sync.WaitGroup
	for i, m := range batch {
		if futures[i] == nil {
			continue
		}
		acks.Add(1)
		go func() {
			defer acks.Done()
			d.settle(ctx, m, futures[i])
		}()
	}
	acks.Wait()
}

// due reads a delivery.
func (d *drainer) due(m *nats.Msg) (one streams.Message, delivered uint64, err error) {
	meta, err := m.Metadata()
	if err != nil {
		return one, 0, err
	}
	return streams.Message{
		Subject: m.Subject, Seq: meta.Sequence.Stream, Time: meta.Timestamp, Header: m.Header, Data: m.Data, Size: len(m.Data),
	}, meta.NumDelivered, nil
}

// stands says that a due job is still to be moved. A process that was stopped for a while finds deliveries in its pockets
// that others have moved since; so whatever is not fresh is looked up.
func (d *drainer) stands(ctx context.Context, m streams.Message, delivered uint64) bool {
	if d.server.age() > clockAge {
		if server, err := askTime(ctx, d.js, d.q.ScheduleStream()); err == nil {
			d.server = server
		}
	}
	if delivered == 1 && d.server.known() && d.server.now().Sub(m.Time) < doubtful {
		return true
	}
	_, err := streams.GetMessage(ctx, d.js, d.q.ScheduleStream(), m.Seq)
	if err != nil && !errors.Is(err, streams.ErrNotFound) {
		d.trouble(err, "a due job cannot be looked up") // it comes again
	}
	return err == nil
}

// settle waits for the lane's answer and acknowledges, or gives the job back for a while.
func (d *drainer) settle(ctx context.Context, m *nats.Msg, f jetstream.PubAckFuture) {
	var err error
	select {
	case ack := <-f.Ok():
		if ack.Stream == d.q.JobsStream() {
			d.answer(ctx, m, []byte("+ACK"))
			return
		}
		err = fmt.Errorf("stream %s takes its subject", ack.Stream)
	case err = <-f.Err():
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	one, delivered, bad := d.due(m)
	if bad != nil {
		return
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum {
		if err = d.bury(ctx, one, api); err == nil {
			d.answer(ctx, m, []byte("+ACK"))
			return
		}
	}
	d.trouble(err, "a due job is not moved to its lane")
	delay := min(leastNak<<min(delivered-1, 10), mostNak)
	nak, _ := json.Marshal(map[string]any{"delay": delay})
	d.answer(ctx, m, append([]byte("-NAK "), nak...))
}

// bury makes a job dead that its lane will never take.
func (d *drainer) bury(ctx context.Context, m streams.Message, why error) error {
	death := streams.Death{Cause: "invalid", Error: "when its time had come: " + why.Error(), PublishedAt: m.Time}
	if c := streams.ReadCarried(subjects.Get(m.Header, streams.HeaderCarried)); !c.Counts.Zero() {
		// A failed job as large as the queue takes, which has become larger by what a retry adds.
		death.Error = "a retry adds headers, and then it is larger than the queue takes: " + why.Error()
		death.Attempts, death.Tries, death.PublishedAt = c.Counts.Attempt()-1, c.Tries, c.Published
	}
	dead := streams.DeadMessage(d.q, m, death)
	dead.Header.Set(subjects.HeaderMsgID, subjects.MoveID(d.q.ScheduleStream(), m.Seq, 0))
	dead.Header.Del(headerKey)
	dead.Header.Del(streams.HeaderDeadSeq) // it never was in the queue
	if subjects.Get(m.Header, subjects.HeaderJobID) == "" {
		dead.Header.Del(subjects.HeaderJobID)
	}
	_, err := d.js.PublishMsg(ctx, dead)
	return err
}

// answer acknowledges, or gives back. Without the server's answer it may come again, which its id makes harmless.
func (d *drainer) answer(ctx context.Context, m *nats.Msg, word []byte) {
	if _, err := d.nc.RequestWithContext(ctx, m.Reply, word); err != nil {
		d.trouble(err, "a due job was not settled")
		return
	}
}

// trouble logs, except what is only the end.
func (d *drainer) trouble(err error, what string) {
	if errors.Is(err, nats.ErrConnectionClosed) {
		return
	}
	d.log.Warn().Err(err).Msg(what)
}
