package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/streams/operator"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

func (a *App) laneHold() *cobra.Command {
	var wait, ttl string
	cmd := &cobra.Command{
		Use: "hold QUEUE TYPE.ID -- CMD…", Short: "Run a command in an entity's turn, while no job of it runs",
		Args: takes("QUEUE", "TYPE.ID", "CMD", "[CMD…]"),
		Long: `Run a command in an entity's turn: the job that runs is waited for, none is started while the command runs, and the
lane goes on when it has ended. The command finds JOB_QUEUE, JOB_ENTITY and JOB_FENCE in its environment. Signals are
passed on to it. It is killed, with all of its process group, when the lane cannot be kept: when the server does not
answer for most of a lease, or when this program dies or is stopped. The exit code is the command's.`,
		Example: "  coordinator lane hold ci build.123 --wait 5m -- ./repair.sh 123",
	}
	f := cmd.Flags()
	f.StringVar(&wait, "wait", "", "give up when the lane could not be had for so long (default: wait for ever)")
	f.StringVar(&ttl, "ttl", "", "end the command when it has had the lane for so long: TERM, and KILL ten seconds later")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.ArgsLenAtDash() != 2 {
			return usagef("usage: "+cmd.UseLine(), "the command stands behind --")
		}
		bounds := map[string]time.Duration{"--wait": 0, "--ttl": 0}
		for flag, text := range map[string]string{"--wait": wait, "--ttl": ttl} {
			if text == "" {
				continue
			}
			d, err := config.ParseDuration(text)
			if err != nil || d <= 0 {
				return usagef("write it as 30s or 5m", "%s: %q is no duration above 0", flag, text)
			}
			bounds[flag] = d
		}
		path, err := exec.LookPath(args[2])
		if err != nil {
			return &said{fmt.Errorf("%q cannot be run: %w", args[2], err), "nothing was held"}
		}
		return a.onLane(cmd, args, func(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity) error {
			return a.hold(ctx, s, q, e, append([]string{path}, args[3:]...), bounds["--wait"], bounds["--ttl"])
		})
	}
	return cmd
}

func (a *App) hold(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity, argv []string, wait, ttl time.Duration) error {
	waiting := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeoutCause(ctx, wait, fmt.Errorf("waited for %s", wait))
		defer cancel()
	}
	h, err := operator.HoldLane(waiting, s.js, q, e, operator.HoldOptions{By: a.who(), OnWait: func(why string) {
		fmt.Fprintf(a.Stderr, "waiting for %s: %s\n", e, oneLine(why))
	}})
	switch {
	case err != nil && ctx.Err() != nil:
		return &said{fmt.Errorf("asked to stop before %s could be had", e), "nothing is held, and nothing is left paused"}
	case err != nil && waiting.Err() != nil:
		return &said{fmt.Errorf("%w: %w", context.Cause(waiting), err), fmt.Sprintf("see what it does: coordinator lane why %s %s", q, e)}
	case err != nil:
		return err
	}
	fmt.Fprintf(a.Stderr, "%s is held; fence %d\n", e, h.Fence())
	env := append(a.Env[:len(a.Env):len(a.Env)], "JOB_QUEUE="+string(q), "JOB_ENTITY="+e.String(), "JOB_TYPE="+e.Type, "JOB_ENTITY_ID="+e.ID,
		"JOB_FENCE="+strconv.FormatUint(h.Fence(), 10))
	end := a.kept(h, argv, env, ttl)
	if end.stuck {
		return &said{fmt.Errorf("what %s started cannot be shown to be gone", argv[0]), "the lane goes on when the lease is over"}
	}
	// Also when somebody asks to stop meanwhile: what is not given back, waits for the lease.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*s.timeout)
	defer cancel()
	if err := h.Release(after); err != nil {
		err = &said{fmt.Errorf("give %s back: %w", e, err), "the lane goes on when the lease is over"}
		if end.code == 0 {
			return err
		}
		a.tell(a.root(), err)
	}
	switch {
	case end.err != nil:
		return &said{end.err, ""}
	case end.lost:
		return &said{fmt.Errorf("%s could not be kept: the command was killed", e), "the server did not answer for most of a lease, or somebody else took the lane"}
	case end.code != 0:
		return exitStatus(end.code)
	}
	return nil
}

// exitStatus is the exit code of a command that was run: it has told its failure itself.
type exitStatus int

func (e exitStatus) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// holdEnd is how a command ended.
type holdEnd struct {
	code int
	// lost: it was killed because the lane could not be kept. stuck: something of it may still run.
	lost, stuck bool
	err         error // it was not started
}

const (
	holdBeat = 50 * time.Millisecond
	// holdGrace is what a command gets between TERM and KILL when its time is over.
	holdGrace = 10 * time.Second
)

// kept runs the command under a keeper, which is told again and again until when it may run.
func (a *App) kept(h *operator.Hold, argv, env []string, ttl time.Duration) holdEnd {
	k, err := startKeeper(argv, env, a.Asks, h.Until())
	if err != nil {
		return holdEnd{err: err}
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passedOn...)
	defer signal.Stop(signals)
	beat := time.NewTicker(holdBeat)
	defer beat.Stop()
	var over, kill <-chan time.Time
	if ttl > 0 {
		over = time.After(ttl)
	}
	lost := false
	for {
		if until := h.Until(); until <= clock.Boot() {
			lost = true
			k.say(sayUntil, 0)
		} else {
			k.say(sayUntil, int64(until))
		}
		select {
		case end := <-k.ended:
			end.lost = (lost || end.lost) && !end.stuck // who keeps the command may have known it first
			return end
		case s := <-signals:
			k.say(saySignal, int64(s.(syscall.Signal)))
		case <-a.Again: // the same signals by another way: without somebody who takes them they would end this program
		case <-over:
			fmt.Fprintf(a.Stderr, "the command has had its %s: it is ended\n", ttl)
			k.say(saySignal, int64(syscall.SIGTERM))
			kill = time.After(holdGrace)
		case <-kill:
			k.say(saySignal, int64(syscall.SIGKILL))
		case <-beat.C:
		}
	}
}

// isExit says that an error only carries the exit code of a command.
func isExit(err error) (int, bool) {
	var e exitStatus
	return int(e), errors.As(err, &e)
}
