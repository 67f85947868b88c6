package limits

import "time"

// Config is what a machine counts with.
type Config struct {
	// AnswerWait is when a request without an answer is sent again.
	AnswerWait time.Duration
	// WatchLag is how long the watch may take to bring a document that a refusal told of, before it is read.
	WatchLag time.Duration
	// Unheard is how long a machine that has to do with a limit goes without hearing of its document before it reads it.
	Unheard time.Duration
	// Past is the most that a leader which was just elected may be behind.
	Past time.Duration
	// Look is the time between two looks at a limit that nothing happened to.
	Look time.Duration
	// Keep is how long permits that nobody uses are kept for the next jobs, and KeepUnused how long those for which lanes
	// are opened without a job that starts.
	Keep, KeepUnused time.Duration
	// Hold is how long a session keeps the permit by which it has one more than another that wants one.
	Hold time.Duration
	// Polite is how long a session that has its part leaves free room to those that want some.
	Polite time.Duration
	// WantKeep is how long a session says that it wants more after its last lane was turned away.
	WantKeep time.Duration
	// DelayMin and DelayMax bound for how long a lane that was turned away is given back; in between it is so long that
	// about Rate of them come back in a second. Probe is the same for a turn of a queue that is at its limit.
	DelayMin, DelayMax, Probe time.Duration
	Rate                      int
	// Broken is empty but in simulations that prove that a rule is needed.
	Broken Broken
}

// DefaultConfig is what workers count with.
func DefaultConfig() Config {
	return Config{
		AnswerWait: 2 * time.Second, WatchLag: 50 * time.Millisecond, Unheard: 10 * time.Second, Past: 5 * time.Second,
		Look: 100 * time.Millisecond, Keep: 150 * time.Millisecond, KeepUnused: time.Second, Hold: time.Second,
		Polite: 500 * time.Millisecond, WantKeep: 2 * time.Second,
		DelayMin: 20 * time.Millisecond, DelayMax: 5 * time.Second, Probe: 100 * time.Millisecond, Rate: 50,
	}
}

// Rule is one of the rules that the bound or the sharing rests on. Each can be switched off to prove that the
// simulation would notice.
type Rule uint8

// The rules.
const (
	// RuleShareCAS: a document is changed by compare-and-set only; a refusal is never taken for a success.
	RuleShareCAS Rule = iota
	// RuleSentIsGone: a permit that a write gives away is gone when the write is sent, not when it is confirmed.
	RuleSentIsGone
	// RuleOnlyDead: the share of a session is free to others only when it said goodbye or was declared dead.
	RuleOnlyDead
	// RuleOnlyStored: a share that is being taken is used only when it stands in the document.
	RuleOnlyStored
	// RuleWriteDown: jobs that run without a share are written down first.
	RuleWriteDown
	// RuleGive: a session gives to others that want.
	RuleGive
	// RuleGiveBack: a share that nobody uses is given back.
	RuleGiveBack

	ruleCount
)

var ruleNames = [ruleCount]string{
	"share-cas", "sent-is-gone", "only-dead", "only-stored", "write-down", "give", "give-back",
}

// String names the rule.
func (r Rule) String() string { return ruleNames[r] }

// Broken is the set of rules that are switched off.
type Broken uint16

// Break is a set of the rules given.
func Break(rules ...Rule) Broken {
	var b Broken
	for _, r := range rules {
		b |= 1 << r
	}
	return b
}

// Off says whether rule r is switched off.
func (b Broken) Off(r Rule) bool { return b&(1<<r) != 0 }
