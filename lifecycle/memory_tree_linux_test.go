package lifecycle_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/memory/hog"
)

func TestScenario20TheHogIsAGrandchild(t *testing.T) {
	for _, where := range []string{"child", "session", "daemon"} {
		t.Run(where, func(t *testing.T) {
			hogs(t, func(t *testing.T, cfg lifecycle.Config) {
				exe, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				keeper := exec.Command(exe)
				keeper.Env = append(os.Environ(), actAs+"=hog keeper", "HOG_COMMAND="+strings.Join(cfg.Command, "\n"), "HOG_KIND=hog "+where+" 400")
				out, err := keeper.Output()
				if err != nil {
					t.Fatal(err)
				}
				text := string(out)
				if !strings.Contains(text, "memory true: ended by the memory guard: it used ") || !strings.Contains(text, "above the hard limit of 120.0 MiB") {
					t.Errorf("got %s", text)
				}
				if !strings.Contains(text, "the hog is dead: true") || !strings.Contains(text, "then: done") {
					t.Errorf("got %s", text)
				}
			})
		})
	}
}

// settled waits until all children are ready and the guard has seen them so: what they grew until then is no job's.
func (h *harness) settled(slots int) {
	h.t.Helper()
	h.slotsAre(slots)
	h.looked(2)
}

func init() { otherRoles["hog keeper"] = actAsKeeperOfHogs }

// actAsKeeperOfHogs is a program that adopts orphans, as workerd does, and has a job with a hog somewhere below it.
func actAsKeeperOfHogs() {
	orphans, err := lifecycle.Adopt("hogs." + strconv.Itoa(os.Getpid()))
	if err != nil {
		panic(err)
	}
	hogPID := make(chan int, 1)
	cfg := lifecycle.Config{
		Name: "hogs", Mode: lifecycle.ModePool, Command: strings.Split(os.Getenv("HOG_COMMAND"), "\n"), SlotWait: plenty, EmptyWait: plenty,
		Env: hog.Env(), KillAfter: 50 * time.Millisecond,
		Log: func(l lifecycle.LogLine) {
			if pid, err := strconv.Atoi(strings.TrimPrefix(l.Text, "hog ")); err == nil {
				hogPID <- pid
			}
		},
	}
	guard(&cfg, 0, 120)
	cfg.Memory.HardGrace = 0
	cfg.Env[actAs] = "hog"
	pool, err := lifecycle.New(cfg)
	if err == nil {
		err = pool.Start(context.Background())
	}
	if err != nil {
		panic(err)
	}
	r := pool.Run(context.Background(), lifecycle.Job{Kind: os.Getenv("HOG_KIND")})
	fmt.Printf("%v %v: %s\n", r.Cause, r.GroupEmpty, r.Err)
	fmt.Println("the hog is dead:", isDead(<-hogPID))
	fmt.Println("then:", pool.Run(context.Background(), lifecycle.Job{Kind: "echo"}).Cause)
	pool.Stop(context.Background())
	orphans.Stop()
	os.Exit(0)
}

// A program is started by a process that shares its parent's memory until then, and it is easily seen in that moment.
func TestAChildThatStartsProgramsIsNotCountedTwice(t *testing.T) {
	hogs(t, func(t *testing.T, cfg lifecycle.Config) {
		guard(&cfg, 0, 450)
		cfg.Memory.HardGrace, cfg.Memory.Check = 0, time.Millisecond
		h := start(t, cfg)
		file := filepath.Join(t.TempDir(), "enough")
		job := h.begin(t.Context(), lifecycle.Job{Kind: "spawn 300", Body: []byte(file)})
		h.started()
		h.looked(300)
		touch(t, file)
		h.want(h.wait(job), lifecycle.Done, "")
		h.quietSoFar()
	})
}
