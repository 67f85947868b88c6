package limits

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// Op is the number of one request; its answer carries it back.
type Op uint64

// Action is something that a machine wants done. Exactly one field is set.
type Action struct {
	Write *Write
	Read  *Read
}

// Write stores a limit's document under Key(Name), if its last revision still is Expect (0: there is none). Stored,
// Refused or Failed answers it.
type Write struct {
	Op     Op
	Name   string
	Expect uint64
	Doc    Document
}

// Read asks the leader for a limit's document. Found, Missing or Failed answers it.
type Read struct {
	Op   Op
	Name string
}

// Permit is the right to run one job. The zero Permit is none.
type Permit struct {
	life  uint64
	names []string
}

// Held says whether it is a permit.
func (p Permit) Held() bool { return p.life != 0 }

// Machine shares the limits of one queue with the machines of other workers.
type Machine struct {
	cfg    Config
	dead   func(string) bool
	random func() float64

	now    time.Duration
	me     string // the session that stands; empty when none does
	life   uint64 // of sessions: permits of an earlier one are void
	lastOp Op
	limits map[string]*limit
	order  []*limit // those that have a bound or a document, by name
	looked time.Duration
	slots  int // as many jobs could start if no limit stood against it
}

// limit is what a machine knows of one limit.
type limit struct {
	name string
	n    int // 0: none

	rev   uint64
	doc   Document
	newer bool // the document is of a newer version: nothing may be concluded from it
	heard time.Duration
	older time.Duration // since when reads show what should be the past; 0 is not at all

	inUse   int
	opening int // lanes that are being opened
	yields  int // permits that were just freed and go to others
	hungry  bool

	write *pending
	read  *pending

	demand
	dirty bool
}

// pending is a request on its way.
type pending struct {
	op      Op
	again   time.Duration
	tries   int
	write   Write
	own     int // what the write leaves to the own session
	refused bool
}

// New is a machine without limits and without a session. dead says whether a session said goodbye or was declared dead;
// random is in [0,1).
func New(cfg Config, dead func(session string) bool, random func() float64) *Machine {
	return &Machine{cfg: cfg, dead: dead, random: random, limits: map[string]*limit{}}
}

// At sets the clock for the calls that follow.
func (m *Machine) At(now time.Duration) { m.now = now }

// SetLimits sets the bounds by name, as the queue's policy says. A name that is missing is not limited.
func (m *Machine) SetLimits(bounds map[string]int) {
	for name, n := range bounds {
		if l := m.limit(name); l.n != n {
			l.n, l.dirty = max(n, 0), true
		}
	}
	for _, l := range m.limits {
		if _, ok := bounds[l.name]; !ok && l.n != 0 {
			l.n, l.dirty = 0, true
		}
	}
}

// Session tells which session stands; empty is none. All permits of another one are void: what ran under them has been
// killed, or will be before anybody takes the session for dead.
func (m *Machine) Session(id string) {
	if id == m.me {
		return
	}
	m.me = id
	m.life++
	for _, l := range m.limits {
		l.inUse, l.yields, l.write, l.read, l.demand = 0, 0, nil, nil, demand{}
		l.dirty = true
	}
}

// Reset forgets all documents: the bucket was made anew.
func (m *Machine) Reset() {
	for _, l := range m.limits {
		l.forget(m.now)
	}
}

func (l *limit) forget(now time.Duration) {
	l.rev, l.doc, l.newer, l.write, l.older, l.heard, l.dirty = 0, Document{}, false, nil, 0, now, true
}

func (m *Machine) limit(name string) *limit {
	l := m.limits[name]
	if l == nil {
		l = &limit{name: name}
		m.limits[name] = l
		i, _ := slices.BinarySearchFunc(m.order, name, func(l *limit, name string) int { return cmp.Compare(l.name, name) })
		m.order = slices.Insert(m.order, i, l)
	}
	return l
}

// tidy forgets names that mean nothing any more: kinds come and go.
func (m *Machine) tidy(l *limit) {
	if l.n == 0 && l.inUse == 0 && l.opening == 0 && l.rev == 0 && l.write == nil && l.read == nil {
		delete(m.limits, l.name)
		m.order = slices.DeleteFunc(m.order, func(o *limit) bool { return o == l })
	}
}

// Seen takes a limit's document that a watch brought: its key's revision and value. A key that was deleted is an empty
// value.
func (m *Machine) Seen(name string, rev uint64, value []byte) {
	l := m.limit(name)
	l.heard = m.now
	if rev <= l.rev {
		return
	}
	doc, err := Decode(value)
	m.take(l, rev, doc)
	l.newer = err == ErrNewer //nolint:errorlint // Decode returns it bare
	l.read = nil
}

// take makes a document the newest that is known. A write that expected an older one was stored before it or never will
// be; the document tells which.
func (m *Machine) take(l *limit, rev uint64, doc Document) {
	if doc.Shares[m.me] != l.doc.Shares[m.me] {
		l.heldSince = m.now
	}
	l.rev, l.doc, l.newer, l.older, l.dirty = rev, doc, false, 0, true
	if l.write != nil && rev > l.write.write.Expect {
		l.write, l.yields = nil, 0
	}
}

// Found answers a Read.
func (m *Machine) Found(op Op, rev uint64, value []byte) {
	l := m.reading(op)
	if l == nil {
		return
	}
	stale := rev < l.rev || rev == l.rev && l.write != nil && l.write.refused
	switch {
	case stale && m.mayBePast(l):
		return
	case rev < l.rev:
		l.forget(m.now) // the bucket was made anew
	case stale:
		// Nothing has replaced what it expected, so it was refused for another reason: once more.
		l.write.refused, l.write.again, l.older = false, m.now, 0
	}
	l.read = nil
	m.Seen(l.name, rev, value)
}

// mayBePast says whether an answer may show the past: a leader that was just elected does, but not for long. If so, it
// asks again.
func (m *Machine) mayBePast(l *limit) bool {
	if l.older == 0 {
		l.older = m.now
	}
	if m.now-l.older >= m.cfg.Past {
		return false
	}
	m.readAgain(l)
	return true
}

// Missing answers a Read: there is no document.
func (m *Machine) Missing(op Op) {
	l := m.reading(op)
	if l == nil {
		return
	}
	switch {
	case l.rev == 0 && (l.write == nil || !l.write.refused):
		l.read, l.heard = nil, m.now // nobody has written one, or the own session's is on its way
	case !m.mayBePast(l):
		l.read = nil
		l.forget(m.now)
	}
}

// Stored answers a Write: the document stands with this revision.
func (m *Machine) Stored(op Op, rev uint64) {
	for _, l := range m.order {
		if w := l.write; w != nil && w.op == op {
			l.heard = m.now
			if rev > l.rev {
				m.take(l, rev, w.write.Doc)
			}
			return
		}
	}
}

// Refused answers a Write: another revision stands. It may be this very write, sent before.
func (m *Machine) Refused(op Op) {
	for _, l := range m.order {
		if w := l.write; w != nil && w.op == op && !w.refused {
			if m.cfg.Broken.Off(RuleShareCAS) {
				m.take(l, l.rev+1, w.write.Doc)
				return
			}
			w.refused = true
			m.readAgain(l)
			return
		}
	}
}

// Failed answers any request that met an error: it is tried again.
func (m *Machine) Failed(op Op) {
	for _, l := range m.order {
		for _, p := range []*pending{l.write, l.read} {
			if p != nil && p.op == op {
				p.again = m.now + min(50*time.Millisecond<<min(p.tries, 8), m.cfg.AnswerWait)
			}
		}
	}
}

func (m *Machine) reading(op Op) *limit {
	for _, l := range m.order {
		if l.read != nil && l.read.op == op {
			return l
		}
	}
	return nil
}

// readAgain asks for the document in a moment; the watch is likely to bring it sooner.
func (m *Machine) readAgain(l *limit) {
	tries := 0
	if l.read != nil {
		tries = l.read.tries + 1
	}
	l.read = &pending{tries: tries, again: m.now + min(m.cfg.WatchLag<<min(tries, 8), m.cfg.AnswerWait)}
}

// share is how many jobs this session may run: what the newest document says, and no more than a write leaves it that may
// have been stored since.
func (m *Machine) share(l *limit) int {
	if m.me == "" || l.newer {
		return 0
	}
	n := l.doc.Shares[m.me]
	if l.write == nil {
		return n
	}
	if l.write.own < n && !m.cfg.Broken.Off(RuleSentIsGone) || l.write.own > n && m.cfg.Broken.Off(RuleOnlyStored) {
		n = l.write.own
	}
	return n
}

// free is how many more jobs may be started now.
func (m *Machine) free(l *limit) int {
	if l.n == 0 {
		return math.MaxInt32
	}
	if l.doc.sum(m.dead) > l.n {
		return 0 // it was lowered: first enough jobs have to end
	}
	return max(m.share(l)-l.inUse-l.yields, 0)
}

// room is how much of a limit nobody has.
func (m *Machine) room(l *limit) int {
	if l.newer || m.me == "" {
		return 0
	}
	return max(l.n-l.doc.sum(m.dead), 0)
}

// Actions returns what is to be done, in order. The driver calls it after each batch of events, and several times a
// second.
func (m *Machine) Actions() []Action {
	tick := m.now-m.looked >= m.cfg.Look
	if tick {
		m.looked = m.now
	}
	var out []Action
	for i := len(m.order) - 1; i >= 0; i-- { // tidy takes some out
		l := m.order[i]
		if !l.dirty && !tick {
			continue
		}
		l.dirty = false
		if m.me != "" && !l.newer {
			m.plan(l)
		}
		out = m.requests(l, out)
		if tick {
			m.tidy(l)
		}
	}
	return out
}

// requests sends what is due of a limit's requests.
func (m *Machine) requests(l *limit, out []Action) []Action {
	if w := l.write; w != nil && !w.refused && m.now >= w.again {
		w.tries++
		w.again = m.now + m.cfg.AnswerWait
		out = append(out, Action{Write: &w.write})
	}
	if l.read == nil && (l.n > 0 || l.rev > 0) && l.concerns(m.me) && m.now-l.heard >= m.cfg.Unheard {
		l.read = &pending{again: m.now}
	}
	if r := l.read; r != nil && m.now >= r.again {
		m.lastOp++
		r.op = m.lastOp
		r.tries++
		r.again = m.now + m.cfg.AnswerWait
		out = append(out, Action{Read: &Read{Op: r.op, Name: l.name}})
	}
	return out
}

// concerns says whether what others write into the document matters to this session.
func (l *limit) concerns(me string) bool {
	_, wants := l.doc.Wants[me]
	return me != "" && (wants || l.inUse > 0 || l.doc.Shares[me] > 0)
}

// send begins the write of a document that leaves this session own permits.
func (m *Machine) send(l *limit, doc Document, own int) {
	m.lastOp++
	l.write = &pending{
		op: m.lastOp, own: own, again: m.now,
		write: Write{Op: m.lastOp, Name: l.name, Expect: l.rev, Doc: Document{
			V: version, Shares: maps.Clone(doc.Shares), Wants: maps.Clone(doc.Wants),
		}},
	}
	l.yields = 0
}
