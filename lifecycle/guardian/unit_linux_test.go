package guardian

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What waits for the engine is sent at once, and may be heard in any order: whether it is to be quiet must not hang on that.
func TestSignalsThatWait(t *testing.T) {
	const stop, cont, hup, term = syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGHUP, syscall.SIGTERM
	for _, c := range []struct{ came, sent []os.Signal }{
		{[]os.Signal{stop}, []os.Signal{stop}},
		{[]os.Signal{stop, cont}, []os.Signal{cont}},
		{[]os.Signal{stop, hup, cont, term}, []os.Signal{hup, cont, term}},
		{[]os.Signal{cont, stop}, []os.Signal{stop}},
		{[]os.Signal{stop, cont, stop, cont, stop}, []os.Signal{stop}},
		{[]os.Signal{term, term}, []os.Signal{term, term}},
	} {
		var sent []os.Signal
		for _, s := range c.came {
			sent = inLine(sent, s)
		}
		if !slices.Equal(sent, c.sent) {
			t.Errorf("of %v it is sent %v, not %v", c.came, sent, c.sent)
		}
	}
}

func TestInstances(t *testing.T) {
	own, err := ownInstance()
	if err != nil {
		t.Fatal(err)
	}
	if own.gone(own) || badgeGone(own.badge(), own) {
		t.Error("the own instance is gone")
	}
	other := own
	other.start++ // the same number at another time
	if !other.gone(own) || !badgeGone(other.badge(), own) {
		t.Error("an instance whose number is another's now is not gone")
	}
	living := instance{own.namespace, os.Getppid(), 0}
	if s := startOf(living.pid); s != 0 {
		living.start = s
		if living.gone(own) || badgeGone(living.badge(), own) {
			t.Error("a living process is gone")
		}
	}
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	unreaped := instance{own.namespace, zombie.Process.Pid, startOf(zombie.Process.Pid)}
	for end := time.Now().Add(time.Minute); !unreaped.gone(own) || !badgeGone(unreaped.badge(), own); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a dead process that nobody reaps counts as a living one")
		}
	}
	if err := zombie.Wait(); err != nil {
		t.Error(err)
	}
	foreign := instance{own.namespace + 1, own.pid, own.start + 1}
	if foreign.gone(own) || badgeGone(foreign.badge(), own) {
		t.Error("one of another pid namespace was judged")
	}
}

func TestInstancesAsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := instance{rapid.Uint64().Draw(t, "ns"), rapid.IntRange(1, 1<<22).Draw(t, "pid"), rapid.Uint64().Draw(t, "start")}
		for _, text := range []string{i.String(), i.String() + ".17"} {
			if got, err := parseInstance(text); got != i || err != nil {
				t.Fatalf("%s: %+v, %v", text, got, err)
			}
		}
		if i.badge() >= 1<<62 {
			t.Fatalf("the badge %x is too large", i.badge())
		}
	})
	for _, text := range []string{"", "1", "1.2", "a.b.c", "1.2.x", "..", "test.77"} {
		if _, err := parseInstance(text); err == nil {
			t.Errorf("%q was taken for an instance", text)
		}
	}
}

// On a busy host the guardian's reader may run only long after the engine's death. What the engine said still counts.
func TestTheLastWordsOfADeadEngineAreRead(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write(append(encode(tellHeld, Held{Session: "s"}), encode(tellLeave, wireLeave{Status: 7})...)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	e := &engine{in: in, read: make(chan struct{})}
	go func() {
		time.Sleep(1500 * time.Millisecond)
		e.listen()
	}()
	if held, leaving, status := e.last(); string(held) != `{"session":"s"}` || !leaving || status != 7 {
		t.Errorf("it said %q, %v, %d", held, leaving, status)
	}
	_ = in.Close()
}
