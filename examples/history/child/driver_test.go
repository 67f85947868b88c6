package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/examples/history"
)

// program is the built child; every test runs it as a process.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "history-child")
	if err == nil {
		program = filepath.Join(dir, "child")
		build := exec.Command("go", "build", "-o", program, ".")
		build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		err = build.Run()
	}
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// place is a folder of states and a record, which outlive children.
type place struct {
	t     testing.TB
	dir   string
	fence uint64
}

func newPlace(t testing.TB) *place { return &place{t: t, dir: t.TempDir()} }

func (p *place) state() string  { return filepath.Join(p.dir, "state") }
func (p *place) record() string { return filepath.Join(p.dir, "record") }

func (p *place) env(work string) []string {
	return append(os.Environ(), "HISTORY_STATE="+p.state(), "HISTORY_RECORD="+p.record(), "HISTORY_WORK="+work, "HISTORY_WORKER=w1",
		"HISTORY_CHILD="+program)
}

func (p *place) log() record.Log {
	p.t.Helper()
	log, err := record.ReadFiles(p.record())
	if err != nil {
		p.t.Fatal(err)
	}
	return log
}

// events are the words of the record so far.
func (p *place) events() string {
	p.t.Helper()
	var words []string
	for _, e := range p.log().Events {
		words = append(words, e.What)
	}
	return strings.Join(words, " ")
}

func body(t testing.TB, op history.Op) []byte {
	t.Helper()
	out, err := json.Marshal(history.Change{N: op.N, Op: op.Kind, Old: op.Old, New: op.New})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// answer is any frame that a child sends.
type answer struct {
	Ready       bool
	Concurrency int
	Done, Fail  int
	Error       string
	Retry       bool
}

// parent drives one pool child over real pipes.
type parent struct {
	*place
	cmd    *exec.Cmd
	to     *os.File
	from   *bufio.Reader
	stderr bytes.Buffer
}

func (p *place) start(work string, args ...string) *parent {
	p.t.Helper()
	childIn, to := pipe(p.t)
	from, childOut := pipe(p.t)
	c := &parent{place: p, cmd: exec.Command(program, args...), to: to, from: bufio.NewReader(from)}
	c.cmd.Env, c.cmd.Stderr = append(p.env(work), "SERIATIM_FDS=3,4"), &c.stderr
	c.cmd.ExtraFiles = []*os.File{childIn, childOut}
	if err := c.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	_, _ = childIn.Close(), childOut.Close()
	p.t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait(); _ = to.Close(); _ = from.Close() })
	if a := c.next(); !a.Ready || a.Concurrency == 0 {
		p.t.Fatalf("%+v is not ready", a)
	}
	return c
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func (c *parent) send(text string) {
	c.t.Helper()
	if _, err := c.to.WriteString(text); err != nil {
		c.t.Fatal(err)
	}
}

// run sends an operation with its own number as the run's.
func (c *parent) run(op history.Op) {
	c.t.Helper()
	c.fence++
	b := body(c.t, op)
	entity, _ := json.Marshal(op.Entity())
	c.send(fmt.Sprintf(`{"run":%d,"queue":"ci","entity":%s,"kind":"apply","id":"h-%d","seq":%d,"fence":%d,"attempt":1,"timeout_ms":0,"headers":{},"new":1,"len":%d}`+"\n%s",
		op.N, entity, op.N, op.N, c.fence, len(b), b))
}

func (c *parent) next() answer {
	c.t.Helper()
	line, err := c.from.ReadBytes('\n')
	if err != nil {
		c.t.Fatalf("%v; %s", err, c.stderr.String())
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		c.t.Fatalf("%q: %v", line, err)
	}
	return a
}

// wait returns the exit code.
func (c *parent) wait() int {
	_ = c.cmd.Wait()
	return c.cmd.ProcessState.ExitCode()
}

// started waits until the record has n starts.
func (p *place) started(n int) {
	p.t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(p.record()); err == nil && strings.Count(p.events(), "start") >= n {
			return
		}
		if time.Now().After(until) {
			p.t.Fatalf("%d jobs never started", n)
		}
	}
}

// execJob runs an operation as an exec pool would.
func (p *place) execJob(op history.Op, command ...string) (code int, stderr string) {
	p.t.Helper()
	p.fence++
	cmd := exec.Command(command[0], command[1:]...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(body(p.t, op)), &out
	cmd.Env = append(p.env("1ms"), "JOB_QUEUE=ci", "JOB_ENTITY="+op.Entity(), "JOB_TYPE=file", "JOB_ENTITY_ID="+op.Path, "JOB_KIND=shell",
		"JOB_ID=h", "JOB_SEQ="+strconv.Itoa(op.N), "JOB_FENCE="+strconv.FormatUint(p.fence, 10), "JOB_ATTEMPT=1", "JOB_TIMEOUT=0")
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String()
}
