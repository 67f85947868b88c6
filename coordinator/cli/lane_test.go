package cli

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// halt QUEUE TYPE.ID JOB ERROR makes a lane stand still, as a worker does whose job is dead.
func halt(ts *testscript.TestScript, _ bool, args []string) {
	js, done := connectJS(ts)
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	q := subjects.Queue(args[0])
	e, err := subjects.ParseEntity(args[1])
	ts.Check(err)
	job, err := strconv.ParseUint(args[2], 10, 64)
	ts.Check(err)
	loaded, err := streams.LoadQueue(ctx, js, q)
	ts.Check(err)
	r := lane.Record{
		State: lane.Halted, Session: "s", Job: job, Created: loaded.Created.UnixNano(), Attempt: 5, Counts: lane.Counts{Attempts: 5},
		Cause: "failed", Error: args[3],
	}
	_, err = js.Publish(ctx, q.ClaimSubject(e), r.Encode())
	ts.Check(err)
}

// gone FILE demands that the process whose number is in the file is gone.
func gone(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	// An orphan that was killed waits for whoever inherited it.
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	ts.Fatalf("process %d lives", pid)
}
