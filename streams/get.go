package streams

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// GetMessage reads one message by its sequence from the stream's leader. Errors are ErrNotFound, or the server's own
// (jetstream.ErrStreamNotFound).
func GetMessage(ctx context.Context, js jetstream.JetStream, stream string, seq uint64) (Message, error) {
	return getMessage(ctx, js, stream, map[string]any{"seq": seq}, fmt.Sprintf("sequence %d", seq))
}

// FirstMessage reads the first message of a subject from the stream's leader. Errors as GetMessage's.
func FirstMessage(ctx context.Context, js jetstream.JetStream, stream, subject string) (Message, error) {
	return getMessage(ctx, js, stream, map[string]any{"seq": 1, "next_by_subj": subject}, subject)
}

// LastMessage reads the last message of a subject from the stream's leader. Errors as GetMessage's.
func LastMessage(ctx context.Context, js jetstream.JetStream, stream, subject string) (Message, error) {
	return getMessage(ctx, js, stream, map[string]any{"last_by_subj": subject}, subject)
}

func getMessage(ctx context.Context, js jetstream.JetStream, stream string, ask map[string]any, what string) (Message, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  string    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := request(ctx, js.Conn(), "STREAM.MSG.GET."+stream, ask, &answer); err != nil {
		return Message{}, err
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return Message{}, fmt.Errorf("%s: %w", what, ErrNotFound)
		}
		return Message{}, answer.Error
	}
	if answer.Message == nil {
		return Message{}, errors.New("the server's answer has no message")
	}
	m := Message{
		Subject: answer.Message.Subject, Seq: answer.Message.Seq, Time: answer.Message.Time,
		Data: answer.Message.Data, Size: len(answer.Message.Data),
	}
	if answer.Message.Header != "" {
		raw, err := base64.StdEncoding.DecodeString(answer.Message.Header)
		if err != nil {
			return Message{}, fmt.Errorf("headers of %s: %w", what, err)
		}
		if m.Header, err = nats.DecodeHeadersMsg(raw); err != nil {
			return Message{}, fmt.Errorf("headers of %s: %w", what, err)
		}
	}
	return m, nil
}
