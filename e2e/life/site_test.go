package life

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/probes"
)

// plenty bounds every wait for something that must happen.
const plenty = 60 * time.Second

// lease is the queue's: the shortest that there is.
const lease = 5 * time.Second

const ci = subjects.Queue("ci")

// jobScript does what its body says, and writes down what it does. What is deaf is so before it says that it runs.
const jobScript = `#!/bin/sh
read -r what arg
case $what in
deaf) trap '' TERM INT ;;
esac
echo "start $JOB_ENTITY $JOB_ATTEMPT $$" >> "$RECORD"
case $what in
sleep | deaf) sleep "$arg" ;;
until) while [ ! -e "$arg" ]; do sleep 0.02; done ;;
fail) echo "disk full" >&2; exit 1 ;;
fatal) echo "no such build" >&2; exit 100 ;;
esac
echo "end $JOB_ENTITY" >> "$RECORD"
`

// site is a server with a queue, and a folder for workerds.
type site struct {
	t      *testing.T
	dir    string
	server *natstest.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	n      int
}

// newSite lets the test run beside others: most of its time is waiting.
func newSite(t *testing.T) *site {
	t.Helper()
	t.Parallel()
	s := &site{t: t, dir: t.TempDir(), server: natstest.Start(t)}
	s.conn, s.js = s.server.Conn(), s.server.JetStream()
	p := streams.DefaultPolicy()
	p.Lease, p.Backoff.Base, p.MaxAttempts = lease, 50*time.Millisecond, 2
	if _, err := streams.CreateQueue(t.Context(), s.js, ci, p); err != nil {
		t.Fatal(err)
	}
	s.write("job.sh", jobScript)
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) string {
	s.t.Helper()
	rig.Script(s.t, s.path(name), text)
	return s.path(name)
}

func (s *site) read(name string) string {
	text, _ := os.ReadFile(s.path(name)) // none yet
	return string(text)
}

// publish publishes a job whose body is what.
func (s *site) publish(entity, what string) {
	s.t.Helper()
	e, err := subjects.ParseEntity(entity)
	if err != nil {
		s.t.Fatal(err)
	}
	s.eventually("the test is connected, also after a restart", s.conn.IsConnected)
	if _, _, err := streams.Publish(s.t.Context(), s.conn, ci, e, streams.PublishOptions{Data: []byte(what)}); err != nil {
		s.t.Fatal(err)
	}
}

// jobs is how many are unfinished.
func (s *site) jobs() int {
	s.t.Helper()
	info, err := s.js.Stream(s.t.Context(), ci.JobsStream())
	if err != nil {
		s.t.Fatal(err)
	}
	return int(info.CachedInfo().State.Msgs)
}

// eventually waits until something holds.
func (s *site) eventually(what string, holds func() bool) {
	s.t.Helper()
	for end := time.Now().Add(plenty); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not true in time: %s; record:\n%s", what, s.read("record"))
		}
	}
}

// recorded waits until the jobs have written a line that begins so.
func (s *site) recorded(begin string) {
	s.t.Helper()
	s.eventually("a line "+begin, func() bool { return strings.Contains("\n"+s.read("record"), "\n"+begin) })
}

// lines is how many lines of the record begin so.
func (s *site) lines(begin string) int { return strings.Count("\n"+s.read("record"), "\n"+begin) }

// workerd is one that runs.
type workerd struct {
	*fleet.Process
	s    *site
	base string // of its probes
	env  []string
}

// config is a workerd.yaml: settings over an exec pool of job.sh.
func (s *site) config(settings string) string {
	if !strings.Contains(settings, "pools:") {
		settings += fmt.Sprintf("pools: [{name: sh, command: [%s], concurrency: 4}]\n", s.path("job.sh"))
	}
	for key, value := range map[string]string{
		"http": "127.0.0.1:0", "queues": "[ci]", "log": "{level: debug, format: json}", "shutdown": "{timeout: 30s, kill_after: 300ms}",
	} {
		if !strings.Contains("\n"+settings, "\n"+key+":") {
			settings += key + ": " + value + "\n"
		}
	}
	return settings
}

// begin starts a workerd and does not wait.
func (s *site) begin(settings string, env ...string) *workerd {
	s.t.Helper()
	s.n++
	name := fmt.Sprintf("w%d", s.n)
	w := &workerd{s: s, env: append([]string{
		"SERIATIM_NATS_URL=" + s.server.URL(), "SERIATIM_RUN_DIR=" + s.path("run"), "RECORD=" + s.path("record"),
		"SERIATIM_ID=" + name,
	}, env...)}
	var err error
	w.Process, err = fleet.Start(fleet.Program{
		Name: name, Path: rig.Binary(s.t, fleet.Build{Name: "workerd", Race: raceEnabled}), Args: []string{"--config", s.write(name+".yaml", s.config(settings))},
		Env: w.env, Log: s.path(name + ".log"), Mark: s.dir,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		w.Kill()
		s.eventually("no process is left", func() bool { return len(fleet.Leftovers(s.dir)) == 0 })
		if s.t.Failed() {
			s.t.Logf("log of %s:\n%s", name, s.read(name+".log"))
		}
	})
	return w
}

// start starts a workerd and waits until it runs and its probes answer.
func (s *site) start(settings string, env ...string) *workerd {
	s.t.Helper()
	w := s.begin(settings, env...)
	w.up()
	return w
}

func (w *workerd) up() {
	w.s.t.Helper()
	w.probes()
	w.logs("running")
}

// probes waits until it says where its probes are.
func (w *workerd) probes() {
	w.s.t.Helper()
	line := w.logs("probes are answered")
	w.base = "http://" + line["address"].(string)
}

// logs waits for a line of the log with this message and returns its fields.
func (w *workerd) logs(message string) (fields map[string]any) {
	w.s.t.Helper()
	w.s.eventually("the log says "+message, func() bool {
		if fields = w.said(message); fields != nil {
			return true
		}
		if w.Ended() && w.said(message) == nil {
			w.s.t.Fatalf("%s ended before it said %q:\n%s", w.Name, message, w.s.read(w.Name+".log"))
		}
		return false
	})
	return fields
}

// said is the first line of the log with this message, or nil.
func (w *workerd) said(message string) map[string]any {
	for line := range strings.Lines(w.s.read(w.Name + ".log")) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["message"] == message {
			return fields
		}
	}
	return nil
}

// signal sends a signal to the top process.
func (w *workerd) signal(s syscall.Signal) {
	w.s.t.Helper()
	if err := w.Signal(s); err != nil {
		w.s.t.Fatal(err)
	}
}

// ends waits for its end and returns the exit code, and how long that took.
func (w *workerd) ends() (code int, took time.Duration) {
	w.s.t.Helper()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(w.s.t.Context(), plenty)
	defer cancel()
	err := w.Wait(ctx)
	if !w.Ended() {
		w.s.t.Fatal(err)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	return code, time.Since(begun)
}

// stops waits for a clean end within a bound.
func (w *workerd) stops(bound time.Duration) {
	w.s.t.Helper()
	code, took := w.ends()
	if code != 0 || took > bound {
		w.s.t.Errorf("%s ended with %d after %s, want 0 within %s", w.Name, code, took, bound)
	}
	w.s.t.Logf("%s ended after %s", w.Name, took.Round(time.Millisecond))
}

// get asks a probe.
func (w *workerd) get(path string) (int, string) {
	w.s.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(w.base + path)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// probe wants a status.
func (w *workerd) probe(path string, want int) {
	w.s.t.Helper()
	if got, body := w.get(path); got != want {
		w.s.t.Errorf("%s: %d %q, want %d", path, got, body, want)
	}
}

// report is /statusz.
func (w *workerd) report() (r probes.Report) {
	w.s.t.Helper()
	status, body := w.get("/statusz")
	if err := json.Unmarshal([]byte(body), &r); err != nil || status != 200 {
		w.s.t.Fatalf("/statusz: %d %s: %v", status, body, err)
	}
	return r
}

// call runs one of workerd's commands.
func (s *site) call(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), rig.Binary(s.t, fleet.Build{Name: "workerd", Race: raceEnabled}), args...)
	cmd.Env = append(os.Environ(), "SERIATIM_RUN_DIR="+s.path("run"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
