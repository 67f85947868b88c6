package schedule

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Debounce stores a job that joins its lane when nobody has called Debounce for the same entity and kind for the time
// given. Each call replaces the job of the one before it, so that only the last one is ever published, and puts it off
// anew: callers that never pause put it off for ever. A job without an id gets one. Errors as Publish's.
func Debounce(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, o streams.PublishOptions, quiet time.Duration) (Delayed, error) {
	if o.ID == "" {
		o.ID = "later-" + strings.ToLower(rand.Text()[:16])
	}
	kind := o.Kind
	if kind == "" {
		kind = subjects.DefaultKind
	}
	return store(ctx, js, q, e, o, When{In: quiet}, debounceToken(e, kind), true)
}

// debounceToken is the same for all jobs of one entity and kind, and no other's: neither has white space in it.
func debounceToken(e subjects.Entity, kind string) string {
	return "quiet-" + strings.TrimPrefix(idToken(e.Token()+" "+kind), "id-")
}
