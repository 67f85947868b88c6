package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
)

// Mark names the environment variable that every process of a fleet carries. Its value is the fleet's folder.
const Mark = "SERIATIM_FLEET"

// Process is a program that runs, or has run. Its methods may be called from any goroutine.
type Process struct {
	// Name is for people, Log the file with what it printed.
	Name, Log string

	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; read after done
}

// Program is what to start.
type Program struct {
	Name string
	Path string
	Args []string
	// Env is added to the own environment.
	Env []string
	// Log is the file that what it prints is appended to.
	Log string
	// Mark is the fleet's folder.
	Mark string
}

// Start starts a program in a process group of its own, so that a ^C at the terminal does not reach it.
func Start(p Program) (*Process, error) {
	log, err := os.OpenFile(p.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, problem.New("start "+p.Name, err, "")
	}
	defer log.Close()
	s := &Process{Name: p.Name, Log: p.Log, cmd: exec.Command(p.Path, p.Args...), done: make(chan struct{})}
	s.cmd.Env = append(append(os.Environ(), Mark+"="+p.Mark), p.Env...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	apart(s.cmd)
	started := make(chan error)
	// The signal at our death follows the thread that starts the process, so one thread starts it and waits for it. The
	// goroutine ends with the process.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	if err := <-started; err != nil {
		return nil, problem.New("start "+p.Name, err, "")
	}
	return s, nil
}

// PID is the process's, also after its end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended says whether it has.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the process alone. A process that has ended is no error.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return problem.New(fmt.Sprintf("send %s to %s", s, p.Name), err, "")
	}
	return nil
}

// Wait waits until it has ended and returns how, when that was not with exit code 0.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		if p.err != nil {
			return problem.New(p.Name, p.err, p.lastWords())
		}
		return nil
	case <-ctx.Done():
		return problem.New("wait for the end of "+p.Name, context.Cause(ctx), "see "+p.Log)
	}
}

// Kill sends SIGKILL and waits until the process is gone.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL) // it has ended by itself, or it ends now
	<-p.done
}

// Stop sends SIGTERM and waits; past the bound it kills, and says so.
func (p *Process) Stop(bound time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-p.done:
		return p.Wait(context.Background())
	case <-t.C:
		p.Kill()
		return problem.New("stop "+p.Name, fmt.Errorf("it did not end within %s of SIGTERM and was killed", bound), p.lastWords())
	}
}

// lastWords is the end of the log, for an error's hint.
func (p *Process) lastWords() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "its last words: " + strings.Join(lines[max(0, len(lines)-3):], " | ")
}
