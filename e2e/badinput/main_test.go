// Package badinput gives the built programs what they cannot use, and looks at what they say: the input that was wrong,
// the way out, exit code 2 for what the command line or a file can be blamed for and 1 for all else; and no job lost.
package badinput

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func TestMain(m *testing.M) { rig.Main(m) }

// queue is the name of each test's queue.
const queue = subjects.Queue("ci")

// site is a server, and a folder in which the programs run.
type site struct {
	t        *testing.T
	dir, url string
	js       jetstream.JetStream // nil without a server that can be used
}

// newSite has a server with the queue.
func newSite(t *testing.T, flags ...string) *site {
	t.Helper()
	srv := natstest.Start(t, natstest.MaxPayload(64<<10))
	s := emptySite(t, srv.URL())
	s.js = srv.JetStream()
	s.coordinator(append([]string{"queue", "add", string(queue), "--lease", "5s", "--backoff", "100ms,1s"}, flags...)...).must(0)
	return s
}

// emptySite has no queue, and perhaps no server.
func emptySite(t *testing.T, url string) *site {
	t.Helper()
	return &site{t: t, dir: t.TempDir(), url: url}
}

// in is the site in a subtest.
func (s *site) in(t *testing.T) *site {
	sub := *s
	sub.t = t
	return &sub
}

// write makes a file in the site's folder and returns its name.
func (s *site) write(name, text string) string {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// env is the environment of a program: nothing of the machine's own contexts.
func (s *site) env() []string {
	return append(os.Environ(), fleet.Mark+"="+s.dir, "NATS_URL="+s.url, "SERIATIM_NATS_URL="+s.url, "SERIATIM_HTTP=", "NATS_CONTEXT=",
		"XDG_CONFIG_HOME="+filepath.Join(s.dir, ".config"), "XDG_RUNTIME_DIR="+s.dir)
}

// said is what a program that ended by itself said.
type said struct {
	t              *testing.T
	line           string
	code           int
	stdout, stderr string
}

func (s *site) coordinator(args ...string) said { return s.run("coordinator", args...) }
func (s *site) workerd(args ...string) said     { return s.run("workerd", args...) }

// run runs a program that ends by itself.
func (s *site) run(program string, args ...string) said {
	s.t.Helper()
	binary := rig.Binary(s.t, fleet.Build{Name: program})
	ctx, cancel := context.WithTimeout(s.t.Context(), rig.Bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env = s.dir, s.env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if ctx.Err() != nil {
		s.t.Fatalf("%s %q does not end; it said:\n%s", program, args, errs.String())
	}
	return said{s.t, program + " " + strings.Join(args, " "), cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// must demands an exit code and texts, as regular expressions, on standard error.
func (r said) must(code int, patterns ...string) said {
	r.t.Helper()
	r.t.Logf("$ %s\n%s%sexit code %d", r.line, r.stdout, r.stderr, r.code)
	if r.code != code {
		r.t.Errorf("%s: exit code %d, want %d", r.line, r.code, code)
	}
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(r.stderr) {
			r.t.Errorf("%s: it does not say %q", r.line, p)
		}
	}
	for _, never := range []string{"panic:", "goroutine ", "%!"} {
		if strings.Contains(r.stderr, never) {
			r.t.Errorf("%s: it says %q", r.line, never)
		}
	}
	return r
}

// live is a workerd that runs until the test ends.
type live struct {
	*fleet.Process
	s *site
}

// start starts a workerd. It is stopped, and must stop well, when the test ends.
func (s *site) start(args ...string) live {
	s.t.Helper()
	log := filepath.Join(s.t.TempDir(), "log")
	// The fleet has no working folder of a process; a shell that becomes workerd has one.
	p, err := fleet.Start(fleet.Program{
		Name: "workerd", Path: "/bin/sh",
		Args: append([]string{"-c", `cd "$0" && exec "$@"`, s.dir, rig.Binary(s.t, fleet.Build{Name: "workerd"}), "--log-format", "json"}, args...),
		Env:  s.env(), Log: log, Mark: s.dir,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	w := live{p, s}
	s.t.Cleanup(func() {
		if err := p.Stop(rig.Bound); err != nil {
			s.t.Error(err)
		}
		if s.t.Failed() {
			s.t.Logf("workerd said:\n%s", w.log())
		}
	})
	return w
}

func (w live) log() string {
	text, err := os.ReadFile(w.Log)
	if err != nil {
		w.s.t.Fatal(err)
	}
	return string(text)
}

// says waits until the log has all these texts on one line.
func (w live) says(texts ...string) string {
	w.s.t.Helper()
	for end := time.Now().Add(rig.Bound); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
	lines:
		for line := range strings.Lines(w.log()) {
			for _, text := range texts {
				if !strings.Contains(line, text) {
					continue lines
				}
			}
			w.s.t.Logf("workerd says %s", strings.TrimSpace(line))
			return line
		}
		if w.Ended() {
			break
		}
	}
	w.s.t.Fatalf("workerd does not say %q:\n%s", texts, w.log())
	return ""
}

// within bounds what a test waits for.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), rig.Bound)
	t.Cleanup(cancel)
	return ctx
}

// await waits until the queue has n unfinished jobs and dead dead ones.
func (s *site) await(n, dead uint64) {
	s.t.Helper()
	ctx := within(s.t)
	for {
		info, err := streams.QueueInfo(ctx, s.js, queue)
		if err != nil {
			s.t.Fatalf("%d jobs and %d dead ones never come: %v", n, dead, err)
		}
		if info.Jobs == n && info.Dead == dead {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			s.t.Fatalf("%d jobs and %d dead ones, want %d and %d", info.Jobs, info.Dead, n, dead)
		}
	}
}

// raw publishes as any client may, and returns the server's refusal.
func (s *site) raw(subject string, header map[string][]string, body string) error {
	s.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	maps.Copy(m.Header, header)
	_, err := s.js.PublishMsg(within(s.t), m, jetstream.WithRetryAttempts(0))
	return err
}

// read reads a file that a job wrote; none is an empty one.
func (s *site) read(name string) string {
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return string(text)
}

// chmod makes a file one that cannot be run.
func chmod(s *site, name string) error { return os.Chmod(filepath.Join(s.dir, name), 0o644) }
