package deployments

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// manager is systemd's side of sd_notify(3): it notes what the service says.
type manager struct {
	conn *net.UnixConn
	mu   sync.Mutex
	said []string
	done chan struct{}
}

func newManager(t *testing.T, path string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	m := &manager{conn: conn, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.said = append(m.said, strings.Split(string(buf[:n]), "\n")...)
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close() // ends the reader
		<-m.done
	})
	return m
}

// count is how often the service said it.
func (m *manager) count(what string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.said {
		if s == what {
			n++
		}
	}
	return n
}

// What systemd does with the unit, done by the test: the unit's command line with the variables that systemd sets. workerd
// says that it is ready, feeds the watchdog, and says that it stops; jobs do not get to know the socket.
func TestSystemdProtocol(t *testing.T) {
	s := withQueue(t)
	dir := t.TempDir()
	m := newManager(t, filepath.Join(dir, "notify"))
	config := filepath.Join(dir, "ci.yaml")
	writeFile(t, config, "queues: [ci]\nhttp: 127.0.0.1:0\npools:\n  - {name: jobs, mode: exec, command: [sh, -c, 'echo \"socket=$NOTIFY_SOCKET.\"']}\n", 0o644)

	line := strings.NewReplacer(entryPoint(t)[0], filepath.Join(binaries(t), "workerd"), "/etc/seriatim/%i.yaml", config).
		Replace(unit(t)["Service.ExecStart"][0])
	argv := strings.Fields(line)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "SERIATIM_NATS_URL="+userURL(s, "worker-ci"), "RUNTIME_DIRECTORY="+t.TempDir(),
		"NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "WATCHDOG_USEC=1000000") // the unit's 30 s would be long to watch
	p := start(t, cmd)
	eventually(t, "ready", func() bool { return m.count("READY=1") == 1 || !p.alive() })
	fed := m.count("WATCHDOG=1")
	eventually(t, "the watchdog fed", func() bool { return m.count("WATCHDOG=1") >= fed+2 || !p.alive() })
	publish(t, s, "build.1", "")
	eventually(t, "the job's words", func() bool { return strings.Contains(p.out.String(), "socket=.") || !p.alive() })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code := p.code()
	eventually(t, "what it said last", func() bool { return m.count("STOPPING=1") > 0 }) // it is on its way, as a datagram
	if code != 0 || m.count("STOPPING=1") != 1 {
		t.Errorf("code %d; it said %q", code, m.said)
	}
}
