package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/rig"
)

// A leader that was just elected may show a message whose delete its predecessor has confirmed: a holder has to wait
// with some of its reads for that (ReadLag in streams/lane). Measured under load: how long after the confirmed delete the
// message was last shown. A number, and no more; the holder's wait must be longer.
func TestReadsAfterAnElection(t *testing.T) {
	t.Parallel()
	r := rig.NewCluster(t, 3, "--replicas", "3")
	stop, cancel := context.WithCancel(t.Context())
	var loaders sync.WaitGroup
	for i := range 4 { // others publish and delete all the time
		nc := r.Conn()
		loaders.Go(func() {
			for n := 0; stop.Err() == nil; n++ {
				seq := ask(nc, &nats.Msg{Subject: fmt.Sprintf("jobs.q.load.%d-%d", i, n), Data: make([]byte, 500)})
				if seq != 0 {
					remove(stop, nc, seq)
				}
			}
		})
	}
	nc, every, jobs := r.Conn(), r.Everywhere(), rig.Rafts()[0]
	led := 0
	var longest time.Duration
	shown, rounds := 0, rig.Size(4, 60)
	for i := range rounds {
		subject := fmt.Sprintf("jobs.q.lag.%d", i)
		seq := uint64(0)
		for seq == 0 {
			seq = ask(nc, &nats.Msg{Subject: subject})
		}
		// The next leader is stopped for a moment, so that it has much to catch up with; every other time.
		was := r.Leader(stop, every, jobs)
		if was < 0 {
			continue
		}
		next := (was + 1) % 3
		if i%2 == 0 {
			_ = syscall.Kill(r.Servers[next].PID(), syscall.SIGSTOP) // our own child
			time.Sleep(300 * time.Millisecond)
		}
		for end := time.Now().Add(rig.Bound); !remove(stop, nc, seq); { // "no message found" counts: the first answer may be lost
			if time.Now().After(end) {
				_ = syscall.Kill(r.Servers[next].PID(), syscall.SIGCONT)
				t.Fatal("the message cannot be deleted")
			}
		}
		at := time.Now()
		_ = syscall.Kill(r.Servers[next].PID(), syscall.SIGCONT)
		ctx, end := context.WithTimeout(stop, time.Second)
		if err := r.StepDown(ctx, every, jobs, next); err != nil {
			t.Logf("step-down %d: %v", i, err)
		}
		end()
		var lag time.Duration
		for quiet := 0; quiet < 200 && time.Since(at) < 10*time.Second; {
			found, ok := has(stop, nc, subject)
			switch {
			case found:
				lag, quiet = time.Since(at), 0
			case ok:
				quiet++
			}
		}
		if r.Leader(stop, every, jobs) != was {
			led++
		}
		if lag > 0 {
			shown++
		}
		longest = max(longest, lag)
	}
	cancel()
	loaders.Wait()
	t.Logf("%d changes of the leader: a deleted message was shown after %d of them, at the longest for %s", led, shown, longest.Round(10*time.Microsecond))
}

// remove deletes a job and says whether that is confirmed.
func remove(ctx context.Context, nc *nats.Conn, seq uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.DELETE.JOBS_q", fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, seq))
	var answer struct {
		Success bool `json:"success"`
		Error   struct {
			Code int `json:"err_code"`
		} `json:"error"`
	}
	return err == nil && json.Unmarshal(m.Data, &answer) == nil && (answer.Success || answer.Error.Code == 10043 || answer.Error.Code == 10057)
}

// has asks the leader for the first message of a subject.
func has(ctx context.Context, nc *nats.Conn, subject string) (found, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.JOBS_q", fmt.Appendf(nil, `{"seq":1,"next_by_subj":%q}`, subject))
	var answer struct {
		Message json.RawMessage `json:"message"`
		Error   struct {
			Code int `json:"err_code"`
		} `json:"error"`
	}
	if err != nil || json.Unmarshal(m.Data, &answer) != nil {
		return false, false
	}
	return len(answer.Message) > 0, answer.Error.Code == 10037
}
