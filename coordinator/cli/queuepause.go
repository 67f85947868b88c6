package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func (a *App) queuePause() *cobra.Command {
	var flags pauseFlags
	cmd := &cobra.Command{
		Use: "pause NAME", Short: "Start no further job of a queue; those that run go on", Args: takes("NAME"),
		Long: "Start no further job of a queue; those that run go on. Jobs can be published all the while, and wait.",
	}
	flags.bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := flags.options(a)
		if err != nil {
			return err
		}
		return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
			r, made, err := streams.PauseQueue(ctx, s.js, q, o)
			if err != nil {
				return err
			}
			return a.queuePaused(lanePaused{string(q), "", true, made, &r})
		})
	}
	return cmd
}

func (a *App) queueResume() *cobra.Command {
	return &cobra.Command{
		Use: "resume NAME", Short: "End the pause of a queue", Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
				was, err := streams.ResumeQueue(ctx, s.js, q)
				if err != nil {
					return err
				}
				return a.queuePaused(lanePaused{string(q), "", false, was, nil})
			})
		},
	}
}

func (a *App) queuePaused(p lanePaused) error {
	if a.json {
		return a.object(p)
	}
	a.tellPaused("queue "+p.Queue, p)
	return nil
}
