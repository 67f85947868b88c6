package deployments

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/operator"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/worker"
)

const ci = subjects.Queue("ci")

// Each role can do its work, and only that: the operator makes the queue, the publisher publishes, the worker works, the
// viewer looks on. Nothing that they do is refused on the way.
func TestRolesCanDoTheirWork(t *testing.T) {
	rolesCanDoTheirWork(t, oneServer(t), streams.DefaultPolicy())
}

func rolesCanDoTheirWork(t *testing.T, s *server.Server, policy streams.Policy) {
	var mu sync.Mutex
	var refused []string
	note := func(who string) func(error) {
		return func(err error) {
			mu.Lock()
			defer mu.Unlock()
			refused = append(refused, who+": "+err.Error())
		}
	}
	policy.Backoff.Base = 10 * time.Millisecond
	policy.MaxAttempts = 2
	_, opJS := as(t, s, "operator", note("operator"))
	if err := streams.CheckServer(within(t), opJS.Conn()); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.CreateQueue(within(t), opJS, ci, policy); err != nil {
		t.Fatal(err)
	}

	workConn, _ := as(t, s, "worker-ci", note("worker"))
	if err := streams.CheckServer(within(t), workConn); err != nil {
		t.Fatal(err)
	}
	var seen sync.Map
	w, err := worker.Start(within(t), worker.Options{
		Conn: workConn, Queues: []string{"ci"}, Slots: 4,
		Handlers: map[string]worker.Handler{worker.AnyKind: func(_ context.Context, j *worker.Job) error {
			if string(j.Data) == "bad" {
				return errors.New("asked to fail")
			}
			seen.Store(j.Entity, string(j.Data))
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}

	swept := sweeper(t, s, note("sweeping worker"))

	pub, _ := as(t, s, "publisher-ci", note("publisher"))
	publish := func(id, body string) {
		e, err := subjects.NewEntity("build", id)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := streams.Publish(within(t), pub, ci, e, streams.PublishOptions{Data: []byte(body), IfIdle: id == "1"}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		publish(fmt.Sprint(i), "good")
	}
	publish("bad", "bad")
	jobs := func(want uint64, dead int) func() bool {
		return func() bool {
			info, err := streams.QueueInfo(within(t), opJS, ci)
			return err == nil && info.Jobs == want && int(info.Dead) == dead
		}
	}
	eventually(t, "all jobs done, one dead", jobs(0, 1))
	if body, _ := seen.Load("build.7"); body != "good" {
		t.Errorf("job of build.7: %v", body)
	}

	_, viewJS := as(t, s, "viewer-ci", note("viewer"))
	info, err := streams.QueueInfo(within(t), viewJS, ci)
	if err != nil || info.Dead != 1 || info.Workers != 2 || len(info.Drift) != 0 {
		t.Errorf("the viewer sees %+v, %v", info, err)
	}
	if _, err := streams.ListJobs(within(t), viewJS, ci, streams.JobFilter{}); err != nil {
		t.Error(err)
	}
	dead, err := streams.ListDead(within(t), viewJS, ci, streams.DeadFilter{})
	if err != nil || len(dead) != 1 {
		t.Errorf("dead: %v, %v", dead, err)
	}
	if _, _, err := streams.GetDead(within(t), viewJS, ci, dead[0].Seq); err != nil {
		t.Error(err)
	}

	if _, err := streams.RemoveDead(within(t), opJS, ci, streams.DeadFilter{Seqs: []uint64{dead[0].Seq}}); err != nil {
		t.Error(err)
	}
	if _, err := operator.PurgeQueue(within(t), opJS, ci); err != nil {
		t.Error(err)
	}
	eventually(t, "a sweep", swept)
	if err := w.Stop(within(t)); err != nil {
		t.Error(err)
	}
	if _, _, err := streams.EditQueue(within(t), opJS, ci, func(p *streams.Policy) { p.MaxAttempts = 3 }); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(refused) > 0 {
		slices.Sort(refused)
		t.Errorf("refused on the way:\n%s", strings.Join(slices.Compact(refused), "\n"))
	}
}

// sweeper is a second worker that walks over all lanes all the time, which others do every few minutes; swept says
// whether it did.
func sweeper(t *testing.T, s *server.Server, refused func(error)) (swept func() bool) {
	t.Helper()
	var done atomic.Bool
	log := zerolog.New(io.Discard).Hook(zerolog.HookFunc(func(_ *zerolog.Event, _ zerolog.Level, text string) {
		if text == "swept" {
			done.Store(true)
		}
	}))
	nc, _ := as(t, s, "worker-ci", refused)
	e, err := engine.Start(within(t), engine.Options{
		Conn: nc, Queues: []subjects.Queue{ci}, Worker: "sweeper", Runner: noRunner{}, Log: log, SweepEvery: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Stop(context.WithoutCancel(t.Context()), expired()) })
	if _, err := e.Ready(within(t)); err != nil { // else it is seen when it is no worker yet
		t.Fatal(err)
	}
	return done.Load
}

// noRunner runs nothing: its worker has no slots.
type noRunner struct{}

func (noRunner) Serves(string) bool { return false }

func (noRunner) Run(context.Context, *engine.Job) lane.Outcome {
	return lane.Outcome{Cause: lane.CauseInterrupted, NotStarted: true}
}

// What a role must not do is refused by the server.
func TestRolesCannotDoMore(t *testing.T) {
	s := oneServer(t)
	_, opJS := as(t, s, "operator", nil)
	for _, q := range []subjects.Queue{ci, "mail"} {
		if _, err := streams.CreateQueue(within(t), opJS, q, streams.DefaultPolicy()); err != nil {
			t.Fatal(err)
		}
	}
	everybody := []string{"publisher-ci", "worker-ci", "viewer-ci"}
	for subject, users := range map[string][]string{
		"turns.ci.build.1":                           {"publisher-ci", "viewer-ci"},
		"claims.ci.build.1":                          {"publisher-ci", "viewer-ci"},
		"dead.ci.build.1":                            {"publisher-ci", "viewer-ci"},
		"schedule.ci.a":                              {"publisher-ci", "viewer-ci"},
		"jobs.ci.build.1":                            {"viewer-ci"},
		"jobs.mail.to.1":                             everybody,
		"turns.mail.to.1":                            everybody,
		"claims.mail.to.1":                           everybody,
		"$JS.ACK.TURNS_ci.workers.1.1.1.1.0":         {"publisher-ci", "viewer-ci"},
		"$JS.ACK.TURNS_mail.workers.1.1.1.1.0":       everybody,
		"$JS.API.CONSUMER.MSG.NEXT.TURNS_ci.workers": {"publisher-ci", "viewer-ci"},
		"$JS.API.CONSUMER.MSG.NEXT.JOBS_ci.audit":    {"publisher-ci", "viewer-ci"},
		"$JS.API.CONSUMER.CREATE.TURNS_ci.mine":      everybody,
		"$JS.API.CONSUMER.DELETE.TURNS_ci.workers":   everybody,
		"$JS.API.CONSUMER.CREATE.JOBS_ci.audit":      everybody,
		"$JS.API.CONSUMER.DELETE.JOBS_ci.audit":      everybody,
		"$JS.API.STREAM.MSG.DELETE.JOBS_ci":          {"publisher-ci", "viewer-ci"},
		"$JS.API.STREAM.MSG.DELETE.JOBS_mail":        everybody,
		"$JS.API.STREAM.MSG.GET.JOBS_ci":             {"publisher-ci"},
		"$JS.API.STREAM.MSG.GET.JOBS_mail":           everybody,
		"$JS.API.STREAM.PURGE.JOBS_ci":               append([]string{"operator"}, everybody...),
		"$JS.API.STREAM.PURGE.TURNS_ci":              append([]string{"operator"}, everybody...),
		"$JS.API.STREAM.PURGE.CLAIMS_ci":             append([]string{"operator"}, everybody...),
		"$JS.API.STREAM.DELETE.JOBS_ci":              everybody,
		"$JS.API.STREAM.UPDATE.JOBS_ci":              everybody,
		"$JS.API.STREAM.CREATE.JOBS_x":               everybody,
		"$KV.WORKERS.somebody":                       {"publisher-ci", "viewer-ci"},
		"$KV.LANES_ci.build.1":                       everybody,
		"$SYS.REQ.SERVER.PING":                       append([]string{"operator"}, everybody...),
	} {
		for _, user := range users {
			nc, _ := as(t, s, user, nil)
			if err := nc.Publish(subject, []byte("{}")); err != nil {
				t.Fatal(err)
			}
			if err := nc.FlushWithContext(within(t)); err != nil {
				t.Fatal(err)
			}
			if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s may publish on %s: %v", user, subject, err)
			}
			nc.Close()
		}
	}
	for subject, users := range map[string][]string{
		"jobs.>": append([]string{"operator"}, everybody...), "turns.>": everybody, ">": everybody, "$JS.>": everybody,
	} {
		for _, user := range users {
			nc, _ := as(t, s, user, nil)
			if _, err := nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			if err := nc.FlushWithContext(within(t)); err != nil {
				t.Fatal(err)
			}
			if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s may subscribe to %s: %v", user, subject, err)
			}
			nc.Close()
		}
	}
}

// A publisher chooses where JetStream answers. In an account of its own that reaches nothing of the queue, and what the
// answers to others say is not heard there.
func TestPublishersAnswersStayWithThem(t *testing.T) {
	s := oneServer(t)
	opConn, opJS := as(t, s, "operator", nil)
	if _, err := streams.CreateQueue(within(t), opJS, ci, streams.DefaultPolicy()); err != nil {
		t.Fatal(err)
	}
	pub, _ := as(t, s, "publisher-ci", nil)
	spy, err := pub.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"claims.ci.build.1", "turns.ci.build.2", "$KV.WORKERS.somebody", "dead.ci.build.3"} {
		if err := pub.PublishRequest("jobs.ci.build.9", reply, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	// The fifth is answered when the four before it are stored and answered: one connection's messages keep their order.
	m, err := pub.RequestWithContext(within(t), "jobs.ci.build.9", []byte("x"))
	if err != nil || !strings.Contains(string(m.Data), `"seq":5`) {
		t.Fatalf("%v, %v", m, err)
	}
	for stream, subject := range map[string]string{
		ci.ClaimsStream(): "claims.ci.build.1", ci.TurnsStream(): "turns.ci.build.2", subjects.WorkersStream: "$KV.WORKERS.somebody",
		ci.DeadStream(): "dead.ci.build.3",
	} {
		if _, err := streams.LastMessage(within(t), opJS, stream, subject); err == nil {
			t.Errorf("a publisher's reply subject reached %s", subject)
		}
	}
	if _, err := opConn.RequestWithContext(within(t), "$JS.API.INFO", nil); err != nil {
		t.Fatal(err)
	}
	if err := pub.FlushWithContext(within(t)); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := spy.NextMsgWithContext(expired())
		if err != nil {
			break
		}
		if !strings.Contains(string(m.Data), `"stream":"JOBS_ci"`) {
			t.Errorf("a publisher heard %s", m.Data)
		}
	}
}

// expired is a context for taking what is there already.
func expired() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	time.AfterFunc(time.Second, cancel)
	return ctx
}
