// Package rights says what each role needs of a NATS server, and no more, as permissions of NATS: subjects that may be
// published on and subscribed to. It is pure: queues in, permissions or configuration text out. Any goroutine may call
// it.
//
// # Invariants
//
// Whatever the code of this repository says to a server under a role is among the role's subjects: the end-to-end tests
// run under the configuration that is printed from here. Who adds a request to the code adds its subject here, or those
// tests fail. What a role must not do is a table of attempts in e2e/rights.
//
// # What rights cannot do
//
// They are a wall between accounts, and a railing inside one. Inside the account of the streams a user chooses where the
// server answers, and where a consumer that it makes delivers to, and the server does both with its own rights. So
// publishers, who are many and not trusted, have an account of their own that imports nothing but the subjects of their
// queues. Workers of different trust need accounts of their own too.
package rights

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seriatim/seriatim/internal/nearest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// Role is what somebody is to a queue.
type Role string

// The roles.
const (
	Publisher Role = "publisher" // stores jobs, and hears how they ended
	Worker    Role = "worker"    // runs jobs
	Operator  Role = "operator"  // makes, changes and removes queues; moves and removes jobs
	Viewer    Role = "viewer"    // looks on
)

// Roles are all roles, the one that may least first.
func Roles() []Role { return []Role{Publisher, Viewer, Worker, Operator} }

// ParseRole reads a role's name.
func ParseRole(name string) (Role, error) {
	var known []string
	for _, r := range Roles() {
		if string(r) == name {
			return r, nil
		}
		known = append(known, string(r))
	}
	hint := "the roles are " + strings.Join(known, ", ")
	if n := nearest.Word(name, known); n != "" {
		hint = fmt.Sprintf("did you mean: %s?", n)
	}
	return "", problem.New("read the role", fmt.Errorf("unknown role %q", name), hint)
}

// Accounts of the printed configuration: where the streams are, and where publishers are.
const (
	StreamsAccount    = "SERIATIM"
	PublishersAccount = "APPS"
)

// Grant is what one user of a role may do.
type Grant struct {
	Role Role `json:"role"`
	// Queues are what it is about; none is all of them, which only an operator can be granted.
	Queues []subjects.Queue `json:"queues"`
	// User is a name for the user, such as worker-ci. Account is where it belongs.
	User    string `json:"user"`
	Account string `json:"account"`

	Publish   Subjects `json:"publish"`
	Subscribe Subjects `json:"subscribe"`
	// Services and Streams are what the publishers' account imports from the streams' account, which exports it.
	Services []string `json:"services,omitempty"`
	Streams  []string `json:"streams,omitempty"`

	groups []group // what Allow is made of, for people
}

// Subjects are allowed but for those that are denied.
type Subjects struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny,omitempty"`
}

// group is subjects that serve one purpose.
type group struct {
	why      string
	subjects []string
}

// For is what a role needs for these queues. shared puts a publisher into the streams' account, where nothing keeps it
// from aiming the server's answers: for publishers as trusted as workers.
func For(role Role, queues []subjects.Queue, shared bool) (Grant, error) {
	op := "rights of a " + string(role)
	for i, q := range queues {
		if _, err := subjects.ParseQueue(string(q)); err != nil {
			return Grant{}, err
		}
		if slices.Contains(queues[:i], q) {
			return Grant{}, problem.New(op, fmt.Errorf("queue %s is named twice", q), "")
		}
	}
	if len(queues) == 0 && role != Operator {
		return Grant{}, problem.New(op, fmt.Errorf("no queue is named"), "name one or several: --queue ci --queue mail")
	}
	g := Grant{Role: role, Queues: queues, User: string(role), Account: StreamsAccount}
	for _, q := range queues {
		g.User += "-" + string(q)
	}
	if g.Queues == nil {
		g.Queues = []subjects.Queue{}
	}
	g.Subscribe.Allow = []string{inbox}
	switch role {
	case Publisher:
		g.publisher(shared)
	case Viewer:
		g.viewer()
	case Worker:
		g.worker()
	case Operator:
		g.operator()
	default:
		return Grant{}, problem.New(op, fmt.Errorf("unknown role %q", string(role)), "")
	}
	for _, part := range g.groups {
		for _, s := range part.subjects {
			if !slices.Contains(g.Publish.Allow, s) {
				g.Publish.Allow = append(g.Publish.Allow, s)
			}
		}
	}
	return g, nil
}

// In is the same for a user who is connected elsewhere than in the JetStream domain of the streams: by a leaf node.
func (g Grant) In(domain string) Grant {
	if domain == "" {
		return g
	}
	move := func(list []string) []string {
		list = slices.Clone(list)
		for i, s := range list {
			switch rest, isAPI := strings.CutPrefix(s, api); {
			case isAPI:
				list[i] = subjects.PrefixAPI(domain) + rest
			case strings.HasPrefix(s, "$KV."):
				list[i] = subjects.PrefixKV(domain) + s
			}
		}
		return list
	}
	g.Publish.Allow, g.Publish.Deny = move(g.Publish.Allow), move(g.Publish.Deny)
	g.groups = slices.Clone(g.groups)
	for i := range g.groups {
		g.groups[i].subjects = move(g.groups[i].subjects)
	}
	return g
}

// Variable is the name of the permissions in a configuration, such as ROLE_WORKER_CI.
func (g Grant) Variable() string { return "ROLE_" + upper(g.User) }

// Password is the variable of the environment that has the user's password, such as NATS_WORKER_CI_PASSWORD.
func (g Grant) Password() string { return "NATS_" + upper(g.User) + "_PASSWORD" }

func upper(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
