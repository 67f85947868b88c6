package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/internal/natstest"
)

// binaries are built when the first test asks for them, into a folder that ends with the test run.
var binaries struct {
	sync.Mutex
	dir   string
	paths map[fleet.Build]string
}

// Main runs the tests of a package that uses rigs; TestMain calls it and nothing else.
func Main(m *testing.M) {
	natstest.Main()
	dir, err := os.MkdirTemp("", "seriatim-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries.dir, binaries.paths = dir, map[fleet.Build]string{}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Binary is the path of a built binary. Builds that differ are in folders of their own.
func Binary(t testing.TB, b fleet.Build) string {
	t.Helper()
	binaries.Lock()
	defer binaries.Unlock()
	if binaries.dir == "" {
		t.Fatal("TestMain does not call rig.Main")
	}
	if path, ok := binaries.paths[b]; ok {
		return path
	}
	made := b
	made.Dir = binaries.dir
	if b.Broken != "" {
		made.Dir = filepath.Join(binaries.dir, b.Broken)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	path, err := made.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	binaries.paths[b] = path
	return path
}

// Script makes a file that may be executed at once, by any process. Nobody may have it open for writing by then, and a
// process that another test is about to start has what this one has open until its own program begins: so none is started
// meanwhile.
func Script(t testing.TB, path, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, []byte(text), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
}

// Full says that the tests run in full size, as `make check` wants them.
func Full() bool { return os.Getenv("SERIATIM_FULL") == "1" }

// Size is the size of something: for a quick run, or in full.
func Size[T any](quick, full T) T {
	if Full() {
		return full
	}
	return quick
}

// Rounds is how often something is tried, unless SERIATIM_ROUNDS says otherwise.
func Rounds(t testing.TB, otherwise int) int {
	t.Helper()
	if text := os.Getenv("SERIATIM_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("SERIATIM_ROUNDS is %q, not a number above 0", text)
		}
		return n
	}
	return otherwise
}
