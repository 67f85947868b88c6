package lifecycle

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle/frames"
	"github.com/seriatim/seriatim/lifecycle/memory"
)

// Mode is how a pool runs its jobs.
type Mode string

// The modes of a pool.
const (
	// ModeExec starts a process per job.
	ModeExec Mode = "exec"
	// ModePool keeps children alive and feeds them frames.
	ModePool Mode = "pool"
)

// Config is a pool's configuration. Zero values mean the defaults given with each field.
type Config struct {
	// Name is the pool's, for logs. Required.
	Name string
	// Mode is ModeExec or ModePool. Required.
	Mode Mode
	// Command is the program and its arguments. Required. The program is looked up in workerd's own PATH by Start.
	Command []string
	// Env is added to workerd's environment, and wins.
	Env map[string]string
	// User is the name or number of the user that the processes run as, with that user's groups, HOME, USER and LOGNAME;
	// "" is who we are. Only root can be another one; Start says so, and when there is no such user.
	User string
	// Processes is how many children a ModePool keeps alive; 1.
	Processes int
	// Concurrency is how many jobs run at once: per child in ModePool, in all in ModeExec; 1.
	Concurrency int
	// KillAfter is the grace between asking and TERM, and between TERM and KILL; 3 s.
	KillAfter time.Duration
	// ReadyTimeout is how long a child may take to say that it is ready; 60 s.
	ReadyTimeout time.Duration
	// SlotWait is how long Run waits for a slot before it says NotStarted; 5 s.
	SlotWait time.Duration
	// EmptyWait is how long after KILL, or after its leader's end, a group may take to be empty; 5 s.
	EmptyWait time.Duration
	// Restart says how fast children that died are started again.
	Restart Restart
	// Memory limits what each process may use, with all that it starts.
	Memory MemoryLimits
	// Recycle replaces children that have worked long enough. ModePool.
	Recycle Recycle
	// Frames bounds what a child may send.
	Frames frames.Limits

	// Log gets what the processes print, line by line. It is called from one goroutine per stream of each process; while
	// it blocks, that process blocks on its next write.
	Log func(LogLine)
	// OnEvent gets what happens to children. It is called from the child's own goroutine, or the memory guard's.
	OnEvent func(Event)
	// OnProgress gets the progress frames of running jobs, called from the child's own goroutine.
	OnProgress func(Job, Progress)

	procRoot, procSelf string // the process table, and this process in it
}

// Restart is the backoff between two lives of a child, with jitter. Children that were killed here, for a job's timeout
// for example, are started again at once.
type Restart struct {
	// Min is the first wait; 250 ms.
	Min time.Duration
	// Max is the longest; 30 s.
	Max time.Duration
	// Reset is how long a child must have been ready for its death to count as the first one again; 10 s.
	Reset time.Duration
}

// Progress is how far a job says it is.
type Progress struct {
	// At of Of steps are done; Of is 0 when the job does not know.
	At, Of float64
	Note   string
}

// New makes a pool that is not started yet. An error says which setting cannot be used.
func New(cfg Config) (Pool, error) {
	if err := cfg.check(); err != nil {
		return nil, problem.New(fmt.Sprintf("configure pool %q", cfg.Name), err, "")
	}
	cfg.fill()
	if cfg.Mode == ModeExec {
		return newExecPool(cfg), nil
	}
	return newChildPool(cfg), nil
}

func (c *Config) check() error {
	var errs []error
	bad := func(when bool, format string, args ...any) {
		if when {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Name == "", "name is empty")
	bad(c.Mode != ModeExec && c.Mode != ModePool, "mode is %q, not exec or pool", c.Mode)
	bad(len(c.Command) == 0 || c.Command[0] == "", "command is empty")
	bad(slices.ContainsFunc(c.Command, hasNUL), "command has a NUL byte")
	bad(c.Processes < 0, "processes is %d, less than 0", c.Processes)
	bad(c.Concurrency < 0, "concurrency is %d, less than 0", c.Concurrency)
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		bad(name == "" || strings.ContainsAny(name, "=\x00") || hasNUL(c.Env[name]), "env %q cannot be an environment variable", name)
		bad(reserved(name), "env %s is set by workerd itself", name)
	}
	for name, d := range map[string]time.Duration{
		"kill_after": c.KillAfter, "ready_timeout": c.ReadyTimeout, "slot_wait": c.SlotWait, "empty_wait": c.EmptyWait,
		"restart.min": c.Restart.Min, "restart.max": c.Restart.Max, "restart.reset": c.Restart.Reset,
		"memory.check": c.Memory.Check, "recycle.max_age": c.Recycle.MaxAge,
	} {
		bad(d < 0, "%s is %v, less than 0", name, d)
	}
	if err := c.Memory.Validate(); err != nil {
		errs = append(errs, err)
	}
	for name, share := range map[string]float64{"memory.jitter": c.Memory.Jitter, "recycle.jitter": c.Recycle.Jitter} {
		bad(!(share >= 0 && share <= 1), "%s is %v, not between 0 and 1", name, share)
	}
	bad(c.Recycle.MaxJobs < 0, "recycle.max_jobs is %d, less than 0", c.Recycle.MaxJobs)
	return errors.Join(errs...)
}

func (c *Config) fill() {
	or := func(d *time.Duration, standard time.Duration) {
		if *d == 0 {
			*d = standard
		}
	}
	or(&c.KillAfter, 3*time.Second)
	or(&c.ReadyTimeout, time.Minute)
	or(&c.SlotWait, 5*time.Second)
	or(&c.EmptyWait, 5*time.Second)
	or(&c.Restart.Min, 250*time.Millisecond)
	or(&c.Restart.Max, 30*time.Second)
	or(&c.Restart.Reset, 10*time.Second)
	or(&c.Memory.Check, 3*time.Second)
	c.Memory.KillAfter = c.KillAfter
	if c.Mode == ModeExec {
		c.Memory.Mode = memory.Daemon // after a job there is nothing left to look at
	}
	c.Restart.Max = max(c.Restart.Max, c.Restart.Min)
	if c.procRoot == "" {
		c.procRoot, c.procSelf = "/proc", "/proc/self"
	}
	c.Processes, c.Concurrency = max(1, c.Processes), max(1, c.Concurrency)
	if c.Log == nil {
		c.Log = func(LogLine) {}
	}
	if c.OnEvent == nil {
		c.OnEvent = func(Event) {}
	}
	if c.OnProgress == nil {
		c.OnProgress = func(Job, Progress) {}
	}
}

// program finds the command's file.
func (c *Config) program() (string, error) {
	path, err := exec.LookPath(c.Command[0])
	if err != nil {
		hint := "give command a path, or install the program where PATH finds it"
		switch {
		case errors.Is(err, os.ErrPermission):
			hint = startHint(err)
		case errors.Is(err, syscall.EISDIR):
			hint = "the command has to be a program, and this is a folder"
		}
		return "", problem.New(fmt.Sprintf("start pool %q", c.Name), err, hint)
	}
	return path, nil
}

// startHint says what to do about a command that the kernel would not run.
func startHint(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "the program, or the interpreter in its first line, is not there"
	case errors.Is(err, os.ErrPermission):
		return "make the program executable: chmod +x"
	case errors.Is(err, errNoExec):
		return "start the script with a line such as #!/bin/sh"
	case errors.Is(err, syscall.EAGAIN):
		return ProcessHint
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "no more files can be open: raise the limit (ulimit -n, LimitNOFILE of the service), or lower concurrency"
	}
	return ""
}

// ProcessHint is what to do when no process can be started because there are too many.
const ProcessHint = "there are too many processes: see what the jobs leave running, and raise the limit that is reached " +
	"(ulimit -u, TasksMax of the service, pids.max of the container)"
