package daemon

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/lifecycle/drain"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/workerd/metrics"
	"github.com/seriatim/seriatim/workerd/probes"
)

// health is how the daemon is, for the probes: what its parts last said of themselves. Reading it never waits for any of
// them, because the probes ask exactly when one of them may be stuck.
type health struct {
	worker    string
	pid       int // of the top process
	host      string
	queues    []string
	begun     time.Time
	maxOutage time.Duration

	mode    atomic.Uint32 // a drain.Mode
	started atomic.Bool
	conn    atomic.Pointer[nats.Conn]
	engine  atomic.Pointer[engine.Engine]
	sample  atomic.Pointer[sample]
	beat    atomic.Int64 // of the main loop, in nanoseconds since begun

	mu   sync.Mutex
	nats probes.NATS
	rtt  time.Duration
}

// A part that has not moved for so long is stuck. The loops turn several times a second, the sampler every second; it
// reads the process table, which may take its time on a host that swaps.
const (
	loopStuck    = 10 * time.Second
	samplerStuck = 60 * time.Second
)

func newHealth(worker string, pid int, queues []string, maxOutage time.Duration) *health {
	h := &health{worker: worker, pid: pid, queues: queues, begun: time.Now(), maxOutage: maxOutage}
	h.host, _ = os.Hostname() // an unknown name is shown as none
	h.sample.Store(&sample{})
	return h
}

func (h *health) age() time.Duration { return time.Since(h.begun) }

func (h *health) setMode(m drain.Mode) { h.mode.Store(uint32(m)) }

func (h *health) getMode() drain.Mode { return drain.Mode(h.mode.Load()) }

// beats notes that the main loop turns.
func (h *health) beats() { h.beat.Store(int64(h.age())) }

// Started says whether it was up once.
func (h *health) Started() bool { return h.started.Load() }

// NotLive says what a restart would mend.
func (h *health) NotLive() (why []string) {
	stuck := func(what string, silence, bound time.Duration) {
		if silence > bound {
			why = append(why, fmt.Sprintf("%s is stuck: it has not moved for %s", what, silence.Round(time.Second)))
		}
	}
	now := h.age()
	stuck("the main loop", now-time.Duration(h.beat.Load()), loopStuck)
	if e := h.engine.Load(); e != nil {
		stuck("the engine's loop", e.Silence(), loopStuck)
	}
	stuck("the look at the children", now-h.sample.Load().at, samplerStuck)
	n, _ := h.connection()
	if away := time.Since(n.Since); h.maxOutage > 0 && !n.Connected && away > h.maxOutage {
		why = append(why, fmt.Sprintf("NATS has been away for %s, more than livez_max_outage", away.Round(time.Second)))
	}
	return why
}

// NotReady says why no jobs are taken.
func (h *health) NotReady() (why []string) {
	if s := h.getMode().State(); s != streams.StateRunning {
		why = append(why, "it is "+s)
	}
	n, _ := h.connection()
	if !n.Connected {
		why = append(why, "NATS is away")
	}
	if e := h.engine.Load(); e != nil {
		s := e.Status()
		if s.Session == "" && n.Connected {
			why = append(why, "its session is over, and the next one has not begun")
		}
		if s.Slots == 0 {
			why = append(why, "no child is up")
		}
	}
	return why
}

// idle says that nothing runs and nothing will, unless somebody says so.
func (h *health) idle() bool {
	if m := h.getMode(); m == drain.Starting || m == drain.Running {
		return false
	}
	e := h.engine.Load()
	return e == nil || e.Status().Idle() // without an engine nothing has begun, or all is over
}

// Report is how it is now.
func (h *health) Report() probes.Report {
	r := probes.Report{EnginePID: os.Getpid(), NotLive: h.NotLive(), NotReady: h.NotReady(), Started: h.Started(), Idle: h.idle()}
	r.Live, r.Ready = len(r.NotLive) == 0, len(r.NotReady) == 0
	r.NATS, _ = h.connection()
	r.SessionRecord = streams.SessionRecord{
		V: version.Protocol, State: h.getMode().State(), Worker: h.worker, StartedAt: h.begun.UTC(), BeatAt: time.Now().UTC(), Queues: h.queues,
		BusyByQueue: map[string]int{}, Children: []streams.ChildRecord{},
	}
	if e := h.engine.Load(); e != nil {
		s := e.Status()
		r.Session, r.Slots, r.LeaseMS = s.Session, s.Slots, s.Lease.Milliseconds()
		for _, j := range e.Running() {
			r.Busy++
			r.BusyByQueue[string(j.Queue)]++
		}
	}
	return r
}

// now is what the metrics show.
func (h *health) now(r probes.Report) metrics.Now {
	n := metrics.Now{Record: r.SessionRecord, Connected: r.NATS.Connected, Ready: r.Ready}
	if e := h.engine.Load(); e != nil {
		n.Silence = e.Silence()
	}
	return n
}

// describe adds to a record what is the same in all: who this is.
func (h *health) describe(r *streams.SessionRecord) {
	r.Host, r.PID, r.Version = h.host, h.pid, version.String()
	_, rtt := h.connection()
	r.RTTMS = float64(rtt.Microseconds()) / 1000
}

// connection is how NATS is, and the last round trip.
func (h *health) connection() (probes.NATS, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nats.Since.IsZero() {
		return probes.NATS{Since: h.begun.UTC()}, 0 // away from the start on
	}
	return h.nats, h.rtt
}

// connected notes that NATS came or went.
func (h *health) connected(yes bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nats = probes.NATS{Connected: yes, Since: time.Now().UTC()}
	if c := h.conn.Load(); c != nil && yes {
		h.nats.Server = c.ConnectedServerName()
	}
	if !yes {
		h.rtt = 0
	}
}

func (h *health) roundTrip(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rtt = d
}
