package deployments

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main()
	leaks.VerifyTestMain(cleaning{m}, natstest.LeakOptions()...)
}

// cleaning runs the tests and then removes what they built.
type cleaning struct{ m *testing.M }

func (c cleaning) Run() int {
	defer removeBinaries()
	return c.m.Run()
}

// within is a context for what takes moments, with room for a loaded machine.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(60 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not seen: %s", what)
}

// tool is a program that a test needs; ok is false, and the test has to leave its part out, when there is none.
func tool(t *testing.T, name, pkg string) (path string, ok bool) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path, true
	}
	without(t, name+" (Debian's package "+pkg+")")
	return "", false
}

// without says what is left out and why, or fails where everything has to be there.
func without(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SERIATIM_FULL") != "" || os.Getenv("SERIATIM_TOOLS") != "" {
		t.Fatalf("%s is missing, and SERIATIM_TOOLS or SERIATIM_FULL asks for all", what)
	}
	t.Logf("LEFT OUT: %s is missing", what)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func num(n int) string { return strconv.Itoa(n) }
