package kubernetes

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSelectorsMatchLabels(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		chosen := func(s *metav1.LabelSelector) (names []string) {
			for _, p := range m.pods() {
				if matches(t, s, p.Labels) {
					names = append(names, p.Name)
				}
			}
			return names
		}
		for _, d := range m.Deployments {
			if got := chosen(d.Spec.Selector); !slices.Equal(got, []string{d.Name}) {
				t.Errorf("Deployment %s chooses the Pods of %q", d.Name, got)
			}
		}
		for _, b := range m.Budgets {
			if got := chosen(b.Spec.Selector); !slices.Equal(got, []string{b.Name}) {
				t.Errorf("PodDisruptionBudget %s chooses the Pods of %q", b.Name, got)
			}
		}
		for _, s := range m.Services {
			got := chosen(&metav1.LabelSelector{MatchLabels: s.Spec.Selector})
			if !slices.Equal(got, []string{"tandem"}) {
				t.Errorf("Service %s chooses the Pods of %q", s.Name, got)
			}
		}
		for _, n := range m.Policies {
			if got := chosen(&n.Spec.PodSelector); len(got) == 0 {
				t.Errorf("NetworkPolicy %s chooses no Pod", n.Name)
			}
		}
	})
}

func TestServicePortsAndProbesNamePortsThatAreThere(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		all := map[int32]bool{}
		for _, p := range m.pods() {
			own, lasting := map[string]bool{}, map[string]bool{} // all names of the Pod, and those that are no sidecar's
			for _, c := range p.containers() {
				for _, port := range c.Ports {
					if own[port.Name] {
						t.Errorf("%s: two ports are called %s", p.Name, port.Name)
					}
					own[port.Name], all[port.ContainerPort] = true, true
				}
			}
			for _, c := range p.Spec.Containers {
				for _, port := range c.Ports {
					lasting[port.Name] = true
				}
			}
			for _, c := range p.containers() {
				for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
					h := probe.HTTPGet
					if h != nil && !slices.ContainsFunc(c.Ports, func(q corev1.ContainerPort) bool {
						return q.Name == h.Port.StrVal
					}) {
						t.Errorf("%s/%s: a probe asks port %s", p.Name, c.Name, h.Port.String())
					}
				}
			}
			for _, s := range m.Services {
				if !matches(t, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}, p.Labels) {
					continue
				}
				for _, port := range s.Spec.Ports {
					if !lasting[port.TargetPort.StrVal] {
						t.Errorf("Service %s leads to port %s of %s, which no container has, or only a sidecar",
							s.Name, port.TargetPort.String(), p.Name)
					}
				}
			}
		}
		for _, n := range m.Policies {
			for _, r := range n.Spec.Ingress {
				for _, port := range r.Ports {
					if !all[port.Port.IntVal] {
						t.Errorf("NetworkPolicy %s opens port %s", n.Name, port.Port.String())
					}
				}
			}
		}
	})
}

// The containers of a Pod share its network.
func TestPortsOfAPodDiffer(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			owner := map[int32]string{}
			for _, c := range p.containers() {
				for _, port := range c.Ports {
					if other, taken := owner[port.ContainerPort]; taken {
						t.Errorf("%s: %s and %s both listen on %d", p.Name, other, c.Name, port.ContainerPort)
					}
					owner[port.ContainerPort] = c.Name
				}
			}
		}
	})
}

func TestVolumesThatAreMountedExistAndAreUsed(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			used := map[string]bool{}
			for _, c := range p.containers() {
				for _, mount := range c.VolumeMounts {
					used[mount.Name] = true
					if v, _ := p.mount(c, mount.MountPath); v.Name != mount.Name {
						t.Errorf("%s/%s: there is no volume %s for %s", p.Name, c.Name, mount.Name, mount.MountPath)
					}
				}
			}
			for _, v := range p.Spec.Volumes {
				if !used[v.Name] {
					t.Errorf("%s: nobody mounts volume %s", p.Name, v.Name)
				}
				c := v.PersistentVolumeClaim
				if c != nil && !slices.ContainsFunc(m.Claims, func(q corev1.PersistentVolumeClaim) bool {
					return q.Name == c.ClaimName
				}) {
					t.Errorf("%s: there is no volume claim %s", p.Name, c.ClaimName)
				}
			}
		}
	})
}

func TestNamesOfOthersExist(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		if len(m.Accounts) != 1 || len(m.Settings) != 1 {
			t.Fatalf("%d accounts, %d settings", len(m.Accounts), len(m.Settings))
		}
		for _, p := range m.pods() {
			if p.Spec.ServiceAccountName != m.Accounts[0].Name {
				t.Errorf("%s: account %s", p.Name, p.Spec.ServiceAccountName)
			}
			for _, c := range p.containers() {
				for _, e := range c.EnvFrom {
					if e.ConfigMapRef == nil || e.ConfigMapRef.Name != m.Settings[0].Name {
						t.Errorf("%s/%s: settings from %+v", p.Name, c.Name, e)
					}
				}
			}
		}
		for what, in := range m.namespaces() {
			if in != namespace {
				t.Errorf("%s is in namespace %q", what, in)
			}
		}
	})
}

func (m manifests) namespaces() map[string]string {
	in := map[string]string{}
	add := func(kind string, o metav1.ObjectMeta) { in[kind+" "+o.Name] = o.Namespace }
	for _, o := range m.Accounts {
		add("ServiceAccount", o.ObjectMeta)
	}
	for _, o := range m.Settings {
		add("ConfigMap", o.ObjectMeta)
	}
	for _, o := range m.Claims {
		add("PersistentVolumeClaim", o.ObjectMeta)
	}
	for _, o := range m.Services {
		add("Service", o.ObjectMeta)
	}
	for _, o := range m.Policies {
		add("NetworkPolicy", o.ObjectMeta)
	}
	for _, o := range m.Budgets {
		add("PodDisruptionBudget", o.ObjectMeta)
	}
	for _, o := range m.Deployments {
		add("Deployment", o.ObjectMeta)
	}
	return in
}

func TestSettingsAreInTheProgramsHelp(t *testing.T) {
	help, err := helps()
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			for _, c := range p.containers() {
				text := help["init"]
				if runsWeb(c) {
					text += help["web"]
				}
				if runsBot(c) {
					text += help["bot"]
				}
				var names []string
				for _, e := range c.Env {
					names = append(names, e.Name)
				}
				for _, name := range names {
					if !regexp.MustCompile(`\b` + name + `\b`).MatchString(text) {
						t.Errorf("%s/%s: no program that runs here knows %s", p.Name, c.Name, name)
					}
				}
			}
		}
		for _, s := range m.Settings {
			for name := range s.Data {
				if !regexp.MustCompile(`\b` + name + `\b`).MatchString(help["init"] + help["web"] + help["bot"]) {
					t.Errorf("ConfigMap: no program knows %s", name)
				}
			}
		}
	})
}

// A file that a setting names lies on a volume, with the key of the Secret as its name, and that Secret is made with
// that key by a command in docs/kubernetes.md.
func TestSecretsHaveTheKeysThatAreRead(t *testing.T) {
	commands := strings.Join(fenced(t, "sh"), "\n")
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		for _, e := range c.Env {
			if !strings.HasSuffix(e.Name, "_FILE") || e.Name == "POLL_LOCK_FILE" {
				continue
			}
			v, at := p.mount(c, e.Value)
			if v.Secret == nil {
				t.Errorf("%s=%s is on no Secret", e.Name, e.Value)
				continue
			}
			key := strings.TrimPrefix(e.Value, at.MountPath+"/")
			made := regexp.MustCompile(fmt.Sprintf(`create secret generic %s (\\\n)? *--from-(literal|file)=%s=`,
				v.Secret.SecretName, key))
			if !made.MatchString(commands) {
				t.Errorf("docs/kubernetes.md does not make Secret %s with key %s", v.Secret.SecretName, key)
			}
			// The group of the Pod reads it, nobody else does.
			if mode := v.Secret.DefaultMode; mode == nil || *mode != 0o440 {
				t.Errorf("Secret %s has mode %o", v.Secret.SecretName, *mode)
			}
		}
	})
}

// What docs/kubernetes.md proposes for one's own kustomization is rendered as it stands there.
func TestOwnKustomizationOfTheDocs(t *testing.T) {
	blocks := fenced(t, "yaml")
	i := slices.IndexFunc(blocks, func(b string) bool { return strings.Contains(b, "kind: Kustomization") })
	if i < 0 {
		t.Fatal("docs/kubernetes.md has no kustomization.yaml")
	}
	for _, name := range overlayNames {
		dir, err := os.MkdirTemp(root+"/deploy", "own-") // kustomize takes no absolute path for a base
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		text := regexp.MustCompile(`- \S*/overlays/\w+`).ReplaceAllString(blocks[i], "- ../kubernetes/overlays/"+name)
		if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m := render(t, dir)
		if url := m.Settings[0].Data["WEB_BASE_URL"]; !strings.HasPrefix(url, "https://") {
			t.Errorf("%s: WEB_BASE_URL=%q", name, url)
		}
		for _, p := range m.pods() {
			for _, c := range p.containers() {
				if c.Image == "tandem:dev" || !strings.Contains(c.Image, "/tandem:") {
					t.Errorf("%s: image %s", name, c.Image)
				}
				if c.EnvFrom[0].ConfigMapRef.Name != m.Settings[0].Name {
					t.Errorf("%s: settings %s, want %s", name, c.EnvFrom[0].ConfigMapRef.Name, m.Settings[0].Name)
				}
			}
		}
	}
}

// The Pod that restores a backup writes the database that `single` reads, as strictly confined as the others.
func TestRestorePodWritesWhatSingleReads(t *testing.T) {
	text, err := os.ReadFile(root + "/deploy/kubernetes/restore-sqlite.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list []corev1.Pod
	decode(t, text, &list)
	m := overlay(t, "single")
	p, single := pod{Spec: list[0].Spec}, m.pods()[0]
	c, web := p.Spec.Containers[0], single.Spec.Containers[0]
	url := setting(c, "DATABASE_URL")
	v, at := p.mount(c, strings.TrimPrefix(url, "sqlite:"))
	claim := v.PersistentVolumeClaim
	if url != setting(web, "DATABASE_URL") || claim == nil || claim.ClaimName != m.Claims[0].Name || at.ReadOnly {
		t.Errorf("%s on %+v", url, v)
	}
	if !slices.Equal(c.Command, []string{"/web", "restore"}) || !c.Stdin || !c.StdinOnce ||
		list[0].Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("it does not run web restore once, on what it is sent: %q", c.Command)
	}
	got, want := *p.Spec.SecurityContext.FSGroup, *single.Spec.SecurityContext.FSGroup
	if got != want || list[0].Namespace != namespace || c.Image != web.Image {
		t.Errorf("group %d, want %d; namespace %s; image %s", got, want, list[0].Namespace, c.Image)
	}
	wantRestricted(t, list[0].ObjectMeta, list[0].Spec)
}
