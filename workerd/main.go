// Command workerd takes jobs of one or more queues and runs them in child processes.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/internal/nearest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/workerd/config"
	"github.com/seriatim/seriatim/workerd/control"
	"github.com/seriatim/seriatim/workerd/daemon"
)

const usage = `workerd runs the jobs of queues, those of one entity strictly one after another.

  workerd --queue ci -- ./handle.sh        a process per job, all kinds
  workerd --config workerd.yaml            pools as the file says
  workerd quiet|stop|status [--wait]       talks to a workerd that runs; see workerd status --help

Flags (environment: SERIATIM_<KEY>, such as SERIATIM_NATS_URL; flags win):
`

// The exit codes.
const (
	exitClean  = 0
	exitFailed = 1
	exitUsage  = 2
)

// main is two processes on Linux: the guardian, and below it the engine, which is this program once more.
func main() {
	if len(os.Args) > 1 && slices.Contains(control.Commands(), os.Args[1]) {
		os.Exit(command(os.Args[1], os.Args[2:]))
	}
	// Who reads the log may go: that is no reason to die, with all jobs. Caught and not ignored, because jobs would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	link, isEngine, err := guardian.Attach()
	if err != nil {
		os.Exit(fail(err, exitUsage))
	}
	code := run(os.Args[1:], link, isEngine)
	link.Leave(code)
	os.Exit(code)
}

func run(args []string, link *guardian.Link, isEngine bool) int {
	set := pflag.NewFlagSet("workerd", pflag.ContinueOnError)
	set.SortFlags = false
	set.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		set.PrintDefaults()
	}
	flags := config.BindFlags(set)
	showVersion := set.Bool("version", false, "print the version and exit")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return exitClean
		}
		if unknown := new(pflag.NotExistError); errors.As(err, &unknown) {
			text, hint := nearest.Flag(unknown, set)
			err = problem.New("read the command line", errors.New(text), cmp.Or(hint, "see: workerd --help"))
		}
		return fail(err, exitUsage)
	}
	if *showVersion {
		fmt.Println("workerd", version.String())
		return exitClean
	}
	extra, command := set.Args(), []string(nil)
	if at := set.ArgsLenAtDash(); at >= 0 {
		extra, command = extra[:at], extra[at:]
	}
	if len(extra) > 0 {
		return fail(problem.New("read the command line", fmt.Errorf("unknown command %q", extra[0]),
			"to run a command for each job put it behind --: workerd --queue ci -- ./handle.sh"), exitUsage)
	}
	cfg, err := config.Read(flags, os.Environ(), command)
	if err != nil {
		return fail(err, exitUsage)
	}
	if !isEngine {
		if err := guardian.Usable(); err != nil {
			return fail(err, exitFailed)
		}
		if guardian.Supported {
			return daemon.Guard(cfg, args, exitUsage)
		}
		daemon.Alone(cfg)
	}
	reload := func() (*config.Config, error) { return config.Read(flags, os.Environ(), command) }
	if err := daemon.Run(cfg, daemon.Options{Link: link, Reload: reload}); err != nil {
		if errors.Is(err, daemon.ErrConfig) {
			return fail(err, exitUsage)
		}
		return fail(err, exitFailed)
	}
	return exitClean
}

// command talks to a workerd that runs: quiet, stop or status.
func command(name string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := control.Run(ctx, name, args, os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, control.ErrUsage):
		return fail(err, exitUsage)
	case err != nil:
		return fail(err, exitFailed)
	}
	return exitClean
}

func fail(err error, code int) int {
	fmt.Fprintln(os.Stderr, "workerd:", err)
	if hint := problem.Hint(err); hint != "" {
		fmt.Fprintln(os.Stderr, "hint:", hint)
	}
	return code
}
