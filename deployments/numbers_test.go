package deployments

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

// numbers is numbers.yaml: what all files here have to agree with.
type numbers struct {
	Shutdown struct {
		Timeout   time.Duration `yaml:"timeout"`
		KillAfter time.Duration `yaml:"kill_after"`
		HandBack  time.Duration `yaml:"hand_back"`
		Margin    time.Duration `yaml:"margin"`
	} `yaml:"shutdown"`
	HTTP struct {
		Port    int    `yaml:"port"`
		Live    string `yaml:"live"`
		Ready   string `yaml:"ready"`
		Startup string `yaml:"startup"`
		Metrics string `yaml:"metrics"`
	} `yaml:"http"`
	NATS struct {
		Client  int    `yaml:"client"`
		Cluster int    `yaml:"cluster"`
		Monitor int    `yaml:"monitor"`
		Account string `yaml:"account"`
	} `yaml:"nats"`
	Turns struct {
		Prefix   string `yaml:"prefix"`
		Consumer string `yaml:"consumer"`
	} `yaml:"turns"`
	Image struct {
		User int `yaml:"user"`
	} `yaml:"image"`
}

// strictly decodes YAML in which every key must be known.
func strictly(t *testing.T, path, text string, into any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func theNumbers(t *testing.T) (n numbers) {
	t.Helper()
	strictly(t, "numbers.yaml", readFile(t, "numbers.yaml"), &n)
	return n
}

// stop is what a stop with these settings takes, with the margin: what a supervisor has to wait for at least.
func (n numbers) stop(timeout, killAfter time.Duration) time.Duration {
	return timeout + killAfter + n.Shutdown.HandBack + n.Shutdown.Margin
}

// numbers.yaml says what the product does.
func TestNumbersAreTheProducts(t *testing.T) {
	n := theNumbers(t)
	c := config.Default()
	if c.Shutdown.Timeout != n.Shutdown.Timeout || c.Shutdown.KillAfter != n.Shutdown.KillAfter {
		t.Errorf("shutdown: the default is %v, here it is %v", c.Shutdown, n.Shutdown)
	}
	if got := handBack(t); got != n.Shutdown.HandBack {
		t.Errorf("handing back takes up to %s, here it is %s", got, n.Shutdown.HandBack)
	}
	if want := fmt.Sprintf("127.0.0.1:%d", n.HTTP.Port); c.HTTP != want {
		t.Errorf("http: the default is %s, here it is %s", c.HTTP, want)
	}
	q := subjects.Queue("x")
	if q.TurnsStream() != n.Turns.Prefix+"x" || subjects.TurnsConsumer != n.Turns.Consumer {
		t.Errorf("turns: %s and %s, here %v", q.TurnsStream(), subjects.TurnsConsumer, n.Turns)
	}
	setPasswords(t)
	for _, file := range []string{"server.conf", "cluster.conf"} {
		t.Setenv("SERVER_NAME", "a")
		t.Setenv("NATS_ROUTES", "[]")
		o, err := server.ProcessConfigFile(filepath.Join("nats", file))
		if err != nil {
			t.Fatal(err)
		}
		if o.Port != n.NATS.Client || o.HTTPPort != n.NATS.Monitor || file == "cluster.conf" && o.Cluster.Port != n.NATS.Cluster {
			t.Errorf("%s: ports %d, %d, %d", file, o.Port, o.HTTPPort, o.Cluster.Port)
		}
		if !slices.ContainsFunc(o.Accounts, func(a *server.Account) bool { return a.Name == n.NATS.Account }) {
			t.Errorf("%s has no account %s", file, n.NATS.Account)
		}
	}
}

// handBack is the daemon's own constant, which no API tells.
func handBack(t *testing.T) time.Duration {
	t.Helper()
	fset := token.NewFileSet()
	files, err := filepath.Glob("../workerd/daemon/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.CONST {
				continue
			}
			for _, spec := range gen.Specs {
				v := spec.(*ast.ValueSpec)
				if !strings.EqualFold(v.Names[0].Name, "handBack") || len(v.Values) != 1 {
					continue
				}
				return evaluate(t, fset, v.Values[0])
			}
		}
	}
	t.Fatal("workerd/daemon has no constant handBack any more: say in numbers_test.go where the bound on handing back stands now")
	return 0
}

// evaluate reads an expression such as 5 * time.Second.
func evaluate(t *testing.T, fset *token.FileSet, e ast.Expr) time.Duration {
	t.Helper()
	pkg := types.NewPackage("time", "time")
	scope := types.NewPackage("x", "x")
	for name, d := range map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute} {
		pkg.Scope().Insert(types.NewConst(token.NoPos, pkg, name, types.Typ[types.Int64], constant.MakeInt64(int64(d))))
	}
	pkg.MarkComplete()
	scope.Scope().Insert(types.NewPkgName(token.NoPos, scope, "time", pkg))
	v, err := types.Eval(fset, scope, token.NoPos, types.ExprString(e))
	if err != nil {
		t.Fatal(err)
	}
	n, ok := constant.Int64Val(constant.ToInt(v.Value))
	if !ok {
		t.Fatalf("handBack is %s", types.ExprString(e))
	}
	return time.Duration(n)
}

// Every workerd.yaml here is one that workerd takes, listens where its platform can reach it, and says how long a stop
// takes as the numbers do.
func TestDaemonConfigurations(t *testing.T) {
	n := theNumbers(t)
	found := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "workerd.yaml" {
			return err
		}
		found++
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c, err := config.Load(config.Input{File: path, Data: data})
		if err != nil {
			t.Error(err)
			return nil
		}
		if len(c.Warnings) > 0 {
			t.Errorf("%s: %v", path, c.Warnings)
		}
		if c.HTTP != fmt.Sprintf(":%d", n.HTTP.Port) {
			t.Errorf("%s: nobody outside its container reaches %q", path, c.HTTP)
		}
		if c.Shutdown.Timeout != n.Shutdown.Timeout || c.Shutdown.KillAfter != n.Shutdown.KillAfter {
			t.Errorf("%s: shutdown %v", path, c.Shutdown)
		}
		return nil
	})
	if err != nil || found < 3 {
		t.Errorf("%d files, %v", found, err)
	}
}

// The server in the images is one that Seriatim runs on and that these tests ran on.
func TestServerVersion(t *testing.T) {
	tested := strings.Join(strings.Split(server.VERSION, ".")[:2], ".")
	if err := streams.CheckVersion(server.VERSION); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"compose/compose.yaml", "kubernetes/components/nats/nats.yaml"} {
		if want := "image: nats:" + tested + "-alpine"; !strings.Contains(readFile(t, path), want) {
			t.Errorf("%s: want %s", path, want)
		}
	}
}
