package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// This file reads messages for people and for sweeps: not the last word of a leader, but never taken in by what a
// publisher wrote into a message. A header "Status: 404" of a publisher looks to clients like the server's "no
// message"; so what is a message is told here by the subject that it is acknowledged on, and single messages are
// fetched as JSON.

// Message is one stored message.
type Message struct {
	Subject string
	Seq     uint64
	Time    time.Time
	Header  map[string][]string
	// Data is nil when only headers were asked for; Size is the body's size in bytes all the same.
	Data []byte
	Size int
}

// ScanOptions say which messages of a stream to read.
type ScanOptions struct {
	// Subjects are filters; none is all.
	Subjects []string
	// From is the first sequence to look at.
	From uint64
	// LastPerSubject reads only the last message of each subject; From is ignored.
	LastPerSubject bool
	// Bodies asks for bodies too. Without, a body costs nothing.
	Bodies bool
	// Limit ends the scan after so many messages; 0 is none.
	Limit int
}

const (
	scanBatch = 500
	// scanBatchBytes bounds what one pull with bodies brings into memory.
	scanBatchBytes = 8 << 20
	// In a cluster another server may have the consumer, and hear of a pull a moment after it was made.
	scanTries = 50
	scanPause = 20 * time.Millisecond
)

// Scan reads messages in stream order and calls each for every one until it returns false. It sees what was there when
// it began, at most; messages that come meanwhile may be seen in place of such as went. It uses an ephemeral consumer
// on one server, which is gone when Scan returns; in a cluster that server may lag behind by moments. A stream that is
// not there is jetstream.ErrStreamNotFound.
//
// Not for work queues: they take no second consumer.
func Scan(ctx context.Context, js jetstream.JetStream, stream string, o ScanOptions, each func(Message) bool) error {
	cfg := jetstream.ConsumerConfig{
		FilterSubjects: o.Subjects, HeadersOnly: !o.Bodies,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	}
	if o.LastPerSubject {
		cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
		if len(o.Subjects) == 0 {
			cfg.FilterSubjects = []string{">"} // demanded by that policy
		}
	} else if o.From > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, o.From
	}
	info, err := scanner(ctx, js, stream, cfg)
	if err != nil {
		return err
	}
	defer func() {
		// Also when ctx is over; should it fail, the server forgets the consumer after its threshold.
		gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = js.DeleteConsumer(gone, stream, info.Name)
	}()
	left := info.NumPending
	if o.Limit > 0 {
		left = min(left, uint64(o.Limit))
	}
	p := puller{nc: js.Conn(), next: API(js.Conn()) + "CONSUMER.MSG.NEXT." + stream + "." + info.Name}
	return p.run(ctx, left, o.Bodies, each)
}

// A cluster that has not noticed yet that a server is gone puts a consumer on it, one in three times, and answers when
// that server is back. Then the next one is made: a good one is answered within milliseconds.
const scannerWait = time.Second

// scanner makes a scan's consumer. Those that were given up are forgotten by the server after their threshold.
func scanner(ctx context.Context, js jetstream.JetStream, stream string, cfg jetstream.ConsumerConfig) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(ctx, scannerWait)
		c, err := js.CreateConsumer(try, stream, cfg)
		cancel()
		if err == nil {
			return c.CachedInfo(), nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
	}
}

// puller pulls batch after batch through one inbox.
type puller struct {
	nc   *nats.Conn
	next string
}

func (p puller) run(ctx context.Context, left uint64, bodies bool, each func(Message) bool) error {
	// Room for a batch and the words that end it and the one before, so nothing is ever dropped.
	msgs := make(chan *nats.Msg, scanBatch+16)
	inbox := p.nc.NewInbox()
	sub, err := p.nc.ChanSubscribe(inbox+".*", msgs)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()

	ask := pullRequest{NoWait: true}
	for pull, deaf := 1, 0; left > 0; pull++ {
		ask.Batch, ask.MaxBytes = int(min(left, scanBatch)), 0
		if bodies {
			ask.MaxBytes = scanBatchBytes
		}
		b := batch{inbox: inbox + "." + strconv.Itoa(pull), msgs: msgs}
		err := b.pull(ctx, p, ask, each)
		if errors.Is(err, nats.ErrNoResponders) && deaf < scanTries {
			deaf++
			if err := Pause(ctx, scanPause); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if b.got == 0 && b.tooLarge { // a single message that is larger than a whole batch should be
			pull++
			b.inbox = inbox + "." + strconv.Itoa(pull)
			ask.Batch, ask.MaxBytes = 1, 0
			if err := b.pull(ctx, p, ask, each); err != nil {
				return err
			}
		}
		if b.enough || b.got == 0 {
			return nil
		}
		left -= uint64(b.got)
	}
	return nil
}

type pullRequest struct {
	Batch    int  `json:"batch"`
	NoWait   bool `json:"no_wait"`
	MaxBytes int  `json:"max_bytes,omitempty"`
}

// batch is one pull and its answers. The server's words go to the pull's own inbox, so a late one is not taken for an
// answer to the next pull.
type batch struct {
	inbox string
	msgs  <-chan *nats.Msg

	got      int
	enough   bool // each wants no more
	tooLarge bool // the next message does not fit into max_bytes
}

// pull takes messages until there are as many as asked for, or the server says that there are no more.
func (b *batch) pull(ctx context.Context, p puller, ask pullRequest, each func(Message) bool) error {
	text, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	if err := p.nc.PublishRequest(p.next, b.inbox, text); err != nil {
		return err
	}
	silence := time.NewTimer(RequestTimeout)
	defer silence.Stop()
	for b.got < ask.Batch {
		select {
		case m := <-b.msgs:
			if !strings.HasPrefix(m.Reply, "$JS.ACK.") {
				if m.Subject != b.inbox {
					continue
				}
				return b.status(m.Header.Get("Status"), m.Header.Get("Description"))
			}
			b.got++
			one, err := message(m)
			if err != nil {
				return err
			}
			if !each(one) {
				b.enough = true
				return nil
			}
			silence.Reset(RequestTimeout)
		case <-ctx.Done():
			return ctx.Err()
		case <-silence.C:
			return nats.ErrTimeout
		}
	}
	return nil
}

// status is the server's last word to a pull: none left, as many as there were, or as fit into max_bytes.
func (b *batch) status(code, description string) error {
	switch {
	case code == "404", code == "408", code == "409" && b.got > 0:
		return nil
	case code == "409" && !b.tooLarge:
		b.tooLarge = true
		return nil
	case code == "503":
		return nats.ErrNoResponders
	}
	return fmt.Errorf("read messages: the server says %s %s", code, description)
}

// message reads the facts that the server put into the subject for acknowledging.
func message(m *nats.Msg) (Message, error) {
	meta, err := m.Metadata()
	if err != nil {
		return Message{}, err
	}
	one := Message{Subject: m.Subject, Seq: meta.Sequence.Stream, Time: meta.Timestamp, Header: m.Header, Data: m.Data, Size: len(m.Data)}
	if sizes := m.Header["Nats-Msg-Size"]; len(sizes) > 0 && len(m.Data) == 0 {
		// The server's word stands last, and is taken off again: it is no part of the message.
		if _, err := fmt.Sscan(sizes[len(sizes)-1], &one.Size); err != nil {
			one.Size = 0
		}
	}
	return one, nil
}

// DeleteMessage removes one message and says whether it was there. Only "there is none" counts as gone; any other
// error means that nobody knows.
func DeleteMessage(ctx context.Context, js jetstream.JetStream, stream string, seq uint64) (was bool, err error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Success bool                `json:"success"`
	}
	ask := map[string]any{"seq": seq, "no_erase": true}
	if err := request(ctx, js.Conn(), "STREAM.MSG.DELETE."+stream, ask, &answer); err != nil {
		return false, err
	}
	switch e := answer.Error; {
	case e == nil && answer.Success:
		return true, nil
	case e == nil:
		return false, errors.New("the server did not delete the message and gave no reason")
	case NothingDeleted(e.ErrorCode, e.Description):
		return false, nil
	default:
		return false, e
	}
}

// NothingDeleted says that a delete was refused because there is no such message. One code has several texts, and only
// two of them mean that: the second is said of a sequence that the stream has not reached, as when it was made anew. This
// is the one place where a text decides, because the server gives nothing else to decide by.
func NothingDeleted(code jetstream.ErrorCode, text string) bool {
	return code == codeSequenceNotFound || code == codeNoMessageToDelete && (text == "no message found" || text == "stream store EOF")
}

// request asks the JetStream API and reads its answer.
func request(ctx context.Context, nc *nats.Conn, subject string, ask, answer any) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	text, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	m, err := nc.RequestWithContext(ctx, API(nc)+subject, text)
	if err != nil {
		return err
	}
	return json.Unmarshal(m.Data, answer)
}
