package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// built is what an overlay makes, by kind/name.
type built map[string]metav1.Object

// overlays are all that there are: one that is added is checked too.
func overlays(t *testing.T) map[string]built {
	t.Helper()
	dirs, err := filepath.Glob("../overlays/*")
	if err != nil || len(dirs) < 3 {
		t.Fatalf("overlays: %v, %v", dirs, err)
	}
	all := map[string]built{}
	for _, dir := range dirs {
		all[filepath.Base(dir)] = build(t, dir)
	}
	return all
}

// build is `kubectl kustomize`, and a strict decoding of each document into the API's type.
func build(t *testing.T, dir string) built {
	t.Helper()
	opts := krusty.MakeDefaultOptions()
	opts.LoadRestrictions = types.LoadRestrictionsNone // the servers' files lie in deployments/nats
	res, err := krusty.MakeKustomizer(opts).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	b := built{}
	for _, r := range res.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		obj := newObject(r.GetApiVersion(), r.GetKind())
		if obj == nil {
			t.Fatalf("%s: no type is known for %s %s", dir, r.GetApiVersion(), r.GetKind())
		}
		if err := yaml.UnmarshalStrict(text, obj); err != nil {
			t.Errorf("%s: %s %s: %v", dir, r.GetKind(), r.GetName(), err)
		}
		b[r.GetKind()+"/"+r.GetName()] = obj
	}
	return b
}

func newObject(version, kind string) metav1.Object {
	switch version + " " + kind {
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}
	case "v1 Secret":
		return &corev1.Secret{}
	case "v1 Service":
		return &corev1.Service{}
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}
	case "apps/v1 Deployment":
		return &appsv1.Deployment{}
	case "apps/v1 StatefulSet":
		return &appsv1.StatefulSet{}
	case "batch/v1 Job":
		return &batchv1.Job{}
	case "policy/v1 PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	case "networking.k8s.io/v1 NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "keda.sh/v1alpha1 ScaledObject":
		return &ScaledObject{}
	}
	return nil
}

// each calls f for every object of the type.
func each[T metav1.Object](b built, f func(T)) {
	for _, obj := range b {
		if o, ok := obj.(T); ok {
			f(o)
		}
	}
}

// podTemplates are all pods that an overlay makes, by kind/name.
func (b built) podTemplates() map[string]corev1.PodTemplateSpec {
	all := map[string]corev1.PodTemplateSpec{}
	for name, obj := range b {
		switch o := obj.(type) {
		case *appsv1.Deployment:
			all[name] = o.Spec.Template
		case *appsv1.StatefulSet:
			all[name] = o.Spec.Template
		case *batchv1.Job:
			all[name] = o.Spec.Template
		}
	}
	return all
}

// workers are the pods of workerd.
func (b built) workers() map[string]corev1.PodTemplateSpec {
	all := map[string]corev1.PodTemplateSpec{}
	for name, p := range b.podTemplates() {
		if p.Spec.Containers[0].Name == "workerd" {
			all[name] = p
		}
	}
	return all
}

// read decodes a file of the repository strictly.
func read(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// volumeConfig is the file that a pod has at path, from a ConfigMap.
func (b built) volumeConfig(t *testing.T, p corev1.PodSpec, path string) string {
	t.Helper()
	for _, m := range p.Containers[0].VolumeMounts {
		if m.MountPath != filepath.Dir(path) {
			continue
		}
		for _, v := range p.Volumes {
			if v.Name != m.Name || v.ConfigMap == nil {
				continue
			}
			cm, ok := b["ConfigMap/"+v.ConfigMap.Name].(*corev1.ConfigMap)
			if !ok {
				t.Fatalf("there is no ConfigMap %s", v.ConfigMap.Name)
			}
			if text, ok := cm.Data[filepath.Base(path)]; ok {
				return text
			}
		}
	}
	t.Fatalf("no pod's file %s", path)
	return ""
}

// after is the argument that follows a flag.
func after(args []string, flag string) string {
	for i, a := range args[:max(len(args)-1, 0)] {
		if a == flag {
			return args[i+1]
		}
	}
	return ""
}

// flagValue is the value of --name=value.
func flagValue(args []string, name string) string {
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
	}
	return ""
}
