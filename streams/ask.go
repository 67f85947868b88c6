package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// ErrNoRight: the server lets this user not ask for that.
var ErrNoRight = errors.New("this user has no right to do that")

// ask makes a request of the JetStream API, and notices when the server refuses it: ErrNoRight, at once. Elsewhere such a
// request is never answered, and the violation is only told beside it.
func ask(ctx context.Context, nc *nats.Conn, subject string, body []byte) (*nats.Msg, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	subject = API(nc) + subject
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest(subject, inbox, body); err != nil {
		return nil, err
	}
	// The refusal stands in the connection before the answer to this.
	if err := nc.FlushWithContext(ctx); err != nil {
		return nil, err
	}
	if last := nc.LastError(); errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), `"`+subject+`"`) {
		return nil, fmt.Errorf("%w: %w", ErrNoRight, last)
	}
	m, err := sub.NextMsgWithContext(ctx)
	if err == nil && len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return nil, nats.ErrNoResponders
	}
	return m, err
}

// MayRead says whether this user may read the queue's settings. A publisher may not, and need not.
func MayRead(ctx context.Context, nc *nats.Conn, q subjects.Queue) (bool, error) {
	_, err := ask(ctx, nc, "STREAM.INFO."+q.JobsStream(), nil)
	if errors.Is(err, ErrNoRight) {
		return false, nil
	}
	return err == nil, problem.New("read queue "+string(q), err, "")
}
