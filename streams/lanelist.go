package streams

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// LaneWaiting is what a list says of a lane that could be taken, or is being taken; GetLane tells which.
const LaneWaiting LaneState = "waiting"

// LaneRow is a lane in a list.
type LaneRow struct {
	Entity string    `json:"entity"`
	State  LaneState `json:"state"`
	// Jobs are unfinished. Head, Kind and PublishedAt are those of the first of them; a paused lane may have none.
	Jobs        int       `json:"jobs"`
	Head        uint64    `json:"head,omitempty"`
	Kind        string    `json:"kind,omitempty"`
	PublishedAt time.Time `json:"published_at,omitzero"`
	// Worker is the id of who has the lane, Session its session.
	Worker  string `json:"worker,omitempty"`
	Session string `json:"session,omitempty"`
	// Since is when that began; Due when a retry is due.
	Since time.Time `json:"since,omitzero"`
	Due   time.Time `json:"due,omitzero"`
	// Detail is the last error, or who paused the lane and why.
	Detail string `json:"detail,omitempty"`
}

// LaneFilter says which lanes to list. The zero value is all.
type LaneFilter struct {
	// Type is the only type of entity.
	Type   string
	States []LaneState
	// Limit is how many at most; 0 is no limit.
	Limit int
}

// ListLanes lists the lanes that have jobs, the oldest job first, and then those that are paused without any. It reads the
// headers of all unfinished jobs. It is a snapshot that is over when it is read.
func ListLanes(ctx context.Context, js jetstream.JetStream, q subjects.Queue, f LaneFilter) ([]LaneRow, error) {
	op := "list the lanes of " + string(q)
	loaded, err := LoadQueue(ctx, js, q)
	if err != nil {
		return nil, err
	}
	l := lister{q: q, created: loaded.Created.UnixNano(), claims: map[string]lane.Record{}, stored: map[string]time.Time{}, paused: map[string]PauseRecord{}, workers: map[string]SessionRecord{}}
	if err := l.read(ctx, js); err != nil {
		return nil, explain(op, q, err)
	}
	rows, err := l.jobs(ctx, js, f)
	if err != nil {
		return nil, explain(op, q, err)
	}
	out := []LaneRow{}
	for _, r := range rows {
		if f.Limit != 0 && len(out) == f.Limit {
			break
		}
		if len(f.States) == 0 || slices.Contains(f.States, r.State) {
			out = append(out, *r)
		}
	}
	return out, nil
}

// lister is what lanes are told from. The maps are by entity in the raw form; workers by session.
type lister struct {
	q       subjects.Queue
	created int64
	claims  map[string]lane.Record
	stored  map[string]time.Time
	paused  map[string]PauseRecord
	queue   *PauseRecord
	workers map[string]SessionRecord
}

func (l *lister) read(ctx context.Context, js jetstream.JetStream) error {
	workers, err := ListWorkers(ctx, js)
	if err != nil {
		return err
	}
	for _, w := range workers {
		l.workers[w.Session] = w
	}
	paused, err := ListPaused(ctx, js, l.q)
	if err != nil && !isMissing(err) {
		return err
	}
	for _, p := range paused {
		if p.IsQueue() {
			l.queue = &p.PauseRecord
		} else {
			l.paused[p.Entity] = p.PauseRecord
		}
	}
	err = Scan(ctx, js, l.q.ClaimsStream(), ScanOptions{Bodies: true}, func(m Message) bool {
		entity, err := entityOf(m.Subject)
		if err != nil {
			return true
		}
		// One that is newer or broken is shown as none.
		if r, err := lane.DecodeRecord(m.Seq, m.Data); err == nil && r.Created == l.created {
			l.claims[entity], l.stored[entity] = r, m.Time
		}
		return true
	})
	if isMissing(err) {
		return nil
	}
	return err
}

func (l *lister) jobs(ctx context.Context, js jetstream.JetStream, f LaneFilter) ([]*LaneRow, error) {
	var rows []*LaneRow
	known := map[string]*LaneRow{} // by subject: what looks alike may be another lane
	scan := ScanOptions{}
	if f.Type != "" {
		scan.Subjects = []string{fmt.Sprintf("%s.%s.%s.*", subjects.PrefixJobs, l.q, f.Type)}
	}
	err := Scan(ctx, js, l.q.JobsStream(), scan, func(m Message) bool {
		if r := known[m.Subject]; r != nil {
			r.Jobs++
			return true
		}
		head, _ := jobInfo(l.q, m)
		r := &LaneRow{Entity: head.Entity, Jobs: 1, Head: head.Seq, Kind: head.Kind, PublishedAt: head.PublishedAt}
		l.judge(r)
		known[m.Subject] = r
		rows = append(rows, r)
		return true
	})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, r := range rows {
		seen[r.Entity] = true
	}
	var idle []*LaneRow
	for entity := range l.paused {
		if e, err := subjects.ParseEntity(entity); err == nil && !seen[entity] && (f.Type == "" || f.Type == e.Type) {
			r := &LaneRow{Entity: entity}
			l.judge(r)
			idle = append(idle, r)
		}
	}
	sort.Slice(idle, func(i, j int) bool { return idle[i].Entity < idle[j].Entity })
	return append(rows, idle...), nil
}

// judge says what state a lane is in, as far as its claim and pauses tell.
func (l *lister) judge(r *LaneRow) {
	c, ok := l.claims[r.Entity]
	w := l.workers[c.Session]
	ofHead := ok && r.Head != 0 && c.Job == r.Head
	pause, paused := l.paused[r.Entity]
	if !paused && l.queue != nil {
		pause, paused = *l.queue, true
	}
	switch {
	case ok && c.State == lane.Held && w.Living(), ofHead && c.State == lane.Running && w.Living():
		r.State, r.Worker, r.Session, r.Since = LaneHeld, w.Worker, c.Session, l.stored[r.Entity]
		if c.State == lane.Running {
			r.State = LaneRunning
			if c.Since != 0 {
				r.Since = time.UnixMilli(c.Since).UTC()
			}
		}
	case ofHead && c.State == lane.Running:
		r.State, r.Worker, r.Session = LaneLost, w.Worker, c.Session
	case ofHead && c.State == lane.Halted:
		r.State, r.Since, r.Detail = LaneHalted, l.stored[r.Entity], c.Cause+": "+c.Error
	case paused:
		r.State, r.Since, r.Due, r.Detail = LanePaused, pause.At, pause.Until, pause.Reason
		if pause.By != "" {
			r.Detail = strings.TrimSuffix("by "+pause.By+": "+pause.Reason, ": ")
		}
	case ofHead && c.State == lane.Waiting:
		r.State, r.Due, r.Detail = LaneRetrying, time.UnixMilli(c.NotBefore).UTC(), c.Cause+": "+c.Error
	default:
		r.State = LaneWaiting
	}
}
