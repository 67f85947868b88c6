// Package dev is a whole system in one command, to try things out: a NATS server with JetStream inside this process,
// the queues, and a workerd as its own process.
//
// It listens on loopback only and leaves nothing behind: on ^C or TERM the daemon is stopped first (its jobs end as
// they do in production), then the server, then the folder with the data is removed unless the user named one. When
// the daemon ends by itself, everything ends, with its error. When this process is killed outright, the daemon is
// told to stop by the system; the temporary folder then stays.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Options say what to start.
type Options struct {
	// Dir keeps the data; empty is a temporary folder, removed at the end.
	Dir string
	// Port of the NATS server; 0 is any free one.
	Port   int
	Queues []subjects.Queue
	// Serve tells the daemon to serve Queues, whatever its configuration says.
	Serve bool
	// Lease of the queues that are made.
	Lease time.Duration
	// Config is a workerd.yaml, and Command a command behind `--`; both empty start no daemon.
	Config  string
	Command []string
	// Stdout and Stderr are the daemon's too.
	Stdout, Stderr io.Writer
	// Ready is called once, on Run's goroutine, when all is there.
	Ready func(Running) error
	// Again gets a value for each request to stop after the one that ended the context.
	Again <-chan os.Signal
}

// Running is what was started.
type Running struct {
	URL       string   `json:"url"`
	Dir       string   `json:"dir"`
	Temporary bool     `json:"temporary"`
	Queues    []string `json:"queues"`
	PID       int      `json:"pid"`
	// Workerd is the daemon's pid, or 0.
	Workerd int `json:"workerd_pid"`
}

// Run starts everything, waits until ctx ends or the daemon does, and stops everything. It returns nil after a clean
// end.
func Run(ctx context.Context, o Options) (err error) {
	path := ""
	if o.Config != "" || len(o.Command) > 0 {
		if path, err = FindDaemon(); err != nil {
			return err // before anything was started
		}
	}
	srv, err := startServer(o.Dir, o.Port, o.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, problem.New("clean up", srv.stop(), "")) }()
	if err := makeQueues(ctx, srv.url(), o); err != nil {
		if ctx.Err() != nil {
			return nil // asked to end before it was ready
		}
		return err
	}
	run := Running{URL: srv.url(), Dir: srv.dir, Temporary: srv.temp, PID: os.Getpid()}
	for _, q := range o.Queues {
		run.Queues = append(run.Queues, string(q))
	}
	if path == "" {
		if err := o.Ready(run); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	d, err := startDaemon(path, daemonArgs(srv.url(), o), o.Stdout, o.Stderr)
	if err != nil {
		return err
	}
	run.Workerd = d.cmd.Process.Pid
	if err := o.Ready(run); err != nil {
		return errors.Join(err, d.stop(o.Again))
	}
	select {
	case <-ctx.Done():
		return d.stop(o.Again)
	case <-d.done:
		if err := d.ended(); err != nil {
			return err
		}
		return errors.New("workerd ended by itself")
	}
}

func daemonArgs(url string, o Options) []string {
	args := []string{"--server", url}
	if o.Config != "" {
		args = append(args, "--config", o.Config)
	}
	if o.Serve {
		for _, q := range o.Queues {
			args = append(args, "--queue", string(q))
		}
	}
	if len(o.Command) > 0 {
		args = append(append(args, "--"), o.Command...)
	}
	return args
}

// makeQueues makes what is not there. A queue that a kept folder has already stays as it is.
func makeQueues(ctx context.Context, url string, o Options) error {
	nc, err := streams.Connect(ctx, streams.Options{URL: url, Name: "coordinator dev"})
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	policy := streams.DefaultPolicy()
	policy.Lease = o.Lease
	for _, q := range o.Queues {
		_, err := streams.LoadQueue(ctx, js, q)
		if errors.Is(err, streams.ErrUnknownQueue) {
			_, err = streams.CreateQueue(ctx, js, q, policy)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Explain is what a person sees when all is there, and what to try next.
func Explain(r Running, command []string) string {
	var b strings.Builder
	kept := "kept in " + r.Dir
	if r.Temporary {
		kept = "in " + r.Dir + ", removed at the end"
	}
	fmt.Fprintf(&b, "NATS server with JetStream on %s (data %s)\n", r.URL, kept)
	fmt.Fprintf(&b, "queues: %s\n", strings.Join(r.Queues, ", "))
	if r.Workerd != 0 {
		what := ""
		if len(command) > 0 {
			what = ", running " + strings.Join(command, " ")
		}
		fmt.Fprintf(&b, "workerd: pid %d%s\n", r.Workerd, what)
	}
	server, q := "", r.Queues[0]
	if r.URL != streams.DefaultURL {
		server = " -s " + r.URL
	}
	b.WriteString("\nWhat to try next, in another terminal:\n")
	if r.Workerd == 0 {
		fmt.Fprintf(&b, "  workerd%s --queue %s -- ./handle.sh\n", server, q)
	}
	fmt.Fprintf(&b, "  coordinator job publish %s build.123 --data hello%s\n", q, server)
	fmt.Fprintf(&b, "  coordinator queue info %s%s\n", q, server)
	fmt.Fprintf(&b, "  nats req jobs.%s.build.123 hello%s\n", q, server)
	b.WriteString("\n^C ends it all.\n")
	return b.String()
}
