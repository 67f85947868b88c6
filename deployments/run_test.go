package deployments

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	proctable "github.com/seriatim/seriatim/lifecycle/proc"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// proc is a program that a test runs. Its end is awaited by the test, or forced at its end.
type proc struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *output
	ended chan struct{}
	err   error
}

// output gathers what a program prints while it runs.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs a program whose output is shown when the test fails.
func start(t *testing.T, cmd *exec.Cmd) *proc {
	t.Helper()
	p := &proc{t: t, cmd: cmd, out: &output{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("output of %s:\n%s", cmd.Args[0], p.out)
		}
	})
	return p
}

func (p *proc) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// code is the exit code, when the program has ended; -1 after a signal.
func (p *proc) code() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(60 * time.Second):
		p.t.Fatalf("%s does not end", p.cmd.Args[0])
	}
	var exit *exec.ExitError
	switch {
	case p.err == nil:
		return 0
	case errors.As(p.err, &exit):
		return exit.ExitCode()
	}
	p.t.Fatal(p.err)
	return 0
}

// onlyChild is the one child of a process, as far as /proc tells.
func onlyChild(t *testing.T, pid int) (child int) {
	t.Helper()
	eventually(t, "a child of "+num(pid), func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return false
		}
		child, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	return child
}

// gone says that nothing of a process runs any more, whether or not the first process of this container reaps orphans.
func gone(pid int) bool {
	s, err := proctable.Read(pid)
	if errors.Is(err, proctable.ErrUnsupported) {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	return err != nil || s.Dead()
}

// withQueue is the shipped server with the queue `ci`, made by the image's own coordinator.
func withQueue(t *testing.T) *server.Server {
	t.Helper()
	program := filepath.Join(binaries(t), "coordinator") // building it is not bounded, using it is
	s := oneServer(t)
	cmd := exec.CommandContext(within(t), program, "queue", "add", "ci")
	cmd.Env = append(os.Environ(), "NATS_URL="+userURL(s, "operator"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

// publish stores a job as the publisher.
func publish(t *testing.T, s *server.Server, entity, body string) {
	t.Helper()
	nc, _ := as(t, s, "publisher-ci", nil)
	defer nc.Close()
	e, err := subjects.ParseEntity(entity)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.Publish(within(t), nc, ci, e, streams.PublishOptions{Data: []byte(body)}); err != nil {
		t.Fatal(err)
	}
}

// unfinished is what the viewer sees in the queue.
func unfinished(t *testing.T, s *server.Server) streams.Info {
	t.Helper()
	nc, js := as(t, s, "viewer-ci", nil)
	defer nc.Close()
	info, err := streams.QueueInfo(within(t), js, ci)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// states are the states of the workers that left a record.
func states(t *testing.T, s *server.Server) (list []string) {
	t.Helper()
	nc, js := as(t, s, "viewer-ci", nil)
	defer nc.Close()
	workers, err := streams.ListWorkers(within(t), js)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range workers {
		list = append(list, w.State)
	}
	return list
}
