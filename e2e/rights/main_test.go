// Package rights tests, on a real server and with the configuration that the built coordinator prints, what each role
// may do and what it must not be able to do.
package rights

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams/rights"
)

func TestMain(m *testing.M) { rig.Main(m) }

const password = "averylongpassword1"

// printed is what coordinator prints, with every password set.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	c := fleet.Coordinator{Binary: rig.Binary(t, fleet.Build{Name: "coordinator"})}
	out, err := c.Run(within(t), append([]string{"auth", "show"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "#   NATS_"); ok {
			text = fmt.Sprintf("NATS_%s: %s\n", name, password) + text
		}
	}
	return text
}

// within is a context for what is not slow by itself.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), rig.Bound)
	t.Cleanup(cancel)
	return ctx
}

// userConn connects as a user of the configuration.
func userConn(t *testing.T, s *natstest.Server, user string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+s.Addr(), nats.UserInfo(user, password), nats.ReconnectBufSize(-1), nats.Timeout(rig.Bound),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(user, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func user(role rights.Role) string { return string(role) + "-ci" }

// coordinator runs commands as a user.
func coordinator(t *testing.T, s *natstest.Server, user string) fleet.Coordinator {
	t.Helper()
	return fleet.Coordinator{
		Binary: rig.Binary(t, fleet.Build{Name: "coordinator"}), Mark: t.TempDir(),
		URL: fmt.Sprintf("nats://%s:%s@%s", user, password, s.Addr()),
	}
}

// refusedNow says that the server refuses what do does, by the permissions of the connection's user, who was refused
// nothing before.
func refusedNow(t *testing.T, nc *nats.Conn, do func() error) bool {
	t.Helper()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(within(t)); err != nil {
		t.Fatal(err)
	}
	return errors.Is(nc.LastError(), nats.ErrPermissionViolation)
}
