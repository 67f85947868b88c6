package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const sidekiqMemory = "SIDEKIQ_MEMORY_KILLER_"

// sidekiqTimes are the durations of the memory killer, in seconds there.
var sidekiqTimes = []struct {
	env, key string
	field    func(*Memory) *time.Duration
}{
	{sidekiqMemory + "GRACE_BALLOON_TIME", "memory.balloon", func(m *Memory) *time.Duration { return &m.Balloon }},
	{sidekiqMemory + "CHECK_INTERVAL", "memory.check", func(m *Memory) *time.Duration { return &m.Check }},
	{sidekiqMemory + "GRACE_TIME", "memory.grace", func(m *Memory) *time.Duration { return &m.Grace }},
	{sidekiqMemory + "SHUTDOWN_WAIT", "memory.shutdown_wait", func(m *Memory) *time.Duration { return &m.ShutdownWait }},
}

// sidekiqSizes are its limits, in kilobytes of 1024 bytes there.
var sidekiqSizes = []struct {
	env, key string
	field    func(*Memory) *Size
}{
	{sidekiqMemory + "MAX_RSS", "memory.soft", func(m *Memory) *Size { return &m.Soft }},
	{sidekiqMemory + "HARD_LIMIT_RSS", "memory.hard", func(m *Memory) *Size { return &m.Hard }},
}

const (
	sidekiqDaemon = "SIDEKIQ_DAEMON_MEMORY_KILLER"
	sidekiqCount  = "SIDEKIQ_COUNT"
)

// applySidekiq is the aid for those who come from Sidekiq: its variables stand for every pool that says nothing
// about memory (or about the number of processes) itself, and a note says what each became. It comes last because
// only then it is known what a pool says itself.
func applySidekiq(cfg *Config, vars map[string]string) Errors {
	s := sidekiq{cfg: cfg, vars: vars}
	s.memory()
	s.count()
	return s.errs
}

type sidekiq struct {
	cfg  *Config
	vars map[string]string
	errs Errors
}

// number reads a variable; ok is false when it is absent, empty or wrong.
func (s *sidekiq) number(name, unit string, most int64) (n int64, ok bool) {
	text := strings.TrimSpace(s.vars[name])
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most {
		if errors.Is(err, strconv.ErrRange) || n > most && most > 1 {
			unit += fmt.Sprintf(", at most %d", most)
		}
		s.errs = append(s.errs, &Error{
			Where: Origin{Kind: FromEnv, Name: name}, Msg: fmt.Sprintf("%q is not a whole number of %s", text, unit),
		})
		return 0, false
	}
	return n, true
}

func (s *sidekiq) note(format string, args ...any) {
	s.cfg.Notes = append(s.cfg.Notes, fmt.Sprintf(format, args...))
}

func (s *sidekiq) memory() {
	sizes, times := map[string]Size{}, map[string]time.Duration{}
	limited, given := false, ""
	for _, v := range sidekiqSizes {
		if n, ok := s.number(v.env, "kilobytes", math.MaxInt64/1024); ok {
			sizes[v.env] = Size(n * 1024)
			limited = limited || n > 0
			given = v.env
		}
	}
	for _, v := range sidekiqTimes {
		if n, ok := s.number(v.env, "seconds", int64(math.MaxInt64/time.Second)); ok {
			times[v.env] = time.Duration(n) * time.Second
			given = v.env
		}
	}
	daemon, daemonGiven := s.number(sidekiqDaemon, "processes (1 is on, 0 is off)", 1)
	if given == "" && !daemonGiven {
		return
	}
	if given == "" {
		given = sidekiqDaemon
	}
	for i := range s.cfg.Pools {
		pool := &s.cfg.Pools[i]
		if own := s.own(i, "memory."); own != "" {
			s.note("%s and its like are not used for pool %s, which has %s itself", given, pool.Name, own)
			continue
		}
		for _, v := range sidekiqSizes {
			if size, ok := sizes[v.env]; ok {
				*v.field(&pool.Memory) = size
				became := size.Round()
				if size == 0 {
					became = "0 (no limit)"
				}
				s.became(i, v.env, v.key, became)
			}
		}
		for _, v := range sidekiqTimes {
			if d, ok := times[v.env]; ok {
				*v.field(&pool.Memory) = d
				s.became(i, v.env, v.key, formatDuration(d))
			}
		}
		switch {
		case daemonGiven && daemon == 1:
			pool.Memory.Mode = MemoryDaemon
			s.became(i, sidekiqDaemon, "memory.mode", MemoryDaemon)
		case limited:
			// Not set at all means off there, and a limit is then looked at after each job.
			pool.Memory.Mode = MemoryLegacy
			s.cfg.origins[poolPath(i)+".memory.mode"] = Origin{Kind: FromEnv, Name: sidekiqDaemon}
			is := "=0"
			if !daemonGiven {
				is = " is not set: that"
			}
			s.note("%s%s became memory.mode legacy for pool %s: looked at after each job", sidekiqDaemon, is, pool.Name)
		}
	}
}

func (s *sidekiq) count() {
	n, ok := s.number(sidekiqCount, "processes", math.MaxInt32)
	if !ok {
		return
	}
	for i := range s.cfg.Pools {
		pool := &s.cfg.Pools[i]
		if pool.Mode != ModePool || s.own(i, "processes") != "" {
			continue
		}
		pool.Processes = int(n)
		s.became(i, sidekiqCount, "processes", strconv.FormatInt(n, 10))
	}
}

func (s *sidekiq) became(pool int, env, key, value string) {
	s.cfg.origins[poolPath(pool)+"."+key] = Origin{Kind: FromEnv, Name: env}
	s.note("%s=%s became %s %s for pool %s", env, strings.TrimSpace(s.vars[env]), key, value, s.cfg.Pools[pool].Name)
}

// own names the first setting with this prefix that the pool has from anywhere but the defaults.
func (s *sidekiq) own(pool int, prefix string) string {
	for _, l := range s.cfg.leaves() {
		if l.pool == pool && strings.HasPrefix(l.name, prefix) && s.cfg.origins[l.path].Kind != FromDefault {
			return l.name
		}
	}
	return ""
}
