package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
)

// Coordinator runs the built coordinator against a server.
type Coordinator struct {
	Binary, URL string
	// URLFor says where a command goes, and as whom, when that depends on the command. It wins over URL.
	URLFor func(args []string) string
	// Domain is the JetStream domain of the queues, when it is not the server's.
	Domain string
	// Mark is the fleet's folder.
	Mark string
}

// Run runs one command and returns its standard output.
func (c Coordinator) Run(ctx context.Context, args ...string) ([]byte, error) {
	at := c.URL
	if c.URLFor != nil {
		at = c.URLFor(args)
	}
	flags := args
	if c.Domain != "" {
		flags = append([]string{"--js-domain", c.Domain}, args...)
	}
	cmd := exec.CommandContext(ctx, c.Binary, flags...)
	cmd.Env = append(os.Environ(), Mark+"="+c.Mark, "NATS_URL="+at, "NATS_CONTEXT=", "NATS_TIMEOUT=30s")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, problem.New("coordinator "+strings.Join(args, " "), fmt.Errorf("%w: %s", err, strings.TrimSpace(errs.String())), "")
	}
	return out.Bytes(), nil
}

// JSON runs one command with --json and reads its answer into to.
func (c Coordinator) JSON(ctx context.Context, to any, args ...string) error {
	out, err := c.Run(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	return problem.New("read the answer of coordinator "+strings.Join(args, " "), json.Unmarshal(out, to), "")
}

// QueueInfo asks how a queue is.
func (c Coordinator) QueueInfo(ctx context.Context, queue string) (info streams.Info, err error) {
	err = c.JSON(ctx, &info, "queue", "info", queue)
	return info, err
}
