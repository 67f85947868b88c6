package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seriatim/seriatim/internal/problem"
)

const module = "github.com/seriatim/seriatim"

// programs are the binaries of a fleet and their packages.
var programs = map[string]string{
	"workerd":       "workerd",
	"coordinator":   "coordinator",
	"history-child": "examples/history/child",
	"history-demo":  "examples/history/demo",
	"child":         "e2e/child",
}

// Build is how to build a binary.
type Build struct {
	// Name is the binary's: workerd, coordinator, history-child, history-demo or child.
	Name string
	// Dir is where it is put.
	Dir string
	// Broken names rules that a workerd has to do without, so that a test or a demo can prove that they are needed.
	Broken string
	// Race builds with the race detector, where there is a C compiler.
	Race bool
}

// Run builds, and returns the binary's path.
func (b Build) Run(ctx context.Context) (string, error) {
	pkg, ok := programs[b.Name]
	if !ok {
		return "", fmt.Errorf("build %s: there is no such program", b.Name)
	}
	path := filepath.Join(b.Dir, b.Name)
	args := []string{"build", "-o", path}
	cgo := "0"
	if b.Race && canRace() {
		args, cgo = append(args, "-race"), "1"
	}
	if b.Broken != "" {
		args = append(args, "-ldflags", "-X "+module+"/streams/lane.broken="+b.Broken)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, module+"/"+pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", problem.New("build "+b.Name, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))), "")
	}
	return path, nil
}

// canRace says whether the race detector can be built: it needs a C compiler.
func canRace() bool {
	for _, cc := range []string{os.Getenv("CC"), "gcc", "clang", "cc"} {
		if cc == "" {
			continue
		}
		if _, err := exec.LookPath(cc); err == nil {
			return true
		}
	}
	return false
}
