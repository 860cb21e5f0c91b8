package docker

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Edges 8, 10 and 19 in the image itself, with and without a terminal: a stop that all obey is 0 and takes no time,
// web's own status is the container's, and so is that of a command.
func TestTheImageWithAndWithoutATerminal(t *testing.T) {
	image(t)
	for _, tty := range []string{"-t=false", "-t"} {
		name := uniqueName()
		docker(t, "run", "-d", tty, "--name", name, imageName)
		t.Cleanup(func() { docker(t, "rm", "-f", "-v", name) })
		eventually(t, "web answers and the bot has said what it lacks", func() error {
			if out, err := exec.Command("docker", "exec", name, "/web", "healthcheck").CombinedOutput(); err != nil {
				return &exec.Error{Name: string(out), Err: err}
			}
			_, err := exec.Command("docker", "exec", name, "/init", "status", "bot").Output()
			return err
		})
		began := time.Now()
		docker(t, "stop", "-t", "60", name)
		if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", name); code != "0" {
			t.Errorf("%s: stopped, it ended with %s\n%s", tty, code, docker(t, "logs", name))
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: the stop took %s", tty, took)
		}
		for _, c := range []struct {
			code int
			args []string
		}{
			{64, []string{"-e", "ENABLE_TELEGRAM_BOT=no", "-e", "WEB_COMMAND=/web nonsense", imageName}},
			{127, []string{imageName, "--", "/missing"}},
		} {
			cmd := exec.Command("docker", append([]string{"run", "--rm", tty, "--name", uniqueName()}, c.args...)...)
			out, _ := cmd.CombinedOutput()
			if have := cmd.ProcessState.ExitCode(); have != c.code {
				t.Errorf("%s %s: ended with %d, want %d\n%s", tty, strings.Join(c.args, " "), have, c.code, out)
			}
		}
	}
}

// A web and a bot that read from the container's terminal are not stopped by that, and a stop takes no time.
func TestATerminalStopsNobody(t *testing.T) {
	name := container(t, "-t", "-v", still(t)+":/still:ro", "-e", "STOP_TIMEOUT=1m",
		"-e", "WEB_COMMAND=/still tty", "-e", "BOT_COMMAND=/still tty")
	eventually(t, "both are ready", func() error {
		out, err := exec.Command("docker", "logs", name).CombinedOutput()
		if err == nil && strings.Count(string(out), "tty ready") != 2 {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	began := time.Now()
	docker(t, "stop", "-t", "60", name)
	if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", name); code != "0" {
		t.Errorf("stopped, it ended with %s", code)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the stop took %s", took)
	}
}
