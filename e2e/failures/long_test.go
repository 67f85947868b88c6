package failures

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams/lane"
)

// long is a job that takes long and notes how far it is: another start goes on from there. It ends when the file "go" is
// there. Each start writes down its worker, its attempt and where it begins.
func (s *scene) long(entity string) uint64 {
	s.t.Helper()
	return s.script(entity, fmt.Sprintf(`
		n=$(cat '%[1]s' 2>/dev/null || echo 0)
		echo "$CHILD_WORKER $JOB_ATTEMPT $n" >> '%[2]s'
		while [ ! -e '%[3]s' ]; do
			sleep 0.02
			n=$((n+1)); echo $n > '%[1]s.new'; mv '%[1]s.new' '%[1]s'
		done`, s.Path("checkpoint"), s.Path("starts"), s.Path("go")))
}

// starts waits until the long job has started so often, and has come further since then.
func (s *scene) starts(n int) []string {
	s.t.Helper()
	list := s.awaitLines("starts", n)
	var from, at int
	if _, err := fmt.Sscanf(list[n-1], "%1s %d %d", new(string), new(int), &from); err != nil {
		s.t.Fatal(err)
	}
	s.until("it goes on", func() bool {
		for _, line := range s.lines("checkpoint") { // one, or none yet
			if _, err := fmt.Sscan(line, &at); err != nil {
				s.t.Fatal(err)
			}
		}
		return at > from
	}, func() any { return at })
	return list
}

// wentOn: each start began where another had been at least, and as this attempt.
func (s *scene) wentOn(starts []string, attempt func(start int) int) (last int) {
	s.t.Helper()
	for i, line := range starts {
		var worker string
		var is, from int
		if _, err := fmt.Sscanf(line, "%1s %d %d", &worker, &is, &from); err != nil {
			s.t.Fatal(err)
		}
		if is != attempt(i) || i > 0 && from <= last {
			s.t.Errorf("start %d is %q, after %d steps", i+1, line, last)
		}
		last = from
	}
	return last
}

// A long job is interrupted by one deploy after the other. None is counted against it: it is done in the end, at its
// first attempt.
func TestDeploysUnderALongJob(t *testing.T) {
	// At any one count it would be dead.
	s := newScene(t, "--lease", "30s", "--max-attempts", "1", "--max-crashes", "1", "--max-lost", "1", "--history", "all")
	deploys := rig.Size(4, 20)
	hosts := []*rig.Host{s.Host("a", shellPool(2)), s.Host("b", shellPool(2))}
	for _, h := range hosts {
		h.Timeout, h.KillAfter = 50*time.Millisecond, 300*time.Millisecond
	}
	hosts[0].Start()
	seq := s.long("build.1")
	s.script("build.1", "exit 0")
	var gaps []time.Duration
	for i := range deploys {
		s.starts(i + 1)
		hosts[(i+1)%2].Start()
		since := time.Now()
		hosts[i%2].Stop()
		s.awaitLines("starts", i+2)
		gaps = append(gaps, time.Since(since).Round(time.Millisecond))
	}
	starts := s.starts(deploys + 1)
	last := s.wentOn(starts, func(int) int { return 1 })
	l := s.lane("build.1")
	if want := (lane.Counts{Interrupted: deploys}); l.Claim.Counts != want || l.Claim.Attempt != 1 || len(l.Claim.Tries) != 0 || l.Claim.State != lane.Running {
		t.Errorf("%+v", *l.Claim)
	}
	s.Touch("go")
	s.AwaitEmpty(rig.Bound)
	f := s.finished(seq)
	if f.Outcome != "done" || f.Attempts != 1 || f.Interrupted != deploys || len(s.letters()) != 0 {
		t.Errorf("%+v", f)
	}
	t.Logf("%d deploys: done at attempt %d, %d interruptions, the last start went on from step %d; from TERM to its next start %v to %v, median %v",
		deploys, f.Attempts, f.Interrupted, last, quantile(gaps, 0), quantile(gaps, 1), quantile(gaps, .5))
}

// Hosts that are taken away without a word, where nobody wants to see that as the job's fault.
func TestSpotReclaim(t *testing.T) {
	s := newScene(t, "--lease", "10s", "--max-lost", "0", "--max-attempts", "1", "--max-crashes", "1", "--history", "all")
	kills := rig.Size(3, 6)
	hosts := []*rig.Host{s.Host("a", shellPool(2)), s.Host("b", shellPool(2))}
	hosts[0].Start()
	seq := s.long("build.1")
	for i := range kills {
		s.starts(i + 1)
		hosts[(i+1)%2].Start()
		hosts[i%2].Kill()
	}
	last := s.wentOn(s.starts(kills+1), func(start int) int { return start + 1 })
	l := s.lane("build.1")
	if want := (lane.Counts{Lost: kills}); l.Claim.Counts != want || len(l.Claim.Tries) != kills || l.Claim.State != lane.Running {
		t.Errorf("%+v", *l.Claim)
	}
	s.Touch("go")
	s.AwaitEmpty(rig.Bound)
	f := s.finished(seq)
	var words []string
	for _, try := range f.Tries {
		words = append(words, try.Cause)
	}
	if f.Outcome != "done" || f.Attempts != kills+1 || strings.Join(words, " ") != strings.TrimSpace(strings.Repeat("lost ", kills)) || len(s.letters()) != 0 {
		t.Errorf("%+v", f)
	}
	t.Logf("%d hosts killed: done at attempt %d, the last start went on from step %d", kills, f.Attempts, last)
}
