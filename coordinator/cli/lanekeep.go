package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/internal/clock"
)

// A command that runs in an entity's turn must be gone when the turn is, also when the program that holds the lane is
// killed, stopped or stuck. So another process starts it, the keeper: this program once more. It hears on a pipe until
// when the command may run, and kills it past that, or when the pipe ends.

// keeperVariable makes this program a keeper.
const keeperVariable = "SERIATIM_LANE_KEEPER"

// What a keeper is told, a line each: a word and a number.
const (
	sayUntil  = "until"  // the time on the boot clock up to which the command may run
	saySignal = "signal" // pass it on
)

// passedOn are the signals that a command gets that this program gets.
var passedOn = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}

// keptCommand is what a keeper is told first.
type keptCommand struct {
	Argv []string `json:"argv"`
	// Foreground gives the terminal at standard input to the command.
	Foreground bool `json:"foreground"`
	// Until is up to when the command may run, on the boot clock, unless more is heard.
	Until time.Duration `json:"until"`
}

// keptWord is what it says: the process that it started, and how that ended.
type keptWord struct {
	PID   int    `json:"pid,omitempty"`
	Ended bool   `json:"ended,omitempty"`
	Code  int    `json:"code,omitempty"`
	Stuck bool   `json:"stuck,omitempty"`
	Late  bool   `json:"late,omitempty"` // it was killed because it might not run any longer
	Error string `json:"error,omitempty"`
}

// keeper is one that was started. It belongs to one goroutine, but for ended.
type keeper struct {
	in    io.WriteCloser
	ended chan holdEnd
}

func startKeeper(argv, env []string, terminal bool, until time.Duration) (*keeper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	toIn, toOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	fromIn, fromOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, toIn.Close(), toOut.Close())
	}
	cmd := exec.Command(self)
	cmd.Args = []string{program}
	cmd.Env = append(env, keeperVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{toIn, fromOut}
	err = cmd.Start()
	_, _ = toIn.Close(), fromOut.Close()
	if err != nil {
		return nil, errors.Join(err, toOut.Close(), fromIn.Close())
	}
	k := &keeper{in: toOut, ended: make(chan holdEnd, 1)}
	first, err := json.Marshal(keptCommand{argv, terminal, until})
	if err == nil {
		_, err = toOut.Write(append(first, '\n'))
	}
	if err != nil {
		_ = toOut.Close() // it ends by that
	}
	go k.listen(cmd, fromIn)
	return k, nil
}

// listen waits for the end of the keeper. One that dies without a word is followed by its command, which died with it
// where the system can do that, and is killed here.
func (k *keeper) listen(cmd *exec.Cmd, from *os.File) {
	defer from.Close()
	end := holdEnd{err: errors.New("the process that started the command has died")}
	pid := 0
	for lines := bufio.NewScanner(from); lines.Scan(); {
		var w keptWord
		if json.Unmarshal(lines.Bytes(), &w) != nil {
			continue
		}
		switch {
		case w.Error != "":
			end = holdEnd{err: errors.New(w.Error)}
		case w.Ended:
			end = holdEnd{code: w.Code, stuck: w.Stuck, lost: w.Late}
		case w.PID != 0:
			pid = w.PID
		}
	}
	_ = cmd.Wait() // its status says nothing that it has not said
	_ = k.in.Close()
	if end.err != nil && pid != 0 {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		end.stuck = !groupGone(pid)
	}
	k.ended <- end
}

// say tells the keeper something. One that is dead hears nothing, which its end tells.
func (k *keeper) say(word string, n int64) { _, _ = fmt.Fprintf(k.in, "%s %d\n", word, n) }

// keep is the keeper's own life. It returns its exit status.
func keep() int {
	// Signals of the terminal reach every process in front of it; what is meant for the command comes by the pipe.
	signal.Notify(make(chan os.Signal, 1), passedOn...)
	signal.Ignore(syscall.SIGTTOU)
	// The command dies with the thread that starts it.
	runtime.LockOSThread()
	from, to := os.NewFile(3, "holder"), os.NewFile(4, "holder")
	answer := json.NewEncoder(to)
	lines := bufio.NewReader(from)
	var c keptCommand
	if line, err := lines.ReadBytes('\n'); err != nil || json.Unmarshal(line, &c) != nil || len(c.Argv) == 0 {
		return exitFailed
	}
	_ = os.Unsetenv(keeperVariable)
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = ownGroup(c.Foreground)
	if err := cmd.Start(); err != nil {
		_ = answer.Encode(keptWord{Error: err.Error()})
		return exitFailed
	}
	pid := cmd.Process.Pid
	_ = answer.Encode(keptWord{PID: pid})

	type told struct {
		word string
		n    int64
	}
	words := make(chan told)
	go func() { // lives as long as the process
		defer close(words)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			word, number, _ := strings.Cut(strings.TrimSpace(line), " ")
			if n, err := strconv.ParseInt(number, 10, 64); err == nil {
				words <- told{word, n}
			}
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	until, late := c.Until, false
	beat := time.NewTicker(holdBeat)
	defer beat.Stop()
	hear := words
	for {
		select {
		case err := <-ended:
			_ = err // the state says it
			// What it left in its group runs in the turn as it did.
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			gone := groupGone(pid)
			takeTerminal(c.Foreground)
			_ = answer.Encode(keptWord{Ended: true, Code: statusOf(cmd.ProcessState), Stuck: !gone, Late: late && !cmd.ProcessState.Exited()})
			return exitDone
		case w, open := <-hear:
			switch {
			case !open:
				hear = nil
				_ = syscall.Kill(-pid, syscall.SIGKILL)
			case w.word == sayUntil:
				until = time.Duration(w.n)
			case w.word == saySignal:
				_ = syscall.Kill(-pid, syscall.Signal(w.n))
			}
		case <-beat.C:
		}
		if clock.Boot() >= until {
			late = true
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
}

// goneBound is how long killed processes may take to be gone.
const goneBound = 5 * time.Second

// groupGone waits until no process of a group is left; false when that cannot be shown in time.
func groupGone(pgid int) bool {
	for end := time.Now().Add(goneBound); ; time.Sleep(time.Millisecond) {
		if errors.Is(syscall.Kill(-pgid, 0), syscall.ESRCH) {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// statusOf is the exit code as a shell tells it.
func statusOf(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
