package dev

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seriatim/seriatim/internal/problem"
)

// embedded is a NATS server with JetStream inside this process, on loopback only.
type embedded struct {
	srv  *server.Server
	dir  string
	temp bool
	lock *os.File
}

// startServer starts a server that keeps its data in dir, or in a folder of its own that stop removes.
func startServer(dir string, port int, log io.Writer) (*embedded, error) {
	e := &embedded{dir: dir}
	if err := e.folder(); err != nil {
		return nil, err
	}
	if err := e.start(port, log); err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, nil
}

func (e *embedded) folder() error {
	if e.dir == "" {
		dir, err := os.MkdirTemp("", "seriatim-dev-")
		if err != nil {
			return problem.New("make a folder for the data", err, "give one with --dir")
		}
		e.dir, e.temp = dir, true
		return nil
	}
	op := "use folder " + strconv.Quote(e.dir)
	if err := os.MkdirAll(e.dir, 0o755); err != nil {
		return problem.New(op, err, "")
	}
	// Two servers on one store destroy it, and nats-server does not look.
	lock, err := lockFile(filepath.Join(e.dir, "coordinator-dev.lock"))
	if err != nil {
		return problem.New(op, err, "another `coordinator dev` uses it; end that one, or give another --dir")
	}
	e.lock = lock
	return nil
}

func (e *embedded) start(port int, log io.Writer) error {
	op := fmt.Sprintf("start a NATS server on 127.0.0.1:%d", port)
	if port == 0 {
		port = server.RANDOM_PORT
	} else {
		// The server would only log that the port is taken.
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return problem.New(op, err, "something listens there already; give another --port, or 0 for any")
		}
		_ = l.Close() // it accepted nothing
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "seriatim-dev", Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: e.dir, NoSigs: true,
	})
	if err != nil {
		return problem.New(op, err, "")
	}
	srv.SetLoggerV2(troubles{log}, false, false, false)
	e.srv = srv
	srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		return problem.New(op, errors.New("it is not ready after 30s"), "its own messages stand above")
	}
	if !srv.JetStreamEnabled() {
		return problem.New(op, errors.New("JetStream did not start"), "is there room on the disk, and may this user write in "+e.dir+"?")
	}
	return nil
}

func (e *embedded) url() string { return e.srv.ClientURL() }

// stop ends the server, waits for it, and removes a folder that it made.
func (e *embedded) stop() error {
	if e.srv != nil {
		e.srv.Shutdown()
		e.srv.WaitForShutdown()
	}
	var errs []error
	if e.lock != nil {
		errs = append(errs, os.Remove(e.lock.Name()), e.lock.Close())
	}
	if e.temp {
		errs = append(errs, os.RemoveAll(e.dir))
	}
	return errors.Join(errs...)
}

// troubles lets through what a person must know of the server's log.
type troubles struct{ out io.Writer }

func (t troubles) say(level, format string, v []any) {
	fmt.Fprintf(t.out, "nats-server: %s: %s\n", level, fmt.Sprintf(format, v...))
}

// These are the server's Logger interface.
func (t troubles) Noticef(string, ...any)         {}
func (t troubles) Debugf(string, ...any)          {}
func (t troubles) Tracef(string, ...any)          {}
func (t troubles) Warnf(format string, v ...any)  { t.say("warning", format, v) }
func (t troubles) Errorf(format string, v ...any) { t.say("error", format, v) }
func (t troubles) Fatalf(format string, v ...any) { t.say("fatal", format, v) }
