// Package config is what workerd is told: the structure of workerd.yaml, its defaults, and how file, environment and
// flags are laid over one another.
//
// Precedence: defaults < file < environment < flags. Every value remembers where it came from (Origin), for `config
// show` and for errors. Nothing is guessed: an unknown key, a wrong type, a number without its unit or a pool that
// could never get a job is an error with the line and, where one is close, the key that was meant. All errors are
// collected, so that a file is mended in one go. The package does no I/O apart from Read.
//
// The tree is walked by one pair of functions (decode for YAML, setText for text), which learn the keys from the
// struct tags; a new key needs a field here and a rule in validate.go, and then has its line numbers, its
// environment variable, its origin and its row in `config show`.
package config

import (
	"time"
)

// Config is a whole workerd.yaml with everything laid over it. It is a plain value: whoever holds it may read it
// from any goroutine; nobody writes to it after Load.
type Config struct {
	// ID names this workerd to the others; empty means host name and a random part, made anew at each start.
	ID   string `yaml:"id"`
	NATS NATS   `yaml:"nats"`
	// Queues are the queues to take turns from, in order of preference or with weights.
	Queues Queues `yaml:"queues"`
	// HTTP is the address of probes and metrics; empty means none.
	HTTP string `yaml:"http"`
	// LivezMaxOutage makes /livez fail when NATS was away for longer; 0 is never.
	LivezMaxOutage time.Duration `yaml:"livez_max_outage"`
	// RunDir is the folder of the control socket; empty means the usual place.
	RunDir   string   `yaml:"run_dir"`
	Shutdown Shutdown `yaml:"shutdown"`
	Log      Log      `yaml:"log"`
	Alerts   []Alert  `yaml:"alerts"`
	Pools    []Pool   `yaml:"pools"`

	// Notes say what a setting of another system became here. The daemon logs each of them once.
	Notes []string `yaml:"-"`
	// Warnings are lawful settings that are probably slips. The daemon logs each of them once.
	Warnings []string `yaml:"-"`

	origins map[string]Origin
}

// NATS says how to reach the server. URL may be a comma-separated list. Domain is the JetStream domain that has the queues,
// when it is not the server's own.
type NATS struct {
	URL     string `yaml:"url"`
	Context string `yaml:"context"`
	Creds   string `yaml:"creds"`
	Domain  string `yaml:"domain"`
	TLS     TLS    `yaml:"tls"`
}

// TLS holds file names.
type TLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Shutdown bounds a stop: jobs may run on for Timeout (0: for as long as they take), then their process groups get
// TERM, and KillAfter later KILL.
type Shutdown struct {
	Timeout   time.Duration `yaml:"timeout"`
	KillAfter time.Duration `yaml:"kill_after"`
}

// Log is how the daemon talks: Level is debug, info, warn or error; Format is json, text, or auto (text on a
// terminal).
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// The modes of a pool.
const (
	ModeExec = "exec" // a process per job
	ModePool = "pool" // children that stay and are fed frames
)

// Pool is a set of like children and the kinds of job that they serve.
type Pool struct {
	Name string `yaml:"name"`
	// Kinds are the kinds served; the first pool that lists a kind gets it, "*" lists all.
	Kinds   []string `yaml:"kinds"`
	Mode    string   `yaml:"mode"`
	Command []string `yaml:"command"`
	// Processes is the number of children of a pool in mode pool.
	Processes int `yaml:"processes"`
	// Concurrency is jobs at once: per process in mode pool, per pool in mode exec.
	Concurrency int               `yaml:"concurrency"`
	Env         map[string]string `yaml:"env"`
	User        string            `yaml:"user"`
	Memory      Memory            `yaml:"memory"`
	Restart     Restart           `yaml:"restart"`
}

// The modes of the memory guard.
const (
	MemoryDaemon = "daemon" // looked at every Check
	MemoryLegacy = "legacy" // looked at after each job, jobs still taken during the grace time
)

// Memory limits one child of a pool. A limit of 0 is switched off.
type Memory struct {
	Mode         string        `yaml:"mode"`
	Soft         Size          `yaml:"soft"`
	Hard         Size          `yaml:"hard"`
	Balloon      time.Duration `yaml:"balloon"`
	Check        time.Duration `yaml:"check"`
	Grace        time.Duration `yaml:"grace"`
	HardGrace    time.Duration `yaml:"hard_grace"`
	ShutdownWait time.Duration `yaml:"shutdown_wait"`
	MinInterval  time.Duration `yaml:"min_interval"`
}

// Restart replaces a child after so many jobs or so long, each varied by ±Jitter (a share, 0 to 1). 0 is never.
type Restart struct {
	MaxJobs int           `yaml:"max_jobs"`
	MaxAge  time.Duration `yaml:"max_age"`
	Jitter  float64       `yaml:"jitter"`
}

// Default returns the configuration of a workerd that was told nothing. It has no queue and no pool, so it does not
// pass Load by itself.
func Default() *Config {
	return &Config{
		NATS:     NATS{URL: "nats://127.0.0.1:4222"},
		HTTP:     "127.0.0.1:7433",
		Shutdown: Shutdown{Timeout: 25 * time.Second, KillAfter: 3 * time.Second},
		Log:      Log{Level: "info", Format: "auto"},
		origins:  map[string]Origin{},
	}
}

// DefaultPool returns what a pool is that says nothing but its command.
func DefaultPool() Pool {
	return Pool{
		Kinds:       []string{"*"},
		Mode:        ModeExec,
		Processes:   1,
		Concurrency: 5,
		Memory: Memory{
			Mode: MemoryDaemon, Balloon: 15 * time.Minute, Check: 3 * time.Second, Grace: 15 * time.Minute,
			HardGrace: 10 * time.Second, ShutdownWait: 30 * time.Second,
		},
		Restart: Restart{Jitter: 0.1},
	}
}

// PoolFor returns the index of the first pool that lists kind, or -1 when none does.
func (c *Config) PoolFor(kind string) int {
	for i := range c.Pools {
		for _, k := range c.Pools[i].Kinds {
			if k == "*" || k == kind {
				return i
			}
		}
	}
	return -1
}
