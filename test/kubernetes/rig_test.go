package kubernetes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	root      = "../.."
	overlays  = root + "/deploy/kubernetes/overlays"
	namespace = "tandem"
)

var overlayNames = []string{"single", "sidecar", "replicas", "separate"}

// manifests are what one kustomization gives, decoded into Kubernetes' own types.
type manifests struct {
	overlay     string
	Namespaces  []corev1.Namespace
	Accounts    []corev1.ServiceAccount
	Settings    []corev1.ConfigMap
	Claims      []corev1.PersistentVolumeClaim
	Services    []corev1.Service
	Policies    []networkingv1.NetworkPolicy
	Budgets     []policyv1.PodDisruptionBudget
	Deployments []appsv1.Deployment
}

// render does what `kubectl apply -k` does before it sends anything. A kind that is not listed here, a field that
// Kubernetes does not know and a key given twice are errors.
func render(t *testing.T, dir string) manifests {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	m := manifests{overlay: filepath.Base(dir)}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		switch kind := r.GetApiVersion() + " " + r.GetKind(); kind {
		case "v1 Namespace":
			decode(t, text, &m.Namespaces)
		case "v1 ServiceAccount":
			decode(t, text, &m.Accounts)
		case "v1 ConfigMap":
			decode(t, text, &m.Settings)
		case "v1 PersistentVolumeClaim":
			decode(t, text, &m.Claims)
		case "v1 Service":
			decode(t, text, &m.Services)
		case "networking.k8s.io/v1 NetworkPolicy":
			decode(t, text, &m.Policies)
		case "policy/v1 PodDisruptionBudget":
			decode(t, text, &m.Budgets)
		case "apps/v1 Deployment":
			decode(t, text, &m.Deployments)
		default:
			t.Errorf("%s: nobody expects a %s (%s)", m.overlay, kind, r.GetName())
		}
	}
	return m
}

func decode[T any](t *testing.T, text []byte, list *[]T) {
	t.Helper()
	var v T
	if err := yaml.UnmarshalStrict(text, &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	*list = append(*list, v)
}

var rendered = map[string]manifests{}

// overlay is one of ours. It is rendered once; nobody changes it.
func overlay(t *testing.T, name string) manifests {
	t.Helper()
	m, ok := rendered[name]
	if !ok {
		m = render(t, filepath.Join(overlays, name))
		rendered[name] = m
	}
	return m
}

// each runs f on every overlay.
func each(t *testing.T, f func(t *testing.T, m manifests)) {
	for _, name := range overlayNames {
		t.Run(name, func(t *testing.T) { f(t, overlay(t, name)) })
	}
}

// eachContainer runs f on every container of every Pod of every overlay.
func eachContainer(t *testing.T, f func(t *testing.T, p pod, c corev1.Container)) {
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			for _, c := range p.containers() {
				t.Run(p.Name+"/"+c.Name, func(t *testing.T) { f(t, p, c) })
			}
		}
	})
}

// pod is the template of a Deployment's Pods.
type pod struct {
	appsv1.Deployment
	Spec   corev1.PodSpec
	Labels map[string]string
}

func (m manifests) pods() []pod {
	var list []pod
	for _, d := range m.Deployments {
		list = append(list, pod{d, d.Spec.Template.Spec, d.Spec.Template.Labels})
	}
	return list
}

// containers are all of them, sidecars included.
func (p pod) containers() []corev1.Container {
	return slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
}

// The entrypoint of the image is init: its arguments say what a container runs.
func isPair(c corev1.Container) bool  { return len(c.Args) == 0 && len(c.Command) == 0 }
func runsWeb(c corev1.Container) bool { return isPair(c) || slices.Equal(c.Args, []string{"web"}) }
func runsBot(c corev1.Container) bool { return isPair(c) || slices.Equal(c.Args, []string{"bot"}) }

func setting(c corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// mount is the volume that is mounted where path lies, with the path that it is mounted at.
func (p pod) mount(c corev1.Container, path string) (v corev1.Volume, at corev1.VolumeMount) {
	for _, m := range c.VolumeMounts {
		if path != m.MountPath && !strings.HasPrefix(path, m.MountPath+"/") {
			continue
		}
		for _, v := range p.Spec.Volumes {
			if v.Name == m.Name {
				return v, m
			}
		}
	}
	return corev1.Volume{}, corev1.VolumeMount{}
}

func matches(t *testing.T, s *metav1.LabelSelector, labels map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labelSet(labels))
}

type labelSet map[string]string

func (l labelSet) Has(k string) bool              { _, ok := l[k]; return ok }
func (l labelSet) Get(k string) string            { return l[k] }
func (l labelSet) Lookup(k string) (string, bool) { v, ok := l[k]; return v, ok }

// helps are what our three programs say of themselves with -help.
var helps = sync.OnceValues(func() (map[string]string, error) {
	dir, err := os.MkdirTemp("", "tandem-kubernetes-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// As internal/proctest builds them, so that Go has most of it in its cache.
	build := exec.Command("go", "build", "-C", root, "-trimpath", "-ldflags=-s -w", "-o", dir+"/",
		"./cmd/init", "./cmd/web", "./cmd/bot")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, err
	}
	text := map[string]string{}
	for _, name := range []string{"init", "web", "bot"} {
		out, err := exec.Command(filepath.Join(dir, name), "-help").Output()
		if err != nil {
			return nil, err
		}
		text[name] = string(out)
	}
	return text, nil
})

// fenced are the blocks of docs/kubernetes.md in a language.
func fenced(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(bytes.TrimSpace(m[1])))
	}
	return blocks
}
