package scale

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/subjects"
)

const queue = subjects.Queue(rig.Queue)

// lanes is how many wait, and lost how many of them lose their turn.
func lanes(t *testing.T) (n, lost int) {
	n = rig.Size(20_000, 200_000)
	if text := os.Getenv("SERIATIM_LANES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1000 {
			t.Fatalf("SERIATIM_LANES=%q is no number of at least 1000", text)
		}
	}
	return n, n / 20
}

// TestManyLanes fills a paused queue, lets the audit look at everything, takes turns away and waits until every lane has
// one again.
func TestManyLanes(t *testing.T) {
	n, lost := lanes(t)
	r := rig.New(t, "--lease", "5s")
	r.Coordinator("queue", "pause", rig.Queue)
	h := r.Host("a", r.SleepExec(4)).Start()
	nc := r.Conn()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		t.Fatal(err)
	}
	report := func(what string) {
		t.Logf("%s: server %d MB, workerd %d MB (all its processes)", what, resident(r.Server.PID())>>20, tree(h.Proc.PID())>>20)
	}
	report("empty")
	idle := probe(t, nc, "idle", rig.Size(2*time.Second, 10*time.Second), nil)

	begin := time.Now()
	for i := range n {
		if _, err := js.PublishAsync(fmt.Sprintf("jobs.%s.build.%d", queue, i), []byte("{}"), jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	t.Logf("%d lanes published in %v, %.0f/s", n, time.Since(begin).Round(time.Millisecond), float64(n)/time.Since(begin).Seconds())
	report("filled")

	begin = time.Now()
	audited := make(chan struct{})
	go func() {
		defer close(audited)
		await(t, "the audit", func() bool { return auditLeft(t, js) == 0 })
	}()
	during := probe(t, nc, "during the audit", 0, audited)
	t.Logf("the audit has looked at everything after %v", time.Since(begin).Round(time.Millisecond))
	still := probe(t, nc, "full and still", rig.Size(2*time.Second, 10*time.Second), nil)

	begin = time.Now()
	drop(t, nc, lost)
	t.Logf("%d turns removed in %v", lost, time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	repaired := make(chan struct{})
	go func() {
		defer close(repaired)
		await(t, "every lane to have a turn", func() bool { return missing(t, js) == 0 })
	}()
	sweeping := probe(t, nc, "during the sweep", 0, repaired)
	t.Logf("every lane has a turn again after %v", time.Since(begin).Round(time.Millisecond))
	report("swept")
	await(t, "the worker to say that it swept", func() bool { return len(sweeps(t, h.Proc.Log)) > 0 })
	for _, s := range sweeps(t, h.Proc.Log) {
		t.Log(s)
	}
	t.Logf("publish p99 beside idle: %.1f full and still, %.1f during the audit, %.1f during the sweep",
		ratio(still, idle), ratio(during, idle), ratio(sweeping, idle))
	if left := missing(t, js); left != 0 {
		t.Errorf("%d lanes have no turn", left)
	}
}

// latency is of single publishes that wait for their answer.
type latency struct{ p50, p99 time.Duration }

func ratio(a, b latency) float64 { return a.p99.Seconds() / b.p99.Seconds() }

// probe publishes a job to a new lane every few milliseconds, for a while or until done is closed.
func probe(t *testing.T, nc *nats.Conn, name string, span time.Duration, done <-chan struct{}) latency {
	t.Helper()
	var took []time.Duration
	var over <-chan time.Time
	if span > 0 {
		over = time.After(span)
	}
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for {
		begin := time.Now()
		if _, err := nc.Request(fmt.Sprintf("jobs.%s.probe.%s-%d", queue, strings.ReplaceAll(name, " ", "-"), len(took)), nil, time.Minute); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
		select {
		case <-every.C:
			continue
		case <-over:
		case <-done:
		}
		slices.Sort(took)
		l := latency{took[len(took)/2], took[len(took)*99/100]}
		t.Logf("publish, %s: p50 %v, p99 %v, of %d", name, l.p50.Round(time.Microsecond), l.p99.Round(time.Microsecond), len(took))
		return l
	}
}

// await polls until something holds. It may be called from any goroutine.
func await(t *testing.T, what string, ok func() bool) {
	end := time.Now().Add(30 * time.Minute)
	for !ok() {
		if time.Now().After(end) {
			t.Errorf("waited too long for %s", what)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func auditLeft(t *testing.T, js jetstream.JetStream) uint64 {
	c, err := js.Consumer(t.Context(), queue.JobsStream(), subjects.AuditConsumer)
	if err != nil {
		t.Error(err)
		return 0
	}
	// What was published within the last seconds, by the probe, is still too young.
	i := c.CachedInfo()
	const young = 2000
	if left := i.NumPending + uint64(i.NumAckPending); left > young {
		return left
	}
	return 0
}

// missing is how many lanes have no turn, but for those that were published this very moment.
func missing(t *testing.T, js jetstream.JetStream) int {
	turns, err := js.Stream(t.Context(), queue.TurnsStream())
	if err == nil {
		var jobs jetstream.Stream
		if jobs, err = js.Stream(t.Context(), queue.JobsStream()); err == nil {
			const moment = 2
			left := int(jobs.CachedInfo().State.NumSubjects) - int(turns.CachedInfo().State.Msgs)
			if left <= moment {
				return 0
			}
			return left
		}
	}
	t.Error(err)
	return 0
}

// drop removes the first turns of the queue, many at once.
func drop(t *testing.T, nc *nats.Conn, n int) {
	t.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 32 {
		wg.Go(func() {
			for seq := range next {
				body := fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, seq)
				if _, err := nc.Request("$JS.API.STREAM.MSG.DELETE."+queue.TurnsStream(), body, time.Minute); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for seq := 1; seq <= n; seq++ {
		next <- seq
	}
	close(next)
	wg.Wait()
}

// sweeps are what the worker says of its sweeps.
func sweeps(t *testing.T, log string) (said []string) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		var l struct {
			Message, Why string
			Lanes        int
			Took         float64 // milliseconds
		}
		if json.Unmarshal(in.Bytes(), &l) == nil && l.Message == "swept" {
			said = append(said, fmt.Sprintf("swept %d lanes in %.1f s: %s", l.Lanes, l.Took/1000, l.Why))
		}
	}
	return said
}

// resident is a process's resident memory in bytes; 0 when it cannot be read.
func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// tree is the resident memory of a process and of all that it started.
func tree(pid int) int64 {
	sum := resident(pid)
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, thread := range threads {
		text, _ := os.ReadFile(thread)
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += tree(n)
			}
		}
	}
	return sum
}
