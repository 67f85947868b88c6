package memory

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/memory/hog"
)

// In a container that is nearly full there is no time for a grace: the child is killed before the kernel picks somebody.
func TestAContainerThatIsNearlyFull(t *testing.T) {
	s := newScene(t)
	s.host = s.Host("a", pool("p", hog.Go(t), 1, 1, limits("hard", "120MiB")))
	cgroup, ok := s.inContainer()
	if !ok {
		if rig.Full() {
			t.Fatal("no mount namespace can be made here, or there are no control groups: run it where unshare(1) may do so")
		}
		t.Log("no mount namespace can be made here, or there are no control groups: what a full container changes is tested in lifecycle alone")
		return
	}
	usage(t, cgroup, 50)
	s.host.Start()
	s.job("p", "e.hog", "hog 200")
	child := s.begun("p", "e.hog")
	s.await("the guard acts", 1, says("p", overMemory))
	time.Sleep(10 * check)
	if !alive(child) {
		t.Fatal("it was not given its grace of an hour")
	}
	since := time.Now()
	usage(t, cgroup, 96)
	s.eventually("it is dead", func() bool { return !alive(child) })
	t.Logf("check %v: killed %v after the container was nearly full", check, time.Since(since).Round(time.Millisecond))
	s.dead("e.hog", "hard limit of 120.0 MiB")

	// The next one is not even begun to be waited for.
	s.job("p", "e.hog2", "hog 200")
	if d := s.dead("e.hog2", "hard limit of 120.0 MiB"); !strings.Contains(d.Error, "and the container was nearly full") {
		t.Errorf("its job says %q", d.Error)
	}
	s.finish()
}

// inContainer has the workerd start in a mount namespace in which the files of a memory control group are ours: a folder,
// which is where the system has its own, of either version. It is false where that cannot be done.
func (s *scene) inContainer() (cgroup string, ok bool) {
	s.t.Helper()
	mount := memoryMount(s.t)
	if mount == "" {
		return "", false
	}
	unshare := []string{"unshare", "--mount"}
	if os.Getuid() != 0 {
		unshare = []string{"unshare", "--user", "--map-root-user", "--mount"}
	}
	cgroup = s.Path("cgroup")
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		s.t.Fatal(err)
	}
	script := s.Path("contained")
	text := fmt.Sprintf("#!/bin/sh\nexec %s sh -c 'mount --bind \"$0\" \"$1\" && shift && exec \"$@\"' '%s' '%s' \"${BINARY:-%s}\" \"$@\"\n",
		strings.Join(unshare, " "), cgroup, mount, s.host.Binary)
	rig.Script(s.t, script, text)
	try := exec.CommandContext(s.t.Context(), script)
	try.Env = append(os.Environ(), "BINARY=true")
	if out, err := try.CombinedOutput(); err != nil {
		s.t.Logf("%v: %s", err, out)
		return "", false
	}
	s.host.Binary = script
	return cgroup, true
}

// memoryMount is where the hierarchy with the limits of memory is mounted, "" when none is. A /sys/fs/cgroup with version 1
// in it may have version 2 beside it, without limits.
func memoryMount(t *testing.T) (dir string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(l, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) < 3 {
			continue
		}
		if kind[0] == "cgroup" && strings.Contains(kind[2], "memory") {
			return fields[4]
		}
		if kind[0] == "cgroup2" {
			dir = fields[4]
		}
	}
	return dir
}

// usage has the container use so many percent of its limit, in the words of either version.
func usage(t *testing.T, cgroup string, percent int) {
	t.Helper()
	for name, text := range map[string]string{
		"memory.max": "1000000000", "memory.current": fmt.Sprint(percent * 10_000_000),
		"memory.limit_in_bytes": "1000000000", "memory.usage_in_bytes": fmt.Sprint(percent * 10_000_000),
	} {
		made := filepath.Join(cgroup, name)
		if err := os.WriteFile(made+".new", []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(made+".new", made); err != nil { // so that nobody reads half of it
			t.Fatal(err)
		}
	}
}
