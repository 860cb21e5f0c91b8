package kubernetes

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"tandem/internal/proctest"
	"tandem/internal/testenv"
)

const (
	imageName = "tandem:test-kubernetes" // made of the layers that test/docker leaves in Docker's cache
	token     = "123456789:AAF0simulated-token-for-tests-000000"
	soon      = 60 * time.Second
)

var image = sync.OnceValue(func() error {
	cmd := exec.Command(root+"/scripts/image", imageName)
	cmd.Env = append(os.Environ(), "VERSION=dev", "COMMIT=unknown") // as test/docker does
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
})

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// running is a Pod played by Docker: the containers of one share their network and their volumes, which belong to root
// and to the Pod's group, as a kubelet makes them; everything is as strict as the manifests say.
type running struct {
	t          *testing.T
	pod        pod
	containers map[string]string // ids by name
	secrets    map[string]string // directories by Secret
	address    string            // of port http, "" where there is none
}

func play(t *testing.T, p pod) *running {
	t.Helper()
	r := &running{t: t, pod: p, containers: map[string]string{}, secrets: map[string]string{}}
	prefix := fmt.Sprintf("tandem-test-%d-%s-", os.Getpid(), strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")))
	security := p.Spec.SecurityContext
	volumes := map[string]string{}
	for _, v := range p.Spec.Volumes {
		if v.Secret != nil {
			dir := t.TempDir()
			must(t, os.Chmod(dir, 0o755))
			r.secrets[v.Secret.SecretName], volumes[v.Name] = dir, dir
			continue
		}
		volumes[v.Name] = docker(t, "volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs",
			"-o", fmt.Sprintf("o=mode=2775,uid=0,gid=%d", *security.FSGroup), prefix+v.Name)
		t.Cleanup(func() { docker(t, "volume", "rm", "-f", volumes[v.Name]) })
	}
	first := ""
	for _, c := range p.containers() {
		memory := c.Resources.Limits[corev1.ResourceMemory]
		args := []string{
			"run", "-d", "--name", prefix + c.Name, "--read-only", "--cap-drop", "ALL",
			"--security-opt", "no-new-privileges", "--memory", fmt.Sprint(memory.Value()),
			"--user", fmt.Sprintf("%d:%d", *security.RunAsUser, *security.RunAsGroup),
			"-e", "TELEGRAM_API_URL=http://127.0.0.1:9", // nobody is there
		}
		if first == "" {
			args = append(args, "-p", "127.0.0.1::8080")
		} else {
			args = append(args, "--network", "container:"+first)
		}
		for _, e := range c.Env {
			args = append(args, "-e", e.Name+"="+e.Value)
		}
		for _, m := range c.VolumeMounts {
			args = append(args, "-v", volumes[m.Name]+":"+m.MountPath+map[bool]string{true: ":ro"}[m.ReadOnly])
		}
		id := docker(t, append(append(args, imageName), c.Args...)...)
		t.Cleanup(func() {
			if t.Failed() {
				out, _ := exec.Command("docker", "logs", id).CombinedOutput()
				t.Logf("%s:\n%s", c.Name, out)
			}
			docker(t, "rm", "-f", "-v", id)
		})
		r.containers[c.Name] = id
		if first == "" {
			first = id
			r.address, _, _ = strings.Cut(docker(t, "port", id, "8080"), "\n")
		}
	}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put makes a Secret appear where it is mounted, as a kubelet does some time after it was created.
func (r *running) put(secret, key, value string) {
	r.t.Helper()
	dir, mounted := r.secrets[secret]
	if !mounted {
		return
	}
	path := filepath.Join(dir, key)
	must(r.t, os.WriteFile(path, []byte(value), 0o600))
	if os.Getuid() == 0 {
		must(r.t, os.Chown(path, 0, int(*r.pod.Spec.SecurityContext.FSGroup)))
	}
	must(r.t, os.Chmod(path, 0o440))
}

// probe asks what a probe of the manifests asks; "" is a yes.
func (r *running) probe(c corev1.Container, p *corev1.Probe) string {
	if p.Exec != nil {
		command := append([]string{"exec", r.containers[c.Name]}, p.Exec.Command...)
		out, err := exec.Command("docker", command...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v %s", err, out)
		}
		return ""
	}
	response, err := http.Get("http://" + r.address + p.HTTPGet.Path)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Sprintf("%d %s", response.StatusCode, body)
	}
	return ""
}

func (r *running) eventually(what string, ok func() bool) {
	r.t.Helper()
	proctest.Eventually(r.t, soon, what, ok)
}

// bot is what init says of the bot in container c.
func (r *running) bot(c corev1.Container) (state, reason string) {
	out, err := exec.Command("docker", "exec", r.containers[c.Name], "/init", "status", "bot", "--json").Output()
	if err != nil {
		return "", err.Error()
	}
	var s struct {
		Processes []struct{ State, Reason string }
	}
	if err := json.Unmarshal(out, &s); err != nil || len(s.Processes) != 1 {
		return "", string(out)
	}
	return s.Processes[0].State, s.Processes[0].Reason
}

// log is what a container has printed.
func (r *running) log(c corev1.Container) string {
	out, err := exec.Command("docker", "logs", r.containers[c.Name]).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// TestPodsRunAsTheManifestsSay plays every Pod: first without its Secrets, then with them. No PostgreSQL is there.
func TestPodsRunAsTheManifestsSay(t *testing.T) {
	if _, err := exec.Command("docker", "info").Output(); err != nil {
		testenv.Missing(t, "Docker does not answer")
	}
	if os.Getuid() != 0 {
		testenv.Missing(t, "only root can make files as a kubelet does")
	}
	must(t, image())
	for _, name := range []string{"single", "sidecar", "separate"} { // replicas is sidecar
		for _, p := range overlay(t, name).pods() {
			t.Run(name+"/"+p.Name, func(t *testing.T) { playThrough(t, p, name == "single") })
		}
	}
}

func playThrough(t *testing.T, p pod, sqlite bool) {
	r := play(t, p)
	for _, c := range p.containers() {
		r.eventually("start of "+c.Name, func() bool { return r.probe(c, c.StartupProbe) == "" })
		if runsBot(c) {
			r.eventually("the bot has failed for want of its token", func() bool { s, _ := r.bot(c); return s == "failed" })
		}
		if said := r.probe(c, c.LivenessProbe); said != "" {
			t.Errorf("%s is not alive: %s", c.Name, said)
		}
		switch said := r.probe(c, c.ReadinessProbe); {
		case runsWeb(c) && !sqlite:
			if !strings.Contains(said, "DATABASE_URL is missing") {
				t.Errorf("readiness does not say what is missing: %s", said)
			}
			if log := r.log(c); !strings.Contains(log, "DATABASE_URL_FILE") { // it alone names the file
				t.Errorf("the log does not say which setting:\n%s", log)
			}
		case runsWeb(c):
			r.eventually("web is ready on SQLite", func() bool { return r.probe(c, c.ReadinessProbe) == "" })
		case said != "":
			t.Errorf("the bot's container is not ready while the bot has failed: %s", said)
		}
	}

	r.put("tandem-telegram", "token", token)
	r.put("tandem-database", "url", "postgres://tandem:secret@127.0.0.1:1/tandem")
	for _, c := range p.containers() {
		if runsBot(c) {
			docker(t, "exec", r.containers[c.Name], "/init", "start", "bot")
			r.eventually("the bot runs with its token", func() bool { s, _ := r.bot(c); return s == "running" })
		}
		if runsWeb(c) && !sqlite {
			docker(t, "exec", r.containers[c.Name], "/init", "restart", "web")
			r.eventually("web has read the database's address", func() bool {
				return strings.Contains(r.log(c), "no PostgreSQL listens") &&
					strings.Contains(r.probe(c, c.ReadinessProbe), "cannot be reached")
			})
		}
	}
	for _, c := range p.containers() {
		began := time.Now()
		docker(t, "stop", "-t", fmt.Sprint(*p.Spec.TerminationGracePeriodSeconds), r.containers[c.Name])
		stop, _ := time.ParseDuration(setting(c, "STOP_TIMEOUT"))
		if took := time.Since(began); took > stop+slack {
			t.Errorf("%s took %s to stop", c.Name, took)
		}
		end := docker(t, "inspect", "--format", "{{.State.ExitCode}} {{.RestartCount}}", r.containers[c.Name])
		if end != "0 0" {
			t.Errorf("%s ended with (code, restarts) %s", c.Name, end)
		}
	}
}
