package lane

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// shop drives one holder with several queues against a server that answers at once: each queue has lanes with a turn,
// every job takes a while, and lanes are offered again afterwards.
type shop struct {
	*desk
	waiting map[string][]string // lanes with a turn, by queue
	pulls   []Pull              // open ones
	ends    map[string]time.Duration
	fences  map[string]uint64
	starts  map[string]int
	back    int // turns that came for nothing
	takes   time.Duration
	seq     uint64
}

func newShop(t *testing.T, slots int, takes time.Duration, queues ...Queue) *shop {
	n := 0
	for i := range queues {
		queues[i].Config = DefaultConfig(15 * time.Second)
		queues[i].Created = 1
		queues[i].Backoff = func(int) time.Duration { return time.Second }
	}
	s := &shop{
		desk: &desk{t: t, now: at}, takes: takes, seq: 1000, waiting: map[string][]string{}, ends: map[string]time.Duration{},
		fences: map[string]uint64{}, starts: map[string]int{},
	}
	s.h = NewHolder(queues, func() string { n++; return fmt.Sprintf("s%d", n) }, func() float64 { return 0 })
	s.h.Capacity(slots)
	s.step(0)
	return s
}

// offer gives n lanes of a queue a turn.
func (s *shop) offer(q string, n int) {
	for range n {
		s.seq++
		s.waiting[q] = append(s.waiting[q], fmt.Sprintf("%s.e.%d", q, s.seq))
	}
}

// step lets time pass, ends the jobs whose time has come, and carries out whatever follows.
func (s *shop) step(later time.Duration) {
	s.now += later
	s.h.At(s.now, time.Unix(1000, 0).Add(s.now))
	for lane, end := range s.ends {
		if s.now >= end {
			delete(s.ends, lane)
			s.h.Lane(lane, Finished{Fence: s.fences[lane]})
		}
	}
	s.h.Tick()
	for {
		s.h.WantPull()
		out := append([]Output(nil), s.h.Take()...)
		for _, o := range out {
			s.carry(o)
		}
		delivered := s.deliver()
		if len(out) == 0 && !delivered {
			return
		}
	}
}

func (s *shop) carry(o Output) {
	switch a := o.Action.(type) {
	case nil:
		switch {
		case o.Session != nil:
			s.h.SessionStored(o.Session.Op, 1)
		case o.Pull != nil:
			s.pulls = append(s.pulls, *o.Pull)
		}
	case ReadHead:
		s.h.Lane(o.Lane, HeadRead{Op: a.Op, Head: Head{Found: s.starts[o.Lane] == 0, Seq: 7}})
	case ReadRecord:
		s.h.Lane(o.Lane, RecordRead{Op: a.Op})
	case WriteClaim:
		s.seq++
		s.h.Lane(o.Lane, Stored{Op: a.Op, Seq: s.seq})
	case Start:
		s.ends[o.Lane], s.fences[o.Lane] = s.now+s.takes, a.Fence
		s.starts[o.Lane]++
		s.starts[o.Lane[:1]]++
	case DeleteJob:
		s.h.Lane(o.Lane, Deleted{Op: a.Op})
	case EndTurn:
		s.h.Lane(o.Lane, Ended{Op: a.Op})
	case NakTurn:
		s.back++
		s.waiting[o.Lane[:1]] = append([]string{o.Lane}, s.waiting[o.Lane[:1]]...)
		s.h.Lane(o.Lane, Returned{Op: a.Op})
	}
}

// deliver serves the open pulls, and says whether there was anything to deliver.
func (s *shop) deliver() (any bool) {
	open := s.pulls
	s.pulls = nil
	for _, p := range open {
		for ; p.N > 0 && len(s.waiting[p.Queue]) > 0; p.N-- {
			lane := s.waiting[p.Queue][0]
			s.waiting[p.Queue] = s.waiting[p.Queue][1:]
			s.h.Delivered(lane, Turn{Seq: 3, Delivered: 1, Guess: 7}, p.Op, len(s.waiting[p.Queue]))
			any = true
		}
		if p.N > 0 {
			s.pulls = append(s.pulls, p)
		}
	}
	return any
}

// endPulls ends what is open, as the server does after a while.
func (s *shop) endPulls() {
	for _, p := range s.pulls {
		s.h.PullEnded(p.Op)
	}
	s.pulls = nil
}

// With weights the starts are as the weights say while all queues have turns, whatever the number of slots.
func TestWeights(t *testing.T) {
	for _, weights := range [][]int{{3, 1}, {1, 1}, {5, 3, 1}, {100, 1}} {
		for _, slots := range []int{1, 4, 25} {
			t.Run(fmt.Sprint(weights, slots), func(t *testing.T) {
				var queues []Queue
				sum := 0
				for i, w := range weights {
					queues = append(queues, Queue{Name: string(rune('a' + i)), Weight: w})
					sum += w
				}
				s := newShop(t, slots, 100*time.Millisecond, queues...)
				rounds := max(2000/slots, 400)
				for range rounds {
					for _, q := range queues {
						s.offer(q.Name, 2*slots-len(s.waiting[q.Name]))
					}
					s.step(100 * time.Millisecond)
				}
				all := 0
				for _, q := range queues {
					all += s.starts[q.Name]
				}
				if all < rounds*slots*98/100 {
					t.Errorf("%d starts in %d rounds of %d slots: slots stood idle beside turns", all, rounds, slots)
				}
				for i, q := range queues {
					want := float64(all) * float64(weights[i]) / float64(sum)
					if got := float64(s.starts[q.Name]); math.Abs(got-want) > 0.03*float64(all) || got < 0.7*want {
						t.Errorf("queue %s of weight %d started %.0f of %d, not %.0f", q.Name, weights[i], got, all, want)
					}
				}
				t.Logf("weights %v, %d slots: %d starts %v/%v/%v; %d turns came for nothing", weights, slots, all, s.starts["a"], s.starts["b"], s.starts["c"], s.back)
			})
		}
	}
}

// In strict order a queue that has turns takes all slots as they become free; those behind it get what it leaves.
func TestStrictOrder(t *testing.T) {
	s := newShop(t, 10, 100*time.Millisecond, Queue{Name: "a"}, Queue{Name: "b"})
	s.offer("b", 5000)
	for range 10 {
		s.step(100 * time.Millisecond)
	}
	if s.starts["b"] < 100 {
		t.Errorf("alone it started %d", s.starts["b"])
	}
	// The preferred one wakes up: whatever else is on its way, it has all slots within two rounds.
	s.offer("a", 500)
	s.step(100 * time.Millisecond)
	s.step(100 * time.Millisecond)
	before := s.starts["b"]
	for range 20 {
		s.step(100 * time.Millisecond)
	}
	if s.starts["b"] != before || s.starts["a"] < 200 {
		t.Errorf("beside the preferred queue, which started %d, the other started %d", s.starts["a"], s.starts["b"]-before)
	}
	for range 60 {
		s.step(100 * time.Millisecond)
		s.endPulls()
	}
	if s.starts["a"] != 500 || s.starts["b"] == before {
		t.Errorf("when the preferred queue is empty: %d and %d", s.starts["a"], s.starts["b"])
	}
}

// A queue alone gets all slots at once, whatever its weight, and also while another is asked in vain.
func TestAQueueAloneGetsAllSlots(t *testing.T) {
	for _, weight := range []int{0, 1} {
		s := newShop(t, 10, 100*time.Millisecond, Queue{Name: "a", Weight: 100 * weight}, Queue{Name: "b", Weight: weight})
		s.offer("b", 400)
		for i := 1; i <= 40; i++ {
			s.step(100 * time.Millisecond)
			if i%20 == 0 {
				s.endPulls()
			}
		}
		if s.starts["b"] < 390 {
			t.Errorf("weight %d: %d of 400 started in 40 rounds of 10 slots", weight, s.starts["b"])
		}
	}
}

// What a queue did not use while it had nothing to do is not made up for.
func TestShareIsNotSavedUp(t *testing.T) {
	s := newShop(t, 4, 100*time.Millisecond, Queue{Name: "a", Weight: 1}, Queue{Name: "b", Weight: 1})
	for range 200 {
		s.offer("a", 8-len(s.waiting["a"]))
		s.step(100 * time.Millisecond)
	}
	a, b := s.starts["a"], s.starts["b"]
	for range 50 {
		s.offer("a", 8-len(s.waiting["a"]))
		s.offer("b", 8-len(s.waiting["b"]))
		s.step(100 * time.Millisecond)
	}
	if a, b = s.starts["a"]-a, s.starts["b"]-b; a < 80 || b < 80 {
		t.Errorf("side by side after a pause of one of them: %d and %d", a, b)
	}
}

// A queue whose turns somebody else took, so that a pull is not answered, holds up nobody for long.
func TestSilentQueueHoldsUpNobody(t *testing.T) {
	for _, weight := range []int{0, 1} {
		s := newShop(t, 2, 100*time.Millisecond, Queue{Name: "a", Weight: weight}, Queue{Name: "b", Weight: weight})
		s.offer("a", 4)
		s.step(100 * time.Millisecond)
		s.waiting["a"] = nil
		s.offer("b", 100)
		for range 10 {
			s.step(100 * time.Millisecond)
		}
		if s.starts["b"] < 12 {
			t.Errorf("weight %d: %d started in a second", weight, s.starts["b"])
		}
	}
}

// Turns are not pulled beyond what a limit lets start, and a queue at its limit leaves the slots to the others.
func TestPullsHeedLimits(t *testing.T) {
	s := newShop(t, 10, 100*time.Millisecond, Queue{Name: "a", Weight: 3}, Queue{Name: "b", Weight: 1})
	room := 2
	s.h.queues[0].startable = func(slots int) int {
		return room - (s.h.queues[0].used - s.h.queues[0].opening)
	}
	s.endPulls() // those from before there was a limit
	s.offer("a", 1000)
	s.offer("b", 1000)
	for range 20 {
		s.step(100 * time.Millisecond)
		if n := s.h.queues[0].used; n > room {
			t.Fatalf("%d lanes of the limited queue are in hand", n)
		}
	}
	if a, b := s.starts["a"], s.starts["b"]; a < 30 || a > 44 || b < 140 {
		t.Errorf("with two permits for one queue: %d and %d started", a, b)
	}
	s.h.PauseQueue("a", true)
	s.step(100 * time.Millisecond)
	before := s.starts["a"]
	for range 5 {
		s.step(100 * time.Millisecond)
	}
	if s.starts["a"] != before {
		t.Error("turns of a paused queue are pulled")
	}
}
