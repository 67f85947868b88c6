// Package hog is a child of a pool that uses memory in whatever way its jobs ask for, for tests of the memory guard. There
// is one in Go, which is the test binary itself, and one in Python.
//
// A test binary that uses it calls Main first thing in its TestMain; Each and Go say how to start the child. What a job
// wants is its kind; or, with HOG_ORDERS=body, the first line of its body, and the rest is the body:
//
//	grow N        keeps N MiB more, from now on
//	spike N       takes N MiB, tells so, gives them back when the file in its body is there
//	swell N       keeps N MiB more, and fails when it is cancelled (Go only)
//	hog N         tells that it begins, takes N MiB in small steps and never ends
//	hog child N   the same in a child of its own; `hog session N` in a session of its own, `hog daemon N` there and
//	              without a parent
//	spawn N       keeps N MiB more, and starts one short program after the other until the file in its body is there
//	wait for file waits for the file in its body
//	hang          never ends
//	pid, echo     answers with its pid, with its body
//
// On standard output it says `begins <entity>` and `ends <entity>` for each job, and `hog <pid>` for each process that a
// hog starts. With HOG_BASELINE=N it begins with N MiB; with HOG_FORKS=F it shares them with F forked processes. With
// HOG_DEAF=1 it does not heed TERM (Go only).
//
// Nothing here ends by itself when a test fails, but with its parent: it is a child of a pool.
package hog

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Variable names the environment variable that says which part a process plays: Child, or Take for one that takes
// HOG_TAKE MiB in small steps and never ends.
const Variable = "HOG_ROLE"

// The parts.
const (
	Child = "child"
	Take  = "take"
)

//go:embed hog.py
var script []byte

// Main is the child, if this process is one; then it does not return.
func Main() {
	switch os.Getenv(Variable) {
	case Child:
		serve()
	case Take:
		fmt.Println("hog", os.Getpid())
		mib, _ := strconv.Atoi(os.Getenv("HOG_TAKE"))
		takeSlowly(mib)
	default:
		return
	}
	os.Exit(0)
}

// Env is the environment of a child.
func Env() map[string]string { return map[string]string{Variable: Child, "PYTHONUNBUFFERED": "1"} }

// Go is the child in Go, as a command.
func Go(t testing.TB) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe}
}

// findPython is the interpreter itself, "" when there is none: what PATH finds may be a script that looks for it each time.
var findPython = sync.OnceValue(func() string {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
})

// Each runs a scenario with each of the children. A machine without Python runs the Go one in both places.
func Each(t *testing.T, scenario func(t *testing.T, command []string)) {
	t.Helper()
	golang := Go(t)
	python := golang
	if path := findPython(); path != "" {
		file := filepath.Join(t.TempDir(), "hog.py")
		if err := os.WriteFile(file, script, 0o600); err != nil {
			t.Fatal(err)
		}
		python = []string{path, file}
	} else {
		t.Log("no python3 here: the Go child runs twice")
	}
	t.Run("Go", func(t *testing.T) { scenario(t, golang) })
	t.Run("Python", func(t *testing.T) { scenario(t, python) })
}

// order is what a job wants, in words, and its body.
func order(kind, body string) (words []string, rest string) {
	if os.Getenv("HOG_ORDERS") == "body" {
		kind, body, _ = strings.Cut(body, "\n")
	}
	return strings.Fields(kind), body
}

func awaitFile(path string) {
	for !isThere(path) {
		time.Sleep(2 * time.Millisecond)
	}
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
