package natstest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports below those that systems hand out by themselves, to listeners on port 0 and to outgoing connections: a server that
// is down for a while would lose such a one to whoever asks next.
const (
	firstPort = 10_000
	lastPort  = 32_000
)

// Port is a free port of 127.0.0.1 that no other caller gets, in whatever process, until the test ends. Who has it holds
// the UDP port of the same number, which nothing else wants, and which a process that is killed gives back too.
func Port(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		mark, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		if free(port) != nil {
			_ = mark.Close()
			continue
		}
		t.Cleanup(func() { _ = mark.Close() })
		return port
	}
	t.Fatalf("no port between %d and %d is free", firstPort, lastPort)
	return 0
}

// free says why nobody can listen on a port now.
func free(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return l.Close()
}
