package memory

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// files writes a tree of files and returns its root; %s in a text becomes the root.
func files(t *testing.T, texts map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range texts {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if name == "self/mountinfo" {
			text = fmt.Sprintf(text, root)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const mib = 1 << 20

func TestContainers(t *testing.T) {
	const v2Mount = "35 31 0:32 / %s/cg rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
	const v1Mount = "35 31 0:32 /docker/abc %s/cg rw,relatime - cgroup cgroup rw,memory\n"
	v2 := func(limit string, usage, cache int64) map[string]string {
		return map[string]string{
			"self/cgroup": "0::/a/b\n", "self/mountinfo": v2Mount,
			"cg/a/b/memory.max": limit + "\n", "cg/a/b/memory.current": fmt.Sprintln(usage),
			"cg/a/b/memory.stat":   fmt.Sprintf("anon 1\ninactive_file %d\nactive_file 2\n", cache),
			"cg/a/b/memory.events": "low 0\noom 5\noom_kill 3\noom_group_kill 0\n",
		}
	}
	with := func(m map[string]string, more ...string) map[string]string {
		m = maps.Clone(m)
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	v1 := map[string]string{
		"self/cgroup": "5:devices:/x\n4:memory:/docker/abc/sub\n0::/\n", "self/mountinfo": v1Mount + "36 31 0:33 / /nowhere rw - cgroup cgroup rw,devices\n",
		"cg/sub/memory.limit_in_bytes": "9223372036854771712\n", "cg/sub/memory.usage_in_bytes": "5\n",
		"cg/sub/memory.oom_control":  "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"cg/memory.limit_in_bytes":   fmt.Sprintln(100 * mib),
		"cg/memory.usage_in_bytes":   fmt.Sprintln(99 * mib),
		"cg/memory.stat":             fmt.Sprintf("total_inactive_file %d\n", 1*mib),
		"cg/sub/deeper/memory.stat":  "",
		"cg/../elsewhere/memory.max": "1\n",
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		full  bool
		kills int64
		known bool
	}{
		{"none", nil, false, 0, false},
		{"v2 without a limit", v2("max", 99*mib, 0), false, 3, true},
		{"v2 below", v2(fmt.Sprint(100*mib), 94*mib, 0), false, 3, true},
		{"v2 full", v2(fmt.Sprint(100*mib), 95*mib, 0), true, 3, true},
		{"v2 full of files", v2(fmt.Sprint(100*mib), 99*mib, 10*mib), false, 3, true},
		{"v2 full further up", with(v2("max", 0, 0), "cg/a/memory.max", "100", "cg/a/memory.current", "100"), true, 3, true},
		{"v2 without usage", with(v2("100", 0, 0), "cg/a/b/memory.current", "?"), false, 3, true},
		{"v1 full, in a container's own mount", v1, true, 2, true},
		{"v1 below", with(v1, "cg/memory.stat", fmt.Sprintf("total_inactive_file %d\n", 9*mib)), false, 2, true},
		{"garbage", map[string]string{"self/cgroup": "x\n", "self/mountinfo": "%.0s1 2\n - \n"}, false, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			box := FindContainer(filepath.Join(files(t, c.files), "self"))
			if got := box.NearlyFull(); got != c.full {
				t.Errorf("nearly full: %v", got)
			}
			if n, ok := box.OOMKills(); n != c.kills || ok != c.known {
				t.Errorf("kills: %d, %v", n, ok)
			}
		})
	}
}

// A container that names its group by a path that it does not see is looked for at the mount's own place.
func TestAPathFromOutside(t *testing.T) {
	root := files(t, map[string]string{
		"self/cgroup": "0::/../../kubepods/x\n", "self/mountinfo": "35 31 0:32 /kubepods/y %s/cg rw - cgroup2 cgroup2 rw\n",
		"cg/memory.max": "100\n", "cg/memory.current": "96\n",
	})
	if !FindContainer(filepath.Join(root, "self")).NearlyFull() {
		t.Error("not found")
	}
}
