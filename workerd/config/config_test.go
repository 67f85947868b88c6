package config

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// minimal is the least that loads.
const minimal = "queues: [ci]\npools: [{name: a, command: [./a]}]\n"

func load(t *testing.T, in Input, args ...string) (*Config, error) {
	t.Helper()
	set := pflag.NewFlagSet("workerd", pflag.ContinueOnError)
	in.Flags = BindFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	if in.Data != nil && in.File == "" {
		in.File = "w.yaml"
	}
	return Load(in)
}

func mustLoad(t *testing.T, in Input, args ...string) *Config {
	t.Helper()
	cfg, err := load(t, in, args...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestExampleFileLoads(t *testing.T) {
	data, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg := mustLoad(t, Input{File: "example.yaml", Data: data})
	if len(cfg.Pools) != 2 || cfg.Pools[1].Memory.Soft != 1500<<20 || cfg.Pools[1].Memory.Hard != 2<<30 {
		t.Errorf("pools: %+v", cfg.Pools)
	}
	if len(cfg.Warnings)+len(cfg.Notes) > 0 {
		t.Error(cfg.Warnings, cfg.Notes)
	}
	// The file says that it has every key, and that its values are the defaults but for those marked.
	def := Default()
	def.Pools = []Pool{DefaultPool()}
	def.Alerts = []Alert{DefaultAlert()}
	marked := []string{
		"queues", "alerts.0.webhook", "pools.rails.name", "pools.rails.mode", "pools.rails.command", "pools.rails.processes",
		"pools.rails.env", "pools.rails.memory.soft", "pools.rails.memory.hard",
	}
	defaults := map[string]any{}
	for _, l := range def.leaves() {
		defaults[strings.Replace(l.path, "pools.0.", "pools.rails.", 1)] = l.value.Interface()
	}
	for _, l := range cfg.leaves() {
		if l.pool == 0 {
			continue
		}
		if cfg.origins[l.path].Kind != FromFile && l.key != "pools.rails.env" {
			t.Errorf("example.yaml leaves out %s", l.key)
		}
		if want := defaults[l.key]; !slices.Contains(marked, l.key) && !reflect.DeepEqual(want, l.value.Interface()) {
			t.Errorf("%s is %v in example.yaml, its default is %v", l.key, l.value.Interface(), want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := []byte("nats: {url: nats://file}\nshutdown: {timeout: 10s}\n" + minimal)
	env := []string{"SERIATIM_NATS_URL=nats://env", "SERIATIM_SHUTDOWN_KILL_AFTER=7s", "SERIATIM_POOLS_A_CONCURRENCY=9", "SERIATIM_NATS_CREDS="}
	cfg := mustLoad(t, Input{Data: file, Env: env}, "-s", "nats://flag", "--queue", "x", "--queue", "y")
	got := map[string]string{}
	for _, s := range cfg.Settings() {
		got[s.Key] = s.Value + " | " + s.Origin
	}
	for key, want := range map[string]string{
		"nats.url":               "nats://flag | flag --server",
		"nats.creds":             " | default",
		"shutdown.timeout":       "10s | w.yaml:2",
		"shutdown.kill_after":    "7s | env SERIATIM_SHUTDOWN_KILL_AFTER",
		"queues":                 "x,y | flag --queue",
		"pools.a.concurrency":    "9 | env SERIATIM_POOLS_A_CONCURRENCY",
		"pools.a.command":        "[./a] | w.yaml:4",
		"pools.a.memory.check":   "3s | default",
		"http":                   "127.0.0.1:7433 | default",
		"pools.a.memory.soft":    "0 | default",
		"pools.a.kinds":          `["*"] | default`,
		"pools.a.restart.jitter": "0.1 | default",
	} {
		if got[key] != want {
			t.Errorf("%s: got %q, want %q", key, got[key], want)
		}
	}
	if cfg.NATS.URL != "nats://flag" || cfg.Shutdown.Timeout != 10*time.Second || cfg.Pools[0].Concurrency != 9 {
		t.Errorf("%+v", cfg)
	}
	if o := cfg.Origin("pools.a.concurrency"); o.Name != "SERIATIM_POOLS_A_CONCURRENCY" {
		t.Error(o)
	}
}

func TestCommandLineForm(t *testing.T) {
	cfg := mustLoad(t, Input{Command: []string{"./handle.sh", "-x"}}, "--queue", "ci")
	p := cfg.Pools[0]
	if len(cfg.Pools) != 1 || p.Mode != ModeExec || !slices.Equal(p.Kinds, []string{"*"}) || !slices.Equal(p.Command, []string{"./handle.sh", "-x"}) {
		t.Errorf("%+v", cfg.Pools)
	}
	if cfg.Origin("pools.main.command").String() != "flag --" || cfg.PoolFor("anything") != 0 {
		t.Error(cfg.Settings())
	}
	cfg = mustLoad(t, Input{Command: []string{"c"}}, "--queue", "ci=3", "--queue", "mail=1", "--mode", "pool", "--processes", "3",
		"--concurrency", "2", "--kind", "k", "--id", "w1", "--log-level", "debug", "--log-format", "json", "--kill-after", "1s",
		"--shutdown-timeout", "0", "--tls-ca", "ca", "--tls-cert", "c", "--tls-key", "k", "--creds", "f", "--context", "x", "--http", "")
	p = cfg.Pools[0]
	if p.Mode != ModePool || p.Processes != 3 || p.Concurrency != 2 || p.Kinds[0] != "k" || !cfg.Queues.Weighted || cfg.HTTP != "" || cfg.Shutdown.Timeout != 0 {
		t.Errorf("%+v", cfg)
	}
}

func TestQueuesAsWeights(t *testing.T) {
	cfg := mustLoad(t, Input{Data: []byte("queues: {ci: 3, mail: 1}\npools: [{name: a, command: [./a]}]\n")})
	if cfg.Queues.String() != "ci=3,mail=1" || !slices.Equal(cfg.Queues.Names(), []string{"ci", "mail"}) {
		t.Error(cfg.Queues)
	}
	cfg = mustLoad(t, Input{Data: []byte(minimal), Env: []string{"SERIATIM_QUEUES=x, y"}})
	if cfg.Queues.String() != "x,y" {
		t.Error(cfg.Queues)
	}
}

func TestYAMLForms(t *testing.T) {
	cfg := mustLoad(t, Input{Data: []byte(`
queues: [ci]
http:
pools:
  - &base {name: a, kinds: [a], command: [./a, 5, true], env: {PORT: 3000, ON: true, EMPTY: }, concurrency: 7}
  - {<<: *base, name: b, kinds: ["*"]}
`)})
	if got := cfg.Pools[1]; got.Name != "b" || got.Concurrency != 7 || !slices.Equal(got.Command, []string{"./a", "5", "true"}) {
		t.Errorf("%+v", got)
	}
	if want := map[string]string{"PORT": "3000", "ON": "true", "EMPTY": ""}; !reflect.DeepEqual(cfg.Pools[0].Env, want) {
		t.Error(cfg.Pools[0].Env)
	}
	if cfg.HTTP != Default().HTTP {
		t.Errorf("a key without a value is the default, not %q", cfg.HTTP)
	}
}

func TestWarnings(t *testing.T) {
	cfg := mustLoad(t, Input{
		Data: []byte("queues: [ci]\npools: [{name: a, kinds: [x], command: [./a]}, {name: b, kinds: [x, y], command: [./b]}]"),
		Env:  []string{"SERIATIM_NATS_ULR=x", "SERIATIM_HTTP_PORT=80", "SERIATIM_PORT=tcp://1.2.3.4", "SERIATIM_SERVICE_HOST=h", "SERIATIM_FDS=3,4"},
	})
	want := []string{
		"SERIATIM_NATS_ULR is no setting; did you mean SERIATIM_NATS_URL?",
		`kind "x" of pool b goes to pool a, which lists it first`,
		`no pool has kinds ["*"]: jobs of a kind that is not listed are given back and wait for another workerd`,
	}
	if !slices.Equal(cfg.Warnings, want) {
		t.Errorf("got %q", cfg.Warnings)
	}
	if cfg.PoolFor("x") != 0 || cfg.PoolFor("y") != 1 || cfg.PoolFor("z") != -1 {
		t.Error("PoolFor")
	}
}

func TestSettingsThatHaveNoMeaningInModeExec(t *testing.T) {
	cfg := mustLoad(t, Input{Data: []byte(`
queues: [ci]
pools:
  - {name: a, kinds: [a], command: [./a], restart: {max_age: 1h}, memory: {mode: legacy, hard: 1GiB}}
  - {name: b, command: [./b], mode: pool, restart: {max_age: 1h}, memory: {mode: legacy, hard: 1GiB}}
`)})
	want := []string{
		"restart.max_jobs and max_age of pool a have no meaning in mode exec, which starts a process per job",
		"memory.mode legacy looks after jobs, and after a job of pool a, which is in mode exec, its process is gone: it is looked at as in mode daemon",
	}
	if !slices.Equal(cfg.Warnings, want) {
		t.Errorf("got %q", cfg.Warnings)
	}
}

func TestShowHidesSecrets(t *testing.T) {
	cfg := mustLoad(t, Input{Data: []byte(`
queues: [ci]
nats: {url: "nats://bob:pw@a:4222,nats://token@b:4222,nats://c"}
pools: [{name: a, command: [sh, -c, "a b"], env: {DB_PASSWORD: pw, API_KEY: k, DATABASE_URL: "postgres://u:p@h/d", PLAIN: v}}]
`)})
	got := map[string]string{}
	for _, s := range cfg.Settings() {
		got[s.Key] = s.Value
	}
	for key, want := range map[string]string{
		"nats.url":        "nats://bob:(hidden)@a:4222,nats://(hidden)@b:4222,nats://c",
		"pools.a.env":     "{API_KEY: (hidden), DATABASE_URL: postgres://u:(hidden)@h/d, DB_PASSWORD: (hidden), PLAIN: v}",
		"pools.a.command": `[sh, -c, "a b"]`,
	} {
		if got[key] != want {
			t.Errorf("%s: got %s, want %s", key, got[key], want)
		}
	}
}

func TestReadFile(t *testing.T) {
	path := t.TempDir() + "/w.yaml"
	if err := os.WriteFile(path, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	set := pflag.NewFlagSet("workerd", pflag.ContinueOnError)
	flags := BindFlags(set)
	cfg, err := Read(flags, []string{EnvConfig + "=" + path}, nil)
	if err != nil || cfg.Origin("queues").String() != path+":1" {
		t.Fatal(err, cfg)
	}
	if err := set.Parse([]string{"--config", path + ".no"}); err != nil {
		t.Fatal(err)
	}
	var errs Errors
	if _, err = Read(flags, []string{EnvConfig + "=" + path}, nil); !errors.As(err, &errs) || !strings.Contains(err.Error(), path+".no") {
		t.Error(err)
	}
	var one *Error
	if !errors.As(err, &one) {
		t.Error("an Errors unwraps to its Error values")
	}
}

func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example, "SERIATIM_NATS_URL=x")
	f.Add([]byte(minimal), "SERIATIM_POOLS_A_MEMORY_SOFT=1GiB")
	f.Add([]byte("a: &a {<<: *a}\n"), "SIDEKIQ_COUNT=3")
	f.Add([]byte("queues: {ci: 3}\npools: [{<<: [{name: x}]}]"), "SIDEKIQ_MEMORY_KILLER_MAX_RSS=2000000")
	f.Fuzz(func(t *testing.T, data []byte, env string) {
		cfg, err := Load(Input{File: "f", Data: data, Env: []string{env}})
		if (cfg == nil) != (err != nil) {
			t.Fatal("a configuration or an error, never both")
		}
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("%T", err)
			}
			return
		}
		cfg.Settings()
		if len(cfg.Pools) == 0 || len(cfg.Queues.List) == 0 {
			t.Fatal("loaded without pools or queues")
		}
	})
}
