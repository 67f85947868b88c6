package lane

import (
	"fmt"
	"slices"
	"strings"
)

// Rule is one of the rules that order and exclusion rest on. Each can be switched off to prove that the tests and the
// checker would notice; a release has all of them on.
type Rule uint8

// The rules, in the order in which a turn meets them.
const (
	// RuleClaimCAS: a claim is a compare-and-set; a refusal is never ignored.
	RuleClaimCAS Rule = iota
	// RuleHeadRead: the head is always read, and the claim stands at most Window after the sending of that read.
	RuleHeadRead
	// RuleRecordFirst: after a refusal the record is read before the head.
	RuleRecordFirst
	// RuleStaleHead: a head earlier than the record's job is a stale read.
	RuleStaleHead
	// RuleStolenMark: a stolen claim is marked, and released by its holder alone.
	RuleStolenMark
	// RuleLeaderRead: on replicated queues heads and records come from the leader.
	RuleLeaderRead
	// RuleFirstSending: a session counts from the first sending of its last confirmed write.
	RuleFirstSending
	// RuleKillAtEnd: at the end of its session a holder kills all its groups.
	RuleKillAtEnd
	// RuleDeadFirst: a silent session is declared dead by compare-and-set before its claims are stolen.
	RuleDeadFirst
	// RuleLongClaims: the claim of a long job is rewritten before it expires, and the job is killed when that fails.
	RuleLongClaims
	// RuleEmptyGroup: a claim is given back only when the job's group is empty.
	RuleEmptyGroup
	// RuleEndConfirmed: the look comes after the confirmed end of the turn.
	RuleEndConfirmed
	// RuleLook: after the end of a turn the lane is looked at again.
	RuleLook
	// RuleAudit: every job that is still there after a while is looked at once.
	RuleAudit
	// RuleSweep: every lane gets a turn published now and then.
	RuleSweep
	// RuleMoveIDs: every move between streams has an id of its own.
	RuleMoveIDs
	// RuleStealCount: the write that steals a claim counts the loss.
	RuleStealCount

	ruleCount
)

var ruleNames = [ruleCount]string{
	"claim-cas", "head-read", "record-first", "stale-head", "stolen-mark", "leader-read", "first-sending", "kill-at-end",
	"dead-first", "long-claims", "empty-group", "end-confirmed", "look", "audit", "sweep", "move-ids", "steal-count",
}

// String is the name that `make demo BREAK=<name>` takes.
func (r Rule) String() string { return ruleNames[r] }

// AllRules lists every rule.
func AllRules() []Rule {
	all := make([]Rule, ruleCount)
	for i := range all {
		all[i] = Rule(i)
	}
	return all
}

// Broken is the set of rules that are switched off. Its zero value, no rule, is the only one that a release has.
type Broken uint32

// Off says whether rule r is switched off.
func (b Broken) Off(r Rule) bool { return b&(1<<r) != 0 }

// Break is a set of the rules given.
func Break(rules ...Rule) Broken {
	var b Broken
	for _, r := range rules {
		b |= 1 << r
	}
	return b
}

// String lists the names, separated by commas.
func (b Broken) String() string {
	var names []string
	for _, r := range AllRules() {
		if b.Off(r) {
			names = append(names, r.String())
		}
	}
	return strings.Join(names, ",")
}

// ParseBroken reads names separated by commas; the empty string is no rule. An unknown name is an error that lists the
// known ones.
func ParseBroken(names string) (Broken, error) {
	var b Broken
	for name := range strings.SplitSeq(names, ",") {
		if name == "" {
			continue
		}
		i := slices.Index(ruleNames[:], name)
		if i < 0 {
			return 0, fmt.Errorf("no rule is named %q; the rules are %s", name, strings.Join(ruleNames[:], ", "))
		}
		b |= 1 << i
	}
	return b, nil
}

// broken is set only by a build that is meant to fail: -ldflags "-X …/streams/lane.broken=stolen-mark". It is a
// link-time value, so no flag, file or environment of a release can switch a rule off.
var broken string

// BuildBroken is the set of rules that this very build has switched off; a name that the build got wrong panics, since
// a proof with the wrong rule off proves nothing.
func BuildBroken() Broken {
	b, err := ParseBroken(broken)
	if err != nil {
		panic("this build's broken rule: " + err.Error())
	}
	return b
}
