package failures

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

// cause is a way to fail, and what is said of it.
type cause struct {
	name string
	streams.PublishOptions
	body string
	// word is the cause in claim and letter, text a part of the error.
	word, text string
	// counts is what one start of it is charged with.
	counts lane.Counts
	// atOnce: there is no second start.
	atOnce bool
	// log is a part of the end of its output.
	log string
}

func causes() []cause {
	shell := streams.PublishOptions{Kind: kindShell}
	inFrames := streams.PublishOptions{Kind: kindFrames}
	failed, crashed := lane.Counts{Attempts: 1}, lane.Counts{Crashes: 1}
	return []cause{
		{name: "exit1", PublishOptions: shell, body: `echo writing; echo "disk full" >&2; exit 1`, word: "failed", text: "disk full", counts: failed, log: "writing"},
		{name: "exit75", PublishOptions: shell, body: `exit 75`, word: "failed", text: "75", counts: failed},
		{name: "exit111", PublishOptions: shell, body: `exit 111`, word: "failed", text: "111", counts: failed},
		{name: "exit100", PublishOptions: shell, body: `echo "no such build" >&2; exit 100`, word: "fatal", text: "no such build", counts: failed, atOnce: true},
		{name: "killed", PublishOptions: shell, body: `kill -KILL $$`, word: "crashed", text: "signal 9", counts: crashed},
		{name: "segv", PublishOptions: shell, body: `kill -SEGV $$`, word: "crashed", text: "signal 11", counts: crashed},
		{
			name: "timeout", PublishOptions: streams.PublishOptions{Kind: kindShell, Timeout: 300 * time.Millisecond}, body: `sleep 600`,
			word: "failed", text: "300ms", counts: failed,
		},
		{name: "fail", PublishOptions: inFrames, body: `{"error":"try me again","retry":true}`, word: "failed", text: "try me again", counts: failed},
		{name: "deadnow", PublishOptions: inFrames, body: `{"error":"no use","retry":false}`, word: "fatal", text: "no use", counts: failed, atOnce: true},
		{name: "memory", PublishOptions: streams.PublishOptions{Kind: kindHog}, body: "hog 200", word: "memory", text: "hard limit", counts: lane.Counts{Memory: 1}},
	}
}

// fails publishes one job for each cause.
func (s *scene) fails() {
	s.t.Helper()
	for _, c := range causes() {
		c.Data = []byte(c.body)
		s.publish("cause."+c.name, c.PublishOptions)
	}
}

// tries holds the evidence against what is known of it.
func (s *scene) tries(c cause, list []lane.Try, want int) {
	s.t.Helper()
	if len(list) != want {
		s.t.Errorf("%s: %d tries, not %d: %+v", c.name, len(list), want, list)
	}
	var fence uint64
	for _, try := range list {
		if try.Cause != c.word || !strings.Contains(try.Error, c.text) || !strings.Contains(try.Log, c.log) || try.Worker == "" ||
			try.Fence <= fence || try.Start == 0 || try.End < try.Start {
			s.t.Errorf("%s: %+v", c.name, try)
		}
		fence = try.Fence
	}
}

// What one failure leaves in the claim: its cause, counted by itself, and who, when and why.
func TestWhatAClaimSays(t *testing.T) {
	s := newScene(t, "--backoff", "1h,1h,1,0")
	s.Host("a", shellPool(4), framesPool(t), hogPool(t)).Start()
	s.fails()
	for _, c := range causes() {
		if c.atOnce {
			d := s.letter("cause." + c.name)
			s.tries(c, d.Tries, 1)
			if d.Cause != c.word || d.Attempts != 1 || !strings.Contains(d.Error, c.text) {
				t.Errorf("%s: %+v", c.name, d)
			}
			continue
		}
		l := s.stands("cause."+c.name, lane.Waiting)
		got := l.Claim
		s.tries(c, got.Tries, 1)
		if got.Counts != c.counts || got.Cause != c.word || !strings.Contains(got.Error, c.text) || time.Until(got.NotBefore) < 50*time.Minute {
			t.Errorf("%s: %+v", c.name, *got)
		}
		if l.State != streams.LaneRetrying || !strings.Contains(l.Why, "retry of job") {
			t.Errorf("%s: %s: %s", c.name, l.State, l.Why)
		}
		t.Logf("%s: %s", c.name, l.Why)
	}
	if n := len(s.letters()); n != 2 {
		t.Errorf("%d dead", n)
	}

	// The job says when.
	s.publish("cause.soon", streams.PublishOptions{Kind: kindFrames, Data: []byte(`{"error":"rate limited","retry":true,"retry_in_ms":600000}`)})
	got := s.stands("cause.soon", lane.Waiting).Claim
	if in := time.Until(got.NotBefore); in < 5*time.Minute || in > 11*time.Minute {
		t.Errorf("it is tried again in %s", in)
	}
}

// What failing up to the limit leaves in the dead letter: all tries, and the lane goes on.
func TestWhatALetterSays(t *testing.T) {
	s := newScene(t, "--backoff", "50ms,50ms,1,0", "--max-attempts", "2", "--max-crashes", "2")
	s.Host("a", shellPool(4), framesPool(t), hogPool(t)).Start()
	s.fails()
	for _, c := range causes() {
		s.script("cause."+c.name, "exit 0")
	}
	for _, c := range causes() {
		starts := 2
		if c.atOnce {
			starts = 1
		}
		d := s.letter("cause." + c.name)
		s.tries(c, d.Tries, starts)
		if d.Cause != c.word || d.Attempts != starts || !strings.Contains(d.Error, c.text) || d.Worker == "" || d.Kind != c.Kind ||
			d.JobSeq == 0 || d.PublishedAt == nil || d.DiedAt.Before(*d.PublishedAt) {
			t.Errorf("%s: %+v", c.name, d)
		}
	}

	// A job may have a limit of its own.
	s.publish("own.1", streams.PublishOptions{Kind: kindShell, MaxAttempts: 4, Data: []byte("exit 1")})
	if d := s.letter("own.1"); d.Attempts != 4 || len(d.Tries) != 4 {
		t.Errorf("%+v", d)
	}
	s.AwaitEmpty(rig.Bound)
	if n := len(s.letters()); n != len(causes())+1 {
		t.Errorf("%d dead", n)
	}
}

// What cannot be used is dead at once, and what nobody here serves waits, for as long as it takes.
func TestInvalidAndUnserved(t *testing.T) {
	s := newScene(t)
	s.Host("a", shellPool(4)).Start()
	for subject, header := range map[string]string{
		"jobs.q.bad.timeout": "Job-Timeout", "jobs.q.bad.attempts": "Job-Max-Attempts", "jobs.q.bad.pass": "Job-On-Failure",
		"jobs.q.bad.halt": "Job-On-Dead", "jobs.q.bad.%31": "",
	} {
		m := nats.NewMsg(subject)
		m.Data = []byte("exit 0")
		m.Header.Set("Job-Kind", kindShell)
		if header != "" {
			m.Header.Set(header, "perhaps")
		}
		answer, err := s.nc.RequestMsg(m, rig.Bound)
		if err != nil || !strings.Contains(string(answer.Data), `"seq"`) {
			t.Fatal(err, answer)
		}
	}
	var all []streams.DeadInfo
	s.until("five are dead", func() bool {
		all = s.letters()
		return len(all) == 5
	}, func() any { return all })
	for _, d := range all {
		t.Logf("%s: %d attempts, %s: %s", d.Entity, d.Attempts, d.Cause, d.Error)
		if d.Cause != "invalid" || len(d.Tries) != 0 || d.Error == "" {
			t.Errorf("%+v", d)
		}
	}

	s.publish("unserved.1", streams.PublishOptions{Kind: "nobody", MaxAttempts: 1})
	s.script("unserved.1", "exit 0")
	var l streams.LaneInfo
	s.until("the lane says so", func() bool {
		l = s.lane("unserved.1")
		return l.State == streams.LaneUnserved
	}, func() any { return l.Why })
	t.Log(l.Why)
	time.Sleep(3 * time.Second) // many deliveries, none of which counts
	if l := s.lane("unserved.1"); l.Jobs != 2 || l.Claim != nil && (l.Claim.Counts != lane.Counts{Interrupted: l.Claim.Interrupted}) {
		t.Errorf("%+v", l)
	}
	other := shellPool(1)
	other.Name, other.Kinds = "other", []string{"nobody"}
	s.Host("b", other, shellPool(1)).Start()
	s.AwaitEmpty(rig.Bound)
	if n := len(s.letters()); n != 5 {
		t.Errorf("%d dead", n)
	}
}

// One job that meets all: each count is its own, none reaches its limit of two, and the job is done in the end.
func TestCausesAreCountedApart(t *testing.T) {
	s := newScene(t, "--lease", "6s", "--backoff", "50ms,50ms,1,0", "--max-attempts", "2", "--max-crashes", "2", "--max-lost", "2")
	a, b := s.Host("a", shellPool(2)), s.Host("b", shellPool(2))
	a.Timeout = 100 * time.Millisecond
	a.Start()
	s.script("build.1", `
		echo "$JOB_ATTEMPT $CHILD_WORKER" >> '`+s.Path("starts")+`'
		case $(wc -l < '`+s.Path("starts")+`') in
			1) echo one >&2; exit 1 ;;
			2) kill -KILL $$ ;;
		esac
		while [ ! -e '`+s.Path("go")+`' ]; do sleep 0.05; done`)
	s.awaitLines("starts", 3)
	a.Stop() // a deploy
	got := s.stands("build.1", lane.GivenBack).Claim
	if want := (lane.Counts{Attempts: 1, Crashes: 1, Interrupted: 1}); got.Counts != want || got.Cause != "interrupted" {
		t.Errorf("%+v", *got)
	}
	a.Start()
	s.awaitLines("starts", 4)
	b.Start()
	a.Kill() // a host that is gone
	starts := s.awaitLines("starts", 5)
	for i, want := range []string{"1 a", "2 a", "3 a", "3 a", "4 b"} {
		if starts[i] != want {
			t.Errorf("start %d was attempt %q, not %q", i+1, starts[i], want)
		}
	}
	l := s.lane("build.1")
	want := lane.Counts{Attempts: 1, Crashes: 1, Interrupted: 1, Lost: 1}
	if l.Claim.Counts != want || l.Claim.State != lane.Running || l.Claim.Attempt != 4 {
		t.Errorf("%+v", *l.Claim)
	}
	s.Touch("go")
	s.AwaitEmpty(rig.Bound)
	if all := s.letters(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	f := s.finished(1)
	var words []string
	for _, try := range f.Tries {
		words = append(words, try.Cause)
	}
	if f.Outcome != "done" || f.Attempts != 4 || f.Interrupted != 1 || strings.Join(words, " ") != "failed crashed lost" {
		t.Errorf("%+v", f)
	}
}
