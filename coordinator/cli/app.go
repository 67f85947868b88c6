// Package cli is the command line of coordinator: nouns first, one file a noun.
//
// What holds for every command: results go to standard output (with --json one object or array, whose keys are a
// contract), everything else to standard error; a failure is one line `coordinator: <operation>: <cause>` and, where
// there is a way out, a line `hint: …`; the exit code is 0, 1 for failed or not found, 2 for usage, but for lane hold, whose code is its command's. Nothing asks a
// question unless standard input is a terminal. A command returns its error; only Run prints it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/internal/problem"
)

// App is a command's surroundings. One App runs one command.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Env is the environment, as os.Environ gives it.
	Env []string
	// Asks says that a person sits at standard input; Watches, that one looks at standard error.
	Asks, Watches bool
	// Again gets a value for each request to stop after the first one, which ends the context.
	Again <-chan os.Signal
	// Now is the clock of ages and progress.
	Now func() time.Time

	json, force bool
	connection  connection
}

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usage is an error that the command line itself can be blamed for.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

func usagef(hint, format string, args ...any) error {
	return usage{&said{fmt.Errorf(format, args...), hint}}
}

// said is an error with a hint and no operation of its own: Run puts the command in front.
type said struct {
	err  error
	hint string
}

func (s *said) Error() string { return s.err.Error() }
func (s *said) Unwrap() error { return s.err }

// errTold is a failure that was already told in full, line by line.
var errTold = errors.New("told before")

// Main runs the command line of this process and returns its exit code.
func Main() int {
	if os.Getenv(keeperVariable) != "" {
		return keep()
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	again := make(chan os.Signal)
	// This goroutine lives as long as the process.
	go func() {
		<-signals
		stop()
		for s := range signals {
			select {
			case again <- s:
			default: // nobody who could make use of it: then it means what it usually means
				os.Exit(128 + int(s.(syscall.Signal)))
			}
		}
	}()
	app := &App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Environ(), Again: again, Now: time.Now,
		Asks: isatty.IsTerminal(os.Stdin.Fd()), Watches: isatty.IsTerminal(os.Stderr.Fd()),
	}
	return app.Run(ctx, os.Args[1:])
}

// Run runs one command and returns its exit code. Ending ctx ends the command.
func (a *App) Run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	ran, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errTold):
		return exitFailed
	}
	if code, is := isExit(err); is {
		return code
	}
	a.tell(ran, err)
	var u usage
	if errors.As(err, &u) {
		return exitUsage
	}
	return exitFailed
}

// tell prints an error with its operation and its hint.
func (a *App) tell(ran *cobra.Command, err error) {
	text, hint := err.Error(), problem.Hint(err)
	var s *said
	if errors.As(err, &s) {
		hint = s.hint
		// "coordinator job ls" without the program's name, which stands in front anyway.
		if path := ran.CommandPath(); len(path) > len(program)+1 {
			text = path[len(program)+1:] + ": " + text
		}
	}
	fmt.Fprintf(a.Stderr, "%s: %s\n", program, oneLine(text))
	if hint != "" {
		fmt.Fprintf(a.Stderr, "hint: %s\n", oneLine(hint))
	}
}

// getenv is the environment's value of name, or "".
func (a *App) getenv(name string) string {
	for i := len(a.Env) - 1; i >= 0; i-- {
		if e := a.Env[i]; len(e) > len(name) && e[len(name)] == '=' && e[:len(name)] == name {
			return e[len(name)+1:]
		}
	}
	return ""
}
