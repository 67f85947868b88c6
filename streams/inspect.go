package streams

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// Info is a queue as people and monitors see it. The numbers are read one after another while the queue lives, so they
// need not add up to the last one.
type Info struct {
	Name string `json:"name"`
	// Jobs are unfinished: waiting or running. Lanes are the entities that they belong to.
	Jobs  uint64 `json:"jobs"`
	Lanes uint64 `json:"lanes"`
	// Runnable are turns that nobody has taken: what to scale workers on.
	Runnable uint64 `json:"runnable"`
	// Running is what living workers say they run, as of their last beat.
	Running int `json:"running"`
	// Retrying are lanes that wait for the retry of their head, Halted those that wait for an operator.
	Retrying int `json:"retrying"`
	Halted   int `json:"halted"`
	// Partial says that there were too many claims to look at all: Retrying and Halted are at least so many.
	Partial bool   `json:"partial,omitempty"`
	Dead    uint64 `json:"dead"`
	// Scheduled are jobs for later, and named schedules. A job whose time has come counts until it is in its lane.
	Scheduled uint64 `json:"scheduled"`
	// OldestAgeSeconds is the age of the oldest unfinished job, 0 when there is none.
	OldestAgeSeconds float64 `json:"oldest_age_seconds"`
	Bytes            uint64  `json:"bytes"`
	Replicas         int     `json:"replicas"`
	Storage          string  `json:"storage"`
	// Paused says that no turn of the queue is given out. PausedLanes are single ones that are not.
	Paused      bool      `json:"paused"`
	PausedLanes int       `json:"paused_lanes"`
	Workers     int       `json:"workers"`
	Slots       int       `json:"slots"`
	CreatedAt   time.Time `json:"created_at"`
	Schema      int       `json:"schema"`
	Policy      Policy    `json:"policy"`
	// Drift lists the settings that are not what the policy makes them; nothing mends them but EditQueue.
	Drift []Diff `json:"drift"`
}

// QueueInfo reads all that there is to know about a queue, in some twenty requests. A queue that is damaged gives what
// can be read, and says in Drift what is missing. Errors are ErrUnknownQueue, ErrNotOurs, ErrNewerSchema, or the trouble
// with the server.
func QueueInfo(ctx context.Context, js jetstream.JetStream, q subjects.Queue) (Info, error) {
	op := "inspect queue " + string(q)
	jobs, err := streamInfo(ctx, js, q.JobsStream())
	if err != nil {
		return Info{}, explain(op, q, err)
	}
	schema, policy, err := schemaOf(op, q, &jobs.Config)
	if err != nil {
		return Info{}, err
	}
	i := Info{
		Name: string(q), Jobs: jobs.State.Msgs, Lanes: jobs.State.NumSubjects, Bytes: jobs.State.Bytes,
		Replicas: jobs.Config.Replicas, Storage: policy.Storage, CreatedAt: jobs.Created, Schema: schema, Policy: policy,
	}
	if jobs.State.Msgs > 0 {
		i.OldestAgeSeconds = max(jobs.TimeStamp.Sub(jobs.State.FirstTime).Seconds(), 0)
	}
	for _, read := range []func(context.Context, jetstream.JetStream, subjects.Queue) error{
		i.readTurns, i.readDead, i.readScheduled, i.readClaims, i.readLanes, i.readWorkers,
	} {
		if err := read(ctx, js, q); err != nil && !isMissing(err) {
			return Info{}, explain(op, q, err)
		}
	}
	if i.Drift, err = inspectParts(ctx, js, policy.parts(q)); err != nil {
		return Info{}, explain(op, q, err)
	}
	if i.Drift == nil {
		i.Drift = []Diff{}
	}
	return i, nil
}

func isMissing(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}

func (i *Info) readTurns(ctx context.Context, js jetstream.JetStream, q subjects.Queue) error {
	c, err := getConsumer(ctx, js, q.TurnsStream(), subjects.TurnsConsumer)
	if err != nil {
		return err
	}
	i.Runnable, i.Paused = c.NumPending, c.Paused
	return nil
}

func (i *Info) readDead(ctx context.Context, js jetstream.JetStream, q subjects.Queue) error {
	s, err := streamInfo(ctx, js, q.DeadStream())
	if err != nil {
		return err
	}
	i.Dead = s.State.Msgs
	return nil
}

func (i *Info) readScheduled(ctx context.Context, js jetstream.JetStream, q subjects.Queue) error {
	s, err := streamInfo(ctx, js, q.ScheduleStream())
	if err != nil {
		return err
	}
	i.Scheduled = s.State.Msgs
	return nil
}

// What reading claims may cost. Claims of finished jobs linger for a minute, so a fast queue has many.
const (
	maxClaimsRead = 100_000
	maxClaimsTime = 2 * time.Second
)

func (i *Info) readClaims(ctx context.Context, js jetstream.JetStream, q subjects.Queue) error {
	seen, until := 0, time.Now().Add(maxClaimsTime)
	return Scan(ctx, js, q.ClaimsStream(), ScanOptions{Bodies: true}, func(m Message) bool {
		switch claimState(m.Data) {
		case lane.Waiting:
			i.Retrying++
		case lane.Halted:
			i.Halted++
		}
		seen++
		i.Partial = seen >= maxClaimsRead || seen%scanBatch == 0 && time.Now().After(until)
		return !i.Partial
	})
}

// claimState is all that is wanted of a claim here, so that one that is newer or broken does no harm.
func claimState(value []byte) lane.Standing {
	var c struct {
		State lane.Standing `json:"state"`
	}
	if json.Unmarshal(value, &c) != nil {
		return ""
	}
	return c.State
}

func (i *Info) readLanes(ctx context.Context, js jetstream.JetStream, q subjects.Queue) error {
	return Scan(ctx, js, "KV_"+q.LanesBucket(), ScanOptions{}, func(m Message) bool {
		switch lane, ok := pausedLane(m); {
		case !ok || KeyGone(m.Header):
		case lane.IsQueue():
			i.Paused = true
		default:
			i.PausedLanes++
		}
		return true
	})
}

func (i *Info) readWorkers(ctx context.Context, js jetstream.JetStream, q subjects.Queue) error {
	workers, err := ListWorkers(ctx, js)
	if err != nil {
		return err
	}
	for _, w := range workers {
		if w.Living() && slices.Contains(w.Queues, string(q)) {
			i.Workers++
			i.Slots += w.Slots
			i.Running += w.BusyByQueue[string(q)]
		}
	}
	return nil
}

// inspectParts compares all streams and consumers of a queue with what they should be. What is not there is a
// difference like any other.
func inspectParts(ctx context.Context, js jetstream.JetStream, parts []part) ([]Diff, error) {
	var diffs []Diff
	for _, p := range parts {
		info, err := streamInfo(ctx, js, p.cfg.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			diffs = append(diffs, Diff{p.cfg.Name, missing, "there"})
			continue
		}
		if err != nil {
			return nil, err
		}
		diffs = append(diffs, p.diffStream(&info.Config)...)
		for _, want := range p.consumers {
			c, err := getConsumer(ctx, js, p.cfg.Name, want.Durable)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				diffs = append(diffs, Diff{p.cfg.Name + "." + want.Durable, missing, "there"})
				continue
			}
			if err != nil {
				return nil, err
			}
			diffs = append(diffs, diffConsumer(p.cfg.Name, &want, &c.Config)...)
		}
	}
	return diffs, nil
}
