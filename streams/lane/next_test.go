package lane

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden table of Next")

// cell is one event as a lane in some phase may meet it.
type cell struct {
	name string
	give func(r *rig)
}

func cells() []cell {
	var list []cell
	add := func(name string, give func(r *rig)) { list = append(list, cell{name, give}) }
	event := func(name string, e Event) { add(name, func(r *rig) { r.on(e) }) }

	event("turn again", Delivered{again7})
	event("other turn", Delivered{Turn{Seq: 2, Delivered: 1, Guess: 8}})
	add("turn, draining", func(r *rig) { r.v.Draining = true; r.on(Delivered{again7}) })
	add("turn, no slot", func(r *rig) { r.v.NoSlot = true; r.on(Delivered{again7}) })
	add("turn, paused", func(r *rig) { r.v.Paused = true; r.on(Delivered{again7}) })
	event("visit", Visit{})
	event("visit, publish", Visit{Publish: true, Guess: 8})
	add("no head", func(r *rig) { r.headRead(Head{}) })
	add("head 6", func(r *rig) { r.headRead(Head{Found: true, Seq: 6}) })
	add("head 7", func(r *rig) { r.headRead(job7) })
	add("head 8", func(r *rig) { r.headRead(job8) })
	add("head 7 unserved", func(r *rig) { r.headRead(Head{Found: true, Seq: 7, Unserved: true}) })
	add("head 7 invalid", func(r *rig) { r.headRead(Head{Found: true, Seq: 7, Invalid: "no"}) })
	event("late head", HeadRead{Op: 9999, Head: job7})
	add("no record", func(r *rig) { r.noRecord() })
	add("paused", func(r *rig) { r.on(RecordRead{Op: r.s.read.op, Paused: true}) })
	for _, s := range []string{"own", "living", "dead"} {
		add("record of "+s, func(r *rig) { r.recordRead(by(s, Running)) })
	}
	add("record halted", func(r *rig) { r.recordRead(by("own", Halted)) })
	event("late record", RecordRead{Op: 9999})
	add("stored", func(r *rig) { r.stored(200) })
	event("late stored", Stored{Op: 9999, Seq: 200})
	add("refused", func(r *rig) { r.on(Refused{r.s.write.op}) })
	event("late refused", Refused{9999})
	for c := CauseDone; c <= CauseCancelled; c++ {
		add("finished "+c.String(), func(r *rig) { r.finished(Outcome{Cause: c}) })
	}
	add("finished, stuck", func(r *rig) { r.finished(Outcome{Cause: CauseInterrupted, Stuck: true}) })
	add("failed, pass", func(r *rig) { r.v.Pass = true; r.finished(Outcome{Cause: CauseFailed}) })
	add("fatal, halt", func(r *rig) { r.v.Halt = true; r.finished(Outcome{Cause: CauseFatal}) })
	event("late finished", Finished{Fence: 9999})
	add("deleted", func(r *rig) { r.deleted() })
	add("moved", func(r *rig) { r.on(Moved{r.s.step.op}) })
	add("ended", func(r *rig) { r.on(Ended{r.s.step.op}) })
	add("returned", func(r *rig) { r.on(Returned{r.s.step.op}) })
	add("published", func(r *rig) { r.on(Published{r.s.step.op}) })
	event("late answer", Deleted{9999})
	add("all failed", func(r *rig) {
		r.on(Failed{r.s.read.op}).on(Failed{r.s.write.op}).on(Failed{r.s.step.op})
	})
	event("tick", Tick{})
	add("tick, 3 s later", func(r *rig) { r.later(3 * time.Second).on(Tick{}) })
	add("tick, 11 s later", func(r *rig) { r.later(11 * time.Second).on(Tick{}) })
	add("tick, 1 min later", func(r *rig) { r.later(time.Minute).on(Tick{}) })
	event("cancel 7", Cancel{Jobs: []uint64{7}})
	event("cancel 8", Cancel{Jobs: []uint64{8}})
	event("session over", SessionOver{})
	event("session new", SessionNew{})
	event("stop", Stop{})
	event("adopted", adopted{Adopted: Adopted{Turn: turn7, Job: 7, Fence: 80}, session: "dead"})
	return list
}

// TestNext holds the whole table of phases and events, with what each cell leads to, against the golden one: a change of
// the machine shows as a change of the table. `go test ./streams/lane -run TestNext -update` writes it anew; read the
// difference before you commit it.
func TestNext(t *testing.T) {
	var b strings.Builder
	for p := range phaseCount {
		for _, c := range cells() {
			r := inPhase(t, p)
			r.want(p)
			r.out = nil
			c.give(r)
			line := fmt.Sprintf("%-10s | %-20s | %-10s | %s", phaseNames[p], c.name, phaseNames[r.s.Phase], r.did())
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	path := filepath.Join("testdata", "next.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(string(golden), "\n")
	for i, line := range strings.Split(b.String(), "\n") {
		if i >= len(want) || line != want[i] {
			old := "nothing"
			if i < len(want) {
				old = want[i]
			}
			t.Errorf("line %d of the table\n got %s\nwant %s", i+1, line, old)
		}
	}
}

// TestNextInvariants checks in every cell what no cell may do.
func TestNextInvariants(t *testing.T) {
	for p := range phaseCount {
		for _, c := range cells() {
			r := inPhase(t, p)
			busy := r.s.Busy()
			r.out = nil
			c.give(r)
			name := phaseNames[p] + " + " + c.name
			starts, drops := 0, 0
			for _, a := range r.out {
				switch a := a.(type) {
				case Start:
					starts++
					if busy || !r.v.alive() || a.Fence == 0 {
						t.Errorf("%s starts a job beside another, without a session or without a fence", name)
					}
				case Drop:
					drops++
				case WriteClaim:
					if a.Any {
						t.Errorf("%s writes a claim without compare-and-set", name)
					}
				case ReadHead:
					if r.v.Replicated && !a.Leader {
						t.Errorf("%s reads a head from a follower", name)
					}
				}
			}
			if starts > 1 || drops > 1 || (drops == 1) != (r.s.Phase == Gone && p != Gone) {
				t.Errorf("%s: %d starts, %d drops, now %s", name, starts, drops, phaseNames[r.s.Phase])
			}
			if busy && !r.s.Busy() && !ends(c.name) && c.name != "session over" && c.name != "adopted" {
				t.Errorf("%s: the lane forgets what runs", name)
			}
		}
	}
}

// ends says that the cell tells of the end of a run.
func ends(cell string) bool {
	return strings.HasPrefix(cell, "finished") || cell == "failed, pass" || cell == "fatal, halt"
}
