package lane

import (
	"strings"
	"testing"
	"time"
)

// turnstile is a gate with so many permits.
type turnstile struct {
	free     int
	admits   bool
	soon     bool
	released int
	opening  int
	guesses  []string
	asked    []string
}

func (g *turnstile) At(time.Duration)  {}
func (g *turnstile) Session(string)    {}
func (g *turnstile) Enter(string)      { g.opening++ }
func (g *turnstile) Leave(string)      { g.opening-- }
func (g *turnstile) Startable(int) int { return g.free }
func (g *turnstile) Release(Permit)    { g.free++; g.released++ }
func (g *turnstile) Admit(_, kind string) (time.Duration, bool) {
	g.guesses = append(g.guesses, kind)
	return 70 * time.Millisecond, g.admits
}

func (g *turnstile) Acquire(typ, kind string, _ bool) (Permit, time.Duration, bool) {
	g.asked = append(g.asked, typ+"/"+kind)
	if g.free == 0 {
		return nil, 80 * time.Millisecond, g.soon
	}
	g.free--
	return "permit", 0, true
}

// TestGate: a turn that cannot come to anything is given back unread, a lane without a permit is given back with nothing
// counted, and a permit is held from just before the start until nothing is alive.
func TestGate(t *testing.T) {
	g := &turnstile{admits: false}
	with := func() *rig {
		r := newRig(t)
		r.v.Gate, r.v.Type = g, "build"
		return r
	}
	if n := with().on(Delivered{turn7}).want(Returning, "FreeSlot", "NakTurn").nak(); n.Delay != 70*time.Millisecond {
		t.Errorf("it comes back in %v", n.Delay)
	}
	for delivered := 1; delivered <= 4; delivered++ {
		turn := turn7
		turn.Kind, turn.Delivered = "archive", delivered
		with().on(Delivered{turn}).want(Returning, "FreeSlot", "NakTurn")
	}
	if got := strings.Join(g.guesses, ","); got != ",archive,archive,archive," {
		t.Errorf("the kind that the turn speaks of is trusted as in %q", got)
	}
	g.admits = true
	head := job7
	head.Kind = "archive"
	r := with().on(Delivered{turn7}).headRead(head).stored(100).want(Parking, "FreeSlot", "WriteClaim(given_back)")
	if w := r.write(); !w.Record.Counts.Zero() {
		t.Errorf("it is given back as %+v", w.Record)
	}
	if n := r.stored(101).nak(); n.Delay != 80*time.Millisecond || g.asked[0] != "build/archive" {
		t.Errorf("it comes back in %v, asked for %v", n.Delay, g.asked)
	}
}

// TestPermits: the holder returns a permit when, and only when, nothing of the lane is alive.
func TestPermits(t *testing.T) {
	g := &turnstile{free: 1, admits: true}
	d := newDesk(t).session()
	d.h.queues[0].view.Gate = g
	const first, second = "ci.build.1", "ci.build.2"
	d.start(first)
	d.do(0, func() { d.h.Lane(second, Delivered{turn7}) })
	w, r := action[WriteClaim](d, second), action[ReadHead](d, second)
	d.do(0, func() { d.h.Lane(second, HeadRead{Op: r.Op, Head: job7}) })
	d.do(0, func() { d.h.Lane(second, Stored{Op: w.Op, Seq: 101}) })
	if a := action[WriteClaim](d, second); a.Record.State != GivenBack || g.released != 0 {
		t.Fatalf("without a permit it writes %+v, %d were returned", a.Record, g.released)
	}
	d.do(0, func() { d.h.Lane(first, Cancel{Jobs: []uint64{7}}) })
	if g.released != 0 {
		t.Error("the permit of a job that is being killed is returned")
	}
	d.do(0, func() { d.h.Lane(first, Finished{Fence: 100, Outcome: Outcome{Cause: CauseInterrupted}}) })
	if g.released != 1 || g.free != 1 {
		t.Errorf("%d permits were returned", g.released)
	}
	d.do(0, func() { d.h.StopLanes() })
	if g.released != 1 {
		t.Error("a permit was returned twice")
	}
}

// TestPermitSoon: a lane stays in hand while its permit is being got, and is given back when that takes too long.
func TestPermitSoon(t *testing.T) {
	g := &turnstile{admits: true, soon: true}
	opened := func(lane string) *desk {
		d := newDesk(t).session()
		d.h.queues[0].view.Gate = g
		d.do(0, func() { d.h.Lane(lane, Delivered{turn7}) })
		w, r := action[WriteClaim](d, lane), action[ReadHead](d, lane)
		d.do(0, func() { d.h.Lane(lane, HeadRead{Op: r.Op, Head: job7}) })
		d.do(0, func() { d.h.Lane(lane, Stored{Op: w.Op, Seq: 101}) })
		if len(d.out) > 0 || d.h.Used() != 1 {
			t.Fatalf("without a permit, that comes soon, it wants %+v", d.out)
		}
		return d
	}
	const lane = "ci.build.1"
	d := opened(lane)
	g.free = 1
	d.do(0, func() { d.h.Permits("ci") })
	if a := action[Start](d, lane); a.Fence != 101 || g.free != 0 {
		t.Errorf("with the permit: %+v", a)
	}
	d.do(0, func() { d.h.Permits("ci") })
	if len(d.out) > 0 {
		t.Errorf("nobody waits, and it wants %+v", d.out)
	}

	d = opened(lane)
	d.tick(permitWait / 2)
	for _, o := range d.out {
		if w, ok := o.Action.(WriteClaim); ok {
			t.Errorf("given back too early: %+v", w)
		}
	}
	if w := action[WriteClaim](d.tick(permitWait/2), lane); w.Record.State != GivenBack || d.h.Used() != 0 {
		t.Errorf("when no permit comes it writes %+v", w.Record)
	}
	if d.h.queues[0].permitless != 0 || g.opening != 0 {
		t.Errorf("%d still wait, %d are being opened", d.h.queues[0].permitless, g.opening)
	}
}
