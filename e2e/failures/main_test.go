package failures

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/frames"
	"github.com/seriatim/seriatim/lifecycle/memory/hog"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// The test binary is also a child of a pool, and a program with a worker in it.
const (
	actAs    = "FAILURES_TEST_ROLE"
	asChild  = "child"
	asWorker = "worker"
)

func TestMain(m *testing.M) {
	switch os.Getenv(actAs) {
	case asChild:
		fleet.ServeFrames(1, act)
		return
	case asWorker:
		os.Exit(work())
	}
	hog.Main()
	// Most of the time is waiting for leases. Who says -parallel wins: flags are read later.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	rig.Main(m)
}

// act is a child with frames, which answers each job with its body as a fail frame.
func act(o frames.Order, send func([]byte)) {
	var answer struct {
		Error     string `json:"error"`
		Retry     bool   `json:"retry"`
		RetryInMS int    `json:"retry_in_ms"`
	}
	if err := json.Unmarshal(o.Job.Body, &answer); err != nil {
		panic(err)
	}
	send(frames.AppendFail(nil, o.Run, answer.Error, answer.Retry, time.Duration(answer.RetryInMS)*time.Millisecond))
}

// self is this program in another role.
func self(t testing.TB) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe}
}

// The kinds of jobs, each with a pool of its own.
const (
	kindShell  = "shell"  // the body is a script
	kindFrames = "frames" // the body is the answer
	kindHog    = "hog"    // the body is how much memory it takes, see package hog
)

func shellPool(jobs int) fleet.Pool {
	return fleet.Pool{Name: "shell", Kinds: []string{kindShell}, Mode: "exec", Concurrency: jobs, Command: []string{"sh", "-c", `eval "$(cat)"`}}
}

func framesPool(t testing.TB) fleet.Pool {
	return fleet.Pool{
		Name: "frames", Kinds: []string{kindFrames}, Mode: "pool", Command: self(t), Processes: 1,
		Env: map[string]string{actAs: asChild},
	}
}

// hogPool is one whose guard kills at 120 MiB.
func hogPool(t testing.TB) fleet.Pool {
	env := hog.Env()
	env["HOG_ORDERS"] = "body"
	return fleet.Pool{
		Name: "hog", Kinds: []string{kindHog}, Mode: "pool", Command: hog.Go(t), Processes: 1, Env: env,
		Memory: map[string]string{"mode": "daemon", "hard": "120MiB", "check": "50ms", "hard_grace": "100ms", "grace": "1h", "balloon": "1h"},
	}
}

// scene is a system, and what is asked of it.
type scene struct {
	*rig.Rig
	t  *testing.T
	nc *nats.Conn
	// ops is the number of the last job that quick has published.
	ops int
}

// newScene lets the test run beside others: most of its time is waiting.
func newScene(t *testing.T, flags ...string) *scene {
	t.Helper()
	t.Parallel()
	r := rig.New(t, flags...)
	return &scene{Rig: r, t: t, nc: r.Server.Conn()}
}

func entityOf(t testing.TB, text string) subjects.Entity {
	t.Helper()
	e, err := subjects.ParseEntity(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// publish stores a job.
func (s *scene) publish(entity string, o streams.PublishOptions) (seq uint64) {
	s.t.Helper()
	seq, _, err := streams.Publish(s.t.Context(), s.nc, rig.Queue, entityOf(s.t, entity), o)
	if err != nil {
		s.t.Fatal(err)
	}
	return seq
}

// script stores a job that is a shell script.
func (s *scene) script(entity, body string) uint64 {
	s.t.Helper()
	return s.publish(entity, streams.PublishOptions{Kind: kindShell, Data: []byte(body)})
}

// ask runs a command and reads its JSON.
func ask[T any](s *scene, args ...string) (v T) {
	s.t.Helper()
	if err := json.Unmarshal(s.Coordinator(append(args, "--json")...), &v); err != nil {
		s.t.Fatal(err)
	}
	return v
}

// finished is what the history says of a job that has just ended. The record is sent after the job is gone, and not waited
// for.
func (s *scene) finished(seq uint64) (f streams.Finished) {
	s.t.Helper()
	s.until(fmt.Sprintf("job %d is in the history", seq), func() bool {
		return s.Admin.JSON(s.t.Context(), &f, "job", "info", rig.Queue, fmt.Sprint(seq)) == nil && !f.EndedAt.IsZero()
	}, func() any { return f })
	return f
}

// lane is what is known of one.
func (s *scene) lane(entity string) streams.LaneInfo {
	s.t.Helper()
	return ask[streams.LaneInfo](s, "lane", "info", rig.Queue, entity)
}

// until waits for something, and says what there is when that does not come.
func (s *scene) until(what string, so func() bool, is func() any) {
	s.t.Helper()
	for end := time.Now().Add(rig.Bound); !so(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("never: %s; it is %+v", what, is())
		}
	}
}

// becomes waits until a lane's claim is as it should be.
func (s *scene) becomes(entity, what string, so func(c *streams.ClaimInfo) bool) (l streams.LaneInfo) {
	s.t.Helper()
	s.until(entity+" "+what, func() bool {
		l = s.lane(entity)
		return l.Claim != nil && so(l.Claim)
	}, func() any {
		if l.Claim == nil {
			return l.Why
		}
		return *l.Claim
	})
	return l
}

// stands waits until a lane's claim is in a state.
func (s *scene) stands(entity string, state lane.Standing) streams.LaneInfo {
	s.t.Helper()
	return s.becomes(entity, "is "+string(state), func(c *streams.ClaimInfo) bool { return c.State == state })
}

// letters are the dead jobs.
func (s *scene) letters() []streams.DeadInfo {
	s.t.Helper()
	return ask[[]streams.DeadInfo](s, "dead", "ls", rig.Queue)
}

// letter waits until the job of an entity is dead.
func (s *scene) letter(entity string) (d streams.DeadInfo) {
	s.t.Helper()
	var all []streams.DeadInfo
	s.until("the job of "+entity+" is dead", func() bool {
		all = s.letters()
		i := slices.IndexFunc(all, func(d streams.DeadInfo) bool { return d.Entity == entity })
		if i < 0 {
			return false
		}
		d = all[i]
		return true
	}, func() any { return all })
	return d
}

// lines are those that jobs have written into a file.
func (s *scene) lines(file string) []string {
	s.t.Helper()
	text, err := os.ReadFile(s.Path(file))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

// awaitLines waits until a file has so many lines.
func (s *scene) awaitLines(file string, n int) (lines []string) {
	s.t.Helper()
	s.until(file+" has its lines", func() bool {
		lines = s.lines(file)
		return len(lines) >= n
	}, func() any { return lines })
	return lines
}

// quantile is the value at q of all, which are sorted in place.
func quantile[T cmp.Ordered](all []T, q float64) T {
	slices.Sort(all)
	return all[min(len(all)-1, int(float64(len(all))*q))]
}
