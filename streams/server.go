package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
)

// MinServer is the oldest server that has what this program needs.
const MinServer = "2.14"

const minMajor, minMinor = 2, 14

// CheckServer says whether the connected server can be used: new enough (ErrOldServer), with JetStream for this
// account (ErrNoJetStream), in the domain that was named (ErrNoServer: the way to it may be down). A user without the right
// to ask is not told so here; its requests will tell.
func CheckServer(ctx context.Context, nc *nats.Conn) error {
	op := "check the server at " + nc.ConnectedUrlRedacted()
	if err := CheckVersion(nc.ConnectedServerVersion()); err != nil {
		return problem.New(op, err, "upgrade nats-server; a cluster can be upgraded one server at a time")
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var (
		m   *nats.Msg
		err error
	)
	for { // a cluster between two leaders may not answer
		patience, done := context.WithTimeout(ctx, askPatience)
		m, err = ask(patience, nc, "INFO", nil)
		done()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			break
		}
	}
	switch {
	case errors.Is(err, ErrNoRight):
		return nil
	case errors.Is(err, nats.ErrNoResponders) && Domain(nc) != "":
		return problem.New(op, fmt.Errorf("%w: nobody answers for the JetStream domain %q, the server's own is %q", ErrNoServer, Domain(nc), nc.ConnectedDomain()),
			"another domain is reached where a leaf node joins this account with it")
	case errors.Is(err, nats.ErrNoResponders):
		return noJetStream(op, err)
	case err != nil:
		return explain(op, "", err)
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return problem.New(op, err, "")
	}
	if answer.Error != nil {
		return explain(op, "", answer.Error)
	}
	return nil
}

const askPatience = time.Second

// CheckVersion refuses a server version below MinServer with ErrOldServer, naming both. Pre-releases of a version that
// is new enough pass, and so does what has no version at all: a server built from source.
func CheckVersion(version string) error {
	v := strings.TrimPrefix(strings.TrimSpace(version), "v")
	parts := strings.SplitN(v, ".", 3)
	if len(parts) < 2 {
		return nil
	}
	major, errMajor := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(strings.SplitN(parts[1], "-", 2)[0])
	if errMajor == nil && errMinor == nil && (major < minMajor || major == minMajor && minor < minMinor) {
		return fmt.Errorf("%w: it is %s, and %s is needed", ErrOldServer, version, MinServer)
	}
	return nil
}
