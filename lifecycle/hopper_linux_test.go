package lifecycle_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle/proc"
)

func init() {
	otherRoles["hop in the group"] = func() { hop(false) }
	otherRoles["hop over sessions"] = func() { hop(true) }
}

// hop starts its successor and exits, for ever. A failed test is outlived for as long as its folder is there, and by so
// many hops.
func hop(session bool) {
	if info, err := os.Stat(os.Getenv("HOPS")); err == nil && info.Size() > 20_000 {
		os.Exit(0)
	}
	if _, err := os.Stat(filepath.Dir(os.Getenv("HOPS"))); err != nil {
		os.Exit(0)
	}
	f, err := os.OpenFile(os.Getenv("HOPS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = f.WriteString("hop\n")
		_ = f.Close()
	}
	_, _ = syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: session},
	})
	os.Exit(0)
}

// wantNoneWith waits until no process carries a variable in its environment, and looks twice: hoppers are hard to see.
func wantNoneWith(t *testing.T, entry string) {
	t.Helper()
	for range 2 {
		eventually(t, "nobody has "+entry, func() bool { return !carried(entry) })
		time.Sleep(20 * time.Millisecond)
	}
}

func carried(entry string) bool {
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(append(text, 0), []byte(entry+"\x00")) && !strings.Contains(path, "/self/") {
			return true
		}
	}
	return false
}

func zombiesOf(t *testing.T, parent int) (n int) {
	t.Helper()
	if err := proc.Each(func(s proc.Stat) {
		if s.PPID == parent && s.Dead() {
			n++
		}
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
