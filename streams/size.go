package streams

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/problem"
)

// A job that dies is stored once more with the reason in its headers, and a job that is retried with its id. What
// could not be stored once more must be refused to its publisher: later it would hold up its lane for ever.
const (
	// moveRoom is kept free in a job. A death takes deathMost of it at the most, and what is left of the server's room
	// for the attempts.
	moveRoom  = 4 << 10
	deathMost = 3 << 10
	// deathRoom is what a death takes. A limit may be raised up to it, for a job that has no room for the headers of a
	// retry.
	deathRoom = 7 << 9
	// leastPayload is the smallest server that can be used.
	leastPayload = 8 * moveRoom
	// maxHeader is the server's limit for the headers of a stored message.
	maxHeader = 64<<10 - 1

	smaller = "put the data into an object store and its name into the job"
)

// sized is the policy with the largest job filled in that the server allows.
func (p Policy) sized(op string, nc *nats.Conn) (Policy, error) {
	most := nc.MaxPayload()
	switch {
	case most <= 0:
		return p, nil
	case most < leastPayload:
		return p, problem.New(op, fmt.Errorf("this server takes messages of %d bytes at the most, and %d are needed", most, leastPayload),
			"raise max_payload in the server's configuration; its default is 1 MiB")
	case p.MaxJobSize == 0:
		p.MaxJobSize = most - moveRoom
	case p.MaxJobSize > most-deathRoom:
		return p, problem.New(op, fmt.Errorf("%w: max_job_size is %d, and this server takes jobs of %d bytes at the most", ErrPolicy, p.MaxJobSize, most-deathRoom),
			fmt.Sprintf("0 is what the server allows; its max_payload is %s, and %d bytes are kept for the headers of a dead job", humanize.IBytes(uint64(most)), deathRoom))
	}
	return p, nil
}

// checkSize refuses what the server would refuse, and what could not be stored again with a reason.
func checkSize(op string, nc *nats.Conn, msg *nats.Msg) error {
	most := nc.MaxPayload()
	header := headerSize(msg.Header)
	size := int64(header + len(msg.Data))
	if most > 0 && size > most-moveRoom {
		return problem.New(op, fmt.Errorf("%w: body and headers are %s (%d bytes); this server takes %s (%d bytes), less %d for the headers that a move adds",
			ErrTooLarge, humanize.IBytes(uint64(size)), size, humanize.IBytes(uint64(most)), most, moveRoom),
			smaller+", or raise max_payload in the server's configuration")
	}
	if header > maxHeader-moveRoom {
		return problem.New(op, fmt.Errorf("%w: its headers are %d bytes, and %d are possible", ErrTooLarge, header, maxHeader-moveRoom), "put more into the body and less into headers")
	}
	return nil
}

// headerSize is what headers take up on the wire.
func headerSize(h nats.Header) int {
	if len(h) == 0 {
		return 0
	}
	size := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(": \r\n") + len(v)
		}
	}
	return size
}
