package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/seriatim/seriatim/workerd/probes"
)

// status shows what the workerds do.
func (c *command) status(ctx context.Context, targets []Entry) error {
	reports := []probes.Report{}
	var failed []error
	for _, e := range targets {
		r, err := c.report(ctx, e)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		reports = append(reports, r)
	}
	if c.json {
		enc := json.NewEncoder(c.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(reports); err != nil {
			return err
		}
	} else {
		for _, r := range reports {
			c.show(r)
		}
	}
	return errors.Join(failed...)
}

// report asks once; with --wait until the workerd is up.
func (c *command) report(ctx context.Context, e Entry) (probes.Report, error) {
	for {
		r, err := ask(ctx, e)
		if !c.wait || err == nil && r.Started {
			return r, err
		}
		if !e.Living() {
			return r, fmt.Errorf("wait for workerd %d: %w", e.PID, ErrGone)
		}
		if !pause(ctx) {
			return r, fmt.Errorf("wait for workerd %d to be up: %w", e.PID, errors.Join(context.Cause(ctx), err))
		}
	}
}

func (c *command) show(r probes.Report) {
	ago := func(t time.Time) string { return time.Since(t).Round(time.Second).String() }
	fmt.Fprintf(c.out, "workerd %d  %s  %s  up %s\n", r.PID, r.Worker, r.State, ago(r.StartedAt))
	fmt.Fprintf(c.out, "  queues %s, %d of %d slots busy, %s\n", strings.Join(r.Queues, ","), r.Busy, r.Slots, humanize.IBytes(uint64(max(0, r.RSSBytes))))
	switch {
	case r.NATS.Connected && r.RTTMS > 0:
		fmt.Fprintf(c.out, "  NATS %s, round trip %.1f ms\n", r.NATS.Server, r.RTTMS)
	case r.NATS.Connected:
		fmt.Fprintf(c.out, "  NATS %s\n", r.NATS.Server)
	case r.NATS.Since.IsZero():
		fmt.Fprintln(c.out, "  NATS not reached yet")
	default:
		fmt.Fprintf(c.out, "  NATS away for %s\n", ago(r.NATS.Since))
	}
	for _, why := range r.NotLive {
		fmt.Fprintln(c.out, "  not live:", why)
	}
	for _, why := range r.NotReady {
		fmt.Fprintln(c.out, "  not ready:", why)
	}
	tab := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
	if len(r.Jobs) > 0 {
		fmt.Fprintln(tab, "  QUEUE\tENTITY\tKIND\tATTEMPT\tFENCE\tSINCE\tPROGRESS")
	}
	for _, j := range r.Jobs {
		progress := ""
		if p := j.At; p != nil && p.Of > 0 {
			progress = fmt.Sprintf("%g of %g %s", p.At, p.Of, p.Note)
		} else if p != nil {
			progress = fmt.Sprintf("%g %s", p.At, p.Note)
		}
		fmt.Fprintf(tab, "  %s\t%s\t%s\t%d\t%d\t%s\t%s\n", j.Queue, clean(j.Entity), clean(j.Kind), j.Attempt, j.Fence, ago(j.Since), clean(progress))
	}
	_ = tab.Flush() // standard output that is gone cannot be told so
	if more := r.Busy - len(r.Jobs); more > 0 {
		fmt.Fprintf(c.out, "  and %d jobs more\n", more)
	}
	if len(r.Children) > 0 {
		fmt.Fprintln(tab, "  POOL\tCHILD\tSTATE\tJOBS\tRSS")
	}
	for _, ch := range r.Children {
		fmt.Fprintf(tab, "  %s\t%d\t%s\t%d\t%s\n", ch.Pool, ch.PID, ch.State, ch.Jobs, humanize.IBytes(uint64(max(0, ch.RSSBytes))))
	}
	_ = tab.Flush()
}

// clean keeps what publishers wrote from moving the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
