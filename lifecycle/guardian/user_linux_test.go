package guardian_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// asUser runs it as an ordinary user, when the test runs as root.
func asUser(t *testing.T, dir string) setting {
	return func(cmd *exec.Cmd) {
		if os.Getuid() == 0 {
			if err := os.Chown(dir, 65534, 65534); err != nil {
				t.Fatal(err)
			}
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
			fromAnywhere(t, dir, cmd)
		}
	}
}

// fromAnywhere runs it from a copy: the folder of the test binary may be root's alone. Another process makes the copy:
// what this one has open for writing cannot be executed while any child of a fork here still has it open too.
func fromAnywhere(t *testing.T, dir string, cmd *exec.Cmd) {
	t.Helper()
	self := filepath.Join(dir, "self")
	if out, err := exec.Command("cp", cmd.Path, self).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd.Path = self
}

// shared is a folder that any user can reach.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "guardian-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
