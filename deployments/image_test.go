package deployments

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// instruction is one of a Dockerfile, its lines joined.
type instruction struct{ name, args string }

// dockerfile reads the instructions of the image.
func dockerfile(t *testing.T) (list []instruction) {
	t.Helper()
	text := ""
	for line := range strings.Lines(readFile(t, "docker/Dockerfile")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if more, ok := strings.CutSuffix(line, `\`); ok {
			text += more
			continue
		}
		name, args, _ := strings.Cut(text+line, " ")
		text = ""
		list = append(list, instruction{name, strings.TrimSpace(args)})
	}
	return list
}

// last is the instruction that counts: the last of its name in the last stage.
func last(t *testing.T, name string) string {
	t.Helper()
	found := ""
	for _, i := range dockerfile(t) {
		if i.name == "FROM" {
			found = ""
		}
		if i.name == name {
			found = i.args
		}
	}
	if found == "" {
		t.Fatalf("the image has no %s", name)
	}
	return found
}

// execForm reads a command in brackets; anything else is run by a shell.
func execForm(t *testing.T, name string) (argv []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(last(t, name)), &argv); err != nil {
		t.Fatalf("%s %s is not in exec form: %v", name, last(t, name), err)
	}
	return argv
}

func entryPoint(t *testing.T) []string { return execForm(t, "ENTRYPOINT") }

// binaries builds workerd and coordinator as the image does, once, and returns their folder.
func binaries(t *testing.T) string {
	t.Helper()
	built.once.Do(func() { built.dir, built.err = buildBinaries(t) })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// buildBinaries runs the build stage's own line, but for the version and where the result goes.
func buildBinaries(t *testing.T) (string, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "seriatim-image-")
	if err != nil {
		return "", err
	}
	line := ""
	for _, i := range dockerfile(t) {
		if i.name == "RUN" && strings.Contains(i.args, "go build") {
			line = i.args
		}
	}
	line = strings.NewReplacer("${VERSION}", "test", "/out/", dir+"/").Replace(line)
	cmd := exec.Command("sh", "-ec", line)
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	// Also for those who are not the one who runs the tests.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	return dir, cmd.Run()
}

func removeBinaries() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

// The image: built without cgo, run by nobody in particular, told how to stop, and as the rest of the files take it to be.
func TestImage(t *testing.T) {
	n := theNumbers(t)
	stages, static, copied := 0, false, ""
	for _, i := range dockerfile(t) {
		switch {
		case i.name == "FROM":
			stages++
		case i.name == "RUN" && strings.HasPrefix(i.args, "CGO_ENABLED=0 go build "):
			static = true
		case i.name == "COPY" && strings.HasPrefix(i.args, "--from=build "):
			copied = i.args
		}
	}
	if stages < 2 || !static {
		t.Errorf("%d stages, built without cgo: %t", stages, static)
	}
	if !strings.HasSuffix(copied, " "+filepath.Dir(entryPoint(t)[0])+"/") || !strings.Contains(copied, "/out/"+filepath.Base(entryPoint(t)[0])+" ") {
		t.Errorf("the entry point %v is not what is copied: %s", entryPoint(t), copied)
	}
	for name, want := range map[string]string{
		"USER": num(n.Image.User) + ":" + num(n.Image.User), "STOPSIGNAL": "SIGTERM", "EXPOSE": num(n.HTTP.Port),
		"ENV": "SERIATIM_HTTP=:" + num(n.HTTP.Port),
	} {
		if got := last(t, name); got != want {
			t.Errorf("%s %s, want %s", name, got, want)
		}
	}
	if cmd := execForm(t, "CMD"); !slices.Equal(cmd, []string{"--config", "/etc/seriatim/workerd.yaml"}) {
		t.Errorf("CMD %v", cmd)
	}
	go1 := readFile(t, "../go.mod")
	for _, i := range dockerfile(t) {
		if version, ok := strings.CutPrefix(i.args, "golang:"); ok {
			version, _, _ = strings.Cut(version, "-")
			if !strings.Contains(go1, "\ngo "+version) {
				t.Errorf("the image is built with Go %s, which go.mod does not ask for", version)
			}
		}
	}
}
