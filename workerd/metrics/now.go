package metrics

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seriatim/seriatim/streams"
)

// Now is what is so at a scrape.
type Now struct {
	Record    streams.SessionRecord
	Connected bool
	Ready     bool
	// Silence is how long ago the engine's loop began its last round.
	Silence time.Duration
}

// states are all that a workerd can be in.
var states = []string{
	streams.StateStarting, streams.StateRunning, streams.StateQuiet, streams.StateStopping, streams.StateStopped,
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

var (
	descBuild     = desc("build_info", "The version that runs; always 1.", "version")
	descState     = desc("worker_state", "1 for the state that the worker is in, else 0.", "state")
	descReady     = desc("worker_ready", "1 when the worker takes jobs.")
	descStarted   = desc("worker_start_time_seconds", "When the worker started, as Unix time.")
	descSlots     = desc("slots", "How many jobs may run at once.")
	descBusy      = desc("slots_busy", "How many jobs run.")
	descRunning   = desc("jobs_running", "Jobs that run.", "queue", "kind")
	descConnected = desc("nats_connected", "1 when there is a NATS connection.")
	descRTT       = desc("nats_round_trip_seconds", "The last round trip to the NATS server.")
	descSilence   = desc("loop_silence_seconds", "Time since the engine's loop began its last round.")
	descRSS       = desc("resident_memory_bytes", "Resident memory of the worker itself.")
	descChildren  = desc("children", "Children, by the state that they are in.", "pool", "state")
	descPoolSlots = desc("pool_slots", "How many jobs a pool may run at once.", "pool")
	descChildRSS  = desc("children_resident_memory_bytes", "Resident memory of a pool's children, added up.", "pool")
)

// collector reads what is so.
type collector struct{ now func() Now }

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descBuild, descState, descReady, descStarted, descSlots, descBusy, descRunning, descConnected, descRTT, descSilence,
		descRSS, descChildren, descPoolSlots, descChildRSS,
	} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	n := c.now()
	r := n.Record
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descBuild, 1, r.Version)
	for _, s := range states {
		gauge(descState, flag(s == r.State), s)
	}
	gauge(descReady, flag(n.Ready))
	gauge(descStarted, float64(r.StartedAt.UnixMilli())/1000)
	gauge(descSlots, float64(r.Slots))
	gauge(descBusy, float64(r.Busy))
	gauge(descConnected, flag(n.Connected))
	if r.RTTMS > 0 {
		gauge(descRTT, r.RTTMS/1000)
	}
	gauge(descSilence, n.Silence.Seconds())
	if r.RSSBytes > 0 {
		gauge(descRSS, float64(r.RSSBytes))
	}
	c.jobs(r, gauge)
	c.children(r, gauge)
}

type setter func(d *prometheus.Desc, v float64, labels ...string)

func (collector) jobs(r streams.SessionRecord, gauge setter) {
	type key struct{ queue, kind string }
	running := map[key]int{}
	kinds := map[string]bool{}
	for _, j := range r.Jobs {
		kind := j.Kind
		if !kinds[kind] && len(kinds) >= MaxKinds {
			kind = otherKind
		}
		kinds[kind] = true
		running[key{j.Queue, kind}]++
	}
	for k, n := range running {
		gauge(descRunning, float64(n), k.queue, k.kind)
	}
}

func (collector) children(r streams.SessionRecord, gauge setter) {
	type key struct{ pool, state string }
	count := map[key]int{}
	rss := map[string]int64{}
	for _, p := range r.Pools {
		rss[p.Name] = 0
		gauge(descPoolSlots, float64(p.Slots), p.Name)
	}
	for _, ch := range r.Children {
		count[key{ch.Pool, ch.State}]++
		rss[ch.Pool] += ch.RSSBytes
	}
	for k, n := range count {
		gauge(descChildren, float64(n), k.pool, k.state)
	}
	for _, pool := range slices.Sorted(maps.Keys(rss)) {
		gauge(descChildRSS, float64(rss[pool]), pool)
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
