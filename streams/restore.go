package streams

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// Restored is what was brought back.
type Restored struct {
	Backup Backup
	Policy Policy
	// Claims are records that were written again; Lanes are those that got a turn.
	Claims, Lanes int
	// Waited is how long workers of a lost server were given to notice that they have lost.
	Waited time.Duration
}

// RestoreOptions change what is restored.
type RestoreOptions struct {
	// Replicas is how many copies the streams get; 0 is as many as they had.
	Replicas int
	// OnWait is told how long the wait for workers takes.
	OnWait func(time.Duration)
}

// RestoreQueue makes a queue from a backup. Nothing of the queue may be there (ErrExists), and no worker may run its jobs
// (ErrServed).
//
// # Why no job runs beside its own past
//
// A worker that ran jobs of the queue that is lost has its session in the bucket of workers, or has lost it. One that
// has it says in each beat what it runs, and a beat that came after the queue was gone and says "nothing" stays true
// until there are jobs again. One that has lost it, with the server's disk, kills within a lease of its last confirmed
// beat; a bucket that is younger than a lease is waited for.
//
// Claims are made anew: their stream begins above all fences that were ever given out, and what is written into it are
// records under which nobody runs anything. A former holder's write expects a sequence that does not exist there. JOBS
// comes last of the streams, and turns are given out only when the claims stand.
//
// Other errors are ErrBackup, or the trouble with the server.
func RestoreQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue, dir string, o RestoreOptions) (r Restored, err error) {
	op := "restore queue " + string(q)
	if r.Backup, err = ReadBackup(dir); err != nil {
		return r, err
	}
	if r.Backup.Queue != string(q) {
		return r, problem.New(op, fmt.Errorf("%w: it is of queue %s", ErrBackup, r.Backup.Queue),
			fmt.Sprintf("a queue comes back under its own name: coordinator queue restore %s %s", r.Backup.Queue, dir))
	}
	jobs, _ := r.Backup.stream(q.JobsStream()) // decodeBackup demands it
	if _, r.Policy, err = schemaOf(op, q, &jobs.Config); err != nil {
		return r, err
	}
	if o.Replicas != 0 {
		r.Policy.Replicas = o.Replicas
		if err := r.Policy.Validate(); err != nil {
			return r, err
		}
	}
	m := restorer{maker: newMaker(js, op, q), dir: dir, r: &r, halted: map[string]bool{}, resume: func() {}}
	if err := m.absent(ctx); err != nil {
		return r, err
	}
	defer func() { m.resume() }()
	for _, p := range r.Policy.parts(q) {
		if err := m.part(ctx, p, o); err != nil {
			return r, err
		}
	}
	if err := m.claims(ctx); err != nil {
		return r, err
	}
	if r.Lanes, err = m.turns(ctx); err != nil {
		return r, m.explain(fmt.Errorf("publish the turns (a worker's sweep will): %w", err))
	}
	return r, nil
}

type restorer struct {
	*maker
	dir    string
	r      *Restored
	halted map[string]bool // lanes, as in subjects
	resume func()          // has turns given out again
}

// absent demands that nothing of the queue is there.
func (m *restorer) absent(ctx context.Context) error {
	for _, p := range m.r.Policy.parts(m.q) {
		_, err := streamInfo(ctx, m.js, p.cfg.Name)
		if err == nil && !p.shared {
			return problem.New(m.op, fmt.Errorf("%w: stream %s", ErrExists, p.cfg.Name),
				fmt.Sprintf("nothing was changed; if what is there may go: coordinator queue rm %s", m.q))
		}
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return m.explain(err)
		}
	}
	return nil
}

// part makes one stream, from its snapshot if it has one.
func (m *restorer) part(ctx context.Context, p part, o RestoreOptions) error {
	if saved, ok := m.r.Backup.stream(p.cfg.Name); ok {
		if err := m.stream(ctx, p, saved); err != nil {
			return m.explain(fmt.Errorf("%s: %w", p.cfg.Name, err))
		}
	}
	diffs, err := m.make(ctx, p)
	if err != nil {
		return err
	}
	if len(diffs) > 0 && !p.shared {
		return problem.New(m.op, &DriftError{m.q, diffs}, fmt.Sprintf("apply the policy: coordinator queue edit %s", m.q))
	}
	switch p.cfg.Name {
	case subjects.WorkersStream:
		return m.quiet(ctx, o)
	case m.q.TurnsStream():
		m.resume, err = holdConsumer(ctx, m.js, p.cfg.Name, subjects.TurnsConsumer)
		if err != nil {
			m.resume = func() {}
			return m.explain(err)
		}
	}
	return nil
}

func (m *restorer) stream(ctx context.Context, p part, saved SavedStream) error {
	f, err := os.Open(filepath.Join(m.dir, saved.File))
	if err != nil {
		return err
	}
	defer f.Close()
	saved.Config = p.applied(saved.Config)
	for name := range saved.Config.Metadata {
		if strings.HasPrefix(name, "_nats.") { // the server's own words about itself
			delete(saved.Config.Metadata, name)
		}
	}
	return restoreStream(ctx, m.js.Conn(), saved.Snapshot, bufio.NewReader(f))
}

// quiet returns when nobody can be running a job of the queue.
func (m *restorer) quiet(ctx context.Context, o RestoreOptions) error {
	lease := m.r.Policy.Lease
	bucket, err := streamInfo(ctx, m.js, subjects.WorkersStream)
	if err != nil {
		return m.explain(err)
	}
	if left := lease - bucket.TimeStamp.Sub(bucket.Created); left > 0 {
		if o.OnWait != nil {
			o.OnWait(left)
		}
		m.r.Waited = left
		if err := Pause(ctx, left); err != nil {
			return problem.New(m.op, err, "")
		}
	}
	from := bucket.State.LastSeq
	for end := time.Now().Add(2 * lease); ; {
		busy, unheard, err := m.serving(ctx, from)
		if err != nil {
			return err
		}
		if len(busy)+len(unheard) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return problem.New(m.op, fmt.Errorf("%w: %s", ErrServed, strings.Join(append(busy, unheard...), ", ")),
				"stop them, and see that they are gone: coordinator worker ls --queue "+string(m.q))
		}
		if err := Pause(ctx, lease/10); err != nil {
			return problem.New(m.op, err, "")
		}
	}
}

// serving are the living workers of the queue that ran something of it at their last beat, and those whose last beat is
// from before.
func (m *restorer) serving(ctx context.Context, from uint64) (busy, unheard []string, err error) {
	workers, err := ListWorkers(ctx, m.js)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range workers {
		switch {
		case !w.Living() || !slices.Contains(w.Queues, string(m.q)):
		case w.State == StateOperator, w.BusyByQueue[string(m.q)] > 0:
			busy = append(busy, w.Worker)
		case w.Seq <= from:
			unheard = append(unheard, w.Worker)
		}
	}
	return busy, unheard, nil
}

// claims writes the saved records: JOBS is there, and no turn is given out yet.
func (m *restorer) claims(ctx context.Context) error {
	loaded, err := LoadQueue(ctx, m.js, m.q)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(m.dir, m.r.Backup.Claims.File))
	if err != nil {
		return problem.New(m.op, err, "")
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c, r, err := decodeSavedClaim(m.q, lines.Bytes())
		if err != nil {
			return problem.New(m.op, err, "")
		}
		if _, err := GetMessage(ctx, m.js, m.q.JobsStream(), r.Job); errors.Is(err, ErrNotFound) {
			continue // it was done, or moved, between the two
		} else if err != nil {
			return m.explain(err)
		}
		if r.State == lane.Halted {
			m.halted[strings.TrimPrefix(c.Subject, subjects.PrefixClaims+".")] = true
		}
		if r.Created == m.r.Backup.Created.UnixNano() { // else it was about another life of the queue even then
			r.Created = loaded.Created.UnixNano()
		}
		msg := nats.NewMsg(c.Subject)
		msg.Data = r.Encode()
		msg.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.Itoa(0))
		if _, err := m.js.PublishMsg(ctx, msg); err != nil {
			return m.explain(fmt.Errorf("%s: %w", c.Subject, err))
		}
		m.r.Claims++
	}
	return problem.New(m.op, lines.Err(), "")
}

// decodeSavedClaim reads a line of the claims' file: a record under which nobody runs anything.
func decodeSavedClaim(q subjects.Queue, line []byte) (c savedClaim, r lane.Record, err error) {
	if err := json.Unmarshal(line, &c); err != nil {
		return c, r, fmt.Errorf("%w: a line of %s: %w", ErrBackup, backupClaims, err)
	}
	if r, err = lane.DecodeRecord(0, c.Record); err != nil {
		return c, r, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	prefix, of, _, err := subjects.ParseSubject(c.Subject)
	r, keep := restored(r)
	if err != nil || prefix != subjects.PrefixClaims || of != q || !keep {
		return c, r, fmt.Errorf("%w: a line of %s is no claim of %s", ErrBackup, backupClaims, q)
	}
	return c, r, nil
}

// turns gives each lane its turn, but for those that stand: where no worker is, nobody sweeps, and what counts turns to
// start some would see none.
func (m *restorer) turns(ctx context.Context) (lanes int, err error) {
	acks := make([]jetstream.PubAckFuture, 0, scanBatch)
	settle := func() error {
		for _, a := range acks {
			select {
			case <-a.Ok():
			case err := <-a.Err():
				var api *jetstream.APIError
				if !errors.As(err, &api) { // a refusal: it has one already
					return err
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		acks = acks[:0]
		return nil
	}
	var failed error
	err = Scan(ctx, m.js, m.q.JobsStream(), ScanOptions{LastPerSubject: true}, func(msg Message) bool {
		name := strings.TrimPrefix(msg.Subject, subjects.PrefixJobs+".")
		if m.halted[name] {
			return true
		}
		var a jetstream.PubAckFuture
		if a, failed = m.js.PublishAsync(subjects.PrefixTurns+"."+name, nil); failed != nil {
			return false
		}
		lanes++
		if acks = append(acks, a); len(acks) == scanBatch {
			failed = settle()
		}
		return failed == nil
	})
	return lanes, errors.Join(err, failed, settle())
}
