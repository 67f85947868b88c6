package streams

import (
	"encoding/json"
	"time"

	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// Carried is what a failed job brings along, in HeaderCarried, that let others pass: what it was charged with in its
// earlier places. A publisher that writes it into a job of its own makes that job die earlier, and nothing else.
type Carried struct {
	Counts lane.Counts `json:"counts"`
	Tries  []lane.Try  `json:"tries,omitempty"`
	// Published is when the job came in first.
	Published time.Time `json:"published_at,omitzero"`
}

// Encode is the header's value.
func (c Carried) Encode() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // no field can fail to encode
	}
	return string(b)
}

// EncodeWithin is Encode in at most so many bytes. Counts always stay; of the tries goes what does not fit.
func (c Carried) EncodeWithin(most int) string {
	tries := c.Tries
	c.Tries = fitTries(tries, func(some []lane.Try) bool {
		c.Tries = some
		return len(c.Encode()) <= most
	})
	return c.Encode()
}

// ReadCarried is the inverse. It takes what cannot be read for nothing.
func ReadCarried(text string) (c Carried) {
	if text == "" {
		return Carried{}
	}
	if json.Unmarshal([]byte(text), &c) != nil || c.Counts.Negative() {
		return Carried{}
	}
	return c
}

// carriedBy is what a job brings along, nil for nothing.
func carriedBy(h subjects.Header) *Carried {
	c := ReadCarried(subjects.Get(h, HeaderCarried))
	if c.Counts.Zero() && len(c.Tries) == 0 {
		return nil
	}
	return &c
}
