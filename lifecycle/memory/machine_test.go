package memory

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func at(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }

// The limits of the table: soft 100, hard 200 bytes.
func limits(mode Mode) Limits {
	return Limits{
		Mode: mode, Soft: 100, Hard: 200, Balloon: 60 * time.Second, Grace: 100 * time.Second, HardGrace: 10 * time.Second,
		ShutdownWait: 30 * time.Second, KillAfter: 3 * time.Second,
	}
}

var (
	unseen   = Sample{}
	low      = Sample{Known: true, Bytes: 100, AfterJob: true}
	soft     = Sample{Known: true, Bytes: 101, AfterJob: true}
	hard     = Sample{Known: true, Bytes: 201, AfterJob: true}
	full     = Sample{Known: true, Bytes: 201, AfterJob: true, Full: true}
	softFull = Sample{Known: true, Bytes: 101, AfterJob: true, Full: true}
	midJob   = Sample{Known: true, Bytes: 201}
	fresh    = Sample{Known: true, Bytes: 101, Fresh: true, AfterJob: true}
)

// Each phase meets each sample, before and after the deadlines that it has.
func TestEveryCell(t *testing.T) {
	calm := State{}
	ballooning := State{Phase: Ballooning, Since: at(0)}
	graced := State{Phase: Graced, TermAt: at(100)}
	quiet := State{Phase: Quiet, Limit: Soft, TermAt: at(100), KillAt: at(130), Slot: Slot{Acted: at(0)}}
	quietHard := State{Phase: Quiet, Limit: Hard, TermAt: at(7), KillAt: at(10), Slot: Slot{Acted: at(0)}}
	ending := State{Phase: Ending, Limit: Soft, TermAt: at(0), KillAt: at(130), Slot: Slot{Acted: at(0)}}
	killed := State{Phase: Killed, Limit: Hard, KillAt: at(0), Slot: Slot{Acted: at(0)}}

	from := func(now int) Slot { return Slot{Acted: at(now)} }
	quietFrom := func(now int) State {
		return State{Phase: Quiet, Limit: Soft, TermAt: at(now + 100), KillAt: at(now + 130), Slot: from(now)}
	}
	quietHardFrom := func(now int) State {
		return State{Phase: Quiet, Limit: Hard, TermAt: at(now + 7), KillAt: at(now + 10), Slot: from(now)}
	}
	killedFrom := func(now int) State {
		return State{Phase: Killed, Limit: Hard, KillAt: at(now), Slot: from(now)}
	}
	since := func(s State, change func(*State)) State { change(&s); return s }

	for _, c := range []struct {
		name string
		mode Mode
		s    State
		in   Sample
		now  int
		want State
		act  Action
	}{
		{"calm, unseen", Daemon, calm, unseen, 5, calm, None},
		{"calm, below", Daemon, calm, low, 5, calm, None},
		{"calm, soft", Daemon, calm, soft, 5, State{Phase: Ballooning, Since: at(5)}, None},
		{"calm, soft, container full", Daemon, calm, softFull, 5, State{Phase: Ballooning, Since: at(5)}, None},
		{"calm, soft before the first job", Daemon, calm, fresh, 5, State{Phase: Ballooning, Since: at(5), Slot: Slot{Warned: true}}, Warn},
		{"calm, hard", Daemon, calm, hard, 5, quietHardFrom(5), Stop},
		{"calm, hard, container full", Daemon, calm, full, 5, killedFrom(5), Kill},

		{"ballooning, unseen", Daemon, ballooning, unseen, 99, ballooning, None},
		{"ballooning, below", Daemon, ballooning, low, 99, calm, None},
		{"ballooning, soft, not yet", Daemon, ballooning, soft, 59, ballooning, None},
		{"ballooning, soft, over", Daemon, ballooning, soft, 60, quietFrom(60), Stop},
		{"ballooning, hard", Daemon, ballooning, hard, 5, quietHardFrom(5), Stop},
		{"ballooning, hard, container full", Daemon, ballooning, full, 5, killedFrom(5), Kill},

		{"quiet, unseen", Daemon, quiet, unseen, 99, quiet, None},
		{"quiet, below: no way back", Daemon, quiet, low, 99, quiet, None},
		{"quiet, soft", Daemon, quiet, soft, 99, quiet, None},
		{"quiet, soft, container full", Daemon, quiet, softFull, 99, quiet, None},
		{"quiet, unseen, over", Daemon, quiet, unseen, 100, since(quiet, func(s *State) { s.Phase = Ending }), Term},
		{"quiet, hard", Daemon, quiet, hard, 5, since(quiet, func(s *State) { s.Limit, s.TermAt, s.KillAt = Hard, at(12), at(15) }), None},
		{"quiet, hard, nearly over", Daemon, quiet, hard, 99, since(quiet, func(s *State) { s.Limit, s.KillAt = Hard, at(109) }), None},
		{"quiet, hard, container full", Daemon, quiet, full, 5, since(quiet, func(s *State) { s.Phase, s.Limit, s.TermAt, s.KillAt = Killed, Hard, at(12), at(15) }), Kill},
		{"quiet for hard, hard: not longer", Daemon, quietHard, hard, 6, quietHard, None},
		{"quiet for hard, below", Daemon, quietHard, low, 6, quietHard, None},
		{"quiet for hard, over", Daemon, quietHard, unseen, 7, since(quietHard, func(s *State) { s.Phase = Ending }), Term},
		{"quiet for hard, slept past both", Daemon, quietHard, unseen, 10, since(quietHard, func(s *State) { s.Phase = Killed }), Kill},
		{"quiet for hard, container full", Daemon, quietHard, full, 1, since(quietHard, func(s *State) { s.Phase = Killed }), Kill},

		{"ending, unseen", Daemon, ending, unseen, 129, ending, None},
		{"ending, below", Daemon, ending, low, 129, ending, None},
		{"ending, soft", Daemon, ending, soft, 129, ending, None},
		{"ending, hard", Daemon, ending, hard, 5, since(ending, func(s *State) { s.Limit, s.KillAt = Hard, at(15) }), None},
		{"ending, hard, nearly over", Daemon, ending, hard, 125, since(ending, func(s *State) { s.Limit = Hard }), None},
		{"ending, hard, container full", Daemon, ending, full, 5, since(ending, func(s *State) { s.Phase, s.Limit, s.KillAt = Killed, Hard, at(15) }), Kill},
		{"ending, over", Daemon, ending, unseen, 130, since(ending, func(s *State) { s.Phase = Killed }), Kill},

		{"killed, unseen", Daemon, killed, unseen, 999, killed, None},
		{"killed, hard", Daemon, killed, full, 999, killed, None},

		{"legacy: calm, in a job", Legacy, calm, midJob, 5, calm, None},
		{"legacy: calm, below", Legacy, calm, low, 5, calm, None},
		{"legacy: calm, soft", Legacy, calm, soft, 5, State{Phase: Graced, TermAt: at(105)}, None},
		{"legacy: calm, soft after its first job's time", Legacy, calm, fresh, 5, State{Phase: Graced, TermAt: at(105), Slot: Slot{Warned: true}}, Warn},
		{"legacy: calm, hard", Legacy, calm, hard, 5, quietHardFrom(5), Stop},
		{"legacy: graced, in a job", Legacy, graced, midJob, 99, graced, None},
		{"legacy: graced, below: no way back", Legacy, graced, low, 99, graced, None},
		{"legacy: graced, soft", Legacy, graced, soft, 99, graced, None},
		{"legacy: graced, over", Legacy, graced, unseen, 100, State{Phase: Quiet, Limit: Soft, TermAt: at(130), KillAt: at(133), Slot: from(100)}, Stop},
		{"legacy: graced, hard", Legacy, graced, hard, 5, since(quietHardFrom(5), func(*State) {}), Stop},
		{"legacy: graced, hard, container full", Legacy, graced, full, 5, since(killedFrom(5), func(s *State) { s.TermAt = at(100) }), Kill},
		{"legacy: quiet, in a job", Legacy, quiet, midJob, 99, quiet, None},
		{"legacy: quiet, hard", Legacy, quiet, hard, 5, since(quiet, func(s *State) { s.Limit, s.TermAt, s.KillAt = Hard, at(12), at(15) }), None},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, act := limits(c.mode).Next(c.s, c.in, at(c.now))
			got.Since = want0(got, c.want)
			if got != c.want || act != c.act {
				t.Errorf("got  %v %+v\nwant %v %+v", act, got, c.act, c.want)
			}
		})
	}
}

// want0 takes Since from the wanted state where it has no meaning.
func want0(got, want State) time.Time {
	if got.Phase == Ballooning {
		return got.Since
	}
	return want.Since
}

func TestTimesOfZero(t *testing.T) {
	l := limits(Daemon)
	l.Balloon, l.Grace, l.HardGrace = 0, 0, 0
	if got := fmt.Sprint(drive(l, State{}, soft, noon)); got != "[stop term]" {
		t.Error("soft without balloon and grace:", got)
	}
	if got := fmt.Sprint(drive(l, State{}, hard, noon)); got != "[kill]" {
		t.Error("hard without grace:", got)
	}
}

// drive calls Next until there is nothing more to do.
func drive(l Limits, s State, in Sample, now time.Time) (acts []Action) {
	for {
		var a Action
		if s, a = l.Next(s, in, now); a == None {
			return acts
		}
		acts = append(acts, a)
	}
}

func TestASlotIsActedUponOnceInAnInterval(t *testing.T) {
	l := limits(Daemon)
	l.MinInterval, l.Balloon = 1000*time.Second, 0
	slot := Slot{Acted: at(0)}
	for _, in := range []Sample{soft, hard} {
		s, a := l.Next(State{Slot: slot}, in, at(500))
		if a != Warn {
			t.Fatalf("%+v: %v", in, a)
		}
		if s, a = l.Next(s, in, at(501)); a != None {
			t.Fatalf("%+v: warned twice: %v", in, a)
		}
		if s, a = l.Next(s, in, at(1000)); a != Stop || s.Warned {
			t.Errorf("%+v: after the interval %v, %+v", in, a, s)
		}
	}
	if _, a := l.Next(State{Slot: slot}, full, at(500)); a != Kill {
		t.Error("a container that is nearly full cannot wait for the interval:", a)
	}
	l = limits(Legacy)
	l.MinInterval = 1000 * time.Second
	s := State{Phase: Graced, TermAt: at(100), Slot: slot}
	if wake, ok := l.Wake(s); !ok || !wake.Equal(at(1000)) {
		t.Error("a graced child waits for the interval, not in a loop:", wake, ok)
	}
}

// A time that is as long as one can be is not turned into none.
func TestSpreadOfTheLongestTime(t *testing.T) {
	for _, share := range []float64{0, .01, 1} {
		l := Limits{Mode: Legacy, Balloon: math.MaxInt64, Grace: math.MaxInt64 - time.Second}.Spread(share)
		if l.Balloon != math.MaxInt64 || l.Grace < math.MaxInt64-time.Second {
			t.Errorf("share %v: balloon %v, grace %v", share, l.Balloon, l.Grace)
		}
	}
}

func TestSpread(t *testing.T) {
	d, l := limits(Daemon).Spread(.1), limits(Legacy).Spread(.1)
	if d.Balloon != 66*time.Second || d.Grace != 100*time.Second || l.Grace != 110*time.Second {
		t.Error(d, l)
	}
}

func TestValidate(t *testing.T) {
	for want, l := range map[string]Limits{
		"":     limits(Legacy),
		"y is": {Mode: "often"},
		"memory.hard, 1.0 MiB, is below memory.soft, 10.0 GiB": {Soft: 10 << 30, Hard: 1 << 20},
		"a memory limit is below 0":                            {Soft: -1},
		"a time of memory is below 0":                          {Balloon: -1},
	} {
		err := l.Validate()
		switch {
		case want == "" && err != nil, want != "" && err == nil:
			t.Errorf("%q: %v", want, err)
		case err != nil && want != "y is" && err.Error() != want:
			t.Errorf("%q: %v", want, err)
		}
	}
	if (Limits{}).On() || !(Limits{Hard: 1}).On() || (Limits{Hard: 2}).Lowest() != 2 || (Limits{Soft: 1, Hard: 2}).Lowest() != 1 {
		t.Error("On, Lowest")
	}
}

// Whatever a child does, and however irregularly it is looked at.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		second := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Second
		}
		l := Limits{
			Mode: rapid.SampledFrom([]Mode{Daemon, Legacy}).Draw(t, "mode"),
			Soft: int64(rapid.SampledFrom([]int{0, 100}).Draw(t, "soft")), Hard: int64(rapid.SampledFrom([]int{0, 200}).Draw(t, "hard")),
			Balloon: second("balloon", 60), Grace: second("grace", 60), HardGrace: second("hard grace", 20),
			ShutdownWait: second("wait", 30), KillAfter: second("kill after", 5), MinInterval: second("interval", 200),
		}
		s, now := State{}, noon
		var acts []Action           // of this life
		var above time.Time         // since when all samples of this life are above soft; zero when the last one was not
		var lastAct, over time.Time // the slot's last act, and when this life was last seen above a limit
		var hardAt time.Time        // when a child that is being ended was first seen above hard
		check := func(holds bool, what string) {
			if !holds {
				t.Fatalf("%s: limits %+v, state %+v, acts %v", what, l, s, acts)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			step := time.Duration(rapid.IntRange(0, 30).Draw(t, "step")) * time.Second
			if wake, ok := l.Wake(s); ok && wake.Before(now.Add(step)) {
				step = max(0, wake.Sub(now)) // the owner calls by then
			}
			now = now.Add(step)
			in := Sample{
				Known: rapid.Bool().Draw(t, "known"), Bytes: int64(rapid.IntRange(50, 250).Draw(t, "bytes")),
				AfterJob: rapid.Bool().Draw(t, "after job"), Full: rapid.IntRange(0, 9).Draw(t, "full") == 0,
				Fresh: rapid.IntRange(0, 9).Draw(t, "fresh") == 0,
			}
			isOver, isBelow := l.judge(in)
			switch {
			case isOver != 0 && above.IsZero():
				above = now
			case isBelow:
				above = time.Time{}
			}
			if isOver != 0 {
				over = now
			}
			for range 10 {
				var a Action
				if s, a = l.Next(s, in, now); a == None {
					break
				}
				if a == Warn {
					continue
				}
				check(!over.IsZero(), "acted although it was never above a limit")
				check(l.On(), "acted without a limit")
				acts = append(acts, a)
				for i := 1; i < len(acts); i++ {
					check(acts[i] > acts[i-1], "out of order, or twice")
				}
				if len(acts) == 1 {
					if l.Mode == Daemon {
						check(isOver != 0, "begun while below")
						check(isOver == Hard || now.Sub(above) >= l.Balloon, "begun before the balloon's time")
					}
					check(lastAct.IsZero() || now.Sub(lastAct) >= l.MinInterval || in.Full, "twice in the interval")
					lastAct = now
					check(a == Stop || s.Limit == Hard, "the first thing for soft is to stop")
				}
				if a == Kill {
					check(now.Sub(lastAct) <= max(l.Grace, l.ShutdownWait)+max(l.ShutdownWait, l.KillAfter)+l.HardGrace, "never ends")
				}
			}
			if isOver == Hard && s.Phase >= Quiet && hardAt.IsZero() {
				hardAt = now
			}
			check(hardAt.IsZero() || now.Sub(hardAt) < l.HardGrace || s.Phase == Killed, "hard took longer than its grace")
			_, again := l.Next(s, in, now)
			check(again == None, "it never comes to rest")
			if s.Phase == Killed || s.Phase >= Quiet && rapid.IntRange(0, 5).Draw(t, "gone") == 0 {
				s, acts, above, over, hardAt = State{Slot: s.Slot}, nil, time.Time{}, time.Time{}, time.Time{}
			}
		}
	})
}

// A spike that is over before the balloon's time, again and again, is nothing.
func TestSpikesAreNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limits(Daemon)
		s, now, up := State{}, noon, time.Duration(0)
		for range 100 {
			step := time.Duration(rapid.IntRange(1, 20).Draw(t, "step")) * time.Second
			in := low
			if rapid.Bool().Draw(t, "up") && up+step < l.Balloon {
				in = soft
			}
			now = now.Add(step)
			if in == soft {
				up += step
			} else {
				up = 0
			}
			var a Action
			if s, a = l.Next(s, in, now); a != None {
				t.Fatal(a)
			}
		}
	})
}
