package deployments

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const unitFile = "systemd/workerd@.service"

// unit reads a unit file: section.key to values.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	keys, section := map[string][]string{}, ""
	for line := range strings.Lines(readFile(t, unitFile)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Fatalf("%s: %s", unitFile, line)
			}
			keys[section+"."+key] = append(keys[section+"."+key], value)
		}
	}
	return keys
}

// The unit gives a stop the time that it takes, lets workerd stop its jobs itself, and hears what it says.
func TestSystemdUnit(t *testing.T) {
	n := theNumbers(t)
	u := unit(t)
	for key, want := range map[string]string{
		"Service.Type": "notify", "Service.NotifyAccess": "all", "Service.KillMode": "mixed", "Service.KillSignal": "SIGTERM",
		"Service.Delegate": "yes", "Service.Restart": "always", "Service.RestartPreventExitStatus": "2",
		"Service.OOMPolicy": "continue", "Service.NoNewPrivileges": "yes", "Service.ProtectSystem": "strict",
	} {
		if !slices.Equal(u[key], []string{want}) {
			t.Errorf("%s=%v, want %s", key, u[key], want)
		}
	}
	stop, err := time.ParseDuration(u["Service.TimeoutStopSec"][0])
	if err != nil || stop < n.stop(n.Shutdown.Timeout, n.Shutdown.KillAfter) {
		t.Errorf("killed after %s (%v), and a stop may take %s", stop, err, n.stop(n.Shutdown.Timeout, n.Shutdown.KillAfter))
	}
	if watchdog, err := time.ParseDuration(u["Service.WatchdogSec"][0]); err != nil || watchdog < 10*time.Second {
		t.Errorf("watchdog %s (%v): a loaded machine would bite", watchdog, err)
	}
	argv := strings.Fields(u["Service.ExecStart"][0])
	if argv[0] != entryPoint(t)[0] || argv[1] != "--config" {
		t.Errorf("ExecStart=%v", argv)
	}
}

// worstExposure is the most exposed that systemd may find the unit, of 100 (10.0).
const worstExposure = 30

// systemd itself has nothing to say against the unit, and finds it well closed.
func TestSystemdAnalyze(t *testing.T) {
	program, ok := tool(t, "systemd-analyze", "systemd")
	if !ok {
		return
	}
	dir := t.TempDir()
	text := strings.ReplaceAll(readFile(t, unitFile), entryPoint(t)[0], filepath.Join(binaries(t), "workerd"))
	path := filepath.Join(dir, "workerd@ci.service")
	writeFile(t, path, text, 0o644)
	verify := exec.CommandContext(within(t), program, "verify", "--man=no", path)
	out, err := verify.CombinedOutput()
	if err != nil || strings.Contains(string(out), "workerd@") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	security := exec.CommandContext(within(t), program, "security", "--offline=true", "--no-pager", "--threshold="+num(worstExposure), path)
	if out, err := security.CombinedOutput(); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	} else if lines := strings.Split(strings.TrimSpace(string(out)), "\n"); len(lines) > 0 {
		t.Log(lines[len(lines)-1])
	}
}
