package proctest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle/proc"
)

// The processes of a tree. Each is another way out of a process group.
const (
	W = "W" // the child itself
	G = "G" // in its group
	S = "S" // in a session of its own
	D = "D" // forked twice, all descriptors closed, in a session of its own
	E = "E" // in a session of its own, with an empty environment
)

// Letters are all of them.
const Letters = W + G + S + D + E

const word = "proctest-tree"

// Command is a child that makes a tree in a folder, one folder a tree or several, and then sleeps.
func Command(dir string) []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{exe, word, W, dir}
}

// Main is the program of a tree's process, if this process is one; then it does not return.
func Main() {
	if len(os.Args) != 4 || os.Args[1] != word {
		return
	}
	letter, dir := os.Args[2], os.Args[3]
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	switch letter {
	case W:
		start(G, dir, os.Environ(), nil, true)
		start(S, dir, os.Environ(), &syscall.SysProcAttr{Setsid: true}, true)
		start("D1", dir, os.Environ(), &syscall.SysProcAttr{Setsid: true}, true)
		start(E, dir, []string{}, &syscall.SysProcAttr{Setsid: true}, true)
	case "D1":
		start(D, dir, os.Environ(), &syscall.SysProcAttr{Setsid: true}, false)
		os.Exit(0)
	}
	self, err := proc.Read(os.Getpid())
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s.%d", letter, self.PID)), fmt.Append(nil, self.Start, "\n"), 0o600); err != nil {
		panic(err)
	}
	time.Sleep(5 * time.Minute)
	os.Exit(0)
}

func start(letter, dir string, env []string, attr *syscall.SysProcAttr, descriptors bool) {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe, word, letter, dir)
	cmd.Env, cmd.SysProcAttr = env, attr
	if descriptors {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	if letter == "D1" {
		_ = cmd.Wait() // it exits at once
	}
}

// Member is a process of a tree.
type Member struct {
	Letter string
	PID    int
	Start  uint64
}

// Lives reports whether it can still run.
func (m Member) Lives() bool {
	s, err := proc.Read(m.PID)
	return err == nil && s.Start == m.Start && !s.Dead()
}

// Members lists who has reported in a folder.
func Members(t testing.TB, dir string) (all []Member) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		letter, number, _ := strings.Cut(filepath.Base(file), ".")
		pid, err := strconv.Atoi(number)
		if err != nil || !strings.Contains(Letters, letter) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		start, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err == nil { // else it is being written
			all = append(all, Member{letter, pid, start})
		}
	}
	return all
}

// bound is for what must happen on a loaded machine.
const bound = 60 * time.Second

// Await waits until so many trees are complete in a folder and returns their processes.
func Await(t testing.TB, dir string, trees int) []Member {
	t.Helper()
	for end := time.Now().Add(bound); ; time.Sleep(2 * time.Millisecond) {
		if all := Members(t, dir); len(all) >= trees*len(Letters) {
			return all
		}
		if time.Now().After(end) {
			t.Fatalf("of %d trees only %v came up", trees, Members(t, dir))
		}
	}
}

// Living are those of them that live, as letters.
func Living(all []Member) string {
	var b strings.Builder
	for _, m := range all {
		if m.Lives() {
			b.WriteString(m.Letter)
		}
	}
	return b.String()
}

// AwaitDead waits until all are dead and returns how long that took from since.
func AwaitDead(t testing.TB, all []Member, since time.Time) time.Duration {
	t.Helper()
	for end := time.Now().Add(bound); ; time.Sleep(200 * time.Microsecond) {
		if Living(all) == "" {
			return time.Since(since)
		}
		if time.Now().After(end) {
			living := Living(all)
			for _, m := range all {
				if m.Lives() {
					_ = syscall.Kill(m.PID, syscall.SIGKILL)
				}
			}
			t.Fatalf("%s outlived it", living)
		}
	}
}

// Zombies counts the dead below a process that wait to be reaped by it or by one of its children.
func Zombies(t testing.TB, top int) (n int) {
	t.Helper()
	parent := map[int]int{}
	var dead []int
	if err := proc.Each(func(s proc.Stat) {
		parent[s.PID] = s.PPID
		if s.Dead() {
			dead = append(dead, s.PID)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for _, pid := range dead {
		if p := parent[pid]; p == top || parent[p] == top {
			n++
		}
	}
	return n
}
