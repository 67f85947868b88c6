package check

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// givenSecrets are made by whoever keeps the secrets.
var givenSecrets = []string{"workerd-nats"}

// checkReferences: what a pod names is there.
func checkReferences(t *testing.T, b built, what string, p corev1.PodSpec) {
	t.Helper()
	if name := p.ServiceAccountName; name != "" && b["ServiceAccount/"+name] == nil {
		t.Errorf("%s: no account %s", what, name)
	}
	volumes := map[string]bool{}
	for _, v := range p.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && b["ConfigMap/"+v.ConfigMap.Name] == nil {
			t.Errorf("%s: no ConfigMap %s", what, v.ConfigMap.Name)
		}
	}
	if set, ok := b[what].(*appsv1.StatefulSet); ok {
		for _, v := range set.Spec.VolumeClaimTemplates {
			volumes[v.Name] = true
		}
		if b["Service/"+set.Spec.ServiceName] == nil {
			t.Errorf("%s: no service %s", what, set.Spec.ServiceName)
		}
	}
	for _, c := range p.Containers {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: no volume %s", what, m.Name)
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil {
				continue
			}
			ref := e.ValueFrom.SecretKeyRef
			secret, ok := b["Secret/"+ref.Name].(*corev1.Secret)
			if !ok && !slices.Contains(givenSecrets, ref.Name) {
				t.Errorf("%s: no secret %s", what, ref.Name)
			}
			if ok && secret.Data[ref.Key] == nil {
				t.Errorf("%s: secret %s has no %s", what, ref.Name, ref.Key)
			}
		}
	}
}

func matches(t *testing.T, s *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return sel.Matches(labels.Set(of))
}

// checkSelectors: every controller, budget, policy and service selects the pods that it is for.
func checkSelectors(t *testing.T, b built) {
	t.Helper()
	pods := b.podTemplates()
	some := func(what string, s *metav1.LabelSelector) {
		for _, p := range pods {
			if matches(t, s, p.Labels) {
				return
			}
		}
		t.Errorf("%s selects no pod", what)
	}
	each(b, func(d *appsv1.Deployment) {
		if !matches(t, d.Spec.Selector, d.Spec.Template.Labels) {
			t.Errorf("Deployment %s does not select its pods", d.Name)
		}
		for _, c := range d.Spec.Template.Spec.TopologySpreadConstraints {
			if !matches(t, c.LabelSelector, d.Spec.Template.Labels) {
				t.Errorf("Deployment %s spreads other pods", d.Name)
			}
		}
	})
	each(b, func(s *appsv1.StatefulSet) {
		if !matches(t, s.Spec.Selector, s.Spec.Template.Labels) {
			t.Errorf("StatefulSet %s does not select its pods", s.Name)
		}
	})
	each(b, func(p *policyv1.PodDisruptionBudget) { some("PodDisruptionBudget "+p.Name, p.Spec.Selector) })
	each(b, func(p *networkingv1.NetworkPolicy) { some("NetworkPolicy "+p.Name, &p.Spec.PodSelector) })
	each(b, func(s *corev1.Service) { some("Service "+s.Name, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}) })
}

// checkNetwork: workers reach names and NATS, whose pods are named as the servers' pods are; nothing else is open.
func checkNetwork(t *testing.T, n numbers, b built) {
	t.Helper()
	found := false
	each(b, func(p *networkingv1.NetworkPolicy) {
		for _, rule := range p.Spec.Egress {
			if len(rule.To) == 0 || len(rule.Ports) == 0 {
				t.Errorf("%s: a rule lets everything out", p.Name)
			}
			for _, port := range rule.Ports {
				if port.Port.IntVal != n.NATS.Client {
					continue
				}
				found = true
				// Exactly what NATS' own chart and components/nats give their pods, and no label of an overlay.
				if !matches(t, rule.To[0].PodSelector, map[string]string{"app.kubernetes.io/name": "nats"}) {
					t.Errorf("%s does not let NATS be reached: %v", p.Name, rule.To[0].PodSelector)
				}
			}
		}
		if len(p.Spec.Ingress) != 1 || p.Spec.Ingress[0].Ports[0].Port.StrVal != "http" {
			t.Errorf("%s lets in %v", p.Name, p.Spec.Ingress)
		}
	})
	if !found {
		t.Error("no policy lets workers reach NATS")
	}
}

// checkScaling: the target is there, the number is that of the queue which its pods serve, divided by their slots.
func checkScaling(t *testing.T, n numbers, b built, s *ScaledObject) {
	t.Helper()
	d, ok := b["Deployment/"+s.Spec.ScaleTargetRef.Name].(*appsv1.Deployment)
	if !ok {
		t.Fatalf("there is no Deployment %s to scale", s.Spec.ScaleTargetRef.Name)
	}
	if d.Spec.Replicas != nil {
		t.Error("the Deployment's own number of replicas fights with KEDA's")
	}
	cfg := b.config(t, d.Spec.Template.Spec)
	if len(s.Spec.Triggers) != len(cfg.Queues) {
		t.Fatalf("triggers %v, queues %v", s.Spec.Triggers, cfg.Queues)
	}
	for i, trigger := range s.Spec.Triggers {
		m := trigger.Metadata
		if trigger.Type != "nats-jetstream" || m["stream"] != n.Turns.Prefix+cfg.Queues[i] || m["consumer"] != n.Turns.Consumer || m["account"] != n.NATS.Account {
			t.Errorf("trigger %+v for queue %s", trigger, cfg.Queues[i])
		}
		if !strings.HasSuffix(m["natsServerMonitoringEndpoint"], ":"+strconv.Itoa(int(n.NATS.Monitor))) {
			t.Errorf("monitoring at %s", m["natsServerMonitoringEndpoint"])
		}
		if m["lagThreshold"] != strconv.Itoa(cfg.slots()) {
			t.Errorf("lagThreshold %s, a pod has %d slots", m["lagThreshold"], cfg.slots())
		}
	}
	if *s.Spec.MinReplicaCount < 1 || *s.Spec.MaxReplicaCount < *s.Spec.MinReplicaCount {
		t.Errorf("between %d and %d replicas", *s.Spec.MinReplicaCount, *s.Spec.MaxReplicaCount)
	}
}
