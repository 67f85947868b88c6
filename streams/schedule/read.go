package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

const (
	readBatch = 256
	// readBytes bounds what one request brings into memory.
	readBytes = 8 << 20
	// readPause is how long the messages of one answer may be apart.
	readPause = 3 * time.Second
)

// read calls each for every message of the schedules' stream that matches filter, from a sequence on, in stream order,
// until each returns false. A work queue takes no second consumer, so this is done by direct get; in a cluster it may
// lag behind by moments.
func read(ctx context.Context, nc *nats.Conn, q subjects.Queue, filter string, from uint64, each func(streams.Message) bool) error {
	for from = max(from, 1); ; {
		inbox := nc.NewRespInbox()
		sub, err := nc.SubscribeSync(inbox)
		if err != nil {
			return err
		}
		last, more, err := readSome(ctx, nc, sub, q, filter, from, each)
		if unsub := sub.Unsubscribe(); err == nil {
			err = unsub
		}
		if err != nil || !more {
			return err
		}
		from = last + 1
	}
}

// readSome reads the answers to one request. more says that there may be more.
func readSome(ctx context.Context, nc *nats.Conn, sub *nats.Subscription, q subjects.Queue, filter string, from uint64, each func(streams.Message) bool) (last uint64, more bool, err error) {
	ask, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": filter, "batch": readBatch, "max_bytes": readBytes})
	if err != nil {
		return 0, false, err
	}
	if err := nc.PublishRequest(streams.API(nc)+"DIRECT.GET."+q.ScheduleStream(), sub.Subject, ask); err != nil {
		return 0, false, err
	}
	for {
		wait, cancel := context.WithTimeout(ctx, readPause)
		m, err := sub.NextMsgWithContext(wait)
		cancel()
		if err != nil {
			return 0, false, err // no responders too: no such stream, or no leader
		}
		seq, subject := subjects.Get(m.Header, "Nats-Sequence"), subjects.Get(m.Header, "Nats-Subject")
		if seq == "" || subject == "" { // the server's word that this is all
			switch status := m.Header.Get("Status"); status {
			case "204":
				left, _ := strconv.Atoi(m.Header.Get("Nats-Num-Pending"))
				return last, left > 0 && last > 0, nil
			case "404":
				return last, false, nil
			default:
				return 0, false, fmt.Errorf("the server answers %s %s", status, m.Header.Get("Description"))
			}
		}
		one := streams.Message{Subject: subject, Header: m.Header, Data: m.Data, Size: len(m.Data)}
		if one.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
			return 0, false, fmt.Errorf("the server's sequence: %w", err)
		}
		one.Time, _ = time.Parse(time.RFC3339Nano, subjects.Get(m.Header, "Nats-Time-Stamp")) // none is as good as unknown
		if last = one.Seq; !each(one) {
			return last, false, nil
		}
	}
}

// Get reads a schedule. Errors are streams.ErrNotFound, streams.ErrNewerRecord, or the trouble with the server.
func Get(ctx context.Context, js jetstream.JetStream, q subjects.Queue, name string) (Schedule, error) {
	if err := CheckName(name); err != nil {
		return Schedule{}, err
	}
	m, err := streams.LastMessage(ctx, js, q.ScheduleStream(), namedSubject(q, name))
	if err == nil {
		return readSchedule(m)
	}
	op := fmt.Sprintf("read schedule %s of %s", name, q)
	if errors.Is(err, streams.ErrNotFound) {
		return Schedule{}, problem.New(op, streams.ErrNotFound, "see those that are there: coordinator schedule ls "+string(q))
	}
	return Schedule{}, trouble(ctx, js, op, q, err)
}

// List reads all named schedules of a queue, in the order in which they were changed last. When some cannot be read,
// the others are returned with the error of the first.
func List(ctx context.Context, js jetstream.JetStream, q subjects.Queue) (list []Schedule, err error) {
	op := "list the schedules of " + string(q)
	if _, err := streams.LoadQueue(ctx, js, q); err != nil {
		return nil, err
	}
	at := map[string]int{}
	var first error
	err = read(ctx, js.Conn(), q, namedSubject(q, ">"), 0, func(m streams.Message) bool {
		s, err := readSchedule(m)
		switch i, seen := at[m.Subject]; {
		case err != nil && first == nil:
			first = err
		case err != nil:
		case seen: // the one before it was not removed yet
			list[i] = s
		default:
			at[m.Subject] = len(list)
			list = append(list, s)
		}
		return true
	})
	if err != nil {
		return nil, trouble(ctx, js, op, q, err)
	}
	return list, first
}

// trouble explains what a request came back with: a queue that is not there, or what else it was.
func trouble(ctx context.Context, js jetstream.JetStream, op string, q subjects.Queue, err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		if _, unknown := streams.LoadQueue(ctx, js, q); unknown != nil {
			return unknown
		}
		return problem.New(op, fmt.Errorf("stream %s does not answer: %w", q.ScheduleStream(), err), "if it is missing, it is made again by: coordinator queue edit "+string(q))
	}
	return problem.New(op, err, "")
}
