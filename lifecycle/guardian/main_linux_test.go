package guardian_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/proctest"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// The test binary is the guardian, its engine, and every process of a tree. What the guardian and its engines say is
// lines on standard output: "guardian <event> …" and "engine <life> …".
const (
	actAs   = "GUARDIAN_TEST_ACT"    // what a process is that is no engine
	engines = "GUARDIAN_TEST_ENGINE" // what the engines do, one word a life; the last word is for all further lives
	folder  = "GUARDIAN_TEST_DIR"
	usage   = 2
)

func TestMain(m *testing.M) {
	proctest.Main()
	if len(os.Args) == 2 && os.Args[1] == "hop" {
		hop()
	}
	link, isEngine, err := guardian.Attach()
	if err != nil {
		fmt.Println("attach:", err)
		os.Exit(1)
	}
	if isEngine {
		actAsEngine(link)
	}
	switch act := os.Getenv(actAs); act {
	case "":
		leaks.VerifyTestMain(m)
	case "guardian":
		os.Exit(guardian.Run(guardian.Options{Args: os.Args[1:], UsageStatus: usage, OnEvent: func(e guardian.Event) {
			fmt.Println("guardian", e.Kind, e.PID, e.N, e.Err, e.Late)
		}}))
	default:
		others[act]()
	}
}

// others are further programs.
var others = map[string]func(){}

// actAsEngine is an engine with an exec pool.
func actAsEngine(link *guardian.Link) {
	dir := os.Getenv(folder)
	lives, _ := filepath.Glob(filepath.Join(dir, "life.*"))
	life := len(lives) + 1
	say := func(format string, args ...any) {
		fmt.Printf("engine %d %s\n", life, fmt.Sprintf(format, args...))
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("life.", life)), nil, 0o600); err != nil {
		panic(err)
	}
	words := strings.Split(os.Getenv(engines), " ")
	word := words[min(life, len(words))-1]
	h, reason, ok := link.Predecessor()
	say("begins %d %d %s %v %s %d %v", os.Getpid(), link.PID(), word, ok, reason, len(h.Lanes), h.Session)
	orphans, err := lifecycle.Adopt(link.Instance())
	if err != nil {
		panic(err)
	}
	leave := func(status int) {
		link.Leave(status)
		os.Exit(status)
	}
	signals := make(chan os.Signal, 8)
	switch word {
	case "late":
		time.Sleep(300 * time.Millisecond)
	case "usage":
		leave(usage)
	case "fail":
		leave(7)
	case "panic":
		os.Stderr.Close()
		panic("on purpose")
	case "exit":
		os.Exit(0)
	}
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGTTIN, syscall.SIGHUP)
	link.Listening()
	pool, err := lifecycle.New(lifecycle.Config{
		Name: "p", Mode: lifecycle.ModeExec, Command: commandOf(word, dir), Concurrency: 4, KillAfter: 100 * time.Millisecond, EmptyWait: plenty,
		Log: func(l lifecycle.LogLine) { say("log %s", l.Text) },
	})
	if err != nil {
		panic(err)
	}
	if err := pool.Start(context.Background()); err != nil {
		panic(err)
	}
	for range 2 { // when the second one is on its way the first one was told: tests kill this process as soon as jobs run
		link.Note(guardian.Held{Session: fmt.Sprint("session-", life), Lanes: []guardian.HeldLane{{Lane: "ci.build.1", Fence: 7}}})
		for guardian.Notes(link) {
			time.Sleep(time.Millisecond)
		}
	}
	var groups sync.Map
	var jobs sync.WaitGroup
	if word != "idle" {
		for i := range 2 {
			jobs.Go(func() {
				r := pool.Run(context.Background(), lifecycle.Job{Started: func(pid int) { groups.Store(i, pid) }})
				groups.Delete(i)
				say("job %d %s %v %s", i, r.Cause, r.GroupEmpty, r.Err)
			})
		}
	}
	if word == "threads" {
		var all sync.WaitGroup
		for range 1000 {
			all.Go(runtime.LockOSThread) // returning locked ends the thread
		}
		all.Wait()
		say("threads ended")
	}
	session := watchOf(word)
	for {
		d := guardian.Deadlines{Session: session()}
		groups.Range(func(i, pid any) bool {
			g := guardian.Group{PID: pid.(int)}
			if _, err := os.Stat(filepath.Join(dir, "over")); err == nil && i.(int) == 0 {
				g.Until = clock.Boot() - time.Hour
			}
			d.Groups = append(d.Groups, g)
			return true
		})
		link.Watch(d)
		select {
		case s := <-signals:
			say("signal %s", s)
			if s == syscall.SIGTERM && word != "deaf" {
				now, kill := context.WithCancelCause(context.Background())
				kill(lifecycle.ErrKillNow)
				pool.Stop(now)
				jobs.Wait() // until they have said how they ended
				link.Watch(guardian.Deadlines{})
				orphans.Stop()
				leave(0)
			}
		case <-link.Lost():
			now, kill := context.WithCancelCause(context.Background())
			kill(lifecycle.ErrKillNow)
			pool.Stop(now)
			orphans.Kill(context.Background())
			say("unguarded")
			os.Exit(1)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// commandOf is what an engine's jobs run.
func commandOf(word, dir string) []string {
	switch word {
	case "orphans":
		return []string{"sh", "-c", `n=0; while [ $n -lt 500 ]; do (sleep 0.01 &) ; n=$((n+1)); done; exit 9`}
	case "setpriv":
		return append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, proctest.Command(dir)...)
	case "hoppers":
		exe, err := os.Executable()
		if err != nil {
			panic(err)
		}
		return []string{"sh", "-c", `"$0" hop & exec sleep 1000`, exe}
	case "stopped":
		return []string{"sh", "-c", "kill -STOP $$; sleep 1000"}
	}
	return proctest.Command(dir)
}

// watchOf is the end of an engine's session.
func watchOf(word string) func() time.Duration {
	begun := clock.Boot()
	switch word {
	case "short": // it is never moved on
		return func() time.Duration { return begun + 300*time.Millisecond }
	case "brief": // to be stopped past its end
		return func() time.Duration { return clock.Boot() + 3*time.Second }
	case "nosession":
		return func() time.Duration { return 0 }
	}
	// However busy the host is: what the others are to show has nothing to do with sessions.
	return func() time.Duration { return clock.Boot() + time.Minute }
}

// top is a guardian under test.
type top struct {
	t   *testing.T
	cmd *exec.Cmd
	dir string // trees, and the lives of engines
	pid int    // of the guardian, as its engine knows it

	mu    sync.Mutex
	lines []string
	read  chan struct{} // closed when nobody can say anything any more
	done  chan struct{}
	err   error
}

type setting func(*exec.Cmd)

// begin starts a guardian whose engines act by these words.
func begin(t *testing.T, words string, settings ...setting) *top {
	t.Helper()
	return beginIn(t, words, shared(t), settings...)
}

func beginIn(t *testing.T, words, dir string, settings ...setting) *top {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), actAs+"=guardian", engines+"="+words, folder+"="+dir)
	for _, s := range settings {
		s(cmd)
	}
	g := &top{t: t, cmd: cmd, dir: dir, read: make(chan struct{}), done: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.pid = cmd.Process.Pid
	_ = w.Close()
	go func() { // ends when the last holder of the pipe is dead, or with the test
		defer close(g.read)
		buf, rest := make([]byte, 4096), ""
		for {
			n, err := r.Read(buf)
			rest += string(buf[:n])
			for {
				line, more, ok := strings.Cut(rest, "\n")
				if !ok {
					break
				}
				rest = more
				g.mu.Lock()
				g.lines = append(g.lines, line)
				g.mu.Unlock()
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		g.err = cmd.Wait()
		close(g.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-g.done
		for _, m := range proctest.Members(t, dir) {
			if m.Lives() {
				eventually(t, "the trees of a killed guardian die", func() bool { return !m.Lives() })
			}
		}
		_ = r.SetReadDeadline(time.Now().Add(5 * time.Second))
		<-g.read
		_ = r.Close()
		if t.Failed() {
			t.Log(strings.Join(g.said(), "\n"))
		}
	})
	return g
}

func (g *top) said() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.lines...)
}

// hears waits for the n-th line, from 1, that begins so, and returns the rest of it.
func (g *top) hears(prefix string, n int) string {
	g.t.Helper()
	rest := ""
	eventually(g.t, fmt.Sprintf("%d. line %q", n, prefix), func() bool {
		left := n
		for _, line := range g.said() {
			if after, ok := strings.CutPrefix(line, prefix); ok {
				if left--; left == 0 {
					rest = strings.TrimSpace(after)
					return true
				}
			}
		}
		return false
	})
	return rest
}

// counts lines that begin so.
func (g *top) counts(prefix string) (n int) {
	for _, line := range g.said() {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// engine waits for a life of the engine and returns its pid.
func (g *top) engine(life int) int {
	g.t.Helper()
	fields := strings.Fields(g.hears(fmt.Sprintf("engine %d begins", life), 1))
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		g.t.Fatal(err)
	}
	if fields[1] != strconv.Itoa(g.pid) {
		g.t.Errorf("the engine takes %s for its guardian, not %d", fields[1], g.pid)
	}
	return pid
}

// status waits for the guardian's end, and for the last of what it and its engines have said.
func (g *top) status() int {
	g.t.Helper()
	select {
	case <-g.done:
	case <-time.After(plenty):
		g.t.Fatal("the guardian does not end")
	}
	select {
	case <-g.read:
	case <-time.After(plenty):
		g.t.Fatal("the guardian has ended, and somebody still has its standard output")
	}
	return g.cmd.ProcessState.ExitCode()
}

func (g *top) signal(s syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

const plenty = 60 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(plenty); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not true in time: %s", what)
		}
	}
}

func dead(pid int) bool {
	s, err := proc.Read(pid)
	return err != nil || s.Dead()
}
