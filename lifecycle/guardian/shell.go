package guardian

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/seriatim/seriatim/internal/problem"
)

// ErrSwallowed is a process above this one that keeps SIGTERM to itself, or dies of it alone.
var ErrSwallowed = errors.New("SIGTERM will not reach workerd")

// table is what swallowed has to know about processes. Its functions answer zero values for what cannot be read.
type table interface {
	parent(pid int) int
	args(pid int) []string
	hearsTerm(pid int) (hears, known bool)
}

// swallowed says whether a stop that is sent to the container or the service will not reach a process, and what to
// change. Two arrangements do that: a first process of the container that started it and neither handles nor forwards
// SIGTERM, and a shell that was told to run it with -c and waits for it. An init such as tini is neither.
func swallowed(self int, t table) error {
	parent := t.parent(self)
	if self == 1 || parent == 0 {
		return nil
	}
	args := t.args(parent)
	if script, ok := shellCommand(args); ok {
		return problem.New("look who forwards signals",
			fmt.Errorf("%w: it is sent to the shell (pid %d) that runs %q and waits", ErrSwallowed, parent, script),
			"let the shell be replaced: "+args[0]+" -c "+quote(withExec(script, t.args(self)))+", in a Dockerfile CMD "+execForm(t.args(self)))
	}
	if hears, known := t.hearsTerm(1); parent == 1 && known && !hears {
		return problem.New("look who forwards signals",
			fmt.Errorf("%w: process 1 (%s) started it, and neither handles nor forwards it", ErrSwallowed, strings.Join(args, " ")),
			"in the script that starts it write: exec "+strings.Join(t.args(self), " ")+"; or let an init such as tini be process 1")
	}
	return nil
}

// shells take -c with what to run.
var shells = []string{"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh", "busybox"}

// shellCommand is what a shell was told to run with -c.
func shellCommand(args []string) (string, bool) {
	if len(args) < 3 || !slices.Contains(shells, strings.TrimPrefix(path.Base(args[0]), "-")) {
		return "", false
	}
	for i, arg := range args[1 : len(args)-1] {
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && strings.HasSuffix(arg, "c") {
			return args[i+2], true
		}
	}
	return "", false
}

// withExec puts an exec before the command of a script that starts a program by its word.
func withExec(script string, args []string) string {
	at := -1
	if len(args) > 0 {
		for from := 0; at < 0; {
			i := strings.Index(script[from:], args[0])
			if i < 0 {
				break
			}
			if i += from; i == 0 || strings.ContainsRune(" \t"+separators, rune(script[i-1])) {
				at = i
			}
			from = i + len(args[0])
		}
	}
	if at < 0 {
		return "exec " + script
	}
	begin := strings.LastIndexAny(script[:at], separators) + 1
	for {
		begin += len(script[begin:]) - len(strings.TrimLeft(script[begin:], " \t"))
		word, _, more := strings.Cut(script[begin:at], " ")
		if !more || !strings.Contains(word, "=") {
			return script[:begin] + "exec " + script[begin:]
		}
		begin += len(word) // a variable is set before exec
	}
}

// separators stand between commands.
const separators = ";&|(\n"

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func execForm(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = fmt.Sprintf("%q", a)
	}
	return "[" + strings.Join(words, ", ") + "]"
}
