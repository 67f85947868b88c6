package metrics_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/metrics"
)

func scrape(m *metrics.Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func busy() metrics.Now {
	return metrics.Now{
		Connected: true, Ready: true, Silence: 20 * time.Millisecond,
		Record: streams.SessionRecord{
			State: "running", Version: "1.2.3", Slots: 10, Busy: 3, RSSBytes: 1 << 20, StartedAt: time.Unix(1000, 0),
			Children: []streams.ChildRecord{
				{Pool: "rails", State: "busy", RSSBytes: 100}, {Pool: "rails", State: "busy", RSSBytes: 50}, {Pool: "rails", State: "starting"},
			},
			Telemetry: streams.Telemetry{
				RTTMS: 2.5, Pools: []streams.PoolRecord{{Name: "rails", Slots: 10}, {Name: "sh"}},
				Jobs: []streams.JobRecord{{Queue: "ci", Kind: "a", Entity: "build.1"}, {Queue: "ci", Kind: "a"}, {Queue: "ci", Kind: "b"}},
			},
		},
	}
}

func TestWhatIsCounted(t *testing.T) {
	m := metrics.New(busy)
	job := engine.Event{Queue: "ci", Entity: subjects.Entity{Type: "build", ID: "1"}, Header: subjects.JobHeader{Kind: "a", ID: "job-1"}}
	tell := func(kind engine.EventKind, outcome string, took time.Duration) {
		e := job
		e.Kind, e.Outcome, e.Took = kind, outcome, took
		m.Observe(e)
	}
	tell(engine.EventTurn, "", 0)
	tell(engine.EventStart, "", 2*time.Second)
	tell(engine.EventEnd, "failed", 3*time.Second)
	tell(engine.EventDead, "failed", 0)
	m.Observe(engine.Event{Kind: engine.EventSessionLost})
	m.Disconnected()
	m.Restarted("rails", "memory")
	m.Alerted("sent")
	text := scrape(m)
	for _, line := range []string{
		`seriatim_turns_total{queue="ci"} 1`,
		`seriatim_jobs_started_total{kind="a",queue="ci"} 1`,
		`seriatim_jobs_ended_total{kind="a",outcome="failed",queue="ci"} 1`,
		`seriatim_jobs_dead_total{kind="a",outcome="failed",queue="ci"} 1`,
		`seriatim_job_wait_seconds_sum{kind="a",queue="ci"} 2`,
		`seriatim_job_run_seconds_sum{kind="a",outcome="failed",queue="ci"} 3`,
		`seriatim_job_run_seconds_bucket{kind="a",outcome="failed",queue="ci",le="10"} 1`,
		`seriatim_sessions_lost_total 1`, `seriatim_nats_disconnects_total 1`, `seriatim_nats_connected 1`,
		`seriatim_child_restarts_total{pool="rails",reason="memory"} 1`, `seriatim_alerts_total{outcome="sent"} 1`,
		`seriatim_build_info{version="1.2.3"} 1`, `seriatim_worker_state{state="running"} 1`,
		`seriatim_worker_state{state="quiet"} 0`, `seriatim_worker_ready 1`, `seriatim_worker_start_time_seconds 1000`,
		`seriatim_slots 10`, `seriatim_slots_busy 3`, `seriatim_jobs_running{kind="a",queue="ci"} 2`,
		`seriatim_nats_round_trip_seconds 0.0025`, `seriatim_loop_silence_seconds 0.02`,
		`seriatim_children{pool="rails",state="busy"} 2`, `seriatim_children_resident_memory_bytes{pool="rails"} 150`,
		`seriatim_children_resident_memory_bytes{pool="sh"} 0`, `seriatim_pool_slots{pool="rails"} 10`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// Names have the prefix and a known unit; no label can have as many values as there are jobs.
func TestConventions(t *testing.T) {
	m := metrics.New(busy)
	for i := range 3 * metrics.MaxKinds {
		kind := fmt.Sprintf("kind-%d", i)
		m.Observe(engine.Event{Kind: engine.EventStart, Queue: "ci", Header: subjects.JobHeader{Kind: kind}})
		m.Observe(engine.Event{Kind: engine.EventStart, Queue: "ci", Header: subjects.JobHeader{Kind: kind}})
	}
	text := scrape(m)
	if n := strings.Count(text, "\nseriatim_jobs_started_total{"); n != metrics.MaxKinds+1 {
		t.Errorf("%d series", n)
	}
	if want := fmt.Sprintf("seriatim_jobs_started_total{kind=\"other\",queue=\"ci\"} %d\n", 4*metrics.MaxKinds); !strings.Contains(text, want) {
		t.Errorf("no line %s", want)
	}
	label := regexp.MustCompile(`[{,]([a-z_]+)="`)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			if f := strings.Fields(line); f[1] == "TYPE" && f[3] == "counter" && !strings.HasSuffix(f[2], "_total") {
				t.Errorf("a counter without _total: %s", line)
			}
			continue
		}
		if !strings.HasPrefix(line, "seriatim_") {
			t.Errorf("without the prefix: %s", line)
		}
		for _, l := range label.FindAllStringSubmatch(line, -1) {
			switch l[1] {
			case "queue", "kind", "outcome", "pool", "state", "reason", "version", "le":
			default:
				t.Errorf("label %s: %s", l[1], line)
			}
		}
	}
}
