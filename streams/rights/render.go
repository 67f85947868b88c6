package rights

import (
	"fmt"
	"slices"
	"strings"
)

// width is how long a line of the printed configuration may be.
const width = 118

// Permissions is one variable of a NATS configuration for each grant: to be included beside a configuration that names
// it as `permissions: $ROLE_…` of a user. The server refuses a variable that nobody names.
func Permissions(grants ...Grant) string {
	var b strings.Builder
	for i, g := range grants {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "# %s\n%s: ", g.about(), g.Variable())
		g.write(&b, "")
		b.WriteString("\n")
	}
	return b.String()
}

// Accounts is the part `accounts` of a NATS configuration, with a user for each grant. Passwords come from the server's
// environment.
func Accounts(grants ...Grant) string {
	var b strings.Builder
	b.WriteString("# The passwords come from the server's environment; give each at least 20 letters and digits, the first one a letter:\n#\n")
	for _, g := range grants {
		fmt.Fprintf(&b, "#   %s\n", g.Password())
	}
	b.WriteString("\naccounts {\n")
	var services, streams []string
	for _, account := range []string{StreamsAccount, PublishersAccount} {
		var users []Grant
		for _, g := range grants {
			services, streams = union(services, g.Services), union(streams, g.Streams)
			if g.Account == account {
				users = append(users, g)
			}
		}
		if len(users) == 0 && account == PublishersAccount {
			continue
		}
		writeAccount(&b, account, users, services, streams)
	}
	b.WriteString("}\n")
	return b.String()
}

func writeAccount(b *strings.Builder, account string, users []Grant, services, streams []string) {
	fmt.Fprintf(b, "  %s: {\n", account)
	if account == StreamsAccount {
		b.WriteString("    jetstream: enabled\n")
	}
	if len(users) > 0 {
		b.WriteString("    users: [\n")
		for _, g := range users {
			fmt.Fprintf(b, "      # %s\n      {user: %q, password: $%s, permissions: ", g.about(), g.User, g.Password())
			g.write(b, "      ")
			b.WriteString("}\n")
		}
		b.WriteString("    ]\n")
	}
	if len(services) > 0 {
		how, from := "exports", fmt.Sprintf(", accounts: [%s]", PublishersAccount)
		item := func(kind, s string) string { return fmt.Sprintf("{%s: %q%s}", kind, s, from) }
		if account == PublishersAccount {
			how = "imports"
			item = func(kind, s string) string {
				return fmt.Sprintf("{%s: {account: %s, subject: %q}}", kind, StreamsAccount, s)
			}
		}
		fmt.Fprintf(b, "    %s: [\n", how)
		for _, s := range services {
			fmt.Fprintf(b, "      %s\n", item("service", s))
		}
		for _, s := range streams {
			fmt.Fprintf(b, "      %s\n", item("stream", s))
		}
		b.WriteString("    ]\n")
	}
	b.WriteString("  }\n")
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

func (g Grant) about() string {
	return map[Role]string{
		Publisher: "Stores jobs, and hears how they ended. Nothing else: no acknowledging, no reading, no purging.",
		Worker:    "Runs jobs: all that workerd, or a program with the Go package `worker`, asks the server for.",
		Operator:  "Makes, changes and removes; looks at everything; takes no turns.",
		Viewer:    "Sees everything, bodies included, and changes nothing. A railing against accidents: see docs/security.md.",
	}[g.Role]
}

// write prints the permissions as a map.
func (g Grant) write(b *strings.Builder, indent string) {
	inner := indent + "  "
	b.WriteString("{\n")
	if len(g.Publish.Deny) == 0 && len(g.Publish.Allow) < 5 {
		fmt.Fprintf(b, "%spublish: [%s]\n", inner, strings.Join(quoted(g.Publish.Allow), ", "))
	} else {
		fmt.Fprintf(b, "%spublish: {\n%s  allow: [\n", inner, inner)
		seen := map[string]bool{}
		for _, part := range g.groups {
			var fresh []string
			for _, s := range part.subjects {
				if !seen[s] {
					seen[s] = true
					fresh = append(fresh, s)
				}
			}
			if len(fresh) > 0 && part.why != "" {
				fmt.Fprintf(b, "%s    # %s\n", inner, part.why)
			}
			fill(b, inner+"    ", quoted(fresh))
		}
		fmt.Fprintf(b, "%s  ]\n", inner)
		if len(g.Publish.Deny) > 0 {
			fmt.Fprintf(b, "%s  deny: [\n", inner)
			fill(b, inner+"    ", quoted(g.Publish.Deny))
			fmt.Fprintf(b, "%s  ]\n", inner)
		}
		fmt.Fprintf(b, "%s}\n", inner)
	}
	fmt.Fprintf(b, "%ssubscribe: [%s]\n%s}", inner, strings.Join(quoted(g.Subscribe.Allow), ", "), indent)
}

func quoted(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return out
}

// fill prints items, as many on a line as fit.
func fill(b *strings.Builder, indent string, items []string) {
	line := ""
	for _, item := range items {
		if line != "" && len(indent)+len(line)+2+len(item) > width {
			fmt.Fprintf(b, "%s%s\n", indent, line)
			line = ""
		}
		if line != "" {
			line += ", "
		}
		line += item
	}
	if line != "" {
		fmt.Fprintf(b, "%s%s\n", indent, line)
	}
}
