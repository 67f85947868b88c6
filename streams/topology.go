package streams

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/subjects"
)

// The metadata of JOBS_<queue>: what makes a stream a queue.
const (
	MetaSchema = "seriatim.schema"
	MetaPolicy = "seriatim.policy"
)

// DueConsumer is the durable consumer of SCHEDULE_<queue> through which jobs whose time has come reach their lanes.
const DueConsumer = "due"

// part is one stream of a queue, with its durable consumers.
type part struct {
	cfg       jetstream.StreamConfig
	consumers []jetstream.ConsumerConfig
	// shared streams belong to all queues: deleting a queue leaves them alone, and their replicas only ever go up.
	shared bool
	// added streams came with a later version. Queues that were made before lack them, and go on without.
	added bool
}

const noLimit = -1

// parts are all streams of a queue in the order of making, as the policy says. JOBS_ is last: a queue that takes jobs
// is complete.
func (p Policy) parts(q subjects.Queue) []part {
	storage := jetstream.FileStorage
	if p.Storage == StorageMemory {
		storage = jetstream.MemoryStorage
	}
	stream := func(name, what string, c jetstream.StreamConfig) jetstream.StreamConfig {
		c.Name = name
		c.Description = what
		c.Storage, c.Replicas = storage, p.Replicas
		c.MaxConsumers = noLimit
		c.AllowDirect = true
		for _, limit := range []*int64{&c.MaxMsgs, &c.MaxBytes, &c.MaxMsgsPerSubject} {
			if *limit == 0 {
				*limit = noLimit
			}
		}
		if c.MaxMsgSize == 0 {
			c.MaxMsgSize = noLimit
		}
		if c.Duplicates == 0 {
			c.Duplicates = 2 * time.Minute
		}
		if c.MaxAge > 0 {
			c.Duplicates = min(c.Duplicates, c.MaxAge) // the server refuses a longer one
		}
		return c
	}

	turns := part{
		cfg: stream(q.TurnsStream(), "seriatim: lanes of "+string(q)+" that have work", jetstream.StreamConfig{
			Subjects:  []string{q.Filter(subjects.PrefixTurns)},
			Retention: jetstream.WorkQueuePolicy,
			// One turn per lane; a second is refused, and that refusal is a mechanism, not a failure.
			Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1,
			// The shortest window there is: a turn published twice on purpose carries no id.
			Duplicates: 100 * time.Millisecond,
		}),
		consumers: []jetstream.ConsumerConfig{{
			Durable: subjects.TurnsConsumer, Description: "workerd: whoever is idle takes the next lane",
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: p.Lease, MaxDeliver: noLimit,
			// The defaults (1000, 512) would stop a queue: held and delayed turns count as pending.
			MaxAckPending: noLimit, MaxWaiting: 8192,
		}},
	}
	claims := part{cfg: stream(q.ClaimsStream(), "seriatim: who runs which lane of "+string(q), jetstream.StreamConfig{
		Subjects:          []string{q.Filter(subjects.PrefixClaims)},
		MaxMsgsPerSubject: 1,
		AllowMsgTTL:       true,
		Duplicates:        20 * time.Second,
		// A purge would free lanes whose jobs run. Records are removed one by one.
		DenyPurge: true,
	})}
	dead := part{cfg: stream(q.DeadStream(), "seriatim: jobs of "+string(q)+" that were given up", jetstream.StreamConfig{
		Subjects: []string{q.Filter(subjects.PrefixDead)},
		// The oldest go. A letter that is refused would be a lane that stands.
		MaxAge: p.DeadMaxAge, MaxMsgs: p.DeadMaxMsgs,
	})}
	history := part{
		cfg: stream(q.HistoryStream(), "seriatim: records of finished jobs of "+string(q), jetstream.StreamConfig{
			Subjects: []string{q.Filter(subjects.PrefixHistory)},
			MaxAge:   p.HistoryMaxAge, MaxMsgs: p.HistoryMaxMsgs,
			Duplicates: 100 * time.Millisecond, // records have no ids
		}),
		added: true,
	}
	schedule := part{
		cfg: stream(q.ScheduleStream(), "seriatim: jobs of "+string(q)+" for later", jetstream.StreamConfig{
			Subjects:          []string{subjects.PrefixSchedule + "." + string(q) + ".>", q.Filter(subjects.PrefixDue)},
			Retention:         jetstream.WorkQueuePolicy,
			AllowMsgSchedules: true,
			AllowRollup:       true, // schedules force it; only workers and operators may publish here
		}),
		consumers: []jetstream.ConsumerConfig{{
			Durable: DueConsumer, Description: "workerd: moves due jobs to their lanes",
			FilterSubject: q.Filter(subjects.PrefixDue), // never the schedules themselves
			// A move takes moments, and making it again is harmless; a worker that dies with one in hand delays it by this.
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second, MaxDeliver: noLimit,
			MaxAckPending: 10000, MaxWaiting: 8192,
		}},
	}
	lanes := part{cfg: bucket(q.LanesBucket(), "seriatim: paused lanes of "+string(q), storage, p.Replicas)}
	lanes.cfg.AllowMsgTTL = true
	lanes.cfg.SubjectDeleteMarkerTTL = time.Hour // watchers see a bounded pause end
	workers := part{
		// On disk whatever the queue says: it serves other queues too.
		cfg:    bucket(subjects.WorkersBucket, "seriatim: workers and their heartbeats", jetstream.FileStorage, p.Replicas),
		shared: true,
	}
	workers.cfg.AllowMsgTTL = true
	workers.cfg.SubjectDeleteMarkerTTL = time.Minute // watchers see a record go that nobody renews

	jobs := part{
		cfg: stream(q.JobsStream(), "seriatim: unfinished jobs of "+string(q), jetstream.StreamConfig{
			Subjects: []string{q.Filter(subjects.PrefixJobs)},
			Discard:  jetstream.DiscardNew, // a full queue refuses; it never drops
			MaxBytes: p.MaxBytes, MaxMsgs: p.MaxMsgs, MaxMsgSize: int32(p.MaxJobSize),
			RePublish: &jetstream.RePublish{
				Source:      subjects.PrefixJobs + "." + string(q) + ".>",
				Destination: subjects.PrefixTurns + "." + string(q) + ".>",
				HeadersOnly: true,
			},
			Metadata: map[string]string{MetaSchema: strconv.Itoa(version.Schema), MetaPolicy: p.text()},
		}),
		consumers: []jetstream.ConsumerConfig{{
			Durable: subjects.AuditConsumer, Description: "workerd: looks once at each job that is still there",
			// A worker that dies with a batch in hand delays the looks by this.
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: 20 * time.Second, MaxDeliver: noLimit,
			MaxAckPending: 10000, MaxWaiting: 8192, HeadersOnly: true,
		}},
	}
	return []part{workers, turns, claims, dead, history, schedule, lanes, jobs}
}

// bucket is the stream of a key-value bucket with one value per key, as any NATS client would make it.
func bucket(name, what string, storage jetstream.StorageType, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: "KV_" + name, Description: what, Subjects: []string{"$KV." + name + ".>"},
		MaxMsgsPerSubject: 1, MaxMsgs: noLimit, MaxBytes: noLimit, MaxMsgSize: noLimit, MaxConsumers: noLimit,
		Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true, AllowDirect: true,
		Duplicates: 2 * time.Minute, Storage: storage, Replicas: replicas,
	}
}

func (p Policy) text() string {
	text, err := json.Marshal(p)
	if err != nil {
		return "" // numbers and text always marshal; NaN is refused by Validate
	}
	return string(text)
}

// schemaOf reads a queue's schema and policy out of the metadata of its jobs stream. A queue whose making was
// interrupted is none yet.
func schemaOf(op string, q subjects.Queue, jobs *jetstream.StreamConfig) (schema int, p Policy, err error) {
	if isClosed(jobs) {
		return 0, Policy{}, unknownQueue(op, q)
	}
	meta := jobs.Metadata
	text, ok := meta[MetaSchema]
	if !ok {
		return 0, Policy{}, notOurs(op, q.JobsStream(), "its metadata has no "+MetaSchema)
	}
	if schema, err = strconv.Atoi(text); err != nil {
		return 0, Policy{}, notOurs(op, q.JobsStream(), fmt.Sprintf("its %s is %q", MetaSchema, text))
	}
	if schema > version.Schema {
		return schema, Policy{}, fmt.Errorf("queue %q was %w (schema %d, this build speaks %d): upgrade workerd and coordinator on this host first",
			string(q), ErrNewerSchema, schema, version.Schema)
	}
	if err := json.Unmarshal([]byte(meta[MetaPolicy]), &p); err != nil {
		return schema, Policy{}, notOurs(op, q.JobsStream(), fmt.Sprintf("its %s cannot be read: %v", MetaPolicy, err))
	}
	if err := p.Validate(); err != nil {
		return schema, Policy{}, notOurs(op, q.JobsStream(), err.Error())
	}
	return schema, p, nil
}
