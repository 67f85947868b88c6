package rig

import (
	"bytes"
	"encoding/json"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/examples/history"
	"github.com/seriatim/seriatim/subjects"
)

// Job is a job for e2e/child.
type Job struct {
	// Op numbers the job in the record; Import and Publish set it.
	Op     int    `json:"op"`
	Entity string `json:"-"`
	MS     int    `json:"ms,omitempty"`
	Until  string `json:"until,omitempty"`
	// Dead says that the checker is not to expect its end.
	Dead bool `json:"-"`
}

func (r *Rig) next(j *Job) {
	j.Op = len(r.expected) + 1
	r.Expect(record.Job{Op: j.Op, Entity: j.Entity, Dead: j.Dead})
}

// Import publishes jobs through coordinator, in order, and has the checker expect them.
func (r *Rig) Import(jobs ...Job) {
	r.t.Helper()
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, j := range jobs {
		r.next(&j)
		if err := enc.Encode(map[string]any{"entity": j.Entity, "data": j}); err != nil {
			r.t.Fatal(err)
		}
	}
	r.importLines(lines.Bytes())
}

// ImportHistory publishes operations of the history and has the checker expect them.
func (r *Rig) ImportHistory(ops []history.Op) {
	r.t.Helper()
	var lines bytes.Buffer
	if err := history.WriteImport(&lines, ops, 0); err != nil {
		r.t.Fatal(err)
	}
	r.Expect(history.Expected(ops)...)
	r.importLines(lines.Bytes())
}

func (r *Rig) importLines(lines []byte) {
	r.t.Helper()
	file := r.Path("jobs.jsonl")
	if err := os.WriteFile(file, lines, 0o644); err != nil {
		r.t.Fatal(err)
	}
	r.Coordinator("job", "import", Queue, file)
}

// Publish publishes one job on a plain connection and returns its number. The answer of JetStream is waited for.
func (r *Rig) Publish(nc *nats.Conn, j Job) (op int) {
	r.t.Helper()
	r.next(&j)
	entity, err := subjects.ParseEntity(j.Entity)
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := json.Marshal(j)
	if err != nil {
		r.t.Fatal(err)
	}
	answer, err := nc.Request(subjects.Queue(Queue).JobSubject(entity), body, 30*time.Second)
	if err != nil || !bytes.Contains(answer.Data, []byte(`"seq"`)) {
		r.t.Fatalf("publish: %v %+v", err, answer)
	}
	return j.Op
}
