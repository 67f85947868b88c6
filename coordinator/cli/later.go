package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

// laterFlags say when, if not now.
type laterFlags struct{ in, at string }

func (l *laterFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&l.in, "in", "", "not before so long from now, such as 500ms, 5m or 2d")
	f.StringVar(&l.at, "at", "", "not before this `time`, such as 2027-01-31T15:04:05+01:00")
}

// when is nil for now.
func (l *laterFlags) when(f *pflag.FlagSet) (*schedule.When, error) {
	switch {
	case f.Changed("in") && f.Changed("at"):
		return nil, usagef("", "--in and --at do not go together")
	case f.Changed("in"):
		in, err := config.ParseDuration(l.in)
		if err != nil {
			return nil, usagef("", "--in: %w", err)
		}
		return &schedule.When{In: in}, nil
	case f.Changed("at"):
		at, err := instant("--at", l.at)
		if err != nil {
			return nil, err
		}
		if at.IsZero() {
			at = at.Add(1) // zero says that none was given, and this one is over as well
		}
		return &schedule.When{At: at}, nil
	}
	return nil, nil
}

// instant reads a time with its zone: without one it would be another time on another host.
func instant(flag, text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, usagef("write it with its zone: 2027-01-31T15:04:05Z or 2027-01-31T15:04:05+01:00", "%s: %q is no time", flag, text)
	}
	return at, nil
}

// publishLater stores a job for later and tells by which id it can be cancelled.
func (a *App) publishLater(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity, o streams.PublishOptions, when schedule.When) error {
	d, err := schedule.Publish(ctx, s.js, q, e, o, when)
	return a.delayed(q, d, err)
}

// delayed tells of a job that was stored for later.
func (a *App) delayed(q subjects.Queue, d schedule.Delayed, err error) error {
	if err != nil {
		return badOption(err)
	}
	if a.json {
		return a.object(struct {
			Queue     string    `json:"queue"`
			Entity    string    `json:"entity"`
			ID        string    `json:"id"`
			DueAt     time.Time `json:"due_at"`
			Duplicate bool      `json:"duplicate"`
		}{string(q), d.Entity, d.ID, d.DueAt.UTC(), d.Duplicate()})
	}
	if d.Duplicate() {
		fmt.Fprintf(a.Stderr, "a job with id %s waits for its time, or was stored a moment ago; this one was not stored\n", oneLine(d.ID))
	}
	fmt.Fprintln(a.Stdout, d.ID)
	return nil
}

// debounceOf is 0 when jobs are not to be debounced.
func debounceOf(f *pflag.FlagSet, text string) (time.Duration, error) {
	if !f.Changed("debounce") {
		return 0, nil
	}
	for _, other := range []string{"in", "at", "wait", "if-idle"} {
		if f.Changed(other) {
			return 0, usagef("", "--debounce and --%s do not go together", other)
		}
	}
	d, err := config.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, usagef("write it as 500ms or 5s", "--debounce: %q is no duration above 0", text)
	}
	return d, nil
}

// publishDebounced puts off what was published for the entity and kind before, and replaces it.
func (a *App) publishDebounced(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity, o streams.PublishOptions, quiet time.Duration) error {
	d, err := schedule.Debounce(ctx, s.js, q, e, o, quiet)
	return a.delayed(q, d, err)
}
