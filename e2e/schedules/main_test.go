package schedules

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func TestMain(m *testing.M) { rig.Main(m) }

const queue = subjects.Queue(rig.Queue)

// shell is a pool whose jobs write a line into the file "runs" of the rig.
func shell(r *rig.Rig) fleet.Pool {
	return fleet.Pool{
		Name: "shell", Kinds: []string{"*"}, Mode: "exec", Concurrency: 4, Env: map[string]string{"RUNS": r.Path("runs")},
		Command: []string{"/bin/sh", "-c", `echo "$JOB_SEQ $JOB_ID" >> "$RUNS"`},
	}
}

// runs are the jobs that have run: ids by sequence. A job whose worker was killed may have run twice.
func runs(t *testing.T, r *rig.Rig) map[uint64]string {
	t.Helper()
	text, err := os.ReadFile(r.Path("runs"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	list := map[uint64]string{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		seq, id, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := strconv.ParseUint(seq, 10, 64)
		if !ok || err != nil {
			t.Fatalf("line %q", line)
		}
		list[n] = id
	}
	return list
}

// firing is a job that was stored: when, and for which time.
type firing struct {
	id         string
	at, stored time.Time
}

// watcher hears of each stored job by the copy of its headers that becomes its turn.
type watcher struct {
	mu     sync.Mutex
	stored map[uint64]firing
}

// watch follows the jobs of a rig, also across restarts of the server. at tells the time of one by its id and headers.
func watch(t *testing.T, r *rig.Rig, at func(id string, h nats.Header) time.Time) *watcher {
	t.Helper()
	w := &watcher{stored: map[uint64]firing{}}
	nc, err := nats.Connect(r.Server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	_, err = nc.Subscribe(queue.Filter(subjects.PrefixTurns), func(m *nats.Msg) {
		now := time.Now()
		if m.Header.Get("Nats-Stream") != queue.JobsStream() { // a turn that a worker published
			return
		}
		seq, err := strconv.ParseUint(subjects.Get(m.Header, "Nats-Sequence"), 10, 64)
		if err != nil {
			return
		}
		id := subjects.Get(m.Header, subjects.HeaderJobID)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stored[seq] = firing{id, at(id, m.Header), now}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watcher) all() map[uint64]firing {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make(map[uint64]firing, len(w.stored))
	for seq, f := range w.stored {
		list[seq] = f
	}
	return list
}

// lateness is told from when the jobs were stored.
func lateness(firings map[uint64]firing) (p50, p99, most time.Duration) {
	var late []time.Duration
	for _, f := range firings {
		late = append(late, f.stored.Sub(f.at))
	}
	if len(late) == 0 {
		return 0, 0, 0
	}
	slices.Sort(late)
	return late[len(late)/2], late[(len(late)*99-1)/100], late[len(late)-1]
}

// ask runs a command of coordinator as one who may publish schedules too, and reads what it prints.
func ask(t *testing.T, r *rig.Rig, to any, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Bound)
	defer cancel()
	admin := fleet.Coordinator{Binary: r.Admin.Binary, URL: r.Server.URL(), Mark: r.Dir}
	out, err := admin.Run(ctx, append(args, "--json")...)
	if err == nil {
		err = json.Unmarshal(out, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// awaitDone waits until nothing is scheduled and no job is there. A job that goes from the one to the other is in neither
// number if they are read in one look.
func awaitDone(t *testing.T, r *rig.Rig) {
	t.Helper()
	var info streams.Info
	until(t, "nothing is scheduled", func() bool {
		ask(t, r, &info, "queue", "info", rig.Queue)
		return info.Scheduled == 0
	})
	until(t, "no job is there", func() bool {
		ask(t, r, &info, "queue", "info", rig.Queue)
		return info.Jobs == 0
	})
}

// until waits for something that takes moments.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(rig.Bound); !reached(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, rig.Bound)
		}
	}
}

func entityOf(t *testing.T, n int) subjects.Entity {
	t.Helper()
	e, err := subjects.NewEntity("build", strconv.Itoa(n))
	if err != nil {
		t.Fatal(err)
	}
	return e
}
