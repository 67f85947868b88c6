package life

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func readAll(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	return string(body)
}

// told gathers alerts by event.
type told struct {
	mu   sync.Mutex
	list []map[string]any
}

func (a *told) add(body string) {
	var alert map[string]any
	_ = json.Unmarshal([]byte(body), &alert)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, alert)
}

func (a *told) of(event string) (list []map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, alert := range a.list {
		if alert["event"] == event {
			list = append(list, alert)
		}
	}
	return list
}

func TestAlertsWithoutNATS(t *testing.T) {
	s := newSite(t)
	a := &told{}
	script := s.write("alert.sh", "#!/bin/sh\necho \"$JOB_KIND\" >> '"+s.path("alerts")+"'\ncat >> '"+s.path("alerts")+"'\necho >> '"+s.path("alerts")+"'\n")
	w := s.start(fmt.Sprintf("alerts:\n  - {webhook: %q}\n  - {command: [%s], on: [nats_lost]}\n", s.hook(a.add), script))
	for i := range 3 {
		s.publish(fmt.Sprintf("build.%d", i), "fatal")
	}
	s.eventually("a dead job is told", func() bool { return len(a.of("job_dead")) > 0 })
	s.eventually("all are dead", func() bool { return s.jobs() == 0 })
	dead := a.of("job_dead")
	detail, _ := dead[0]["detail"].(map[string]any)
	if len(dead) != 1 || detail["queue"] != "ci" || detail["error"] != "no such build" || dead[0]["worker"] != w.Name {
		t.Errorf("%d alerts: %v", len(dead), dead)
	}
	s.server.Stop()
	s.eventually("the loss is told", func() bool { return len(a.of("nats_lost")) == 1 })
	s.eventually("the script knows, too", func() bool { return strings.Contains(s.read("alerts"), `"event":"nats_lost"`) })
	s.server.Restart()
	s.eventually("the return is told", func() bool { return len(a.of("nats_back")) == 1 })
	if text := s.read("alerts"); !strings.HasPrefix(text, "nats_lost\n{") || strings.Contains(text, "nats_back") {
		t.Errorf("the script got %s", text)
	}
	s.eventually("they are counted", func() bool { // a moment after they have arrived
		_, metrics := w.get("/metrics")
		return strings.Contains(metrics, `seriatim_alerts_total{outcome="sent"} 4`) && strings.Contains(metrics, `seriatim_alerts_total{outcome="held_back"} 2`)
	})
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

// Places that are named anew while NATS is away are told that it is, and when it is back.
func TestAlertsThatChangeDuringAnOutage(t *testing.T) {
	s := newSite(t)
	a := &told{}
	w := s.start("")
	s.server.Stop()
	w.logs("the NATS connection is lost; jobs go on until the session is over")
	s.write("w1.yaml", s.config(fmt.Sprintf("alerts: [{webhook: %q}]\n", s.hook(a.add))))
	w.signal(syscall.SIGHUP)
	s.eventually("the loss is told", func() bool { return len(a.of("nats_lost")) == 1 })
	s.server.Restart()
	s.eventually("the return is told", func() bool { return len(a.of("nats_back")) == 1 })
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

func TestAlertOfAMemoryKill(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("memory is not guarded here")
		return
	}
	s := newSite(t)
	a := &told{}
	limits := "memory: {hard: 150MiB, check: 100ms, hard_grace: 100ms, shutdown_wait: 100ms}}]\n"
	w := s.start(strings.Replace(s.pool("good", "", 1), "}}]\n", "}, "+limits, 1) + fmt.Sprintf("alerts: [{webhook: %q}]\n", s.hook(a.add)))
	s.publish("build.1", "hog")
	s.eventually("it is told", func() bool { return len(a.of("memory_kill")) == 1 })
	s.eventually("and shown", func() bool {
		r := w.report()
		return len(r.Pools) == 1 && r.Pools[0].Why["memory"] > 0 && strings.Contains(r.Pools[0].LastExit.Why, "memory")
	})
	w.signal(syscall.SIGTERM)
	w.stops(20 * time.Second)
}

// A place that hangs holds up neither jobs nor the stop.
func TestAlertsThatHang(t *testing.T) {
	s := newSite(t)
	hang := make(chan struct{})
	defer close(hang)
	w := s.start(fmt.Sprintf("alerts:\n  - {webhook: %q, every: 0s}\n  - {command: [sleep, '600'], every: 0s}\n", s.hook(func(string) { <-hang })))
	for i := range 100 {
		s.publish(fmt.Sprintf("build.%d", i), "fatal")
	}
	s.eventually("all are dead", func() bool { return s.jobs() == 0 })
	w.probe("/livez", 200)
	w.signal(syscall.SIGTERM)
	w.stops(25 * time.Second)
}
