package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// ErrSessionOver: the command was paused, or cut off from the server, for longer than its lease.
var ErrSessionOver = errors.New("the command's session is over")

// Session is a command's session with one queue. One goroutine may use it at a time.
type Session struct {
	js     jetstream.JetStream
	queue  subjects.Queue
	loaded streams.Loaded
	id     string
	what   string
	margin time.Duration

	mu     sync.Mutex
	seq    uint64
	until  time.Duration
	unsure time.Duration // the first sending since then that nobody answered; 0 is none

	stop context.CancelFunc
	done chan struct{}
}

// Open begins a session; what says which command it is. Close ends it.
func Open(ctx context.Context, js jetstream.JetStream, q subjects.Queue, what string) (*Session, error) {
	loaded, err := streams.LoadQueue(ctx, js, q)
	if err != nil {
		return nil, err
	}
	cfg := lane.DefaultConfig(loaded.Policy.Lease)
	s := &Session{js: js, queue: q, loaded: loaded, id: streams.NewSessionID(), what: what, margin: cfg.Margin, done: make(chan struct{})}
	if err := s.write(ctx, streams.StateOperator); err != nil {
		return nil, problem.New("begin a session for "+what, err, "")
	}
	beat, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go s.beat(beat)
	return s, nil
}

// beat rewrites the record every third of the lease.
func (s *Session) beat(ctx context.Context) {
	defer close(s.done)
	t := time.NewTicker(s.loaded.Policy.Lease / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			// Unwritten, the session runs out, and what needs it says so.
			_ = s.write(ctx, streams.StateOperator)
		}
	}
}

// write stores the session's record by compare-and-set. Belief counts from before the sending: from that of the first of
// several, when it is not known which of them was stored.
func (s *Session) write(ctx context.Context, state string) error {
	s.mu.Lock()
	expect := s.seq
	s.mu.Unlock()
	host, _ := os.Hostname() // an unknown name is shown as none
	lease := s.loaded.Policy.Lease
	body, err := streams.SessionRecord{
		Session: s.id, Worker: s.what + "-" + s.id[:6], State: state, Host: host, PID: os.Getpid(), LeaseMS: lease.Milliseconds(),
		StartedAt: time.Now().UTC(), BeatAt: time.Now().UTC(), Queues: []string{string(s.queue)}, Version: version.String(),
	}.Encode()
	if err != nil {
		return err
	}
	sent := clock.Boot()
	bound, cancel := context.WithTimeout(ctx, max(lease/3, time.Second))
	defer cancel()
	subject := "$KV." + subjects.WorkersBucket + "." + s.id
	seq, err := s.put(bound, streams.KV(s.js.Conn())+subject, body, expect, streams.RecordTTL(lease))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsure != 0 {
		sent = s.unsure
	}
	if streams.IsWrongLast(err) && s.unsure != 0 {
		// What stands is an earlier beat. It says as much as this one would have; a farewell it is not.
		if seq, err = s.own(bound, subject); err == nil && state == streams.StateStopped {
			seq, err = s.put(bound, streams.KV(s.js.Conn())+subject, body, seq, streams.RecordTTL(lease))
		}
	}
	if err != nil {
		s.unsure = sent
		return err
	}
	s.seq, s.until, s.unsure = seq, sent+lease-s.margin, 0
	return nil
}

// own reads the sequence of the session's own record, when an earlier sending may have been stored. One that was declared
// dead is nobody's any more.
func (s *Session) own(ctx context.Context, subject string) (uint64, error) {
	m, err := streams.LastMessage(ctx, s.js, subjects.WorkersStream, subject)
	if err != nil {
		return 0, err
	}
	if r, err := streams.DecodeSession(m.Data); err != nil || r.Final() {
		return 0, fmt.Errorf("session %s: %w", s.id, ErrSessionOver)
	}
	return m.Seq, nil
}

// put is a compare-and-set.
func (s *Session) put(ctx context.Context, subject string, body []byte, expect uint64, ttl time.Duration) (uint64, error) {
	m := nats.NewMsg(subject)
	m.Data = body
	m.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(expect, 10))
	if ttl > 0 {
		m.Header.Set("Nats-TTL", strconv.Itoa(int(ttl/time.Second))+"s")
	}
	ack, err := s.js.PublishMsg(ctx, m)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// believed is until when the session may be believed in, on the boot clock.
func (s *Session) believed() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until
}

// stands says whether the session may still be believed in.
func (s *Session) stands() error {
	if clock.Boot() >= s.believed() {
		return fmt.Errorf("session %s: %w", s.id, ErrSessionOver)
	}
	return nil
}

// Close says goodbye. Lanes that are still held stay so until the lease is over.
func (s *Session) Close(ctx context.Context) error {
	s.stop()
	<-s.done
	return s.write(ctx, streams.StateStopped)
}
