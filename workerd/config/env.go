package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seriatim/seriatim/internal/nearest"
)

// EnvPrefix begins the name of every variable that sets a key.
const EnvPrefix = "SERIATIM_"

// EnvConfig names the file, like --config.
const EnvConfig = EnvPrefix + "CONFIG"

// EnvName is the variable of a key: SERIATIM_NATS_URL for nats.url, SERIATIM_POOLS_RAILS_MEMORY_SOFT for
// pools.rails.memory.soft.
func EnvName(key string) string {
	return EnvPrefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

// environment is os.Environ() as a map; a later entry wins, as for a C library that appends.
func environment(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, e := range env {
		if name, value, ok := strings.Cut(e, "="); ok {
			m[name] = value
		}
	}
	return m
}

// applyEnv lays the SERIATIM_ variables over cfg. An empty variable counts as not set, as templates leave them. A
// variable that is no key is never an error (Kubernetes sets SERIATIM_PORT for a service called seriatim), but one
// that looks like a slip gives a warning.
func applyEnv(cfg *Config, vars map[string]string) Errors {
	var errs Errors
	byName := map[string]leaf{}
	twice := map[string]string{}
	names := []string{EnvConfig}
	for _, l := range cfg.leaves() {
		if l.value.Type() == envType || l.inPool("command") || strings.HasSuffix(l.key, ".command") || l.inPool("name") {
			continue // maps, command lines and the names that variables are made from have no variable
		}
		if l.pool >= 0 && cfg.Pools[l.pool].Name == "" {
			continue
		}
		name := EnvName(l.key)
		if other, ok := byName[name]; ok {
			twice[name] = other.key
		}
		byName[name] = l
		names = append(names, name)
	}
	for _, name := range sortedNames(vars) {
		value := vars[name]
		if value == "" {
			continue
		}
		where := Origin{Kind: FromEnv, Name: name}
		l, ok := byName[name]
		if !ok {
			if n := nearest.Word(name, names); n != "" && closeTo(name, n) {
				cfg.Warnings = append(cfg.Warnings, fmt.Sprintf("%s is no setting; did you mean %s?", name, n))
			}
			continue
		}
		if other := twice[name]; other != "" {
			errs = append(errs, &Error{Where: where, Msg: fmt.Sprintf("may mean %s or %s: set them in the file", other, l.key)})
			continue
		}
		if err := setText(l.value, value); err != nil {
			errs = append(errs, &Error{Where: where, Key: l.key, Msg: err.Error()})
			continue
		}
		cfg.origins[l.path] = where
	}
	return errs
}

// closeTo is stricter than nearest, whose third of a long name is many letters: a slip differs in a letter or two and
// hardly in length. It keeps Kubernetes' SERIATIM_HTTP_PORT from being called a slip.
func closeTo(name, known string) bool {
	if strings.HasPrefix(name, known+"_") || strings.HasPrefix(known, name+"_") {
		return false
	}
	d := len(name) - len(known)
	if d < -2 || d > 2 {
		return false
	}
	a, b := []byte(name), []byte(known)
	slices.Sort(a)
	slices.Sort(b)
	// The letters without their order must be all but the same; a swap leaves them the same.
	differ, i, j := 0, 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			i++
			j++
		case a[i] < b[j]:
			differ++
			i++
		default:
			differ++
			j++
		}
	}
	return differ+len(a)-i+len(b)-j <= 2
}

func sortedNames(vars map[string]string) []string {
	var names []string
	for name := range vars {
		if strings.HasPrefix(name, EnvPrefix) && name != EnvConfig {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
