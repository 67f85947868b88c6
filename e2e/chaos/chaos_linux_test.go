package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/e2e/rig"
)

// settings reads from the environment which seeds are played and how: SERIATIM_CHAOS_SEEDS (such as 1-10 or 3,7),
// SERIATIM_CHAOS_SERVERS (1 or 3) and SERIATIM_CHAOS_MINUTES. Without them it is one short seed on three servers.
func settings(t *testing.T) (all []setting) {
	t.Helper()
	from := func(name, otherwise string) string {
		if v := os.Getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	number := func(text string) float64 {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n <= 0 {
			t.Fatalf("%q is not a number above 0", text)
		}
		return n
	}
	set := setting{
		Shape: Shape{Servers: int(number(from("SERIATIM_CHAOS_SERVERS", "3"))), Workers: 3},
		lease: rig.Size(10*time.Second, 6*time.Second), // the short seed is for any host
		load:  load{publishers: 4, rate: 25, hot: 3, wide: 60, slow: 1},
	}
	set.Length = time.Duration(number(from("SERIATIM_CHAOS_MINUTES", "0.25")) * float64(time.Minute))
	if set.Length >= time.Minute {
		set.load.long = .002
	}
	for part := range strings.SplitSeq(from("SERIATIM_CHAOS_SEEDS", "1"), ",") {
		first, last, more := strings.Cut(part, "-")
		if !more {
			last = first
		}
		for seed := uint64(number(first)); seed <= uint64(number(last)); seed++ {
			set.seed = seed
			all = append(all, set)
		}
	}
	return all
}

// Whatever fails around them, jobs of one entity never meet, keep their order, and none is lost. With
// SERIATIM_CHAOS_PROOF, a folder, it writes down what happened.
func TestChaos(t *testing.T) {
	t.Parallel()
	var proof Proof
	for _, set := range settings(t) {
		t.Run(fmt.Sprintf("seed %d on %d servers", set.seed, set.Servers), func(t *testing.T) {
			res := newWorld(t, set).run()
			t.Logf("\n%s\n%s%s\n%s", res.Story(), Header(), res.Row("-"), res.Report)
			for _, problem := range res.Problems() {
				t.Error(problem)
			}
			if len(proof.Results) == 0 {
				proof = Proof{Began: res.Began, Servers: set.Servers, Commit: commit(t), Command: command(), About: about(set)}
			}
			proof.Results = append(proof.Results, res)
		})
	}
	if dir := os.Getenv("SERIATIM_CHAOS_PROOF"); dir != "" {
		path, err := proof.Write(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("wrote %s", path)
	}
}

// command is what was run.
func command() string {
	var b strings.Builder
	for _, name := range []string{"SEEDS", "SERVERS", "MINUTES"} {
		if v := os.Getenv("SERIATIM_CHAOS_" + name); v != "" {
			fmt.Fprintf(&b, "SERIATIM_CHAOS_%s=%s ", name, v)
		}
	}
	return b.String() + "go test -timeout 0 -run TestChaos -v ./e2e/chaos"
}

// commit is what is tested, and whether it is all of it.
func commit(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+changes").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// about is what else there is to know about a run.
func about(set setting) []string {
	var name unix.Utsname
	_ = unix.Uname(&name) // empty, then
	return []string{
		fmt.Sprintf("Machine: %d CPUs, %s %s, %s.", runtime.NumCPU(), unix.ByteSliceToString(name.Sysname[:]), unix.ByteSliceToString(name.Release[:]), runtime.Version()),
		fmt.Sprintf("%d workerds of %d slots, each behind a proxy to each server; the lease is %s.", set.Workers, slots, set.lease),
		fmt.Sprintf("%d publishers, about %.0f jobs a second while faults last, to %d entities with deep lanes and %d others; a job takes 0 to 14 s, most of them less than 30 ms.",
			set.load.publishers, set.load.rate, set.load.hot, set.load.wide),
		"A run once more is explained by a fault of its own worker or process between the start of the run before and its own, or else by a fault of servers in that time and 15 s after it.",
		"Idle is a lane that has work and no run; beyond faults means without the time in which a server, or all workers, were away.",
	}
}
