package memory

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
)

// ErrNoTable is a process table that cannot be read, or that does not even show the reader itself.
var ErrNoTable = errors.New("the process table cannot be read")

// Reader knows which processes belong to which child, and how large they are. One goroutine uses it.
type Reader struct {
	root    string // of the process table: /proc
	page    int64
	members map[int]*member // by pid
	trees   map[int]*tree   // by the leader's pid
	buf     []byte
	counted []int // of Size
	// shares tells whether two processes have one and the same memory.
	shares func(pid, other int) (bool, error)
	now    func() time.Time
}

// member is a process of a tree. Its descriptor belongs to this very process: once it has ended, reads fail, even when
// another one has its number.
type member struct {
	leader  int
	started uint64   // in ticks since boot: with the pid it names a process for ever
	statm   *os.File // nil when it could not be opened
	parent  int
	embryo  bool      // it runs no program of its own yet
	seen    time.Time // for the first time
}

// tree is a child with all that it started.
type tree struct {
	pids []int
	// What was read exactly the last time, and how many looks ago.
	exact, resident int64
	age             int
}

// NewReader makes a reader of the process table at root, normally /proc.
func NewReader(root string) *Reader {
	return &Reader{
		root: root, page: int64(os.Getpagesize()), members: map[int]*member{}, trees: map[int]*tree{}, buf: make([]byte, 4096),
		shares: sharesMemory, now: time.Now,
	}
}

// Close closes the descriptors that are kept.
func (r *Reader) Close() {
	for pid := range r.members {
		r.drop(pid)
	}
}

// row is what a process table says of one process.
type row struct {
	parent, group, session int
	started                uint64
	embryo                 bool
	leader                 int // of the tree that it belongs to: 0 is none, -1 is not yet looked up
}

// Scan reads the process table once and finds out who belongs to whom. A process belongs to a leader when it is in its
// group, or its parent or its session's first process belongs to it, or when it belonged to it before: what turned away
// from its parents later (setsid, a double fork) stays the child's. With kin, processes whose parents are gone are asked
// whose they are: kin says the leader's pid, or 0.
func (r *Reader) Scan(leaders []int, kin func(pid int) int) error {
	table, err := r.table()
	if err != nil {
		return err
	}
	trees := make(map[int]*tree, len(leaders))
	for _, pid := range leaders {
		if t := r.trees[pid]; t != nil {
			t.pids = t.pids[:0]
			trees[pid] = t
		} else {
			trees[pid] = &tree{}
		}
		if row := table[pid]; row != nil {
			row.leader = pid
		}
	}
	r.trees = trees
	for pid := range r.members {
		if row := table[pid]; row == nil || row.started != r.members[pid].started || trees[r.members[pid].leader] == nil {
			r.drop(pid)
		}
	}
	for pid := range table {
		if leader := r.leaderOf(table, pid, kin, 0); leader > 0 {
			trees[leader].pids = append(trees[leader].pids, pid)
			r.keep(pid, leader, table[pid])
		}
	}
	return nil
}

// deepest bounds the way up: a table that is read while it changes may show circles.
const deepest = 64

func (r *Reader) leaderOf(table map[int]*row, pid int, kin func(int) int, depth int) int {
	row := table[pid]
	if row == nil || depth > deepest {
		return 0
	}
	if row.leader >= 0 {
		return row.leader
	}
	var leader int
	switch m := r.members[pid]; {
	case r.trees[row.group] != nil:
		leader = row.group
	case m != nil:
		leader = m.leader
	default:
		leader = r.leaderOf(table, row.parent, kin, depth+1)
		if leader == 0 && row.session != pid {
			leader = r.leaderOf(table, row.session, kin, depth+1)
		}
		if leader == 0 && kin != nil && (row.parent == 1 || row.parent == os.Getpid() || row.parent == os.Getppid()) {
			if of := kin(pid); r.trees[of] != nil {
				leader = of
			}
		}
	}
	row.leader = leader
	return leader
}

func (r *Reader) table() (map[int]*row, error) {
	names, err := readNames(r.root)
	if err != nil {
		return nil, r.noTable(err)
	}
	table := make(map[int]*row, len(names))
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		stat, err := r.file(filepath.Join(r.root, name, "stat"))
		if err != nil {
			continue // it ended meanwhile, or it is hidden
		}
		if pid, row := parseStat(stat); row != nil {
			table[pid] = row
		}
	}
	if table[os.Getpid()] == nil {
		return nil, r.noTable(errors.New("it does not show this process itself"))
	}
	return table, nil
}

func (r *Reader) noTable(err error) error {
	return problem.New("read "+r.root, fmt.Errorf("%w: %w", ErrNoTable, err),
		"memory limits need a /proc that shows the processes of workerd's own user")
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// forkNoExec is PF_FORKNOEXEC of linux/sched.h: the process was forked and has not begun a program since.
const forkNoExec = 0x40

// parseStat reads /proc/<pid>/stat. The name in it stands in parentheses and may hold anything.
func parseStat(stat []byte) (pid int, _ *row) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return 0, nil
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 20 {
		return 0, nil
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(stat[:open])))
	if err != nil {
		return 0, nil
	}
	row := &row{leader: -1}
	row.parent, _ = strconv.Atoi(string(fields[1]))
	row.group, _ = strconv.Atoi(string(fields[2]))
	row.session, _ = strconv.Atoi(string(fields[3]))
	flags, _ := strconv.ParseUint(string(fields[6]), 10, 64)
	row.embryo = flags&forkNoExec != 0
	row.started, _ = strconv.ParseUint(string(fields[19]), 10, 64)
	return pid, row
}

func (r *Reader) keep(pid, leader int, row *row) {
	m := r.members[pid]
	if m == nil {
		m = &member{started: row.started, seen: r.now()}
		r.members[pid] = m
	}
	if m.statm == nil { // a moment ago there may have been no descriptor for it
		m.statm, _ = os.Open(filepath.Join(r.root, strconv.Itoa(pid), "statm"))
	}
	m.leader, m.parent, m.embryo = leader, row.parent, row.embryo
}

func (r *Reader) drop(pid int) {
	if f := r.members[pid].statm; f != nil {
		_ = f.Close()
	}
	delete(r.members, pid)
}

// file reads a small file into the reader's buffer; the next call overwrites it.
func (r *Reader) file(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return r.read(f)
}

// read reads from the beginning. Files of the process table come whole or not at all when the buffer is large enough.
func (r *Reader) read(f *os.File) ([]byte, error) {
	n, err := f.ReadAt(r.buf, 0)
	if n > 0 {
		return r.buf[:n], nil
	}
	return nil, err
}
