package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/seriatim/seriatim/lifecycle/proc"
)

// Entry is what a workerd leaves about itself in the folder. Its file's name is unique to the top process.
type Entry struct {
	// PID is the top process, Start when it started, in the process table's own unit; 0 is not known.
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	// Namespace is the pid namespace in which PID means something; 0 is not known.
	Namespace uint64 `json:"namespace"`
	Worker    string `json:"id"`
	// Socket is where it answers.
	Socket string `json:"socket"`

	file string
}

// suffixes of the files.
const (
	entrySuffix  = ".json"
	socketSuffix = ".sock"
)

// Door is a workerd's own entry: its file and the listener behind its socket.
type Door struct {
	entry    Entry
	listener net.Listener
}

// Open makes the entry of the workerd whose top process is pid, in the first folder that can be used. What the dead left
// there is removed.
func Open(folders []string, pid int, worker string) (*Door, error) {
	e := Entry{PID: pid, Worker: worker}
	if s, err := proc.Read(pid); err == nil {
		e.Start = s.Start
	}
	e.Namespace, _ = proc.Namespace(os.Getpid()) // 0 where there is none
	d := &Door{}
	err := first(folders, func(dir string) error {
		_, _ = read(dir) // removes the dead; what cannot be read now cannot be removed either
		name := filepath.Join(dir, strconv.Itoa(pid)+"."+strconv.FormatUint(e.Start, 10))
		e.Socket, e.file = name+socketSuffix, name+entrySuffix
		if err := os.Remove(e.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l, err := net.Listen("unix", e.Socket)
		if err == nil {
			if err = errors.Join(os.Chmod(e.Socket, 0o600), e.write()); err == nil {
				d.entry, d.listener = e, l
				return nil
			}
			_ = l.Close() // the first error is told
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Listener takes connections to the socket. Whoever serves it closes it.
func (d *Door) Listener() net.Listener { return d.listener }

// Entry is what stands in the folder.
func (d *Door) Entry() Entry { return d.entry }

// Close removes the entry. Twice is fine.
func (d *Door) Close() {
	_ = d.listener.Close() // also removes the socket; closed already is what is wanted
	_ = os.Remove(d.entry.file)
	_ = os.Remove(d.entry.Socket)
}

// write puts the file into its place whole: nobody reads half of it.
func (e Entry) write() error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	next := e.file + "." + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(next, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, e.file)
}

// Living says whether the workerd still lives. A process that is dead and waits to be reaped does not.
func (e Entry) Living() bool {
	s, err := proc.Read(e.PID)
	switch {
	case errors.Is(err, proc.ErrUnsupported):
		err := syscall.Kill(e.PID, 0)
		return err == nil || errors.Is(err, syscall.EPERM)
	case err != nil:
		return false
	}
	return s.Start == e.Start && !s.Dead()
}

// ErrGone is a workerd that has ended.
var ErrGone = errors.New("it has ended")

// Signal sends a signal to the top process, and to no other that may have its number by now.
func (e Entry) Signal(s syscall.Signal) error {
	p, err := os.FindProcess(e.PID) // holds on to the process, where the system can
	if err != nil {
		return fmt.Errorf("workerd %d: %w", e.PID, ErrGone)
	}
	defer func() { _ = p.Release() }()
	if !e.Living() {
		return fmt.Errorf("workerd %d: %w", e.PID, ErrGone)
	}
	if err := p.Signal(s); errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("workerd %d: %w", e.PID, ErrGone)
	} else if err != nil {
		return fmt.Errorf("send %s to workerd %d: %w", s, e.PID, err)
	}
	return nil
}

// Find lists the living workerds of this pid namespace that have an entry in one of the folders.
func Find(folders []string) []Entry {
	var all []Entry
	seen := map[int]bool{}
	for _, dir := range folders {
		list, err := read(dir)
		if err != nil {
			continue // there is none, or it is not ours to see
		}
		for _, e := range list {
			if !seen[e.PID] {
				seen[e.PID] = true
				all = append(all, e)
			}
		}
	}
	return all
}

// read reads a folder's entries and removes those of the dead.
func read(dir string) ([]Entry, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	here, _ := proc.Namespace(os.Getpid())
	var list []Entry
	for _, f := range files {
		file := filepath.Join(dir, f.Name())
		if filepath.Ext(file) != entrySuffix {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var e Entry
		if json.Unmarshal(text, &e) != nil || e.PID <= 0 || e.Namespace != here {
			continue // of another container, or not ours at all
		}
		e.file, e.Socket = file, file[:len(file)-len(entrySuffix)]+socketSuffix
		if !e.Living() {
			_ = os.Remove(file)
			_ = os.Remove(e.Socket)
			continue
		}
		if e.honest(f) {
			list = append(list, e)
		}
	}
	return list, nil
}

// honest says that the file belongs to the process's user, or to root: nobody can have another's process signalled.
func (e Entry) honest(f os.DirEntry) bool {
	info, err := f.Info()
	if err != nil {
		return false
	}
	process, err := os.Stat(filepath.Join("/proc", strconv.Itoa(e.PID)))
	if err != nil {
		return !errors.Is(err, fs.ErrPermission) // no process table here: kill(2) has its own check
	}
	theirs, known := owner(info)
	its, _ := owner(process)
	return !known || theirs == its || theirs == 0
}
