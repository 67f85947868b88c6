package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/streams/rights"
	"github.com/seriatim/seriatim/subjects"
)

func (a *App) authCommand() *cobra.Command {
	return noun("auth", "Least rights as NATS configuration", a.authShow())
}

// authShow prints; it asks no server.
func (a *App) authShow() *cobra.Command {
	var queues []string
	var permissions, shared bool
	cmd := &cobra.Command{
		Use: "show ROLE [ROLE…]", Short: "Print what a role needs, and no more, as configuration of nats-server", Args: takes("ROLE", "[ROLE…]"),
		Long: `Print what a role needs, and no more, as configuration of nats-server: the part "accounts", with a user for each role.
Write it to a file and include that in the server's configuration. Passwords come from the server's environment.

The roles are publisher, viewer, worker and operator; all means all four. An operator without --queue may make new
queues. Publishers get an account of their own: in the account of the streams a publisher could have the server's answers
sent to the claims of running jobs. --shared puts them there nevertheless.

With --permissions only the permissions are printed, as variables, for a configuration that has its own accounts.

With --js-domain it is for users of a leaf node: the streams are in that JetStream domain, elsewhere.`,
		Example: "  coordinator auth show all --queue ci > auth.conf\n  coordinator auth show worker --queue ci --queue mail --permissions",
	}
	f := cmd.Flags()
	f.StringArrayVarP(&queues, "queue", "q", nil, "`queue` that the rights are for; may be given several times")
	f.BoolVar(&permissions, "permissions", false, "only the permissions, as variables such as $ROLE_WORKER_CI")
	f.BoolVar(&shared, "shared", false, "publishers in the account of the streams: only those whom you trust as workers")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		grants, err := grantsOf(args, queues, shared)
		if err == nil {
			err = subjects.CheckDomain(a.connection.domain)
		}
		if err != nil {
			return usage{err}
		}
		for i := range grants {
			grants[i] = grants[i].In(a.connection.domain)
		}
		switch {
		case a.json && len(grants) == 1:
			return a.object(grants[0])
		case a.json:
			return a.object(grants)
		case permissions:
			fmt.Fprint(a.Stdout, rights.Permissions(grants...))
		default:
			fmt.Fprint(a.Stdout, rights.Accounts(grants...))
		}
		return nil
	}
	return cmd
}

func grantsOf(names, queueNames []string, shared bool) (grants []rights.Grant, err error) {
	var queues []subjects.Queue
	for _, name := range queueNames {
		q, err := subjects.ParseQueue(name)
		if err != nil {
			return nil, err
		}
		queues = append(queues, q)
	}
	var roles []rights.Role
	for _, name := range names {
		if name == "all" {
			roles = append(roles, rights.Roles()...)
			continue
		}
		role, err := rights.ParseRole(name)
		if err != nil {
			return nil, err
		}
		roles = append(roles, role)
	}
	slices.SortFunc(roles, func(x, y rights.Role) int { return slices.Index(rights.Roles(), x) - slices.Index(rights.Roles(), y) })
	for _, role := range slices.Compact(roles) {
		g, err := rights.For(role, queues, shared)
		if err != nil {
			return nil, err
		}
		grants = append(grants, g)
	}
	return grants, nil
}
