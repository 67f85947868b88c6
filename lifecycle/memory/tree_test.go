package memory

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/internal/problem"
)

// table is a process table made of files.
type table struct {
	t   *testing.T
	dir string
}

func newTable(t *testing.T) *table {
	tab := &table{t: t, dir: t.TempDir()}
	tab.put(os.Getpid(), 1, os.Getpid(), os.Getpid(), 1, 10)
	return tab
}

// put writes a process with a resident size in pages.
func (tab *table) put(pid, parent, group, session int, started uint64, pages int) {
	dir := filepath.Join(tab.dir, fmt.Sprint(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tab.t.Fatal(err)
	}
	tab.write(pid, "stat", fmt.Sprintf("%d (a ) (b) S %d %d %d 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %d 1 2\n", pid, parent, group, session, started))
	tab.write(pid, "statm", fmt.Sprintf("%d %d 5 1 0 3 0\n", 3*pages, pages))
}

func (tab *table) write(pid int, name, text string) {
	path := filepath.Join(tab.dir, fmt.Sprint(pid), name)
	_ = os.Remove(path) // a descriptor that is open stays the old file's
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tab.t.Fatal(err)
	}
}

func (tab *table) stat(pid int) string {
	b, err := os.ReadFile(filepath.Join(tab.dir, fmt.Sprint(pid), "stat"))
	if err != nil {
		tab.t.Fatal(err)
	}
	return string(b)
}

func (tab *table) gone(pid int) { _ = os.RemoveAll(filepath.Join(tab.dir, fmt.Sprint(pid))) }

func (tab *table) scan(r *Reader, leaders ...int) {
	tab.t.Helper()
	if err := r.Scan(leaders, nil); err != nil {
		tab.t.Fatal(err)
	}
}

func (tab *table) want(r *Reader, leader int, pids ...int) {
	tab.t.Helper()
	got := slices.Clone(r.trees[leader].pids)
	slices.Sort(got)
	if !slices.Equal(got, pids) {
		tab.t.Errorf("tree of %d: %v, want %v", leader, got, pids)
	}
}

const (
	one, two = 1_000_001, 1_000_101 // two leaders

)

func TestWhoBelongsToWhom(t *testing.T) {
	tab := newTable(t)
	me := os.Getpid()
	tab.put(one, me, one, me, 5, 100)
	tab.put(two, me, two, me, 5, 100)
	tab.put(one+1, one, one, me, 6, 10)         // in the group
	tab.put(one+2, one+1, one+2, one+2, 6, 10)  // setsid grandchild
	tab.put(one+3, one+2, one+3, one+2, 6, 10)  // its child, in a group of its own
	tab.put(one+4, 1, one, me, 6, 10)           // in the group, its parent has died
	tab.put(one+5, 1, one+5, one+2, 6, 10)      // its parent has died, its session is the grandchild's
	tab.put(two+1, two, two, me, 6, 10)         // another child's
	tab.put(700_001, 1, 700_001, 700_001, 2, 9) // a stranger
	tab.put(700_002, me, 700_002, me, 2, 9)     // our own, of no child
	r := NewReader(tab.dir)
	defer r.Close()
	tab.scan(r, one, two)
	tab.want(r, one, one, one+1, one+2, one+3, one+4, one+5)
	tab.want(r, two, two, two+1)

	// What belonged to a child belongs to it when its parents are gone.
	tab.gone(one + 1)
	tab.gone(one + 4)
	tab.put(one+2, 1, one+2, one+2, 6, 10)
	tab.put(one+6, one+2, one+6, one+6, 7, 10)
	tab.scan(r, one, two)
	tab.want(r, one, one, one+2, one+3, one+5, one+6)

	// A number that was given to another process does not.
	tab.put(one+3, 1, one+3, one+3, 99, 10)
	tab.scan(r, one, two)
	tab.want(r, one, one, one+2, one+5, one+6)

	// With its leader the child is forgotten; what it left may belong to nobody.
	tab.gone(one)
	tab.scan(r, two)
	tab.want(r, two, two, two+1)
	if _, ok := r.Size(one, 0); ok || len(r.members) != 2 {
		t.Error("a child that is gone still has a size, or members", r.members)
	}
}

func TestKin(t *testing.T) {
	tab := newTable(t)
	me := os.Getpid()
	tab.put(one, me, one, me, 5, 100)
	tab.put(one+1, me, one+1, one+1, 6, 10) // daemonized, adopted by us
	tab.put(one+2, 1, one+2, one+2, 6, 10)  // daemonized, adopted by init
	tab.put(one+3, 1, one+3, one+3, 6, 10)  // a stranger
	r := NewReader(tab.dir)
	defer r.Close()
	if err := r.Scan([]int{one}, func(pid int) int {
		if pid == one+1 || pid == one+2 {
			return one
		}
		return 0
	}); err != nil {
		t.Fatal(err)
	}
	tab.want(r, one, one, one+1, one+2)
}

func TestSizes(t *testing.T) {
	tab := newTable(t)
	me, page := os.Getpid(), int64(os.Getpagesize())
	tab.put(one, me, one, me, 5, 1000)
	tab.put(one+1, one, one, me, 5, 1000)
	pss := func(pid int, pages int64) {
		tab.write(pid, "smaps_rollup", fmt.Sprintf("55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss: 1 kB\nPss:   %d kB\nPss_Dirty: 9 kB\n", pages*page/1024))
	}
	pss(one, 300)
	pss(one+1, 200)
	r := NewReader(tab.dir)
	defer r.Close()
	tab.scan(r, one)
	want := func(limit, resident, bytes int64) {
		t.Helper()
		if s, ok := r.Size(one, limit*page); !ok || s.Resident != resident*page || s.Bytes != bytes*page {
			t.Errorf("limit %d: %d resident, %d exact; want %d, %d", limit, s.Resident/page, s.Bytes/page, resident, bytes)
		}
	}
	want(0, 2000, 2000)
	want(2000, 2000, 2000)
	want(1999, 2000, 500) // above: read exactly
	pss(one, 400)
	want(1999, 2000, 500) // not read again at once: nothing has grown
	for range stale {
		_, _ = r.Size(one, 1999*page)
	}
	want(1999, 2000, 600) // but after some looks
	want(550, 2000, 600)  // and whenever the estimate is above the limit
	pss(one, 700)
	want(550, 2000, 900)
	// A process that does not let itself be read counts as resident, one that has gone counts nothing.
	if err := os.Remove(filepath.Join(tab.dir, fmt.Sprint(one+1), "smaps_rollup")); err != nil {
		t.Fatal(err)
	}
	want(550, 2000, 1700)
	tab.gone(one + 1)
	want(550, 2000, 700) // its statm is still open here; a real one fails
	tab.write(one, "smaps_rollup", "nonsense")
	want(550, 2000, 1000)
}

// A size that cannot be read for once, because descriptors have run out for example, is not known: the resident one would
// be far too large where pages are shared. And a process is read again as soon as it can be.
func TestASizeThatCannotBeReadForOnce(t *testing.T) {
	tab := newTable(t)
	page := int64(os.Getpagesize())
	tab.put(one, os.Getpid(), one, one, 5, 1000)
	statm := filepath.Join(tab.dir, fmt.Sprint(one), "statm")
	text, err := os.ReadFile(statm)
	if err != nil {
		t.Fatal(err)
	}
	loop := func(file string) { // a file that exists and gives an error which is of no meaning
		_ = os.Remove(file)
		if err := os.Symlink(file, file); err != nil {
			t.Fatal(err)
		}
	}
	loop(statm)
	rollup := filepath.Join(tab.dir, fmt.Sprint(one), "smaps_rollup")
	loop(rollup)
	r := NewReader(tab.dir)
	defer r.Close()
	tab.scan(r, one)
	if s, ok := r.Size(one, page); ok {
		t.Errorf("a size is known: %+v", s)
	}
	tab.write(one, "statm", string(text))
	tab.scan(r, one)
	if s, ok := r.Size(one, 2000*page); !ok || s.Bytes != 1000*page {
		t.Errorf("read again: %+v, %v", s, ok)
	}
	if s, ok := r.Size(one, page); ok {
		t.Errorf("an exact size is known: %+v", s)
	}
	tab.write(one, "smaps_rollup", "x\nPss: 300 kB\n")
	if s, ok := r.Size(one, page); !ok || s.Bytes != 300<<10 {
		t.Errorf("read again: %+v, %v", s, ok)
	}
}

func TestNoTable(t *testing.T) {
	hidden := newTable(t)
	hidden.gone(os.Getpid())
	for what, dir := range map[string]string{"no directory": t.TempDir() + "/no", "hidden": hidden.dir} {
		err := NewReader(dir).Scan([]int{one}, nil)
		if !errors.Is(err, ErrNoTable) || problem.Hint(err) == "" || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The real table, where there is one: this test's own process has a size near to what the runtime says.
func TestThisProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		if err := NewReader("/proc").Scan(nil, nil); !errors.Is(err, ErrNoTable) {
			t.Error(err)
		}
		return
	}
	child := exec.Command("sh", "-c", "read x")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ballast := make([]byte, 64<<20)
	for i := range ballast {
		ballast[i] = 1
	}
	r := NewReader("/proc")
	defer r.Close()
	if err := r.Scan([]int{os.Getpid()}, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(r.trees[os.Getpid()].pids, child.Process.Pid) {
		t.Error("the child is missing")
	}
	all, ok := r.Size(os.Getpid(), 1<<40)
	exact, ok2 := r.Size(os.Getpid(), 1)
	if !ok || !ok2 || all.Bytes < 64<<20 || exact.Bytes < 64<<20 || exact.Bytes > exact.Resident {
		t.Errorf("%+v %+v", all, exact)
	}
	_ = in.Close()
	_ = child.Wait()
	if _, ok := r.resident(child.Process.Pid); ok {
		t.Error("a process that has ended has a size")
	}
	runtime.KeepAlive(ballast)
}

func TestParseStat(t *testing.T) {
	for _, bad := range []string{"", "1", "1 (a", "x (a) S 1 2 3", ")(", "1 (a) S 1 2 3"} {
		if _, row := parseStat([]byte(bad)); row != nil {
			t.Errorf("%q", bad)
		}
	}
}
