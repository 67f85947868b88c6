package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/streams"
)

func (a *App) workerCommand() *cobra.Command {
	var queue string
	list := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List workers, also those that ended or were lost lately", Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
				workers, err := streams.ListWorkers(ctx, s.js)
				if err != nil {
					return err
				}
				if queue != "" {
					workers = slices.DeleteFunc(workers, func(w streams.SessionRecord) bool { return !slices.Contains(w.Queues, queue) })
				}
				for i := range workers { // an empty list is a list for scripts too
					w := &workers[i]
					w.Queues, w.Children = notNil(w.Queues), notNil(w.Children)
				}
				return rows(a, workers, "no workers; start one with: workerd --queue ci -- ./handle.sh",
					[]string{"id", "host", "pid", "state", "queues", "busy", "rss", "children", "restarts", "up", "beat"}, func(w streams.SessionRecord) []any {
						return []any{
							w.Worker, w.Host, w.PID, w.State, strings.Join(w.Queues, ","), fmt.Sprintf("%d/%d", w.Busy, w.Slots),
							size(w.RSSBytes), len(w.Children), restarts(w), a.age(w.StartedAt), a.age(w.BeatAt) + " ago",
						}
					})
			})
		},
	}
	list.Flags().StringVarP(&queue, "queue", "q", "", "only workers that serve this `queue`")
	return noun("worker", "Look at workers, and tell them what to do", list, a.workerInfo(),
		a.workerControl(streams.VerbQuiet, "quiet [ID…]", "Have workers take no more jobs; what runs goes on"),
		a.workerControl(streams.VerbResume, "resume [ID…]", "Have quiet workers take jobs again"),
		a.workerControl(streams.VerbStop, "stop [ID…]", "Have workers finish their jobs, hand back the rest and end"))
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
