package rights

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams/rights"
)

const (
	publisher = rights.Publisher
	viewer    = rights.Viewer
	worker    = rights.Worker
	operator  = rights.Operator
)

// attempts are subjects, and who may publish on them. Everybody else is refused.
var attempts = []struct {
	subject string
	may     []rights.Role
}{
	{"jobs.ci.build.1", []rights.Role{publisher, worker, operator}},
	{"turns.ci.build.1", []rights.Role{worker, operator}},
	{"claims.ci.build.1", []rights.Role{worker, operator}},
	{"dead.ci.build.1", []rights.Role{worker, operator}},
	{"history.ci.build.1", []rights.Role{worker, operator}},
	{"schedule.ci.nightly", []rights.Role{worker, operator}},
	{"due.ci.build.1", nil},
	{"results.ci.build.1", []rights.Role{worker, operator}},
	{"$KV.WORKERS.somebody", []rights.Role{worker, operator}},
	{"$KV.LANES_ci.build.1", []rights.Role{operator}},
	{"$KV.LANES_ci.=queue", []rights.Role{operator}},
	{"$KV.LANES_ci.=limit.queue", []rights.Role{worker, operator}},
	{"control.w1", []rights.Role{operator}},
	// Taking turns, and answering them.
	{"$JS.API.CONSUMER.MSG.NEXT.TURNS_ci.workers", []rights.Role{worker}},
	{"$JS.API.CONSUMER.MSG.NEXT.JOBS_ci.audit", []rights.Role{worker}},
	{"$JS.API.CONSUMER.MSG.NEXT.SCHEDULE_ci.due", []rights.Role{worker, operator}},
	{"$JS.ACK.TURNS_ci.workers.1.1.1.1.0", []rights.Role{worker}},
	{"$JS.ACK.JOBS_ci.audit.1.1.1.1.0", []rights.Role{worker}},
	// Reading.
	{"$JS.API.STREAM.INFO.JOBS_ci", []rights.Role{viewer, worker, operator}},
	{"$JS.API.STREAM.MSG.GET.JOBS_ci", []rights.Role{viewer, worker, operator}},
	{"$JS.API.DIRECT.GET.JOBS_ci", []rights.Role{viewer, worker, operator}},
	{"$JS.API.DIRECT.GET.JOBS_ci.jobs.ci.build.1", []rights.Role{viewer, worker, operator}},
	{"$JS.API.STREAM.MSG.GET.DEAD_ci", []rights.Role{viewer, operator}},
	{"$JS.API.STREAM.LIST", []rights.Role{viewer, operator}},
	{"$JS.API.CONSUMER.CREATE.JOBS_ci.mine", []rights.Role{viewer, worker, operator}},
	{"$JS.API.CONSUMER.CREATE.TURNS_ci.mine", []rights.Role{operator}},
	// Changing, removing, saving.
	{"$JS.API.CONSUMER.CREATE.JOBS_ci.audit", []rights.Role{operator}},
	{"$JS.API.CONSUMER.CREATE.JOBS_ci.audit.jobs.ci.build.1", []rights.Role{operator}},
	{"$JS.API.CONSUMER.DELETE.JOBS_ci.audit", []rights.Role{operator}},
	{"$JS.API.CONSUMER.DELETE.TURNS_ci.workers", []rights.Role{operator}},
	{"$JS.API.CONSUMER.PAUSE.TURNS_ci.workers", []rights.Role{operator}},
	{"$JS.API.STREAM.MSG.DELETE.JOBS_ci", []rights.Role{worker, operator}},
	{"$JS.API.STREAM.MSG.DELETE.CLAIMS_ci", []rights.Role{worker, operator}},
	{"$JS.API.STREAM.MSG.DELETE.DEAD_ci", []rights.Role{operator}},
	{"$JS.API.STREAM.MSG.DELETE.KV_WORKERS", nil},
	{"$JS.API.STREAM.CREATE.JOBS_ci", []rights.Role{operator}},
	{"$JS.API.STREAM.UPDATE.JOBS_ci", []rights.Role{operator}},
	{"$JS.API.STREAM.DELETE.JOBS_ci", []rights.Role{operator}},
	{"$JS.API.STREAM.DELETE.CLAIMS_ci", []rights.Role{operator}},
	{"$JS.API.STREAM.DELETE.KV_WORKERS", nil},
	{"$JS.API.STREAM.SNAPSHOT.JOBS_ci", []rights.Role{operator}},
	{"$JS.API.STREAM.RESTORE.JOBS_ci", []rights.Role{operator}},
	{"$JS.SNAPSHOT.ACK.JOBS_ci.x", []rights.Role{operator}},
	// What nobody does while jobs run.
	{"$JS.API.STREAM.PURGE.JOBS_ci", nil},
	{"$JS.API.STREAM.PURGE.TURNS_ci", nil},
	{"$JS.API.STREAM.PURGE.CLAIMS_ci", nil},
	{"$JS.API.STREAM.PURGE.KV_WORKERS", nil},
	// Other queues, other streams, the server itself.
	{"jobs.mail.to.1", nil},
	{"jobs.ci.build.1.2", []rights.Role{worker, operator}},
	{"claims.mail.to.1", nil},
	{"turns.mail.to.1", nil},
	{"results.mail.to.1", nil},
	{"$JS.ACK.TURNS_mail.workers.1.1.1.1.0", nil},
	{"$JS.API.CONSUMER.MSG.NEXT.TURNS_mail.workers", nil},
	{"$JS.API.STREAM.MSG.GET.JOBS_mail", nil},
	{"$JS.API.STREAM.MSG.DELETE.JOBS_mail", nil},
	{"$JS.API.STREAM.DELETE.JOBS_mail", nil},
	{"$JS.API.STREAM.CREATE.OTHER", nil},
	{"$SYS.REQ.SERVER.PING", nil},
	{"orders.new", nil},
}

var listening = []struct {
	subject string
	may     []rights.Role
}{
	{"_INBOX.abc.>", rights.Roles()},
	{"results.ci.>", []rights.Role{publisher, operator}},
	{"results.mail.>", nil},
	{"control.w1", []rights.Role{worker}},
	{"jobs.ci.>", nil},
	{"turns.ci.>", nil},
	{"claims.>", nil},
	{"$KV.>", nil},
	{"$JS.>", nil},
	{"$SYS.>", nil},
	{">", nil},
}

// Each attempt on a connection of its own: a refusal is told apart from one before.
func TestAttempts(t *testing.T) {
	s := natstest.Start(t, natstest.Config(printed(t, "all", "--queue", "ci")))
	for _, role := range rights.Roles() {
		t.Run(string(role), func(t *testing.T) {
			for _, a := range attempts {
				nc := userConn(t, s, user(role))
				refused := refusedNow(t, nc, func() error { return nc.Publish(a.subject, []byte("not json")) })
				if refused == slices.Contains(a.may, role) {
					t.Errorf("publish on %s: refused %v", a.subject, refused)
				}
				nc.Close()
			}
			for _, a := range listening {
				nc := userConn(t, s, user(role))
				refused := refusedNow(t, nc, func() error { _, err := nc.SubscribeSync(a.subject); return err })
				if refused == slices.Contains(a.may, role) {
					t.Errorf("subscribe to %s: refused %v", a.subject, refused)
				}
				nc.Close()
			}
		})
	}
}

// Who asks for what its role may not do is told so by the command, and not only that nobody answered.
func TestCommandsSayWhatIsRefused(t *testing.T) {
	s := natstest.Start(t, natstest.Config(printed(t, "all", "--queue", "ci")))
	if _, err := coordinator(t, s, user(operator)).Run(within(t), "queue", "add", "ci"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		role rights.Role
		what string
		args []string
	}{
		{publisher, "$JS.API.", []string{"queue", "info", "ci"}},
		{publisher, "jobs.mail.to.1", []string{"job", "publish", "mail", "to.1"}},
		{viewer, "jobs.ci.build.1", []string{"job", "publish", "ci", "build.1"}},
		{operator, "$JS.API.STREAM.INFO.JOBS_mail", []string{"queue", "info", "mail"}},
	} {
		t.Run(string(c.role)+" "+c.what, func(t *testing.T) {
			t.Parallel() // each waits for an answer that does not come
			at := coordinator(t, s, user(c.role))
			cmd := exec.CommandContext(within(t), at.Binary, c.args...)
			cmd.Env = append(os.Environ(), "NATS_URL="+at.URL, "NATS_CONTEXT=", "NATS_TIMEOUT=10s")
			refuses(t, cmd, c.what, "hint: what each role may do is printed by: coordinator auth show")
		})
	}
}

// Within its rights a publisher can forge headers and name any subject for the answer. Nothing of the queue is touched.
func TestPublishersForgeries(t *testing.T) {
	s := natstest.Start(t, natstest.Config(printed(t, "all", "--queue", "ci")))
	if _, err := coordinator(t, s, user(operator)).Run(within(t), "queue", "add", "ci"); err != nil {
		t.Fatal(err)
	}
	nc := userConn(t, s, user(publisher))
	ask := func(header nats.Header) (code int) {
		t.Helper()
		m, err := nc.RequestMsgWithContext(within(t), &nats.Msg{Subject: "jobs.ci.build.1", Header: header, Data: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Error struct {
				Code int `json:"err_code"`
			} `json:"error"`
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Error.Code
	}
	stored := 0
	for name, header := range map[string]nats.Header{
		"plain": nil, "purge": {"Nats-Rollup": {"all"}}, "purge of the lane": {"Nats-Rollup": {"sub"}}, "ttl": {"Nats-TTL": {"1s"}},
		"schedule": {"Nats-Schedule": {"@every 1s"}, "Nats-Schedule-Target": {"jobs.ci.build.2"}},
		"counter":  {"Nats-Incr": {"1"}}, "sequence": {"Nats-Sequence": {"1"}, "Nats-Stream": {"CLAIMS_ci"}},
	} {
		code := ask(header)
		if harmless := name == "plain" || name == "sequence"; (code == 0) != harmless {
			t.Errorf("%s: the server's code is %d", name, code)
		}
		if code == 0 {
			stored++
		}
	}
	for _, reply := range []string{"claims.ci.build.1", "turns.ci.build.7", "$KV.WORKERS.somebody", "dead.ci.build.1", "$JS.API.STREAM.PURGE.JOBS_ci"} {
		if err := nc.PublishRequest("jobs.ci.build.2", reply, []byte("x")); err != nil {
			t.Fatal(err)
		}
		stored++
	}
	if code := ask(nil); code != 0 {
		t.Fatal(code)
	}
	stored++
	var state map[string]int
	eventually(t, "a copy of each lane's first job", func() bool { // it comes a moment later
		state = streamMessages(t, s)
		return state["TURNS_ci"] >= 2
	})
	for stream, want := range map[string]int{"JOBS_ci": stored, "TURNS_ci": 2, "CLAIMS_ci": 0, "DEAD_ci": 0, "KV_WORKERS": 0} {
		if state[stream] != want {
			t.Errorf("%s holds %d messages, not %d", stream, state[stream], want)
		}
	}
}

// Why publishers have an account of their own: with --shared the server's answer goes where the publisher says.
func TestSharedPublishersCanForge(t *testing.T) {
	s := natstest.Start(t, natstest.Config(printed(t, "all", "--queue", "ci", "--shared")))
	if _, err := coordinator(t, s, user(operator)).Run(within(t), "queue", "add", "ci"); err != nil {
		t.Fatal(err)
	}
	nc := userConn(t, s, user(publisher))
	if err := nc.PublishRequest("jobs.ci.build.2", "claims.ci.build.1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.RequestWithContext(within(t), "jobs.ci.build.2", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the answer among the claims (without it the accounts may be joined, and docs/security.md says otherwise)", func() bool {
		return streamMessages(t, s)["CLAIMS_ci"] > 0
	})
}

// streamMessages counts what each stream holds.
func streamMessages(t *testing.T, s *natstest.Server) map[string]int {
	t.Helper()
	nc := userConn(t, s, user(viewer))
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, name := range []string{"JOBS_ci", "TURNS_ci", "CLAIMS_ci", "DEAD_ci", "KV_WORKERS"} {
		stream, err := js.Stream(within(t), name)
		if err != nil {
			t.Fatal(name, err)
		}
		counts[name] = int(stream.CachedInfo().State.Msgs)
	}
	return counts
}
