package dev

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/seriatim/seriatim/internal/problem"
)

// FindDaemon returns the path of workerd: beside this program, else in PATH.
func FindDaemon() (string, error) {
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		beside := filepath.Join(filepath.Dir(self), "workerd")
		if info, err := os.Stat(beside); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return beside, nil
		}
	}
	path, err := exec.LookPath("workerd")
	if err != nil {
		return "", problem.New("find workerd", err, "put it beside coordinator or into PATH; or leave the command out, and start workerd yourself")
	}
	return path, nil
}

// daemon is a workerd of its own process.
type daemon struct {
	cmd *exec.Cmd
	// done is closed when it has ended; err then says how.
	done chan struct{}
	err  error
}

func startDaemon(path string, args []string, out, errs io.Writer) (*daemon, error) {
	d := &daemon{cmd: exec.Command(path, args...), done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = out, errs
	apart(d.cmd)
	started := make(chan error)
	// The signal at our death follows the thread that starts the process, so one thread starts it and waits for it.
	// The goroutine ends with the daemon, which stop and the caller wait for.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := d.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	if err := <-started; err != nil {
		return nil, problem.New("start "+path, err, "")
	}
	return d, nil
}

// stop asks the daemon to end and waits. Each value on again asks once more: the daemon takes the second request as
// "at once", and the third one is no longer a request.
func (d *daemon) stop(again <-chan os.Signal) error {
	sig := syscall.SIGTERM
	for asked := 1; ; asked++ {
		if asked > 2 {
			sig = syscall.SIGKILL
		}
		if err := d.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return problem.New(fmt.Sprintf("stop workerd (pid %d)", d.cmd.Process.Pid), err, "")
		}
		select {
		case <-d.done:
			if d.diedOf(syscall.SIGTERM) {
				return nil // it was asked before it could listen
			}
			return d.ended()
		case <-again:
		}
	}
}

// ended says how the daemon ended, when that was not well.
func (d *daemon) ended() error {
	if d.err == nil {
		return nil
	}
	return problem.New("workerd", d.err, "its own messages stand above")
}

func (d *daemon) diedOf(sig syscall.Signal) bool {
	var exit *exec.ExitError
	if !errors.As(d.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == sig
}
