package lifecycle_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/lifecycle"
)

func init() {
	otherRoles["parent"] = actAsParent
	otherRoles["keeper"] = actAsKeeper
}

// actAsParent is a program with a pool of each kind that waits for its own end.
func actAsParent() {
	log := func(l lifecycle.LogLine) { fmt.Println(l.Text) }
	text := "echo $$; exec sleep 1000"
	for _, mode := range []lifecycle.Mode{lifecycle.ModePool, lifecycle.ModeExec} {
		pool, err := lifecycle.New(lifecycle.Config{Name: "p", Mode: mode, Command: []string{"sh", "-c", text}, User: os.Getenv("PARENT_POOL_USER"), Log: log})
		if err != nil {
			panic(err)
		}
		if err := pool.Start(context.Background()); err != nil {
			panic(err)
		}
		go pool.Run(context.Background(), lifecycle.Job{})
	}
	time.Sleep(time.Hour)
}

func TestChildrenDieWithTheirParent(t *testing.T) {
	t.Run("as its user", func(t *testing.T) { dieWithTheirParent(t, "") })
	if os.Geteuid() == 0 {
		t.Run("as another user", func(t *testing.T) { dieWithTheirParent(t, "nobody") })
	}
}

func dieWithTheirParent(t *testing.T, user string) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(exe)
	parent.Env = append(os.Environ(), actAs+"=parent", "PARENT_POOL_USER="+user)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for lines := bufio.NewScanner(out); len(pids) < 2 && lines.Scan(); {
		pid, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
		if err != nil {
			t.Error(err)
			break
		}
		pids = append(pids, pid)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = parent.Wait()
	if len(pids) != 2 {
		t.Fatalf("the children are %v", pids)
	}
	for _, pid := range pids {
		wantDead(t, pid)
	}
}

// actAsKeeper leaves the group, and in it a child that it will never reap.
func actAsKeeper() {
	if err := exec.Command("sleep", "1000").Start(); err != nil {
		panic(err)
	}
	if err := syscall.Setpgid(0, 0); err != nil {
		panic(err)
	}
	fmt.Println(os.Getpid())
	if err := os.WriteFile(os.Getenv("KEPT"), nil, 0o600); err != nil {
		panic(err)
	}
	time.Sleep(time.Hour)
}

// A member that is dead but that nobody reaps must not make a group look alive.
func TestAGroupOfZombiesIsEmpty(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := script(`"$EXE" & until [ -e "$KEPT" ]; do sleep 0.01; done; echo group $$; exit 7`)
	cfg.Env = map[string]string{"EXE": exe, "KEPT": filepath.Join(t.TempDir(), "kept"), actAs: "keeper"}
	h := start(t, cfg)
	r := h.run("", "")
	keeper, err := strconv.Atoi(h.lines[0].Text)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(keeper, syscall.SIGKILL)
	h.want(r, lifecycle.Failed, "status 7")
	group, err := strconv.Atoi(strings.TrimPrefix(h.line("group ").Text, "group "))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(-group, 0); err != nil {
		t.Errorf("the zombie is gone (%v): this test shows nothing", err)
	}
}

// With others running beside it, a process has its three descriptors and no more: a pipe of another job, kept open by
// this one, would never come to its end.
func TestAProcessInheritsNothingElse(t *testing.T) {
	h := start(t, script(`[ "$JOB_KIND" = list ] || exec sleep 1000; exec ls -l /proc/self/fd`))
	for range 3 {
		go h.Run(t.Context(), lifecycle.Job{Body: make([]byte, 1<<20)})
	}
	eventually(t, "three run", func() bool { return len(h.Children()) == 3 })
	h.want(h.run("list", ""), lifecycle.Done, "")
	checked := 0
	for _, l := range h.lines {
		link, target, ok := strings.Cut(l.Text, " -> ")
		if !ok || strings.HasPrefix(target, "/proc/") { // the directory that is being listed
			continue
		}
		fd, err := strconv.Atoi(link[strings.LastIndexByte(link, ' ')+1:])
		if err != nil {
			t.Fatal(err)
		}
		checked++
		// What this test was itself started with goes on to everybody.
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if fd > 2 && (err != nil || flags&unix.FD_CLOEXEC != 0) {
			t.Errorf("it has %s", l.Text)
		}
	}
	if checked < 3 {
		t.Errorf("it listed %d descriptors", checked)
	}
	h.Stop(ended(lifecycle.ErrKillNow))
}
