package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

const defaultServer = streams.DefaultURL

// connection is how the command line and the environment say where the server is.
type connection struct {
	server, context, creds, user, password, domain string
	tls                                            streams.TLS
	timeout                                        string
}

func (c *connection) bind(f *pflag.FlagSet) {
	f.StringVarP(&c.server, "server", "s", "", "NATS server `URL`, or several with commas between them (NATS_URL)")
	f.StringVar(&c.context, "context", "", "`name` of a NATS context (NATS_CONTEXT)")
	f.StringVar(&c.creds, "creds", "", "credentials `file` (NATS_CREDS)")
	f.StringVar(&c.user, "user", "", "user name, or a token (NATS_USER)")
	f.StringVar(&c.password, "password", "", "password (NATS_PASSWORD)")
	f.StringVar(&c.tls.CA, "tls-ca", "", "`file` with the authorities to trust (NATS_CA)")
	f.StringVar(&c.tls.Cert, "tls-cert", "", "`file` with the client's certificate (NATS_CERT)")
	f.StringVar(&c.tls.Key, "tls-key", "", "`file` with the client's key (NATS_KEY)")
	f.StringVar(&c.domain, "js-domain", "", "JetStream `domain` of the queues, when leaf nodes join several")
	f.StringVar(&c.timeout, "timeout", "", "how long to wait for an answer (NATS_TIMEOUT; default 5s)")
}

// resolve completes the flags by the environment.
func (a *App) resolve() (streams.Options, time.Duration, error) {
	c := a.connection
	for _, e := range []struct {
		field *string
		name  string
	}{
		{&c.server, "NATS_URL"},
		{&c.context, "NATS_CONTEXT"},
		{&c.creds, "NATS_CREDS"},
		{&c.tls.CA, "NATS_CA"},
		{&c.tls.Cert, "NATS_CERT"},
		{&c.tls.Key, "NATS_KEY"},
		{&c.timeout, "NATS_TIMEOUT"},
	} {
		if *e.field == "" {
			*e.field = a.getenv(e.name)
		}
	}
	timeout := 5 * time.Second
	if c.timeout != "" {
		d, err := config.ParseDuration(c.timeout)
		if err != nil || d == 0 {
			return streams.Options{}, 0, usagef("write it as 5s or 1m", "--timeout (NATS_TIMEOUT): %q is not a duration above 0", c.timeout)
		}
		timeout = d
	}
	if err := subjects.CheckDomain(c.domain); err != nil {
		return streams.Options{}, 0, usage{err}
	}
	if c.context == "" && c.server == "" {
		c.context = streams.SelectedContext()
	}
	o := streams.Options{
		URL: c.server, Context: c.context, Creds: c.creds, Domain: c.domain, TLS: c.tls, Name: program, Timeout: timeout,
	}
	user, password := c.user, c.password
	if user == "" && c.context == "" {
		user, password = a.getenv("NATS_USER"), a.getenv("NATS_PASSWORD")
	}
	if user != "" {
		if c.context != "" {
			return o, 0, usagef("put them into the context, or give --server", "--user does not go with a context")
		}
		o.URL = withUser(o.URL, user, password)
	}
	return o, timeout, nil
}

// withUser puts a user, or a token, into every URL that has none.
func withUser(servers, user, password string) string {
	if servers == "" {
		servers = defaultServer
	}
	info := url.User(user)
	if password != "" {
		info = url.UserPassword(user, password)
	}
	parts := strings.Split(servers, ",")
	for i, p := range parts {
		p = strings.TrimSpace(p)
		if !strings.Contains(p, "://") {
			p = "nats://" + p
		}
		if u, err := url.Parse(p); err == nil && u.User == nil {
			u.User = info
			p = u.String()
		}
		parts[i] = p
	}
	return strings.Join(parts, ",")
}

// session is one command's connection.
type session struct {
	nc *nats.Conn
	js jetstream.JetStream
	// timeout bounds one request to the server.
	timeout time.Duration
}

// with connects, checks the server, runs do and closes. ctx in do has no deadline beyond the caller's.
func (a *App) with(ctx context.Context, do func(ctx context.Context, s *session) error) error {
	o, timeout, err := a.resolve()
	if err != nil {
		return err
	}
	nc, err := streams.Connect(ctx, o)
	if err != nil {
		return err
	}
	defer nc.Close()
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := streams.CheckServer(limited, nc); err != nil {
		return err
	}
	js, err := streams.JetStream(nc, jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		return err
	}
	return refused(nc, do(ctx, &session{nc: nc, js: js, timeout: timeout}))
}

// refused says why a request was not answered when the reason is that this user has no right to it: the server tells that
// beside the request.
func refused(nc *nats.Conn, err error) error {
	last := nc.LastError()
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) || !errors.Is(last, nats.ErrPermissionViolation) {
		return err
	}
	op := "ask the server"
	if p := (*problem.Error)(nil); errors.As(err, &p) {
		op = p.Op
	}
	return problem.New(op, fmt.Errorf("%w: %w", streams.ErrNoRight, last), "what each role may do is printed by: coordinator auth show all --queue QUEUE")
}

// once is with for commands that are one request or a few: all of them have the timeout together.
func (a *App) once(ctx context.Context, do func(ctx context.Context, s *session) error) error {
	return a.with(ctx, func(ctx context.Context, s *session) error {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		return do(ctx, s)
	})
}
