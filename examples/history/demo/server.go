package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/internal/problem"
)

// serverEnv makes this program a NATS server that keeps its data in the folder named.
const serverEnv = "SERIATIM_DEMO_SERVER"

// serveIfAsked turns this process into the server when startServer started it, and then never returns.
func serveIfAsked() {
	dir, ok := os.LookupEnv(serverEnv)
	if !ok {
		return
	}
	if err := serve(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(dir string) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	srv, err := server.NewServer(&server.Options{
		ServerName: "seriatim-demo", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir,
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		return problem.New("start a NATS server", err, "")
	}
	srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		return problem.New("start a NATS server", errors.New("it is not ready after 30s"), "")
	}
	fmt.Println(ready + srv.Addr().(*net.TCPAddr).String())
	<-end
	srv.Shutdown()
	srv.WaitForShutdown()
	return nil
}

// ready comes before the address in what the server prints.
const ready = "ready nats://"

// startServer starts this program as a server and returns its URL.
func startServer(ctx context.Context, dir string) (*fleet.Process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", problem.New("start a NATS server", err, "")
	}
	p, err := fleet.Start(fleet.Program{
		Name: "NATS server", Path: self, Env: []string{serverEnv + "=" + filepath.Join(dir, "nats")},
		Log: filepath.Join(dir, "server.log"), Mark: dir,
	})
	if err != nil {
		return nil, "", err
	}
	for {
		if url, err := readURL(p.Log); err != nil || url != "" {
			return p, url, err
		}
		select {
		case <-p.Done():
			err := p.Wait(ctx)
			return p, "", err
		case <-ctx.Done():
			return p, "", ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func readURL(log string) (string, error) {
	f, err := os.Open(log)
	if err != nil {
		return "", problem.New("read the server's log", err, "")
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return "", problem.New("read the server's log", err, "")
		}
		if url, ok := strings.CutPrefix(strings.TrimSpace(line), ready); ok {
			return "nats://" + url, nil
		}
	}
}
