package hog

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/lifecycle/frames"
)

var (
	keptMu sync.Mutex
	kept   [][]byte
)

func keep(block []byte) {
	keptMu.Lock()
	defer keptMu.Unlock()
	kept = append(kept, block)
}

// take maps memory itself: what it gives back is given back at once.
func take(mib int) []byte {
	block, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	touch(block)
	return block
}

func touch(block []byte) {
	for page := 0; page < len(block); page += 4096 {
		block[page] = 1
	}
}

func takeSlowly(mib int) {
	for range mib / 4 {
		keep(take(4))
		time.Sleep(2 * time.Millisecond)
	}
	time.Sleep(time.Hour)
}

// child answers frames; jobs do so side by side.
type child struct {
	mu sync.Mutex
	to *os.File
}

func (c *child) send(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.to.Write(b) // a parent that does not listen any more ends the child
}

func (c *child) done(j *frames.Job, result string) {
	fmt.Println("ends", j.Entity)
	c.send(frames.AppendDone(nil, j.Run, []byte(result)))
}

func serve() {
	debug.SetGCPercent(-1)
	if os.Getenv("HOG_DEAF") != "" {
		signal.Ignore(syscall.SIGTERM)
	}
	c := &child{to: os.NewFile(4, "answers")}
	if mib, _ := strconv.Atoi(os.Getenv("HOG_BASELINE")); mib > 0 {
		preload(mib)
	}
	c.send(frames.AppendReady(nil, 8))
	orders := frames.NewReader(os.NewFile(3, "orders"), frames.Limits{})
	cancels := map[uint64]chan struct{}{}
	var jobs sync.WaitGroup
	for {
		o, err := orders.Order()
		if err != nil || o.Kind == frames.OrderStop {
			jobs.Wait()
			return
		}
		switch o.Kind {
		case frames.OrderRun:
			cancelled := make(chan struct{}, 1)
			cancels[o.Run] = cancelled
			jobs.Go(func() { c.act(&o.Job, cancelled) })
		case frames.OrderCancel:
			cancels[o.Run] <- struct{}{}
		case frames.OrderStop, frames.OrderUnknown:
		}
	}
}

// preload takes memory at the start. With HOG_FORKS it shares it, as forks of a preloaded program do: the processes map
// the same pages.
func preload(mib int) {
	forks, _ := strconv.Atoi(os.Getenv("HOG_FORKS"))
	shared := os.Getenv("HOG_SHARED")
	if forks == 0 && shared == "" {
		keep(take(mib))
		return
	}
	var file *os.File
	var err error
	if shared == "" {
		if file, err = os.CreateTemp("", "hog"); err == nil {
			err = file.Truncate(int64(mib) << 20)
		}
		defer func() { _ = os.Remove(file.Name()) }()
	} else {
		file = os.NewFile(5, "shared")
	}
	if err != nil {
		panic(err)
	}
	block, err := unix.Mmap(int(file.Fd()), 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	touch(block)
	keep(block)
	if shared != "" {
		time.Sleep(time.Hour)
	}
	for range forks {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HOG_SHARED=1")
		cmd.ExtraFiles = []*os.File{os.NewFile(3, ""), os.NewFile(4, ""), file}
		if err := cmd.Start(); err != nil {
			panic(err)
		}
	}
}

func (c *child) act(j *frames.Job, cancelled <-chan struct{}) {
	words, body := order(j.Kind, string(j.Body))
	mib, _ := strconv.Atoi(words[len(words)-1])
	pid := fmt.Sprint(os.Getpid())
	note := func(text string) { c.send(frames.AppendProgress(nil, j.Run, 0, 0, text)) }
	fmt.Println("begins", j.Entity)
	switch words[0] {
	case "grow":
		keep(take(mib))
		c.done(j, pid)
	case "spike":
		block := take(mib)
		note("up")
		awaitFile(body)
		_ = unix.Munmap(block)
		c.done(j, pid)
	case "spawn":
		keep(take(mib))
		note("up")
		for !isThere(body) {
			_ = exec.Command("true").Run()
		}
		c.done(j, pid)
	case "swell": // and heeds its cancel
		keep(take(mib))
		<-cancelled
		c.send(frames.AppendFail(nil, j.Run, "cancelled", true, 0))
	case "hog":
		note("started")
		if len(words) == 2 {
			takeSlowly(mib)
		}
		apart(words[1], mib)
		time.Sleep(time.Hour)
	case "wait":
		note("started")
		awaitFile(body)
		c.done(j, "")
	case "pid":
		c.done(j, pid)
	case "echo":
		c.done(j, body)
	default:
		note("started")
		time.Sleep(time.Hour)
	}
}

// apart takes memory in another process, and returns when that is over or on its own.
func apart(where string, mib int) {
	cmd := exec.Command(os.Args[0])
	if where == "daemon" {
		cmd = exec.Command("sh", "-c", `"$0" &`, os.Args[0])
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, Variable+"=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, Variable+"="+Take, fmt.Sprint("HOG_TAKE=", mib))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: where != "child"}
	cmd.Stdout = os.Stdout
	_ = cmd.Run() // it is killed
}
