package guardian

import (
	"bufio"
	"encoding/json"
	"errors"
	"time"
)

// A message between guardian and engine is a line: one byte for its kind, and JSON. Both ends are the same program, and
// a new engine is started from the file that the guardian runs from, so there are no versions.
const (
	// From the engine.
	tellWatch     = 'W' // wireWatch
	tellHeld      = 'H' // Held; kept as it is
	tellListening = 'L' // signals may be forwarded
	tellLeave     = 'X' // wireLeave: it is about to exit on purpose
	// From the guardian, once, first of all.
	tellPredecessor = 'P' // wirePredecessor
)

type wireWatch struct {
	Session time.Duration `json:"s"`
	Groups  []wireGroup   `json:"g,omitempty"`
}

type wireGroup struct {
	PID   int           `json:"p"`
	Start uint64        `json:"b"` // with the pid it names the process for good
	Until time.Duration `json:"u,omitempty"`
}

type wireLeave struct {
	Status int `json:"status"`
}

type wirePredecessor struct {
	Reason Reason          `json:"reason,omitempty"`
	Held   json.RawMessage `json:"held,omitempty"`
}

// longest bounds a message in bytes: a lane of the longest names takes less than 1 KiB.
const longest = MaxHeldLanes << 10

func encode(kind byte, v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // these types cannot fail
	}
	line := make([]byte, 0, len(body)+2)
	return append(append(append(line, kind), body...), '\n')
}

// readMessage reads the next message. Its body is the caller's. One that is too long is passed over, as is what a process
// that died while it wrote has left.
func readMessage(r *bufio.Reader) (kind byte, body []byte, err error) {
	for {
		var line []byte
		for {
			part, err := r.ReadSlice('\n')
			if len(line) <= longest {
				line = append(line, part...)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil {
				return 0, nil, err
			}
			break
		}
		if len(line) >= 2 && len(line) <= longest {
			return line[0], line[1 : len(line)-1], nil
		}
	}
}
