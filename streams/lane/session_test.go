package lane

import (
	"testing"
	"time"
)

const at = time.Hour // some moment of the holder's clock

// stands is a session that was begun at `at` and confirmed at once.
func stands(t *testing.T, c *Config) Session {
	t.Helper()
	s, writes := Session{}.Begin("s1", c, at)
	if s.Phase != SessionOpening || len(writes) != 1 || writes[0].Expect != 0 || writes[0].Again {
		t.Fatalf("it begins as %+v with %+v", s, writes)
	}
	s = s.Stored(writes[0].Op, 10, c, at)
	if s.Phase != SessionStands || s.Seq != 10 || s.Until != at+c.Lease-c.Margin {
		t.Fatalf("it stands as %+v", s)
	}
	return s
}

func TestSessionRenews(t *testing.T) {
	c := DefaultConfig(15 * time.Second)
	s := stands(t, &c)
	if next, writes, over := s.Tick(&c, at+c.Lease/3-1); len(writes) != 0 || over || next != s {
		t.Error("it is rewritten too early")
	}
	s, writes, over := s.Tick(&c, at+c.Lease/3)
	if len(writes) != 1 || over || writes[0].Expect != 10 || writes[0].Again || !s.Writing() {
		t.Fatalf("it is rewritten as %+v", writes)
	}
	// Without an answer the same write goes out again, and the end does not move.
	s, again, _ := s.Tick(&c, at+c.Lease/3+2*time.Second)
	if len(again) != 1 || again[0].Op != writes[0].Op || !again[0].Again {
		t.Fatalf("it is sent again as %+v", again)
	}
	// The answer counts from the first sending.
	s = s.Stored(again[0].Op, 11, &c, at+9*time.Second)
	if want := at + c.Lease/3 + c.Lease - c.Margin; s.Until != want || s.Seq != 11 || s.Writing() {
		t.Errorf("it stands as %+v, want until %v", s, want)
	}
}

func TestSessionEnds(t *testing.T) {
	c := DefaultConfig(15 * time.Second)
	s := stands(t, &c)
	s, writes, _ := s.Tick(&c, at+5*time.Second)
	if _, _, over := s.Tick(&c, s.Until-1); over {
		t.Error("it is over too early")
	}
	s, _, over := s.Tick(&c, s.Until)
	if !over || s.Phase != SessionNone || s.ID != "s1" || s.Seq != 10 {
		t.Fatalf("over %v as %+v", over, s)
	}
	// What comes later revives nothing.
	if late := s.Stored(writes[0].Op, 11, &c, at+13*time.Second); late != s {
		t.Errorf("a late answer makes it %+v", late)
	}
	if late, over := s.Refused(writes[0].Op); late != s || over {
		t.Errorf("a late refusal makes it %+v", late)
	}
	if next, writes, over := s.Tick(&c, at+time.Minute); next != s || writes != nil || over {
		t.Error("a session that is over goes on")
	}
	// Nor does it end or confirm the next one.
	n, first := s.Begin("s2", &c, at+20*time.Second)
	if first[0].Op == writes[0].Op {
		t.Fatal("two sessions, one number")
	}
	if late := n.Stored(writes[0].Op, 11, &c, at+20*time.Second); late != n {
		t.Errorf("the old session's answer makes the new one %+v", late)
	}
}

func TestSessionRefused(t *testing.T) {
	c := DefaultConfig(15 * time.Second)
	s := stands(t, &c)
	s, writes, _ := s.Tick(&c, at+5*time.Second)
	if s, over := s.Refused(writes[0].Op); !over || s.Phase != SessionNone {
		t.Errorf("over %v as %+v", over, s)
	}
	if _, over := s.Refused(writes[0].Op - 1); over {
		t.Error("an old refusal ends it")
	}
}

// TestSessionLateConfirmation: a first write that is confirmed when its time is over opens nothing.
func TestSessionLateConfirmation(t *testing.T) {
	c := DefaultConfig(15 * time.Second)
	s, writes := Session{}.Begin("s1", &c, at)
	s = s.Stored(writes[0].Op, 10, &c, at+c.Lease)
	if s.Phase != SessionOpening {
		t.Fatalf("it is %+v", s)
	}
	s, writes, _ = s.Tick(&c, at+c.Lease)
	if len(writes) != 1 || writes[0].Expect != 10 {
		t.Errorf("it goes on with %+v", writes)
	}
	if s = s.Stored(writes[0].Op, 11, &c, at+c.Lease); s.Phase != SessionStands {
		t.Errorf("it is %+v", s)
	}
}

func TestSessionTouch(t *testing.T) {
	c := DefaultConfig(15 * time.Second)
	s := stands(t, &c).Touch()
	if _, writes, _ := s.Tick(&c, at+c.Lease/15-1); len(writes) != 0 {
		t.Error("what changed is told faster than the bound")
	}
	s, writes, _ := s.Tick(&c, at+c.Lease/15)
	if len(writes) != 1 {
		t.Error("what changed is not told")
	}
	if _, writes, _ := s.Stored(writes[0].Op, 11, &c, at+c.Lease/15).Tick(&c, at+2*c.Lease/15); len(writes) != 0 {
		t.Error("it is told twice")
	}
}

func TestObserver(t *testing.T) {
	c := DefaultConfig(15 * time.Second)
	o := NewObserver()
	see := func(id string, seq uint64, now time.Duration) {
		o.See(Sighting{Session: id, Seq: seq, Lease: c.Lease}, now)
	}
	see("a", 1, at)
	see("own", 2, at)
	o.Miss("b", at)
	o.Miss("a", at+time.Second) // known already
	o.Miss("", at)
	if due := o.Tick("own", &c, at+c.Lease-1); len(due) != 0 {
		t.Fatalf("too early: %+v", due)
	}
	due := o.Tick("own", &c, at+c.Lease)
	if len(due) != 2 || due[0] != (WriteDead{"a", 1}) || due[1] != (WriteDead{"b", 0}) {
		t.Fatalf("due are %+v", due)
	}
	if o.Dead("a") || !o.Silent("a", &c, at+c.Lease) {
		t.Error("a silent session is dead before that is stored")
	}
	if again := o.Tick("own", &c, at+c.Lease+1); len(again) != 0 {
		t.Errorf("asked again at once: %+v", again)
	}
	if again := o.Tick("own", &c, at+c.Lease+c.AnswerWait); len(again) != 2 {
		t.Errorf("not asked again: %+v", again)
	}
	// A new record starts the wait anew, an older one that comes late does not.
	see("a", 5, at+c.Lease+time.Second)
	see("a", 4, at+c.Lease+9*time.Second)
	if o.Silent("a", &c, at+2*c.Lease) || !o.Silent("a", &c, at+2*c.Lease+time.Second) {
		t.Error("the wait is not counted from the newest record")
	}
	// What is over stays over.
	o.See(Sighting{Session: "a", Seq: 6, Lease: c.Lease, Final: true}, at+c.Lease)
	see("a", 7, at+c.Lease)
	if !o.Dead("a") || o.Silent("a", &c, at+9*c.Lease) {
		t.Error("a dead session lives")
	}
	o.Forget("a")
	if o.Dead("a") {
		t.Error("a session is remembered without its record")
	}
	// The longer lease of the two counts.
	o.See(Sighting{Session: "c", Seq: 1, Lease: time.Minute}, at)
	if o.Silent("c", &c, at+59*time.Second) || !o.Silent("c", &c, at+time.Minute) {
		t.Error("a session is not given its own lease")
	}
}
