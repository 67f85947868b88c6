// Package importer publishes many jobs fast without losing the order of any entity.
//
// A publish that is sent before the last one of its entity was answered could overtake a refused one, so there is
// never more than one unanswered publish per entity; the speed comes from the many entities. Input is read as it is
// needed: what is held is bounded by maxHeld lines and maxHeldBytes, whatever the size of the file.
//
// On a bad line everything before it is published, and nothing after it. On a refused publish nothing more is
// published at all; later lines of other entities may be in already, because they were on their way. The Result
// says which line it was, how many are in, and of how many the answer is not known because the connection broke.
//
// Three goroutines: the reader (read.go), the connection's own, and the caller's, which owns all state. Run returns
// when the first two no longer hold anything of it.
package importer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Options say where jobs go and how lines become messages.
type Options struct {
	Conn *nats.Conn
	// Make turns a line into its message and names its lane: messages of one lane keep their order. It runs on the
	// reader's goroutine.
	Make func(Line) (msg *nats.Msg, lane string, err error)
	// Answer reads JetStream's answer to a publish. On an error that is nats.ErrNoResponders the job is published
	// again a few times: a stream without a leader looks like one that is not there.
	Answer func(*nats.Msg) (duplicate bool, err error)
	// MaxLine bounds a line, in bytes.
	MaxLine int
	// Timeout is how long an answer may take.
	Timeout time.Duration
	// Progress is called on Run's goroutine, a few times a second. It may be nil.
	Progress func(Progress)
}

// Progress is how far an import is.
type Progress struct {
	Published, Duplicates int
	// Read is how many bytes of the input were read.
	Read int64
}

// Result is what became of an import.
type Result struct {
	// Published counts jobs that were stored; Duplicates, those whose id was in already.
	Published, Duplicates int
	// Unknown counts jobs that were sent and never answered: they may be stored or not.
	Unknown int
	// FirstMissing is the first line that is not known to be stored, or 0. Later lines may be in.
	FirstMissing int
	Read         int64
}

// LineError is what stopped an import, and the line (from 1) that it stopped at.
type LineError struct {
	Line int
	// Refused says that the server refused it, as opposed to a line that could not be used.
	Refused bool
	Err     error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap gives the cause.
func (e *LineError) Unwrap() error { return e.Err }

// ErrNoAnswer is the cause when a publish was not answered in time, or the connection broke before it was.
var ErrNoAnswer = errors.New("the server did not answer; the job may be stored or not")

const (
	maxInFlight  = 8192
	maxHeld      = 64 << 10
	maxHeldBytes = 64 << 20
	tick         = 200 * time.Millisecond
	tries        = 5 // with a tick between them
)

// sender is the state of one Run.
type sender struct {
	o      Options
	prefix string
	lanes  map[string]*lane
	flight map[uint64]*sent
	next   uint64
	held   int // jobs that wait behind one of their lane
	bytes  int // the bodies of those, and of those in flight
	again  []*sent
	result Result
	failed *LineError // the first refusal
	halted bool       // publish nothing more
	seen   int        // the last line that the reader gave
}

// lane is an entity with a job in flight, and those that wait behind it.
type lane struct{ waiting []*job }

type sent struct {
	*job
	at    time.Time
	tries int
}

// Run imports r until its end, the first error, or the end of ctx. The error is a *LineError, or why the input or
// the connection could not be used; the Result counts in either case.
func Run(ctx context.Context, r io.Reader, o Options) (Result, error) {
	s := &sender{o: o, prefix: o.Conn.NewInbox() + ".", lanes: map[string]*lane{}, flight: map[uint64]*sent{}}
	answers := make(chan *nats.Msg, 2*maxInFlight)
	sub, err := o.Conn.ChanSubscribe(s.prefix+"*", answers)
	if err != nil {
		return s.result, err
	}
	defer func() { _ = sub.Unsubscribe() }() // a connection that is gone has no subscriptions either
	broken := o.Conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer o.Conn.RemoveStatusListener(broken)

	read := &reader{
		in: bufio.NewReaderSize(r, 256<<10), maxLine: o.MaxLine, make: o.Make,
		out: make(chan batch, 4), stop: make(chan struct{}),
	}
	go read.run()
	err = s.loop(ctx, read.out, answers, broken)
	// A reader that waits in a system call (a terminal, a pipe) is not waited for: it ends with its next line.
	close(read.stop)
	s.result.Unknown = len(s.flight)
	for _, f := range s.flight {
		s.missing(f.line)
	}
	for _, f := range s.again {
		s.missing(f.line)
	}
	for _, l := range s.lanes {
		if len(l.waiting) > 0 {
			s.missing(l.waiting[0].line)
		}
	}
	if s.failed != nil {
		s.missing(s.failed.Line)
		return s.result, s.failed
	}
	var bad *LineError
	switch {
	case errors.As(err, &bad):
		s.missing(bad.Line)
	case err != nil:
		s.missing(s.seen + 1)
	}
	return s.result, err
}

func (s *sender) missing(line int) {
	if s.result.FirstMissing == 0 || line < s.result.FirstMissing {
		s.result.FirstMissing = line
	}
}

// loop returns when all that was read is answered, or when no more answers can be hoped for.
func (s *sender) loop(ctx context.Context, in <-chan batch, answers <-chan *nats.Msg, broken <-chan nats.Status) error {
	timer := time.NewTicker(tick)
	defer timer.Stop()
	var end error // why no more is read; nil while there is more
	done := ctx.Done()
	for {
		if end != nil || s.halted {
			if len(s.flight) == 0 && (s.halted || len(s.again) == 0) {
				if s.o.Progress != nil {
					s.progress()
				}
				if errors.Is(end, io.EOF) {
					return nil
				}
				return end
			}
			in = nil
		}
		more := in
		if len(s.flight) >= maxInFlight || s.held >= maxHeld || s.bytes >= maxHeldBytes {
			more = nil // answers first
		}
		select {
		case b := <-more:
			s.result.Read = b.read
			for _, j := range b.jobs {
				s.seen = j.line
				if s.halted {
					s.missing(j.line)
					break
				}
				s.add(j)
			}
			end = b.err
		case m := <-answers:
			s.answer(m)
		case <-timer.C:
			if s.late() {
				return s.failed
			}
			s.resend()
			if s.o.Progress != nil {
				s.progress()
			}
		case <-broken:
			if len(s.flight) == 0 {
				return errors.New("the connection broke, while nothing was on its way")
			}
			s.lost(fmt.Errorf("%w: the connection broke", ErrNoAnswer))
			return s.failed
		case <-done:
			// What is on its way is awaited, for as long as an answer may take.
			s.halted, done, end = true, nil, context.Cause(ctx)
		}
	}
}

// add publishes a job, or lets it wait for the one of its lane that is in flight.
func (s *sender) add(j *job) {
	s.bytes += len(j.msg.Data)
	if l, busy := s.lanes[j.lane]; busy {
		l.waiting = append(l.waiting, j)
		s.held++
		return
	}
	s.lanes[j.lane] = &lane{}
	s.publish(&sent{job: j})
}

func (s *sender) publish(f *sent) {
	id := s.next
	s.next++
	f.at = time.Now()
	f.tries++
	f.msg.Reply = s.prefix + strconv.FormatUint(id, 36)
	s.flight[id] = f
	if err := s.o.Conn.PublishMsg(f.msg); err != nil {
		delete(s.flight, id)
		s.refuse(f.line, err)
	}
}

// resend tries those again that nobody took. They are still the only ones of their lanes.
func (s *sender) resend() {
	again := s.again
	s.again = nil
	for _, f := range again {
		if s.halted {
			s.missing(f.line)
			continue
		}
		s.publish(f)
	}
}

func (s *sender) refuse(line int, err error) {
	s.halted = true
	if s.failed == nil {
		s.failed = &LineError{Line: line, Refused: true, Err: err}
		return
	}
	s.missing(line)
}

// answer settles a publish and sends the next one of its lane.
func (s *sender) answer(m *nats.Msg) {
	id, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	f, ok := s.flight[id]
	if err != nil || !ok {
		return
	}
	delete(s.flight, id)
	duplicate, err := s.o.Answer(m)
	switch {
	case errors.Is(err, nats.ErrNoResponders) && f.tries < tries && !s.halted:
		s.again = append(s.again, f)
		return
	case err != nil:
		s.refuse(f.line, err)
		return
	case duplicate:
		s.result.Duplicates++
	default:
		s.result.Published++
	}
	l := s.lanes[f.lane]
	s.bytes -= len(f.msg.Data)
	if s.halted {
		return
	}
	if len(l.waiting) == 0 {
		delete(s.lanes, f.lane)
		return
	}
	j := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	s.held--
	s.publish(&sent{job: j})
}

// late stops when an answer is overdue.
func (s *sender) late() bool {
	limit := time.Now().Add(-s.o.Timeout)
	for _, f := range s.flight {
		if f.at.Before(limit) {
			s.lost(fmt.Errorf("%w (waited %s)", ErrNoAnswer, s.o.Timeout))
			return true
		}
	}
	return false
}

// lost gives up on all answers that are outstanding; the first of their lines is the one to name.
func (s *sender) lost(err error) {
	first := 0
	for _, f := range s.flight {
		if first == 0 || f.line < first {
			first = f.line
		}
	}
	s.halted = true
	if s.failed == nil {
		s.failed = &LineError{Line: first, Refused: true, Err: err}
	}
}

func (s *sender) progress() {
	s.o.Progress(Progress{s.result.Published, s.result.Duplicates, s.result.Read})
}
