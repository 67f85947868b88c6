package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// job is one message of JOBS, and what became of it.
type job struct {
	seq       uint64
	lane      *entity
	kind      kind
	published time.Duration

	gone      bool // not in JOBS any more
	goneAt    time.Duration
	letters   []time.Duration // dead letters stored
	moveIDs   []moveID
	passed    int // times that it was stored in the schedule, and when last
	passedAt  time.Duration
	cancelled bool        // an operator wants it gone
	counts    lane.Counts // that it brought along from an earlier place

	// For the checks.
	starts    int
	wellEnded bool // some run of it ended well
	confirmed bool // its delete was confirmed to a holder
	last      *process
}

type moveID struct {
	attempt int
	at      time.Duration
}

// kind is what a job does to whoever touches it.
type kind uint8

const (
	ordinary kind = iota
	poison        // takes its holder down each time
	invalid       // cannot be used
	unserved      // not served by every holder
)

// entity is one lane: everything that the server stores for it, and the processes that run for it.
type entity struct {
	name  string
	jobs  []*job // in JOBS, in order
	past  []*job // lately removed, for readers that see the past
	turn  *turn
	claim claim

	paused   bool
	pausedAt time.Duration

	running []*process
	fence   uint64 // the last one that was started under
	stillAt time.Duration
}

// server is what all streams of the queue have in common, and JOBS.
type server struct {
	w      *world
	down   bool
	upAt   time.Duration
	epoch  int // grows with each restart: requests of an older one are lost
	jobSeq uint64
	// Until these times no leader answers, a leader shows the past, and CLAIMS does not answer.
	leaderlessTo, laggedTo, claimsAwayTo time.Duration
}

func (s *server) init(w *world) { s.w = w; w.turns.w = w; w.workers.init() }

// publish stores a job and lets its copy go to TURNS.
func (w *world) publish() {
	if w.server.down {
		return
	}
	e := w.lanes[w.rng.IntN(len(w.lanes))]
	n := 1
	if w.chance(w.p.Burst) {
		n = 2 + w.rng.IntN(8)
	}
	for range n {
		w.publishOn(e, false)
	}
}

// publishOn stores a job for e. Its copy comes at once, or soon, unless the profile has other plans.
func (w *world) publishOn(e *entity, atOnce bool) *job {
	s := &w.server
	s.jobSeq++
	j := &job{seq: s.jobSeq, lane: e, published: w.now}
	switch {
	case w.chance(w.p.Poison):
		j.kind = poison
	case w.chance(w.p.Invalid):
		j.kind = invalid
	case w.chance(w.p.Unserved):
		j.kind = unserved
	}
	if len(e.jobs) == 0 {
		e.stillAt = w.now
	}
	e.jobs = append(e.jobs, j)
	w.stats.Published++
	w.note(e, "JOBS", "job %d published (%d)", j.seq, j.kind)
	w.audit(j)
	delay := w.upTo(3 * time.Millisecond)
	switch {
	case atOnce:
		w.turns.publish(e, j.seq, "copy")
		return j
	case w.chance(w.p.CopyLost):
		w.note(e, "JOBS", "the copy of %d is lost", j.seq)
		return j
	case w.chance(w.p.CopyLate):
		delay += w.upTo(w.p.CopyLateMax)
	}
	epoch := s.epoch
	w.in(delay, func() {
		if s.epoch == epoch && w.now >= s.leaderlessTo {
			w.turns.publish(e, j.seq, "copy")
		}
	})
	return j
}

// head is what a read shows. A follower, or a leader that was made lately, shows the past.
func (s *server) head(e *entity, leader bool) (first *job, more bool) {
	w := s.w
	at := w.now
	switch {
	case !w.p.replicated():
	case !leader:
		at -= w.upTo(w.p.Lag)
	case w.now < s.laggedTo:
		at -= w.upTo(w.p.LeaderLag)
	}
	if at == w.now {
		if len(e.jobs) == 0 {
			return nil, false
		}
		return e.jobs[0], len(e.jobs) > 1
	}
	for _, list := range [2][]*job{e.past, e.jobs} {
		for _, j := range list {
			if j.published > at || j.gone && j.goneAt <= at {
				continue
			}
			switch {
			case first == nil:
				first = j
			case j.seq < first.seq:
				first, more = j, true
			default:
				more = true
			}
		}
	}
	return first, more
}

// delete removes a job by its sequence; a job that is not there counts as removed.
func (s *server) delete(e *entity, seq uint64) {
	for i, j := range e.jobs {
		if j.seq != seq {
			continue
		}
		s.w.checkDelete(e, j)
		j.gone, j.goneAt = true, s.w.now
		e.jobs = append(e.jobs[:i:i], e.jobs[i+1:]...)
		e.past = append(e.past, j)
		for len(e.past) > 0 && e.past[0].goneAt < s.w.now-time.Minute {
			e.past = e.past[1:]
		}
		e.stillAt = s.w.now
		s.w.note(e, "JOBS", "job %d is gone", seq)
		return
	}
}

// moveWindow is the duplicate window of DEAD.
const moveWindow = 2 * time.Minute

// move stores a dead letter, unless its id was used within the window.
func (s *server) move(e *entity, j *job, r lane.Record, withID bool) {
	if withID && j.movedBefore(s.w, r.Attempt) {
		return
	}
	s.w.checkLetter(e, j, r)
	j.letters = append(j.letters, s.w.now)
	s.w.note(e, "DEAD", "dead letter of %d, attempt %d: %s", j.seq, r.Attempt, r.Cause)
}

// movedBefore says that a move of the job has this id already; else it takes the id.
func (j *job) movedBefore(w *world, attempt int) bool {
	for _, id := range j.moveIDs {
		if id.attempt == attempt && w.now-id.at < moveWindow {
			return true
		}
	}
	j.moveIDs = append(j.moveIDs, moveID{attempt, w.now})
	return false
}

// restart kills the server: requests on their way are lost, what is stored is not, and deliveries are forgotten.
func (w *world) restart() {
	s := &w.server
	if s.down {
		return
	}
	w.stats.Restarts++
	s.down = true
	s.epoch++
	s.upAt = w.now + 50*time.Millisecond + w.upTo(w.p.DownMax)
	w.note(nil, "server", "killed until %v", s.upAt)
	w.at(s.upAt, func() {
		s.down = false
		w.note(nil, "server", "up")
		w.turns.forget(w.chance(w.p.ForgetAll))
		w.turns.pump()
		w.sweepSoon("the connection returned")
	})
}

// stepDown moves the leaders: what arrives before the new ones answer is lost, readers lag for a moment, deliveries come
// back.
func (w *world) stepDown() {
	s := &w.server
	if s.down {
		return
	}
	w.stats.Restarts++
	s.leaderlessTo = w.now + w.upTo(300*time.Millisecond)
	s.laggedTo = s.leaderlessTo + w.upTo(w.p.LeaderLag)
	w.note(nil, "server", "leaders step down until %v, reads lag until %v", s.leaderlessTo, s.laggedTo)
	w.turns.forget(w.chance(w.p.ForgetAll))
	w.turns.pump()
	w.sweepSoon("a leader changed")
}

// claimsAway takes CLAIMS away for a while: nothing else is hurt, and what is stored there goes on to expire.
func (w *world) claimsAway() {
	s := &w.server
	s.claimsAwayTo = w.now + w.upTo(w.p.ClaimsDownMax)
	w.note(nil, "server", "CLAIMS does not answer until %v", s.claimsAwayTo)
}
