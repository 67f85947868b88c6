package streams

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/subjects"
)

// The states of a session. Starting to stopping are living ones, written by the worker itself; stopped is its farewell.
// Dead is written by another worker after a lease of silence. Lost is written by nobody: it is what a list calls a
// session that has been silent for its lease, or was declared dead. Operator is a session of a command that holds lanes.
const (
	StateStarting = "starting"
	StateRunning  = "running"
	StateQuiet    = "quiet"
	StateStopping = "stopping"
	StateStopped  = "stopped"
	StateDead     = "dead"
	StateLost     = "lost"
	StateOperator = "operator"
)

// RecordLeases is how many leases a session's record is kept after its last beat.
const RecordLeases = 10

// SessionRecord is one life of a worker in the eyes of the others: the value of its key, the session, in the bucket
// WORKERS. Unknown keys are ignored, so a newer worker may add some.
type SessionRecord struct {
	V       int    `json:"v"`
	Session string `json:"session"`
	State   string `json:"state"`
	// Worker is the id that people use; a worker has a new session after each loss of the old one.
	Worker string `json:"id"`
	Host   string `json:"host"`
	// PID is the process to signal: the top one.
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	// BeatAt is, in a list, when the server stored the last beat.
	BeatAt  time.Time `json:"beat_at"`
	LeaseMS int64     `json:"lease_ms"`
	Queues  []string  `json:"queues"`
	Slots   int       `json:"slots"`
	Busy    int       `json:"busy"`
	// BusyByQueue says for which queues the busy slots work.
	BusyByQueue map[string]int `json:"busy_by_queue,omitempty"`
	RSSBytes    int64          `json:"rss_bytes"`
	Children    []ChildRecord  `json:"children"`
	Version     string         `json:"version,omitempty"`
	Telemetry
	// FirstSeq is the sequence of the session's first record, said in all later ones: who of two was there first.
	FirstSeq uint64 `json:"first_seq,omitempty"`

	// Seq is the record's sequence in the bucket's stream, where it was read from one.
	Seq uint64 `json:"-"`
}

// ChildRecord is one process that runs jobs.
type ChildRecord struct {
	PID      int    `json:"pid"`
	Pool     string `json:"pool"`
	State    string `json:"state"`
	RSSBytes int64  `json:"rss_bytes"`
	// Jobs is how many it runs now.
	Jobs int `json:"jobs"`
	ChildTelemetry
}

// Lease is how long the session may be silent: its own, whatever the queues' policies have become.
func (r SessionRecord) Lease() time.Duration { return time.Duration(r.LeaseMS) * time.Millisecond }

// Final says that the session is over: by farewell, or declared dead.
func (r SessionRecord) Final() bool { return r.State == StateStopped || r.State == StateDead }

// Living says that the session may hold lanes, as far as a list can tell.
func (r SessionRecord) Living() bool { return !r.Final() && r.State != StateLost }

// first is the sequence of the session's first record.
func (r SessionRecord) first() uint64 {
	if r.FirstSeq != 0 {
		return r.FirstSeq
	}
	return r.Seq
}

// Encode is the record's value.
func (r SessionRecord) Encode() ([]byte, error) {
	r.V = version.Protocol
	if r.Queues == nil {
		r.Queues = []string{}
	}
	if r.Children == nil {
		r.Children = []ChildRecord{}
	}
	return json.Marshal(r)
}

// DecodeSession reads a record. A record of a newer protocol is returned as far as it could be read, together with
// ErrNewerRecord: show it, and decide nothing by it.
func DecodeSession(value []byte) (SessionRecord, error) {
	var r SessionRecord
	err := json.Unmarshal(value, &r)
	if r.V > version.Protocol {
		return r, fmt.Errorf("session %q: %w (version %d, this build reads %d)", r.Session, ErrNewerRecord, r.V, version.Protocol)
	}
	if err != nil {
		return r, fmt.Errorf("read a session record: %w", err)
	}
	return r, nil
}

// RecordTTL is how long the server keeps a record that is not renewed, in whole seconds, rounded up.
func RecordTTL(lease time.Duration) time.Duration {
	return (RecordLeases*lease + time.Second - 1).Truncate(time.Second)
}

// NewSessionID is a name that no session had before, fit for a key.
func NewSessionID() string { return strings.ToLower(rand.Text()) }

// NewWorkerID is the id of a worker that was given none: the host's name and a random part.
func NewWorkerID() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	host = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' {
			return r
		}
		return '-'
	}, host)
	return host + "-" + strings.ToLower(rand.Text()[:6])
}

// ListWorkers lists all sessions that left a record, the living and those that ended within the last RecordLeases
// leases, sorted by worker and start. Silence is measured on the server's clock. No workers ever: an empty list.
func ListWorkers(ctx context.Context, js jetstream.JetStream) ([]SessionRecord, error) {
	const op = "list the workers"
	workers := []SessionRecord{}
	records, now, err := workerRecords(ctx, js)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return workers, nil
	}
	if err != nil {
		return nil, explain(op, "", err)
	}
	var stored []time.Time
	for _, m := range records {
		if KeyGone(m.Header) {
			continue
		}
		r, err := DecodeSession(m.Data)
		if err != nil && !errors.Is(err, ErrNewerRecord) {
			continue // no worker wrote that
		}
		r.Seq = m.Seq
		workers = append(workers, r)
		stored = append(stored, m.Time)
	}
	for i := range workers {
		r := &workers[i]
		switch {
		case r.State == StateDead:
			r.State = StateLost // and the time stored is that of the verdict, not of a beat
			continue
		case !r.Final() && now.Sub(stored[i]) > r.Lease():
			r.State = StateLost
		}
		r.BeatAt = stored[i]
	}
	sort.Slice(workers, func(i, j int) bool {
		a, b := workers[i], workers[j]
		if a.Worker != b.Worker {
			return a.Worker < b.Worker
		}
		return a.StartedAt.Before(b.StartedAt)
	})
	return workers, nil
}

// workerScans is how often records are read on when some are missing.
const workerScans = 20

// workerRecords reads the last record of every key, and the server's time. A record that is rewritten while they are read
// moves to the end, or ends the scan before its time: then the scan goes on behind what it saw, until as many keys were
// seen as there are. A list without a worker that lives would be believed.
func workerRecords(ctx context.Context, js jetstream.JetStream) (records map[string]Message, now time.Time, err error) {
	records = map[string]Message{}
	for tries, from := 1, uint64(0); ; tries++ {
		err := Scan(ctx, js, subjects.WorkersStream, ScanOptions{Bodies: true, From: from}, func(m Message) bool {
			records[m.Subject] = m
			from = m.Seq + 1
			return true
		})
		if err != nil {
			return nil, now, err
		}
		info, err := streamInfo(ctx, js, subjects.WorkersStream)
		if err != nil {
			return nil, now, err
		}
		if uint64(len(records)) >= info.State.NumSubjects || tries == workerScans {
			return records, info.TimeStamp, nil
		}
		if err := Pause(ctx, scanPause); err != nil {
			return nil, now, err
		}
	}
}

// CheckWorkerID refuses with ErrWorkerAlive when a living session other than own has this worker id. A worker writes
// its own record first and asks then: of two that start at once, the one whose first record was stored later gives way.
// Before it has a record, own is empty. Sessions that the caller knows to be over may still look alive: gone.
func CheckWorkerID(ctx context.Context, js jetstream.JetStream, id, own string, gone ...string) error {
	op := fmt.Sprintf("start as worker %q", id)
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		workers, err := ListWorkers(ctx, js)
		if err != nil {
			return err
		}
		mine, seen := ^uint64(0), own == ""
		for _, r := range workers {
			if own != "" && r.Session == own {
				mine, seen = r.first(), true
			}
		}
		if !seen {
			// In a cluster the list may lag behind; once it shows one's own record, it shows all that came before.
			if ctx.Err() != nil {
				return problem.New(op, fmt.Errorf("its own session %q is not listed: %w", own, ErrNotFound), "write the session's record first")
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		for _, r := range workers {
			if r.Worker == id && r.Session != own && r.Living() && r.first() < mine && !slices.Contains(gone, r.Session) {
				return problem.New(op,
					fmt.Errorf("%w: pid %d on %s, last beat at %s", ErrWorkerAlive, r.PID, r.Host, r.BeatAt.UTC().Format(time.TimeOnly+" MST")),
					fmt.Sprintf("give each worker an id of its own, or none; if that one is gone, its lease (%s) is over soon", r.Lease()))
			}
		}
		return nil
	}
}
