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

// An image with STOPSIGNAL SIGQUIT, as nginx's has it: docker stop reaches web as SIGQUIT, unless a setting says
// otherwise. Our own pair takes it for a stop.
func TestStopSignalOfTheImage(t *testing.T) {
	still := still(t)
	for _, c := range []struct {
		code string
		args []string
	}{
		{"0", nil},
		{"131", []string{"-e", "WEB_COMMAND=/still web", "-e", "BOT_COMMAND=/still bot"}},
		{"0", []string{"-e", "WEB_COMMAND=/still web", "-e", "BOT_COMMAND=/still bot", "-e", "WEB_STOP_SIGNAL=TERM"}},
	} {
		name := container(t, append([]string{"--stop-signal", "SIGQUIT", "-v", still + ":/still:ro"}, c.args...)...)
		eventually(t, "web is ready", func() error {
			out, err := exec.Command("docker", "logs", name).CombinedOutput()
			if err == nil && !strings.Contains(string(out), "web ready") {
				if c.args == nil {
					return exec.Command("docker", "exec", name, "/web", "healthcheck").Run()
				}
				err = fmt.Errorf("%s", out)
			}
			return err
		})
		docker(t, "stop", "-t", "60", name)
		if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", name); code != c.code {
			t.Errorf("%v: it ended with %s, want %s", c.args, code, c.code)
		}
		if log := docker(t, "logs", name); strings.Contains(log, "goroutine") {
			t.Errorf("%v: a trace", c.args)
		}
	}
}

// docker pause during a stop, and docker unpause after its deadline: web still has its time.
func TestStopWhilePaused(t *testing.T) {
	name := container(t, "-v", still(t)+":/still:ro", "-e", "STOP_TIMEOUT=5s", "-e", "WEB_COMMAND=/still slow",
		"-e", "BOT_COMMAND=/still bot")
	logged := func(what string) {
		eventually(t, what, func() error {
			out, err := exec.Command("docker", "logs", name).CombinedOutput()
			if err == nil && !strings.Contains(string(out), what) {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
	}
	logged("slow ready")
	docker(t, "kill", "-s", "TERM", name)
	docker(t, "pause", name)
	time.Sleep(6 * time.Second) // the deadline passes meanwhile
	docker(t, "unpause", name)
	if code := docker(t, "wait", name); code != "0" {
		t.Errorf("it ended with %s", code)
	}
}
