package lane

import "time"

// SessionPhase is where a holder's own session stands.
type SessionPhase uint8

// The phases of a session.
const (
	// SessionNone: no session; one begins when the holder asks for it.
	SessionNone SessionPhase = iota
	// SessionOpening: the first record is on its way.
	SessionOpening
	// SessionStands: the holder may believe in it until Until.
	SessionStands
)

// Session is a holder's own session: what it may still believe. It is a value; its methods return a changed copy and
// what is to be done.
//
// The holder counts from the first sending of the last confirmed write, the observers from when they saw the record:
// which is later. So the holder has stopped, and killed, before anybody may declare it dead.
type Session struct {
	Phase SessionPhase
	// ID is the session's name; a new one for each life.
	ID string
	// Seq is the sequence of the last record that was confirmed.
	Seq uint64
	// Until is the end of belief, on the holder's clock.
	Until time.Duration

	op    Op
	first time.Duration // first sending of the write on its way; 0 is none
	again time.Duration
	last  time.Duration // first sending of the last write
	soon  bool          // something changed: write as soon as the bounded rate allows
}

// WriteSession is a session's action: store its record by compare-and-set against Expect (0: none). The same Op sent
// again carries the same message id and the same body.
type WriteSession struct {
	Op     Op
	ID     string
	Expect uint64
	Again  bool
}

// Begin starts a session under a fresh id.
func (s Session) Begin(id string, c *Config, now time.Duration) (Session, []WriteSession) {
	s = Session{Phase: SessionOpening, ID: id, op: s.op}
	return s.send(c, now)
}

func (s Session) send(c *Config, now time.Duration) (Session, []WriteSession) {
	s.op++
	s.first, s.last, s.soon = now, now, false
	s.again = now + min(c.AnswerWait, c.Lease/10)
	return s, []WriteSession{{Op: s.op, ID: s.ID, Expect: s.Seq}}
}

// Stored: the write op was confirmed, with this sequence. A confirmation that comes after the end revives nothing.
func (s Session) Stored(op Op, seq uint64, c *Config, now time.Duration) Session {
	if s.Phase == SessionNone || op != s.op || s.first == 0 {
		return s
	}
	from := s.first
	if c.Broken.Off(RuleFirstSending) {
		from = now
	}
	s.Seq, s.first = seq, 0
	if until := from + c.Lease - c.Margin; now < until {
		s.Phase, s.Until = SessionStands, until
	}
	return s
}

// Refused: another record stands. Somebody declared the session dead, or the record is gone: it is over.
func (s Session) Refused(op Op) (Session, bool) {
	if s.Phase == SessionNone || op != s.op {
		return s, false
	}
	return s.end(), true
}

// end is the session when it is over; answers to its writes mean nothing any more.
func (s Session) end() Session { return Session{op: s.op, ID: s.ID, Seq: s.Seq} }

// Writing says whether a write of the record is on its way.
func (s Session) Writing() bool { return s.first != 0 }

// Touch asks for a rewrite soon, because what the record tells has changed.
func (s Session) Touch() Session {
	s.soon = true
	return s
}

// Tick writes the record every third of the lease, sends an unanswered write again, and tells when the session is over.
func (s Session) Tick(c *Config, now time.Duration) (next Session, writes []WriteSession, over bool) {
	switch {
	case s.Phase == SessionNone:
		return s, nil, false
	case s.Phase == SessionStands && now >= s.Until:
		return s.end(), nil, true
	case s.first != 0 && now >= s.again:
		s.again = now + min(c.AnswerWait, c.Lease/10)
		return s, []WriteSession{{Op: s.op, ID: s.ID, Expect: s.Seq, Again: true}}, false
	case s.first == 0 && (now >= s.last+c.Lease/3 || s.soon && now >= s.last+c.Lease/15):
		next, writes = s.send(c, now)
		return next, writes, false
	}
	return s, nil, false
}
