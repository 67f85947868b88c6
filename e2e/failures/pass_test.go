package failures

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

// note is a script that writes down its job, and ends with a code.
func (s *scene) note(name, code string) string {
	return `echo "` + name + ` $JOB_ATTEMPT" >> "` + s.Path("notes.$JOB_ENTITY") + `"; exit ` + code
}

// notes are what the jobs of an entity have written down.
func (s *scene) notes(entity string, n int) string {
	s.t.Helper()
	return strings.Join(s.awaitLines("notes."+entity, n), ", ")
}

func (s *scene) says(what, got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: %q, not %q", what, got, want)
	}
}

// A job that lets others pass goes to the end of its lane each time it fails; what it is charged with goes with it, up to
// the limit and into the letter. Beside it a job that does not.
func TestPass(t *testing.T) {
	s := newScene(t, "--backoff", "10s,10s,1,0", "--max-attempts", "3") // longer than all that is done meanwhile takes
	publish := func(entity, name, code string) {
		s.publish(entity, streams.PublishOptions{Kind: kindShell, ID: entity + name, Data: []byte(s.note(name, code))})
	}
	// All wait in the lane before the first one has failed.
	s.Coordinator("job", "publish", rig.Queue, "pass.1", "--kind", kindShell, "--id", "pass.1A", "--data", s.note("A", "1"), "--on-failure", "pass")
	publish("pass.1", "B", "0")
	publish("pass.1", "C", "0")
	publish("block.1", "A", "1")
	publish("block.1", "B", "0")
	s.Host("a", shellPool(4)).Start()

	s.says("others pass", s.notes("pass.1", 3), "A 1, B 1, C 1")
	publish("pass.1", "D", "0") // one that comes while it is away, is before it too
	away := ask[struct {
		State string
		DueAt time.Time `json:"due_at"`
		streams.JobInfo
	}](s, "job", "info", rig.Queue, "--id", "pass.1A")
	if away.State != streams.JobRetrying || away.DueAt.IsZero() || away.Carried == nil || away.Carried.Counts.Attempts != 1 || len(away.Carried.Tries) != 1 {
		t.Errorf("%+v", away)
	}
	d := s.letter("pass.1")
	s.says("and again at the end, with its count", s.notes("pass.1", 6), "A 1, B 1, C 1, D 1, A 2, A 3")
	if d.Cause != "failed" || d.Attempts != 3 || d.ID != "pass.1A" || len(d.Tries) != 3 || d.JobSeq < 5 {
		t.Errorf("%+v", d)
	}
	for i, try := range d.Tries {
		if try.Worker == "" || try.Cause != "failed" || i > 0 && (try.Fence <= d.Tries[i-1].Fence || try.Start-d.Tries[i-1].End < 1_000) {
			t.Errorf("%+v", d.Tries)
		}
	}
	s.letter("block.1")
	s.says("others wait", s.notes("block.1", 4), "A 1, A 2, A 3, B 1")
	s.AwaitEmpty(rig.Bound)
	var i streams.Info
	s.until("nothing else is left", func() bool { // that a job is back in its lane is confirmed after it is there
		i = ask[streams.Info](s, "queue", "info", rig.Queue)
		return i.Scheduled == 0 && i.Dead == 2 && i.Retrying == 0
	}, func() any { return i })

	// Brought back, it begins anew, and still lets others pass.
	s.Coordinator("dead", "retry", rig.Queue, "--entity", "pass.1", "--force")
	s.says("anew", s.notes("pass.1", 7), "A 1, B 1, C 1, D 1, A 2, A 3, A 1")
}

// A crash counts on over the passes as a failure does, and all is in the claim while the job is in its lane.
func TestPassKeepsEachCount(t *testing.T) {
	s := newScene(t, "--backoff", "100ms,100ms,1,0", "--max-attempts", "3", "--max-crashes", "3", "--on-failure", "pass")
	s.Host("a", shellPool(4)).Start()
	s.script("pass.1", `
		echo "$JOB_ATTEMPT" >> '`+s.Path("starts")+`'
		case $(wc -l < '`+s.Path("starts")+`') in
			1|3) exit 1 ;;
			2|4) kill -KILL $$ ;;
		esac
		while [ ! -e '`+s.Path("go")+`' ]; do sleep 0.05; done; exit 1`)
	s.says("all counted against it", strings.Join(s.awaitLines("starts", 5), " "), "1 2 3 4 5")
	l := s.lane("pass.1")
	if want := (lane.Counts{Attempts: 2, Crashes: 2}); l.Claim.Counts != want || l.Claim.Attempt != 5 || len(l.Claim.Tries) != 4 || l.State != streams.LaneRunning {
		t.Errorf("%+v", l.Claim)
	}
	s.Touch("go")
	d := s.letter("pass.1")
	var words []string
	for _, try := range d.Tries {
		words = append(words, try.Cause)
	}
	s.says("the tries", strings.Join(words, " "), "failed crashed failed crashed failed")
	if d.Attempts != 5 || d.Cause != "failed" {
		t.Errorf("%+v", d)
	}

	// The queue lets pass, the job does not.
	s.publish("block.1", streams.PublishOptions{Kind: kindShell, OnFailure: streams.FailureBlock, Data: []byte(s.note("A", "1"))})
	s.publish("block.1", streams.PublishOptions{Kind: kindShell, Data: []byte(s.note("B", "0"))})
	s.says("others wait", s.notes("block.1", 4), "A 1, A 2, A 3, B 1")
}

// A dead job halts its lane, by its own word or the queue's, until somebody says how to go on.
func TestHalt(t *testing.T) {
	s := newScene(t, "--backoff", "50ms,50ms,1,0", "--max-attempts", "2")
	s.Host("a", shellPool(4)).Start()
	mended := `[ -e "` + s.Path("mended") + `" ] && exit 0; `
	s.publish("halt.1", streams.PublishOptions{Kind: kindShell, OnDead: streams.DeadHalt, Data: []byte(mended + s.note("A", "1"))})
	s.publish("halt.2", streams.PublishOptions{Kind: kindShell, OnDead: streams.DeadHalt, Data: []byte(s.note("A", "100"))})
	s.publish("go.1", streams.PublishOptions{Kind: kindShell, Data: []byte(s.note("A", "100"))})
	for _, entity := range []string{"halt.1", "halt.2", "go.1"} {
		s.publish(entity, streams.PublishOptions{Kind: kindShell, Data: []byte(s.note("B", "0"))})
	}
	s.says("the lane goes on", s.notes("go.1", 2), "A 1, B 1")
	s.stands("halt.1", lane.Halted)
	var l streams.LaneInfo
	s.until("its turn is ended", func() bool { // which is done after the claim is written
		l = s.lane("halt.1")
		return l.Turn == nil
	}, func() any { return l })
	t.Log(l.Why)
	if l.State != streams.LaneHalted || l.Claim.Attempts != 2 || len(l.Claim.Tries) != 2 || l.Claim.Cause != "failed" || l.Jobs != 2 {
		t.Errorf("%+v %+v", l, l.Claim)
	}
	l = s.stands("halt.2", lane.Halted)
	t.Log(l.Why)
	if l.Claim.Attempts != 1 || len(l.Claim.Tries) != 1 || l.Claim.Cause != "fatal" {
		t.Errorf("%+v", l.Claim)
	}
	if i := ask[streams.Info](s, "queue", "info", rig.Queue); i.Halted != 2 || i.Dead != 1 {
		t.Errorf("%+v", i)
	}

	s.Coordinator("lane", "release", rig.Queue, "halt.1") // nothing was mended
	s.says("tried again, with counts at zero", s.notes("halt.1", 4), "A 1, A 2, A 1, A 2")
	s.stands("halt.1", lane.Halted)
	s.Touch("mended")
	s.Coordinator("lane", "release", rig.Queue, "halt.1")
	s.says("done, and the lane goes on", s.notes("halt.1", 5), "A 1, A 2, A 1, A 2, B 1")
	s.Coordinator("lane", "release", rig.Queue, "halt.2", "--bury")
	s.says("buried, and the lane goes on", s.notes("halt.2", 2), "A 1, B 1")
	if d := s.letter("halt.2"); d.Cause != "fatal" || d.Attempts != 1 || len(d.Tries) != 1 {
		t.Errorf("%+v", d)
	}
	s.AwaitEmpty(rig.Bound)

	// The queue's word, and against it the job's own.
	s.Coordinator("queue", "edit", rig.Queue, "--on-dead", "halt")
	s.until("workers know it", func() bool { // they look at the policy every few seconds
		s.script("probe.1", "exit 100")
		var l streams.LaneInfo
		s.until("it has failed", func() bool {
			l = s.lane("probe.1")
			return l.Jobs == 0 || l.State == streams.LaneHalted
		}, func() any { return l.Why })
		return l.State == streams.LaneHalted
	}, func() any { return "not" })
	s.publish("own.1", streams.PublishOptions{Kind: kindShell, OnDead: streams.DeadContinue, Data: []byte(s.note("A", "100"))})
	s.publish("own.1", streams.PublishOptions{Kind: kindShell, Data: []byte(s.note("B", "100"))})
	s.stands("own.1", lane.Halted)
	s.says("the job's own word", s.notes("own.1", 2), "A 1, B 1")
	if !slices.ContainsFunc(s.letters(), func(d streams.DeadInfo) bool { return d.Entity == "own.1" }) {
		t.Error("the first one has no letter")
	}
}
