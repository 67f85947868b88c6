package daemon

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/memory"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/workerd/config"
)

func TestLimitsReachThePool(t *testing.T) {
	p := config.DefaultPool()
	p.Memory.Soft, p.Memory.Hard, p.Memory.Mode, p.Memory.MinInterval = 1<<30, 2<<30, config.MemoryLegacy, time.Minute
	p.Restart = config.Restart{MaxJobs: 1000, MaxAge: time.Hour, Jitter: 0.2}
	var c lifecycle.Config
	limit(&c, p)
	want := lifecycle.MemoryLimits{
		Limits: memory.Limits{
			Mode: memory.Legacy, Soft: 1 << 30, Hard: 2 << 30, Balloon: 15 * time.Minute, Grace: 15 * time.Minute,
			HardGrace: 10 * time.Second, ShutdownWait: 30 * time.Second, MinInterval: time.Minute,
		},
		Check: 3 * time.Second, Jitter: 0.2,
	}
	if c.Memory != want {
		t.Errorf("got %+v", c.Memory)
	}
	if c.Recycle != (lifecycle.Recycle{MaxJobs: 1000, MaxAge: time.Hour, Jitter: 0.2}) {
		t.Errorf("got %+v", c.Recycle)
	}
	limit(&c, config.DefaultPool())
	if c.Memory.On() || c.Memory.Mode != memory.Daemon || c.Recycle.MaxJobs != 0 {
		t.Errorf("the defaults limit something: %+v", c)
	}
}

func TestMemoryStandsInTheJobsRecord(t *testing.T) {
	o := outcome(lifecycle.Result{Cause: lifecycle.Memory, Err: "above", GroupEmpty: true})
	if o.Cause != lane.CauseMemory || o.Error != "above" || o.Stuck {
		t.Errorf("got %+v", o)
	}
}

func TestHowLoudMemoryIs(t *testing.T) {
	for kind, want := range map[lifecycle.EventKind]zerolog.Level{
		lifecycle.EventOverMemory: zerolog.WarnLevel, lifecycle.EventLimitTooLow: zerolog.ErrorLevel, lifecycle.EventUnguarded: zerolog.ErrorLevel,
	} {
		if level, text, ok := memoryEvent(kind); !ok || level != want || text == "" {
			t.Errorf("%s: %v, %q, %v", kind, level, text, ok)
		}
	}
	if _, _, ok := memoryEvent(lifecycle.EventExited); ok {
		t.Error("an exit is no event of the guard")
	}
}
