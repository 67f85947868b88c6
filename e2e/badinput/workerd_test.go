package badinput

import (
	"os"
	"testing"

	"github.com/seriatim/seriatim/e2e/rig"
)

// A configuration that cannot be used: the line, the key, and the one that was meant. Nothing runs.
func TestMalformedConfiguration(t *testing.T) {
	s := emptySite(t, "nats://127.0.0.1:1")
	for _, c := range []struct{ name, text, says, hint string }{
		{"unknown key", "queues: [ci]\npools:\n  - name: a\n    comand: [./run]\n", `unknown\.yaml:4: pools\.a: unknown key "comand" \(did you mean "command"\?\)`, ""},
		{"unknown top key", "queue: [ci]\npools: []\n", `:1: unknown key "queue" \(did you mean "queues"\?\)`, ""},
		{"wrong type", "queues: ci\n", `:1: queues: must be a list`, ""},
		{"no yaml", "queues: [ci\npools:\n", `:[0-9]+: `, ""},
		{"no unit", "queues: [ci]\nshutdown: {timeout: 25}\npools: [{name: a, command: [./run]}]\n", `:2: shutdown\.timeout: .*unit`, ""},
		{"queue's name", "queues: [CI]\npools: [{name: a, command: [./run]}]\n", `:1: queues: .*"CI"`, ""},
		{"no command", "queues: [ci]\npools: [{name: a}]\n", `:2: pools\.a\.command: the pool has no command`, ""},
		{"mode", "queues: [ci]\npools: [{name: a, mode: pol, command: [./run]}]\n", `:2: pools\.a\.mode: .*"pol"`, ""},
		{"hard below soft", "queues: [ci]\npools:\n  - name: a\n    command: [./run]\n    memory: {soft: 2GiB, hard: 1GiB}\n", `:5: pools\.a\.memory\.hard: 1GiB is below memory\.soft, which is 2GiB`, ""},
		{"tab", "queues:\n\t- ci\n", `:2: `, ""},
		{"nothing", "", `queues`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.write("unknown.yaml", c.text)
			s.workerd("--config", "unknown.yaml").must(2, c.says)
			s.coordinator("config", "check", "unknown.yaml").must(1, c.says)
		})
	}
	s.workerd("--config", "none.yaml").must(2, `none\.yaml: no such file`)
	s.workerd("--queue", "ci").must(2, `^workerd: pools: no pool is given: write one under .pools:. or a command after --$`)
	s.workerd("--", "./run").must(2, `^workerd: queues: no queue is given: write .queues: \[ci\]. or --queue ci$`)
	s.workerd("--queue", "ci", "./run").must(2, `unknown command "\./run"`, `^hint: .*behind --`)
	s.workerd("--quue", "ci", "--", "./run").must(2, `unknown flag --quue`, `^hint: did you mean --queue\?$`)
	s.workerd("--queue", "CI", "--", "./run").must(2, `"CI"`)
	s.workerd("--queue", "ci", "--shutdown-timeout", "25", "--", "./run").must(2, `25`, `unit`)
	s.workerd("--queue", "ci", "--id", "a b", "--", "./run").must(2, `"a b"`)
}

// A command that does not exist is told before any job is taken.
func TestCommandThatDoesNotExist(t *testing.T) {
	s := newSite(t)
	s.coordinator("job", "publish", "ci", "build.1").must(0)
	s.workerd("--queue", "ci", "--", "./none.sh").must(2, `^workerd: configuration: start pool "main": exec: "\./none\.sh": .*no such file`, `^hint: give command a path`)
	s.workerd("--queue", "ci", "--mode", "pool", "--", "no-such-program").must(2, `"no-such-program": executable file not found`, `^hint: .*PATH`)
	s.write("plain", "echo")
	if err := chmod(s, "plain"); err != nil {
		t.Fatal(err)
	}
	s.workerd("--queue", "ci", "--", "./plain").must(2, `\./plain.*permission denied`, `^hint: make the program executable: chmod \+x`)
	s.workerd("--queue", "ci", "--", "./.").must(2, `"\./\.": is a directory`, `^hint: .*this is a folder`)
	s.await(1, 0)
}

// A user that there is not, or that this one may not become, is told before any job is taken.
func TestUnknownUser(t *testing.T) {
	s := newSite(t)
	s.coordinator("job", "publish", "ci", "build.1").must(0)
	s.write("user.yaml", "queues: [ci]\npools:\n  - {name: a, command: [\"true\"], user: no-such-user-here}\n")
	s.workerd("--config", "user.yaml").must(2, `^workerd: configuration: start pool "a" as user "no-such-user-here": user: unknown user no-such-user-here$`,
		`^hint: create the user, or correct the pool's user$`)
	if os.Getuid() != 0 {
		s.write("root.yaml", "queues: [ci]\npools:\n  - {name: a, command: [\"true\"], user: root}\n")
		s.workerd("--config", "root.yaml").must(2, `as user "root": only root can run processes as another user$`, `^hint: start workerd as root, or as that user`)
	}
	s.await(1, 0)
}

func TestUnknownQueue(t *testing.T) {
	s := newSite(t)
	s.workerd("--queue", "nix", "--", "true").must(1, `unknown queue "nix"`, `^hint: make it with: coordinator queue add nix$`)
}

// A kind that nobody here serves: the job waits for a workerd that does, is told of, and is never dead.
func TestUnknownKind(t *testing.T) {
	s := newSite(t)
	s.coordinator("job", "publish", "ci", "build.1", "--kind", "strange", "--data", "strange ").must(0)
	s.coordinator("job", "publish", "ci", "build.2", "--kind", "known", "--data", "known ").must(0)
	s.write("run.sh", "#!/bin/sh\ncat >> ran\n")
	w := s.start("--queue", "ci", "--kind", "known", "--", "./run.sh")
	w.says(`"kind":"strange"`, `pool`)
	s.await(1, 0)
	if got := s.read("ran"); got != "known " {
		t.Errorf("%q ran", got)
	}
	// Two that live would take the turn by chance, and the one that cannot use it puts it off for longer each time.
	if err := w.Stop(rig.Bound); err != nil {
		t.Fatal(err)
	}
	s.start("--queue", "ci", "--", "./run.sh")
	s.await(0, 0)
	if got := s.read("ran"); got != "known strange " {
		t.Errorf("%q ran", got)
	}
}

// A child that writes something else than frames is replaced; its job is not lost, and the log says what it wrote.
func TestGarbageOnTheFrameDescriptor(t *testing.T) {
	s := newSite(t)
	s.coordinator("job", "publish", "ci", "build.1", "--data", "x").must(0)
	s.write("child.sh", `#!/bin/sh
if [ ! -e second ]; then
	touch second
	echo '{"ready":true,"concurrency":1,"version":1}' >&4
	read line <&3
	echo 'Loading the application ...' >&4
	sleep 600
fi
echo '{"ready":true,"concurrency":1,"version":1}' >&4
while read line <&3; do
	run=$(printf '%s' "$line" | sed -n 's/.*"run":\([0-9]*\).*/\1/p')
	[ -n "$run" ] || exit 0
	head -c 1 <&3 >> ran
	echo "{\"done\":$run}" >&4
done
`)
	w := s.start("--queue", "ci", "--mode", "pool", "--", "./child.sh")
	w.says(`"level":"warn"`, "Loading the application")
	s.await(0, 0)
	if got := s.read("ran"); got != "x" {
		t.Errorf("%q ran", got)
	}
}

// A child that never says that it is ready takes no job, and is told of. One that says garbage first is too.
func TestChildThatNeverGetsReady(t *testing.T) {
	s := newSite(t)
	s.coordinator("job", "publish", "ci", "build.1").must(0)
	type child struct {
		name, script string
		says         []string
	}
	children := rig.Size(3, 4)
	for _, c := range []child{
		{"ends at once", "echo could not load the application >&2; exit 3", []string{"exited with status 3: could not load the application"}},
		{"says garbage", "echo hello >&4; sleep 600", []string{"not a frame", "hello"}},
		{"is newer", `echo '{"ready":true,"concurrency":1,"version":99}' >&4; sleep 600`, []string{"version 99", "newer protocol"}},
		{"says nothing", "sleep 600", []string{"ready", "within 1m"}},
	}[:children] {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.write("child.sh", "#!/bin/sh\n"+c.script+"\n")
			w := s.start("--queue", "ci", "--mode", "pool", "--", "./child.sh")
			w.says(append(c.says, `"level":"warn"`, `"child":`)...)
			s.await(1, 0)
		})
	}
	s.write("run.sh", "#!/bin/sh\ncat >> ran\n")
	s.start("--queue", "ci", "--", "./run.sh")
	s.await(0, 0)
}

// The second workerd of one id does not start while the first one lives, and takes nothing from it.
func TestTwoWorkerdsWithOneID(t *testing.T) {
	s := newSite(t)
	s.write("run.sh", "#!/bin/sh\ncat >> ran\n")
	first := s.start("--queue", "ci", "--id", "one", "--", "./run.sh")
	first.says(`"message":"running"`)
	s.workerd("--queue", "ci", "--id", "one", "--", "./run.sh").must(1, `"one"`, `alive`, `^hint: `)
	s.coordinator("job", "publish", "ci", "build.1", "--data", "x").must(0)
	s.await(0, 0)
	if first.Ended() {
		t.Error("the first one ended")
	}
}
