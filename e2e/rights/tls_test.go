package rights

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/natstest"
)

// tlsBlock demands a certificate of the other side.
func tlsBlock(cert, key, ca string) string {
	return fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true, timeout: 60 }\n", cert, key, ca)
}

// Every connection is encrypted, and both sides show a certificate.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	cert, key := ca.issue("server", time.Hour)
	s := natstest.Start(t, natstest.Config(tlsBlock(cert, key, ca.file())))
	mine, mineKey := ca.issue("client", time.Hour)
	admin := fleet.Coordinator{Binary: rig.Binary(t, fleet.Build{Name: "coordinator"}), URL: "tls://" + s.Addr(), Mark: dir}

	flags := []string{"--tlsca", ca.file(), "--tlscert", mine, "--tlskey", mineKey}
	if _, err := admin.Run(within(t), append([]string{"queue", "add", "q"}, flags...)...); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NATS_CA", ca.file())
	t.Setenv("NATS_CERT", mine)
	t.Setenv("NATS_KEY", mineKey)
	if _, err := admin.Run(within(t), "job", "publish", "q", "build.1"); err != nil {
		t.Fatal(err)
	}

	done := filepath.Join(dir, "done")
	w := &fleet.Worker{
		Name: "w1", Binary: rig.Binary(t, fleet.Build{Name: "workerd"}), Dir: dir, Mark: dir, URL: "tls://" + s.Addr(), Queue: "q",
		TLS:   map[string]string{"ca": ca.file(), "cert": mine, "key": mineKey},
		Pools: []fleet.Pool{{Name: "all", Kinds: []string{"*"}, Mode: "exec", Command: []string{"sh", "-c", "echo ok > " + done}, Concurrency: 1}},
	}
	p, err := w.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if err := fleet.Running(within(t), p); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job ran", func() bool {
		info, err := admin.QueueInfo(within(t), "q")
		_, there := os.Stat(done)
		return err == nil && there == nil && info.Jobs == 0
	})
	if err := p.Stop(rig.Bound); err != nil {
		t.Error(err)
	}
}

// What is wrong with a certificate is said, with what to do about it; nobody waits for what waiting does not cure.
func TestTLSRefusals(t *testing.T) {
	dir := t.TempDir()
	ca, other := newAuthority(t, dir, "ca"), newAuthority(t, dir, "other")
	start := func(name string, valid time.Duration) string {
		cert, key := ca.issue(name, valid)
		return "tls://" + natstest.Start(t, natstest.Config(tlsBlock(cert, key, ca.file()))).Addr()
	}
	good, expired := start("good", time.Hour), start("expired", -time.Minute)
	mine, mineKey := ca.issue("mine", time.Hour)
	old, oldKey := ca.issue("old", -time.Minute)
	foreign, foreignKey := other.issue("foreign", time.Hour)

	for _, c := range []struct {
		name, url, ca, cert, key string
		says, hint               string
	}{
		{"the wrong authority", good, other.file(), mine, mineKey, "signed by unknown authority", "tls.ca"},
		{"no authority", good, "", mine, mineKey, "signed by unknown authority", "tls.ca"},
		{"an expired server", expired, ca.file(), mine, mineKey, "expired", "renew the server's certificate"},
		// Which of the server's two words is heard depends on who is faster: its alert, or the closed connection.
		{"no certificate", good, ca.file(), "", "", "tls", "tls.cert"},
		{"an expired certificate", good, ca.file(), old, oldKey, "tls", "tls.cert"},
		{"a certificate of somebody else's", good, ca.file(), foreign, foreignKey, "tls", "tls.cert"},
		{"no such file", good, ca.file(), mine, dir + "/none.pem", "no such file", "check the paths"},
		{"no TLS", "nats://" + strings.TrimPrefix(good, "tls://"), "", "", "", "signed by unknown authority", "tls.ca"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cli := exec.CommandContext(within(t), rig.Binary(t, fleet.Build{Name: "coordinator"}), "queue", "ls",
				"--server", c.url, "--tlsca", c.ca, "--tlscert", c.cert, "--tlskey", c.key)
			refuses(t, cli, c.says, c.hint)
			daemon := exec.CommandContext(within(t), rig.Binary(t, fleet.Build{Name: "workerd"}), "--queue", "q", "--", "true")
			daemon.Env = append(os.Environ(), "SERIATIM_NATS_URL="+c.url, "SERIATIM_HTTP=",
				"SERIATIM_NATS_TLS_CA="+c.ca, "SERIATIM_NATS_TLS_CERT="+c.cert, "SERIATIM_NATS_TLS_KEY="+c.key)
			refuses(t, daemon, c.says, c.hint)
		})
	}
}

// refuses demands that a program ends by itself with exit code 1 and these words.
func refuses(t *testing.T, cmd *exec.Cmd, says, hint string) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%s: %v\n%s", cmd.Args[0], err, out.String())
	}
	if text := out.String(); !strings.Contains(text, says) || !strings.Contains(text, hint) {
		t.Errorf("%s says:\n%s\nwant %q, and %q", cmd.Args[0], text, says, hint)
	}
}

// Three servers whose routes are encrypted, with certificates on both sides, keep a replicated queue.
func TestTLSBetweenServers(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	var listens, routes []string
	for range 3 {
		at := fmt.Sprintf("127.0.0.1:%d", natstest.Port(t))
		listens, routes = append(listens, at), append(routes, fmt.Sprintf("%q", "tls://"+at))
	}
	var all []*server.Server
	for i, at := range listens {
		cert, key := ca.issue(fmt.Sprint("server", i), time.Hour)
		block := tlsBlock(cert, key, ca.file())
		file := filepath.Join(dir, fmt.Sprint("server", i, ".conf"))
		text := fmt.Sprintf("server_name: n%d\nlisten: \"127.0.0.1:-1\"\njetstream { store_dir: %q }\n%scluster {\n name: c\n listen: %q\n routes: [%s]\n %s}\n",
			i, filepath.Join(dir, fmt.Sprint("data", i)), block, at, strings.Join(routes, ", "), block)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o.NoLog, o.NoSigs = true, true
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		all = append(all, s)
	}
	eventually(t, "a leader that has heard of all, and all up to date", func() bool { return natstest.Formed(all) })
	mine, mineKey := ca.issue("client", time.Hour)
	t.Setenv("NATS_CA", ca.file())
	t.Setenv("NATS_CERT", mine)
	t.Setenv("NATS_KEY", mineKey)
	admin := fleet.Coordinator{
		Binary: rig.Binary(t, fleet.Build{Name: "coordinator"}), URL: "tls://" + all[0].Addr().String(), Mark: dir,
	}
	for _, args := range [][]string{{"queue", "add", "q", "--replicas", "3"}, {"job", "publish", "q", "build.1", "--id", "one"}} {
		// Servers that were just started may elect once more, and what is asked meanwhile is never answered.
		eventually(t, strings.Join(args, " "), func() bool {
			_, err := admin.Run(within(t), args...)
			if err != nil {
				t.Log(err)
			}
			return err == nil
		})
	}
	if info, err := admin.QueueInfo(within(t), "q"); err != nil || info.Jobs != 1 || info.Replicas != 3 {
		t.Errorf("%+v, %v", info, err)
	}
}
