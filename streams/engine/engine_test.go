package engine

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

func TestMain(m *testing.M) {
	natstest.Main()
	leaks.VerifyTestMain(m, natstest.LeakOptions()...)
}

const ci = subjects.Queue("ci")

// recorder is a Runner that notes what runs beside what.
type recorder struct {
	mu      sync.Mutex
	running map[string]int
	order   map[string][]uint64
	bad     []string
	ran     chan uint64
	work    func(ctx context.Context, j *Job) lane.Outcome
}

func newRecorder(work func(ctx context.Context, j *Job) lane.Outcome) *recorder {
	if work == nil {
		work = func(context.Context, *Job) lane.Outcome { return lane.Outcome{} }
	}
	return &recorder{running: map[string]int{}, order: map[string][]uint64{}, ran: make(chan uint64, 1<<20), work: work}
}

func (r *recorder) Serves(kind string) bool { return kind != "unserved" }

func (r *recorder) Run(ctx context.Context, j *Job) lane.Outcome {
	entity := j.Entity.String()
	r.mu.Lock()
	r.running[entity]++
	if r.running[entity] > 1 {
		r.bad = append(r.bad, fmt.Sprintf("%s: job %d runs beside another", entity, j.Seq))
	}
	if o := r.order[entity]; len(o) > 0 && o[len(o)-1] > j.Seq {
		r.bad = append(r.bad, fmt.Sprintf("%s: job %d after %d", entity, j.Seq, o[len(o)-1]))
	}
	r.order[entity] = append(r.order[entity], j.Seq)
	r.mu.Unlock()
	out := r.work(ctx, j)
	r.mu.Lock()
	r.running[entity]--
	r.mu.Unlock()
	r.ran <- j.Seq
	return out
}

// fromOne: the queue was made anew, and its jobs count from one again.
func (r *recorder) fromOne() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.order)
}

func (r *recorder) wait(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for i := range n {
		select {
		case <-r.ran:
		case <-timeout:
			t.Fatalf("%d of %d jobs ran", i, n)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.bad {
		t.Error(b)
	}
}

// connect gives a connection as a worker has it.
func connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := streams.Connect(t.Context(), streams.Options{URL: url, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func jetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func makeQueue(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js := jetStream(t, nc)
	p := streams.DefaultPolicy()
	p.Lease = 6 * time.Second
	p.Backoff.Base = 50 * time.Millisecond
	if _, err := streams.CreateQueue(t.Context(), js, ci, p); err != nil {
		t.Fatal(err)
	}
	return js
}

func startEngine(t testing.TB, url string, r Runner, slots int) *Engine {
	t.Helper()
	e, err := Start(t.Context(), Options{
		Conn: connect(t, url), Queues: []subjects.Queue{ci}, Worker: "w-" + streams.NewSessionID()[:6], Slots: slots, Runner: r,
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.InfoLevel),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func stop(t testing.TB, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	drain, cancelDrain := context.WithTimeout(ctx, 5*time.Second)
	defer cancelDrain()
	if err := e.Stop(ctx, drain); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func publish(t testing.TB, nc *nats.Conn, entity string, n int) {
	t.Helper()
	e, err := subjects.ParseEntity(entity)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := nc.Request(ci.JobSubject(e), []byte("{}"), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

func empty(t testing.TB, js jetstream.JetStream, stream string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if s.CachedInfo().State.Msgs == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s still has %d messages", stream, s.CachedInfo().State.Msgs)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestJobsRunInOrderAndLeaveNothing(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	rec := newRecorder(nil)
	a, b := startEngine(t, srv.URL(), rec, 8), startEngine(t, srv.URL(), rec, 8)
	for i := range 20 {
		publish(t, nc, fmt.Sprintf("build.%d", i), 10)
	}
	rec.wait(t, 200)
	empty(t, js, ci.JobsStream())
	empty(t, js, ci.TurnsStream())
	stop(t, a)
	stop(t, b)
}
