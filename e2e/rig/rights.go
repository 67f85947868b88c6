package rig

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams/rights"
)

// Every rig's servers know the users that `coordinator auth show` prints, and nobody else but admin: a process of the
// rig that asks for more than its role needs is refused, and its test fails. Admin is for what tests do themselves, and
// for what no role may do.

// Admin is the user who may do everything.
const adminUser, password = "admin", "thepasswordofthisrig"

// authorization is the printed configuration, with admin and the passwords put in.
func authorization(t testing.TB, flags ...string) []natstest.Option {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Bound)
	defer cancel()
	printer := fleet.Coordinator{Binary: Binary(t, fleet.Build{Name: "coordinator"})}
	text, err := printer.Run(ctx, append([]string{"auth", "show", "all", "--queue", Queue}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	users := "    users: [\n"
	config := strings.Replace(string(text), users, users+fmt.Sprintf("      {user: %s, password: %s}\n", adminUser, password), 1)
	for _, role := range rights.Roles() {
		config = fmt.Sprintf("NATS_%s_%s_PASSWORD: %s\n", strings.ToUpper(string(role)), strings.ToUpper(Queue), password) + config
	}
	return []natstest.Option{natstest.Config(config), natstest.UserPassword(adminUser, password)}
}

// As puts a role's user into each of the addresses.
func As(role rights.Role, urls string) string {
	list := strings.Split(urls, ",")
	for i, one := range list {
		u, err := url.Parse(one)
		if err != nil {
			continue // it is refused where it is used
		}
		u.User = url.UserPassword(string(role)+"-"+Queue, password)
		list[i] = u.String()
	}
	return strings.Join(list, ",")
}

// roleOf is who may run a command of coordinator.
func roleOf(args []string) rights.Role {
	is := func(words ...string) bool { return len(args) >= len(words) && slices.Equal(args[:len(words)], words) }
	looks := len(args) > 1 && (args[1] == "ls" || args[1] == "info" || args[1] == "why")
	switch {
	case is("job", "publish"), is("job", "import"):
		return rights.Publisher
	case looks:
		return rights.Viewer
	}
	return rights.Operator
}
