package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/operator"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

// who is the person at the keyboard, as others know them: user@host.
func (a *App) who() string {
	name := a.getenv("USER")
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if name == "" {
		name = "unknown"
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return name
	}
	return name + "@" + host
}

// pauseFlags are those of who pauses.
type pauseFlags struct{ by, reason, bound string }

func (p *pauseFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.reason, "reason", "", "why, for those who find it paused")
	f.StringVar(&p.by, "by", "", "who pauses (default: user@host)")
	f.StringVar(&p.bound, "for", "", "end the pause by itself after this `duration`")
}

func (p *pauseFlags) options(a *App) (streams.PauseOptions, error) {
	o := streams.PauseOptions{By: p.by, Reason: p.reason}
	if o.By == "" {
		o.By = a.who()
	}
	if p.bound != "" {
		d, err := config.ParseDuration(p.bound)
		if err != nil || d < time.Second {
			return o, usagef("write it as 10m or 2h; a second is the least", "--for: %q is no duration of a second or more", p.bound)
		}
		if d > streams.MaxPause {
			return o, usagef("leave it out for a pause that somebody ends", "--for: %q is more than a hundred years", p.bound)
		}
		o.For = d
	}
	return o, nil
}

// lanePaused is what pause and resume say of one lane, or of a whole queue.
type lanePaused struct {
	Queue  string `json:"queue"`
	Entity string `json:"entity,omitempty"`
	Paused bool   `json:"paused"`
	// Changed is false when it was so before.
	Changed bool                 `json:"changed"`
	Pause   *streams.PauseRecord `json:"pause,omitempty"`
}

func (a *App) tellPaused(what string, p lanePaused) {
	switch {
	case p.Paused && p.Changed:
		fmt.Fprintf(a.Stdout, "%s is paused; a job that runs goes on\n", what)
	case p.Paused:
		text := fmt.Sprintf("%s was paused before, by %s, %s ago", what, orUnknown(p.Pause.By), a.age(p.Pause.At))
		if p.Pause.Reason != "" {
			text += ": " + p.Pause.Reason
		}
		fmt.Fprintln(a.Stdout, oneLine(text)+"; nothing was changed")
	case p.Changed:
		fmt.Fprintf(a.Stdout, "%s goes on\n", what)
	default:
		fmt.Fprintf(a.Stdout, "%s was not paused\n", what)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "somebody"
	}
	return s
}

// onLanes does something with each lane that the arguments name. All names are read before anything is done.
func onLanes[T any](a *App, cmd *cobra.Command, args []string, do func(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity) (T, error), tell func(T)) error {
	q, err := queueArg(args[0])
	if err != nil {
		return err
	}
	lanes, err := entities(args[1:])
	if err != nil {
		return err
	}
	return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
		done := []T{}
		var failed error
		for _, e := range lanes {
			one, err := do(ctx, s, q, e)
			if err != nil {
				failed = err
				break
			}
			if done = append(done, one); !a.json {
				tell(one)
			}
		}
		if a.json && (failed == nil || len(done) > 0) {
			return errors.Join(failed, a.object(done))
		}
		return failed
	})
}

func (a *App) lanePause() *cobra.Command {
	var flags pauseFlags
	cmd := &cobra.Command{
		Use: "pause QUEUE TYPE.ID…", Short: "Start no further job of a lane; one that runs goes on", Args: takes("QUEUE", "TYPE.ID", "[TYPE.ID…]"),
		Example: "  coordinator lane pause ci build.123 --reason 'disk is full' --for 2h",
	}
	flags.bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := flags.options(a)
		if err != nil {
			return err
		}
		return onLanes(a, cmd, args, func(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity) (lanePaused, error) {
			r, made, err := streams.PauseLane(ctx, s.js, q, e, o)
			return lanePaused{string(q), e.String(), true, made, &r}, err
		}, func(p lanePaused) { a.tellPaused(p.Entity, p) })
	}
	return cmd
}

func (a *App) laneResume() *cobra.Command {
	return &cobra.Command{
		Use: "resume QUEUE TYPE.ID…", Short: "End the pause of a lane", Args: takes("QUEUE", "TYPE.ID", "[TYPE.ID…]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onLanes(a, cmd, args, func(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity) (lanePaused, error) {
				was, err := streams.ResumeLane(ctx, s.js, q, e)
				return lanePaused{string(q), e.String(), false, was, nil}, err
			}, func(p lanePaused) { a.tellPaused(p.Entity, p) })
		},
	}
}

// laneReleased is what release says of one lane.
type laneReleased struct {
	Queue  string `json:"queue"`
	Entity string `json:"entity"`
	Job    uint64 `json:"job"`
	Buried bool   `json:"buried"`
	Cause  string `json:"cause"`
	Error  string `json:"error"`
}

// allHalted looks before any lane is released: a slip in one name releases none.
func allHalted(ctx context.Context, s *session, q subjects.Queue, raw []string) error {
	lanes, err := entities(raw)
	if err != nil {
		return err
	}
	for _, e := range lanes {
		info, err := streams.GetLane(ctx, s.js, q, e)
		if err != nil {
			return err
		}
		if info.State != streams.LaneHalted {
			return problem.New(fmt.Sprintf("release %s in %s", e, q), operator.ErrNotHalted, "nothing was released; "+info.Why)
		}
	}
	return nil
}

func (a *App) laneRelease() *cobra.Command {
	var bury bool
	cmd := &cobra.Command{
		Use: "release QUEUE TYPE.ID…", Short: "Let a lane go on that was halted by a dead job", Args: takes("QUEUE", "TYPE.ID", "[TYPE.ID…]"),
		Long: "Let a lane go on that was halted by a dead job. The job is tried again as if it had never been started; with --bury it goes to the dead jobs, and the next one runs.",
	}
	cmd.Flags().BoolVar(&bury, "bury", false, "do not try the job again: put it among the dead")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		checked := len(args) == 2 // a single one is checked as it is released
		return onLanes(a, cmd, args, func(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity) (laneReleased, error) {
			if !checked {
				if err := allHalted(ctx, s, q, args[1:]); err != nil {
					return laneReleased{}, err
				}
				checked = true
			}
			r, err := operator.ReleaseHalted(ctx, s.js, q, e, bury)
			return laneReleased{string(q), e.String(), r.Job, bury, r.Cause, r.Error}, err
		}, func(r laneReleased) {
			what := "is tried again"
			if bury {
				what = "goes to the dead jobs"
			}
			fmt.Fprintf(a.Stdout, "%s goes on: job %d %s\n", r.Entity, r.Job, what)
		})
	}
	return cmd
}
