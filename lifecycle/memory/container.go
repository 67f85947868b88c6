package memory

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// nearlyFull is the share of a container's limit from which on there is no time left for a grace.
const nearlyFull = 0.95

// unlimited is more than any machine has; version 1 says "no limit" with a number like it.
const unlimited = 1 << 60

// Container is the control groups that this process lives in, of version 1 or 2, with those around them. The zero value
// has no limit. It reads files whenever it is asked; any goroutine may ask.
type Container struct {
	levels []level // its own first
}

type level struct {
	dir     string
	limit   string // file with the limit
	usage   string
	cache   string // key in memory.stat of the pages that the kernel would give back first
	oomFile string // file with a line `oom_kill <n>`
}

// FindContainer finds the control groups of this process by the files below proc, normally /proc/self. A level whose
// limit cannot be read has none.
func FindContainer(proc string) *Container {
	c := &Container{}
	own := cgroupPaths(filepath.Join(proc, "cgroup"))
	for _, m := range cgroupMounts(filepath.Join(proc, "mountinfo")) {
		path, ok := own[m.v2]
		if !ok {
			continue
		}
		// A container may see a part of the tree only, mounted at its own place.
		inside, under := strings.CutPrefix(path, strings.TrimSuffix(m.root, "/"))
		if !under || inside != "" && inside[0] != '/' {
			inside = ""
		}
		for dir := filepath.Join(m.dir, inside); ; dir = filepath.Dir(dir) {
			l := level{dir: dir, limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", cache: "total_inactive_file", oomFile: "memory.oom_control"}
			if m.v2 {
				l = level{dir: dir, limit: "memory.max", usage: "memory.current", cache: "inactive_file", oomFile: "memory.events"}
			}
			c.levels = append(c.levels, l)
			if len(dir) <= len(m.dir) {
				break
			}
		}
	}
	return c
}

// NearlyFull reports whether the container, or one around it, uses at least 95 % of its limit, without the files that
// the kernel keeps in memory because there was room.
func (c *Container) NearlyFull() bool {
	for _, l := range c.levels {
		limit, ok := number(l.read(l.limit))
		if !ok || limit <= 0 || limit >= unlimited {
			continue
		}
		usage, ok := number(l.read(l.usage))
		if !ok {
			continue
		}
		cache, _ := number(line(l.read("memory.stat"), l.cache))
		if float64(usage-cache) >= nearlyFull*float64(limit) {
			return true
		}
	}
	return false
}

// OOMKills is how many processes of the container the kernel has killed for want of memory; false when it does not say.
func (c *Container) OOMKills() (int64, bool) {
	for _, l := range c.levels {
		if n, ok := number(line(l.read(l.oomFile), "oom_kill")); ok {
			return n, true // the own level's
		}
	}
	return 0, false
}

func (l level) read(name string) []byte {
	b, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		return nil
	}
	return b
}

// line is what stands after the key in a file of `key value` lines.
func line(file []byte, key string) []byte {
	for rest := file; len(rest) > 0; {
		var l []byte
		l, rest, _ = bytes.Cut(rest, []byte("\n"))
		if value, ok := bytes.CutPrefix(l, append([]byte(key), ' ')); ok {
			return value
		}
	}
	return nil
}

func number(b []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return n, err == nil
}

// cgroupPaths reads /proc/self/cgroup: the path in the hierarchy of version 2, and in version 1's for memory.
func cgroupPaths(file string) map[bool]string {
	paths := map[bool]string{}
	eachLine(file, func(text string) {
		parts := strings.SplitN(text, ":", 3)
		if len(parts) != 3 {
			return
		}
		if parts[0] == "0" && parts[1] == "" {
			paths[true] = parts[2]
		}
		for _, controller := range strings.Split(parts[1], ",") {
			if controller == "memory" {
				paths[false] = parts[2]
			}
		}
	})
	return paths
}

type cgroupMount struct {
	v2        bool
	root, dir string
}

// cgroupMounts reads /proc/self/mountinfo: id, parent, device, root, mount point, options, more, -, type, source, options.
func cgroupMounts(file string) (mounts []cgroupMount) {
	eachLine(file, func(text string) {
		before, after, found := strings.Cut(text, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(kind) < 3 {
			return
		}
		m := cgroupMount{v2: kind[0] == "cgroup2", root: fields[3], dir: fields[4]}
		if m.v2 || kind[0] == "cgroup" && hasOption(kind[2], "memory") {
			mounts = append(mounts, m)
		}
	})
	return mounts
}

func hasOption(options, name string) bool {
	for _, o := range strings.Split(options, ",") {
		if o == name {
			return true
		}
	}
	return false
}

func eachLine(file string, f func(string)) {
	in, err := os.Open(file)
	if err != nil {
		return
	}
	defer in.Close()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		f(lines.Text())
	}
}
