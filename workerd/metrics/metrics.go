// Package metrics counts what a workerd does, for Prometheus.
//
// All names begin with seriatim_, units are base units. Labels are queue, kind and outcome, and of children pool, state
// and reason; never an entity or a job. A publisher chooses the kind of a job, so only the first MaxKinds kinds have
// series of their own; those that come later are counted together, as "other".
//
// What changes by events is counted when they come; what merely is so is read from the daemon's report at each scrape.
// Nothing here fails or waits.
package metrics

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seriatim/seriatim/streams/engine"
)

// MaxKinds is how many kinds of jobs have series of their own.
const MaxKinds = 100

// otherKind stands for the kinds beyond MaxKinds.
const otherKind = "other"

// prefix begins every name.
const prefix = "seriatim_"

// spans are the buckets for how long jobs wait and run, in seconds.
var spans = []float64{.005, .025, .1, .25, 1, 2.5, 10, 30, 60, 300, 900, 3600}

// Metrics are a workerd's counters. Any goroutine may call its methods.
type Metrics struct {
	registry *prometheus.Registry

	turns    *prometheus.CounterVec
	started  *prometheus.CounterVec
	ended    *prometheus.CounterVec
	dead     *prometheus.CounterVec
	waited   *prometheus.HistogramVec
	ran      *prometheus.HistogramVec
	sessions prometheus.Counter
	outages  prometheus.Counter
	restarts *prometheus.CounterVec
	alerts   *prometheus.CounterVec

	mu    sync.Mutex
	kinds map[string]bool
}

// New makes the metrics of a workerd; now reads what is so at each scrape.
func New(now func() Now) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	}
	span := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: spans}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(), kinds: map[string]bool{},
		turns:    counter("turns_total", "Turns that were delivered to this worker.", "queue"),
		started:  counter("jobs_started_total", "Jobs that were handed to a process.", "queue", "kind"),
		ended:    counter("jobs_ended_total", "Runs of jobs that ended, by how they ended.", "queue", "kind", "outcome"),
		dead:     counter("jobs_dead_total", "Jobs that were given up, by the last cause.", "queue", "kind", "outcome"),
		waited:   span("job_wait_seconds", "Time from a job's publishing to its start.", "queue", "kind"),
		ran:      span("job_run_seconds", "Time that runs of jobs took.", "queue", "kind", "outcome"),
		sessions: prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "sessions_lost_total", Help: "Sessions that were over before they were ended: all jobs were killed."}),
		outages:  prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "nats_disconnects_total", Help: "Losses of the NATS connection."}),
		restarts: counter("child_restarts_total", "Ends of children of pools, by reason.", "pool", "reason"),
		alerts:   counter("alerts_total", "Alerts, by what became of them.", "outcome"),
	}
	m.registry.MustRegister(m.turns, m.started, m.ended, m.dead, m.waited, m.ran, m.sessions, m.outages, m.restarts,
		m.alerts, collector{now})
	return m
}

// Handler serves them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Observe counts what the engine tells. It is fit for the engine's loop.
func (m *Metrics) Observe(e engine.Event) {
	queue := string(e.Queue)
	switch e.Kind {
	case engine.EventTurn:
		m.turns.WithLabelValues(queue).Inc()
	case engine.EventStart:
		kind := m.kind(e.Header.Kind)
		m.started.WithLabelValues(queue, kind).Inc()
		m.waited.WithLabelValues(queue, kind).Observe(e.Took.Seconds())
	case engine.EventEnd:
		kind := m.kind(e.Header.Kind)
		m.ended.WithLabelValues(queue, kind, e.Outcome).Inc()
		m.ran.WithLabelValues(queue, kind, e.Outcome).Observe(e.Took.Seconds())
	case engine.EventDead:
		m.dead.WithLabelValues(queue, m.kind(e.Header.Kind), e.Outcome).Inc()
	case engine.EventSessionLost:
		m.sessions.Inc()
	}
}

// Disconnected counts a loss of NATS.
func (m *Metrics) Disconnected() { m.outages.Inc() }

// Restarted counts the end of a child that will be followed by another.
func (m *Metrics) Restarted(pool, reason string) { m.restarts.WithLabelValues(pool, reason).Inc() }

// Alerted counts an alert: sent, failed, held back or dropped.
func (m *Metrics) Alerted(outcome string) { m.alerts.WithLabelValues(outcome).Inc() }

// kind is the label for a kind of job.
func (m *Metrics) kind(kind string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.kinds[kind]:
	case len(m.kinds) >= MaxKinds:
		return otherKind
	default:
		m.kinds[kind] = true
	}
	return kind
}
