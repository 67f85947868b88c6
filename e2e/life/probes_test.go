package life

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/lifecycle"
)

// pool is the configuration of a pool of children of this test binary.
func (s *site) pool(role, mark string, processes int) string {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("pools: [{name: go, mode: pool, processes: %d, concurrency: 4, command: [%s], env: {%s: %q, MARK: %q}}]\n",
		processes, exe, actAs, role, mark)
}

func TestScenario25_CrashLoopAtBoot(t *testing.T) {
	s := newSite(t)
	said := make(chan string, 100)
	hook := s.hook(func(body string) { said <- body })
	w := s.start(s.pool("exit at boot", "", 2) + "alerts: [{webhook: " + hook + "}]\n")
	w.probe("/readyz", 503)
	w.probe("/livez", 200)
	_, body := w.get("/readyz")
	if !strings.Contains(body, "no child is up") {
		t.Errorf("readyz says %q", body)
	}
	body = <-said
	if !strings.Contains(body, `"event":"crash_loop"`) || !strings.Contains(body, "no database") {
		t.Errorf("the alert says %s", body)
	}
	s.eventually("it was tried several times, with growing pauses", func() bool { return strings.Count(s.read("w1.log"), `"child restarting"`) >= 6 })
	s.eventually("the report has them", func() bool { r := w.report(); return len(r.Pools) == 1 && r.Pools[0].Restarts >= 4 })
	if r := w.report(); r.Pools[0].Why["exit"] < 4 || !strings.Contains(r.Pools[0].LastExit.Why, "no database") {
		t.Errorf("%+v", r.Pools)
	}
	_, metrics := w.get("/metrics")
	if !strings.Contains(metrics, `seriatim_child_restarts_total{pool="go",reason="exit"}`) {
		t.Error("no metric of it")
	}
	w.probe("/livez", 200)
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

func TestScenario26_AllSlotsBusyAndNATSAway(t *testing.T) {
	s := newSite(t)
	w := s.start("")
	for i := range 4 {
		s.publish(fmt.Sprintf("build.%d", i), "sleep 60")
	}
	s.eventually("all slots are busy", func() bool { return w.report().Busy == 4 })
	w.probe("/livez", 200)
	w.probe("/readyz", 200)
	s.server.Stop()
	for end := time.Now().Add(2 * lease); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		w.probe("/livez", 200) // before, at, and after the end of the session
	}
	w.probe("/readyz", 503)
	if r := w.report(); r.NATS.Connected || !r.Live || r.Busy != 0 {
		t.Errorf("%+v", r)
	}
	_, metrics := w.get("/metrics")
	if !strings.Contains(metrics, "seriatim_nats_connected 0\n") || !strings.Contains(metrics, "seriatim_sessions_lost_total 1\n") {
		t.Error("the metrics do not show it")
	}
	s.server.Restart()
	s.eventually("it is ready again", func() bool { status, _ := w.get("/readyz"); return status == 200 })
	s.eventually("and takes up the work", func() bool { return w.report().Busy == 4 })
	w.signal(syscall.SIGTERM)
	w.logs("stopping: no further jobs; those that run may finish") // two signals at once may come as one
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

func TestLivezMaxOutage(t *testing.T) {
	s := newSite(t)
	w := s.start("livez_max_outage: 1s\n")
	w.probe("/livez", 200)
	s.server.Stop()
	s.eventually("it asks for a restart", func() bool { status, _ := w.get("/livez"); return status == 503 })
	_, body := w.get("/livez")
	if !strings.Contains(body, "livez_max_outage") {
		t.Errorf("it says %q", body)
	}
	s.server.Restart()
	s.eventually("it lives again", func() bool { status, _ := w.get("/livez"); return status == 200 })
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

func TestBusyPort(t *testing.T) {
	s := newSite(t)
	addr := fmt.Sprintf("127.0.0.1:%d", natstest.Port(t)) // nobody else gets it when it is free for a moment
	other, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	w := s.begin("http: " + addr + "\n")
	if line := w.logs("the address for probes is busy; it is tried again"); !strings.Contains(line["error"].(string), addr) {
		t.Errorf("%v", line)
	}
	if code, _ := w.ends(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if log := s.read("w1.log"); !strings.Contains(log, "workerd: listen for probes on "+addr) || !strings.Contains(log, "hint: ") {
		t.Errorf("it said:\n%s", log)
	}
	// A port that is freed in time is taken.
	w = s.begin("http: " + addr + "\n")
	w.logs("the address for probes is busy; it is tried again")
	other.Close()
	w.up()
	w.probe("/livez", 200)
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

// The usual port is not insisted on: a second workerd on a host runs without it.
func TestBusyPortThatNobodyAskedFor(t *testing.T) {
	s := newSite(t)
	// Whoever else has it, such as a test beside this one, may leave it just when workerd looks.
	for end := time.Now().Add(plenty / 2); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if other, err := net.Listen("tcp", "127.0.0.1:7433"); err == nil {
			t.Cleanup(func() { other.Close() })
			break
		}
	}
	w := s.begin("http:\n") // nothing is said
	w.logs("the usual address for probes cannot be had; this workerd goes on without it, until it is free")
	w.logs("running")
	if out, said, code := s.call("status"); code != 0 || !strings.Contains(out, "w1  running") {
		t.Errorf("%d %s %s", code, out, said)
	}
	s.publish("build.1", "sleep 0")
	s.recorded("end build.1")
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

func TestWhatTheProbesSayOfAJob(t *testing.T) {
	s := newSite(t)
	w := s.start(s.pool("good", "one", 2))
	s.eventually("both children are up", func() bool { return w.report().Slots == 8 })
	s.publish("build.1", "hold")
	s.eventually("it is shown", func() bool { r := w.report(); return len(r.Jobs) == 1 && r.Jobs[0].At != nil })
	j := w.report().Jobs[0]
	if j.Entity != "build.1" || j.Queue != "ci" || j.Kind != "default" || j.Seq != 1 || j.Fence == 0 || j.Attempt != 1 || j.At.Of != 2 || j.At.Note != "half" {
		t.Errorf("%+v", j)
	}
	// The others see it, soon after it has run for a second.
	s.eventually("the record tells", func() bool {
		r := s.worker(w)
		return len(r.Jobs) == 1 && r.Jobs[0].Entity == "build.1" && len(r.Children) == 2 && r.PID == w.PID() && r.RTTMS >= 0
	})
	s.eventually("memory and round trip are measured", func() bool {
		r := w.report()
		return r.RTTMS > 0 && r.RSSBytes > 0 && r.Children[0].RSSBytes > 0 && r.Children[0].PSSBytes+r.Children[1].PSSBytes > 0
	})
	r := w.report()
	t.Logf("idle but for one job: guardian %d KiB, engine %d KiB, round trip %.2f ms",
		lifecycle.RSS(w.PID())>>10, lifecycle.RSS(r.EnginePID)>>10, r.RTTMS)
	_, metrics := w.get("/metrics")
	for _, line := range []string{
		`seriatim_worker_state{state="running"} 1`, `seriatim_slots 8`, `seriatim_slots_busy 1`, `seriatim_nats_connected 1`,
		`seriatim_jobs_started_total{kind="default",queue="ci"} 1`, `seriatim_jobs_running{kind="default",queue="ci"} 1`,
		`seriatim_children{pool="go",state="ready"} 1`, `seriatim_children{pool="go",state="busy"} 1`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("no line %s in\n%s", line, metrics)
		}
	}
	w.signal(syscall.SIGTTIN)
	w.logs("child")
	if what, job := w.logs("what runs"), w.logs("runs"); what["state"] != "running" || what["busy"] != 1.0 || job["entity"] != "build.1" || job["queue"] != "ci" {
		t.Errorf("the dump says %v, %v", what, job)
	}
	w.signal(syscall.SIGTERM)
	w.logs("stopping: no further jobs; those that run may finish") // two signals at once may come as one
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

// hook is a webhook that hands on what it gets.
func (s *site) hook(got func(body string)) (url string) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: plenty, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var b strings.Builder
		_, _ = fmt.Fprint(&b, readAll(r))
		got(b.String())
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // until Close
	}()
	s.t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return "http://" + l.Addr().String() + "/hook"
}
