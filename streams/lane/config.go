package lane

import "time"

// Config is what the algorithm counts with. Durations are on the holder's own clock.
type Config struct {
	// Lease is how long a session is believed in by others after they saw its record.
	Lease time.Duration
	// Margin is how much earlier the holder itself stops believing; at least 2 s. It is the time that killing may take. That
	// of a claim is ClaimMargin.
	Margin time.Duration
	// Window is the most that may pass from the sending of a head read to having the claim. A finished claim stays for at
	// least 50 s, so a head that was finished meanwhile is noticed.
	Window time.Duration
	// ReadLag is the most that a leader which was just elected may be behind: it answers before it has carried out all that
	// its predecessor confirmed. Only replicated queues have one.
	ReadLag time.Duration
	// ClaimTTL is the life of a claim without counts.
	ClaimTTL time.Duration
	// LongAfter is when a running claim is first rewritten, with LongTTL, and again every LongEvery.
	LongAfter, LongTTL, LongEvery time.Duration
	// AnswerWait is when a request without an answer is sent again.
	AnswerWait time.Duration
	// BusyMin and BusyMax bound the delay with which the turn of a lane that is busy elsewhere is given back.
	BusyMin, BusyMax time.Duration
	// SliceJobs and SliceTime bound what one turn may run while other lanes wait.
	SliceJobs int
	SliceTime time.Duration
	// MaxAttempts, MaxCrashes and MaxLost are the counts at which a job is dead; 0 is no limit.
	MaxAttempts, MaxCrashes, MaxLost int
	// Pass is on_failure pass: a failed job lets the others pass and comes back at the end of its lane. Else the lane waits
	// for its retry.
	Pass bool
	// Halt is on_dead halt: a dead job stays where it is, and its lane stands until an operator acts.
	Halt bool
	// Replicated says that the queue's streams have more than one copy.
	Replicated bool
	// Broken is empty but in builds and simulations that prove that a rule is needed.
	Broken Broken
}

// DefaultConfig is a queue's with the given lease: the numbers of the design. The margin is a fifth of the lease, but
// not less than 2 s: killing process groups on a loaded host takes well below a second.
func DefaultConfig(lease time.Duration) Config {
	return Config{
		Lease:       lease,
		Margin:      max(2*time.Second, lease/5),
		Window:      15 * time.Second,
		ReadLag:     time.Second,
		ClaimTTL:    60 * time.Second,
		LongAfter:   10 * time.Second,
		LongTTL:     5 * time.Minute,
		LongEvery:   100 * time.Second,
		AnswerWait:  2 * time.Second,
		BusyMin:     20 * time.Millisecond,
		BusyMax:     time.Second,
		SliceJobs:   32,
		SliceTime:   500 * time.Millisecond,
		MaxAttempts: 5,
		MaxCrashes:  3,
		MaxLost:     3,
	}
}

// ClaimMargin is Margin for a claim, whose life does not grow with the lease: a fifth of it at most, or under a long lease
// a claim would be over before it is rewritten, or when it is written.
func (c *Config) ClaimMargin() time.Duration { return min(c.Margin, c.ClaimTTL/5) }
