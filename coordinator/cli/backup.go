package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/streams"
)

func (a *App) queueBackup() *cobra.Command {
	return &cobra.Command{
		Use: "backup NAME DIR", Short: "Save a queue into a new folder", Args: takes("NAME", "DIR"),
		Long: `Save a queue into a new folder: its jobs, dead jobs, schedules, pauses, and what its jobs have been through. Workers and
publishers go on meanwhile. What is done after the backup comes again when it is restored.`,
		Example: "  coordinator queue backup ci backup-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := queueArg(args[0])
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
				b, err := streams.BackupQueue(ctx, s.js, q, args[1])
				if err != nil {
					return err
				}
				bytes := b.Claims.Bytes
				for _, one := range b.Streams {
					bytes += one.Bytes
				}
				if a.json {
					return a.object(struct {
						Queue   string    `json:"queue"`
						Dir     string    `json:"dir"`
						TakenAt time.Time `json:"taken_at"`
						Jobs    uint64    `json:"jobs"`
						Dead    uint64    `json:"dead"`
						Bytes   int64     `json:"bytes"`
					}{string(q), args[1], b.TakenAt, b.Jobs, b.Dead, bytes})
				}
				fmt.Fprintf(a.Stdout, "queue %s is saved in %s: %d job(s), %d dead, %s\n", q, args[1], b.Jobs, b.Dead, size(bytes))
				return nil
			})
		},
	}
}

func (a *App) queueRestore() *cobra.Command {
	var o streams.RestoreOptions
	cmd := &cobra.Command{
		Use: "restore NAME DIR", Short: "Make a queue from a backup", Args: takes("NAME", "DIR"),
		Long: `Make a queue from a backup. Nothing of the queue may be there, and no worker may run its jobs: stop them first. What
was done after the backup runs again, what was published after it is gone.`,
		Example: "  coordinator queue restore ci backup-1",
	}
	cmd.Flags().IntVar(&o.Replicas, "replicas", 0, "copies of every stream: 1, 3 or 5 (default: as many as there were)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := queueArg(args[0])
		if err != nil {
			return err
		}
		o.OnWait = func(d time.Duration) {
			fmt.Fprintf(a.Stderr, "waiting %s, so that workers of a server that is lost have noticed\n", d.Round(time.Second))
		}
		return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
			r, err := streams.RestoreQueue(ctx, s.js, q, args[1], o)
			if err != nil {
				return badOption(err)
			}
			if a.json {
				return a.object(struct {
					Queue   string    `json:"queue"`
					TakenAt time.Time `json:"taken_at"`
					Jobs    uint64    `json:"jobs"`
					Dead    uint64    `json:"dead"`
					Lanes   int       `json:"lanes"`
					Claims  int       `json:"claims"`
					Waited  float64   `json:"waited_seconds"`
				}{string(q), r.Backup.TakenAt, r.Backup.Jobs, r.Backup.Dead, r.Lanes, r.Claims, r.Waited.Seconds()})
			}
			fmt.Fprintf(a.Stdout, "queue %s is as it was %s ago: %d job(s) of %d entities, %d dead\n",
				q, a.age(r.Backup.TakenAt), r.Backup.Jobs, r.Lanes, r.Backup.Dead)
			return nil
		})
	}
	return cmd
}
