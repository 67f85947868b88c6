package record

import (
	"encoding/json"
	"strings"
	"testing"
)

// at is one line of a hand-made history: entity "e.1", locked unless said otherwise.
func at(t int64, what string, op, pid int, fence uint64, change ...func(*Event)) Event {
	e := Event{T: t, What: what, PID: pid, Worker: "w1", Run: Run{Entity: "e.1", Op: op, Seq: uint64(op), Fence: fence, Attempt: 1, Locked: true}}
	for _, f := range change {
		f(&e)
	}
	return e
}

func unlocked(e *Event) { e.Locked = false }
func other(e *Event)    { e.Entity = "e.2" }

func TestCheck(t *testing.T) {
	one, two := []Job{{Op: 1, Entity: "e.1"}}, []Job{{Op: 1, Entity: "e.1"}, {Op: 2, Entity: "e.1"}}
	for _, c := range []struct {
		name   string
		events []Event
		jobs   []Job
		kills  []Kill
		want   Report // the counts that are not zero, without jobs, entities and times
	}{
		{
			name: "nothing", want: Report{},
		},
		{
			name: "two in order", jobs: two,
			events: []Event{at(10, Start, 1, 7, 1), at(20, Finish, 1, 7, 1), at(20, Start, 2, 8, 2), at(30, Finish, 2, 8, 2)},
			want:   Report{Finished: 2, Runs: 2, Peak: 1},
		},
		{
			name: "two entities side by side", jobs: []Job{{Op: 1, Entity: "e.1"}, {Op: 2, Entity: "e.2"}},
			events: []Event{at(10, Start, 1, 7, 5), at(11, Start, 2, 7, 4, other), at(20, Finish, 2, 7, 4, other), at(21, Finish, 1, 7, 5)},
			want:   Report{Finished: 2, Runs: 2, Peak: 2},
		},
		{
			name: "overlap", jobs: two,
			events: []Event{at(10, Start, 1, 7, 1), at(15, Start, 2, 8, 2), at(20, Finish, 1, 7, 1), at(30, Finish, 2, 8, 2)},
			want:   Report{Finished: 2, Runs: 2, Peak: 2, Overlaps: 1, OutOfOrder: 1},
		},
		{
			name: "overlap of one job with itself", jobs: one, kills: []Kill{{At: 12, Worker: "w1"}},
			events: []Event{at(10, Start, 1, 7, 1), at(15, Start, 1, 8, 2), at(20, Finish, 1, 7, 1), at(30, Finish, 1, 8, 2)},
			want:   Report{Finished: 1, Runs: 2, Peak: 2, Overlaps: 1, Again: 1, AgainKilled: 1},
		},
		{
			name: "lock busy", jobs: one,
			events: []Event{at(10, Start, 1, 7, 1), at(15, LockBusy, 1, 8, 2), at(20, Finish, 1, 7, 1)},
			want:   Report{Finished: 1, Runs: 1, Peak: 1, LockBusy: 1},
		},
		{
			name: "first starts in the wrong order", jobs: two,
			events: []Event{at(10, Start, 2, 7, 1), at(20, Finish, 2, 7, 1), at(30, Start, 1, 7, 2), at(40, Finish, 1, 7, 2)},
			want:   Report{Finished: 2, Runs: 2, Peak: 1, OutOfOrder: 2},
		},
		{
			name: "an earlier job runs again after a later one", jobs: two, kills: []Kill{{At: 25}},
			events: []Event{
				at(10, Start, 1, 7, 1), at(20, Finish, 1, 7, 1), at(21, Start, 2, 7, 2), at(30, Finish, 2, 7, 2),
				at(31, Start, 1, 7, 3), at(40, Finish, 1, 7, 3),
			},
			want: Report{Finished: 2, Runs: 3, Peak: 1, OutOfOrder: 1, Again: 1, AgainKilled: 1},
		},
		{
			name: "the next job starts after the first was cut short", jobs: two, kills: []Kill{{At: 11, PID: 7}},
			events: []Event{at(10, Start, 1, 7, 1), at(20, Start, 2, 8, 2), at(30, Finish, 2, 8, 2)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1, OutOfOrder: 1, Lost: 1, Cut: 1},
		},
		{
			name: "fence stands still", jobs: two,
			events: []Event{at(10, Start, 1, 7, 3), at(20, Finish, 1, 7, 3), at(21, Start, 2, 7, 3), at(30, Finish, 2, 7, 3)},
			want:   Report{Finished: 2, Runs: 2, Peak: 1, FenceNotGrown: 1},
		},
		{
			name: "no fence", jobs: one,
			events: []Event{at(10, Start, 1, 7, 0), at(20, Finish, 1, 7, 0)},
			want:   Report{Finished: 1, Runs: 1, Peak: 1, FenceNotGrown: 1},
		},
		{
			name: "lost: never started", jobs: two,
			events: []Event{at(10, Start, 1, 7, 1), at(20, Finish, 1, 7, 1)},
			want:   Report{Finished: 1, Runs: 1, Peak: 1, Lost: 1},
		},
		{
			name: "a dead job need not finish", jobs: []Job{{Op: 1, Entity: "e.1", Dead: true}, {Op: 2, Entity: "e.1"}, {Op: 3, Entity: "e.1", Dead: true}},
			events: []Event{at(10, Start, 1, 7, 1), at(20, Failed, 1, 7, 1), at(21, Start, 2, 7, 2), at(30, Finish, 2, 7, 2)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1},
		},
		{
			name: "killed, and again under the lock", jobs: one, kills: []Kill{{At: 12, Worker: "w1"}},
			events: []Event{at(10, Start, 1, 7, 1), at(20, Start, 1, 8, 2), at(30, Finish, 1, 8, 2)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1, Again: 1, AgainKilled: 1, Cut: 1},
		},
		{
			name: "killed, and again without a lock: the death of its process is the proof", jobs: one, kills: []Kill{{At: 12, Until: 13, PID: 7}},
			events: []Event{at(10, Start, 1, 7, 1, unlocked), at(20, Start, 1, 8, 2, unlocked), at(30, Finish, 1, 8, 2, unlocked)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1, Again: 1, AgainKilled: 1, Cut: 1},
		},
		{
			name: "again without a lock before the death was seen", jobs: one, kills: []Kill{{At: 12, Until: 25, PID: 7}},
			events: []Event{at(10, Start, 1, 7, 1, unlocked), at(20, Start, 1, 8, 2, unlocked), at(30, Finish, 1, 8, 2, unlocked)},
			want:   Report{Finished: 1, Runs: 2, Peak: 2, Overlaps: 1, Again: 1, AgainKilled: 1, Cut: 1},
		},
		{
			name: "its worker was killed, but nothing proves that the run was over", jobs: one, kills: []Kill{{At: 12, Worker: "w1"}},
			events: []Event{at(10, Start, 1, 7, 1, unlocked), at(20, Start, 1, 8, 2, unlocked), at(30, Finish, 1, 8, 2, unlocked)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1, Overlaps: 1, Again: 1, AgainKilled: 1, Cut: 1},
		},
		{
			name: "killed after its finish, before that was known", jobs: one, kills: []Kill{{At: 21, Worker: "w1"}},
			events: []Event{at(10, Start, 1, 7, 1), at(20, Finish, 1, 7, 1), at(30, Start, 1, 8, 2), at(40, Finish, 1, 8, 2)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1, Again: 1, AgainKilled: 1},
		},
		{
			name: "a fault that lasts", jobs: one, kills: []Kill{{At: 5, Until: 15}},
			events: []Event{at(10, Start, 1, 7, 1), at(20, Finish, 1, 7, 1), at(30, Start, 1, 8, 2), at(40, Finish, 1, 8, 2)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1, Again: 1, AgainKilled: 1},
		},
		{
			name: "again without a reason: the fault hit another worker", jobs: one, kills: []Kill{{At: 21, Worker: "w2"}, {At: 22, PID: 99}},
			events: []Event{at(10, Start, 1, 7, 1), at(20, Finish, 1, 7, 1), at(30, Start, 1, 8, 2), at(40, Finish, 1, 8, 2)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1, Again: 1, AgainUnexplained: 1},
		},
		{
			name: "again without a reason: the fault was over before", jobs: one, kills: []Kill{{At: 9, Worker: "w1"}, {At: 31, Worker: "w1"}},
			events: []Event{at(10, Start, 1, 7, 1), at(20, Finish, 1, 7, 1), at(30, Start, 1, 8, 2), at(40, Finish, 1, 8, 2)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1, Again: 1, AgainUnexplained: 1},
		},
		{
			name: "failed, and again", jobs: one,
			events: []Event{at(10, Start, 1, 7, 1), at(20, Failed, 1, 7, 1), at(30, Start, 1, 7, 2), at(40, Finish, 1, 7, 2)},
			want:   Report{Finished: 1, Runs: 2, Peak: 1, Again: 1, AgainFailed: 1},
		},
		{
			name: "refused", jobs: one,
			events: []Event{at(10, Start, 1, 7, 1), at(11, Refused, 1, 7, 1)},
			want:   Report{Runs: 1, Peak: 1, Refused: 1, Lost: 1},
		},
		{
			name: "nobody published it", jobs: one,
			events: []Event{at(10, Start, 1, 7, 1), at(20, Finish, 1, 7, 1), at(30, Start, 5, 7, 2), at(40, Finish, 5, 7, 2), at(50, Start, 1, 7, 9, other)},
			want:   Report{Finished: 1, Runs: 3, Peak: 1, Unknown: 2, Cut: 1},
		},
		{
			name: "a finish without a start", jobs: one,
			events: []Event{at(10, Start, 1, 7, 1), at(20, Finish, 1, 8, 1), at(30, "what", 1, 7, 1)},
			want:   Report{Runs: 1, Peak: 1, Stray: 2, Cut: 1, Lost: 1},
		},
		{
			name: "lines of several files come in any order", jobs: two,
			events: []Event{at(20, Start, 2, 8, 2), at(30, Finish, 2, 8, 2), at(10, Start, 1, 7, 1), at(20, Finish, 1, 7, 1)},
			want:   Report{Finished: 2, Runs: 2, Peak: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Check(Log{Events: c.events}, c.jobs, c.kills)
			bad := c.want.Overlaps + c.want.LockBusy + c.want.OutOfOrder + c.want.Refused + c.want.FenceNotGrown +
				c.want.Lost + c.want.Unknown + c.want.Stray + c.want.AgainUnexplained
			if got.OK() != (bad == 0) || len(got.Violations) != bad {
				t.Errorf("OK is %v with %d violations, %d expected", got.OK(), len(got.Violations), bad)
			}
			if want := counts(c.want); counts(got) != want {
				t.Errorf("\n got %s\nwant %s\n%s", counts(got), want, got)
			}
		})
	}
}

// counts shows the counts of a report that are compared.
func counts(r Report) string {
	r.Jobs, r.Entities, r.Seconds, r.JobsPerSecond, r.Violations = 0, 0, 0, 0, nil
	out, _ := json.Marshal(r)
	return string(out)
}

func TestReport(t *testing.T) {
	events := []Event{
		at(1e9, Start, 1, 7, 1), at(2e9, Start, 2, 8, 2), at(2e9, LockBusy, 2, 9, 3), at(3e9, Finish, 1, 7, 1), at(5e9, Finish, 2, 8, 2),
	}
	r := Check(Log{Events: events, Torn: 1}, []Job{{Op: 1, Entity: "e.1"}, {Op: 2, Entity: "e.1"}}, nil)
	if r.Jobs != 2 || r.Entities != 1 || r.Seconds != 4 || r.JobsPerSecond != 0.5 || r.Torn != 1 {
		t.Errorf("%+v", r)
	}
	text := r.String()
	for _, want := range []string{"2 of 2", "overlaps", "started while job 1 in pid 7 (fence 1, attempt 1, finish) was not over", "over 4s"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	out, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(out), `"lock_busy":1`) || !strings.Contains(string(out), `"violations":[{`) {
		t.Errorf("%s, %v", out, err)
	}
	out, _ = json.Marshal(Check(Log{}, nil, nil))
	if !strings.Contains(string(out), `"violations":[]`) {
		t.Errorf("%s", out)
	}
}

// A report of a disaster stays readable: the counts are exact, the list is not endless.
func TestViolationsAreBounded(t *testing.T) {
	jobs := make([]Job, 3*MaxViolations)
	for i := range jobs {
		jobs[i] = Job{Op: i, Entity: "e.1"}
	}
	r := Check(Log{}, jobs, nil)
	if r.Lost != len(jobs) || len(r.Violations) != MaxViolations || strings.Count(r.String(), "\n") > 60 {
		t.Errorf("%d lost, %d listed", r.Lost, len(r.Violations))
	}
}
