package life

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle/proc"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/workerd/probes"
)

func TestScenario14_Quiet(t *testing.T) {
	s := newSite(t)
	w := s.start("")
	w.probe("/livez", 200)
	w.probe("/readyz", 200)
	w.probe("/startupz", 200)
	s.publish("build.1", "until "+s.path("go"))
	s.recorded("start build.1")
	w.signal(syscall.SIGTSTP)
	w.logs("quiet: no further jobs; those that run go on")
	s.eventually("it is quiet", func() bool { return w.report().State == "quiet" })
	for range 20 {
		s.publish("build.2", "sleep 0")
	}
	s.publish("build.1", "sleep 0") // behind the one that runs
	w.probe("/livez", 200)
	w.probe("/readyz", 503)
	w.probe("/startupz", 200)
	if r := w.report(); r.Idle || r.Busy != 1 || r.NotReady == nil {
		t.Errorf("%+v", r)
	}
	if p, err := proc.Read(s.jobPID("build.1")); err == nil && p.State == 'T' {
		t.Error("the job's process was stopped")
	}
	s.write("go", "") // the child was not stopped: it goes on and ends
	s.recorded("end build.1")
	w.logs("quiet, and nothing runs any more")
	s.eventually("the others know", func() bool { return s.worker(w).State == streams.StateQuiet && s.worker(w).Busy == 0 })
	if n := s.lines("start"); n != 1 {
		t.Errorf("%d jobs were started while it was quiet", n-1)
	}
	w.signal(syscall.SIGTERM)
	w.stops(20 * time.Second) // less than its timeout: it waits for nothing
	if s.worker(w).State != streams.StateStopped {
		t.Errorf("it is called %s", s.worker(w).State)
	}
}

// worker is what the others know of it.
func (s *site) worker(w *workerd) streams.SessionRecord {
	s.t.Helper()
	list, err := streams.ListWorkers(s.t.Context(), s.js)
	if err != nil {
		s.t.Fatal(err)
	}
	var last streams.SessionRecord
	for _, r := range list {
		if r.Worker == w.Name {
			last = r
		}
	}
	return last
}

func TestContinueAfterQuiet(t *testing.T) {
	s := newSite(t)
	w := s.start("")
	w.signal(syscall.SIGTSTP)
	w.logs("quiet, and nothing runs any more")
	s.publish("build.1", "sleep 0")
	w.signal(syscall.SIGCONT)
	s.recorded("end build.1")
	w.probe("/readyz", 200)
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

func TestQuietBeforeItIsUp(t *testing.T) {
	s := newSite(t)
	s.publish("build.1", "sleep 0")
	s.server.Stop()
	w := s.begin("")
	w.probes()
	w.logs("no NATS server yet; waiting for it")
	w.signal(syscall.SIGTSTP)
	if out, said, code := s.call("quiet", "--wait=30s"); code != 0 || !strings.Contains(out, "is idle") {
		t.Errorf("nothing runs, and nothing will: %d %q %q", code, out, said)
	}
	s.server.Restart()
	w.logs("quiet")
	w.probe("/startupz", 200)
	w.probe("/readyz", 503)
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
	if s.read("record") != "" {
		t.Errorf("it ran:\n%s", s.read("record"))
	}
}

// A job that began earlier would be ended by a TERM that comes before it is up, where later it could have finished.
func TestNoJobBeginsBeforeItIsUp(t *testing.T) {
	s := newSite(t)
	for range 5 {
		s.publish("build.1", "sleep 0")
		w := s.begin("")
		w.logs("start")
		log := s.read(w.Name + ".log")
		up, first := strings.Index(log, `"message":"running"`), strings.Index(log, `"message":"start"`)
		if up < 0 || up > first {
			t.Errorf("the first job began before it was up:\n%s", log)
		}
		w.signal(syscall.SIGTERM)
		w.stops(30 * time.Second)
	}
}

func TestCommands(t *testing.T) {
	s := newSite(t)
	if out, said, code := s.call("status"); code != 1 || out != "" || !strings.Contains(said, "no workerd runs here") {
		t.Errorf("%d %q %q", code, out, said)
	}
	w := s.begin("http: ''\n")
	if out, said, code := s.call("status", "--wait=60s"); code != 0 || !strings.Contains(out, "w1  running") {
		t.Errorf("%d %q %q", code, out, said)
	}
	s.publish("build.1", "until "+s.path("go"))
	s.recorded("start build.1")
	out, _, code := s.call("status")
	if code != 0 || !strings.Contains(out, "build.1") || !strings.Contains(out, "1 of 4 slots busy") {
		t.Errorf("%d %s", code, out)
	}
	out, _, code = s.call("status", "--json")
	var list []probes.Report
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != 1 || list[0].PID != w.PID() || list[0].Jobs[0].Fence == 0 {
		t.Errorf("%d %v %s", code, err, out)
	}
	if out, said, code := s.call("quiet", "--wait=3s"); code != 1 || out != "" || !strings.Contains(said, "1 jobs run: build.1") {
		t.Errorf("%d %q %q", code, out, said)
	}
	go func() {
		time.Sleep(300 * time.Millisecond)
		s.write("go", "")
	}()
	if out, said, code := s.call("quiet", "--wait"); code != 0 || !strings.Contains(out, "is idle") || s.lines("end build.1") != 1 {
		t.Errorf("%d %q %q", code, out, said)
	}
	if _, said, code := s.call("stop", "--wiat"); code != 2 || !strings.Contains(said, "hint:") {
		t.Errorf("%d %q", code, said)
	}
	second := s.begin("")
	second.up()
	if _, said, code := s.call("stop"); code != 2 || !strings.Contains(said, "--pid") {
		t.Errorf("two of them: %d %q", code, said)
	}
	if out, said, code := s.call("stop", "--all", "--wait=60s"); code != 0 || strings.Count(out, "is gone") != 2 {
		t.Errorf("%d %q %q", code, out, said)
	}
	w.stops(plenty)
	second.stops(plenty)
	if out, _, code := s.call("status"); code != 1 {
		t.Errorf("%d %q", code, out)
	}
}
