package life

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/workerd/probes"
)

func TestHUPReplacesChildrenOneByOne(t *testing.T) {
	s := newSite(t)
	w := s.start(s.pool("good", "one", 3))
	s.eventually("all children are up", func() bool { return w.report().Slots == 12 })
	stop := make(chan struct{})
	least := make(chan int, 1)
	go func() { // no slot is missing at any time
		n := 12
		for {
			select {
			case <-stop:
				least <- n
				return
			case <-time.After(20 * time.Millisecond):
				var r probes.Report
				if _, body := w.get("/statusz"); json.Unmarshal([]byte(body), &r) == nil {
					n = min(n, r.Slots)
				}
			}
		}
	}()
	for i := range 200 {
		s.publish(fmt.Sprintf("build.%d", i%20), "")
	}
	s.write("w1.yaml", s.config(s.pool("good", "two", 3)))
	w.signal(syscall.SIGHUP)
	w.logs("the configuration was read anew")
	s.eventually("three new children", func() bool { return s.lines("ready two") == 3 })
	s.eventually("the old ones are gone", func() bool { return len(w.report().Children) == 3 })
	s.eventually("all jobs are done", func() bool { return s.jobs() == 0 })
	close(stop)
	if n := <-least; n != 12 {
		t.Errorf("there were only %d slots for a while", n)
	}
	if n := s.lines("ran"); n != 200 {
		t.Errorf("%d runs of 200 jobs", n)
	}
	s.publish("build.1", "")
	s.recorded("ran two build.1")
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

func TestHUPWithAConfigurationThatCannotBeUsed(t *testing.T) {
	s := newSite(t)
	w := s.start("")
	s.write("w1.yaml", "queues: [ci]\npools:\n  - name: sh\n    comand: [x]\n")
	w.signal(syscall.SIGHUP)
	line := w.logs("the configuration stays as it is: the new one cannot be used")
	if text, _ := line["error"].(string); !strings.Contains(text, `w1.yaml:4: pools.sh: unknown key "comand" (did you mean "command"?)`) {
		t.Errorf("it says %v", line)
	}
	s.publish("build.1", "sleep 0")
	s.recorded("end build.1")
	w.probe("/readyz", 200)
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

func TestHUPChangesPools(t *testing.T) {
	s := newSite(t)
	w := s.start("")
	s.publish("build.1", "until "+s.path("go"))
	s.recorded("start build.1")
	other := s.write("other.sh", "#!/bin/sh\necho \"other $JOB_ENTITY\" >> \"$RECORD\"\n")
	s.write("w1.yaml", s.config(fmt.Sprintf(
		"queues: [ci, mail]\npools: [{name: other, command: [%s], concurrency: 2}]\nshutdown: {timeout: 29s, kill_after: 200ms}\n", other)))
	w.signal(syscall.SIGHUP)
	w.logs("the configuration was read anew")
	if line := w.logs("these settings were changed; they take effect when workerd is started anew"); fmt.Sprint(line["keys"]) != "[queues]" {
		t.Errorf("%v", line)
	}
	s.publish("build.2", "")
	s.recorded("other build.2")
	if s.lines("end build.1") != 0 || w.said("the former pool is gone") != nil {
		t.Error("the job of the former pool was ended")
	}
	s.write("go", "")
	s.recorded("end build.1")
	w.logs("the former pool is gone")
	s.eventually("the slots are those of the new pool", func() bool { return w.report().Slots == 2 })
	// A pool whose program is not there changes nothing.
	s.write("w1.yaml", s.config("pools: [{name: none, command: [/no/such/program]}]\n"))
	w.signal(syscall.SIGHUP)
	w.logs("the configuration stays as it is: the new one cannot be used")
	s.publish("build.3", "")
	s.recorded("other build.3")
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}

// What was changed while it waited for a server counts when it is up.
func TestHUPBeforeItIsUp(t *testing.T) {
	s := newSite(t)
	s.server.Stop()
	w := s.begin("")
	w.logs("no NATS server yet; waiting for it")
	other := s.write("other.sh", "#!/bin/sh\necho \"other $JOB_ENTITY\" >> \"$RECORD\"\n")
	s.write("w1.yaml", s.config(fmt.Sprintf("pools: [{name: other, command: [%s]}]\n", other)))
	w.signal(syscall.SIGHUP)
	w.logs("the configuration is read anew when it is up")
	s.server.Restart()
	w.logs("the configuration was read anew")
	s.publish("build.1", "")
	s.recorded("other build.1")
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}
