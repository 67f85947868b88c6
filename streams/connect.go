package streams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// DefaultURL is where a server is looked for when neither a URL nor a context is given.
const DefaultURL = nats.DefaultURL

// TLS are the files, in PEM, of a connection with certificates. All may be empty.
type TLS struct {
	// CA is what the server's certificate is checked against, instead of the system's.
	CA string
	// Cert and Key are the client's own; both or none.
	Cert, Key string
}

// Options say where to connect, as whom, and what to do when nobody answers.
type Options struct {
	// URL is one or several, with commas. It wins over the context's. Empty: the context's, or DefaultURL.
	URL string
	// Context is the name, or the absolute path, of a nats context. Empty: none (see SelectedContext).
	Context string
	// Creds is a credentials file. It is read again on every connection, so it may be renewed.
	Creds string
	TLS   TLS
	// Domain is the JetStream domain that has the streams, where leaf nodes join several. Empty: the context's, or that of the
	// server.
	Domain string
	// Name is what the server shows for this connection.
	Name string
	// Timeout bounds one attempt to connect to one server. 0: 5 s.
	Timeout time.Duration
	// Wait goes on trying while no server answers, until the context ends. What waiting cannot cure is returned at once.
	Wait bool
	// OnWait is told, on the caller's goroutine, why an attempt failed and when the next one comes.
	OnWait func(err error, next time.Duration)
	// OnError is told what the server says out of turn: a subject that this user has no right to, a subscriber too slow.
	// OnError, OnDisconnect and OnReconnect are called on a goroutine of the connection and must not block.
	OnError      func(error)
	OnDisconnect func(error)
	OnReconnect  func()
}

const (
	defaultTimeout = 5 * time.Second
	firstWait      = 100 * time.Millisecond
	mostWait       = 5 * time.Second
	// Well below a lease: a worker wants to be back before the others give it up.
	reconnectWait   = 250 * time.Millisecond
	reconnectJitter = 250 * time.Millisecond
	pingInterval    = 5 * time.Second
)

// Connect makes a connection that reconnects for ever and buffers nothing meanwhile: a publish that cannot be sent now
// fails now, because one that is sent late is a lie about when. The caller closes it.
//
// Errors are ErrNoServer (only without Wait, or when ctx ends), ErrAuth, ErrUnknownContext, or the trouble with a file.
func Connect(ctx context.Context, o Options) (*nats.Conn, error) {
	op := "connect to " + o.where()
	if err := subjects.CheckDomain(o.Domain); err != nil {
		err, _ := o.connectError(op, err)
		return nil, err
	}
	if err := o.checkContext(op); err != nil {
		return nil, err
	}
	attempts := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstWait), backoff.WithMaxInterval(mostWait), backoff.WithMaxElapsedTime(0))
	// The interval is capped before it is spread: without this, a wait could be longer than the longest.
	attempts.RandomizationFactor = 0.2
	attempts.MaxInterval = mostWait * 5 / 6

	for {
		nc, err := o.attempt(ctx)
		if err == nil {
			return nc, nil
		}
		err, final := o.connectError(op, err)
		if ctx.Err() != nil {
			return nil, problem.New(op, fmt.Errorf("%w: given up: %w", ErrNoServer, context.Cause(ctx)), problem.Hint(err))
		}
		if final || !o.Wait {
			return nil, err
		}
		next := attempts.NextBackOff()
		if o.OnWait != nil {
			o.OnWait(err, next)
		}
		if ended := Pause(ctx, next); ended != nil {
			return nil, problem.New(op, fmt.Errorf("%w: given up: %w", ErrNoServer, ended), problem.Hint(err))
		}
	}
}

// where is the place for messages, without credentials.
func (o Options) where() string {
	switch {
	case o.URL == "" && o.Context != "":
		return fmt.Sprintf("context %q", o.Context)
	case o.URL == "":
		return DefaultURL
	}
	servers := strings.Split(o.URL, ",")
	for i, s := range servers {
		s = strings.TrimSpace(s)
		if u, err := url.Parse(s); err == nil && u.User != nil {
			u.User = nil
			s = u.String()
		} else if at := strings.LastIndexByte(s, '@'); at >= 0 {
			s = s[at+1:]
		}
		servers[i] = s
	}
	return strings.Join(servers, ",")
}

func (o Options) attempt(ctx context.Context) (*nats.Conn, error) {
	timeout := o.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	dial := &dialer{timeout: timeout}
	dial.first.Store(&ctx)
	defer dial.first.Store(nil) // reconnecting is not bound to the first connect's context

	opts := []nats.Option{
		nats.Name(o.Name), nats.Timeout(timeout),
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.RetryOnFailedConnect(false),
		nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		// Credentials may be renewed, and a server may come back before its accounts: a running worker goes on trying.
		nats.IgnoreAuthErrorAbort(),
		// Without a handler nats.go prints to standard error on its own.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if o.OnError != nil {
				o.OnError(err)
			}
		}),
		dial.option,
	}
	if o.Creds != "" {
		opts = append(opts, nats.UserCredentials(o.Creds))
	}
	if o.TLS.CA != "" {
		opts = append(opts, nats.RootCAs(o.TLS.CA))
	}
	if o.TLS.Cert != "" || o.TLS.Key != "" {
		opts = append(opts, nats.ClientCert(o.TLS.Cert, o.TLS.Key))
	}
	if o.OnDisconnect != nil {
		opts = append(opts, nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() { // by the caller, who knows
				o.OnDisconnect(err)
			}
		}))
	}
	if o.OnReconnect != nil {
		opts = append(opts, nats.ReconnectHandler(func(*nats.Conn) { o.OnReconnect() }))
	}
	if o.Context == "" {
		at := o.URL
		if at == "" {
			at = DefaultURL
		}
		nc, err := nats.Connect(at, opts...)
		if err != nil {
			return nil, err
		}
		dial.enter(nc, o.Domain)
		return nc, nil
	}
	if o.URL != "" {
		opts = append(opts, func(no *nats.Options) error {
			no.Servers = nil
			for _, s := range strings.Split(o.URL, ",") {
				no.Servers = append(no.Servers, strings.TrimSpace(s))
			}
			return nil
		})
	}
	nc, set, err := natscontext.Connect(o.Context, opts...)
	if err != nil {
		return nil, err
	}
	domain := o.Domain
	if domain == "" {
		domain = set.JSDomain
	}
	if err := subjects.CheckDomain(domain); err != nil || set.JSAPIPrefix != "" {
		nc.Close()
		if err == nil {
			err = fmt.Errorf("%w: the context's jetstream_api_prefix is %q", errAPIPrefix, set.JSAPIPrefix)
		}
		return nil, err
	}
	dial.enter(nc, domain)
	return nc, nil
}

const trustedCert = "the server may want a certificate that it trusts and that has not expired: give it as tls.cert and tls.key"

var errAPIPrefix = errors.New("an API prefix is not supported")

// connectError says what kind of failure it is, and whether it is final: one that waiting does not cure.
func (o Options) connectError(op string, err error) (_ error, final bool) {
	var (
		unknownCA *tls.CertificateVerificationError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		alert     *net.OpError
		syntax    *url.Error
	)
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired):
		return problem.New(op, fmt.Errorf("%w: %w", ErrAuth, err), "check the user and password, the credentials file or the context"), true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return problem.New(op, fmt.Errorf("%w: %w", ErrAuth, err), "renew the server's certificate, or set this host's clock"), true
	case errors.As(err, &unknownCA), errors.As(err, &host):
		return problem.New(op, fmt.Errorf("%w: %w", ErrAuth, err), "give the authority that signed the server's certificate (tls.ca), and the name that it is made out to"), true
	case errors.As(err, &alert) && alert.Op == "remote error":
		// The server's word about our certificate: it is missing, expired, or signed by somebody whom it does not trust.
		return problem.New(op, fmt.Errorf("%w: %w", ErrAuth, err), trustedCert), true
	case errors.Is(err, nats.ErrTLS):
		// Who is too late to read that word finds the connection closed; but so does a client of a server that just dies.
		return problem.New(op, fmt.Errorf("%w: %w", ErrAuth, err), trustedCert), false
	case errors.Is(err, nats.ErrSecureConnWanted), errors.Is(err, nats.ErrSecureConnRequired):
		return problem.New(op, fmt.Errorf("%w: %w", ErrAuth, err), "one side wants TLS and the other does not: compare nats:// and tls:// with the server's configuration"), true
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return problem.New(op, err, "check the paths of the credentials and certificates"), true
	case errors.As(err, &syntax):
		return problem.New(op, err, "a URL looks like nats://host:4222"), true
	case errors.Is(err, errAPIPrefix):
		return problem.New(op, err, "name a domain instead (jetstream_domain), or connect to the account that has the streams"), true
	case errors.Is(err, subjects.ErrDomain):
		return problem.New(op, err, ""), true
	}
	return problem.New(op, fmt.Errorf("%w: %w", ErrNoServer, err), "is the NATS server running, and is the URL right? To try things out: coordinator dev"), false
}

// dialer lets the end of a context end the dial of a first connect, which nats.go has no way to say.
type dialer struct {
	timeout time.Duration
	inner   nats.CustomDialer // what a context brought along: a SOCKS proxy
	first   atomic.Pointer[context.Context]
	domain  string // see Domain; written before anybody else has the connection
}

// enter notes the domain of a connection. In the domain itself its name changes nothing.
func (d *dialer) enter(nc *nats.Conn, domain string) {
	if domain != nc.ConnectedDomain() {
		d.domain = domain
	}
}

func (d *dialer) option(o *nats.Options) error {
	d.inner = o.CustomDialer
	o.CustomDialer = d
	return nil
}

// Dial is called by nats.go, for the first connection and for each later one.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	if d.inner != nil {
		return d.inner.Dial(network, address)
	}
	ctx := context.Background()
	if first := d.first.Load(); first != nil {
		ctx = *first
	}
	plain := net.Dialer{Timeout: d.timeout}
	return plain.DialContext(ctx, network, address)
}
