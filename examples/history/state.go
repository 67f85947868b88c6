package history

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// state is what one file of the state folder says. A file that was deleted keeps its state, so that an operation
// which comes again is recognised.
type state struct {
	Entity string `json:"entity"`
	// N is the last operation that was applied, 0 for none.
	N    int    `json:"n"`
	Hash string `json:"hash"`
}

// fileName is the entity's name in a folder. A hash, because an entity may be longer than a file name and hold any
// character.
func fileName(entity string) string {
	sum := sha256.Sum256([]byte(entity))
	return hex.EncodeToString(sum[:16])
}

func readState(path, entity string) (state, error) {
	s := state{Entity: entity, Hash: None}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return state{}, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return state{}, fmt.Errorf("read state %s: %w", path, err)
	}
	if s.Entity != entity {
		return state{}, fmt.Errorf("read state %s: it is of %q, not of %q", path, s.Entity, entity)
	}
	return s, nil
}

// writeState replaces the state as a whole: a process that dies in it leaves the old one.
func writeState(path string, s state) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Compare reads the state folder that all of ops were applied to and says how many files exist in it, and what is
// otherwise than it must be, one sentence each.
func Compare(dir string, ops []Op) (exist int, differences []string, err error) {
	type want struct {
		n    int
		hash string
	}
	wanted := map[string]want{}
	for _, op := range ops {
		wanted[op.Entity()] = want{op.N, op.New}
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return 0, nil, err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, nil, err
		}
		var s state
		if err := json.Unmarshal(text, &s); err != nil {
			return 0, nil, fmt.Errorf("read state %s: %w", path, err)
		}
		if s.Hash != None {
			exist++
		}
		w, ok := wanted[s.Entity]
		delete(wanted, s.Entity)
		switch {
		case !ok:
			differences = append(differences, fmt.Sprintf("%s: nothing should have touched it", s.Entity))
		case s.Hash != w.hash || s.N != w.n:
			differences = append(differences, fmt.Sprintf("%s: at %s after operation %d, not at %s after operation %d",
				s.Entity, s.Hash, s.N, w.hash, w.n))
		}
	}
	for entity := range wanted {
		differences = append(differences, entity+": no operation reached it")
	}
	slices.Sort(differences)
	return exist, differences, nil
}
