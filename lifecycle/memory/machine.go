package memory

import "time"

// Phase is where a child's life stands in the eyes of the guard.
//
//	          above soft                for Balloon
//	Calm ───────────────▶ Ballooning ───────────────▶ Quiet ── TermAt ──▶ Ending ── KillAt ──▶ Killed
//	  ▲────────below────────┘                           ▲ │                  │                   ▲
//	  │      above soft, after a job          for Grace │ └─── above hard, container nearly full ┘
//	  └───────────(legacy)─────────▶ Graced ────────────┘
//	  above hard: from each of the first three to Quiet, or straight to Killed; later it shortens what is left
type Phase int

// The phases of a child.
const (
	Calm       Phase = iota
	Ballooning       // above soft, since State.Since (daemon)
	Graced           // was above soft after a job; takes jobs until TermAt (legacy)
	Quiet            // takes no more jobs; what runs may finish until TermAt
	Ending           // got TERM
	Killed
)

// String is the phase in words.
func (p Phase) String() string {
	return [...]string{"calm", "ballooning", "graced", "quiet", "ending", "killed"}[p]
}

// Action is what the owner of the child has to do.
type Action int

// What may have to be done.
const (
	None Action = iota
	// Warn: say loudly that the limit is below what the child needs.
	Warn
	// Stop: give it no more jobs, let it end as soon as it has none, and start a new one then.
	Stop
	// Term: ask its group to end.
	Term
	// Kill: end its group.
	Kill
)

// String is the action in a word.
func (a Action) String() string { return [...]string{"none", "warn", "stop", "term", "kill"}[a] }

// Slot is what outlives a child: the next one in its place begins with it.
type Slot struct {
	// Acted is when a child was last ended for its memory.
	Acted time.Time
	// Warned is set once the warning about this slot was given.
	Warned bool
}

// State is one child's. A new child's is State{Slot: the one before's}.
type State struct {
	Phase Phase
	// Limit is what the child is being ended for, from Quiet on.
	Limit Limit
	// Since is when Ballooning began; TermAt and KillAt are the next deadlines (Graced: TermAt is the grace time's end).
	Since, TermAt, KillAt time.Time
	Slot
}

// Sample is what was seen of a child.
type Sample struct {
	// Known is false when nothing was read this time: then only time has passed.
	Known bool
	// Bytes is the size of its tree.
	Bytes int64
	// AfterJob is set on the first sample after a job has ended in the child. Legacy mode heeds no others.
	AfterJob bool
	// Fresh is set while the child has never had a job.
	Fresh bool
	// Full is set when the container that all live in is nearly full.
	Full bool
}

// Next is the child's state after a sample, and what to do. Call it again with the same sample until the answer is None.
func (l Limits) Next(s State, in Sample, now time.Time) (State, Action) {
	over, below := l.judge(in)
	switch s.Phase {
	case Calm, Ballooning:
		switch {
		case over == Hard:
			return l.act(s, Hard, in, now)
		case over == Soft && l.Mode == Legacy:
			s.Phase, s.TermAt = Graced, now.Add(l.Grace)
			if s, a := l.tooLow(s, in); a != None || l.Grace > 0 {
				return s, a
			}
			return l.act(s, Soft, in, now)
		case over == Soft && s.Phase == Calm:
			s.Phase, s.Since = Ballooning, now
			if s, a := l.tooLow(s, in); a != None {
				return s, a
			}
			return l.ballooned(s, in, now)
		case over == Soft:
			return l.ballooned(s, in, now)
		case below:
			s.Phase, s.Since = Calm, time.Time{}
		}
	case Graced:
		if over == Hard {
			return l.act(s, Hard, in, now)
		}
		if !now.Before(s.TermAt) {
			return l.act(s, Soft, in, now)
		}
	case Quiet, Ending:
		return l.end(s, over, in, now)
	case Killed:
	}
	return s, None
}

// judge says which limit the sample is above, and whether it is a sample that shows the child below both.
func (l Limits) judge(in Sample) (over Limit, below bool) {
	if !in.Known || l.Mode == Legacy && !in.AfterJob {
		return 0, false
	}
	switch {
	case l.Hard > 0 && in.Bytes > l.Hard:
		return Hard, false
	case l.Soft > 0 && in.Bytes > l.Soft:
		return Soft, false
	}
	return 0, true
}

func (l Limits) ballooned(s State, in Sample, now time.Time) (State, Action) {
	if now.Sub(s.Since) < l.Balloon {
		return s, None
	}
	return l.act(s, Soft, in, now)
}

// tooLow warns, once a slot, of a limit that a child passes before its first job.
func (l Limits) tooLow(s State, in Sample) (State, Action) {
	if !in.Fresh || s.Warned {
		return s, None
	}
	s.Warned = true
	return s, Warn
}

// act begins the end of a child, unless one was ended in its slot a short while ago.
func (l Limits) act(s State, over Limit, in Sample, now time.Time) (State, Action) {
	full := over == Hard && in.Full
	if l.held(s.Slot, now) && !full {
		if s.Warned {
			return s, None
		}
		s.Warned = true
		return s, Warn
	}
	s.Limit, s.Slot = over, Slot{Acted: now}
	switch {
	case full || over == Hard && l.HardGrace == 0:
		s.Phase, s.KillAt = Killed, now
		return s, Kill
	case over == Hard:
		s.KillAt = now.Add(l.HardGrace)
		s.TermAt = l.beforeHardKill(s.KillAt)
	case l.Mode == Legacy:
		s.TermAt = now.Add(l.ShutdownWait)
		s.KillAt = s.TermAt.Add(l.KillAfter)
	default:
		s.TermAt = now.Add(l.Grace)
		s.KillAt = s.TermAt.Add(l.ShutdownWait)
	}
	s.Phase = Quiet
	return s, Stop
}

// end is the end of a child that was begun; it can only become shorter.
func (l Limits) end(s State, over Limit, in Sample, now time.Time) (State, Action) {
	if over == Hard && s.Limit == Soft {
		s.Limit = Hard
		if at := now.Add(l.HardGrace); at.Before(s.KillAt) {
			s.KillAt = at
		}
		if at := l.beforeHardKill(s.KillAt); at.Before(s.TermAt) {
			s.TermAt = at
		}
	}
	switch {
	case over == Hard && in.Full, !now.Before(s.KillAt):
		s.Phase = Killed
		return s, Kill
	case s.Phase == Quiet && !now.Before(s.TermAt):
		s.Phase = Ending
		return s, Term
	}
	return s, None
}

func (l Limits) beforeHardKill(kill time.Time) time.Time {
	return kill.Add(-min(l.KillAfter, l.HardGrace/2))
}

func (l Limits) held(s Slot, now time.Time) bool {
	return l.MinInterval > 0 && !s.Acted.IsZero() && now.Sub(s.Acted) < l.MinInterval
}

// Wake is when Next has to be called at the latest although nothing was seen; false when only a sample changes anything.
func (l Limits) Wake(s State) (time.Time, bool) {
	switch s.Phase {
	case Graced:
		at := s.TermAt
		if free := s.Acted.Add(l.MinInterval); !s.Acted.IsZero() && free.After(at) {
			at = free
		}
		return at, true
	case Quiet:
		if s.KillAt.Before(s.TermAt) {
			return s.KillAt, true
		}
		return s.TermAt, true
	case Ending:
		return s.KillAt, true
	case Calm, Ballooning, Killed:
	}
	return time.Time{}, false
}
