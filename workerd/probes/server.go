package probes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
)

// Handler answers the probes.
func Handler(src Source, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", probe(src.NotLive))
	mux.Handle("GET /readyz", probe(src.NotReady))
	mux.Handle("GET /startupz", probe(func() []string {
		if src.Started() {
			return nil
		}
		return []string{"it is still starting"}
	}))
	mux.HandleFunc("GET /statusz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		_ = enc.Encode(src.Report()) // who does not read to the end has gone
	})
	mux.Handle("GET /metrics", metrics)
	return mux
}

func probe(reasons func() []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		why := reasons()
		if len(why) == 0 {
			_, _ = io.WriteString(w, "ok\n")
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, strings.Join(why, "\n")+"\n")
	})
}

// Patience is how long a busy address is tried, and how often.
type Patience struct {
	For, Every time.Duration
	// OnBusy is told of each vain try.
	OnBusy func(err error, next time.Duration)
}

// Listen opens a TCP address. While another process has it, it is tried as long as Patience says; every other error is
// final.
func Listen(ctx context.Context, addr string, p Patience) (net.Listener, error) {
	var conf net.ListenConfig
	until := time.Now().Add(p.For)
	for {
		l, err := conf.Listen(ctx, "tcp", addr)
		if err == nil {
			return l, nil
		}
		busy := errors.Is(err, syscall.EADDRINUSE)
		if !busy || time.Now().Add(p.Every).After(until) {
			hint := "give another address: --http HOST:PORT, or --http '' for none"
			if busy {
				hint = "another process has the port; end it, or " + hint
			}
			return nil, problem.New("listen for probes on "+addr, err, hint)
		}
		if p.OnBusy != nil {
			p.OnBusy(err, p.Every)
		}
		select {
		case <-ctx.Done():
			return nil, problem.New("listen for probes on "+addr, ctx.Err(), "")
		case <-time.After(p.Every):
		}
	}
}

// Server serves a handler on listeners until Stop.
type Server struct {
	http  *http.Server
	serve sync.WaitGroup
	fail  func(error)
}

// NewServer makes a server that listens nowhere yet. OnError is told, from a goroutine of the server's, when a listener
// fails by itself.
func NewServer(h http.Handler, onError func(error)) *Server {
	return &Server{fail: onError, http: &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // what clients do wrong is no news
	}}
}

// Serve takes over a listener and returns at once.
func (s *Server) Serve(l net.Listener) {
	s.serve.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve probes on %s: %w", l.Addr(), err))
		}
	})
}

// Stop closes all listeners and connections, and waits. It may be called without, and before, Serve.
func (s *Server) Stop() {
	_ = s.http.Close() // the listeners are gone either way
	s.serve.Wait()
}
