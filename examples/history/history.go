// Package history replays a real history as jobs: every operation on a file of a repository is a job, every file is
// an entity, and an operation fits only the state that the one before it left. So whatever runs the jobs twice, out of
// order, or two of one file at once, is found out.
//
// Load reads the history and refuses one that does not fit together. An Applier applies operations to a folder of
// states, in any number of processes, and refuses what does not fit. Compare says what is wrong at the end.
package history

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed" // for the history itself
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/internal/problem"
)

// None is the hash of a file that is not there.
const None = "0000000000000000"

// EntityType is the type of all entities of the history.
const EntityType = "file"

// ErrHistory is a history that is not well formed, or in which an operation does not fit the state before it.
var ErrHistory = errors.New("not a history")

// Op is one operation.
type Op struct {
	// N is its number, from 1.
	N int
	// Commit is the number of its commit, from 1.
	Commit int
	// Kind is "A", "M" or "D".
	Kind string
	// Old and New are the hashes of the content before and after; None for "not there".
	Old, New string
	Path     string
}

// Entity is the raw form of the file's entity.
func (o Op) Entity() string { return EntityType + "." + o.Path }

// Change is the body of an operation's job.
type Change struct {
	N   int    `json:"n"`
	Op  string `json:"op"`
	Old string `json:"old"`
	New string `json:"new"`
}

//go:embed history.tsv.gz
var embedded []byte

// All is the whole history that comes with this package.
func All() ([]Op, error) { return Load(bytes.NewReader(embedded)) }

// Load reads a compressed history. Errors are ErrHistory, with the line, and those of r.
func Load(r io.Reader) ([]Op, error) {
	plain, err := gzip.NewReader(r)
	if err != nil {
		return nil, problem.New("load history", err, "")
	}
	var ops []Op
	now := map[string]string{}
	lines := bufio.NewScanner(plain)
	for lines.Scan() {
		op, err := parse(lines.Text())
		if err == nil {
			op.N = len(ops) + 1
			err = fits(op, now)
		}
		if err != nil {
			return nil, problem.New(fmt.Sprintf("load history: line %d", len(ops)+1), fmt.Errorf("%w: %w", ErrHistory, err), "")
		}
		now[op.Path] = op.New
		ops = append(ops, op)
	}
	return ops, problem.New("load history", lines.Err(), "")
}

func parse(line string) (Op, error) {
	f := strings.Split(line, "\t")
	if len(f) != 5 {
		return Op{}, fmt.Errorf("%d columns, not 5", len(f))
	}
	commit, err := strconv.Atoi(f[0])
	if err != nil {
		return Op{}, err
	}
	for _, hash := range f[2:4] {
		if _, err := strconv.ParseUint(hash, 16, 64); err != nil || len(hash) != len(None) {
			return Op{}, fmt.Errorf("%q is no hash", hash)
		}
	}
	return Op{Commit: commit, Kind: f[1], Old: f[2], New: f[3], Path: f[4]}, nil
}

func fits(op Op, now map[string]string) error {
	current, ok := now[op.Path]
	if !ok {
		current = None
	}
	kind := map[[2]bool]string{{false, true}: "A", {true, true}: "M", {true, false}: "D"}[[2]bool{op.Old != None, op.New != None}]
	switch {
	case op.Path == "":
		return errors.New("no path")
	case op.Old != current:
		return fmt.Errorf("the file is at %s, not at %s", current, op.Old)
	case op.Kind != kind:
		return fmt.Errorf("operation %q does not fit its hashes", op.Kind)
	}
	return nil
}

// Final is what must exist after all of ops: path to hash.
func Final(ops []Op) map[string]string {
	state := map[string]string{}
	for _, op := range ops {
		if op.New == None {
			delete(state, op.Path)
		} else {
			state[op.Path] = op.New
		}
	}
	return state
}

// Expected is ops as the checker of a record wants them.
func Expected(ops []Op) []record.Job {
	jobs := make([]record.Job, len(ops))
	for i, op := range ops {
		jobs[i] = record.Job{Op: op.N, Entity: op.Entity()}
	}
	return jobs
}

// WriteImport writes ops as lines for `coordinator job import`. Every shellEvery-th job is of kind "shell", the others
// of kind "apply"; 0 means none.
func WriteImport(w io.Writer, ops []Op, shellEvery int) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, op := range ops {
		line := struct {
			Entity string `json:"entity"`
			Kind   string `json:"kind"`
			ID     string `json:"id"`
			Data   Change `json:"data"`
		}{op.Entity(), "apply", "h-" + strconv.Itoa(op.N), Change{op.N, op.Kind, op.Old, op.New}}
		if shellEvery > 0 && op.N%shellEvery == 0 {
			line.Kind = "shell"
		}
		if err := enc.Encode(line); err != nil {
			return problem.New("write jobs", err, "")
		}
	}
	return problem.New("write jobs", out.Flush(), "")
}
