package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// flagTable maps flags to keys. A key that starts with "pool." is one of the only pool.
var flagTable = []struct{ name, short, key, usage string }{
	{"server", "s", "nats.url", "NATS server `URL`, or several with commas between them"},
	{"context", "", "nats.context", "`name` of a NATS context"},
	{"creds", "", "nats.creds", "credentials `file`"},
	{"js-domain", "", "nats.domain", "JetStream `domain` of the queues, when leaf nodes join several"},
	{"tls-ca", "", "nats.tls.ca", "`file` with the certificate authorities to trust"},
	{"tls-cert", "", "nats.tls.cert", "`file` with the client's certificate"},
	{"tls-key", "", "nats.tls.key", "`file` with the client's key"},
	{"id", "", "id", "`name` of this workerd (default: host name and a random part)"},
	{"http", "", "http", "`address` of probes and metrics"},
	{"shutdown-timeout", "", "shutdown.timeout", "how long jobs may run on after TERM, such as 25s"},
	{"kill-after", "", "shutdown.kill_after", "how long after TERM to a job's processes KILL follows, such as 3s"},
	{"log-level", "", "log.level", "debug, info, warn or error"},
	{"log-format", "", "log.format", "json, text or auto"},
	{"mode", "", "pool.mode", "exec (a process per job) or pool (children that stay)"},
	{"concurrency", "", "pool.concurrency", "jobs at once, per process in mode pool"},
	{"processes", "", "pool.processes", "children in mode pool"},
}

// Flags are the command line's settings. Bind them, parse, then give them to Load.
type Flags struct {
	set    *pflag.FlagSet
	config string
	queues []string
	kinds  []string
}

// BindFlags adds the daemon's flags to set. Values are read by Load, by the same rules as the file's, so that a
// wrong one is told in the same words.
func BindFlags(set *pflag.FlagSet) *Flags {
	f := &Flags{set: set}
	set.StringVarP(&f.config, "config", "c", "", "configuration `file` (also "+EnvConfig+")")
	set.StringArrayVarP(&f.queues, "queue", "q", nil, "`queue` to serve; may be given several times, in order of preference, or as ci=3 with a weight")
	set.StringArrayVar(&f.kinds, "kind", nil, "`kind` of job to serve; may be given several times (default: all)")
	for _, e := range flagTable {
		set.StringP(e.name, e.short, "", e.usage)
	}
	return f
}

// ConfigFile is the file named by --config, or by SERIATIM_CONFIG in env, or "".
func (f *Flags) ConfigFile(env []string) string {
	if f != nil && f.config != "" {
		return f.config
	}
	return environment(env)[EnvConfig]
}

func (f *Flags) apply(cfg *Config) Errors {
	if f == nil {
		return nil
	}
	var errs Errors
	paths := map[string]leaf{}
	for _, l := range cfg.leaves() {
		paths[l.path] = l
	}
	set := func(name, key, text string) {
		where := Origin{Kind: FromFlag, Name: "--" + name}
		if rest, ok := strings.CutPrefix(key, "pool."); ok {
			if len(cfg.Pools) != 1 {
				errs = append(errs, &Error{Where: where, Msg: onePool(len(cfg.Pools))})
				return
			}
			key = poolPath(0) + "." + rest
		}
		l := paths[key]
		if err := setText(l.value, text); err != nil {
			errs = append(errs, &Error{Where: where, Msg: err.Error()})
			return
		}
		cfg.origins[l.path] = where
	}
	for _, e := range flagTable {
		if flag := f.set.Lookup(e.name); flag != nil && flag.Changed {
			set(e.name, e.key, flag.Value.String())
		}
	}
	if len(f.queues) > 0 {
		set("queue", "queues", strings.Join(f.queues, ","))
	}
	if len(f.kinds) > 0 {
		set("kind", "pool.kinds", strings.Join(f.kinds, ","))
	}
	return errs
}

func onePool(n int) string {
	if n == 0 {
		return "is a setting of a pool, and there is none: give a command after -- or a file with --config"
	}
	return fmt.Sprintf("is a setting of one pool, and the file has %d: set it there", n)
}
