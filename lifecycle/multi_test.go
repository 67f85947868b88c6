package lifecycle_test

import (
	"testing"

	"github.com/seriatim/seriatim/lifecycle"
)

func TestASetChoosesThePoolByKind(t *testing.T) {
	mail, all := script("exit 1"), script("exit 2")
	mail.Name, mail.Concurrency = "mail", 3
	all.Name, all.Concurrency = "all", 4
	first, second := prepare(t, mail), prepare(t, all)
	set, err := lifecycle.NewSet(
		lifecycle.Member{Kinds: []string{"mail", "sms"}, Pool: first},
		lifecycle.Member{Kinds: []string{"sms", lifecycle.AllKinds}, Pool: second},
	)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	set.OnSlots(func(n int) { last = n })
	if err := set.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if set.Slots() != 7 || last != 7 {
		t.Errorf("slots are %d, told as %d", set.Slots(), last)
	}
	for kind, want := range map[string]*harness{"mail": first, "sms": first, "other": second, "": second} {
		if got, ok := set.PoolFor(kind); !ok || got != lifecycle.Pool(want) {
			t.Errorf("kind %q goes to the wrong pool", kind)
		}
	}
	if r := set.Run(t.Context(), lifecycle.Job{Kind: "mail"}); r.Err != "exited with status 1" {
		t.Errorf("got %+v", r)
	}
	set.Stop(t.Context())
	if set.Slots() != 0 || last != 0 || len(set.Children()) != 0 {
		t.Errorf("after the stop: %d slots, told as %d", set.Slots(), last)
	}
}

func TestASetThatServesNotEveryKind(t *testing.T) {
	h := prepare(t, script("exit 0"))
	set, err := lifecycle.NewSet(lifecycle.Member{Kinds: []string{"mail"}, Pool: h})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := set.PoolFor("other"); ok {
		t.Error("a pool for a kind that nobody lists")
	}
	h.want(set.Run(t.Context(), lifecycle.Job{Kind: "other"}), lifecycle.NotStarted, `"other"`)
}

func TestASetWithAPoolThatNoJobCanReach(t *testing.T) {
	a, b := prepare(t, script("exit 0")), prepare(t, script("exit 0"))
	for _, second := range [][]string{nil, {"mail"}, {lifecycle.AllKinds}} {
		_, err := lifecycle.NewSet(
			lifecycle.Member{Kinds: []string{lifecycle.AllKinds}, Pool: a}, lifecycle.Member{Kinds: second, Pool: b})
		if err == nil {
			t.Errorf("%q after * was taken", second)
		}
	}
}

func TestASetThatCannotStartLeavesNothing(t *testing.T) {
	good := prepare(t, children(t, "good"))
	bad := prepare(t, lifecycle.Config{Mode: lifecycle.ModeExec, Command: []string{"no-such-program-here"}})
	set, err := lifecycle.NewSet(
		lifecycle.Member{Kinds: []string{"a"}, Pool: good}, lifecycle.Member{Kinds: []string{"b"}, Pool: bad})
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Start(t.Context()); err == nil {
		t.Fatal("started")
	}
	for _, c := range good.Children() {
		if c.PID != 0 {
			t.Errorf("left %+v", c)
		}
	}
}

func TestAConfigurationThatCannotBeUsed(t *testing.T) {
	ok := script("exit 0")
	ok.Name = "ok"
	for name, change := range map[string]func(*lifecycle.Config){
		"name":          func(c *lifecycle.Config) { c.Name = "" },
		"mode":          func(c *lifecycle.Config) { c.Mode = "fork" },
		"command":       func(c *lifecycle.Config) { c.Command = nil },
		"NUL":           func(c *lifecycle.Config) { c.Command = []string{"a\x00"} },
		"concurrency":   func(c *lifecycle.Config) { c.Concurrency = -1 },
		"env":           func(c *lifecycle.Config) { c.Env = map[string]string{"A=B": ""} },
		"kill_after":    func(c *lifecycle.Config) { c.KillAfter = -1 },
		"set by":        func(c *lifecycle.Config) { c.Env = map[string]string{"JOB_ID": "x"} },
		"restart.reset": func(c *lifecycle.Config) { c.Restart.Reset = -1 },
	} {
		cfg := ok
		change(&cfg)
		if _, err := lifecycle.New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := lifecycle.New(ok); err != nil {
		t.Error(err)
	}
}
