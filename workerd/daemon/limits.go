package daemon

import (
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/memory"
	"github.com/seriatim/seriatim/workerd/config"
)

// limit gives a pool its memory limits, and says when its children are recycled.
func limit(c *lifecycle.Config, p config.Pool) {
	m := p.Memory
	c.Memory = lifecycle.MemoryLimits{
		Limits: memory.Limits{
			Mode: memory.Daemon, Soft: int64(m.Soft), Hard: int64(m.Hard), Balloon: m.Balloon, Grace: m.Grace,
			HardGrace: m.HardGrace, ShutdownWait: m.ShutdownWait, MinInterval: m.MinInterval,
		},
		Check: m.Check, Jitter: p.Restart.Jitter,
	}
	if m.Mode == config.MemoryLegacy {
		c.Memory.Mode = memory.Legacy
	}
	c.Recycle = lifecycle.Recycle{MaxJobs: p.Restart.MaxJobs, MaxAge: p.Restart.MaxAge, Jitter: p.Restart.Jitter}
}

// memoryEvent is how loud an event of the memory guard is, and in which words; false for all others.
func memoryEvent(kind lifecycle.EventKind) (level zerolog.Level, text string, ok bool) {
	switch kind {
	case lifecycle.EventOverMemory:
		return zerolog.WarnLevel, "a child uses too much memory: it gets no more jobs and is replaced", true
	case lifecycle.EventLimitTooLow:
		return zerolog.ErrorLevel, "THE MEMORY LIMIT IS BELOW WHAT THE CHILD NEEDS: raise memory.soft or memory.hard of the pool", true
	case lifecycle.EventUnguarded:
		return zerolog.ErrorLevel, "memory cannot be read: the pool's memory limits are not kept", true
	}
	return 0, "", false
}
