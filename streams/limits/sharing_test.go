package limits

import (
	"testing"
	"time"
)

// Who has more than another that wants some gives, job by job; by one alone only after a while.
func TestGiving(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 4})
	b.see(Queue, map[string]int{"me": 3, "you": 1}, nil)
	var all []Permit
	for range 3 {
		all = append(all, b.acquire(Queue))
	}
	b.see(Queue, map[string]int{"me": 3, "you": 1}, map[string]Want{"you": {2, 5}})
	b.m.Actions()
	b.m.Release(all[0])
	b.refused(Queue) // it is the other's
	d := b.stored()
	if d.Shares["me"] != 2 || d.Shares["you"] != 2 || d.Wants["you"].N != 1 || d.Wants["me"].N == 0 {
		t.Fatalf("it gives with %+v", d)
	}
	b.see(Queue, map[string]int{"me": 2, "you": 1, "she": 1}, map[string]Want{"you": {1, 5}})
	b.settle()
	b.m.Release(all[1])
	all[1] = b.acquire(Queue) // by one alone, and not for long
	b.at(DefaultConfig().Hold)
	b.m.Release(all[1])
	b.refused(Queue)
	if d := b.stored(); d.Shares["me"] != 1 || d.Shares["you"] != 2 {
		t.Errorf("after a while: %+v", d)
	}
}

// A queue at its limit is asked for one turn now and then, and those that many lanes wait for come back more seldom.
func TestStartable(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 2})
	if n := b.m.Startable(9); n != 2 {
		t.Errorf("%d can start", n)
	}
	b.see(Queue, map[string]int{"you": 2}, nil)
	if n := b.m.Startable(9); n != 1 {
		t.Errorf("to learn whether turns wait it asks for %d", n)
	}
	wait, ok := b.m.Admit(Queue)
	if ok || b.m.Startable(9) != 0 {
		t.Error("it asks again at once")
	}
	if n := b.at(wait).m.Startable(9); n != 1 {
		t.Errorf("later it asks for %d", n)
	}
	c := newBench(t, map[string]int{Type("t"): 1})
	c.m.Seen(Type("t"), 1, Document{Shares: map[string]int{"you": 1}}.Encode())
	first, _ := c.m.Admit(Names("t", "")...)
	for range 500 {
		wait, _ = c.m.Admit(Names("t", "")...)
	}
	if first > 50*time.Millisecond || wait < time.Second || wait > 8*time.Second {
		t.Errorf("the first comes back in %v, the last of 500 in %v", first, wait)
	}
	if n := newBench(t, nil).m.Startable(9); n < 9 {
		t.Errorf("without a limit %d", n)
	}
}

// Lanes that come to nothing do not stand in the way of those that follow.
func TestLanesThatComeToNothing(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 1})
	for range 100 {
		b.enter()
		if _, ok := b.m.Admit(Names("t", "")...); ok {
			t.Fatal("two lanes are let in for one permit")
		}
		b.m.Leave("t")
	}
	b.enter()
	b.refused(Names("t", "k")...)
	b.settle()
	b.acquire(Names("t", "k")...)
}

// A lane that lacks a permit that cannot be had takes none that could.
func TestNothingIsTakenInVain(t *testing.T) {
	b := newBench(t, map[string]int{Queue: 5, Kind("k"): 1})
	b.m.Seen(Kind("k"), 1, Document{Shares: map[string]int{"you": 1}}.Encode())
	b.enter()
	if _, soon := b.refused(Names("t", "k")...); soon {
		t.Error("a permit is announced that cannot be had")
	}
	b.m.Leave("t")
	for _, a := range b.m.Actions() {
		if a.Write == nil || a.Write.Name != Kind("k") || len(a.Write.Doc.Shares) != 1 || a.Write.Doc.Wants["me"].N != 1 {
			t.Errorf("it wants %+v", a)
		}
	}
}

// A machine without limits keeps nothing of the kinds that passed.
func TestNothingIsKept(t *testing.T) {
	b := newBench(t, nil)
	for i := range 100 {
		b.m.Release(b.acquire(Names("t", string(rune('a'+i)))...))
	}
	if b.at(time.Second).write() != nil || len(b.m.limits) != 0 || len(b.m.order) != 0 {
		t.Errorf("%d limits are kept", len(b.m.limits))
	}
}
