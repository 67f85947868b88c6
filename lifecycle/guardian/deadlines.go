package guardian

import (
	"sync"
	"time"
)

// knowledge is what the guardian knows about its engine. The reader of the engine's pipe writes it, the guardian's own
// goroutine reads it. It is of one engine; the next one gets a new one.
type knowledge struct {
	mu        sync.Mutex
	watch     wireWatch
	at        time.Duration // when it came
	known     bool          // any watch has come
	held      []byte        // nil: nothing was noted
	listening bool
	leaving   bool
	status    int
}

// overdue says what has to be killed at a time: the whole engine, and how late that is, or single groups.
//
//	no word yet                              nothing: nothing runs
//	a session, now before its end + Slack    groups past their own end + Slack
//	a session, now past its end + Slack      the engine, and all
//	no session                               what still runs Slack after that was told: nothing may
func (k *knowledge) overdue(now time.Duration) (engine bool, late time.Duration, groups []wireGroup) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := &k.watch
	switch {
	case !k.known:
		return false, 0, nil
	case w.Session != 0 && now >= w.Session+Slack:
		return true, now - w.Session, nil
	case w.Session == 0 && now >= k.at+Slack:
		return false, now - k.at, w.Groups
	case w.Session == 0:
		return false, 0, nil
	}
	for _, g := range w.Groups {
		if g.Until != 0 && now >= g.Until+Slack {
			groups = append(groups, g)
			late = max(late, now-g.Until)
		}
	}
	return false, late, groups
}

// forget takes groups that were killed out of what is known, so that they are killed once.
func (k *knowledge) forget(groups []wireGroup) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var left []wireGroup
	for _, g := range k.watch.Groups {
		killed := false
		for _, other := range groups {
			killed = killed || g == other
		}
		if !killed {
			left = append(left, g)
		}
	}
	k.watch.Groups = left
}

// engineState is what is known once the engine has ended.
func (k *knowledge) ended() (held []byte, leaving bool, status int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held, k.leaving, k.status
}

func (k *knowledge) isListening() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.listening
}

// backoff counts deaths.
type backoff struct {
	deaths []time.Duration
	short  int // how many short lives there were in a row
}

// Within deathWindow, mostDeaths deaths are one too many. A life is short when it was below shortLife.
const (
	mostDeaths  = 5
	deathWindow = time.Minute
	shortLife   = 10 * time.Second
)

// died notes a death after such a life and says how long to wait before the next one; false when there is to be none. The
// first is followed at once, because whoever waits for its jobs has waited enough.
func (b *backoff) died(now, lived time.Duration) (wait time.Duration, again bool) {
	recent := b.deaths[:0]
	for _, at := range b.deaths {
		if now-at < deathWindow {
			recent = append(recent, at)
		}
	}
	b.deaths = append(recent, now)
	if lived >= shortLife {
		b.short = 0
	}
	b.short++
	switch {
	case len(b.deaths) >= mostDeaths:
		return 0, false
	case b.short == 1:
		return 0, true
	}
	return 125 * time.Millisecond << min(b.short, mostDeaths), true
}
