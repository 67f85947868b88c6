package guardian

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle"
)

// engine is one life of the engine, seen from above. Its reader and its writer end with its pipes.
type engine struct {
	knowledge
	pid  int
	in   *os.File // from it
	out  *os.File // to it
	read chan struct{}
	said chan struct{}
}

// start starts an engine and tells it of its predecessor.
func (g *guardian) start() (*engine, error) {
	fail := func(err error) (*engine, error) {
		hint := ""
		if errors.Is(err, unix.EAGAIN) {
			hint = lifecycle.ProcessHint
		}
		return nil, problem.New("start the engine", err, hint)
	}
	theirIn, out, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	in, theirOut, err := os.Pipe()
	if err != nil {
		_, _ = theirIn.Close(), out.Close()
		return fail(err)
	}
	defer theirIn.Close()
	defer theirOut.Close()
	// Not by the file's name: that may be a newer version by now, which speaks otherwise.
	pid, err := syscall.ForkExec("/proc/self/exe", append([]string{EngineName}, g.Args...), &syscall.ProcAttr{
		Env:   g.environment(),
		Files: []uintptr{0, 1, 2, linkIn: theirIn.Fd(), linkOut: theirOut.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		_, _ = in.Close(), out.Close()
		return fail(err)
	}
	e := &engine{pid: pid, in: in, out: out, read: make(chan struct{}), said: make(chan struct{})}
	go e.listen()
	predecessor := encode(tellPredecessor, wirePredecessor{Reason: g.reason, Held: json.RawMessage(g.held)})
	go func() {
		defer close(e.said)
		_, _ = e.out.Write(predecessor) // an engine that dies before it has read it needs it no more
	}()
	return e, nil
}

func (g *guardian) environment() []string {
	env := make([]string, 0, len(os.Environ())+2)
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, PIDVariable+"=") && !strings.HasPrefix(entry, InstanceVariable+"=") {
			env = append(env, entry)
		}
	}
	return append(env, PIDVariable+"="+strconv.Itoa(os.Getpid()), InstanceVariable+"="+g.instance.String())
}

// listen reads what the engine tells until its end of the pipe is gone.
func (e *engine) listen() {
	defer close(e.read)
	r := bufio.NewReaderSize(e.in, 4<<10)
	for {
		kind, body, err := readMessage(r)
		if err != nil {
			return
		}
		e.heard(kind, body)
	}
}

func (e *engine) heard(kind byte, body []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch kind {
	case tellWatch:
		var w wireWatch
		if json.Unmarshal(body, &w) == nil {
			e.watch, e.at, e.known = w, clock.Boot(), true
		}
	case tellHeld:
		e.held = body
	case tellListening:
		e.listening = true
	case tellLeave:
		var l wireLeave
		if json.Unmarshal(body, &l) == nil {
			e.leaving, e.status = true, l.Status
		}
	}
}

// lastWait bounds the wait for the reader of a dead engine's pipe, should a child have the other end after all. On a busy
// host the reader may not get a processor for seconds, and what it has not read is lost: an end in order looked like a crash.
const lastWait = 10 * time.Second

// last is what a dead engine has said. Nothing else has its end of the pipe, so the reader comes to its end.
func (e *engine) last() (held []byte, leaving bool, status int) {
	t := time.NewTimer(lastWait)
	defer t.Stop()
	select {
	case <-e.read:
	case <-t.C:
		_ = e.in.SetReadDeadline(time.Now()) // a pipe always takes one
		<-e.read
	}
	return e.ended()
}

func (e *engine) groups() []wireGroup {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.watch.Groups
}

// catchUp waits until what the engine has written by now was read, a short time at most.
func (e *engine) catchUp() {
	raw, err := e.in.SyscallConn()
	if err != nil {
		return
	}
	for range 100 {
		waiting := 0
		if raw.Control(func(fd uintptr) { waiting, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) != nil || err != nil {
			return
		}
		time.Sleep(2 * time.Millisecond) // what was taken out of the pipe may not be understood yet
		if waiting == 0 {
			return
		}
	}
}

// close ends reader and writer. The engine is dead.
func (e *engine) close() {
	_, _ = e.in.Close(), e.out.Close()
	<-e.read
	<-e.said
}
