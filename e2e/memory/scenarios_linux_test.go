package memory

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/memory/hog"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// A leaking child is replaced, after its job, and no other. One that is above for a while only is left alone.
func TestScenario18SoftLimit(t *testing.T) {
	hog.Each(t, func(t *testing.T, command []string) {
		s := newScene(t)
		s.start(
			pool("patient", command, 1, 4, limits("soft", "100MiB")),
			pool("short", command, 2, 2, limits("soft", "100MiB", "balloon", "200ms")),
		)
		before := s.children("short", 2)
		s.job("patient", "e.spike", "spike 150", s.Path("down"))
		spiky := s.begun("patient", "e.spike")
		s.job("short", "w.1", "wait", s.Path("go"))
		s.job("short", "w.2", "wait", s.Path("go"))
		if s.begun("short", "w.1") == s.begun("short", "w.2") {
			t.Fatal("the jobs are not in two children")
		}
		s.job("short", "e.leak", "grow 150")
		leaking := s.ended("short", "e.leak")
		over := s.await("the guard acts", 1, says("short", overMemory))
		if over.Child != leaking || !strings.Contains(over.Error, "above the soft limit of 100.0 MiB") {
			t.Errorf("child %d leaks; the log says %+v", leaking, over)
		}
		time.Sleep(10 * check)
		if !alive(leaking) {
			t.Error("it did not wait for the job that the child had")
		}
		s.Touch("go")
		s.ended("short", "w.1")
		s.ended("short", "w.2")
		s.goes("short", leaking, "soft limit of 100.0 MiB")
		s.restarts("short", 1)
		after := s.children("short", 2)
		other := before[(slices.Index(before, leaking)+1)%2]
		if !slices.Contains(after, other) || slices.Contains(after, leaking) {
			t.Errorf("children %v became %v; %d leaked", before, after, leaking)
		}
		for _, job := range []string{"w.1", "w.2", "e.leak"} {
			if n := s.beginnings("short", job); n != 1 {
				t.Errorf("%s was started %d times", job, n)
			}
		}
		// Without a job a child is not waited for, although grace would be an hour.
		s.job("short", "e.idle", "grow 150")
		s.goes("short", s.ended("short", "e.idle"), "soft limit of 100.0 MiB")

		s.Touch("down")
		s.ended("patient", "e.spike")
		s.job("patient", "e.next", "pid")
		if s.ended("patient", "e.next") != spiky {
			t.Error("the child that was above its limit for a while was replaced")
		}
		s.calm("patient")
		s.finish()
	})
}

// Above hard a child goes with what it runs; its neighbours go on, and the dead job says why.
func TestScenario19HardLimit(t *testing.T) {
	hog.Each(t, func(t *testing.T, command []string) {
		s := newScene(t)
		s.start(pool("p", command, 2, 2, limits("soft", "80MiB", "hard", "120MiB", "hard_grace", "200ms")))
		s.children("p", 2)
		in := map[string]int{}
		for i := range 3 { // one child has two of these, the other one gets the hog beside its one
			job := fmt.Sprint("w.", i)
			s.job("p", job, "wait", s.Path("go"))
			in[job] = s.begun("p", job)
		}
		s.job("p", "e.hog", "hog 400")
		hogging := s.begun("p", "e.hog")
		began := s.said(says("p", "begins e.hog"))[0].Time
		over, gone := s.goes("p", hogging, "hard limit of 120.0 MiB")
		d := s.dead("e.hog", "hard limit of 120.0 MiB")
		t.Logf("check %v, hard_grace 200ms: seen %v after the start of the hog, gone %v after that; its job says: %s",
			check, over.Time.Sub(began).Round(time.Millisecond), gone.Time.Sub(over.Time).Round(time.Millisecond), d.Error)
		for job, child := range in {
			if child == hogging {
				s.await("the neighbour is run again", 2, says("p", "begins "+job))
			}
		}
		s.Touch("go")
		for job, child := range in {
			want := 1
			if child == hogging {
				want = 2 // it was interrupted, which is no attempt
			}
			if s.ended("p", job); s.beginnings("p", job) != want {
				t.Errorf("%s was started %d times, not %d", job, s.beginnings("p", job), want)
			}
		}
		s.restarts("p", 1)
		s.finish()
	})
}

// A job that is ended for its memory is tried again, and dead after three times.
func TestAHogIsTriedAgain(t *testing.T) {
	s := newScene(t, "--max-crashes", "3")
	s.start(pool("p", hog.Go(t), 1, 1, limits("hard", "120MiB", "hard_grace", "0s")))
	s.job("p", "e.hog", "hog 400")
	s.job("p", "e.hog", "pid") // behind it
	d := s.dead("e.hog", "hard limit of 120.0 MiB")
	if d.Attempts != 3 || s.beginnings("p", "e.hog") < 3 {
		t.Errorf("%+v", d)
	}
	s.ended("p", "e.hog")
	s.finish()
}

func TestScenario20TheHogIsAGrandchild(t *testing.T) {
	hog.Each(t, func(t *testing.T, command []string) {
		s := newScene(t)
		s.start(pool("p", command, 2, 1, limits("hard", "120MiB", "hard_grace", "0s")))
		s.children("p", 2)
		s.job("p", "w.1", "wait", s.Path("go"))
		waits := s.begun("p", "w.1")
		for i, where := range []string{"child", "session", "daemon"} {
			job := "e." + where
			s.job("p", job, "hog "+where+" 400")
			child := s.begun("p", job)
			hogs := func(l line) bool { return l.Pool == "p" && strings.HasPrefix(l.Message, "hog ") }
			pid, err := strconv.Atoi(strings.TrimPrefix(s.await("the hog begins", i+1, hogs).Message, "hog "))
			if err != nil || pid == child {
				t.Fatalf("the hog is %d: %v", pid, err)
			}
			s.goes("p", child, "hard limit of 120.0 MiB")
			s.dead(job, "hard limit of 120.0 MiB")
			s.eventually("the hog is dead", func() bool { return !alive(pid) })
		}
		s.Touch("go")
		if s.ended("p", "w.1") != waits || s.beginnings("p", "w.1") != 1 {
			t.Error("the other child was not left alone")
		}
		s.restarts("p", 3)
		s.finish()
	})
}

// What forks of a preloaded program have in common counts once.
func TestScenario21PreloadedForks(t *testing.T) {
	hog.Each(t, func(t *testing.T, command []string) {
		s := newScene(t)
		p := pool("p", command, 1, 2, limits("hard", "250MiB", "hard_grace", "0s"))
		p.Env["HOG_BASELINE"], p.Env["HOG_FORKS"] = "100", "4"
		s.start(p)
		s.job("p", "e.1", "pid")
		child := s.ended("p", "e.1")
		s.eventually("all forks are up", func() bool { return resident(child) > 400<<20 })
		time.Sleep(20 * check)
		t.Logf("resident %d MiB, limit 250 MiB", resident(child)>>20)
		s.job("p", "e.2", "pid")
		if s.ended("p", "e.2") != child {
			t.Error("it was replaced")
		}
		s.calm("p")
		s.job("p", "e.hog", "hog 300") // this is not in common
		s.goes("p", child, "hard limit of 250.0 MiB")
		s.dead("e.hog", "hard limit of 250.0 MiB")
		s.finish()
	})
}

// resident adds up what is resident of the processes in a group.
func resident(group int) (sum int64) {
	_ = proc.Each(func(p proc.Stat) { // what cannot be read counts nothing
		if p.PGID == group {
			sum += lifecycle.RSS(p.PID)
		}
	})
	return sum
}

func TestScenario22SpikeAndRelease(t *testing.T) {
	hog.Each(t, func(t *testing.T, command []string) {
		s := newScene(t)
		s.start(pool("p", command, 1, 2, limits("soft", "100MiB", "hard", "300MiB", "hard_grace", "0s")))
		child := s.children("p", 1)[0]
		for i := range 3 {
			job, file := fmt.Sprint("e.", i), fmt.Sprint("down.", i)
			s.job("p", job, "spike 150", s.Path(file))
			s.begun("p", job)
			time.Sleep(4 * check)
			s.Touch(file)
			if s.ended("p", job) != child {
				t.Error("it was replaced")
			}
		}
		s.calm("p")
		s.job("p", "e.hog", "hog 400")
		s.goes("p", child, "hard limit of 300.0 MiB")
		s.dead("e.hog", "hard limit of 300.0 MiB")
		s.finish()
	})
}
