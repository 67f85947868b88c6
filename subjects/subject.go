package subjects

import (
	"fmt"
	"strings"

	"github.com/seriatim/seriatim/internal/problem"
)

// The first tokens of the subjects that name one lane of one queue: "<prefix>.<queue>.<type>.<encoded id>".
const (
	PrefixJobs   = "jobs"
	PrefixTurns  = "turns"
	PrefixClaims = "claims"
	PrefixDead   = "dead"
	PrefixDue    = "due"
	// PrefixHistory begins the subjects of finished jobs' records.
	PrefixHistory = "history"
)

// PrefixSchedule begins the subjects of schedules, which have no lane in a fixed place.
const PrefixSchedule = "schedule"

// HistorySubject is where the records of e's finished jobs stand.
func (q Queue) HistorySubject(e Entity) string { return q.History(e.Token()) }

// JobSubject is where a job of e is published.
func (q Queue) JobSubject(e Entity) string { return q.Job(e.Token()) }

// TurnSubject is where the turn of e's lane stands.
func (q Queue) TurnSubject(e Entity) string { return q.Turn(e.Token()) }

// ClaimSubject is where the claim of e's lane stands.
func (q Queue) ClaimSubject(e Entity) string { return q.Claim(e.Token()) }

// DeadSubject is where the dead jobs of e stand.
func (q Queue) DeadSubject(e Entity) string { return q.Dead(e.Token()) }

// DueSubject is where a job of e appears when its time has come.
func (q Queue) DueSubject(e Entity) string { return q.Due(e.Token()) }

// Job is JobSubject for a lane as LaneOf gives it, not validated.
func (q Queue) Job(lane string) string { return PrefixJobs + "." + string(q) + "." + lane }

// Turn is TurnSubject for a lane as LaneOf gives it, not validated.
func (q Queue) Turn(lane string) string { return PrefixTurns + "." + string(q) + "." + lane }

// Claim is ClaimSubject for a lane as LaneOf gives it, not validated.
func (q Queue) Claim(lane string) string { return PrefixClaims + "." + string(q) + "." + lane }

// Dead is DeadSubject for a lane as LaneOf gives it, not validated.
func (q Queue) Dead(lane string) string { return PrefixDead + "." + string(q) + "." + lane }

// Due is DueSubject for a lane as LaneOf gives it, not validated.
func (q Queue) Due(lane string) string { return PrefixDue + "." + string(q) + "." + lane }

// History is HistorySubject for a lane as LaneOf gives it, not validated.
func (q Queue) History(lane string) string { return PrefixHistory + "." + string(q) + "." + lane }

// Filter matches all lanes of the queue under one of the prefixes: "jobs.ci.*.*".
func (q Queue) Filter(prefix string) string { return prefix + "." + string(q) + ".*.*" }

// LaneOf cuts the lane, the last two of four tokens, out of a subject, without looking at what they say: a lane
// whose encoding is wrong must still be found, to be given up for it. ok is false when there are not four tokens.
func LaneOf(subject string) (lane string, ok bool) {
	dots, start, last := 0, 0, -1
	for i := range len(subject) {
		if subject[i] != '.' {
			continue
		}
		if i == last+1 {
			return "", false
		}
		if dots++; dots == 2 {
			start = i + 1
		}
		last = i
	}
	if dots != 3 || last == len(subject)-1 {
		return "", false
	}
	return subject[start:], true
}

// ParseSubject takes a subject of one lane apart and checks every token. Errors are ErrSubject (not four tokens, or
// a first token that is none of the prefixes), ErrQueueName, ErrEntityType, ErrEntityID and ErrEncoding.
func ParseSubject(subject string) (prefix string, q Queue, e Entity, err error) {
	prefix, q, e, hint, err := parseSubject(subject)
	if err != nil {
		return "", "", Entity{}, problem.New("read subject "+quote(subject), err, hint)
	}
	return prefix, q, e, nil
}

func parseSubject(subject string) (string, Queue, Entity, string, error) {
	const form = "a job's subject is jobs.<queue>.<type>.<encoded id>"
	lane, ok := LaneOf(subject)
	if !ok {
		return "", "", Entity{}, form, fmt.Errorf("%w: it must have four tokens", ErrSubject)
	}
	prefix, name, _ := strings.Cut(subject[:len(subject)-len(lane)-1], ".")
	switch prefix {
	case PrefixJobs, PrefixTurns, PrefixClaims, PrefixDead, PrefixDue, PrefixHistory:
	default:
		return "", "", Entity{}, form, fmt.Errorf("%w: it begins with %s", ErrSubject, quote(prefix))
	}
	q, err := ParseQueue(name)
	if err != nil {
		return "", "", Entity{}, "", err
	}
	e, hint, err := parseLane(lane)
	return prefix, q, e, hint, err
}
