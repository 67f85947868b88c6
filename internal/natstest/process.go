package natstest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// processEnv makes a test binary be a server. Its value is the settings as JSON.
const processEnv = "SERIATIM_NATSTEST_SERVER"

// Main turns the test binary into a server when Process has started it, and never returns then; else it returns at
// once. TestMain calls it before anything else.
func Main() {
	val, ok := os.LookupEnv(processEnv)
	if !ok {
		return
	}
	if err := serve(val); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs until SIGTERM, or until standard input ends: the test binary holds the other end of it, so a server
// never outlives a test that was killed.
func serve(val string) error {
	var set settings
	if err := json.Unmarshal([]byte(val), &set); err != nil {
		return fmt.Errorf("read %s: %w", processEnv, err)
	}
	srv, err := set.run()
	if err != nil {
		return err
	}
	end := make(chan os.Signal, 2)
	signal.Notify(end, syscall.SIGTERM)
	fmt.Println(srv.Addr().(*net.TCPAddr).Port) // from now on it can be told to end
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end <- syscall.SIGTERM
	}()
	<-end
	srv.Shutdown()
	srv.WaitForShutdown()
	return nil
}

// Proc is a server in a process of its own. Its methods belong to the test's goroutine.
type Proc struct {
	t      testing.TB
	set    settings
	cmd    *exec.Cmd // nil while it does not run
	stdin  io.Closer
	stderr *bytes.Buffer
}

// Process starts a server as a process and kills it when the test ends. The test binary must call Main in TestMain.
func Process(t testing.TB, opts ...Option) *Proc {
	t.Helper()
	p := &Proc{t: t, set: newSettings(t, opts)}
	t.Cleanup(p.Kill)
	p.Restart()
	return p
}

// URL is where clients connect, with the credentials when the server demands some.
func (p *Proc) URL() string { return p.set.url() }

// Addr is host:port, without credentials.
func (p *Proc) Addr() string { return p.set.addr() }

// Dir is the folder that holds the server's data.
func (p *Proc) Dir() string { return p.set.Dir }

// PID is the process to send signals to, 0 while there is none. SIGSTOP and SIGCONT are the caller's to send; a
// stopped process is killed all the same by Kill.
func (p *Proc) PID() int {
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill sends SIGKILL and waits until the process is gone. Killing twice is fine.
func (p *Proc) Kill() { p.end(syscall.SIGKILL) }

// Stop ends the server in order (SIGTERM) and waits until the process is gone. Stopping twice is fine.
func (p *Proc) Stop() { p.end(syscall.SIGTERM) }

func (p *Proc) end(sig syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig)
	_ = p.cmd.Wait() // its code says only what was asked for
	_ = p.stdin.Close()
	p.cmd = nil
}

// Restart kills the server if it runs and starts it with the same port and folder; it returns when it is ready.
func (p *Proc) Restart() {
	p.t.Helper()
	if err := p.Again(); err != nil {
		p.t.Fatalf("start a nats-server process: %v", err)
	}
}

// Again is Restart for a goroutine that is not the test's, while no other one uses the server.
func (p *Proc) Again() error {
	p.Kill()
	return p.start()
}

func (p *Proc) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	val, err := json.Marshal(p.set)
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), processEnv+"="+string(val))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	// A pipe of our own, because Wait closes the one of StdoutPipe, and with a deadline: see below.
	out, child, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout = child
	p.stderr = new(bytes.Buffer)
	cmd.Stderr = p.stderr
	err = cmd.Start()
	_ = child.Close() // the server has its own copy
	if err != nil {
		return err
	}
	p.cmd, p.stdin = cmd, stdin

	// One line: the port. A process that forgot Main would run the tests again instead; it says something else.
	_ = out.SetReadDeadline(time.Now().Add(startBound))
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		p.set.Port, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		p.Kill()
		return fmt.Errorf("%w (does TestMain call natstest.Main first?)\n%s", err, p.stderr)
	}
	return nil
}

// Conn is a plain connection that ends with the test.
func (p *Proc) Conn() *nats.Conn {
	p.t.Helper()
	return connect(p.t, p.URL())
}

// JetStream is a JetStream client on a connection of its own that ends with the test.
func (p *Proc) JetStream() jetstream.JetStream {
	p.t.Helper()
	return newJetStream(p.t, p.URL())
}
