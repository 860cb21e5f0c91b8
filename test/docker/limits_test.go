package docker

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"tandem/internal/status"
)

// container starts the image with arguments of docker run and returns its name.
func container(t *testing.T, args ...string) string {
	t.Helper()
	image(t)
	name := uniqueName()
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", name).CombinedOutput()
			t.Logf("%s", out)
		}
		_ = exec.Command("docker", "rm", "-f", "-v", name).Run()
	})
	run := []string{"run", "-d", "--name", name, "-v", tool(t, "hog") + ":/hog:ro"}
	docker(t, slices.Concat(run, args, []string{imageName})...)
	return name
}

// Edge 49: the kernel kills a bot that leaks, and never web. init says so. It told both beforehand what their share is.
func TestOutOfMemory(t *testing.T) {
	name := container(t, "--memory", "96m", "--memory-swap", "96m",
		"-e", "BOT_COMMAND=/hog eat", "-e", "BOT_RESTART_DELAY=1s")
	eventually(t, "a bot that was killed twice for want of memory", func() error {
		out, err := exec.Command("docker", "exec", name, "/init", "status", "--json").Output()
		if err != nil {
			return err
		}
		var s status.Status
		if err := json.Unmarshal(out, &s); err != nil {
			return err
		}
		web, _ := s.Process("web")
		bot, _ := s.Process("bot")
		e := bot.LastEnd
		if web.State != status.Running || web.Restarts != 0 {
			t.Errorf("web: %+v", web)
		}
		if bot.Restarts < 1 || e == nil || !e.OOMKilled || e.Signal != "SIGKILL" || e.RanMS == 0 ||
			!strings.Contains(e.Reason, "out of memory") {
			return fmt.Errorf("%+v %+v", bot, e)
		}
		return nil
	})
	log, _ := exec.Command("docker", "logs", name).CombinedOutput()
	if !strings.Contains(string(log), "hog: GOMEMLIMIT 38MiB") {
		t.Errorf("the bot was not told its share: %s", log)
	}
}

// A user each in a container with the least that this takes, and with Docker's own capabilities.
func TestUsersInAContainer(t *testing.T) {
	for _, hardening := range [][]string{
		nil,
		{
			"--read-only", "--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "KILL",
			"--security-opt", "no-new-privileges", "--tmpfs", "/run/tandem:mode=0755",
		},
	} {
		name := container(t, append(hardening, "--user", "0", "-e", "WEB_USER=65532", "-e", "BOT_USER=1234",
			"-e", "WEB_COMMAND=/hog tell web", "-e", "BOT_COMMAND=/hog tell bot")...)
		var log string
		eventually(t, "both processes", func() error {
			out, err := exec.Command("docker", "logs", name).CombinedOutput()
			if log = string(out); err == nil && (!strings.Contains(log, "web ready") || !strings.Contains(log, "bot ready")) {
				err = fmt.Errorf("%s", log)
			}
			return err
		})
		for _, want := range []string{
			"web Uid 65532 65532 65532 65532", "web Groups 65532", "web CapEff 0000000000000000", "web NoNewPrivs 1",
			"bot Uid 1234 1234 1234 1234", "bot Groups 1234", "bot CapEff 0000000000000000", "bot NoNewPrivs 1",
		} {
			if !strings.Contains(log, want) {
				t.Errorf("%v: no %q in %s", hardening, want, log)
			}
		}
		docker(t, "exec", name, "/init", "status")
		docker(t, "stop", name)
		if code := docker(t, "inspect", "--format", "{{.State.ExitCode}}", name); code != "0" {
			t.Errorf("%v: ended with %s", hardening, code)
		}
	}
}

// Few processes for the user of the container: init takes no thread in reserve that web or the bot could lack.
func TestFewProcessesInAContainer(t *testing.T) {
	name := container(t, "--ulimit", "nproc=16", "--user", "4242", "--tmpfs", "/run/tandem:uid=4242,mode=0700",
		"-v", still(t)+":/still:ro", "-e", "WEB_COMMAND=/still web", "-e", "BOT_COMMAND=/still bot")
	eventually(t, "init says what it could not have", func() error {
		out, err := exec.Command("docker", "logs", name).CombinedOutput()
		if err == nil && !strings.Contains(string(out), "fewer threads in reserve") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	docker(t, "exec", "--user", "0", name, "/init", "status")
	docker(t, "stop", name)
	if code := docker(t, "inspect", "--format", "{{.State.ExitCode}}", name); code != "0" {
		t.Errorf("ended with %s", code)
	}
}
