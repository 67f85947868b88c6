package check

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// numbers is deployments/numbers.yaml, which a test beside it compares with the product.
type numbers struct {
	Shutdown struct {
		Timeout   metav1.Duration `json:"timeout"`
		KillAfter metav1.Duration `json:"kill_after"`
		HandBack  metav1.Duration `json:"hand_back"`
		Margin    metav1.Duration `json:"margin"`
	} `json:"shutdown"`
	HTTP struct {
		Port    int32  `json:"port"`
		Live    string `json:"live"`
		Ready   string `json:"ready"`
		Startup string `json:"startup"`
		Metrics string `json:"metrics"`
	} `json:"http"`
	NATS struct {
		Client  int32  `json:"client"`
		Cluster int32  `json:"cluster"`
		Monitor int32  `json:"monitor"`
		Account string `json:"account"`
	} `json:"nats"`
	Turns struct {
		Prefix   string `json:"prefix"`
		Consumer string `json:"consumer"`
	} `json:"turns"`
	Image struct {
		User int64 `json:"user"`
	} `json:"image"`
}

// daemonConfig is as much of workerd.yaml as the manifests have to agree with.
type daemonConfig struct {
	Queues   []string `json:"queues"`
	HTTP     string   `json:"http"`
	Shutdown struct {
		Timeout   metav1.Duration `json:"timeout"`
		KillAfter metav1.Duration `json:"kill_after"`
	} `json:"shutdown"`
	Pools []struct {
		Mode        string `json:"mode"`
		Processes   int    `json:"processes"`
		Concurrency int    `json:"concurrency"`
		Memory      struct {
			Hard string `json:"hard"`
		} `json:"memory"`
	} `json:"pools"`
}

func (c daemonConfig) slots() (n int) {
	for _, p := range c.Pools {
		n += max(p.Processes, 1) * max(p.Concurrency, 1)
	}
	return n
}

func TestManifests(t *testing.T) {
	var n numbers
	read(t, "../../numbers.yaml", &n)
	for name, b := range overlays(t) {
		t.Run(name, func(t *testing.T) {
			if len(b.workers()) == 0 {
				t.Error("no workerd")
			}
			for _, p := range b.workers() {
				checkStop(t, n, b, p.Spec)
				checkProbes(t, n, b, p.Spec)
				checkMemory(t, b, p.Spec)
			}
			for what, p := range b.podTemplates() {
				checkSecurity(t, n, what, p.Spec)
				checkReferences(t, b, what, p.Spec)
			}
			checkSelectors(t, b)
			checkNetwork(t, n, b)
			each(b, func(s *ScaledObject) { checkScaling(t, n, b, s) })
		})
	}
}

// config is the workerd.yaml that the pod's own command line names.
func (b built) config(t *testing.T, p corev1.PodSpec) (c daemonConfig) {
	t.Helper()
	path := after(p.Containers[0].Args, "--config")
	if err := yaml.Unmarshal([]byte(b.volumeConfig(t, p, path)), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// checkStop: the pod is given more time than quiet, drain, kill and handing back take together, and TERM reaches workerd.
func checkStop(t *testing.T, n numbers, b built, p corev1.PodSpec) {
	t.Helper()
	c := p.Containers[0]
	cfg := b.config(t, p)
	pre := c.Lifecycle.PreStop.Exec.Command
	if len(c.Command) != 0 || !strings.HasSuffix(pre[0], "/workerd") || pre[1] != "quiet" || flagValue(pre, "--pid") != "1" {
		t.Errorf("command %q, preStop %q", c.Command, pre)
	}
	quiet, err := time.ParseDuration(flagValue(pre, "--wait"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Shutdown.Timeout.Duration == 0 || cfg.Shutdown.KillAfter.Duration == 0 {
		t.Error("the configuration does not say how long a stop takes")
	}
	need := quiet + cfg.Shutdown.Timeout.Duration + cfg.Shutdown.KillAfter.Duration + n.Shutdown.HandBack.Duration + n.Shutdown.Margin.Duration
	if have := time.Duration(*p.TerminationGracePeriodSeconds) * time.Second; have < need {
		t.Errorf("the pod is killed after %s, and a stop may take %s", have, need)
	}
}

// checkProbes: on the pod's address, on the port of the configuration, at the paths that there are.
func checkProbes(t *testing.T, n numbers, b built, p corev1.PodSpec) {
	t.Helper()
	c := p.Containers[0]
	if want := fmt.Sprintf(":%d", n.HTTP.Port); b.config(t, p).HTTP != want {
		t.Errorf("workerd listens on %q, want %q", b.config(t, p).HTTP, want)
	}
	if i := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == "http" }); i < 0 || c.Ports[i].ContainerPort != n.HTTP.Port {
		t.Errorf("ports %v", c.Ports)
	}
	for path, probe := range map[string]*corev1.Probe{n.HTTP.Live: c.LivenessProbe, n.HTTP.Ready: c.ReadinessProbe, n.HTTP.Startup: c.StartupProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "http" || probe.HTTPGet.Host != "" {
			t.Errorf("probe for %s: %+v", path, probe)
		}
	}
}

// checkMemory: all children at their hard limits fit into the container; else one too large takes all with it.
func checkMemory(t *testing.T, b built, p corev1.PodSpec) {
	t.Helper()
	var sum int64
	for _, pool := range b.config(t, p).Pools {
		if pool.Memory.Hard == "" {
			continue
		}
		hard, err := resource.ParseQuantity(strings.TrimSuffix(pool.Memory.Hard, "B"))
		if err != nil {
			t.Fatal(err)
		}
		sum += hard.Value() * int64(max(pool.Processes, 1))
	}
	if limit := p.Containers[0].Resources.Limits.Memory(); sum >= limit.Value() {
		t.Errorf("children may grow to %d bytes together, the container's limit is %s", sum, limit)
	}
}

// checkSecurity: no root, no privileges, nothing to write but volumes, no token, a bound on memory.
func checkSecurity(t *testing.T, n numbers, what string, p corev1.PodSpec) {
	t.Helper()
	s := p.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || s.SeccompProfile == nil ||
		s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: %+v", what, s)
	}
	if p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken {
		t.Errorf("%s gets a token", what)
	}
	if p.EnableServiceLinks == nil || *p.EnableServiceLinks {
		t.Errorf("%s gets the names of all services in its environment", what)
	}
	for _, c := range p.Containers {
		if strings.Contains(c.Image, "seriatim") && *s.RunAsUser != n.Image.User {
			t.Errorf("%s runs as %d", what, *s.RunAsUser)
		}
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
			s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s/%s: %+v", what, c.Name, s)
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() {
			t.Errorf("%s/%s has no bound on memory", what, c.Name)
		}
	}
}

// Overlays of one namespace leave each other alone: other names, and no budget over another's pods (a pod with two budgets
// cannot be evicted).
func TestOverlaysBesideEachOther(t *testing.T) {
	all := overlays(t)
	for one, b := range all {
		for other, c := range all {
			if one == other {
				continue
			}
			for name, obj := range b {
				if o := c[name]; o != nil && o.GetNamespace() == obj.GetNamespace() {
					t.Errorf("%s and %s both have %s", one, other, name)
				}
			}
			each(b, func(p *policyv1.PodDisruptionBudget) {
				for what, pod := range c.podTemplates() {
					if c[what].GetNamespace() == p.Namespace && matches(t, p.Spec.Selector, pod.Labels) {
						t.Errorf("%s: the budget %s is also over %s of %s", one, p.Name, what, other)
					}
				}
			})
		}
	}
}

// The servers of components/nats: ports, the passwords that users.conf asks for, an address for each in NATS_ROUTES, and
// as many copies of the queue as there are servers.
func TestServers(t *testing.T) {
	var n numbers
	read(t, "../../numbers.yaml", &n)
	b := build(t, "../overlays/try")
	set := b["StatefulSet/nats"].(*appsv1.StatefulSet)
	c := set.Spec.Template.Spec.Containers[0]
	for _, p := range c.Ports {
		want := map[string]int32{"client": n.NATS.Client, "cluster": n.NATS.Cluster, "monitor": n.NATS.Monitor}[p.Name]
		if p.ContainerPort != want {
			t.Errorf("port %s is %d, want %d", p.Name, p.ContainerPort, want)
		}
	}
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	for _, file := range []string{"users.conf", "cluster.conf"} {
		text := b.volumeConfig(t, set.Spec.Template.Spec, "/etc/nats/"+file)
		for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n,{}[]:", r) }) {
			if name, ok := strings.CutPrefix(word, "$NATS_"); ok {
				if _, ok := env["NATS_"+name]; !ok {
					t.Errorf("%s asks for NATS_%s", file, name)
				}
			}
		}
	}
	for i := range *set.Spec.Replicas {
		if at := fmt.Sprintf("@%s-%d.%s:%d", set.Name, i, set.Spec.ServiceName, n.NATS.Cluster); !strings.Contains(env["NATS_ROUTES"], at) {
			t.Errorf("NATS_ROUTES lacks %s", at)
		}
	}
	each(b, func(p *policyv1.PodDisruptionBudget) {
		if p.Name == "nats" && p.Spec.MaxUnavailable.IntVal != 1 {
			t.Error("two of three servers may be away")
		}
	})
}

// Secrets that the overlays take as given are the ones that the docs tell to make.
func TestGivenSecretsAreInTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/deploy-kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range givenSecrets {
		if !strings.Contains(string(text), "create secret generic "+name) {
			t.Errorf("the docs do not say how to make the secret %s", name)
		}
	}
}
