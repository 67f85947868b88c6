package natstest

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startBound is how long a server may take until it accepts connections. It is generous: a loaded machine is slow,
// and a server that does not come up at all fails the test anyway.
const startBound = 60 * time.Second

// portBound is how long a server tries to get its port. Nobody else wants it (Port), but each process that begins while a
// listener is closed has a copy of that one until it runs its own program.
var portBound = 20 * time.Second

// run starts a server and waits until it is ready; it is used in the test's process and in the server's own.
func (s settings) run() (*server.Server, error) {
	for until := time.Now().Add(portBound); ; time.Sleep(20 * time.Millisecond) {
		srv, err := s.try()
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
			return srv, err
		}
	}
}

func (s settings) try() (*server.Server, error) {
	o, err := s.options()
	if err != nil {
		return nil, fmt.Errorf("configure nats-server: %w", err)
	}
	srv, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("make nats-server: %w", err)
	}
	last := make(lastWords, 1)
	srv.SetLogger(last, false, false)
	srv.Start()
	for until := time.Now().Add(startBound); !srv.ReadyForConnections(100 * time.Millisecond); {
		err = nil
		select {
		case err = <-last:
		default:
			if time.Now().After(until) {
				err = fmt.Errorf("it was not ready within %s", startBound)
			}
		}
		if err != nil {
			srv.Shutdown()
			srv.WaitForShutdown()
			return nil, fmt.Errorf("start nats-server on %s: %w", s.addr(), err)
		}
	}
	return srv, nil
}

// lastWords is a server's log that keeps the first reason why it cannot start. The server itself goes on without what
// failed, and says nothing more.
type lastWords chan error

func (l lastWords) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("%w (%w)", err, cause) // whatever the format makes of it
		}
	}
	select {
	case l <- err:
	default:
	}
}

func (lastWords) Noticef(string, ...any) {}
func (lastWords) Warnf(string, ...any)   {}
func (lastWords) Errorf(string, ...any)  {}
func (lastWords) Debugf(string, ...any)  {}
func (lastWords) Tracef(string, ...any)  {}
