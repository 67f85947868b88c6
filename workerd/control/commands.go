package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/workerd/probes"
)

// Commands are the names of the commands.
func Commands() []string { return []string{"quiet", "stop", "status"} }

// ErrUsage is a command line that makes no sense, or names more than one workerd without saying so.
var ErrUsage = errors.New("usage")

// forEver is the duration of a --wait without one.
const forEver = "0s"

// command is one call of a command.
type command struct {
	name    string
	pid     int
	all     bool
	json    bool
	wait    bool
	bound   time.Duration // 0 is none
	folders []string
	out     io.Writer
	errs    io.Writer
}

const usage = `workerd quiet   takes no further jobs; what runs goes on (signal TSTP)
workerd stop    lets jobs finish, hands back the rest and ends (signal TERM)
workerd status  shows what runs

With --wait the command returns when the workerd is idle (quiet), gone (stop) or up (status).
Exit codes: 0 done, 1 failed or not in time, 2 usage.

`

// Run runs a command: name is one of Commands, args are those behind it. The error is ErrUsage, or a failure.
func Run(ctx context.Context, name string, args []string, out, errs io.Writer) error {
	c := &command{name: name, out: out, errs: errs}
	set := pflag.NewFlagSet("workerd "+name, pflag.ContinueOnError)
	set.SortFlags = false
	set.SetOutput(errs)
	set.Usage = func() {
		fmt.Fprint(errs, usage)
		set.PrintDefaults()
	}
	var folder, wait string
	set.StringVar(&wait, "wait", "", "wait until it is so, at most for a `duration` such as 30s")
	set.Lookup("wait").NoOptDefVal = forEver
	set.IntVar(&c.pid, "pid", 0, "the workerd with this `pid`, where there are several")
	set.BoolVar(&c.all, "all", false, "all workerds of this user")
	set.BoolVar(&c.json, "json", false, "print JSON (status)")
	set.StringVar(&folder, "run-dir", "", "`folder` of the control socket (also "+RunDirVariable+")")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return problem.New("read the command line", errors.Join(ErrUsage, err), "see workerd "+name+" --help")
	}
	if set.NArg() > 0 {
		return problem.New("read the command line", fmt.Errorf("%w: %q is too much", ErrUsage, set.Arg(0)), "a duration stands behind --wait= without a space")
	}
	if c.wait = set.Changed("wait"); c.wait {
		d, err := time.ParseDuration(wait)
		if err != nil || d < 0 {
			return problem.New("read the command line", fmt.Errorf("%w: --wait=%s is no duration", ErrUsage, wait), "write it as --wait=30s")
		}
		c.bound = d
	}
	if c.bound > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.bound)
		defer cancel()
	}
	c.folders = search(folder)
	return c.run(ctx)
}

func (c *command) run(ctx context.Context) error {
	targets, err := c.targets(ctx)
	if err != nil {
		return err
	}
	if c.name == "status" {
		return c.status(ctx, targets)
	}
	signal := syscall.SIGTSTP
	if c.name == "stop" {
		signal = syscall.SIGTERM
	}
	var failed []error
	for _, e := range targets {
		if err := e.Signal(signal); err != nil && !errors.Is(err, ErrGone) {
			failed = append(failed, err)
		}
	}
	for _, e := range targets {
		if c.wait && len(failed) == 0 {
			if err := c.await(ctx, e); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

// targets finds out who is meant.
func (c *command) targets(ctx context.Context) ([]Entry, error) {
	for {
		found := Find(c.folders)
		if c.pid != 0 {
			found = slices.DeleteFunc(found, func(e Entry) bool { return e.PID != c.pid })
		}
		switch {
		case len(found) == 1 || len(found) > 1 && (c.all || c.name == "status"):
			return found, nil
		case len(found) > 1:
			var list []string
			for _, e := range found {
				list = append(list, fmt.Sprintf("%d (%s)", e.PID, e.Worker))
			}
			return nil, problem.New("find the workerd", fmt.Errorf("%w: there are %d: %s", ErrUsage, len(found), strings.Join(list, ", ")), "say which one with --pid, or --all")
		case c.name == "status" && c.wait && pause(ctx):
		default:
			return nil, problem.New("find the workerd", c.nobody(),
				"it is looked for in "+strings.Join(c.folders, ", ")+"; a workerd that cannot write to any of them is signalled by kill")
		}
	}
}

func (c *command) nobody() error {
	if c.pid != 0 {
		return fmt.Errorf("no workerd with pid %d runs here", c.pid)
	}
	return errors.New("no workerd runs here")
}

// poll is how often a workerd is looked at while it is waited for.
const poll = 50 * time.Millisecond

// pause waits a moment; false when the time is over.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(poll):
		return true
	}
}

// await waits until a workerd is what the command wants.
func (c *command) await(ctx context.Context, e Entry) error {
	wasQuiet := false
	var last probes.Report
	for {
		if !e.Living() {
			fmt.Fprintf(c.out, "workerd %d (%s) is gone\n", e.PID, e.Worker)
			return nil
		}
		if c.name == "quiet" {
			r, err := ask(ctx, e)
			if err == nil {
				last = r
				wasQuiet = wasQuiet || r.State == "quiet"
				if r.Idle {
					fmt.Fprintf(c.out, "workerd %d (%s) is idle\n", e.PID, e.Worker)
					return nil
				}
				if wasQuiet && r.State == "running" {
					return fmt.Errorf("wait for workerd %d: somebody told it to run again", e.PID)
				}
			}
		}
		if !pause(ctx) {
			return problem.New(fmt.Sprintf("wait for workerd %d", e.PID), context.Cause(ctx), late(last))
		}
	}
}

func late(r probes.Report) string {
	if len(r.Jobs) == 0 {
		return ""
	}
	var list []string
	for _, j := range r.Jobs[:min(len(r.Jobs), 5)] {
		list = append(list, fmt.Sprintf("%s %s (%s)", j.Entity, j.Kind, time.Since(j.Since).Round(time.Second)))
	}
	return fmt.Sprintf("%d jobs run: %s", r.Busy, strings.Join(list, ", "))
}

// askBound is how long a workerd may take to answer.
const askBound = 5 * time.Second

// ask asks a workerd how it is.
func ask(ctx context.Context, e Entry) (r probes.Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", e.Socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://workerd/statusz", nil)
	if err != nil {
		return r, err
	}
	res, err := client.Do(req)
	if err != nil {
		return r, fmt.Errorf("ask workerd %d: %w", e.PID, err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("ask workerd %d: %w", e.PID, err)
	}
	return r, nil
}
