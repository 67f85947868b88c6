package lifecycle_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
)

// reconfigured is a child pool whose variable MARK tells which configuration a child has.
func reconfigured(t *testing.T, processes int) (lifecycle.Config, *harness) {
	t.Helper()
	cfg := children(t, "good")
	cfg.Name, cfg.Processes, cfg.KillAfter, cfg.SlotWait, cfg.EmptyWait = "test", processes, plenty, plenty, plenty
	cfg.Env["MARK"] = "one"
	h := start(t, cfg)
	for range processes { // so that a later event is of a later child
		h.event(lifecycle.EventReady)
	}
	return cfg, h
}

func with(cfg lifecycle.Config, mark string) lifecycle.Config {
	env := map[string]string{"MARK": mark}
	for k, v := range cfg.Env {
		if k != "MARK" {
			env[k] = v
		}
	}
	cfg.Env = env
	return cfg
}

func (h *harness) markIs(mark string) bool {
	r := h.run("env", "MARK")
	h.want(r, lifecycle.Done, "")
	return string(r.Body) == mark
}

func TestReconfiguringReplacesTheChildrenWithoutLosingASlot(t *testing.T) {
	cfg, h := reconfigured(t, 3)
	h.slotsAre(12)
	var slots lowest
	slots.tell(12)
	h.OnSlots(slots.tell)
	busy := make([]<-chan lifecycle.Result, 3)
	for i := range busy {
		busy[i] = h.begin(t.Context(), lifecycle.Job{Kind: "until cancelled"})
		h.started()
	}
	_ = busy // they end when their children's group is ended below
	if err := lifecycle.Reconfigure(h.Pool, with(cfg, "two")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if e := h.event(lifecycle.EventReplacing); !errors.Is(e.Err, lifecycle.ErrReconfigured) {
			t.Fatalf("told as %v", e.Err)
		}
		h.event(lifecycle.EventReady)
	}
	eventually(t, "only new children get jobs", func() bool {
		for range 12 {
			if !h.markIs("two") {
				return false
			}
		}
		return true
	})
	slots.check(t)
	if n := len(h.Children()); n != 6 {
		t.Errorf("%d children: the old ones have jobs, and have to finish them", n)
	}
	h.Stop(ended(lifecycle.ErrKillNow))
	for _, b := range busy {
		h.wait(b)
	}
}

// The last configuration counts, however fast they follow one another.
func TestReconfiguringTwice(t *testing.T) {
	cfg, h := reconfigured(t, 2)
	h.slotsAre(8)
	for _, mark := range []string{"two", "three", "four"} {
		if err := lifecycle.Reconfigure(h.Pool, with(cfg, mark)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both children are of the last one", func() bool {
		return len(h.Children()) == 2 && h.markIs("four") && h.markIs("four") && h.markIs("four") && h.markIs("four")
	})
}

func TestReconfiguringWithAChildThatDoesNotComeUp(t *testing.T) {
	cfg, h := reconfigured(t, 1)
	h.slotsAre(4)
	bad := with(cfg, "two")
	bad.Env[actAs] = "exit at boot"
	if err := lifecycle.Reconfigure(h.Pool, bad); err != nil {
		t.Fatal(err)
	}
	h.event(lifecycle.EventExited)
	h.event(lifecycle.EventExited)
	if !h.markIs("one") {
		t.Error("the old child is gone")
	}
	if err := lifecycle.Reconfigure(h.Pool, with(cfg, "three")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the third configuration", func() bool { return h.markIs("three") })
	h.slotsAre(4)
}

func TestWhatNeedsANewPool(t *testing.T) {
	cfg, h := reconfigured(t, 1)
	h.slotsAre(4)
	for name, change := range map[string]func(*lifecycle.Config){
		"processes":  func(c *lifecycle.Config) { c.Processes = 2 },
		"kill after": func(c *lifecycle.Config) { c.KillAfter = time.Second },
		"memory":     func(c *lifecycle.Config) { c.Memory.Soft, c.Memory.Check = 1<<30, time.Second },
	} {
		next := with(cfg, "one")
		change(&next)
		if err := lifecycle.Reconfigure(h.Pool, next); !errors.Is(err, lifecycle.ErrNeedsNewPool) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := lifecycle.Reconfigure(start(t, script("exit 0")).Pool, script("exit 1")); !errors.Is(err, lifecycle.ErrNeedsNewPool) {
		t.Errorf("exec: %v", err)
	}
	bad := with(cfg, "two")
	bad.Command = []string{"/no/such/program"}
	if err := lifecycle.Reconfigure(h.Pool, bad); err == nil || errors.Is(err, lifecycle.ErrNeedsNewPool) {
		t.Errorf("a program that is not there: %v", err)
	}
	if err := lifecycle.Reconfigure(h.Pool, cfg); err != nil {
		t.Errorf("no change: %v", err)
	}
	if !h.markIs("one") || len(h.Children()) != 1 {
		t.Error("something was replaced")
	}
}

func TestASetChangesItsPools(t *testing.T) {
	file := filepath.Join(t.TempDir(), "go")
	slow, one, two := script(`until [ -e "`+file+`" ]; do sleep 0.01; done; exit 1`), script("exit 2"), script("exit 3")
	two.Concurrency = 7
	a, b, c := start(t, slow), start(t, one), start(t, two)
	set, err := lifecycle.NewSet(lifecycle.Member{Kinds: []string{"mail"}, Pool: a}, lifecycle.Member{Kinds: []string{"*"}, Pool: b})
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	set.OnSlots(func(n int) { last = n })
	running := make(chan lifecycle.Result, 1)
	go func() { running <- set.Run(t.Context(), lifecycle.Job{Kind: "mail"}) }()
	eventually(t, "the job runs", func() bool { return len(a.Children()) == 1 })
	if err := set.Swap(lifecycle.Member{Kinds: []string{"*"}, Pool: c}, lifecycle.Member{Kinds: []string{"x"}, Pool: b}); err == nil {
		t.Error("a pool that no job can reach")
	}
	if err := set.Swap(lifecycle.Member{Kinds: []string{"*"}, Pool: c}); err != nil {
		t.Fatal(err)
	}
	if set.Slots() != 7 || last != 7 {
		t.Errorf("%d slots, told as %d", set.Slots(), last)
	}
	touch(t, file)
	a.Stop(t.Context())
	b.Stop(t.Context())
	if r := <-running; r.Err != "exited with status 1" {
		t.Errorf("the job of a pool that went: %+v", r)
	}
	if r := set.Run(t.Context(), lifecycle.Job{Kind: "mail"}); r.Err != "exited with status 3" {
		t.Errorf("the next one: %+v", r)
	}
	if last != 7 {
		t.Errorf("a pool that is not there any more told its slots: %d", last)
	}
}
