package fleet

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
)

// Direction is a way through a Proxy.
type Direction int

// The ways: Up is from the client to the server.
const (
	Up Direction = iota
	Down
)

// Proxy stands between a client and a server, or between two servers. It can hold back what goes one way, make it late,
// and break connections; what was held or late comes through, complete and in order, as after a hiccup of a network. Its
// methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	server   string
	gates    [2]gate
	late     atomic.Int64 // nanoseconds

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	over  bool
	tasks sync.WaitGroup
}

// gate lets pass while open is closed.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
}

func (g *gate) wait() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		g.open = make(chan struct{})
	default: // held already
	}
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

// NewProxy listens on a free port of the loopback for connections to the server at url.
func NewProxy(url string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, problem.New("start a proxy", err, "")
	}
	p := &Proxy{listener: listener, server: strings.TrimPrefix(url, "nats://"), conns: map[net.Conn]struct{}{}}
	for i := range p.gates {
		p.gates[i].open = make(chan struct{})
		close(p.gates[i].open)
	}
	p.tasks.Add(1)
	go p.accept()
	return p, nil
}

// URL is where the client connects.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Hold keeps back what goes these ways until Release.
func (p *Proxy) Hold(ways ...Direction) {
	for _, w := range ways {
		p.gates[w].hold()
	}
}

// Release lets everything pass again, what was held first.
func (p *Proxy) Release() {
	for i := range p.gates {
		p.gates[i].release()
	}
}

// Delay makes everything late by d from now on, both ways. It bounds no rate.
func (p *Proxy) Delay(d time.Duration) { p.late.Store(int64(d)) }

// Break closes the connections that there are. New ones may be made.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Close ends all connections and waits until nothing of the proxy is left.
func (p *Proxy) Close() {
	_ = p.listener.Close() // nothing was written
	p.mu.Lock()
	p.over = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.Release()
	p.tasks.Wait()
}

func (p *Proxy) accept() {
	defer p.tasks.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		if p.over {
			p.mu.Unlock()
			_ = client.Close()
			_ = server.Close()
			return
		}
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.tasks.Add(2)
		p.mu.Unlock()
		go p.pass(&p.gates[Up], client, server)
		go p.pass(&p.gates[Down], server, client)
	}
}

// pass copies one way until either end is closed, and then closes both.
func (p *Proxy) pass(g *gate, from, to net.Conn) {
	defer p.tasks.Done()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
		delete(p.conns, to)
	}()
	type chunk struct {
		data []byte
		at   time.Time
	}
	// Reading goes on while chunks wait for their time, or a delay would bound the rate.
	chunks := make(chan chunk, 256)
	p.tasks.Add(1)
	go func() {
		defer p.tasks.Done()
		defer func() { _, _ = from.Close(), to.Close() }()
		for c := range chunks {
			if wait := time.Until(c.at); wait > 0 {
				time.Sleep(wait)
			}
			g.wait()
			if _, err := to.Write(c.data); err != nil {
				break
			}
		}
		_ = from.Close()
		for range chunks { // so that the reader ends
		}
	}()
	defer close(chunks)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			chunks <- chunk{bytes.Clone(buf[:n]), time.Now().Add(time.Duration(p.late.Load()))}
		}
		if err != nil {
			return
		}
	}
}
