package lifecycle_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Who cannot look who is left, because no more files can be open for a moment, does not know that nobody is.
func TestAJobIsNotOverWhileNobodyCanLook(t *testing.T) {
	a := startAdopter(t)
	a.run("long", leave(doubleFork, "helper")+leave(untilExists, "end"))
	a.run("job", leave(strangerIn, "left")+leave(untilExists, "go"))
	left, helper := a.pid("left"), a.pid("helper")
	limit := func(files uint64) {
		var was unix.Rlimit
		if err := unix.Prlimit(a.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
			t.Error(err)
		}
		was.Cur = min(files, was.Max)
		if err := unix.Prlimit(a.cmd.Process.Pid, unix.RLIMIT_NOFILE, &was, nil); err != nil {
			t.Error(err)
		}
	}
	create := func(name string) {
		if err := os.WriteFile(filepath.Join(a.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	limit(3)
	create("go")
	raised := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() { limit(1024); close(raised) })
	got := a.ended("job")
	if got != "done true " || !isDead(left) {
		t.Errorf("it ended as %q, what it left is dead: %v", got, isDead(left))
	}
	if isDead(helper) {
		t.Error("a job's orphan died with another job")
	}
	<-raised
	create("end")
	a.ended("long")
	a.exits()
}
