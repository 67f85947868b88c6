package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seriatim/seriatim/internal/nearest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// validate checks what holds between values, and notes warnings. It is only called with values that could be read.
func validate(cfg *Config) Errors {
	v := validator{cfg: cfg}
	v.top()
	for i := range cfg.Pools {
		v.pool(i)
	}
	for i := range cfg.Alerts {
		v.alert(i)
	}
	v.kinds()
	return v.errs
}

type validator struct {
	cfg  *Config
	errs Errors
}

// fail blames path's own place, or that of the nearest thing around it that has one.
func (v *validator) fail(path, format string, args ...any) {
	where := Origin{}
	for p := path; ; {
		if o, ok := v.cfg.origins[p]; ok {
			where = o
			break
		}
		dot := strings.LastIndexByte(p, '.')
		if dot < 0 {
			break
		}
		p = p[:dot]
	}
	v.errs = append(v.errs, &Error{Where: where, Key: v.cfg.keyOf(path), Msg: fmt.Sprintf(format, args...)})
}

func (v *validator) warn(format string, args ...any) {
	v.cfg.Warnings = append(v.cfg.Warnings, fmt.Sprintf(format, args...))
}

func (v *validator) oneOf(path, value string, known ...string) {
	if !slices.Contains(known, value) {
		last := len(known) - 1
		v.fail(path, "%q is unknown: use %s or %s%s", value, strings.Join(known[:last], ", "), known[last], nearest.Hint(value, known))
	}
}

func (v *validator) top() {
	cfg := v.cfg
	if cfg.NATS.URL == "" && cfg.NATS.Context == "" {
		v.fail("nats.url", "is empty, and no context is given")
	}
	if err := subjects.CheckDomain(cfg.NATS.Domain); err != nil {
		v.fail("nats.domain", "%v: %s", err, problem.Hint(err))
	}
	if (cfg.NATS.TLS.Cert == "") != (cfg.NATS.TLS.Key == "") {
		v.fail("nats.tls.cert", "a certificate and its key go together: give both or none")
	}
	if len(cfg.Queues.List) == 0 {
		v.fail("queues", "no queue is given: write `queues: [ci]` or --queue ci")
	}
	seen := map[string]bool{}
	for _, q := range cfg.Queues.List {
		if _, err := subjects.ParseQueue(q.Name); err != nil {
			v.fail("queues", "%q is not a queue name: %s", q.Name, problem.Hint(err))
		}
		if seen[q.Name] {
			v.fail("queues", "%q is given twice", q.Name)
		}
		seen[q.Name] = true
		if cfg.Queues.Weighted && q.Weight < 1 {
			v.fail("queues", "the weight of %q must be at least 1; leave the queue out to not serve it", q.Name)
		}
	}
	if cfg.Shutdown.KillAfter <= 0 {
		v.fail("shutdown.kill_after", "must be above 0: processes that do not heed TERM would never end")
	}
	if cfg.HTTP != "" {
		if _, port, err := net.SplitHostPort(cfg.HTTP); err != nil || !isPort(port) {
			v.fail("http", "%q must be an address and a port, such as 127.0.0.1:7433, or :7433 for all addresses", cfg.HTTP)
		}
	}
	v.oneOf("log.level", cfg.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", cfg.Log.Format, "auto", "json", "text")
	if len(cfg.ID) > 64 || strings.ContainsFunc(strings.ReplaceAll(cfg.ID, ".", ""), badInName) {
		v.fail("id", "%q must be at most 64 letters, digits, `-`, `_` or `.`", cfg.ID)
	}
	if len(cfg.Pools) == 0 {
		v.fail("pools", "no pool is given: write one under `pools:` or a command after --")
	}
}

// leastCheck is the shortest time between two looks at the sizes of processes. To read them takes milliseconds; without a
// pause in between a worker would do nothing else, with a core of its own.
const leastCheck = 10 * time.Millisecond

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func badInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

func (v *validator) pool(i int) {
	p, path := &v.cfg.Pools[i], poolPath(i)
	if p.Name == "" {
		v.fail(path+".name", "the pool has no name")
	} else if len(p.Name) > 64 || strings.ContainsFunc(p.Name, badInName) {
		v.fail(path+".name", "%q must be at most 64 letters, digits, `-` or `_`", p.Name)
	}
	for j := range i {
		if p.Name != "" && v.cfg.Pools[j].Name == p.Name {
			v.fail(path+".name", "there are two pools of this name")
		}
	}
	if len(p.Command) == 0 || p.Command[0] == "" {
		v.fail(path+".command", "the pool has no command")
	}
	if slices.ContainsFunc(p.Command, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		v.fail(path+".command", "has a zero byte")
	}
	v.oneOf(path+".mode", p.Mode, ModeExec, ModePool)
	if p.Concurrency < 1 {
		v.fail(path+".concurrency", "must be at least 1, not %d", p.Concurrency)
	}
	if p.Processes < 1 {
		v.fail(path+".processes", "must be at least 1, not %d", p.Processes)
	}
	if p.Mode == ModeExec && p.Processes > 1 {
		v.fail(path+".processes", "has no meaning in mode exec, which starts a process per job: set concurrency")
	}
	if p.Concurrency > 10000 || p.Processes > 10000 {
		v.fail(path, "more than 10000 processes or jobs at once are surely a slip")
	}
	m := p.Memory
	v.oneOf(path+".memory.mode", m.Mode, MemoryDaemon, MemoryLegacy)
	if m.Soft > 0 && m.Hard > 0 && m.Hard < m.Soft {
		v.fail(path+".memory.hard", "%s is below memory.soft, which is %s", m.Hard, m.Soft)
	}
	if (m.Soft > 0 || m.Hard > 0) && m.Check < leastCheck {
		v.fail(path+".memory.check", "must be at least %s when there is a limit, not %s", leastCheck, formatDuration(m.Check))
	}
	if p.Mode == ModeExec && (p.Restart.MaxJobs > 0 || p.Restart.MaxAge > 0) {
		v.warn("restart.max_jobs and max_age of pool %s have no meaning in mode exec, which starts a process per job", p.Name)
	}
	if p.Mode == ModeExec && m.Mode == MemoryLegacy && (m.Soft > 0 || m.Hard > 0) {
		v.warn("memory.mode legacy looks after jobs, and after a job of pool %s, which is in mode exec, its process is gone: it is looked at as in mode daemon", p.Name)
	}
	if p.Restart.MaxJobs < 0 {
		v.fail(path+".restart.max_jobs", "is below 0; 0 switches it off")
	}
	if !(p.Restart.Jitter >= 0 && p.Restart.Jitter <= 1) {
		v.fail(path+".restart.jitter", "must be between 0 and 1, not %v", p.Restart.Jitter)
	}
}

// kinds finds pools that could never get a job, and kinds that nobody serves.
func (v *validator) kinds() {
	owner := map[string]int{}
	all := -1 // the pool that takes every kind that no earlier one lists
	for i := range v.cfg.Pools {
		p, path := &v.cfg.Pools[i], poolPath(i)+".kinds"
		if len(p.Kinds) == 0 {
			v.fail(path, "the pool serves no kind: list some, or \"*\" for all")
			continue
		}
		own := 0
		for _, k := range p.Kinds {
			if k == "" {
				v.fail(path, "a kind cannot be empty")
			}
			before, taken := owner[k]
			switch {
			case taken && before == i:
				v.warn("pool %s lists kind %q twice", p.Name, k)
			case taken:
				v.warn("kind %q of pool %s goes to pool %s, which lists it first", k, p.Name, v.cfg.Pools[before].Name)
			case all >= 0 && all != i:
				v.warn("kind %q of pool %s goes to pool %s, which takes all kinds", k, p.Name, v.cfg.Pools[all].Name)
			default:
				owner[k] = i
				own++
			}
			if k == "*" && all < 0 {
				all = i
			}
		}
		if own == 0 {
			v.fail(path, "the pool would never get a job: earlier pools take all its kinds (the first pool that lists a kind gets it)")
		}
	}
	if all < 0 && len(v.cfg.Pools) > 0 && len(v.errs) == 0 {
		v.warn("no pool has kinds [\"*\"]: jobs of a kind that is not listed are given back and wait for another workerd")
	}
}
