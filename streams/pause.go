package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// A pause is a key in the queue's bucket of lanes: the entity's for one lane, pausedQueue for the whole queue. That the
// key is there is the pause; its value is for people. A pause keeps the next job from being started. It is no barrier
// against the one that runs.

// pausedQueue is the key of the pause of a whole queue. No entity's key begins so.
const pausedQueue = "=queue"

// PauseRecord is who paused, when and why. A key whose value cannot be read is a pause all the same, of nobody known.
type PauseRecord struct {
	V      int    `json:"v"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
	// At is when the server stored it.
	At time.Time `json:"at"`
	// Until is when it ends by itself; zero is never.
	Until time.Time `json:"until,omitzero"`

	// Seq is the sequence of the key in the bucket's stream.
	Seq uint64 `json:"-"`
}

// PausedLane is one of a list. An empty entity is the whole queue.
type PausedLane struct {
	Entity string `json:"entity,omitempty"`
	PauseRecord
}

// PauseOptions say who pauses and why. For bounds the pause: it ends by itself then, to the second; 0 is no
// bound, MaxPause the longest.
type PauseOptions struct {
	By, Reason string
	For        time.Duration
}

// codeTTLDisabled is the server's refusal of a time to live in a stream that was made without.
const codeTTLDisabled jetstream.ErrorCode = 10166

// ErrPauseTTL: the queue's bucket of lanes takes no pauses that end by themselves, because an older version made it.
var ErrPauseTTL = errors.New("this queue takes no pauses that end by themselves")

// PauseLane pauses a lane. A lane that is paused already stays so as it is: made is false, and the record is that which
// stands. Errors are ErrOption (For), ErrUnknownQueue, ErrPauseTTL, or the trouble with the server.
func PauseLane(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, o PauseOptions) (r PauseRecord, made bool, err error) {
	return pause(ctx, js, q, e.Key(), fmt.Sprintf("pause %s in %s", e, q), o)
}

// PauseQueue pauses all lanes of a queue, as PauseLane does one.
func PauseQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue, o PauseOptions) (r PauseRecord, made bool, err error) {
	return pause(ctx, js, q, pausedQueue, "pause queue "+string(q), o)
}

// ResumeLane ends the pause of a lane and gives it a turn; was is false when it was not paused (it gets a turn all the
// same, which does no harm). Errors as PauseLane's; after an error it can be called again.
func ResumeLane(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity) (was bool, err error) {
	op := fmt.Sprintf("resume %s in %s", e, q)
	if was, err = resume(ctx, js, q, e.Key(), op, 0); err != nil {
		return was, err
	}
	// Only now: whoever reads that the lane is paused ends the turn.
	if err := GiveTurn(ctx, js, q, e); err != nil {
		return was, explain(op, q, err)
	}
	return was, nil
}

// ResumeQueue ends the pause of a queue. Its turns are still there.
func ResumeQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue) (was bool, err error) {
	return resume(ctx, js, q, pausedQueue, "resume queue "+string(q), 0)
}

// Paused says whether a lane is paused by itself, from the leader.
func Paused(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity) (PauseRecord, bool, error) {
	r, paused, _, err := readPause(ctx, js, q, e.Key())
	return r, paused, explain(fmt.Sprintf("read the pause of %s in %s", e, q), q, err)
}

// PausedQueue says whether the whole queue is paused, from the leader.
func PausedQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue) (PauseRecord, bool, error) {
	r, paused, _, err := readPause(ctx, js, q, pausedQueue)
	return r, paused, explain("read the pause of queue "+string(q), q, err)
}

// ListPaused lists what is paused: the queue itself first, then lanes by entity. In a cluster it may lag behind by
// moments.
func ListPaused(ctx context.Context, js jetstream.JetStream, q subjects.Queue) ([]PausedLane, error) {
	list := []PausedLane{}
	err := Scan(ctx, js, lanesStream(q), ScanOptions{Bodies: true}, func(m Message) bool {
		lane, ok := pausedLane(m)
		if ok && !KeyGone(m.Header) {
			list = append(list, lane)
		}
		return true
	})
	if err != nil {
		return nil, explain("list what is paused in "+string(q), q, err)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Entity < list[j].Entity })
	return list, nil
}

// IsQueue says that the whole queue is meant.
func (p PausedLane) IsQueue() bool { return p.Entity == "" }

func pausedLane(m Message) (PausedLane, bool) {
	_, key, _ := strings.Cut(strings.TrimPrefix(m.Subject, "$KV."), ".")
	lane := PausedLane{PauseRecord: pauseRecord(m.Data, m.Seq, m.Time)}
	if key == pausedQueue {
		return lane, true
	}
	e, err := subjects.ParseKey(key)
	if err != nil {
		return lane, false // no lane can be meant
	}
	lane.Entity = e.String()
	return lane, true
}

func pauseRecord(value []byte, seq uint64, stored time.Time) (r PauseRecord) {
	_ = json.Unmarshal(value, &r) // presence is what counts
	r.Seq, r.At = seq, stored
	return r
}

func lanesStream(q subjects.Queue) string { return "KV_" + q.LanesBucket() }

func pauseSubject(q subjects.Queue, key string) string { return "$KV." + q.LanesBucket() + "." + key }

// KeyGone says that a message of a bucket only tells that its key is gone: deleted, or expired.
func KeyGone(h subjects.Header) bool {
	return subjects.Get(h, "KV-Operation") != "" || subjects.Get(h, "Nats-Marker-Reason") != ""
}

// readPause also returns the sequence to expect by who writes the key.
func readPause(ctx context.Context, js jetstream.JetStream, q subjects.Queue, key string) (r PauseRecord, paused bool, seq uint64, err error) {
	m, err := LastMessage(ctx, js, lanesStream(q), pauseSubject(q, key))
	if errors.Is(err, ErrNotFound) {
		return r, false, 0, nil
	}
	if err != nil {
		return r, false, 0, err
	}
	if KeyGone(m.Header) {
		return r, false, m.Seq, nil
	}
	return pauseRecord(m.Data, m.Seq, m.Time), true, m.Seq, nil
}

// MaxPause is the longest time after which a pause may end by itself. The server's clock counts to 2262: what is to end
// after that has ended for it.
const MaxPause = 100 * 365 * 24 * time.Hour

func pause(ctx context.Context, js jetstream.JetStream, q subjects.Queue, key, op string, o PauseOptions) (PauseRecord, bool, error) {
	if o.For > MaxPause {
		return PauseRecord{}, false, problem.New(op, fmt.Errorf("%w: it is to end after %s, more than a hundred years", ErrOption, o.For),
			"a pause without a time lasts until somebody ends it")
	}
	if _, err := LoadQueue(ctx, js, q); err != nil {
		return PauseRecord{}, false, err
	}
	for {
		r, paused, expect, err := readPause(ctx, js, q, key)
		if err != nil || paused {
			return r, false, explain(op, q, err)
		}
		if r, err = writePause(ctx, js, q, key, expect, o); err == nil {
			return r, true, nil
		}
		if !IsWrongLast(err) { // else somebody else was quicker
			return r, false, explainPause(op, q, err)
		}
	}
}

// ExtendPause moves the end of a pause that ends by itself on to o.For from now, if it is still the one that r says.
func ExtendPause(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, r PauseRecord, o PauseOptions) (PauseRecord, error) {
	r, err := writePause(ctx, js, q, e.Key(), r.Seq, o)
	return r, explainPause(fmt.Sprintf("keep %s in %s paused", e, q), q, err)
}

// EndPause ends the very pause that r says, and gives the lane a turn. A pause that somebody has written since stays.
func EndPause(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, r PauseRecord) error {
	op := fmt.Sprintf("resume %s in %s", e, q)
	if _, err := resume(ctx, js, q, e.Key(), op, r.Seq); err != nil {
		return err
	}
	return explain(op, q, GiveTurn(ctx, js, q, e))
}

func writePause(ctx context.Context, js jetstream.JetStream, q subjects.Queue, key string, expect uint64, o PauseOptions) (PauseRecord, error) {
	r := PauseRecord{V: 1, By: oneLine(o.By, maxDeadShort), Reason: oneLine(o.Reason, maxDeadText), At: time.Now().UTC()}
	m := nats.NewMsg(KV(js.Conn()) + pauseSubject(q, key))
	if o.For > 0 {
		ttl := max(o.For.Round(time.Second), time.Second)
		r.Until = r.At.Add(ttl).Truncate(time.Second)
		m.Header.Set("Nats-TTL", strconv.Itoa(int(ttl/time.Second))+"s")
	}
	var err error
	if m.Data, err = json.Marshal(r); err != nil {
		return r, err
	}
	m.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(expect, 10))
	ack, err := js.PublishMsg(ctx, m)
	if err != nil {
		return r, err
	}
	r.Seq = ack.Sequence
	return r, nil
}

func explainPause(op string, q subjects.Queue, err error) error {
	if apiCode(err) == codeTTLDisabled {
		return problem.New(op, ErrPauseTTL, fmt.Sprintf("apply its policy again: coordinator queue edit %s", q))
	}
	return explain(op, q, err)
}

// resume deletes the key, confirmed; only, if it is not 0, when it is still the given one.
func resume(ctx context.Context, js jetstream.JetStream, q subjects.Queue, key, op string, only uint64) (bool, error) {
	if _, err := LoadQueue(ctx, js, q); err != nil {
		return false, err
	}
	for {
		r, paused, expect, err := readPause(ctx, js, q, key)
		if err != nil || !paused || only != 0 && r.Seq != only {
			return false, explain(op, q, err)
		}
		if err = unpause(ctx, js, q, key, expect); err == nil {
			return true, nil
		}
		if !IsWrongLast(err) {
			return false, explain(op, q, err)
		}
	}
}

// resumeKept is how long the bucket keeps the word that a pause is over: longer than a watch is ever behind.
const resumeKept = time.Hour

func unpause(ctx context.Context, js jetstream.JetStream, q subjects.Queue, key string, expect uint64) error {
	m := nats.NewMsg(KV(js.Conn()) + pauseSubject(q, key))
	m.Header.Set("KV-Operation", "DEL")
	m.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(expect, 10))
	m.Header.Set("Nats-TTL", strconv.Itoa(int(resumeKept/time.Second))+"s")
	_, err := js.PublishMsg(ctx, m)
	if apiCode(err) == codeTTLDisabled { // made by an older version: kept for ever
		m.Header.Del("Nats-TTL")
		_, err = js.PublishMsg(ctx, m)
	}
	return err
}

// GiveTurn publishes a turn if the lane has jobs; a refusal means that it has one.
func GiveTurn(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity) error {
	_, err := FirstMessage(ctx, js, q.JobsStream(), q.JobSubject(e))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = js.Publish(ctx, q.TurnSubject(e), nil); apiCode(err) == codeStoreFailed {
		return nil
	}
	return err
}
