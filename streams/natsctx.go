package streams

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/seriatim/seriatim/internal/problem"
)

// The nats tool keeps contexts as <configuration folder>/nats/context/<name>.json, and the name of the selected one in
// nats/context.txt. natscontext reads one; this file lists them, so that a misspelt name can be answered with the
// right ones.

// SelectedContext is the context that `nats context select` chose, or "". A command for people starts from it; a
// daemon does not, because what somebody selected in a shell is no configuration.
func SelectedContext() string {
	dir, err := contextDir()
	if err != nil {
		return ""
	}
	name, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "context.txt"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// KnownContexts are the names of all contexts, sorted.
func KnownContexts() []string {
	dir, err := contextDir()
	if err != nil {
		return nil
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".json"); ok && name != "" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// contextDir follows the nats tool: XDG_CONFIG_HOME, else .config of the home folder, on every system.
func contextDir() (string, error) {
	parent := os.Getenv("XDG_CONFIG_HOME")
	if parent == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		parent = filepath.Join(home, ".config")
	}
	return filepath.Join(parent, "nats", "context"), nil
}

func (o Options) checkContext(op string) error {
	if o.Context == "" {
		return nil
	}
	path := o.Context
	if !filepath.IsAbs(path) {
		dir, err := contextDir()
		if err != nil {
			return problem.New(op, fmt.Errorf("%w: %w", ErrUnknownContext, err), "")
		}
		path = filepath.Join(dir, o.Context+".json")
	}
	if strings.Contains(o.Context, "..") || !filepath.IsAbs(o.Context) && strings.ContainsRune(o.Context, filepath.Separator) {
		return problem.New(op, fmt.Errorf("%w: %q is no name", ErrUnknownContext, o.Context), knownHint())
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return problem.New(op, ErrUnknownContext, knownHint())
	} else if err != nil {
		return problem.New(op, err, "")
	}
	return nil
}

func knownHint() string {
	known := KnownContexts()
	if len(known) == 0 {
		return "there are none yet; make one with: nats context add <name> --server <url>"
	}
	return "known contexts: " + strings.Join(known, ", ")
}
