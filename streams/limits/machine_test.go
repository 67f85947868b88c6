package limits

import (
	"testing"
	"time"
)

// bench drives one machine by hand.
type bench struct {
	t    *testing.T
	m    *Machine
	now  time.Duration
	rev  uint64
	dead map[string]bool
}

// newBench is a machine in session "me" under the limits given.
func newBench(t *testing.T, bounds map[string]int) *bench {
	b := &bench{t: t, now: time.Hour, dead: map[string]bool{}}
	b.m = New(DefaultConfig(), func(s string) bool { return b.dead[s] }, func() float64 { return 0 })
	b.at(0)
	b.m.SetLimits(bounds)
	b.m.Session("me")
	return b
}

func (b *bench) at(later time.Duration) *bench {
	b.now += later
	b.m.At(b.now)
	return b
}

// see shows a document that somebody wrote.
func (b *bench) see(name string, shares map[string]int, wants map[string]Want) *bench {
	b.rev++
	b.m.Seen(name, b.rev, Document{Shares: shares, Wants: wants}.Encode())
	return b
}

// write is the one write that the machine wants, or nil.
func (b *bench) write() (w *Write) {
	b.t.Helper()
	for _, a := range b.m.Actions() {
		if a.Write != nil {
			if w != nil {
				b.t.Fatal("two writes at once")
			}
			w = a.Write
		}
	}
	return w
}

// stored carries out the write that the machine wants.
func (b *bench) stored() Document {
	b.t.Helper()
	w := b.write()
	if w == nil {
		b.t.Fatal("it writes nothing")
	}
	if w.Expect != b.rev {
		b.t.Fatalf("it expects %d, not %d", w.Expect, b.rev)
	}
	b.rev++
	b.m.Stored(w.Op, b.rev)
	return w.Doc
}

// settle stores what the machine wants written, until it wants nothing.
func (b *bench) settle() {
	for w := b.write(); w != nil; w = b.write() {
		b.rev++
		b.m.Stored(w.Op, b.rev)
	}
}

// enter lets a lane of type t in and opens it.
func (b *bench) enter() {
	b.t.Helper()
	if _, ok := b.m.Admit(Names("t", "")...); !ok {
		b.t.Fatal("a turn is not let in beside free room")
	}
	b.m.Enter("t")
}

func (b *bench) acquire(names ...string) Permit {
	b.t.Helper()
	p, _, _ := b.m.Acquire(false, names...)
	if !p.Held() {
		b.t.Fatalf("no permit of %v", names)
	}
	return p
}

func (b *bench) refused(names ...string) (wait time.Duration, soon bool) {
	b.t.Helper()
	p, wait, soon := b.m.Acquire(false, names...)
	if p.Held() {
		b.t.Fatalf("a permit of %v", names)
	}
	return wait, soon
}

// A share is taken while the lane is opened, kept for the next job, and given back when it was idle for a moment.
func TestAShare(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 3})
	for range 3 {
		b.enter()
	}
	if wait, ok := b.m.Admit(Names("t", "")...); ok || wait < DefaultConfig().DelayMin {
		t.Errorf("a fourth turn is let in: %v, %v", ok, wait)
	}
	for range 3 {
		if _, soon := b.refused(Names("t", "k")...); !soon {
			t.Error("the permit that is being got is not announced")
		}
	}
	if d := b.stored(); d.Shares["me"] != 3 {
		t.Fatalf("it takes %+v", d)
	}
	var all []Permit
	for range 3 {
		all = append(all, b.acquire(Names("t", "k")...))
		b.m.Leave("t")
	}
	if wait, soon := b.refused(Names("t", "k")...); soon || wait < DefaultConfig().DelayMin {
		t.Errorf("the fourth comes back in %v, soon: %v", wait, soon)
	}
	if f := b.m.Facts(Queue); f != (Facts{Limit: 3, Taken: 3, Workers: 1, Mine: 3, InUse: 3}) || !f.Full() || b.m.Full(Names("t", "k")...) != Queue {
		t.Errorf("facts: %+v", f)
	}
	b.at(time.Second).settle()
	b.m.Release(all[0])
	b.acquire(Names("t", "k")...)
	if b.write() != nil {
		t.Error("it writes for a job that took the permit of another")
	}
	b.m.Release(all[1])
	b.m.Actions()
	b.at(DefaultConfig().Keep / 2)
	if b.write() != nil {
		t.Error("an idle permit is given back at once")
	}
	b.at(DefaultConfig().Keep)
	if d := b.stored(); d.Shares["me"] != 2 || len(d.Wants) != 0 {
		t.Errorf("later it has %+v", d)
	}
}

// Whatever became of a write: a permit that it gives away is gone when it is sent, one that it takes counts when the
// document says so.
func TestUnsureWrites(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 4})
	b.see(Queue, map[string]int{"me": 2, "you": 2}, nil)
	p := b.acquire(Queue)
	b.m.Actions()
	w := b.at(time.Second).write()
	if w == nil || w.Doc.Shares["me"] != 1 {
		t.Fatalf("it gives back with %+v", w)
	}
	b.refused(Queue)
	b.m.Refused(w.Op) // perhaps it was stored before, and the answer lost
	b.refused(Queue)
	b.m.Release(p)
	p = b.acquire(Queue)
	b.see(Queue, map[string]int{"me": 2, "you": 1, "she": 1}, nil) // it was not
	b.acquire(Queue)

	b = newBench(t, map[string]int{Queue: 4})
	b.see(Queue, map[string]int{"you": 2}, nil)
	b.enter()
	b.refused(Queue)
	w = b.write()
	if w == nil || w.Doc.Shares["me"] != 1 {
		t.Fatalf("it takes with %+v", w)
	}
	b.refused(Queue)
	b.at(DefaultConfig().AnswerWait)
	if again := b.write(); again == nil || again.Op != w.Op || again.Expect != w.Expect {
		t.Fatalf("without an answer it sends %+v", again)
	}
	b.m.Failed(w.Op)
	if again := b.at(time.Second).write(); again == nil || again.Op != w.Op {
		t.Fatalf("after an error it sends %+v", again)
	}
	b.rev++
	b.m.Seen(Queue, b.rev, w.Doc.Encode()) // the watch is quicker than the answer
	b.acquire(Queue)
	b.m.Stored(w.Op, b.rev)
	b.refused(Queue)
	_ = p
}

// After a refusal the document is read, if the watch does not bring it.
func TestReads(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 1})
	b.enter()
	b.refused(Queue)
	w := b.write()
	b.m.Refused(w.Op)
	read := func() *Read {
		t.Helper()
		for range 10 {
			for _, a := range b.at(2 * time.Second).m.Actions() {
				if a.Read != nil {
					return a.Read
				}
			}
		}
		t.Fatal("it reads nothing")
		return nil
	}
	b.m.Failed(read().Op)
	b.m.Missing(read().Op) // a leader that was just elected
	r := read()
	b.rev = 9
	b.m.Found(r.Op, 9, Document{Shares: map[string]int{"me": 1}}.Encode())
	b.acquire(Queue)
	b.m.Found(r.Op, 12, nil) // an answer that nobody waits for
	if f := b.m.Facts(Queue); f.Taken != 1 {
		t.Errorf("%+v", f)
	}

	// Nothing was heard for long: it reads, and at last believes a bucket that was made anew.
	for range 10 {
		b.m.Found(read().Op, 2, nil)
		if w := b.write(); w != nil {
			if w.Expect != 2 || w.Doc.Shares["me"] != 1 {
				t.Errorf("in the new bucket it writes %+v", w)
			}
			return
		}
	}
	t.Error("it never believes the new bucket")
}

// A limit that is lowered starts nothing until enough has ended; one that is lifted needs no document.
func TestChangedLimits(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 4})
	b.see(Queue, map[string]int{"me": 3, "you": 1}, nil)
	p := b.acquire(Queue)
	b.acquire(Queue)
	b.m.SetLimits(map[string]int{Queue: 2})
	b.refused(Queue)
	if d := b.stored(); d.Shares["me"] != 2 || d.Shares["you"] != 1 {
		t.Errorf("of three it keeps %+v", d)
	}
	b.refused(Queue)
	b.m.Release(p)
	b.refused(Queue)
	if d := b.stored(); d.Shares["me"] != 1 {
		t.Errorf("when a job has ended: %+v", d)
	}
	b.refused(Queue)
	b.m.SetLimits(nil)
	for range 5 {
		b.acquire(Queue)
	}
	if d := b.stored(); len(d.Shares) != 1 || b.m.Bounds() {
		t.Errorf("lifted: %+v", d)
	}
	b.m.SetLimits(map[string]int{Queue: 2})
	b.refused(Queue)
	if d := b.stored(); d.Shares["me"] != 6 {
		t.Errorf("what runs is not written down: %+v", d)
	}
}

// The share of a session is free to others when it is over, never because it is silent.
func TestDeadSessions(t *testing.T) {
	b := newBench(t, map[string]int{Kind("k"): 2})
	b.see(Kind("k"), map[string]int{"you": 2}, map[string]Want{"you": {1, 1}})
	if wait, soon := b.refused(Names("t", "k")...); soon || wait < DefaultConfig().DelayMin {
		t.Errorf("%v, %v", wait, soon)
	}
	if d := b.stored(); d.Wants["me"].N != 1 || d.Shares["you"] != 2 {
		t.Errorf("it wants with %+v", d)
	}
	b.at(time.Minute)
	b.refused(Names("t", "k")...)
	b.m.Actions()
	b.dead["you"] = true
	if _, soon := b.refused(Names("t", "k")...); !soon {
		t.Error("there is room, and it is not announced")
	}
	if d := b.stored(); d.Shares["me"] < 1 || d.Shares["you"] != 0 || d.Wants["you"].N != 0 {
		t.Errorf("it takes with %+v", d)
	}
}

// A new session has nothing of the old one's, and what the old one returns is nothing.
func TestSessions(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 1})
	b.see(Queue, map[string]int{"me": 1}, nil)
	p := b.acquire(Queue)
	b.m.Session("")
	b.refused(Queue)
	if wait, ok := b.m.Admit(Queue); ok || wait <= 0 || b.write() != nil || b.m.Startable(5) != 0 {
		t.Error("it goes on without a session")
	}
	b.m.Session("new")
	b.see(Queue, map[string]int{"new": 1}, nil)
	b.acquire(Queue)
	b.m.Release(p)
	b.refused(Queue)
	b.m.Release(Permit{})
}

// Permits are of all limits or of none.
func TestAllOrNone(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 5, Type("t"): 5, Kind("k"): 1})
	b.see(Queue, map[string]int{"me": 5}, nil)
	b.m.Seen(Type("t"), 1, Document{Shares: map[string]int{"me": 5}}.Encode())
	b.m.Seen(Kind("k"), 1, Document{Shares: map[string]int{"me": 1}}.Encode())
	p := b.acquire(Names("t", "k")...)
	b.refused(Names("t", "k")...)
	if q, typ := b.m.Facts(Queue).InUse, b.m.Facts(Type("t")).InUse; q != 1 || typ != 1 {
		t.Errorf("in use after a refusal: %d and %d", q, typ)
	}
	b.acquire(Names("t", "other")...)
	b.m.Release(p)
	b.acquire(Names("t", "k")...)
	if b.m.Startable(10) != 3 {
		t.Errorf("%d more can start", b.m.Startable(10))
	}
}

// A document of a newer version stops all starts under its limit, and is not written over.
func TestNewerDocument(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 5})
	b.m.Seen(Queue, 3, []byte(`{"v":2}`))
	b.refused(Queue)
	if b.at(time.Second).write() != nil {
		t.Error("it is written over")
	}
	b.rev = 3
	b.see(Queue, map[string]int{"me": 1}, nil)
	b.acquire(Queue)
}
