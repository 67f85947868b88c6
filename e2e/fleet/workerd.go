package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seriatim/seriatim/internal/problem"
)

// Pool is one pool of a workerd's configuration.
type Pool struct {
	Name        string            `yaml:"name"`
	Kinds       []string          `yaml:"kinds,flow"`
	Mode        string            `yaml:"mode"`
	Command     []string          `yaml:"command,flow"`
	Processes   int               `yaml:"processes,omitempty"`
	Concurrency int               `yaml:"concurrency,omitempty"`
	Env         map[string]string `yaml:"env,omitempty"`
	Memory      map[string]string `yaml:"memory,omitempty"`
}

// Worker is a workerd as it is started, each time it is started.
type Worker struct {
	// Name is the worker's in records and logs; each of its lives has an id of its own made from it.
	Name string
	// Binary is the built workerd, Dir where configuration and log go, Mark the fleet's folder.
	Binary, Dir, Mark string
	// URL is the server's, or that of a Proxy before it.
	URL string
	// Domain is the JetStream domain of the queues, when it is not the server's.
	Domain string
	// TLS has ca, cert and key, as in the configuration; none is no TLS.
	TLS   map[string]string
	Queue string
	// Queues, in order of preference, or Weights, by queue, are served instead of Queue.
	Queues  []string
	Weights map[string]int
	Pools   []Pool
	// Timeout and KillAfter are the bounds of a stop; 0 is 10 s and 1 s.
	Timeout, KillAfter time.Duration
	// Debug makes the log tell of each start.
	Debug bool
	// Env is added to the own environment.
	Env []string

	lives int
}

// Start begins a life. It does not wait until the workerd takes jobs: see Running.
func (w *Worker) Start() (*Process, error) {
	w.lives++
	config := filepath.Join(w.Dir, w.Name+".yaml")
	if err := w.write(config); err != nil {
		return nil, problem.New("configure worker "+w.Name, err, "")
	}
	return Start(Program{
		Name: "worker " + w.Name, Path: w.Binary, Args: []string{"--config", config}, Env: w.Env,
		Log: filepath.Join(w.Dir, w.Name+"."+fmt.Sprint(w.lives)+".log"), Mark: w.Mark,
	})
}

func (w *Worker) write(path string) error {
	level := "info"
	if w.Debug {
		level = "debug"
	}
	or := func(d, otherwise time.Duration) string {
		if d == 0 {
			d = otherwise
		}
		return d.String()
	}
	var queues any = []string{w.Queue}
	switch {
	case len(w.Queues) > 0:
		queues = w.Queues
	case len(w.Weights) > 0:
		queues = w.Weights
	}
	text, err := yaml.Marshal(map[string]any{
		"id":       fmt.Sprintf("%s.%d", w.Name, w.lives),
		"nats":     map[string]any{"url": w.URL, "domain": w.Domain, "tls": w.TLS},
		"queues":   queues,
		"http":     "",
		"shutdown": map[string]string{"timeout": or(w.Timeout, 10*time.Second), "kill_after": or(w.KillAfter, time.Second)},
		"log":      map[string]string{"level": level, "format": "json"},
		"pools":    w.Pools,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// Running waits until the workerd says that it takes jobs.
func Running(ctx context.Context, p *Process) error {
	for {
		said, err := Said(p.Log, func(line LogLine) bool { return line.Message == "running" })
		if err != nil || said {
			return err
		}
		select {
		case <-p.Done():
			return problem.New("start "+p.Name, fmt.Errorf("it ended: %w", p.Wait(ctx)), "see "+p.Log)
		case <-ctx.Done():
			return problem.New("start "+p.Name, context.Cause(ctx), "see "+p.Log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// LogLine is a line of a workerd's log.
type LogLine struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Message string    `json:"message"`
	Entity  string    `json:"entity"`
	Error   string    `json:"error"`
	Paused  bool      `json:"paused"`
}

// Said looks for a line in a log. Lines that are no JSON are passed over: a program that dies prints such.
func Said(log string, match func(LogLine) bool) (bool, error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return false, problem.New("read log", err, "")
	}
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var l LogLine
		if json.Unmarshal(in.Bytes(), &l) == nil && match(l) {
			return true, nil
		}
	}
	return false, problem.New("read log "+log, in.Err(), "")
}
