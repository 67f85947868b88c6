package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/internal/nearest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

func (a *App) laneCommand() *cobra.Command {
	return noun("lane", "Look at lanes, pause, release and hold them",
		a.laneList(), a.laneInfo(), a.laneWhy(), a.lanePause(), a.laneResume(), a.laneRelease(), a.laneHold())
}

// onLane runs do with the queue and the entity that the first two arguments name.
func (a *App) onLane(cmd *cobra.Command, args []string, do func(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity) error) error {
	q, err := queueArg(args[0])
	if err != nil {
		return err
	}
	e, err := subjects.ParseEntity(args[1])
	if err != nil {
		return usage{err}
	}
	return a.with(cmd.Context(), func(ctx context.Context, s *session) error { return do(ctx, s, q, e) })
}

func (a *App) laneList() *cobra.Command {
	var f streams.LaneFilter
	var states []string
	cmd := &cobra.Command{
		Use: "ls QUEUE", Aliases: []string{"list"}, Short: "List the lanes that have jobs, and those that are paused", Args: takes("QUEUE"),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Type, "type", "", "only entities of this type")
	flags.StringSliceVar(&states, "state", nil, "only in this `state`: "+strings.Join(listedStates(), ", "))
	flags.IntVar(&f.Limit, "limit", 0, "at most so many; 0 is all (default: 100, with --json all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := queueArg(args[0])
		if err != nil {
			return err
		}
		if f.Limit < 0 {
			return usagef("0 is all", "--limit is below 0")
		}
		if f.Type != "" && !subjects.IsType(f.Type) {
			return usagef("a type is 1 to 64 of A-Z, a-z, 0-9, _ and -", "--type: %q is no type of entities", f.Type)
		}
		for _, s := range states {
			if !slices.Contains(listedStates(), s) {
				return usagef("one of "+strings.Join(listedStates(), ", "), "--state: %q is no state of a lane%s", s, nearest.Hint(s, listedStates()))
			}
			f.States = append(f.States, streams.LaneState(s))
		}
		cut := !a.json && !flags.Changed("limit")
		if cut {
			f.Limit = defaultRows + 1
		}
		return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
			lanes, err := streams.ListLanes(ctx, s.js, q, f)
			if err != nil {
				return err
			}
			if cut = cut && len(lanes) > defaultRows; cut {
				lanes = lanes[:defaultRows]
			}
			err = rows(a, lanes, "no lanes", []string{"entity", "state", "jobs", "head", "kind", "age", "worker", "since", "due", ""}, func(l streams.LaneRow) []any {
				head := ""
				if l.Head != 0 {
					head = fmt.Sprint(l.Head)
				}
				return []any{l.Entity, string(l.State), l.Jobs, head, l.Kind, a.age(l.PublishedAt), l.Worker, a.age(l.Since), a.until(l.Due), shorten(l.Detail, 60)}
			})
			if cut {
				fmt.Fprintf(a.Stderr, "these are the first %d; --limit 0 lists all\n", defaultRows)
			}
			return err
		})
	}
	return cmd
}

// listedStates are the states that a list tells apart.
func listedStates() []string {
	return []string{
		string(streams.LaneWaiting), string(streams.LaneRunning), string(streams.LaneRetrying), string(streams.LanePaused),
		string(streams.LaneHalted), string(streams.LaneHeld), string(streams.LaneLost),
	}
}

// until is how far away a moment is, or nothing.
func (a *App) until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "in " + span(t.Sub(a.Now()))
}

func (a *App) laneWhy() *cobra.Command {
	return &cobra.Command{
		Use: "why QUEUE TYPE.ID", Short: "Say in one sentence why a lane does not move", Args: takes("QUEUE", "TYPE.ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onLane(cmd, args, func(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity) error {
				l, err := streams.GetLane(ctx, s.js, q, e)
				if err != nil {
					return err
				}
				if a.json {
					return a.object(l)
				}
				fmt.Fprintln(a.Stdout, oneLine(l.Why))
				return nil
			})
		},
	}
}

func (a *App) laneInfo() *cobra.Command {
	return &cobra.Command{
		Use: "info QUEUE TYPE.ID", Short: "Show all that is known of a lane", Args: takes("QUEUE", "TYPE.ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onLane(cmd, args, func(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity) error {
				l, err := streams.GetLane(ctx, s.js, q, e)
				if err != nil {
					return err
				}
				if a.json {
					return a.object(l)
				}
				a.showLane(l)
				return nil
			})
		},
	}
}

func (a *App) showLane(l streams.LaneInfo) {
	list := []fact{{"lane", l.Entity}, {"queue", l.Queue}, {"state", l.State}, {"why", l.Why}, {"unfinished jobs", l.Jobs}}
	if h := l.Head; h != nil {
		list = append(list, fact{"head", fmt.Sprintf("job %d, %s, id %s, published %s ago", h.Seq, h.Kind, h.ID, a.age(h.PublishedAt))}, fact{"invalid", h.Invalid})
	}
	if c := l.Claim; c != nil {
		claim := fmt.Sprintf("%s, job %d, fence %d, attempt %d", c.State, c.Job, c.Fence, c.Attempt)
		if c.State != lane.Held && (l.Head == nil || l.Head.Seq > c.Job) {
			what := "has ended"
			if c.Passing {
				what = "let others pass"
			}
			claim += "; that job " + what
		}
		list = append(list, fact{"claim", claim})
		if !c.Zero() {
			list = append(list, countsFact(c.Counts))
		}
		list = append(list, fact{"last error", c.Error})
	}
	if h := l.Holder; h != nil {
		list = append(list, fact{"worker", fmt.Sprintf("%s, pid %d on %s, %s, beat %s ago", h.Worker, h.PID, h.Host, h.State, a.age(h.BeatAt))}, fact{"progress", progress(h.Progress)})
	}
	switch t := l.Turn; {
	case t == nil && l.Head != nil:
		list = append(list, fact{"turn", "none"})
	case t == nil:
	case t.Delivered:
		list = append(list, fact{"turn", fmt.Sprintf("%d, delivered", t.Seq)})
	default:
		list = append(list, fact{"turn", fmt.Sprintf("%d, behind at most %d", t.Seq, l.Ahead)})
	}
	a.facts(append(list, fact{"workers", fmt.Sprintf("%d, %d of %d slots busy", l.Workers, l.Busy, l.Slots)}))
	if l.Claim == nil {
		return
	}
	for i, t := range l.Claim.Tries {
		fmt.Fprintf(a.Stdout, "try %d: %s\n", i+1, oneLine(tried(a, t)))
	}
}

func countsFact(c lane.Counts) fact {
	return fact{"counts", fmt.Sprintf("failed %d, crashed %d, memory %d, lost %d, interrupted %d", c.Attempts, c.Crashes, c.Memory, c.Lost, c.Interrupted)}
}

// tried is one attempt that ended badly, on a line.
func tried(a *App, t lane.Try) string {
	text := t.Cause
	if t.Error != "" {
		text += ": " + t.Error
	}
	text += fmt.Sprintf(" (session %s, fence %d", t.Worker, t.Fence)
	if t.End != 0 {
		text += ", " + a.age(time.UnixMilli(t.End)) + " ago"
	}
	return text + ")"
}
