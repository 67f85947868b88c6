package lane

import (
	"fmt"
	"testing"
	"time"
)

// desk drives a holder by hand.
type desk struct {
	t   *testing.T
	h   *Holder
	now time.Duration
	out []Output
}

func newDesk(t *testing.T) *desk {
	n := 0
	d := &desk{t: t, now: at}
	d.h = NewHolder([]Queue{{
		Name: "ci", Config: DefaultConfig(15 * time.Second), Created: 1,
		Backoff: func(int) time.Duration { return time.Second },
	}},
		func() string { n++; return fmt.Sprintf("s%d", n) }, func() float64 { return 0 })
	d.h.Capacity(2)
	return d
}

// do lets time pass and then something happen, and keeps what the holder wants done.
func (d *desk) do(later time.Duration, f func()) *desk {
	d.now += later
	d.h.At(d.now, time.Unix(1000, 0).Add(d.now))
	f()
	d.out = append([]Output(nil), d.h.Take()...)
	return d
}

func (d *desk) tick(later time.Duration) *desk { return d.do(later, d.h.Tick) }

// action is the last action of type A for a lane.
func action[A Action](d *desk, lane string) (found A) {
	d.t.Helper()
	ok := false
	for _, o := range d.out {
		if a, is := o.Action.(A); is && o.Lane == lane {
			found, ok = a, true
		}
	}
	if !ok {
		d.t.Fatalf("no %T for %s in %+v", found, lane, d.out)
	}
	return found
}

// session begins a session and confirms it.
func (d *desk) session() *desk {
	d.t.Helper()
	d.tick(0)
	for _, o := range d.out {
		if o.Session != nil {
			return d.do(0, func() { d.h.SessionStored(o.Session.Op, uint64(d.now)) })
		}
	}
	d.t.Fatalf("no session begins: %+v", d.out)
	return d
}

// start has job 7 of a lane delivered, claimed and started.
func (d *desk) start(lane string) *desk {
	d.t.Helper()
	d.do(0, func() { d.h.Lane(lane, Delivered{turn7}) })
	w, r := action[WriteClaim](d, lane), action[ReadHead](d, lane)
	d.do(0, func() { d.h.Lane(lane, HeadRead{Op: r.Op, Head: job7}) })
	d.do(0, func() { d.h.Lane(lane, Stored{Op: w.Op, Seq: 100}) })
	action[Start](d, lane)
	return d
}

func TestPulls(t *testing.T) {
	d := newDesk(t)
	pulls := func() (n int, op Op) {
		d.do(0, d.h.WantPull)
		for _, o := range d.out {
			if o.Pull != nil {
				n, op = n+o.Pull.N, o.Pull.Op
			}
		}
		return n, op
	}
	if n, _ := pulls(); n != 0 {
		t.Error("it pulls without a session")
	}
	d.session()
	n, op := pulls()
	if n != 2 {
		t.Fatalf("it asks for %d turns for two slots", n)
	}
	if n, _ := pulls(); n != 0 {
		t.Errorf("it asks for %d more", n)
	}
	d.do(0, func() { d.h.Delivered("ci.e.1", turn7, op, 0) })
	if d.h.Used() != 1 || d.h.Lanes() != 1 {
		t.Errorf("%d slots, %d lanes", d.h.Used(), d.h.Lanes())
	}
	d.do(0, func() { d.h.PullEnded(op) })
	if n, _ := pulls(); n != 1 {
		t.Errorf("it asks for %d turns for one free slot", n)
	}
	// One turn too many is given back at once.
	d.do(0, func() { d.h.Delivered("ci.e.2", turn7, op, 0) })
	d.do(0, func() { d.h.Delivered("ci.e.3", turn7, op, 0) })
	if a := action[NakTurn](d, "ci.e.3"); a.Delay != 0 || d.h.Used() != 2 {
		t.Errorf("it is given back for %v, %d slots are used", a.Delay, d.h.Used())
	}
	d.h.Quiet(true)
	d.h.Capacity(9)
	if n, _ := pulls(); n != 0 {
		t.Error("it pulls while quiet")
	}
	d.h.Quiet(false)
	if n, _ := pulls(); n == 0 {
		t.Error("it does not pull again")
	}
	d.h.Drain()
	if n, _ := pulls(); n != 0 {
		t.Error("it pulls while draining")
	}
	d.do(0, func() { d.h.Delivered("other.e.1", turn7, op, 0) })
	if len(d.out) != 0 {
		t.Errorf("a turn of a queue that is not served leads to %+v", d.out)
	}
}

// TestNumbersGoOn: a lane that comes again does not use numbers again, or an answer to its earlier turn would look like
// one to a question of this turn.
func TestNumbersGoOn(t *testing.T) {
	d := newDesk(t).session()
	seen := map[Op]bool{}
	for range 3 {
		d.do(0, func() { d.h.Lane("ci.e.1", Visit{}) })
		r := action[ReadHead](d, "ci.e.1")
		if seen[r.Op] {
			t.Fatalf("number %d is used again", r.Op)
		}
		seen[r.Op] = true
		d.do(0, func() { d.h.Lane("ci.e.1", HeadRead{Op: r.Op}) })
		action[Drop](d, "ci.e.1")
	}
}

// TestPausedInbox: what lay in the inbox of a holder that was paused finds its session over.
func TestPausedInbox(t *testing.T) {
	d := newDesk(t).session().start("ci.e.1")
	d.do(time.Minute, func() { d.h.Lane("ci.e.1", Finished{Fence: 100}) })
	action[Kill](d, "ci.e.1")
	for _, o := range d.out {
		if _, ok := o.Action.(DeleteJob); ok {
			t.Error("it deletes a job in a session that is over")
		}
	}
	if d.h.Session().Phase != SessionNone {
		t.Error("its session goes on")
	}
}

// TestSessionOver: lanes are killed, a new session begins when the groups are empty, claims are given back, and only
// then the old session says goodbye.
func TestSessionOver(t *testing.T) {
	d := newDesk(t).session().start("ci.e.1")
	old := d.h.Session()
	d.tick(12 * time.Second)
	if k := action[Kill](d, "ci.e.1"); !k.Now || len(d.h.Running()) != 1 {
		t.Fatalf("%+v, running %v", k, d.h.Running())
	}
	d.tick(time.Second)
	if d.h.Session().Phase != SessionNone {
		t.Fatal("a new session begins beside a group of the old one")
	}
	d.do(0, func() { d.h.Lane("ci.e.1", Finished{Fence: 100, Outcome: Outcome{Cause: CauseInterrupted}}) })
	d.session()
	r := action[ReadRecord](d, "ci.e.1")
	d.do(0, func() {
		d.h.Lane("ci.e.1", RecordRead{Op: r.Op, Found: true, Record: by(old.ID, Running)})
	})
	w := action[WriteClaim](d, "ci.e.1")
	if d.tick(0); farewells(d) != nil {
		t.Fatal("it says goodbye before its claims are given back")
	}
	d.do(0, func() { d.h.Lane("ci.e.1", Stored{Op: w.Op, Seq: 101}) })
	n := action[NakTurn](d, "ci.e.1")
	d.do(0, func() { d.h.Lane("ci.e.1", Returned{n.Op}) })
	d.tick(0)
	if f := farewells(d); len(f) != 1 || f[0] != (Farewell{Session: old.ID, Expect: old.Seq}) {
		t.Errorf("the farewells are %+v", f)
	}
}

func farewells(d *desk) (list []Farewell) {
	for _, o := range d.out {
		if o.Farewell != nil {
			list = append(list, *o.Farewell)
		}
	}
	return list
}

// TestStuckNeverSaysGoodbye: a session with a group that could not be shown to be empty is left to its lease, and the
// holder goes on in a new one.
func TestStuckNeverSaysGoodbye(t *testing.T) {
	d := newDesk(t).session().start("ci.e.1")
	d.do(0, func() {
		d.h.Lane("ci.e.1", Finished{Fence: 100, Outcome: Outcome{Cause: CauseInterrupted, Stuck: true}})
	})
	if _, ok := d.h.Goodbye(); ok {
		t.Error("it says goodbye beside what might run")
	}
	d.now += 12 * time.Second
	d.session()
	if d.tick(0); farewells(d) != nil || d.h.Session().Phase != SessionStands || d.h.Lanes() != 0 {
		t.Errorf("farewells %+v, session %+v, %d lanes", farewells(d), d.h.Session(), d.h.Lanes())
	}
}

// TestDeclaredDead: the own session, declared dead by somebody, is over at once; so is one whose write is refused.
func TestDeclaredDead(t *testing.T) {
	d := newDesk(t).session().start("ci.e.1")
	d.do(time.Second, func() { d.h.See(Sighting{Session: "s1", Seq: 99, Final: true}) })
	action[Kill](d, "ci.e.1")
	if !d.h.Dead("s1") || d.h.Session().Phase != SessionNone {
		t.Error("it goes on")
	}
	d = newDesk(t).session().start("ci.e.1")
	d.tick(5 * time.Second)
	d.do(0, func() { d.h.SessionRefused(d.out[0].Session.Op) })
	action[Kill](d, "ci.e.1")
}

// TestStop: a clean stop ends what runs, gives it back and says goodbye, once nothing is on its way any more.
func TestStop(t *testing.T) {
	d := newDesk(t).session().start("ci.e.1")
	d.h.Drain()
	d.do(0, d.h.StopLanes)
	if k := action[Kill](d, "ci.e.1"); k.Now {
		t.Error("it kills at once")
	}
	d.do(0, d.h.StopLanes)
	if k := action[Kill](d, "ci.e.1"); !k.Now {
		t.Error("asked twice it does not kill at once")
	}
	d.do(0, func() { d.h.Lane("ci.e.1", Finished{Fence: 100, Outcome: Outcome{Cause: CauseInterrupted}}) })
	w := action[WriteClaim](d, "ci.e.1")
	d.do(0, func() { d.h.Lane("ci.e.1", Stored{Op: w.Op, Seq: 101}) })
	n := action[NakTurn](d, "ci.e.1")
	if _, ok := d.h.Goodbye(); ok {
		t.Error("it says goodbye before the turn is given back")
	}
	d.do(0, func() { d.h.Lane("ci.e.1", Returned{n.Op}) })
	d.tick(5 * time.Second)
	if _, ok := d.h.Goodbye(); ok {
		t.Error("it says goodbye while its record is being rewritten")
	}
	d.do(0, func() { d.h.SessionStored(d.out[0].Session.Op, 77) })
	if f, ok := d.h.Goodbye(); !ok || f != (Farewell{Session: "s1", Expect: 77}) {
		t.Errorf("%v, %+v", ok, f)
	}
	if d.tick(time.Minute); len(d.out) != 0 {
		t.Errorf("after its goodbye it wants %+v", d.out)
	}
}

// TestVisit: a lane in hand is not visited, its own end will look.
func TestVisit(t *testing.T) {
	d := newDesk(t).session().start("ci.e.1")
	if d.h.Visit("ci.e.1", Visit{}) {
		t.Error("a lane in hand is visited")
	}
	d.do(0, func() { d.h.Visit("ci.e.2", Visit{Publish: true, Guess: 8}) })
	if p := action[PublishTurn](d, "ci.e.2"); p.Guess != 8 {
		t.Errorf("%+v", p)
	}
}

// TestLateEvents: what comes for a lane that is not in hand means nothing.
func TestLateEvents(t *testing.T) {
	d := newDesk(t).session()
	d.do(0, func() {
		for _, e := range []Event{
			HeadRead{},
			RecordRead{},
			Stored{},
			Refused{},
			Finished{},
			Deleted{},
			Moved{},
			Ended{},
			Returned{},
			Published{},
			Failed{},
			Tick{},
			SessionOver{},
			SessionNew{},
			Stop{},
		} {
			d.h.Lane("ci.e.1", e)
		}
	})
	if len(d.out) != 0 || d.h.Lanes() != 0 {
		t.Errorf("it does %+v with %d lanes", d.out, d.h.Lanes())
	}
}
