package lifecycle

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fdsVariable tells a child with frames where they are.
const fdsVariable = "SERIATIM_FDS"

// ours reports whether a variable is part of what a child is told, so that an inherited one must not shine through: a
// workerd may itself run as a job.
func ours(name string) bool {
	return strings.HasPrefix(name, "JOB_") || name == "TRACEPARENT" || name == fdsVariable
}

// reserved reports whether a variable is set by workerd itself, so that a pool cannot set it. An inherited mark is kept
// where no other one is set: it is of a workerd that this one runs under, and our children are that one's too.
func reserved(name string) bool { return ours(name) || name == MarkVariable }

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }

// baseEnv is workerd's own environment with the user's and the pool's on top.
func (c *Config) baseEnv(who identity) []string {
	added := maps.Clone(who.env)
	if added == nil {
		added = map[string]string{}
	}
	maps.Copy(added, c.Env)
	var env []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if _, replaced := added[name]; !replaced && !ours(name) {
			env = append(env, entry)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(added)) {
		env = append(env, name+"="+added[name])
	}
	return slices.Clip(env)
}

// jobEnv is the environment of a job's process. An error means that no process can be told this job.
func jobEnv(base []string, j *Job) ([]string, error) {
	env := append(base,
		"JOB_QUEUE="+j.Queue,
		"JOB_ENTITY="+j.Entity,
		"JOB_TYPE="+j.Type,
		"JOB_ENTITY_ID="+j.EntityID,
		"JOB_KIND="+j.Kind,
		"JOB_ID="+j.ID,
		"JOB_SEQ="+strconv.FormatUint(j.Seq, 10),
		"JOB_FENCE="+strconv.FormatUint(j.Fence, 10),
		"JOB_ATTEMPT="+strconv.Itoa(j.Attempt),
		"JOB_TIMEOUT="+seconds(j.Timeout),
	)
	if j.Traceparent != "" {
		env = append(env, "TRACEPARENT="+j.Traceparent)
	}
	seen := make(map[string]bool, len(j.Headers))
	for _, header := range slices.Sorted(maps.Keys(j.Headers)) {
		// Two headers may have the same name as a variable; the first in order is the one, always the same.
		if name := headerVariable(header); !seen[name] {
			seen[name] = true
			env = append(env, name+"="+j.Headers[header])
		}
	}
	if i := slices.IndexFunc(env[len(base):], hasNUL); i >= 0 {
		name, _, _ := strings.Cut(env[len(base)+i], "=")
		return nil, fmt.Errorf("%s has a NUL byte, which no environment variable can carry", name)
	}
	return env, nil
}

// headerVariable is JOB_HEADER_ and the header's name in upper case, with _ for whatever a shell would not take.
func headerVariable(header string) string {
	return "JOB_HEADER_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, header)
}

// seconds writes a duration so that both Go and timeout(1) read it: 90s, 0.5s; 0s is no limit.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}
