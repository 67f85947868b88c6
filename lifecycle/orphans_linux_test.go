package lifecycle_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/lifecycle"
)

func init() { otherRoles["adopter"] = actAsAdopter }

// actAsAdopter is a program with an exec pool that adopts orphans: it runs each line of its standard input as a script
// and answers with how that ended. Children belong to a process, so the tests need one of their own.
func actAsAdopter() {
	orphans, err := lifecycle.Adopt("test." + strconv.Itoa(os.Getpid()))
	if err != nil {
		panic(err)
	}
	pool, err := lifecycle.New(lifecycle.Config{
		Name: "p", Mode: lifecycle.ModeExec, Command: []string{"sh", "-s"}, Concurrency: 8, EmptyWait: plenty,
	})
	if err != nil {
		panic(err)
	}
	if err := pool.Start(context.Background()); err != nil {
		panic(err)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		if name == "spare" {
			wait, err := lifecycle.Spare(func() (*os.Process, error) {
				return os.StartProcess("/bin/sh", []string{"sh", "-c", text}, &os.ProcAttr{})
			})
			if err != nil {
				panic(err)
			}
			go func() {
				state, err := wait()
				fmt.Println("spare", state, err)
			}()
			continue
		}
		go func() {
			r := pool.Run(context.Background(), lifecycle.Job{Body: []byte(text)})
			fmt.Println(name, r.Cause, r.GroupEmpty, r.Err)
		}()
	}
	pool.Stop(context.Background())
	if !orphans.Kill(context.Background()) {
		panic("not all are dead")
	}
	orphans.Stop()
	os.Exit(0)
}

// adopter drives such a program.
type adopter struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	dir  string
	told map[string]string
}

func startAdopter(t *testing.T) *adopter {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := &adopter{t: t, cmd: exec.Command(exe), dir: t.TempDir(), told: map[string]string{}}
	a.cmd.Env = append(os.Environ(), actAs+"=adopter", "DIR="+a.dir)
	a.cmd.Stderr = os.Stderr
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewScanner(out)
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
	})
	return a
}

// run runs a script as a job of this name.
func (a *adopter) run(name, text string) {
	a.t.Helper()
	if _, err := fmt.Fprintln(a.in, name, text); err != nil {
		a.t.Fatal(err)
	}
}

// ended waits for a job's end and returns what was said of it.
func (a *adopter) ended(name string) string {
	a.t.Helper()
	for a.told[name] == "" {
		if !a.out.Scan() {
			a.t.Fatalf("no word of %s: %v", name, a.out.Err())
		}
		who, what, _ := strings.Cut(a.out.Text(), " ")
		a.told[who] = what
	}
	return a.told[name]
}

// pid waits for a file that a script wrote its number to.
func (a *adopter) pid(name string) (pid int) {
	a.t.Helper()
	eventually(a.t, name+" runs", func() bool {
		text, err := os.ReadFile(filepath.Join(a.dir, name))
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	return pid
}

// exits ends the program in order; nothing of it may be left.
func (a *adopter) exits() {
	a.t.Helper()
	_ = a.in.Close()
	for a.out.Scan() {
		who, what, _ := strings.Cut(a.out.Text(), " ")
		a.told[who] = what
	}
	if err := a.cmd.Wait(); err != nil {
		a.t.Error(err)
	}
}

// Scripts that leave something behind, deaf to TERM. Each leaves its number in a file.
const (
	strangerIn  = `setsid sh -c 'trap "" TERM; echo $$ > $DIR/%[1]s; exec sleep 1000 >/dev/null 2>&1 </dev/null' & until [ -s $DIR/%[1]s ]; do sleep 0.01; done; `
	emptyEnv    = `setsid env -i DIR=$DIR sh -c 'trap "" TERM; echo $$ > $DIR/%[1]s; exec env -i sleep 1000 >/dev/null 2>&1 </dev/null' & until [ -s $DIR/%[1]s ]; do sleep 0.01; done; `
	grandchild  = `setsid sh -c '(setsid sh -c "echo \$\$ > $DIR/%[1]s; exec env -i sleep 1000" >/dev/null 2>&1 </dev/null) & sleep 1000 >/dev/null 2>&1 </dev/null' & until [ -s $DIR/%[1]s ]; do sleep 0.01; done; `
	doubleFork  = `( ( setsid sh -c 'echo $$ > $DIR/%[1]s; exec sleep 1000' >/dev/null 2>&1 </dev/null & ) & ) ; until [ -s $DIR/%[1]s ]; do sleep 0.01; done; `
	untilExists = `until [ -e $DIR/%s ]; do sleep 0.01; done; `
)

func leave(script string, args ...any) string { return fmt.Sprintf(script, args...) }

func TestWhatAJobLeavesBehindDiesWithIt(t *testing.T) {
	a := startAdopter(t)
	for name, text := range map[string]string{"stranger": strangerIn, "empty": emptyEnv, "chain": grandchild, "double": doubleFork} {
		a.run(name, leave(text, name)+"exit 7")
		if got := a.ended(name); !strings.HasPrefix(got, "failed true") || !strings.Contains(got, "status 7") {
			t.Errorf("%s: ended as %q", name, got)
		}
		if pid := a.pid(name); !isDead(pid) {
			t.Errorf("%s: %d outlived the job", name, pid)
		}
	}
	a.exits()
}

func TestAnOrphanLivesAsLongAsItsJob(t *testing.T) {
	a := startAdopter(t)
	a.run("long", leave(doubleFork, "helper")+leave(untilExists, "go")+"exit 7")
	helper := a.pid("helper")
	for i := range 5 {
		a.run(fmt.Sprint("short", i), leave(strangerIn, fmt.Sprint("left", i)))
		if got := a.ended(fmt.Sprint("short", i)); got != "done true " {
			t.Errorf("a short job ended as %q", got)
		}
		if pid := a.pid(fmt.Sprint("left", i)); !isDead(pid) {
			t.Errorf("what a short job left outlived it")
		}
	}
	if isDead(helper) {
		t.Error("a job's orphan died with another job")
	}
	if err := os.WriteFile(filepath.Join(a.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := a.ended("long"); !strings.HasPrefix(got, "failed true") {
		t.Errorf("the long job ended as %q", got)
	}
	if !isDead(helper) {
		t.Error("the orphan outlived its job")
	}
	a.exits()
}

// A process that is about to begin a program shows neither arguments nor an environment. A job's end that looks at another
// job's orphan in that moment leaves it alone.
func TestAnOrphanThatBeginsProgramsLivesAsLongAsItsJob(t *testing.T) {
	a := startAdopter(t)
	again := filepath.Join(a.dir, "again.sh")
	// It ends by itself, too, long after the test, should somebody kill that.
	text := "[ -e $DIR/go ] || [ ${1:-0} -gt 500000 ] && exit 0\n[ -s $DIR/helper ] || echo $$ > $DIR/helper\nexec sh " + again + " $((${1:-0} + 1))\n"
	if err := os.WriteFile(again, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.run("long", "( ( setsid sh "+again+" >/dev/null 2>&1 </dev/null & ) & ) ; "+leave(untilExists, "go")+"exit 7")
	helper := a.pid("helper")
	for round := range 300 {
		for i := range 4 {
			a.run(fmt.Sprintf("short%d.%d", round, i), "true")
		}
		for i := range 4 {
			if got := a.ended(fmt.Sprintf("short%d.%d", round, i)); got != "done true " {
				t.Errorf("a short job ended as %q", got)
			}
		}
		if isDead(helper) {
			t.Fatalf("a job's orphan died with another job, in round %d", round)
		}
	}
	if err := os.WriteFile(filepath.Join(a.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := a.ended("long"); !strings.HasPrefix(got, "failed true") {
		t.Errorf("the long job ended as %q", got)
	}
	a.exits()
}

// A process that hops from group to group, or from session to session, is nowhere for long.
func TestScenario08Hoppers(t *testing.T) {
	a := startAdopter(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"hop in the group", "hop over sessions"} {
		mark := filepath.Join(a.dir, strings.ReplaceAll(kind, " ", "-"))
		a.run("hop", fmt.Sprintf(`%s='%s' HOPS=%s '%s' >/dev/null 2>&1 </dev/null; until [ -s %s ]; do sleep 0.01; done; exit 7`, actAs, kind, mark, exe, mark))
		if got := a.ended("hop"); !strings.HasPrefix(got, "failed true") {
			t.Errorf("%s: ended as %q", kind, got)
		}
		delete(a.told, "hop")
		wantNoneWith(t, "HOPS="+mark)
	}
	a.exits()
}

func TestStatusesAreRightWhileOrphansAreReaped(t *testing.T) {
	a := startAdopter(t)
	const jobs = 40
	for i := range jobs {
		a.run(fmt.Sprint("job", i), fmt.Sprintf(`for n in 1 2 3 4 5; do (sleep 0.0$n & ) ; done; exit %d`, 50+i))
	}
	a.run("spare", "sleep 0.05; exit 9")
	for i := range jobs {
		if got := a.ended(fmt.Sprint("job", i)); !strings.Contains(got, fmt.Sprintf("failed true exited with status %d", 50+i)) {
			t.Errorf("job %d ended as %q", i, got)
		}
	}
	if got := a.ended("spare"); !strings.HasPrefix(got, "exit status 9") {
		t.Errorf("a process that is no job ended as %q", got)
	}
	eventually(t, "no zombies are left", func() bool { return zombiesOf(t, a.cmd.Process.Pid) == 0 })
	a.exits()
}
