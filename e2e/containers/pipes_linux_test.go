package containers

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// framed is a child with frames, as a shell script: job runs for each job, with its number in $run and its body in $body.
func framed(atStart, job string) string {
	return `#!/bin/sh
` + atStart + `
echo '{"ready":true,"concurrency":1,"version":1}' >&4
while read -r line <&3; do
	run=$(printf '%s' "$line" | sed -n 's/.*"run":\([0-9]*\).*/\1/p')
	len=$(printf '%s' "$line" | sed -n 's/.*"len":\([0-9]*\).*/\1/p')
	[ -n "$run" ] || exit 0
	body=$(head -c "${len:-0}" <&3)
	` + job + `
	echo "{\"done\":$run}" >&4
done
`
}

// What is written to standard output is a log, whatever it looks like.
func TestScenario23GarbageOnStandardOutput(t *testing.T) {
	s := newScene(t)
	noise := `printf 'Loading \000 \377\376 {"fail":%s,"error":"no"}\n{"done":1}\n{"ready":true,"concurrency":99,"version":9}\n' "$run"; head -c 50000 /dev/urandom; echo`
	s.write("child.sh", framed(noise, noise+`; printf '%s\n' "$body" >> "$RAN"`))
	s.write("job.sh", "#!/bin/sh\nrun=7\n"+noise+"\nbody=$(cat)\nprintf '%s\\n' \"$body\" >> \"$RAN\"\n") // one write: others append too
	env := map[string]string{"RAN": s.Path("ran")}
	h := s.Host("a",
		fleet.Pool{Name: "frames", Kinds: []string{"frames"}, Mode: "pool", Processes: 2, Command: []string{s.Path("child.sh")}, Env: env},
		fleet.Pool{Name: "exec", Kinds: []string{"*"}, Mode: "exec", Concurrency: 2, Command: []string{s.Path("job.sh")}, Env: env})
	h.Start()
	const jobs = 12
	for i := range jobs {
		kind := []string{"frames", "other"}[i%2]
		s.Coordinator("job", "publish", rig.Queue, fmt.Sprintf("e.%d", i), "--kind", kind, "--data", fmt.Sprint("job ", i))
	}
	s.AwaitEmpty(rig.Bound)
	h.Stop()
	ran := s.read("ran")
	for i := range jobs {
		if n := strings.Count(ran, fmt.Sprintf("job %d\n", i)); n != 1 {
			t.Errorf("job %d ran %d times", i, n)
		}
	}
	for _, line := range said(t, h, "end") {
		if line["outcome"] != "done" {
			t.Errorf("a job ended so: %v", line)
		}
	}
	if n := len(said(t, h, `{"done":1}`)); n < jobs {
		t.Errorf("%d lines of the noise are in the log", n)
	}
	for _, line := range said(t, h, "child exited") {
		if _, bad := line["error"]; bad && line["pool"] == "frames" && !strings.Contains(fmt.Sprint(line["error"]), "the pool is stopped") {
			t.Errorf("a child was ended: %v", line)
		}
	}
}

// A process that a job, or a child that goes after its job, leaves behind holds its pipes: the slot is free all the same, and
// the process dead. The times of the child include the pauses before its restarts.
func TestScenario24AProcessHoldsThePipes(t *testing.T) {
	s := newScene(t)
	env := map[string]string{"DIR": s.Dir}
	now := `$(cut -d' ' -f1 /proc/uptime)`
	leave := `echo "start ` + now + `" >> "$DIR/$0.times"; sleep 1000 & echo $! >> "$DIR/left"; setsid sleep 1000 & echo $! >> "$DIR/left"; `
	s.write("child.sh", strings.ReplaceAll(framed("", leave+`echo "{\"done\":$run}" >&4; echo "end `+now+`" >> "$DIR/$0.times"; exit 0`), "$0", "frames"))
	s.write("job.sh", strings.ReplaceAll("#!/bin/sh\n"+leave+`echo "end `+now+`" >> "$DIR/$0.times"`+"\n", "$0", "exec"))
	h := s.Host("a",
		fleet.Pool{Name: "frames", Kinds: []string{"frames"}, Mode: "pool", Processes: 1, Command: []string{s.Path("child.sh")}, Env: env},
		fleet.Pool{Name: "exec", Kinds: []string{"*"}, Mode: "exec", Concurrency: 1, Command: []string{s.Path("job.sh")}, Env: env})
	const each = 4
	h.Start()
	for round, pool := range []string{"exec", "frames"} { // one after the other: they share the worker's slots
		h.Signal(syscall.SIGTSTP)
		// Of two signals that are under way at once neither need arrive first, and it would be quiet for good.
		eventually(t, "it is quiet", func() bool { return len(said(t, h, "quiet: no further jobs; those that run go on")) > round })
		for i := range each {
			s.Coordinator("job", "publish", rig.Queue, fmt.Sprintf("%s.%d", pool, i), "--kind", pool)
		}
		h.Signal(syscall.SIGCONT)
		s.AwaitEmpty(rig.Bound)
	}
	for _, pool := range []string{"exec", "frames"} {
		longest, ended, starts := time.Duration(0), 0.0, 0
		for line := range strings.Lines(s.read(pool + ".times")) {
			what, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			at, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			if what == "end" {
				ended = at
				continue
			}
			if starts++; starts > 1 {
				longest = max(longest, time.Duration((at-ended)*float64(time.Second)))
			}
		}
		t.Logf("pool %s, one slot: %d jobs, the next one began %v after the end of the one before at most", pool, starts, longest.Round(10*time.Millisecond))
		if starts != each {
			t.Errorf("%d starts of %d jobs", starts, each)
		}
		if longest > 20*time.Second { // what is left behind would have held it for longer than that
			t.Errorf("a slot was held for %v", longest)
		}
	}
	for pid := range strings.FieldsSeq(s.read("left")) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "what was left behind is dead", func() bool {
			p, err := proc.Read(n)
			return err != nil || p.Dead()
		})
	}
	for _, line := range said(t, h, "end") {
		// A child that goes after its answer may be given a job that it does not read any more.
		if line["outcome"] != "done" && line["error"] != "the child ended before it read the job" {
			t.Errorf("a job ended so: %v", line)
		}
	}
	h.Stop()
}
