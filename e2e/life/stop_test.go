package life

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

func TestScenario11_TermWithAJobOfASecond(t *testing.T) {
	s := newSite(t)
	w := s.start("")
	s.publish("build.1", "sleep 1")
	s.recorded("start build.1")
	w.signal(syscall.SIGTERM)
	w.stops(20 * time.Second)
	if s.lines("start build.1") != 1 || s.lines("end build.1") != 1 || s.jobs() != 0 {
		t.Errorf("%d jobs are left; record:\n%s", s.jobs(), s.read("record"))
	}
	var states []string
	for _, state := range []string{"starting", "running", "stopping: no further jobs; those that run may finish", "stopped"} {
		if w.said(state) != nil {
			states = append(states, strings.Fields(strings.TrimSuffix(state, ":"))[0])
		}
	}
	if len(states) != 4 {
		t.Errorf("the log shows %v", states)
	}
}

func TestScenario12_TermWithAJobThatIgnoresIt(t *testing.T) {
	s := newSite(t)
	w := s.start("shutdown: {timeout: 1s, kill_after: 500ms}\n")
	s.publish("build.1", "deaf 60")
	s.recorded("start build.1 1")
	pid := s.jobPID("build.1")
	s.write("job.sh", strings.ReplaceAll(jobScript, "deaf", "no")) // where it runs next, it just ends
	second := s.start("")
	w.signal(syscall.SIGTERM)
	w.stops(20 * time.Second)
	if p, err := proc.Read(pid); err == nil && !p.Dead() {
		t.Error("the job still runs")
	}
	s.recorded("end build.1")
	s.eventually("no job is left", func() bool { return s.jobs() == 0 })
	if n := s.lines("start build.1"); n != 2 || s.lines("start build.1 1") != 2 {
		t.Errorf("it was started %d times; it was interrupted, and that is no attempt:\n%s", n, s.read("record"))
	}
	second.signal(syscall.SIGTERM)
	second.stops(20 * time.Second)
}

// jobPID is the pid of the first job of an entity, from the record.
func (s *site) jobPID(entity string) int {
	s.t.Helper()
	for line := range strings.Lines(s.read("record")) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "start" && f[1] == entity {
			pid, _ := strconv.Atoi(f[3])
			return pid
		}
	}
	s.t.Fatal("it was not started")
	return 0
}

func TestScenario13_TermWithNATSAway(t *testing.T) {
	s := newSite(t)
	w := s.start("shutdown: {timeout: 1s, kill_after: 300ms}\n")
	s.publish("build.1", "until "+s.path("go"))
	s.recorded("start build.1 1")
	s.server.Stop()
	w.logs("the NATS connection is lost; jobs go on until the session is over")
	w.signal(syscall.SIGTERM)
	w.stops(30 * time.Second) // timeout, kill_after and the bound for handing back
	s.server.Restart()
	s.write("go", "")
	second := s.start("")
	s.recorded("end build.1") // when the lease of the first one is over
	if s.lines("end build.1") != 1 {
		t.Errorf("record:\n%s", s.read("record"))
	}
	second.signal(syscall.SIGTERM)
	second.stops(10 * time.Second)
}

func TestScenario15_SecondTermAtOnce(t *testing.T) {
	s := newSite(t)
	w := s.start("shutdown: {timeout: 0, kill_after: 30s}\n") // no other bound
	s.publish("build.1", "deaf 60")
	s.recorded("start build.1 1")
	w.signal(syscall.SIGTERM)
	w.logs("stopping: no further jobs; those that run may finish")
	if w.Ended() {
		t.Error("the first one did not wait for the job")
	}
	w.probe("/livez", 200)
	w.probe("/readyz", 503)
	w.probe("/startupz", 200)
	if r := w.report(); r.State != "stopping" || r.Busy != 1 || len(r.Jobs) != 1 || r.Jobs[0].Entity != "build.1" {
		t.Errorf("%+v", r)
	}
	w.signal(syscall.SIGTERM)
	w.stops(20 * time.Second)
	// It was handed back, not left to the lease.
	s.write("job.sh", strings.ReplaceAll(jobScript, "deaf", "no"))
	second := s.start("")
	s.recorded("end build.1")
	second.signal(syscall.SIGINT)
	second.stops(10 * time.Second)
}

func TestScenario16_StoppedChildDiesInBudget(t *testing.T) {
	s := newSite(t)
	w := s.start("shutdown: {timeout: 1s, kill_after: 500ms}\n")
	s.publish("build.1", "sleep 60")
	s.recorded("start build.1 1")
	pid := s.jobPID("build.1")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.signal(syscall.SIGTERM)
	w.stops(20 * time.Second)
	if p, err := proc.Read(pid); err == nil && !p.Dead() {
		t.Error("the job still lives")
	}
}

// When who reads its log has gone, it goes on without, and so do its jobs.
func TestALogThatNobodyReads(t *testing.T) {
	s := newSite(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), rig.Binary(t, fleet.Build{Name: "workerd", Race: raceEnabled}), "--config", s.write("w1.yaml", s.config("")))
	cmd.Env = append(os.Environ(), fleet.Mark+"="+s.dir, "SERIATIM_NATS_URL="+s.server.URL(), "SERIATIM_RUN_DIR="+s.path("run"), "RECORD="+s.path("record"))
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if out, said, code := s.call("status", "--wait=60s"); code != 0 {
		t.Errorf("%d %q %q", code, out, said)
	}
	s.publish("build.1", "until "+s.path("go"))
	s.recorded("start build.1")
	_ = r.Close()
	for _, entity := range []string{"build.2", "build.3"} { // each of which it wants to tell of
		s.publish(entity, "sleep 0")
		s.recorded("end " + entity)
	}
	s.write("go", "")
	s.recorded("end build.1")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || s.lines("start") != 3 {
		t.Errorf("it ended with %v; record:\n%s", err, s.read("record"))
	}
}

func TestTermBeforeItIsUp(t *testing.T) {
	s := newSite(t)
	s.server.Stop()
	w := s.begin("")
	w.probes()
	w.logs("no NATS server yet; waiting for it")
	w.probe("/livez", 200)
	w.probe("/readyz", 503)
	w.probe("/startupz", 503)
	if r := w.report(); r.State != "starting" || r.Ready || r.Started {
		t.Errorf("%+v", r)
	}
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}
