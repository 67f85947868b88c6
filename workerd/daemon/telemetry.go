package daemon

import (
	"cmp"
	"hash/maphash"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/workerd/config"
	"github.com/seriatim/seriatim/workerd/probes"
)

// How often things are looked at.
const (
	sampleEvery = time.Second
	sampleRest  = 50 * time.Millisecond // after each look
	pssEvery    = 5 * time.Second
	rttEvery    = 5 * time.Second
	// shownAfter is how long a job has to run for its start and end to be worth a beat of their own.
	shownAfter = time.Second
)

// sample is what was seen of the processes at one time.
type sample struct {
	at       time.Duration
	rss      int64
	children []streams.ChildRecord
	pools    []streams.PoolRecord
}

// telemetry looks at the processes every second, so that neither the engine's loop nor a probe ever waits for the process
// table, and has the session's record rewritten when something worth it has changed: the set of children and their
// states, or the jobs that have run for a while. Short jobs cause no writes.
type telemetry struct {
	health *health
	quit   chan struct{}
	poke   chan struct{} // holds one
	tasks  sync.WaitGroup
	seed   maphash.Seed

	mu       sync.Mutex
	progress map[jobKey]streams.ProgressRecord
	exits    map[string]*streams.PoolRecord // by pool
	told     uint64                         // of what the record said last

	// Of the sampler's goroutine.
	born    map[int]time.Time
	pss     map[int]int64
	pssAt   time.Time
	pssNext int
}

type jobKey struct {
	queue string
	seq   uint64
	fence uint64
}

func newTelemetry(h *health) *telemetry {
	return &telemetry{
		health: h, quit: make(chan struct{}), poke: make(chan struct{}, 1), seed: maphash.MakeSeed(), progress: map[jobKey]streams.ProgressRecord{},
		exits: map[string]*streams.PoolRecord{}, born: map[int]time.Time{}, pss: map[int]int64{},
	}
}

// start begins to look; close ends it. Pools is read at each look.
func (t *telemetry) start(pools func() []member) {
	t.look(pools())
	t.tasks.Go(func() {
		ticker := time.NewTicker(sampleEvery)
		defer ticker.Stop()
		for {
			select {
			case <-t.quit:
				return
			case <-ticker.C:
			case <-t.poke:
				ticker.Reset(sampleEvery)
			}
			t.look(pools())
			if e := t.health.engine.Load(); e != nil && t.changed(e) {
				e.Touch()
			}
			time.Sleep(sampleRest)
		}
	})
}

// lookSoon has the processes looked at at once: something has happened to one of them. Any goroutine.
func (t *telemetry) lookSoon() {
	select {
	case t.poke <- struct{}{}:
	default:
	}
}

// measure times the round trip to the server now and then.
func (t *telemetry) measure(conn *nats.Conn) {
	t.tasks.Go(func() {
		ticker := time.NewTicker(rttEvery)
		defer ticker.Stop()
		for {
			if d, err := conn.RTT(); err == nil { // else there is none
				t.health.roundTrip(d)
			}
			select {
			case <-t.quit:
				return
			case <-ticker.C:
			}
		}
	})
}

// close ends the looking. The connection has to be closed before, so that nothing waits for it.
func (t *telemetry) close() {
	close(t.quit)
	t.tasks.Wait()
}

// look reads what the processes are.
func (t *telemetry) look(pools []member) {
	s := &sample{at: t.health.age(), rss: lifecycle.RSS(os.Getpid()), children: []streams.ChildRecord{}}
	if t.health.pid != os.Getpid() {
		s.rss += lifecycle.RSS(t.health.pid)
	}
	for _, p := range pools {
		rec := t.pool(p.cfg.Name)
		rec.Mode, rec.Kinds, rec.Slots = p.cfg.Mode, p.cfg.Kinds, p.pool.Slots()
		s.pools = append(s.pools, rec)
		for _, c := range p.pool.Children() {
			s.children = append(s.children, t.child(c))
		}
	}
	if len(s.children) > streams.MaxRecordChildren {
		s.children = s.children[:streams.MaxRecordChildren]
	}
	t.readPSS(s.children)
	t.health.sample.Store(s)
}

// pool is what was counted of a pool so far.
func (t *telemetry) pool(name string) streams.PoolRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seen := t.exits[name]; seen != nil {
		rec := *seen
		rec.Why = maps.Clone(seen.Why)
		return rec
	}
	return streams.PoolRecord{Name: name}
}

func (t *telemetry) child(c lifecycle.ChildInfo) streams.ChildRecord {
	r := streams.ChildRecord{PID: c.PID, Pool: c.Pool, State: string(c.State), RSSBytes: c.RSSBytes, Jobs: c.Jobs}
	if c.PID != 0 {
		if _, ok := t.born[c.PID]; !ok {
			t.born[c.PID] = time.Now().UTC().Truncate(time.Millisecond)
		}
		r.StartedAt, r.PSSBytes = t.born[c.PID], t.pss[c.PID]
	}
	return r
}

// readPSS reads one child's share of memory every few seconds, in turn: it costs up to a millisecond each.
func (t *telemetry) readPSS(children []streams.ChildRecord) {
	living := make(map[int]bool, len(children))
	for _, c := range children {
		living[c.PID] = true
	}
	for pid := range t.born {
		if !living[pid] {
			delete(t.born, pid)
			delete(t.pss, pid)
		}
	}
	if len(children) == 0 || time.Since(t.pssAt) < pssEvery {
		return
	}
	t.pssAt = time.Now()
	t.pssNext = (t.pssNext + 1) % len(children)
	if c := &children[t.pssNext]; c.PID != 0 {
		if pss := lifecycle.PSS(c.PID); pss > 0 {
			t.pss[c.PID], c.PSSBytes = pss, pss
		}
	}
}

// exited counts the end of a child.
func (t *telemetry) exited(pool string, pid int, reason, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.exits[pool]
	if p == nil {
		p = &streams.PoolRecord{Name: pool, Why: map[string]int{}}
		t.exits[pool] = p
	}
	p.Restarts++
	p.Why[reason]++
	p.LastExit = &streams.ExitRecord{PID: pid, At: time.Now().UTC(), Why: why}
}

// progressed notes how far a job is.
func (t *telemetry) progressed(j lifecycle.Job, p lifecycle.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress[jobKey{j.Queue, j.Seq, j.Fence}] = streams.ProgressRecord{At: p.At, Of: p.Of, Note: p.Note}
}

// ended forgets a job.
func (t *telemetry) ended(e engine.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.progress, jobKey{string(e.Queue), e.Seq, e.Fence})
}

// describe adds to a session's record what the engine does not know.
func (t *telemetry) describe(r *streams.SessionRecord) {
	t.health.describe(r)
	s := t.health.sample.Load()
	r.RSSBytes, r.Children, r.Pools = s.rss, s.children, s.pools
	if e := t.health.engine.Load(); e != nil {
		r.Jobs = t.jobs(e)
		t.changed(e)
	}
}

// jobs lists what runs, the oldest first.
func (t *telemetry) jobs(e *engine.Engine) []streams.JobRecord {
	running := e.Running()
	slices.SortFunc(running, func(a, b engine.RunningJob) int { return cmp.Compare(b.Since, a.Since) })
	running = running[:min(len(running), streams.MaxRecordJobs)]
	jobs := make([]streams.JobRecord, len(running))
	now := time.Now().UTC()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, j := range running {
		jobs[i] = streams.JobRecord{
			Queue: string(j.Queue), Entity: j.Entity.String(), Kind: j.Header.Kind, ID: j.Header.ID, Seq: j.Seq, Fence: j.Fence,
			Attempt: j.Attempt, Since: now.Add(-j.Since).Truncate(time.Millisecond),
		}
		if p, ok := t.progress[jobKey{string(j.Queue), j.Seq, j.Fence}]; ok {
			jobs[i].At = &p
		}
	}
	return jobs
}

// changed says whether what lasts is otherwise than when it was asked last.
func (t *telemetry) changed(e *engine.Engine) bool {
	var h maphash.Hash
	h.SetSeed(t.seed)
	var sum uint64
	for _, j := range e.Running() {
		if j.Since >= shownAfter {
			maphash.WriteComparable(&h, jobKey{string(j.Queue), j.Seq, j.Fence})
			sum += h.Sum64() // in no order
			h.Reset()
		}
	}
	s := t.health.sample.Load()
	perJob := map[string]bool{}
	for _, p := range s.pools {
		perJob[p.Name] = p.Mode == config.ModeExec
	}
	for _, c := range s.children {
		if perJob[c.Pool] {
			continue // it is told with its job
		}
		if c.State == string(lifecycle.ChildBusy) {
			c.State = string(lifecycle.ChildReady) // that it has jobs is told with the jobs
		}
		maphash.WriteComparable(&h, struct {
			pid   int
			state string
		}{c.PID, c.State})
		sum += h.Sum64()
		h.Reset()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := sum != t.told
	t.told = sum
	return changed
}

// report is how the daemon is now, in all detail.
func (t *telemetry) report() probes.Report {
	r := t.health.Report()
	t.health.describe(&r.SessionRecord)
	s := t.health.sample.Load()
	r.RSSBytes, r.Children, r.Pools = s.rss, s.children, s.pools
	if e := t.health.engine.Load(); e != nil {
		r.Jobs = t.jobs(e)
	}
	return r
}

// source is what the probes ask.
type source struct {
	*health
	telemetry *telemetry
}

// Report is the detailed one.
func (s source) Report() probes.Report { return s.telemetry.report() }
