package alerts

import "time"

// maxThings bounds how many things a limit remembers; beyond that the oldest is forgotten, and may be told again.
const maxThings = 1000

// limit lets one alert about a thing pass in a while, and counts those that it holds back.
type limit struct {
	every time.Duration
	last  map[thing]*seen
}

type thing struct{ event, about string }

type seen struct {
	at   time.Time
	held int
	told bool // of an event that another one may follow: it passed, and its end has not been told
}

func newLimit(every time.Duration) *limit { return &limit{every: every, last: map[thing]*seen{}} }

// take says whether the alert may pass, and how many like it were held back since the last that did. The end of
// something passes exactly when its beginning did.
func (l *limit) take(a Alert) (pass bool, held int) {
	if a.Follows != "" {
		begin := l.last[thing{a.Follows, a.About}]
		if begin == nil || !begin.told {
			return false, 0
		}
		begin.told = false
		return true, 0
	}
	key := thing{a.Event, a.About}
	s := l.last[key]
	if s == nil {
		if len(l.last) >= maxThings {
			l.forget()
		}
		l.last[key] = &seen{at: a.Time, told: true}
		return true, 0
	}
	if a.Time.Sub(s.at) < l.every {
		s.held++
		return false, 0
	}
	held = s.held
	*s = seen{at: a.Time, told: true}
	return true, held
}

func (l *limit) forget() {
	var oldest thing
	var at time.Time
	for key, s := range l.last {
		if at.IsZero() || s.at.Before(at) {
			oldest, at = key, s.at
		}
	}
	delete(l.last, oldest)
}
