package streams

import (
	"encoding/json"

	"github.com/seriatim/seriatim/streams/lane"
)

// HeaderDeadTries is what went wrong in each attempt of a dead job, the oldest first: a JSON array on one line.
const HeaderDeadTries = "Dead-Tries"

// maxDeadTries bounds that header in bytes.
const maxDeadTries = 6 << 10

// triesText is tries in at most so many bytes, as fitTries makes them fit. What is left of nothing is "".
func triesText(tries []lane.Try, most int) string {
	tries = fitTries(tries, func(some []lane.Try) bool { return len(compact(some)) <= most })
	if len(tries) == 0 {
		return ""
	}
	return string(compact(tries))
}

// fitTries is what fits of tries: logs go first, then errors, then whole tries, the oldest before the newer ones.
func fitTries(tries []lane.Try, fits func([]lane.Try) bool) []lane.Try {
	tries = append([]lane.Try(nil), tries...) // a record's memory is its own
	shrink := []func(*lane.Try) bool{
		func(t *lane.Try) bool { is := t.Log != ""; t.Log = ""; return is },
		func(t *lane.Try) bool { is := t.Error != ""; t.Error = ""; return is },
	}
	for len(tries) > 0 && !fits(tries) {
		if !shrinkOldest(tries, shrink) {
			tries = tries[1:]
		}
	}
	return tries
}

func shrinkOldest(tries []lane.Try, ways []func(*lane.Try) bool) bool {
	for _, way := range ways {
		for i := range tries {
			if way(&tries[i]) {
				return true
			}
		}
	}
	return false
}

// readTries is the inverse; what somebody else wrote there is none.
func readTries(text string) []lane.Try {
	var tries []lane.Try
	if text == "" || json.Unmarshal([]byte(text), &tries) != nil {
		return nil
	}
	return tries
}
