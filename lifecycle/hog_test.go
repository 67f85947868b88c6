package lifecycle_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/frames"
)

// The children of the memory tests: testdata/hog.py says what they can do, and this is the same in Go. A machine without
// Python runs the Go one in both places.

func init() {
	otherRoles["hog"] = actAsHog
	otherRoles["take"] = func() {
		fmt.Println("hog", os.Getpid())
		mib, _ := strconv.Atoi(os.Getenv("HOG_TAKE"))
		takeSlowly(mib)
	}
}

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
	for page := 0; page < len(block); page += 4096 {
		block[page] = 1
	}
	return block
}

func takeSlowly(mib int) {
	for range mib / 4 {
		keep(take(4))
		time.Sleep(2 * time.Millisecond)
	}
	time.Sleep(time.Hour)
}

func actAsHog() {
	debug.SetGCPercent(-1)
	if os.Getenv("HOG_DEAF") != "" {
		signal.Ignore(syscall.SIGTERM)
	}
	answers := &answerer{f: os.NewFile(4, "answers")}
	if mib, _ := strconv.Atoi(os.Getenv("HOG_BASELINE")); mib > 0 {
		preload(mib)
	}
	answers.send(frames.AppendReady(nil, 8))
	orders := frames.NewReader(os.NewFile(3, "orders"), frames.Limits{})
	cancels := map[uint64]chan struct{}{}
	var jobs sync.WaitGroup
	for {
		o, err := orders.Order()
		if err != nil || o.Kind == frames.OrderStop {
			jobs.Wait()
			os.Exit(0)
		}
		switch o.Kind {
		case frames.OrderRun:
			cancelled := make(chan struct{}, 1)
			cancels[o.Run] = cancelled
			jobs.Go(func() { actAsHogOn(&o.Job, answers, cancelled) })
		case frames.OrderCancel:
			cancels[o.Run] <- struct{}{}
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
	for page := 0; page < len(block); page += 4096 {
		block[page] = 1
	}
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

func actAsHogOn(j *frames.Job, answers *answerer, cancelled <-chan struct{}) {
	words := strings.Fields(j.Kind)
	mib, _ := strconv.Atoi(words[len(words)-1])
	note := func(text string) { answers.send(frames.AppendProgress(nil, j.Run, 0, 0, text)) }
	switch words[0] {
	case "grow":
		keep(take(mib))
		answers.done(j, fmt.Sprint(os.Getpid()))
	case "spike":
		block := take(mib)
		note("up")
		for _, err := os.Stat(string(j.Body)); err != nil; _, err = os.Stat(string(j.Body)) {
			time.Sleep(2 * time.Millisecond)
		}
		_ = unix.Munmap(block)
		answers.done(j, fmt.Sprint(os.Getpid()))
	case "swell": // and heeds its cancel
		keep(take(mib))
		<-cancelled
		answers.send(frames.AppendFail(nil, j.Run, "cancelled", true, 0))
	case "hog":
		note("started")
		if len(words) == 2 {
			takeSlowly(mib)
		}
		cmd := exec.Command(os.Args[0])
		if words[1] == "daemon" {
			cmd = exec.Command("sh", "-c", `"$0" &`, os.Args[0])
		}
		cmd.Env = append(os.Environ(), actAs+"=take", "HOG_TAKE="+words[2])
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: words[1] != "child"}
		cmd.Stdout = os.Stdout
		_ = cmd.Run()
		time.Sleep(time.Hour)
	default:
		actOn(j, answers, cancelled)
	}
}

// findPython is the interpreter itself, "" when there is none: what PATH finds may be a script that looks for it each time.
var findPython = sync.OnceValue(func() string {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
})

// hogs are the children to run a scenario with: a Python one, where there is Python, and a Go one.
func hogs(t *testing.T, scenario func(t *testing.T, cfg lifecycle.Config)) {
	t.Helper()
	golang := children(t, "hog")
	python := golang
	if path := findPython(); path != "" {
		script, err := filepath.Abs("testdata/hog.py")
		if err != nil {
			t.Fatal(err)
		}
		python.Command = []string{path, script}
	} else {
		t.Log("no python3 here: the Go child runs twice")
	}
	for name, cfg := range map[string]lifecycle.Config{"Go": golang, "Python": python} {
		cfg.Env = map[string]string{actAs: "hog", "PYTHONUNBUFFERED": "1"}
		t.Run(name, func(t *testing.T) { scenario(t, cfg) })
	}
}
