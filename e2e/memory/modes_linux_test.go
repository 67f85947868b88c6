package memory

import (
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle/memory/hog"
)

// A limit below what a child needs before its first job is told loudly, and does not end in a storm of restarts.
func TestALimitBelowTheBaseline(t *testing.T) {
	hog.Each(t, func(t *testing.T, command []string) {
		const interval = 3 * time.Second // longer than the pause before a restart
		s := newScene(t)
		once := pool("once", command, 1, 1, limits("soft", "50MiB", "balloon", "50ms", "min_interval", "1h"))
		often := pool("often", command, 1, 1, limits("soft", "50MiB", "balloon", "50ms", "min_interval", interval.String()))
		once.Env["HOG_BASELINE"], often.Env["HOG_BASELINE"] = "80", "80"
		begun := time.Now()
		s.start(once, often)
		first := s.await("it is told loudly", 1, says("once", tooLow))
		if first.Level != "error" || !strings.Contains(first.Error, "the limit is below what it needs") {
			t.Errorf("it says %+v", first)
		}
		s.goes("once", first.Child, "soft limit of 50.0 MiB")
		again := s.await("that it is left alone is told", 2, says("once", tooLow))
		s.await("the other pool's child is replaced again and again", 3, says("often", exited))
		acts := s.said(says("often", overMemory))
		for i, act := range acts { // the log may be late, and differently so: but never early
			if d := act.Time.Sub(begun); d < time.Duration(i)*interval {
				t.Errorf("%d children in a place went within %v", i+1, d)
			}
		}
		s.job("once", "e.1", "pid")
		if child := s.ended("once", "e.1"); child != again.Child || child == first.Child {
			t.Errorf("child %d works", child)
		}
		if n, loud := len(s.said(says("once", exited))), len(s.said(says("once", tooLow))); n != 1 || loud != 2 {
			t.Errorf("%d restarts, told loudly %d times", n, loud)
		}
		s.finish()
	})
}

// In legacy mode a child is looked at after its jobs, and goes on taking some until the grace is over.
func TestLegacyMode(t *testing.T) {
	hog.Each(t, func(t *testing.T, command []string) {
		const grace = 5 * time.Second // time for a command or two, on a busy host
		s := newScene(t)
		s.start(pool("p", command, 1, 2, limits("mode", "legacy", "soft", "100MiB", "grace", grace.String())))
		child := s.children("p", 1)[0]
		s.job("p", "e.spike", "spike 150", s.Path("down"))
		s.begun("p", "e.spike")
		time.Sleep(10 * check)
		s.Touch("down")
		s.ended("p", "e.spike")
		s.calm("p") // during a job nobody looks

		asked := time.Now()
		s.job("p", "e.leak", "grow 150")
		s.ended("p", "e.leak")
		for s.job("p", "e.next", "pid"); len(s.said(says("p", exited))) == 0; s.job("p", "e.next", "pid") {
			time.Sleep(20 * time.Millisecond)
		}
		over, _ := s.goes("p", child, "soft limit of 100.0 MiB")
		s.AwaitEmpty(time.Minute)
		inGrace := s.said(func(l line) bool { return says("p", "ends e.next")(l) && l.Child == child })
		after := s.said(func(l line) bool { return says("p", "ends e.next")(l) && l.Child != child })
		t.Logf("grace %v: acted after %v; %d jobs ended in the child after it had leaked, %d in the next one",
			grace, over.Time.Sub(asked).Round(time.Millisecond), len(inGrace), len(after))
		if len(inGrace) == 0 || over.Time.Sub(asked) < grace {
			t.Errorf("it took no jobs during its grace, or had none: %v", over.Time.Sub(asked))
		}
		s.restarts("p", 1)
		s.finish()
	})
}

func TestAProcessPerJob(t *testing.T) {
	s := newScene(t)
	p := pool("p", hog.Go(t), 0, 2, limits("hard", "100MiB", "hard_grace", "100ms"))
	p.Mode = "exec"
	p.Env[hog.Variable], p.Env["HOG_TAKE"] = hog.Take, "160"
	small := pool("small", []string{"sleep", "2"}, 0, 1, limits("hard", "100MiB", "hard_grace", "100ms"))
	small.Mode = "exec"
	s.start(p, small)
	s.job("small", "e.small", "")
	s.job("p", "e.hog", "")
	s.dead("e.hog", "hard limit of 100.0 MiB")
	s.finish()
	if len(s.said(says("small", overMemory))) > 0 {
		t.Error("the other process was touched")
	}
}

// The variables of Sidekiq's memory killer: the log says what each became, and it holds.
func TestSidekiqVariables(t *testing.T) {
	t.Run("daemon", func(t *testing.T) {
		s := newScene(t)
		s.sidekiq([]string{
			"SIDEKIQ_MEMORY_KILLER_MAX_RSS=102400", "SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS=307200", "SIDEKIQ_MEMORY_KILLER_GRACE_BALLOON_TIME=0",
			"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=3600", "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=1",
			"SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_COUNT=2",
		}, []string{
			"SIDEKIQ_MEMORY_KILLER_MAX_RSS=102400 became memory.soft 100MiB for pool p",
			"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS=307200 became memory.hard 300MiB for pool p",
			"SIDEKIQ_MEMORY_KILLER_GRACE_BALLOON_TIME=0 became memory.balloon 0s for pool p",
			"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1 became memory.check 1s for pool p",
			"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=3600 became memory.grace 1h for pool p",
			"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=1 became memory.shutdown_wait 1s for pool p",
			"SIDEKIQ_DAEMON_MEMORY_KILLER=1 became memory.mode daemon for pool p",
			"SIDEKIQ_COUNT=2 became processes 2 for pool p",
		})
		s.children("p", 2)
		s.job("p", "e.leak", "grow 150")
		s.goes("p", s.ended("p", "e.leak"), "soft limit of 100.0 MiB")
		s.finish()
	})
	t.Run("legacy", func(t *testing.T) {
		s := newScene(t)
		s.sidekiq([]string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS=102400", "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=1"}, []string{
			"SIDEKIQ_MEMORY_KILLER_MAX_RSS=102400 became memory.soft 100MiB for pool p",
			"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1 became memory.check 1s for pool p",
			"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=1 became memory.grace 1s for pool p",
			"SIDEKIQ_DAEMON_MEMORY_KILLER is not set: that became memory.mode legacy for pool p: looked at after each job",
		})
		child := s.children("p", 1)[0]
		s.job("p", "e.spike", "spike 150", s.Path("down"))
		s.begun("p", "e.spike")
		time.Sleep(2 * time.Second)
		s.Touch("down")
		s.ended("p", "e.spike")
		s.calm("p")
		s.job("p", "e.leak", "grow 150")
		s.goes("p", child, "soft limit of 100.0 MiB")
		s.finish()
	})
}

// sidekiq starts a workerd whose pool says nothing of memory, and holds its log against what is expected.
func (s *scene) sidekiq(env, want []string) {
	s.t.Helper()
	s.host = s.Host("a", pool("p", hog.Go(s.t), 0, 2, nil))
	s.host.Env = env
	s.host.Start()
	notes := s.said(func(l line) bool { return strings.Contains(l.Message, " became ") })
	var got []string
	for _, l := range notes {
		got = append(got, l.Message)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		s.t.Errorf("the log says:\n%s", strings.Join(got, "\n"))
	}
}
