// Package daemon is workerd: it joins the engine, which knows NATS, and the pools, which know processes.
//
// The order of things matters at both ends. At the start the pools come first, so that no turn is taken before a child
// can run it. At the end the engine stops first: it lets jobs finish, then ends them, writes back what was interrupted
// when the groups are empty, and says goodbye; only then the idle children are stopped and the connection closed.
//
// # On failure
//
// What is wrong with the configuration, the server or the queue is returned before any job is taken. A server that is
// away at the start is waited for. A server that goes away later is waited for too; the engine ends the jobs when its
// session is over. A stop is bounded: what cannot be handed back by then, the lease hands over.
//
// On Linux two processes do this (see lifecycle/guardian): Guard is the top one, Run the engine below it. An engine that
// loses its guardian kills its jobs, hands back what it can within two seconds and exits. One that follows another gives
// back what that one held.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/drain"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/lifecycle/notify"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
	"github.com/seriatim/seriatim/workerd/control"
	"github.com/seriatim/seriatim/workerd/metrics"
	"github.com/seriatim/seriatim/workerd/probes"
)

// ErrConfig is wrapped by errors that the configuration has to mend.
var ErrConfig = errors.New("configuration")

// handBack is how long, after the last group was killed, writing back may take.
const handBack = 5 * time.Second

// spareThreads is how many threads the engine has in hand when a job fills the process table: it reads files and starts
// processes, which takes one for a moment each.
const spareThreads = 10

// daemon is one run of workerd.
type daemon struct {
	cfg       *config.Config
	log       zerolog.Logger
	id        string
	link      *guardian.Link // nil without a guardian
	orphan    *lifecycle.Orphans
	conn      *nats.Conn
	pools     *lifecycle.Set
	runs      runs
	engine    *engine.Engine
	schedules *schedule.Keeper

	opts      Options
	ctx       context.Context // ends with the daemon
	end       context.CancelFunc
	drained   context.Context // ends when the engine has handed everything back
	drain     context.CancelFunc
	health    *health
	telemetry *telemetry
	metrics   *metrics.Metrics
	crashes   crashes
	alarm     atomic.Pointer[alarm]
	members   atomic.Pointer[[]member]
	server    *probes.Server
	door      *control.Door
	later     sync.WaitGroup
	manager   notify.Manager
	extended  time.Time
	life
}

// Options are what Run can do without.
type Options struct {
	// Link is that to the guardian; nil is without one.
	Link *guardian.Link
	// Reload reads the configuration anew, for HUP; nil is not at all.
	Reload func() (*config.Config, error)
}

// Run runs workerd until a signal ends it, below a guardian or without. It takes over the process's signals.
func Run(cfg *config.Config, o Options) error {
	d := &daemon{cfg: cfg, log: newLog(cfg.Log), id: cfg.ID, link: o.Link, opts: o}
	if d.id == "" {
		d.id = streams.NewWorkerID()
	}
	d.log = d.log.With().Str("worker", d.id).Logger()

	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGTTIN, syscall.SIGHUP)
	defer signal.Stop(signals)
	if d.link != nil {
		lifecycle.ReserveThreads(spareThreads)
		var err error
		if d.orphan, err = lifecycle.Adopt(d.link.Instance()); err != nil {
			return err
		}
		defer d.orphan.Stop()
	}
	d.link.Listening()

	if err := d.open(); err != nil {
		return err
	}
	defer d.close()
	return d.live(signals)
}

// open makes what the daemon has from its first moment to its last: whoever asks how it is gets an answer.
func (d *daemon) open() error {
	d.health = newHealth(d.id, d.link.PID(), d.cfg.Queues.Names(), d.cfg.LivezMaxOutage)
	d.telemetry = newTelemetry(d.health)
	d.metrics = metrics.New(func() metrics.Now { return d.health.now(d.telemetry.report()) })
	d.manager = notify.Take(d.health.pid)
	d.server = probes.NewServer(probes.Handler(source{d.health, d.telemetry}, d.metrics.Handler()), func(err error) {
		d.log.Error().Err(err).Msg("probes are not answered any more")
	})
	a, err := d.newAlarm(d.cfg.Alerts)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	d.alarm.Store(a)
	d.members.Store(&[]member{})
	d.telemetry.start(func() []member { return *d.members.Load() })
	d.ctx, d.end = context.WithCancel(context.Background())
	d.drained, d.drain = context.WithCancel(context.Background())
	return nil
}

// close ends it.
func (d *daemon) close() {
	d.end()
	d.drain()
	d.stopSchedules()
	if d.conn != nil {
		d.conn.Close()
	}
	d.telemetry.close()
	d.later.Wait()
	d.server.Stop()
	if d.door != nil {
		d.door.Close()
	}
	d.alarm.Load().stop()
}

// start brings everything up. It returns when jobs are being taken, or with the reason why not; nothing is left then.
func (d *daemon) start(ctx context.Context) (err error) {
	for _, note := range d.cfg.Notes {
		d.log.Info().Msg(note)
	}
	for _, warning := range d.cfg.Warnings {
		d.log.Warn().Msg(warning)
	}
	d.log.Info().Str("version", version.String()).Int("pid", d.link.PID()).Strs("queues", d.cfg.Queues.Names()).Msg("starting")

	if err = d.listen(ctx); err != nil {
		return err
	}
	if d.pools, err = d.newPools(d.cfg); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	d.natsLost("it was never there")
	if d.conn, err = d.connect(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.conn.Close()
		}
	}()
	d.health.conn.Store(d.conn)
	d.health.connected(true)
	d.natsBack()
	js, err := streams.JetStream(d.conn)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err = d.patiently(ctx, func() error { return streams.CheckServer(ctx, d.conn) }); err != nil {
		return err
	}
	var queues []subjects.Queue
	weights := map[subjects.Queue]int{}
	for _, served := range d.cfg.Queues.List {
		q := subjects.Queue(served.Name)
		weights[q] = served.Weight
		err = d.patiently(ctx, func() error {
			_, err := streams.LoadQueue(ctx, js, q)
			return err
		})
		if err != nil {
			return err
		}
		queues = append(queues, q)
	}
	if err = d.patiently(ctx, func() error { return d.awaitID(ctx, js) }); err != nil {
		return err
	}
	if err = d.pools.Start(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err = d.patiently(ctx, func() error { return d.keepSchedules(queues) }); err != nil {
		d.stopPools()
		return err
	}
	options := engine.Options{
		Conn: d.conn, Queues: queues, Weights: weights, Worker: d.id, Slots: d.pools.Slots(), Runner: runner{d.pools, &d.runs},
		// No job before it is sure to stay: of two with one id one gives way, and a stop that comes first aborts the start.
		Waiting: true, Log: d.log, Describe: d.telemetry.describe, Observe: d.observe, OnHeld: d.note(), Predecessor: d.predecessor(),
	}
	err = d.patiently(ctx, func() (err error) {
		d.engine, err = engine.Start(ctx, options)
		return err
	})
	if err != nil {
		d.stopPools()
		return err
	}
	d.health.engine.Store(d.engine)
	d.telemetry.measure(d.conn)
	d.runs.watch(d.engine, d.link)
	d.pools.OnSlots(d.engine.SetSlots)
	d.engine.SetSlots(d.pools.Slots())
	if err = d.alone(ctx, js); err != nil {
		// Also when the start itself was stopped: nothing was taken, but the session has to say goodbye.
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Shutdown.KillAfter+handBack)
		_ = d.engine.Stop(bound, closed()) // the reason to leave is told already
		cancel()
		d.health.engine.Store(nil)
		d.runs.close()
		d.stopPools()
		return err
	}
	d.serveControl()
	return nil
}

// connect waits for a server, but not for what waiting cannot cure.
func (d *daemon) connect(ctx context.Context) (*nats.Conn, error) {
	n := d.cfg.NATS
	return streams.Connect(ctx, streams.Options{
		URL: n.URL, Context: n.Context, Creds: n.Creds, Domain: n.Domain, TLS: streams.TLS{CA: n.TLS.CA, Cert: n.TLS.Cert, Key: n.TLS.Key},
		Name: "workerd " + d.id, Wait: true,
		OnWait: func(err error, next time.Duration) {
			d.log.Warn().Err(err).Dur("next", next).Msg("no NATS server yet; waiting for it")
		},
		OnError: func(err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				d.log.Error().Err(err).Msg("the NATS server refuses this to the worker's user; what a worker needs says: coordinator auth show worker")
			}
		},
		OnDisconnect: func(err error) {
			d.health.connected(false)
			if d.health.getMode() == drain.Stopped {
				return // it was closed
			}
			d.metrics.Disconnected()
			d.log.Warn().Err(err).Msg("the NATS connection is lost; jobs go on until the session is over")
			d.natsLost(fmt.Sprint(err))
		},
		OnReconnect: func() {
			d.health.connected(true)
			d.log.Info().Msg("the NATS connection is back")
			d.natsBack()
		},
	})
}

// observe is told what the engine does, on its loop.
func (d *daemon) observe(e engine.Event) {
	d.metrics.Observe(e)
	switch e.Kind {
	case engine.EventEnd:
		d.telemetry.ended(e)
	case engine.EventDead:
		d.alertDead(e)
	default:
	}
}

// awaitID refuses an id that another workerd has, and waits out the lease of one that died with it.
func (d *daemon) awaitID(ctx context.Context, js jetstream.JetStream) error {
	err := streams.CheckWorkerID(ctx, js, d.id, "", d.gone()...)
	if !errors.Is(err, streams.ErrWorkerAlive) {
		return err
	}
	before := d.beats(ctx, js)
	d.log.Warn().Err(err).Msg("a worker with this id was alive a moment ago; waiting to see whether it still is")
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		err := streams.CheckWorkerID(ctx, js, d.id, "", d.gone()...)
		if !errors.Is(err, streams.ErrWorkerAlive) {
			return err
		}
		switch now := d.beats(ctx, js); {
		case before == 0:
			before = now
		case now != 0 && now != before:
			return err // it beats: it is alive
		}
	}
}

// beats is the newest beat of a worker with this id, 0 when that cannot be known.
func (d *daemon) beats(ctx context.Context, js jetstream.JetStream) (newest uint64) {
	workers, err := streams.ListWorkers(ctx, js)
	if err != nil {
		return 0
	}
	for _, w := range workers {
		if w.Worker == d.id && w.Living() {
			newest = max(newest, w.Seq)
		}
	}
	return newest
}

// alone asks again, now that the own record stands: of two that start at once, one gives way.
func (d *daemon) alone(ctx context.Context, js jetstream.JetStream) error {
	session, err := d.engine.Ready(ctx)
	if err != nil {
		return err
	}
	return d.patiently(ctx, func() error { return streams.CheckWorkerID(ctx, js, d.id, session, d.gone()...) })
}

func closed() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
