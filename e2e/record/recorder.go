package record

import (
	"encoding/json"
	"os"

	"github.com/seriatim/seriatim/internal/problem"
)

// Recorder appends events to a record. Its methods may be called from any goroutine, and any number of recorders
// in any number of processes may append to one file.
type Recorder struct {
	// Worker goes into every event; set it before the first one.
	Worker string

	file *os.File
	pid  int
}

// Open opens a record for appending and makes it if need be.
func Open(path string) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, problem.New("open record", err, "")
	}
	return &Recorder{file: f, pid: os.Getpid()}, nil
}

// Start writes that a run begins. A run whose start could not be written must not begin.
func (r *Recorder) Start(run Run) error { return r.write(Start, run) }

// Finish writes that a run has done its work.
func (r *Recorder) Finish(run Run) error { return r.write(Finish, run) }

// Failed writes that a run ended without having done its work.
func (r *Recorder) Failed(run Run) error { return r.write(Failed, run) }

// Refused writes that a run found that its job cannot be the next one.
func (r *Recorder) Refused(run Run) error { return r.write(Refused, run) }

// LockBusy writes that a run could not begin because another one holds the entity's lock.
func (r *Recorder) LockBusy(run Run) error { return r.write(LockBusy, run) }

// Close closes the file; what was written stays whether or not it is called.
func (r *Recorder) Close() error { return r.file.Close() }

func (r *Recorder) write(what string, run Run) error {
	line, err := json.Marshal(Event{T: Now(), What: what, Run: run, PID: r.pid, Worker: r.Worker})
	if err != nil {
		return problem.New("write record", err, "")
	}
	out := make([]byte, 0, len(line)+2)
	out = append(append(append(out, '\n'), line...), '\n')
	_, err = r.file.Write(out)
	return problem.New("write record", err, "")
}
