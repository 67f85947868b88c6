package containers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
)

// Containers in exec form that are stopped as Kubernetes does it, as docker does it, and with a preStop that is not waited
// for: nothing is lost or counted, and everybody sees what they go through. The jobs come in waves, one of each entity, and
// a wave ends when the test says so: when everybody has seen what there is to see.
func TestContainerStopInExecForm(t *testing.T) {
	t.Parallel()
	const entities, waves = 8, 4
	s := newScene(t, "--lease", "6s")
	seen := s.follow()
	a, b, c, d := s.container("a", execForm, entities), s.container("b", execForm, entities), s.container("c", execForm, entities), s.container("d", execForm, entities)
	var list []rig.Job
	file := func(wave int) string { return fmt.Sprint("wave.", wave) }
	for i := range entities * waves {
		list = append(list, rig.Job{Entity: fmt.Sprintf("e.%d", i%entities), Until: s.Path(file(1 + i/entities))})
	}
	a.Start()
	s.Import(list...)
	ended := func(c *container, how string, meanwhile ...func()) {
		t.Helper()
		code, took := c.stop(grace, meanwhile...)
		if code != 0 {
			t.Errorf("%s ended with %d", c.Name, code)
		}
		t.Logf("%s, %s, ended %v after TERM", c.Name, how, took.Round(time.Millisecond))
	}
	s.startsOn("a", entities, 0)
	seen.await(t, "a.1", streams.StateRunning) // of two records that soon follow each other only the later one may be shown
	a.inside("quiet")
	seen.await(t, "a.1", streams.StateQuiet)
	b.Start()
	ended(a, "quiet with jobs", func() {
		seen.await(t, "a.1", streams.StateStopping)
		s.write(file(1), "")
	})
	seen.of(t, "a.1", streams.StateRunning, streams.StateQuiet, streams.StateStopping, streams.StateStopped)

	s.startsOn("b", entities, 0)
	c.Start()
	b.inside("quiet")
	seen.await(t, "b.1", streams.StateQuiet)
	s.write(file(2), "")
	if out := b.inside("quiet", "--wait="+grace.String()); !strings.Contains(out, "is idle") { // it counts against the grace
		t.Errorf("the preStop said %q", out)
	}
	ended(b, "idle after its preStop")
	seen.await(t, "b.1", streams.StateQuiet, streams.StateStopped) // it may stop too soon for more

	s.startsOn("c", entities, 0)
	seen.await(t, "c.1", streams.StateRunning)
	d.Start()
	ended(c, "with jobs", func() {
		seen.await(t, "c.1", streams.StateStopping)
		s.write(file(3), "")
	})
	seen.of(t, "c.1", streams.StateRunning, streams.StateStopping, streams.StateStopped)

	s.startsOn("d", entities, 0)
	s.write(file(4), "")
	s.AwaitFinished(len(list), rig.Bound)
	s.AwaitEmpty(rig.Bound)
	ended(d, "idle")
	if rep := s.Check(); rep.Runs != len(list) {
		t.Errorf("%d runs of %d jobs", rep.Runs, len(list))
	}
	for _, e := range s.starts {
		if e.Attempt != 1 {
			t.Errorf("job %d was started as attempt %d: a stop counts for nothing", e.Op, e.Attempt)
		}
	}
}

// A shell as the first process keeps TERM to itself: the container is killed in the end. That was told at the start; the
// jobs run again after the lease.
func TestContainerStopUnderAShell(t *testing.T) {
	t.Parallel()
	const lease = 6 * time.Second
	s := newScene(t, "--lease", lease.String())
	a := s.container("a", `sh -c "$workerd $*; exit"`, 3)
	b := s.Host("b", s.SleepExec(3))
	a.Start()
	release := s.jobs(3)
	s.startsOn("a", 3, 0)
	b.Start()
	warnings := said(t, a.Host, "signals are swallowed")
	if len(warnings) != 1 || warnings[0]["level"] != "error" {
		t.Fatalf("it warned with %v", warnings)
	}
	hint, _ := warnings[0]["hint"].(string)
	if line := "sh -c 'exec " + a.real() + " --config "; !strings.Contains(hint, line) || !strings.Contains(hint, `CMD ["`+a.real()+`", "--config", "`) {
		t.Errorf("the hint %q has no line %q, or no exec form", hint, line)
	}
	t.Logf("it says: %v; hint: %s", warnings[0]["error"], hint)
	at := record.Now()
	code, took := a.stop(rig.Size(2*time.Second, grace))
	s.Fault(record.Kill{At: at, Until: record.Now(), Worker: "a"})
	if code != -1 {
		t.Errorf("it ended with %d: the shell let TERM through", code)
	}
	killed := record.Now()
	state := func() string {
		var list []streams.SessionRecord
		if err := s.Admin.JSON(t.Context(), &list, "worker", "ls"); err != nil {
			t.Fatal(err)
		}
		for _, w := range list {
			if w.Worker == "a.1" {
				return w.State
			}
		}
		return ""
	}
	eventually(t, "coordinator worker ls shows it as lost", func() bool {
		is := state()
		if is == streams.StateStopping || is == streams.StateStopped {
			t.Fatalf("it is called %s", is)
		}
		time.Sleep(100 * time.Millisecond)
		return is == streams.StateLost
	})
	starts := s.startsOn("b", 3, killed)
	t.Logf("killed %v after a TERM that nobody heard; the lease is %v, its jobs ran again after %v", took.Round(time.Millisecond),
		lease, time.Duration(starts[2].T-killed).Round(time.Millisecond))
	release()
	s.AwaitFinished(3, rig.Bound)
	s.AwaitEmpty(rig.Bound)
	if rep := s.Check(); rep.Runs != 6 || rep.Again != 3 {
		t.Errorf("%d runs, %d again", rep.Runs, rep.Again)
	}
}
