package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// ErrBusy: somebody who lives has the lane.
var ErrBusy = errors.New("a job of the lane runs")

// hold is a lane in the command's hands.
type hold struct {
	e      subjects.Entity
	head   uint64
	before lane.Record // what stood there, to be put back
	had    bool
	seq    uint64        // of the claim
	fence  uint64        // of its first writing
	held   lane.Record   // what stands there now
	taken  time.Duration // before the claim was sent, on the boot clock
}

// take gets the lane's claim. ErrBusy names who has it; false without an error means that the lane is empty, unless even
// an empty one is wanted.
func (s *Session) take(ctx context.Context, e subjects.Entity, even bool) (*hold, bool, error) {
	if err := s.stands(); err != nil {
		return nil, false, err
	}
	// The record first, then whether its session is over, and only after both the head: the rule after a refusal. A
	// goodbye between the head and the question would make a finished job look as if it had been left.
	h := &hold{e: e}
	r, had, err := s.record(ctx, e)
	if err != nil {
		return nil, false, err
	}
	over := false
	if had && (r.State == lane.Running || r.State == lane.Held) {
		if over, err = s.over(ctx, r.Session); err != nil {
			return nil, false, err
		}
	}
	cfg := lane.DefaultConfig(s.loaded.Policy.Lease)
	if over && s.loaded.Replicas > 1 {
		// A leader that was just elected may still show what its predecessor saw finished.
		if err := streams.Pause(ctx, cfg.ReadLag); err != nil {
			return nil, false, err
		}
	}
	asked := clock.Boot()
	head, err := streams.FirstMessage(ctx, s.js, s.queue.JobsStream(), s.queue.JobSubject(e))
	empty := errors.Is(err, streams.ErrNotFound)
	if err != nil && !empty || empty && !even {
		return nil, false, orNil(err, !empty)
	}
	h.head, h.before, h.had = head.Seq, r, had
	if had {
		if err := s.mayTake(h, over, empty); err != nil {
			return nil, false, err
		}
	}
	held := lane.Record{Attempt: 1}
	ttl := cfg.ClaimTTL
	if h.keeps() {
		held, ttl = h.before, 0
	}
	held.State, held.Session, held.Job, held.Created = lane.Held, s.id, h.head, s.loaded.Created.UnixNano()
	h.held = held
	h.seq, err = s.put(ctx, s.queue.ClaimSubject(e), held.Encode(), r.Seq, ttl)
	if streams.IsWrongLast(err) {
		return nil, false, fmt.Errorf("%w: its claim has just changed", ErrBusy)
	}
	if err != nil {
		return nil, false, err
	}
	h.taken, h.fence = asked, h.seq
	if clock.Boot()-asked > cfg.Window {
		// What was read may be past: give it back, and let the caller try again.
		return nil, false, errors.Join(fmt.Errorf("%w: the server took too long to answer", ErrBusy), s.release(ctx, h, empty))
	}
	return h, true, s.stands()
}

func orNil(err error, keep bool) error {
	if keep {
		return err
	}
	return nil
}

// keeps says that the record before is about the present head and has something to keep.
func (h *hold) keeps() bool {
	return h.had && h.before.Job == h.head && (!h.before.Counts.Zero() || h.before.Stolen || h.before.State == lane.Halted)
}

// mayTake asks the table of the lanes' own algorithm. A lane that waits or stands still may be held by an operator too.
func (s *Session) mayTake(h *hold, over, empty bool) error {
	r := h.before
	busy := problem.New(fmt.Sprintf("hold %s", h.e), fmt.Errorf("%w: job %d, session %s", ErrBusy, r.Job, r.Session), "wait until it is done")
	if empty {
		// The table knows nothing to take there. A job that is gone has ended, unless its claim is one that its job's
		// absence does not release.
		active := (r.State == lane.Running || r.State == lane.Held) && !over
		if active && (r.State == lane.Held || r.Stolen || r.Created != s.loaded.Created.UnixNano()) {
			return busy
		}
		return nil
	}
	v := &lane.View{
		Session: s.id, Created: s.loaded.Created.UnixNano(), ServerNow: time.Now(),
		Dead: func(string) bool { return over },
	}
	switch verdict := lane.Decide(r, lane.Head{Found: true, Seq: h.head}, v); verdict {
	case lane.Busy, lane.Stale:
		return busy
	case lane.Steal:
		// What its dead holder ran counts as lost; the lane is given back that way.
		h.before.State, h.before.Stolen = lane.GivenBack, true
		if r.State == lane.Running {
			h.before.Lost++
			h.before.Attempt = h.before.Counts.Attempt()
		}
	}
	return nil
}

// over says whether a session said goodbye or was declared dead.
func (s *Session) over(ctx context.Context, session string) (bool, error) {
	m, err := streams.LastMessage(ctx, s.js, subjects.WorkersStream, "$KV."+subjects.WorkersBucket+"."+session)
	if errors.Is(err, streams.ErrNotFound) {
		return false, nil // workers watch its absence, and declare it dead
	}
	if err != nil {
		return false, err
	}
	r, err := streams.DecodeSession(m.Data)
	return err == nil && r.Final(), nil
}

func (s *Session) record(ctx context.Context, e subjects.Entity) (r lane.Record, had bool, err error) {
	m, err := streams.LastMessage(ctx, s.js, s.queue.ClaimsStream(), s.queue.ClaimSubject(e))
	if errors.Is(err, streams.ErrNotFound) {
		return lane.Record{}, false, nil
	}
	if err != nil {
		return lane.Record{}, false, err
	}
	r, err = lane.DecodeRecord(m.Seq, m.Data)
	return r, err == nil, err
}

// release gives the lane back as it was, less what was removed, and sees to its turn.
func (s *Session) release(ctx context.Context, h *hold, headRemoved bool) error {
	r := lane.Record{State: lane.Done, Session: s.id, Job: h.head, Created: s.loaded.Created.UnixNano()}
	ttl := lane.DefaultConfig(s.loaded.Policy.Lease).ClaimTTL
	if !headRemoved {
		r.State = lane.GivenBack
		if h.keeps() {
			r, ttl = h.before, 0
			if r.State == lane.Running || r.State == lane.Done || r.State == lane.Held {
				r.State = lane.GivenBack
			}
		}
	}
	if err := s.replace(ctx, h, r, ttl); err != nil {
		return err
	}
	if headRemoved {
		if err := s.dropTurn(ctx, h.e); err != nil {
			return err
		}
	}
	if r.State == lane.Halted {
		return nil // it has no turn on purpose
	}
	return streams.GiveTurn(ctx, s.js, s.queue, h.e)
}

// replace writes a record in place of the hold's claim, unless somebody else has the lane by now. The claim may have been
// rewritten without an answer.
func (s *Session) replace(ctx context.Context, h *hold, r lane.Record, ttl time.Duration) error {
	for {
		_, err := s.put(ctx, s.queue.ClaimSubject(h.e), r.Encode(), h.seq, ttl)
		if !streams.IsWrongLast(err) {
			return err
		}
		stands, had, err := s.record(ctx, h.e)
		if err != nil || !had || stands.Session != s.id || stands.State != lane.Held || stands.Seq == h.seq {
			return err
		}
		h.seq = stands.Seq
	}
}

// dropTurn deletes the lane's turn, which may wait for a retry that will not come.
func (s *Session) dropTurn(ctx context.Context, e subjects.Entity) error {
	m, err := streams.LastMessage(ctx, s.js, s.queue.TurnsStream(), s.queue.TurnSubject(e))
	if errors.Is(err, streams.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = streams.DeleteMessage(ctx, s.js, s.queue.TurnsStream(), m.Seq)
	return err
}
