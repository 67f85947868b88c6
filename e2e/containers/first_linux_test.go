package containers

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/proctest"
)

// A thousand and more orphans come to process 1, what a shell left before it became workerd, and to the engine, from each of
// two jobs, whose statuses are not lost between theirs.
func TestScenario09AsProcess1(t *testing.T) {
	t.Parallel()
	s := newScene(t, "--lease", "6s", "--max-attempts", "1")
	leave := func(n int, sleep string) string {
		return fmt.Sprintf(`n=0; while [ $n -lt %d ]; do (sleep %s &); n=$((n+1)); done`, n, sleep)
	}
	h := s.Host("a", fleet.Pool{
		Name: "orphans", Kinds: []string{"*"}, Mode: "exec", Concurrency: 2,
		Command: []string{"sh", "-c", leave(500, "0.01") + `; echo "$JOB_ENTITY left them" >&2; exit 9`},
	})
	c := s.contain(h, `sh -c '(`+leave(500, "0.5")+`) & exec "$0" "$@"' "$workerd" "$@"`)
	c.Start()
	first := c.init1()
	for i := range 2 {
		s.Coordinator("job", "publish", rig.Queue, fmt.Sprintf("e.%d", i))
	}
	var dead []map[string]any
	eventually(t, "both jobs have ended", func() bool {
		if err := json.Unmarshal(s.Coordinator("dead", "ls", rig.Queue, "--json"), &dead); err != nil {
			t.Fatal(err)
		}
		return len(dead) == 2
	})
	for _, line := range said(t, h, "end") {
		if line["outcome"] != "failed" || line["error"] != fmt.Sprint(line["entity"], " left them") {
			t.Errorf("a job ended so: %v", line)
		}
	}
	eventually(t, "no zombies are left", func() bool { return proctest.Zombies(t, first) == 0 })
	if n := len(said(t, h, "signals are swallowed")); n != 0 {
		t.Error("process 1 was told that it gets no signals")
	}
	code, took := c.stop(grace)
	if code != 0 {
		t.Errorf("TERM ended it with %d", code)
	}
	t.Logf("1500 orphans, no zombies; ended %v after TERM", took.Round(time.Millisecond))
}

// Who is told that TERM will not arrive, and with which line to change; and that it does arrive where nobody is told so.
func TestScenario10AShellAsProcess1(t *testing.T) {
	s := newScene(t)
	exe := self(t)
	for i, c := range []struct {
		name, line string
		hint       string // none: no warning
	}{
		{"sh -c", `sh -c "$workerd $*; exit"`, "sh -c 'exec WORKERD --config"},
		{"a folder first", `sh -c "cd / && A=b $workerd $*; exit"`, "sh -c 'cd / && A=b exec WORKERD --config"},
		{"sh -c exec", `sh -c "exec $workerd $*"`, ""},
		{"a script", `sh "` + s.write("entry.sh", "\"$@\"\nexit $?\n") + `" "$workerd" "$@"`, "in the script that starts it write: exec WORKERD --config"},
		{"a script with exec", `sh "` + s.write("exec.sh", "exec \"$@\"\n") + `" "$workerd" "$@"`, ""},
		{"exec form", execForm, ""},
		{"an init", exe + " " + asInit + " " + execForm, ""},
		{"an init, and sh -c", exe + " " + asInit + ` sh -c "$workerd $*; exit"`, "sh -c 'exec WORKERD --config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scene{Rig: s.Rig, t: t}
			one := s.container(fmt.Sprintf("w%d", i), c.line, 1)
			one.Start()
			warnings := said(t, one.Host, "signals are swallowed")
			if c.hint == "" {
				if len(warnings) != 0 {
					t.Errorf("it warned: %v", warnings)
				}
				if code, _ := one.stop(grace); code != 0 {
					t.Errorf("TERM ended it with %d", code)
				}
				return
			}
			if len(warnings) != 1 {
				t.Fatalf("it warned with %v", warnings)
			}
			hint, _ := warnings[0]["hint"].(string)
			if want := strings.ReplaceAll(c.hint, "WORKERD", one.real()); !strings.Contains(hint, want) {
				t.Errorf("the hint is %q, without %q", hint, want)
			}
			one.Dying()
			if err := syscall.Kill(one.init1(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-one.Proc.Done()
		})
	}
}
