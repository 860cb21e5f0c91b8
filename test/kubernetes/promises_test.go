package kubernetes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func TestEveryOverlayRendersIntoKnownFieldsOnly(t *testing.T) {
	entries, err := os.ReadDir(overlays)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if want := slices.Sorted(slices.Values(overlayNames)); !slices.Equal(have, want) {
		t.Errorf("overlays: %q, want %q", have, want)
	}
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			for _, c := range p.containers() {
				if !runsWeb(c) && !runsBot(c) {
					t.Errorf("container %s runs neither web nor bot: args %q, command %q", c.Name, c.Args, c.Command)
				}
				if c.Image != "tandem:dev" {
					t.Errorf("container %s: image %s", c.Name, c.Image)
				}
			}
		}
	})
}

func TestNoHelm(t *testing.T) {
	err := filepath.WalkDir(root+"/deploy/kubernetes", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if strings.Contains(string(text), "helm") || d.Name() == "Chart.yaml" {
				t.Errorf("%s has to do with Helm", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSingleIsOnePodWithThePairOnAVolume(t *testing.T) {
	m := overlay(t, "single")
	if len(m.Deployments) != 1 || len(m.Claims) != 1 {
		t.Fatalf("%d Deployments, %d volumes", len(m.Deployments), len(m.Claims))
	}
	p := m.pods()[0]
	if n := *p.Deployment.Spec.Replicas; n != 1 {
		t.Errorf("%d replicas", n)
	}
	if s := p.Deployment.Spec.Strategy; s.Type != appsv1.RecreateDeploymentStrategyType || s.RollingUpdate != nil {
		t.Errorf("strategy: %+v", s)
	}
	if len(p.containers()) != 1 || !isPair(p.Spec.Containers[0]) {
		t.Fatalf("want init with both in one container")
	}
	c := p.Spec.Containers[0]
	path, sqlite := strings.CutPrefix(setting(c, "DATABASE_URL"), "sqlite:")
	v, _ := p.mount(c, path)
	if !sqlite || v.PersistentVolumeClaim == nil || v.PersistentVolumeClaim.ClaimName != m.Claims[0].Name {
		t.Errorf("DATABASE_URL %s lies on %+v", path, v)
	}
	if v, _ := p.mount(c, setting(c, "POLL_LOCK_FILE")); v.PersistentVolumeClaim == nil {
		t.Error("the polling lock is not on the volume")
	}
	if a := m.Claims[0].Spec.AccessModes; !slices.Equal(a, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}) {
		t.Errorf("access modes: %v", a)
	}
}

func TestSidecarIsOnePodWithTheBotAsNativeSidecar(t *testing.T) {
	m := overlay(t, "sidecar")
	if len(m.Deployments) != 1 || *m.Deployments[0].Spec.Replicas != 1 {
		t.Fatalf("want one Deployment of one Pod")
	}
	wantSidecar(t, m.pods()[0])
}

func wantSidecar(t *testing.T, p pod) {
	t.Helper()
	if len(p.Spec.InitContainers) != 1 || len(p.Spec.Containers) != 1 {
		t.Fatalf("%d init containers and %d containers", len(p.Spec.InitContainers), len(p.Spec.Containers))
	}
	bot, web := p.Spec.InitContainers[0], p.Spec.Containers[0]
	always := bot.RestartPolicy != nil && *bot.RestartPolicy == corev1.ContainerRestartPolicyAlways
	if !always || isPair(bot) || !runsBot(bot) {
		t.Errorf("the init container is no native sidecar with init bot: %v %q", bot.RestartPolicy, bot.Args)
	}
	if isPair(web) || !runsWeb(web) {
		t.Errorf("the container does not run init web: %q", web.Args)
	}
}

func TestReplicasIsTheSameThreeTimes(t *testing.T) {
	one, three := overlay(t, "sidecar").Deployments, overlay(t, "replicas").Deployments
	if len(three) != 1 || *three[0].Spec.Replicas != 3 {
		t.Fatalf("want one Deployment of three Pods")
	}
	same := three[0].DeepCopy()
	same.Spec.Replicas = one[0].Spec.Replicas
	if diff := cmp.Diff(&one[0], same); diff != "" {
		t.Errorf("differs in more than the number from sidecar:\n%s", diff)
	}
	wantSidecar(t, pod{three[0], three[0].Spec.Template.Spec, nil})
}

func TestSeparateIsADeploymentEachAndTheBotTwice(t *testing.T) {
	m := overlay(t, "separate")
	if len(m.Deployments) != 2 {
		t.Fatalf("%d Deployments", len(m.Deployments))
	}
	for _, p := range m.pods() {
		if len(p.containers()) != 1 || isPair(p.Spec.Containers[0]) {
			t.Fatalf("%s: want one container that runs one of the two", p.Name)
		}
		c := p.Spec.Containers[0]
		if n := *p.Deployment.Spec.Replicas; n != 2 {
			t.Errorf("%s: %d replicas", p.Name, n)
		}
		if want := map[bool]string{true: "web", false: "bot"}[runsWeb(c)]; p.Labels["app.kubernetes.io/component"] != want {
			t.Errorf("%s: component %s, want %s", p.Name, p.Labels["app.kubernetes.io/component"], want)
		}
	}
	// The same bot as the sidecar's.
	bot := m.pods()[1].Spec.Containers[0].DeepCopy()
	sidecar := overlay(t, "sidecar").pods()[0].Spec.InitContainers[0].DeepCopy()
	sidecar.RestartPolicy = nil
	if diff := cmp.Diff(sidecar, bot); diff != "" {
		t.Errorf("the bot's container differs from sidecar's:\n%s", diff)
	}
}

// wantRestricted asks the code with which a cluster decides.
func wantRestricted(t *testing.T, meta metav1.ObjectMeta, spec corev1.PodSpec) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	restricted := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	for _, r := range evaluator.EvaluatePod(restricted, &meta, &spec) {
		if !r.Allowed {
			t.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
}

func TestPodSecurityRestricted(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		if len(m.Namespaces) != 1 || m.Namespaces[0].Name != namespace ||
			m.Namespaces[0].Labels[psa.EnforceLevelLabel] != "restricted" {
			t.Errorf("the namespace does not enforce it: %+v", m.Namespaces)
		}
		for _, p := range m.pods() {
			wantRestricted(t, p.Deployment.Spec.Template.ObjectMeta, p.Spec)
			if s := p.Spec.ShareProcessNamespace; s != nil && *s {
				t.Errorf("%s: the containers see each other's processes", p.Name)
			}
			if a := p.Spec.AutomountServiceAccountToken; a == nil || *a {
				t.Errorf("%s: gets a token for the cluster's API", p.Name)
			}
		}
	})
}

func TestNumericUserAndGroup(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			s := p.Spec.SecurityContext
			if s == nil || s.RunAsUser == nil || *s.RunAsUser != 65532 || s.RunAsGroup == nil || *s.RunAsGroup != 65532 {
				t.Fatalf("%s: want the image's user 65532 and its group by number", p.Name)
			}
			// A volume in memory and a new disk belong to root, and to this group.
			if s.FSGroup == nil || *s.FSGroup != *s.RunAsGroup {
				t.Errorf("%s: fsGroup is not the group of the user", p.Name)
			}
			for _, c := range p.containers() {
				if c.SecurityContext.RunAsUser != nil || c.SecurityContext.RunAsGroup != nil {
					t.Errorf("%s/%s has a user of its own", p.Name, c.Name)
				}
			}
		}
	})
}

func TestReadOnlyRoot(t *testing.T) {
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Error("the root can be written")
		}
		v, at := p.mount(c, setting(c, "RUN_DIR"))
		d := v.EmptyDir
		if d == nil || d.Medium != corev1.StorageMediumMemory || d.SizeLimit == nil || at.ReadOnly {
			t.Errorf("RUN_DIR is not on a writable volume in memory with a limit: %+v", v)
		}
	})
}

func TestRequestsAndLimits(t *testing.T) {
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := c.Resources.Requests[r], c.Resources.Limits[r]
			if request.IsZero() || limit.IsZero() || request.Cmp(limit) > 0 {
				t.Errorf("%s: request %s, limit %s", r, request.String(), limit.String())
			}
		}
	})
}

func TestStartLivenessAndReadinessProbes(t *testing.T) {
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		for what, probe := range map[string]*corev1.Probe{
			"start": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe,
		} {
			if probe == nil {
				t.Fatalf("no %s probe", what)
			}
			if probe.TimeoutSeconds < 1 || probe.PeriodSeconds < 1 || probe.FailureThreshold < 1 {
				t.Errorf("%s: %+v leaves to the cluster what it should say", what, probe)
			}
			if !runsWeb(c) {
				if probe.Exec == nil || !slices.Equal(probe.Exec.Command, []string{"/init", "status", "bot"}) {
					t.Errorf("%s: want init status bot: %+v", what, probe.ProbeHandler)
				}
				continue
			}
			path := map[string]string{"start": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}[what]
			if probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "http" {
				t.Errorf("%s: want %s on port http: %+v", what, path, probe.ProbeHandler)
			}
		}
		if start := c.StartupProbe; start.PeriodSeconds*start.FailureThreshold < 30 {
			t.Errorf("%d s are little for a start on a busy node", start.PeriodSeconds*start.FailureThreshold)
		}
	})
}

// Neither container asks the bot: web's readiness is the database's, and the bot's container is ready while init is.
func TestReadinessNeverDependsOnTheBot(t *testing.T) {
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
			if h := probe.HTTPGet; h != nil {
				for _, port := range c.Ports {
					if port.Name == h.Port.StrVal && port.ContainerPort == 9091 {
						t.Error("a probe asks the bot's own port")
					}
				}
			}
			if e := probe.Exec; e != nil && (e.Command[0] != "/init" || e.Command[1] != "status") {
				t.Errorf("a probe asks %q", e.Command)
			}
		}
	})
}

const slack = 5 * time.Second

func preStop(c corev1.Container) time.Duration {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil {
		return 0
	}
	return time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
}

// By `sleep`, because the image has no shell and no program of that name.
func TestPreStopOfWhatServes(t *testing.T) {
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		if sleep := preStop(c); runsWeb(c) && (sleep < 3*time.Second || sleep > 15*time.Second) {
			t.Errorf("web goes on serving for %s after it was taken from the Service", sleep)
		}
	})
}

func TestGracePeriodIsLongerThanTheStopBudget(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			// A sidecar is stopped when web has ended, so that the times add up.
			var budget time.Duration
			for _, c := range p.containers() {
				stop, err := time.ParseDuration(setting(c, "STOP_TIMEOUT"))
				if err != nil {
					t.Fatalf("%s/%s: STOP_TIMEOUT: %v", p.Name, c.Name, err)
				}
				if stop <= 8*time.Second {
					t.Errorf("%s/%s: STOP_TIMEOUT is %s, not raised above the 8 s for Docker", p.Name, c.Name, stop)
				}
				budget += preStop(c) + stop
			}
			grace := time.Duration(*p.Spec.TerminationGracePeriodSeconds) * time.Second
			if grace < budget+slack {
				t.Errorf("%s: a grace period of %s, while a stop may take %s", p.Name, grace, budget)
			}
		}
	})
}

// Drained, requests in hand have 6 s more, all within the budget of the stop.
func TestWebDrainsWithinTheStopBudget(t *testing.T) {
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		drain, err := time.ParseDuration(setting(c, "WEB_DRAIN"))
		if p.Deployment.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || !runsWeb(c) {
			if err == nil {
				t.Errorf("WEB_DRAIN is %s where nobody takes over", drain)
			}
			return
		}
		stop, _ := time.ParseDuration(setting(c, "STOP_TIMEOUT"))
		if err != nil || drain < time.Second || drain+6*time.Second >= stop {
			t.Errorf("WEB_DRAIN is %s within a STOP_TIMEOUT of %s: %v", drain, stop, err)
		}
	})
}

func TestMaxUnavailableIsZero(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, d := range m.Deployments {
			s := d.Spec.Strategy
			if m.overlay == "single" {
				continue // its volume is not for two; TestSingle
			}
			if s.Type != appsv1.RollingUpdateDeploymentStrategyType || s.RollingUpdate == nil ||
				*s.RollingUpdate.MaxUnavailable != intstr.FromInt32(0) || s.RollingUpdate.MaxSurge.IntValue() < 1 {
				t.Errorf("%s: %+v", d.Name, s)
			}
		}
	})
}

func TestDisruptionBudget(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			n := 0
			for _, b := range m.Budgets {
				if !matches(t, b.Spec.Selector, p.Labels) {
					continue
				}
				n++
				if b.Spec.MaxUnavailable == nil || *b.Spec.MaxUnavailable != intstr.FromInt32(1) || b.Spec.MinAvailable != nil {
					t.Errorf("%s: want one Pod at a time, which never blocks a drain: %+v", b.Name, b.Spec)
				}
			}
			if n != 1 {
				t.Errorf("%s has %d budgets: with more than one, no Pod can be evicted", p.Name, n)
			}
		}
	})
}

func TestSpreading(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			over := map[string]bool{}
			for _, c := range p.Spec.TopologySpreadConstraints {
				over[c.TopologyKey] = matches(t, c.LabelSelector, p.Labels) && c.MaxSkew == 1 &&
					slices.Equal(c.MatchLabelKeys, []string{"pod-template-hash"}) // else an update counts the old Pods
				if c.WhenUnsatisfiable != corev1.ScheduleAnyway {
					t.Errorf("%s: a cluster of one node could not run it", p.Name)
				}
			}
			if !over["kubernetes.io/hostname"] || !over["topology.kubernetes.io/zone"] {
				t.Errorf("%s is not spread over nodes and zones: %v", p.Name, over)
			}
		}
	})
}

// allowed are the ports that the policies let through to or from a Pod. A port is true if it is open to or from
// anywhere. isolated says that all else is refused.
func allowed(
	t *testing.T, m manifests, p pod, direction networkingv1.PolicyType,
) (ports map[string]bool, isolated bool) {
	t.Helper()
	ports = map[string]bool{}
	for _, n := range m.Policies {
		if !matches(t, &n.Spec.PodSelector, p.Labels) || !slices.Contains(n.Spec.PolicyTypes, direction) {
			continue
		}
		isolated = true
		add := func(list []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer) {
			if len(list) == 0 {
				t.Errorf("%s: %s lets every port through", m.overlay, n.Name)
			}
			for _, q := range list {
				if q.Port.Type != intstr.Int {
					t.Errorf("%s: %s names port %s: not every network plugin finds that of a native sidecar",
						m.overlay, n.Name, q.Port)
				}
				ports[q.Port.String()] = ports[q.Port.String()] || len(peers) == 0
			}
		}
		if direction == networkingv1.PolicyTypeIngress {
			for _, r := range n.Spec.Ingress {
				add(r.Ports, r.From)
			}
		} else {
			for _, r := range n.Spec.Egress {
				add(r.Ports, r.To)
			}
		}
	}
	return ports, isolated
}

func TestNetworkPolicy(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			web, bot := slices.ContainsFunc(p.containers(), runsWeb), slices.ContainsFunc(p.containers(), runsBot)
			in, isolated := allowed(t, m, p, networkingv1.PolicyTypeIngress)
			if !isolated {
				t.Errorf("%s: anybody may connect", p.Name)
			}
			if anybody, open := in["8080"]; open != web || anybody != web {
				t.Errorf("%s: in: 8080 is open: %v, to anybody: %v", p.Name, open, anybody)
			}
			for _, port := range []string{"9090", "9091"} {
				if anybody, open := in[port]; !open || anybody {
					t.Errorf("%s: in: %s is for Prometheus alone: open %v, to anybody %v", p.Name, port, open, anybody)
				}
			}
			out, isolated := allowed(t, m, p, networkingv1.PolicyTypeEgress)
			if !isolated {
				t.Errorf("%s: may connect to anything", p.Name)
			}
			_, dns := out["53"]
			_, database := out["5432"]
			anywhere, telegram := out["443"]
			if !dns || database == (m.overlay == "single") || telegram != bot || anywhere {
				t.Errorf("%s: out: DNS %v, PostgreSQL %v, Telegram %v, and into the cluster %v",
					p.Name, dns, database, telegram, anywhere)
			}
			if len(in) > 3 || len(out) > 3 {
				t.Errorf("%s: more is open than should be: in %v, out %v", p.Name, in, out)
			}
		}
	})
}

func TestMetricsPortsAreNamedForScraping(t *testing.T) {
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		ports := map[string]int32{}
		for _, port := range c.Ports {
			ports[port.Name] = port.ContainerPort
		}
		if runsWeb(c) && (ports["http"] != 8080 || ports["metrics"] != 9090) || runsBot(c) && ports["bot-metrics"] != 9091 {
			t.Errorf("ports: %v", ports)
		}
	})
}

func TestTokenIsAFileThatOnlyTheBotsContainerMounts(t *testing.T) {
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		for _, e := range c.Env {
			if e.ValueFrom != nil || e.Name == "TELEGRAM_BOT_TOKEN" {
				t.Errorf("%s is not a plain setting", e.Name)
			}
		}
		for _, e := range c.EnvFrom {
			if e.SecretRef != nil {
				t.Errorf("a Secret becomes settings: %s", e.SecretRef.Name)
			}
		}
		var mounted bool
		for _, m := range c.VolumeMounts {
			v, at := p.mount(c, m.MountPath)
			if v.Secret != nil && v.Secret.SecretName == "tandem-telegram" {
				mounted = true
				if !at.ReadOnly || at.SubPath != "" { // with a subPath a new token would not arrive
					t.Errorf("mounted as %+v", at)
				}
			}
		}
		file := setting(c, "TELEGRAM_BOT_TOKEN_FILE")
		if mounted != runsBot(c) || (file != "") != runsBot(c) {
			t.Errorf("mounted: %v, TELEGRAM_BOT_TOKEN_FILE: %q, runs the bot: %v", mounted, file, runsBot(c))
		}
	})
}

func TestDatabaseIsNamedInOneWayOnly(t *testing.T) {
	eachContainer(t, func(t *testing.T, p pod, c corev1.Container) {
		url, file := setting(c, "DATABASE_URL"), setting(c, "DATABASE_URL_FILE")
		if (url == "") == (file == "") {
			t.Errorf("DATABASE_URL=%q DATABASE_URL_FILE=%q", url, file)
		}
		if strings.Contains(url, "postgres") {
			t.Error("a password stands in a manifest")
		}
		// The image sets DATABASE_URL: only an empty one takes that back.
		if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "DATABASE_URL" }) {
			t.Error("DATABASE_URL is the image's")
		}
	})
}

// Without its Secrets a Pod starts and says what is missing; a volume that cannot be mounted would only say it to
// those who look into the cluster's events.
func TestMissingSecretsLeaveWebUp(t *testing.T) {
	each(t, func(t *testing.T, m manifests) {
		for _, p := range m.pods() {
			for _, v := range p.Spec.Volumes {
				if v.Secret != nil && (v.Secret.Optional == nil || !*v.Secret.Optional) {
					t.Errorf("%s: does not start without Secret %s", p.Name, v.Secret.SecretName)
				}
			}
		}
	})
}

func TestMigrationsNeedNoExtraStep(t *testing.T) {
	each(t, func(t *testing.T, m manifests) { // render knows no Job
		for _, p := range m.pods() {
			for _, c := range p.Spec.InitContainers {
				if c.RestartPolicy == nil {
					t.Errorf("%s: %s has to end before web starts", p.Name, c.Name)
				}
			}
		}
	})
	text, err := os.ReadFile(root + "/docs/kubernetes.md")
	if err != nil || !strings.Contains(string(text), "igrations") {
		t.Errorf("docs/kubernetes.md says nothing of migrations: %v", err)
	}
}
