package cli

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/workerd/config"
)

// policyFlags are a queue's policy on the command line. Only flags that were given change anything, so that one set
// serves for adding and for editing.
type policyFlags struct{ set *pflag.FlagSet }

var policyTable = []struct {
	name, usage string
	apply       func(p *streams.Policy, text string) error
}{
	{"replicas", "copies of every stream: 1, 3 or 5 (default 1)", func(p *streams.Policy, s string) error { return whole(&p.Replicas, s) }},
	{"storage", "file or memory (default file)", func(p *streams.Policy, s string) error { p.Storage = s; return nil }},
	{"max-bytes", "refuse jobs beyond this `size` in all, such as 10GiB; 0 is no limit", func(p *streams.Policy, s string) error { return sizeOf(&p.MaxBytes, s) }},
	{"max-job-size", "refuse single jobs beyond this `size`, body and headers, such as 64KiB; 0 is what the server allows", func(p *streams.Policy, s string) error { return sizeOf(&p.MaxJobSize, s) }},
	{"max-msgs", "refuse jobs beyond this `number`; 0 is no limit", func(p *streams.Policy, s string) error { return number(&p.MaxMsgs, s) }},
	{"lease", "how long a worker may be silent before its lanes are taken (default 15s)", func(p *streams.Policy, s string) (err error) {
		p.Lease, err = config.ParseDuration(s)
		return err
	}},
	{"max-attempts", "a job is dead after so many failures (default 5); 0 is never", func(p *streams.Policy, s string) error { return whole(&p.MaxAttempts, s) }},
	{"max-lost", "… after so many lost workers (default 3); 0 is never", func(p *streams.Policy, s string) error { return whole(&p.MaxLost, s) }},
	{"max-crashes", "… after so many crashes (default 3); 0 is never", func(p *streams.Policy, s string) error { return whole(&p.MaxCrashes, s) }},
	{"backoff", "wait between attempts, `FIRST[,MOST[,FACTOR[,JITTER]]]` (default 1s,10m,2,0.2)", parseBackoff},
	{"on-failure", "what a failed job does to its lane: block (it waits for the retry, default) or pass (the job goes to its end)", func(p *streams.Policy, s string) error { p.OnFailure = s; return nil }},
	{"on-dead", "what a dead job does to its lane: continue (it goes on, default) or halt (it waits for an operator)", func(p *streams.Policy, s string) error { p.OnDead = s; return nil }},
	{"history", "keep a record of finished jobs: failures (default), all or off", func(p *streams.Policy, s string) error { p.History = s; return nil }},
	{"history-max-age", "for how long (default 7 days, 168h); 0 is for ever", func(p *streams.Policy, s string) error { return ageOf(&p.HistoryMaxAge, s) }},
	{"history-max", "how many `records` at most (default 1000000); 0 is no limit", func(p *streams.Policy, s string) error { return number(&p.HistoryMaxMsgs, s) }},
	{"dead-max-age", "dead jobs older than this go for good (default 0: for ever)", func(p *streams.Policy, s string) error { return ageOf(&p.DeadMaxAge, s) }},
	{"dead-max", "of more dead jobs than this `number` the oldest go for good (default 0: no limit)", func(p *streams.Policy, s string) error { return number(&p.DeadMaxMsgs, s) }},
}

func bindPolicy(set *pflag.FlagSet) policyFlags {
	for _, e := range policyTable {
		set.String(e.name, "", e.usage)
	}
	set.StringArray(limitFlag, nil, "so many jobs at once across all workers, `WHAT=N` (repeatable): queue=20, kind:archive=5, type:build=10; N of 0 removes the limit")
	return policyFlags{set}
}

// change returns what the flags that were given do to a policy. All of them are read here, so that what it returns
// cannot fail.
func (f policyFlags) change() (func(*streams.Policy), error) {
	trial := streams.DefaultPolicy()
	var changes []func(*streams.Policy)
	for _, e := range policyTable {
		flag := f.set.Lookup(e.name)
		if !flag.Changed {
			continue
		}
		text := flag.Value.String()
		if err := e.apply(&trial, text); err != nil {
			return nil, usagef("", "--%s: %w", e.name, err)
		}
		changes = append(changes, func(p *streams.Policy) { _ = e.apply(p, text) }) // was tried above
	}
	limits, err := f.set.GetStringArray(limitFlag)
	if err != nil {
		return nil, err
	}
	for _, text := range limits {
		if err := setLimit(&trial, text); err != nil {
			return nil, usagef("", "--%s: %w", limitFlag, err)
		}
		changes = append(changes, func(p *streams.Policy) { _ = setLimit(p, text) })
	}
	return func(p *streams.Policy) {
		for _, c := range changes {
			c(p)
		}
	}, nil
}

const limitFlag = "limit"

// setLimit reads WHAT=N. A kind may hold a =, so the last one counts.
func setLimit(p *streams.Policy, text string) error {
	i := strings.LastIndexByte(text, '=')
	if i < 0 {
		return fmt.Errorf("%q is not WHAT=N, such as kind:archive=5", text)
	}
	var n int
	if err := whole(&n, text[i+1:]); err != nil {
		return err
	}
	limits := maps.Clone(p.Limits) // the policy that is changed may share it with the one that was read
	if limits == nil {
		limits = map[string]int{}
	}
	if limits[text[:i]] = n; n == 0 {
		delete(limits, text[:i])
	}
	p.Limits = limits
	return nil
}

func number(to *int64, s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return notWhole(s, err)
	}
	*to = n
	return nil
}

func ageOf(to *time.Duration, s string) (err error) {
	*to, err = config.ParseDuration(s)
	return err
}

func whole(to *int, s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return notWhole(s, err)
	}
	*to = int(n)
	return nil
}

func notWhole(s string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%q is more than fits", s)
	}
	return fmt.Errorf("%q is not a whole number", s)
}

func sizeOf(to *int64, s string) error {
	n, err := config.ParseSize(s)
	*to = int64(n)
	return err
}

func parseBackoff(p *streams.Policy, s string) (err error) {
	parts := strings.Split(s, ",")
	b := p.Backoff
	if len(parts) > 4 {
		return fmt.Errorf("%q has more than four parts", s)
	}
	if b.Base, err = config.ParseDuration(parts[0]); err != nil {
		return err
	}
	if len(parts) > 1 {
		if b.Max, err = config.ParseDuration(parts[1]); err != nil {
			return err
		}
	} else {
		b.Max = max(b.Max, b.Base) // `--backoff 1h` alone raises the bound with it
	}
	for i, to := range []*float64{&b.Factor, &b.Jitter} {
		if len(parts) > i+2 {
			if *to, err = strconv.ParseFloat(strings.TrimSpace(parts[i+2]), 64); err != nil {
				return fmt.Errorf("%q is not a number", parts[i+2])
			}
		}
	}
	p.Backoff = b
	return nil
}

// ageText is a limit of age.
func ageText(d time.Duration) string {
	if d == 0 {
		return "for ever"
	}
	return "for " + d.String()
}

func historyText(p streams.Policy) string {
	if p.History == streams.HistoryOff {
		return p.History
	}
	return fmt.Sprintf("%s, kept %s, records %s", p.History, ageText(p.HistoryMaxAge), limit(p.HistoryMaxMsgs))
}

func backoffText(b streams.Backoff) string {
	return fmt.Sprintf("%s, times %v, at most %s, up to %d%% less", b.Base, b.Factor, b.Max, int(b.Jitter*100+.5))
}
