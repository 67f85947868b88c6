package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/subjects"
)

// publishers publish jobs side by side, each one job after the other: it sends a job with an id until JetStream answers
// that it is stored, and only then the next one. Some entities are hot: all publishers publish to them, now and then many
// jobs at once, so that their lanes get deep.
type publishers struct {
	load load
	ops  atomic.Int64
	mu   sync.Mutex
	all  []Published
	lost []int // ops that were never answered
	wait sync.WaitGroup
	stop context.CancelFunc
}

// load is what is published.
type load struct {
	// Publishers, and jobs per second of all of them.
	publishers int
	rate       float64
	// hot and wide are how many entities there are of either sort.
	hot, wide int
	// long is the part of the jobs that take longer than a claim stands unwritten.
	long float64
	// slow multiplies what jobs take.
	slow int
	// first is the number before the first job's.
	first int
}

// start begins to publish, until stop; each publisher has a connection of its own.
func (l load) start(r *rig.Rig, seed uint64) *publishers {
	p := &publishers{load: l}
	p.ops.Store(int64(l.first))
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	for i := range l.publishers {
		nc := r.Conn()
		rnd := rand.New(rand.NewPCG(seed, 1000+uint64(i)))
		p.wait.Go(func() { p.run(ctx, nc, rnd) })
	}
	return p
}

func (p *publishers) run(ctx context.Context, nc *nats.Conn, rnd *rand.Rand) {
	pause := time.Duration(float64(p.load.publishers) / p.load.rate * float64(time.Second))
	for ctx.Err() == nil {
		burst, hot := 1, rnd.IntN(3) == 0 && p.load.hot > 0
		entity := fmt.Sprintf("wide.%d", rnd.IntN(p.load.wide))
		if hot {
			entity = fmt.Sprintf("hot.%d", rnd.IntN(p.load.hot))
			if rnd.IntN(40) == 0 {
				burst = 40
			}
		}
		for range burst {
			p.publish(nc, entity, p.load.takes(rnd, hot))
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(float64(pause) * 2 * rnd.Float64())):
		}
	}
}

// takes is how long a job takes, in milliseconds. Those of hot entities are short, so that a deep lane is through soon.
func (l load) takes(rnd *rand.Rand, hot bool) int {
	n := rnd.Float64()
	switch {
	case n < l.long:
		return 11_000 + rnd.IntN(3000)
	case hot:
		return rnd.IntN(30) * l.slow
	case n < .05:
		return 1000 + rnd.IntN(2000)
	case n < .3:
		return 50 + rnd.IntN(350)
	default:
		return rnd.IntN(30)
	}
}

// answerBound is how long a publisher goes on asking: well beyond any fault.
const answerBound = 3 * time.Minute

func (p *publishers) publish(nc *nats.Conn, entity string, ms int) {
	pub := Published{Op: int(p.ops.Add(1)), Entity: entity, Call: record.Now()}
	m := message(rig.Job{Op: pub.Op, Entity: entity, MS: ms})
	for end := time.Now().Add(answerBound); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		pub.Sent++
		if pub.Sent%3 == 0 {
			_ = nc.ForceReconnect() // its server may be cut off from the others; fails only when it is closed
		}
		if pub.Seq = ask(nc, m); pub.Seq != 0 {
			pub.Ack = record.Now()
			p.mu.Lock()
			p.all = append(p.all, pub)
			p.mu.Unlock()
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = append(p.lost, pub.Op)
}

// message is a job under an id of its own.
func message(j rig.Job) *nats.Msg {
	e, err := subjects.ParseEntity(j.Entity)
	if err != nil {
		panic(err) // made of letters and digits
	}
	body, err := json.Marshal(j)
	if err != nil {
		panic(err)
	}
	m := nats.NewMsg(subjects.Queue(rig.Queue).JobSubject(e))
	m.Header.Set(subjects.HeaderMsgID, fmt.Sprintf("op-%d", j.Op))
	m.Data = body
	return m
}

// store publishes a job, again and again until that is answered, and has the checker expect it.
func store(t *testing.T, r *rig.Rig, nc *nats.Conn, j rig.Job) {
	t.Helper()
	r.Expect(record.Job{Op: j.Op, Entity: j.Entity})
	end := time.Now().Add(rig.Bound)
	for m := message(j); ask(nc, m) == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("job %d is not stored", j.Op)
		}
	}
}

// ask sends a job once and returns the sequence under which it is stored, 0 when that was not answered.
func ask(nc *nats.Conn, m *nats.Msg) uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	answer, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0
	}
	var stored struct {
		Seq   uint64          `json:"seq"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(answer.Data, &stored) != nil || len(stored.Error) > 0 {
		return 0
	}
	return stored.Seq
}

// end stops publishing and returns what was published.
func (p *publishers) end() (all []Published, unanswered []int) {
	p.stop()
	p.wait.Wait()
	return p.all, p.lost
}
