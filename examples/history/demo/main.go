// Command demo replays a real repository's history as jobs, kills workers while it does, and lets a witness outside the
// system say what happened. It is what `make demo` runs, with the built binaries in --bin.
//
// With --break it is given a workerd that was built without one of the rules that keep order, and does what shows the
// damage of that: an honest witness has to find it. With --faults it does the same to a whole workerd, which has to
// stand it.
//
// It exits with 0 when nothing happened that must not, with 1 when something did, 2 for usage, 130 on ^C. In every case
// no process and no folder of it stays behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/seriatim/seriatim/internal/problem"
)

// The exit codes.
const (
	exitFine    = 0
	exitDamage  = 1
	exitUsage   = 2
	exitStopped = 130
)

func main() {
	serveIfAsked()
	stubbornIfAsked()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	set := flag.NewFlagSet("demo", flag.ContinueOnError)
	bin := set.String("bin", "bin", "`folder` with workerd, coordinator and history-child")
	shell := set.String("shell", "examples/history/child.sh", "`script` that runs the jobs of kind shell")
	broken := set.String("break", "", "workerd was built without this `rule`: show what that does")
	faults := set.String("faults", "", "what --break does for this `rule`, to a workerd that has it")
	limit := set.Int("limit", 0, "replay only the first `N` operations (0: as many as suit)")
	plain := set.Bool("plain", false, "print lines, also on a terminal")
	keep := set.Bool("keep", false, "keep the folder with logs and records, and say where it is")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitFine
		}
		return exitUsage
	}
	if set.NArg() > 0 || *broken != "" && *faults != "" || *limit < 0 {
		fmt.Fprintln(os.Stderr, "demo: it takes flags alone, and --break or --faults, not both")
		return exitUsage
	}
	o := options{broken: *broken, rule: *broken + *faults, limit: *limit, plain: *plain, keep: *keep}
	var err error
	if o.self, err = os.Executable(); err != nil {
		return tell(err, exitDamage)
	}
	if o.plan, err = planFor(o.rule); err != nil {
		return tell(err, exitUsage)
	}
	for to, path := range map[*string]string{
		&o.workerd: filepath.Join(*bin, "workerd"), &o.coordinator: filepath.Join(*bin, "coordinator"),
		&o.child: filepath.Join(*bin, "history-child"), &o.shell: *shell,
	} {
		if *to, err = program(path); err != nil {
			return tell(err, exitUsage)
		}
	}

	// HUP: the terminal is gone. Whoever read our output may be gone too: then a write fails, and that ends it. The signal
	// PIPE tells nothing, since it comes also when a worker leaves a connection. Nothing may stay behind in any case.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // or the program would die of it
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o.out = &output{to: os.Stdout, gone: cancel}
	fine, err := replay(ctx, o)
	switch {
	case errors.Is(err, errLeftBehind):
		return tell(err, exitDamage)
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\nstopped, and cleaned up")
		return exitStopped
	case err != nil:
		return tell(err, exitDamage)
	case !fine:
		return exitDamage
	}
	return exitFine
}

// program is the absolute path of something that can be run.
func program(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode()&0o111 == 0 {
		err = errors.New("it is not executable")
	}
	if err != nil {
		return "", problem.New("look for "+path, err, "run `make demo`, which builds everything, from the repository's top folder")
	}
	return filepath.Abs(path)
}

func tell(err error, code int) int {
	fmt.Fprintln(os.Stderr, "demo:", err)
	if hint := problem.Hint(err); hint != "" {
		fmt.Fprintln(os.Stderr, "hint:", hint)
	}
	return code
}
