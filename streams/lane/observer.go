package lane

import (
	"slices"
	"strings"
	"time"
)

// Observer watches the session records of others. A session is declared dead by an observer that has seen the very same
// record for a full lease on its own clock, by a compare-and-set against that record. Only the stored `dead` counts,
// for everybody, the observer included.
type Observer struct {
	seen map[string]*sighting
}

type sighting struct {
	seq   uint64
	since time.Duration
	lease time.Duration
	final bool          // said goodbye, or was declared dead
	asked time.Duration // when `dead` was last written
}

// Sighting is what a session's record says, as the watch or a read showed it. Seq 0 means that there is no record.
type Sighting struct {
	Session string
	Seq     uint64
	Lease   time.Duration
	// Final says that the record is a farewell or `dead`.
	Final bool
}

// WriteDead asks to declare a session dead, by compare-and-set against Expect.
type WriteDead struct {
	Session string
	Expect  uint64
}

// NewObserver has seen nothing yet.
func NewObserver() *Observer { return &Observer{seen: map[string]*sighting{}} }

// See notes a record.
func (o *Observer) See(s Sighting, now time.Duration) {
	got := o.seen[s.Session]
	switch {
	case got == nil:
		o.seen[s.Session] = &sighting{seq: s.Seq, since: now, lease: s.Lease, final: s.Final}
	case got.final || s.Seq < got.seq && s.Seq != 0:
		// What is over stays over; an older record is a late one.
	case s.Seq != got.seq || s.Final:
		*got = sighting{seq: s.Seq, since: now, lease: max(s.Lease, got.lease), final: s.Final}
	}
}

// Forget drops a session whose record expired: nobody can name it any more but a claim without a time to live, and then
// its absence is observed anew.
func (o *Observer) Forget(session string) { delete(o.seen, session) }

// Miss notes that a claim names a session without a record. Its absence is watched like a record.
func (o *Observer) Miss(session string, now time.Duration) {
	if session != "" && o.seen[session] == nil {
		o.seen[session] = &sighting{since: now}
	}
}

// Dead says whether a session said goodbye or was declared dead.
func (o *Observer) Dead(session string) bool {
	s := o.seen[session]
	return s != nil && s.final
}

// Silent says whether the session's record has been the same for a full lease.
func (o *Observer) Silent(session string, c *Config, now time.Duration) bool {
	s := o.seen[session]
	return s != nil && !s.final && now-s.since >= max(s.lease, c.Lease)
}

// Tick lists the sessions that are to be declared dead, each again after a while.
func (o *Observer) Tick(own string, c *Config, now time.Duration) []WriteDead {
	var due []WriteDead
	for id, s := range o.seen {
		if id == own || !o.Silent(id, c, now) || s.asked != 0 && now < s.asked+c.AnswerWait {
			continue
		}
		s.asked = now
		due = append(due, WriteDead{Session: id, Expect: s.seq})
	}
	slices.SortFunc(due, func(a, b WriteDead) int { return strings.Compare(a.Session, b.Session) })
	return due
}
