package streams

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// JobInfo is a job in a list.
type JobInfo struct {
	Seq uint64 `json:"seq"`
	// Entity is the raw form, "build.123"; of a job that cannot be used, the lane as it stands in the subject.
	Entity      string    `json:"entity"`
	Kind        string    `json:"kind"`
	ID          string    `json:"id"`
	PublishedAt time.Time `json:"published_at"`
	// Size is the body's, in bytes.
	Size int `json:"size"`
	// Invalid says why the job can never run: its turn will make it dead with this reason.
	Invalid string `json:"invalid,omitempty"`
	// Carried is what it was charged with in earlier places of its lane, where it let others pass. Lists leave it out.
	Carried *Carried `json:"carried,omitempty"`
}

// Job is one job with all that is in it.
type Job struct {
	JobInfo
	Timeout     string `json:"timeout,omitempty"`
	MaxAttempts int    `json:"max_attempts,omitempty"`
	// OnFailure and OnDead are the job's own word, if it has one.
	OnFailure   string `json:"on_failure,omitempty"`
	OnDead      string `json:"on_dead,omitempty"`
	ReplyTo     string `json:"reply_to,omitempty"`
	Traceparent string `json:"traceparent,omitempty"`
	// Headers are the publisher's own.
	Headers map[string]string `json:"headers,omitempty"`
	Data    Body              `json:"data,omitempty"`
}

// Body is a job's body. In JSON it is a string, or {"base64": …} when it is no text.
type Body []byte

// MarshalJSON writes text as it is.
func (b Body) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return json.Marshal(string(b))
	}
	return json.Marshal(map[string]string{"base64": base64.StdEncoding.EncodeToString(b)})
}

// JobFilter says which jobs to list. The zero value is all of them.
type JobFilter struct {
	Entities []subjects.Entity
	// From is the first sequence.
	From uint64
	// Kind, when not empty, is the only kind.
	Kind string
	// Limit is how many at most; 0 is no limit.
	Limit int
}

// ListJobs lists unfinished jobs in the order of the queue, without their bodies. A list of a busy queue is a
// snapshot that is over when it is read; in a cluster it may lag behind by moments.
func ListJobs(ctx context.Context, js jetstream.JetStream, q subjects.Queue, f JobFilter) ([]JobInfo, error) {
	op := "list the jobs of " + string(q)
	if _, err := LoadQueue(ctx, js, q); err != nil {
		return nil, err
	}
	jobs := []JobInfo{}
	scan := ScanOptions{From: f.From, Subjects: lanesOf(q.JobSubject, f.Entities)}
	if f.Kind == "" {
		scan.Limit = f.Limit
	}
	err := Scan(ctx, js, q.JobsStream(), scan, func(m Message) bool {
		if one, _ := jobInfo(q, m); f.Kind == "" || one.Kind == f.Kind {
			jobs = append(jobs, one)
		}
		return f.Limit == 0 || len(jobs) < f.Limit
	})
	if err != nil {
		return nil, explain(op, q, err)
	}
	return jobs, nil
}

// GetJob reads one unfinished job. The error is ErrNotFound when it is done, dead, or never was.
func GetJob(ctx context.Context, js jetstream.JetStream, q subjects.Queue, seq uint64) (Job, error) {
	op := fmt.Sprintf("read job %d of %s", seq, q)
	m, err := GetMessage(ctx, js, q.JobsStream(), seq)
	if errors.Is(err, ErrNotFound) {
		return Job{}, problem.New(op, ErrNotFound, fmt.Sprintf("finished jobs are removed; dead ones are in: coordinator dead ls %s", q))
	}
	if err != nil {
		return Job{}, explain(op, q, err)
	}
	return JobOf(q, m), nil
}

// JobOf reads a job from a message on any subject that ends in its lane.
func JobOf(q subjects.Queue, m Message) Job {
	info, h := jobInfo(q, m)
	info.Carried = carriedBy(m.Header)
	job := Job{JobInfo: info, MaxAttempts: h.MaxAttempts, OnFailure: h.OnFailure, OnDead: h.OnDead, ReplyTo: h.ReplyTo, Traceparent: h.Traceparent, Headers: h.Own, Data: m.Data}
	if h.Timeout > 0 {
		job.Timeout = h.Timeout.String()
	}
	return job
}

// jobInfo reads what a list shows, also of a job that cannot be used.
func jobInfo(q subjects.Queue, m Message) (JobInfo, subjects.JobHeader) {
	info := JobInfo{Seq: m.Seq, PublishedAt: m.Time, Size: m.Size}
	h, err := subjects.ReadJobHeader(q, m.Seq, m.Header)
	if err != nil {
		info.Invalid = err.Error()
		h.Kind = subjects.Get(m.Header, subjects.HeaderKind)
		h.ID = subjects.Get(subjects.StripServer(m.Header), subjects.HeaderJobID) // the publisher's, never a move's
	}
	info.Kind, info.ID = h.Kind, h.ID
	var bad error
	if info.Entity, bad = entityOf(m.Subject); bad != nil {
		info.Invalid = bad.Error()
	}
	return info, h
}

// entityOf is the raw form of the entity that a subject is about, or the bare lane and what is wrong with it.
func entityOf(subject string) (string, error) {
	lane, ok := subjects.LaneOf(subject)
	if !ok {
		return subject, subjects.ErrSubject
	}
	e, err := subjects.ParseLane(lane)
	if err != nil {
		return lane, err
	}
	return e.String(), nil
}

func lanesOf(subject func(subjects.Entity) string, entities []subjects.Entity) []string {
	var out []string
	for _, e := range entities {
		out = append(out, subject(e))
	}
	return out
}
