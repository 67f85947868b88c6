package fleet

import (
	"path/filepath"
	"syscall"
	"testing"
)

// What starts one child after the other dies as a whole, too.
func TestKillTreeThatGrows(t *testing.T) {
	for range 10 {
		p := shell(t, `echo on; n=0; while [ $n -lt 100 ]; do sleep 600 & n=$((n+1)); done; wait`)
		said(t, p, "on")
		if err := p.KillTree(); err != nil {
			t.Fatal(err)
		}
		if left := Leftovers(filepath.Dir(p.Log)); len(left) > 0 {
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it carries our mark
			}
			t.Fatalf("%v are left", left)
		}
	}
}
