package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// This file speaks the server's protocol for snapshots of streams, the one that `nats stream backup` and `nats stream
// restore` speak: the data is the server's own, and comes and goes in chunks that are confirmed one by one.

// Snapshot is what belongs to the data of a snapshot.
type Snapshot struct {
	Config jetstream.StreamConfig `json:"config"`
	State  jetstream.StreamState  `json:"state"`
}

const (
	snapshotChunk = 128 << 10
	// The server gives up on either side after 5 s of silence.
	snapshotSilence = 15 * time.Second
	// Behind the last chunk the server reads all that it was given.
	restoreBound = 10 * time.Minute
)

// chunk is how much goes into one message.
func chunk(nc *nats.Conn) int { return int(min(snapshotChunk, nc.MaxPayload())) }

// saveStream writes a stream's messages to w, as they are: what was there all the while is in it. Consumers are not.
func saveStream(ctx context.Context, nc *nats.Conn, stream string, w io.Writer) (Snapshot, error) {
	inbox := nc.NewInbox()
	chunks := make(chan *nats.Msg, 1024) // the server sends 8 MiB ahead, at most
	sub, err := nc.ChanSubscribe(inbox, chunks)
	if err != nil {
		return Snapshot{}, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	what := map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": chunk(nc)}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		Snapshot
	}
	if err := request(ctx, nc, "STREAM.SNAPSHOT."+stream, what, &answer); err != nil {
		return Snapshot{}, err
	}
	if answer.Error != nil {
		return Snapshot{}, answer.Error
	}
	silence := time.NewTimer(snapshotSilence)
	defer silence.Stop()
	for {
		select {
		case m := <-chunks:
			if len(m.Data) == 0 {
				if code := m.Header.Get("Status"); code != "" && code != "204" {
					return Snapshot{}, fmt.Errorf("the server ended the snapshot: %s %s", code, m.Header.Get("Description"))
				}
				return answer.Snapshot, nil
			}
			if _, err := w.Write(m.Data); err != nil {
				return Snapshot{}, err
			}
			if m.Reply != "" { // the last one wants no answer
				if err := nc.Publish(m.Reply, nil); err != nil {
					return Snapshot{}, err
				}
			}
			silence.Reset(snapshotSilence)
		case <-ctx.Done():
			return Snapshot{}, context.Cause(ctx)
		case <-silence.C:
			return Snapshot{}, fmt.Errorf("the snapshot of %s broke off: %w", stream, nats.ErrTimeout)
		}
	}
}

// restoreStream makes a stream of this configuration from a snapshot's data. A stream of that name must not be there.
func restoreStream(ctx context.Context, nc *nats.Conn, s Snapshot, r io.Reader) error {
	var begun struct {
		Error   *jetstream.APIError `json:"error"`
		Deliver string              `json:"deliver_subject"`
	}
	if err := request(ctx, nc, "STREAM.RESTORE."+s.Config.Name, s, &begun); err != nil {
		return err
	}
	if begun.Error != nil {
		return begun.Error
	}
	deaf := time.Now().Add(snapshotSilence)
	send := func(data []byte, bound time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, bound)
		defer cancel()
		m, err := nc.RequestWithContext(ctx, begun.Deliver, data)
		for errors.Is(err, nats.ErrNoResponders) && time.Now().Before(deaf) {
			// In a cluster the answer above may be here before the word that somebody listens there. Nobody has the chunk.
			if err := Pause(ctx, 20*time.Millisecond); err != nil {
				return err
			}
			m, err = nc.RequestWithContext(ctx, begun.Deliver, data)
		}
		if errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("the server that was to take the stream does not listen: %w", nats.ErrTimeout)
		}
		if err != nil || len(m.Data) == 0 {
			return err
		}
		deaf = time.Time{}
		var answer struct {
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return err
		}
		if answer.Error != nil {
			return answer.Error
		}
		return nil
	}
	buffer := make([]byte, chunk(nc))
	for {
		n, err := io.ReadFull(r, buffer)
		if n > 0 {
			if err := send(buffer[:n], snapshotSilence); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return send(nil, restoreBound)
		}
		if err != nil {
			return err
		}
	}
}
