package engine

import (
	"encoding/json"
	"time"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

// headerCarried is what a failed job brings along that let others pass: what it was charged with in its earlier places.
// A publisher that writes it into a job of its own makes that job die earlier, and nothing else.
const headerCarried = streams.HeaderCarried

type carried struct {
	Counts lane.Counts `json:"counts"`
	Tries  []lane.Try  `json:"tries,omitempty"`
	// Published is when the job came in first.
	Published time.Time `json:"published_at,omitzero"`
}

func (c carried) encode() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // no field can fail to encode
	}
	return string(b)
}

// readCarried takes what cannot be read for nothing.
func readCarried(text string) (c carried) {
	if text == "" {
		return carried{}
	}
	if json.Unmarshal([]byte(text), &c) != nil || c.Counts.Negative() {
		return carried{}
	}
	return c
}
