package docker

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/testenv"
)

// Edge 44: with no privilege, no shell, a root that cannot be written, twenty processes and threads and 32 MiB, init
// starts both, starts the bot again, and stops in order. It does so with and without a terminal. Ten processes and
// threads would be too few for a program in Go: init alone has as many threads.
func TestTheLeast(t *testing.T) {
	image(t)
	still := still(t)
	for _, tty := range []string{"-t=false", "-t"} {
		name := uniqueName()
		t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", "-v", name).Run() })
		docker(t, "run", "-d", tty, "--name", name, "--user", "65534:65534", "--read-only",
			"--tmpfs", "/run/tandem:uid=65534,gid=65534,mode=0700", "--cap-drop", "ALL",
			"--security-opt", "no-new-privileges", "--pids-limit", "20", "--memory", "32m", "--memory-swap", "32m",
			"--network", "none", "-v", still+":/still:ro",
			"-e", "WEB_COMMAND=/still web", "-e", "BOT_COMMAND=/still bot 1", imageName)
		logs := func() string {
			out, _ := exec.Command("docker", "logs", name).CombinedOutput()
			return string(out)
		}
		eventually(t, "a bot that was started three times", func() error {
			if log := logs(); strings.Count(log, "web ready") != 1 || strings.Count(log, "bot ready") < 3 {
				return fmt.Errorf("%s: %s", tty, log)
			}
			return nil
		})
		docker(t, "stop", "-t", "60", name)
		if code := docker(t, "inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", name); code != "0 false" {
			t.Errorf("%s: it ended with %s: %s", tty, code, logs())
		}
	}
}

// still is the path of the static program of that name, which containers mount.
func still(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "still")
	if out, err := exec.Command("cc", "-static", "-o", path, "still/still.c").CombinedOutput(); err != nil {
		testenv.Missing(t, "a C compiler with a static library: "+string(out))
	}
	return path
}
