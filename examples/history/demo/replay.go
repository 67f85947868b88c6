package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/examples/history"
	"github.com/seriatim/seriatim/internal/problem"
)

const queue = "demo"

// options are what the command line asks for; the paths are absolute.
type options struct {
	self, workerd, coordinator, child, shell string

	plan         plan
	broken, rule string
	limit        int
	plain, keep  bool
	out          io.Writer
}

// demo is one replay. The goroutine of replay owns it, but for what mu guards and the faults, which run beside it.
type demo struct {
	options
	dir    string
	server *fleet.Process
	url    string
	admin  fleet.Coordinator
	screen *screen
	hosts  []*host
	ops    []history.Op
	begun  time.Time

	mu    sync.Mutex
	tail  *fleet.Tail
	kills []record.Kill
	// dead are jobs that need not finish, because a fault made them dead.
	dead map[int]bool
}

// replay runs the whole demo and says whether nothing happened that must not.
func replay(ctx context.Context, o options) (fine bool, err error) {
	d := &demo{
		options: o, begun: time.Now(), dead: map[int]bool{},
		screen: &screen{out: o.out, begun: time.Now(), live: !o.plain && isatty.IsTerminal(os.Stdout.Fd())},
	}
	if d.dir, err = os.MkdirTemp("", "seriatim-demo-"); err != nil {
		return false, problem.New("make a folder", err, "")
	}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	d.tail = fleet.NewTail(d.path("record"))
	if err := d.prepare(ctx); err != nil {
		return false, err
	}
	if err := d.work(ctx); err != nil {
		return false, err
	}
	return d.judge(ctx)
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// prepare brings up server, queue and workers.
func (d *demo) prepare(ctx context.Context) (err error) {
	all, err := history.All()
	if err != nil {
		return err
	}
	d.ops = d.plan.ops(all)
	if d.limit > 0 {
		d.ops = d.ops[:min(d.limit, len(d.ops))]
	}
	if d.plan.lastShell {
		d.plan.shellEvery = d.ops[len(d.ops)-1].N
	}
	if d.rule != "" {
		d.screen.say("rule %s: %s", d.rule, d.plan.about)
	}
	if d.broken != "" {
		d.screen.say("This workerd was built WITHOUT that rule.")
	}
	if d.server, d.url, err = startServer(ctx, d.dir); err != nil {
		return err
	}
	d.admin = fleet.Coordinator{Binary: d.coordinator, URL: d.url, Mark: d.dir}
	d.screen.event("NATS server on %s, pid %d", d.url, d.server.PID())
	if _, err := d.admin.Run(ctx, "queue", "add", queue, "--lease", d.plan.lease.String()); err != nil {
		return err
	}
	for _, name := range d.plan.workers {
		h, err := d.addHost(name)
		if err != nil {
			return err
		}
		if err := h.start(ctx); err != nil {
			return err
		}
		d.screen.event("worker %s, pid %d, %d jobs at once", name, h.proc.PID(), d.plan.slots())
	}
	return nil
}

// load imports the jobs through coordinator.
func (d *demo) load(ctx context.Context) error {
	var lines bytes.Buffer
	if err := history.WriteImport(&lines, d.ops, d.plan.shellEvery); err != nil {
		return err
	}
	file := d.path("jobs.jsonl")
	if err := os.WriteFile(file, lines.Bytes(), 0o644); err != nil {
		return problem.New("write jobs", err, "")
	}
	var sum struct {
		Published     int     `json:"published"`
		JobsPerSecond float64 `json:"jobs_per_second"`
	}
	if err := d.admin.JSON(ctx, &sum, "job", "import", queue, file); err != nil {
		return err
	}
	d.screen.event("imported %s jobs, %s/s", comma(sum.Published), comma(int(sum.JobsPerSecond)))
	return nil
}

// work imports the jobs, does the faults, and waits until all is done or nothing moves any more.
func (d *demo) work(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sides sync.WaitGroup
	defer sides.Wait()
	finished := make(chan struct{})
	sides.Go(func() {
		if err := d.load(ctx); err != nil {
			cancel(err)
		}
	})
	sides.Go(func() {
		defer close(finished)
		if err := d.plan.faults(ctx, d); err != nil {
			cancel(err)
		}
	})
	quietSince := time.Now() // when the faults were over
	faults := finished
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-faults:
			faults, quietSince = nil, time.Now()
		case <-time.After(20 * time.Millisecond):
		}
		done, moved, err := d.look()
		if err != nil {
			return err
		}
		for _, h := range d.hosts {
			if err := h.died(ctx); err != nil {
				return err
			}
		}
		if faults != nil {
			continue
		}
		if done {
			return d.settled(ctx)
		}
		if quiet := min(time.Since(moved), time.Since(quietSince)); quiet > d.plan.patience {
			d.screen.event("nothing has moved for %s: giving up on the rest", quiet.Round(time.Second))
			return nil
		}
	}
}

// look reads along and shows how far it is.
func (d *demo) look() (done bool, moved time.Time, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.tail.Poll(); err != nil {
		return false, time.Time{}, err
	}
	d.screen.progress(d.tail.Finished, len(d.ops), len(d.tail.Open()), d.tail.Peak)
	return d.tail.Finished+len(d.dead) >= len(d.ops), d.tail.Moved, nil
}

// settled waits until the queue knows too that all is done.
func (d *demo) settled(ctx context.Context) error {
	var left uint64
	for end := time.Now().Add(d.plan.patience); time.Now().Before(end); {
		info, err := d.admin.QueueInfo(ctx, queue)
		if err != nil {
			return err
		}
		if left = info.Jobs; left == 0 {
			return nil
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	d.screen.event("the queue still has %d jobs", left)
	return nil
}

// judge stops the workers and lets the witness speak.
func (d *demo) judge(ctx context.Context) (fine bool, err error) {
	took := time.Since(d.begun)
	for _, h := range d.hosts {
		if err := h.proc.Stop(stopBound); err != nil {
			return false, err
		}
		h.gone = true
	}
	log, err := record.ReadFiles(d.path("record"))
	if err != nil {
		return false, err
	}
	expected := history.Expected(d.ops)
	for i := range expected {
		expected[i].Dead = d.dead[expected[i].Op]
	}
	report := record.Check(log, expected, d.kills)
	d.screen.say("\nWhat the witness says, who sees only when jobs started and ended:\n\n%s", report)
	fine = report.OK()
	if d.plan.check != nil {
		more, err := d.plan.check(ctx, d)
		if err != nil {
			return false, err
		}
		for _, text := range more[:min(10, len(more))] {
			d.screen.say("  %s", text)
		}
		if len(more) > 10 {
			d.screen.say("  … and %d more", len(more)-10)
		}
		fine = fine && len(more) == 0
	}
	same, err := d.compare()
	if err != nil {
		return false, err
	}
	fine = fine && same
	d.screen.say("%s", d.verdict(fine, took))
	return fine, nil
}

// compare looks at what the jobs left behind.
func (d *demo) compare() (same bool, err error) {
	want := slices.DeleteFunc(slices.Clone(d.ops), func(op history.Op) bool { return d.dead[op.N] })
	exist, differences, err := history.Compare(d.path("state"), want)
	if err != nil {
		return false, err
	}
	if len(differences) == 0 {
		d.screen.say("%-26s %9s  exactly the files that the repository has then", "final state", comma(exist))
		return true, nil
	}
	d.screen.say("%-26s %9s  files are otherwise than in the repository:", "final state", comma(len(differences)))
	for _, text := range differences[:min(5, len(differences))] {
		d.screen.say("  %s", text)
	}
	return false, nil
}

func (d *demo) verdict(fine bool, took time.Duration) string {
	simulator := "\nThe simulator plays the rare interleavings in which it does: go test ./streams/lane/sim"
	switch {
	case d.broken != "" && !fine:
		return fmt.Sprintf("\nThe checker found the damage that rule %s prevents (%.0fs).", d.broken, took.Seconds())
	case d.broken != "":
		text := fmt.Sprintf("\nNo damage was seen without rule %s (%.0fs): it does not show in this demo each time.", d.broken, took.Seconds())
		return text + simulator
	case fine:
		return fmt.Sprintf("\nNothing overlapped, nothing was out of order, nothing was lost (%.0fs).", took.Seconds())
	}
	return "\nThis must not happen. Please report it, with what --keep keeps."
}

// errLeftBehind: the demo ends, but not without a trace.
var errLeftBehind = errors.New("something is left behind")

// cleanUp ends what still runs and removes the folder.
func (d *demo) cleanUp() error {
	var errs []error
	for _, h := range d.hosts {
		h.end()
	}
	if d.server != nil {
		d.server.Kill()
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := fleet.Leftovers(d.dir)
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it carries our mark
			}
			errs = append(errs, fmt.Errorf("processes %v outlived their workerd and were killed", left))
			break
		}
	}
	if d.keep {
		d.screen.say("kept: %s", d.dir)
	} else if err := os.RemoveAll(d.dir); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil
	}
	return problem.New("clean up", fmt.Errorf("%w: %w", errLeftBehind, errors.Join(errs...)), "look into "+d.dir+" and remove it")
}

func sleep(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(t):
		return nil
	}
}
