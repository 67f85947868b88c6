package daemon

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/workerd/alerts"
	"github.com/seriatim/seriatim/workerd/config"
)

// outageGrace is how long NATS has to be away before that is worth an alert: shorter ones cost nothing.
const outageGrace = 5 * time.Second

// alertStop is how long alerts may still be sent at the end.
const alertStop = 3 * time.Second

// alarm raises alerts. It is replaced as a whole when the configuration is read anew.
type alarm struct {
	hub      *alerts.Hub
	commands []lifecycle.Pool

	mu     sync.Mutex
	outage *time.Timer // until a loss of NATS is told
}

// newAlarm starts what the configuration lists.
func (d *daemon) newAlarm(list []config.Alert) (*alarm, error) {
	a := &alarm{}
	var places []alerts.Place
	for i, c := range list {
		name := "alerts." + strconv.Itoa(i)
		p := alerts.Place{Name: name, Wants: c.Wants, Every: c.Every}
		var err error
		if len(c.Command) > 0 {
			p.Send, err = a.command(d, name, c.Command)
		} else {
			p.Send, err = alerts.Webhook{URL: c.Webhook, Format: alerts.Format(c.Format), Token: c.Token}.Sender()
		}
		if err != nil {
			a.stop()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		places = append(places, p)
	}
	a.hub = alerts.New(alerts.Options{
		Places:    places,
		From:      alerts.Alert{Worker: d.id, Host: d.health.host, PID: d.health.pid, Version: version.String()},
		OnOutcome: func(o alerts.Outcome) { d.metrics.Alerted(string(o)) },
		OnFailure: func(place string, a alerts.Alert, err error) {
			d.log.Warn().Err(err).Str("event", a.Event).Msg("an alert could not be delivered")
		},
	})
	return a, nil
}

// command is a place that runs a program, contained as a job is: it cannot outlive its time, or leave anything behind.
func (a *alarm) command(d *daemon, name string, argv []string) (func(context.Context, alerts.Alert) error, error) {
	pool, err := lifecycle.New(lifecycle.Config{
		Name: name, Mode: lifecycle.ModeExec, Command: argv, Concurrency: 1, KillAfter: time.Second,
		Log: func(l lifecycle.LogLine) { logLine(d.log, l) },
	})
	if err == nil {
		err = pool.Start(context.Background())
	}
	if err != nil {
		return nil, err
	}
	a.commands = append(a.commands, pool)
	return func(ctx context.Context, alert alerts.Alert) error {
		body, err := alert.Encode()
		if err != nil {
			return err
		}
		res := pool.Run(ctx, lifecycle.Job{Kind: alert.Event, ID: alert.Event, Attempt: 1, Body: body})
		switch res.Cause {
		case lifecycle.Done:
			return nil
		case lifecycle.FailedForGood:
			return fmt.Errorf("%w: %s", alerts.ErrRefused, res.Err)
		default:
			return fmt.Errorf("it %s: %s", res.Cause, res.Err)
		}
	}, nil
}

// stop sends what is queued, within a bound, and ends the commands.
func (a *alarm) stop() {
	a.mu.Lock()
	if a.outage != nil {
		a.outage.Stop()
	}
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), alertStop)
	defer cancel()
	if a.hub != nil {
		a.hub.Stop(ctx)
	}
	for _, p := range a.commands {
		p.Stop(ctx)
	}
}

// raise tells of something. It never waits.
func (d *daemon) raise(a alerts.Alert) {
	if al := d.alarm.Load(); al != nil {
		al.hub.Raise(a)
	}
}

// natsLost and natsBack are told by the connection.
func (d *daemon) natsLost(why string) {
	al := d.alarm.Load()
	if al == nil {
		return
	}
	n, _ := d.health.connection()
	since := n.Since
	al.mu.Lock()
	defer al.mu.Unlock()
	if al.outage != nil {
		al.outage.Stop()
	}
	al.outage = time.AfterFunc(outageGrace-time.Since(since), func() {
		if n, _ := d.health.connection(); n.Connected {
			return // it came back just now
		}
		d.raise(alerts.Alert{
			Event: config.AlertNATSLost, Level: "error", Text: "the NATS server cannot be reached; no jobs are taken, and those that run end with the session",
			Detail: map[string]string{"error": why, "since": since.UTC().Format(time.RFC3339)},
		})
	})
}

func (d *daemon) natsBack() {
	al := d.alarm.Load()
	if al == nil {
		return
	}
	al.mu.Lock()
	if al.outage != nil {
		al.outage.Stop()
		al.outage = nil
	}
	al.mu.Unlock()
	d.raise(alerts.Alert{
		Event: config.AlertNATSBack, Follows: config.AlertNATSLost, Level: "info", Text: "the NATS server can be reached again",
	})
}

func (d *daemon) alertCrashLoop(pool string, times int, why string) {
	d.raise(alerts.Alert{
		Event: config.AlertCrashLoop, About: pool, Level: "error",
		Text:   fmt.Sprintf("children of pool %s crash in a loop: %d within %s", pool, times, loopWindow),
		Detail: map[string]string{"pool": pool, "error": why},
	})
}

func (d *daemon) alertMemory(e lifecycle.Event) {
	d.raise(alerts.Alert{
		Event: config.AlertMemoryKill, About: e.Pool, Level: "warning",
		Text:   fmt.Sprintf("a child of pool %s is ended for the memory that it uses", e.Pool),
		Detail: map[string]string{"pool": e.Pool, "child": strconv.Itoa(e.PID), "error": e.Err.Error()},
	})
}

// alertDead tells of a dead job.
func (d *daemon) alertDead(e engine.Event) {
	d.raise(alerts.Alert{
		Event: config.AlertJobDead, About: string(e.Queue) + " " + e.Header.Kind, Level: "error",
		Text: fmt.Sprintf("job %s of %s is dead after %d attempts: %s", e.Header.Kind, e.Entity, e.Attempt, e.Outcome),
		Detail: map[string]string{
			"queue": string(e.Queue), "entity": e.Entity.String(), "kind": e.Header.Kind, "id": e.Header.ID,
			"seq": strconv.FormatUint(e.Seq, 10), "cause": e.Outcome, "error": e.Error,
		},
	})
}
