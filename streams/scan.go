package streams

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// This file reads messages for people and for sweeps: not the last word of a leader, but never taken in by what a
// publisher wrote into a message. A header "Status: 404" of a publisher looks to clients like the server's "no
// message"; so what is a message is told here by the subject that it is acknowledged on, and single messages are
// fetched as JSON.

const apiPrefix = "$JS.API."

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
)

// Scan reads messages in stream order and calls each for every one until it returns false. It sees what was there when
// it began, at most; messages that come meanwhile may be seen in place of such as went. It uses an ephemeral consumer
// on one server, which is gone when Scan returns. A stream that is not there is jetstream.ErrStreamNotFound.
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
	made, cancel := bounded(ctx)
	c, err := js.CreateConsumer(made, stream, cfg)
	cancel()
	if err != nil {
		return err
	}
	info := c.CachedInfo()
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
	p := puller{nc: js.Conn(), next: apiPrefix + "CONSUMER.MSG.NEXT." + stream + "." + info.Name}
	return p.run(ctx, left, o.Bodies, each)
}

// puller pulls batch after batch through one inbox.
type puller struct {
	nc   *nats.Conn
	next string
}

func (p puller) run(ctx context.Context, left uint64, bodies bool, each func(Message) bool) error {
	// Room for a batch and the words that end it, so nothing is ever dropped.
	msgs := make(chan *nats.Msg, scanBatch+16)
	inbox := p.nc.NewInbox()
	sub, err := p.nc.ChanSubscribe(inbox, msgs)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()

	for left > 0 {
		ask := pullRequest{Batch: int(min(left, scanBatch)), NoWait: true}
		if bodies {
			ask.MaxBytes = scanBatchBytes
		}
		text, err := json.Marshal(ask)
		if err != nil {
			return err
		}
		if err := p.nc.PublishRequest(p.next, inbox, text); err != nil {
			return err
		}
		got, more, err := p.batch(ctx, msgs, ask.Batch, each)
		if err != nil || !more || got == 0 {
			return err
		}
		left -= uint64(got)
	}
	return nil
}

type pullRequest struct {
	Batch    int  `json:"batch"`
	NoWait   bool `json:"no_wait"`
	MaxBytes int  `json:"max_bytes,omitempty"`
}

// batch takes up to n messages, until the server says that there are no more for now.
func (p puller) batch(ctx context.Context, msgs <-chan *nats.Msg, n int, each func(Message) bool) (got int, more bool, err error) {
	silence := time.NewTimer(RequestTimeout)
	defer silence.Stop()
	for got < n {
		select {
		case m := <-msgs:
			if !strings.HasPrefix(m.Reply, "$JS.ACK.") {
				if code := m.Header.Get("Status"); code != "404" && code != "408" && code != "409" {
					return got, false, fmt.Errorf("read messages: the server says %s %s", code, m.Header.Get("Description"))
				}
				return got, true, nil
			}
			got++
			one, err := message(m)
			if err != nil {
				return got, false, err
			}
			if !each(one) {
				return got, false, nil
			}
			silence.Reset(RequestTimeout)
		case <-ctx.Done():
			return got, false, ctx.Err()
		case <-silence.C:
			return got, false, nats.ErrTimeout
		}
	}
	return got, true, nil
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

// GetMessage reads one message by its sequence from the stream's leader. Errors are ErrNotFound, or the server's own
// (jetstream.ErrStreamNotFound).
func GetMessage(ctx context.Context, js jetstream.JetStream, stream string, seq uint64) (Message, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  string    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := request(ctx, js.Conn(), "STREAM.MSG.GET."+stream, map[string]uint64{"seq": seq}, &answer); err != nil {
		return Message{}, err
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return Message{}, fmt.Errorf("sequence %d: %w", seq, ErrNotFound)
		}
		return Message{}, answer.Error
	}
	if answer.Message == nil {
		return Message{}, errors.New("the server's answer has no message")
	}
	m := Message{
		Subject: answer.Message.Subject, Seq: answer.Message.Seq, Time: answer.Message.Time,
		Data: answer.Message.Data, Size: len(answer.Message.Data),
	}
	if answer.Message.Header != "" {
		raw, err := base64.StdEncoding.DecodeString(answer.Message.Header)
		if err != nil {
			return Message{}, fmt.Errorf("headers of sequence %d: %w", seq, err)
		}
		if m.Header, err = nats.DecodeHeadersMsg(raw); err != nil {
			return Message{}, fmt.Errorf("headers of sequence %d: %w", seq, err)
		}
	}
	return m, nil
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
	case e.ErrorCode == codeSequenceNotFound, e.ErrorCode == codeNoMessageToDelete && e.Description == "no message found":
		return false, nil
	default:
		return false, e
	}
}

// request asks the JetStream API and reads its answer.
func request(ctx context.Context, nc *nats.Conn, subject string, ask, answer any) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	text, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	m, err := nc.RequestWithContext(ctx, apiPrefix+subject, text)
	if err != nil {
		return err
	}
	return json.Unmarshal(m.Data, answer)
}
