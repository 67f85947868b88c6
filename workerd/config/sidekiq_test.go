package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const twoPools = `queues: [ci]
pools:
  - {name: rails, kinds: [a], command: [./a], mode: pool}
  - {name: own, command: [./b], mode: pool, processes: 4, memory: {soft: 1GiB}}
`

func TestSidekiqVariables(t *testing.T) {
	for _, c := range []struct {
		name  string
		env   []string
		notes []string
		check func(rails, own Pool) bool
	}{
		{
			"daemon",
			[]string{
				"SIDEKIQ_MEMORY_KILLER_MAX_RSS=2000000", "SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS=3000000", "SIDEKIQ_DAEMON_MEMORY_KILLER=1",
				"SIDEKIQ_MEMORY_KILLER_GRACE_BALLOON_TIME=300", "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=5", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=60",
				"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=20", "SIDEKIQ_COUNT=3",
			},
			[]string{
				"SIDEKIQ_MEMORY_KILLER_MAX_RSS=2000000 became memory.soft 1.9GiB for pool rails",
				"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS=3000000 became memory.hard 2.9GiB for pool rails",
				"SIDEKIQ_MEMORY_KILLER_GRACE_BALLOON_TIME=300 became memory.balloon 5m for pool rails",
				"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=5 became memory.check 5s for pool rails",
				"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=60 became memory.grace 1m for pool rails",
				"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=20 became memory.shutdown_wait 20s for pool rails",
				"SIDEKIQ_DAEMON_MEMORY_KILLER=1 became memory.mode daemon for pool rails",
				"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT and its like are not used for pool own, which has memory.soft itself",
				"SIDEKIQ_COUNT=3 became processes 3 for pool rails",
			},
			func(rails, own Pool) bool {
				return rails.Memory.Soft == 2048000000 && rails.Memory.Balloon == 5*time.Minute && rails.Memory.Mode == MemoryDaemon &&
					rails.Processes == 3 && own.Processes == 4 && own.Memory.Soft == 1<<30
			},
		},
		{
			"legacy when the switch is not set",
			[]string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS=1048576"},
			[]string{
				"SIDEKIQ_MEMORY_KILLER_MAX_RSS=1048576 became memory.soft 1GiB for pool rails",
				"SIDEKIQ_DAEMON_MEMORY_KILLER is not set: that became memory.mode legacy for pool rails: looked at after each job",
				"SIDEKIQ_MEMORY_KILLER_MAX_RSS and its like are not used for pool own, which has memory.soft itself",
			},
			func(rails, own Pool) bool {
				return rails.Memory.Mode == MemoryLegacy && own.Memory.Mode == MemoryDaemon
			},
		},
		{
			"legacy when the switch is off",
			[]string{"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS=1048576", "SIDEKIQ_DAEMON_MEMORY_KILLER=0"},
			[]string{
				"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS=1048576 became memory.hard 1GiB for pool rails",
				"SIDEKIQ_DAEMON_MEMORY_KILLER=0 became memory.mode legacy for pool rails: looked at after each job",
				"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS and its like are not used for pool own, which has memory.soft itself",
			},
			func(rails, _ Pool) bool { return rails.Memory.Mode == MemoryLegacy },
		},
		{
			"no limit",
			[]string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS=0", "SIDEKIQ_COUNT="},
			[]string{
				"SIDEKIQ_MEMORY_KILLER_MAX_RSS=0 became memory.soft 0 (no limit) for pool rails",
				"SIDEKIQ_MEMORY_KILLER_MAX_RSS and its like are not used for pool own, which has memory.soft itself",
			},
			func(rails, _ Pool) bool { return rails.Memory.Mode == MemoryDaemon && rails.Memory.Soft == 0 },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := mustLoad(t, Input{Data: []byte(twoPools), Env: c.env})
			if !slices.Equal(cfg.Notes, c.notes) {
				t.Errorf("notes:\n%s", strings.Join(cfg.Notes, "\n"))
			}
			if !c.check(cfg.Pools[0], cfg.Pools[1]) {
				t.Errorf("%+v", cfg.Pools)
			}
		})
	}
}

func TestSidekiqOrigins(t *testing.T) {
	cfg := mustLoad(t, Input{Data: []byte(twoPools), Env: []string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS=1048576", "SERIATIM_POOLS_RAILS_PROCESSES=2", "SIDEKIQ_COUNT=9"}})
	if got := cfg.Origin("pools.rails.memory.soft").String(); got != "env SIDEKIQ_MEMORY_KILLER_MAX_RSS" {
		t.Error(got)
	}
	if cfg.Pools[0].Processes != 2 {
		t.Error("a variable of our own is the pool saying so itself")
	}
}
