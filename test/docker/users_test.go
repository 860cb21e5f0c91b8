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

// asTheReadmeSays are the flags that the README gives to a container whose processes have a user each.
var asTheReadmeSays = []string{"--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "KILL",
	"--security-opt", "no-new-privileges"}

// userEach builds an image as the README has it, with a user each.
func userEach(t *testing.T) (name string) {
	t.Helper()
	image(t)
	name = "tandem:" + strings.TrimPrefix(uniqueName(), prefix) + "-users"
	cmd := exec.Command("docker", "build", "-q", "-t", name, "-")
	cmd.Stdin = strings.NewReader("FROM debian:bookworm-slim\n" +
		"COPY --from=" + imageName + " /init /init\n" +
		"WORKDIR /app\n" +
		"RUN useradd --system web && useradd --system bot && mkdir /srv/web && chown web /srv/web && chmod 700 /srv/web\n" +
		"USER root\n" +
		"ENV WEB_USER=web BOT_USER=bot\n" +
		`ENTRYPOINT ["/hog", "umask", "022", "/init"]`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", name).Run() })
	return name
}

// runs starts a container and returns its name.
func runs(t *testing.T, args ...string) string {
	t.Helper()
	name := uniqueName()
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", name).CombinedOutput()
			t.Logf("%s", out)
		}
		_ = exec.Command("docker", "rm", "-f", "-v", name).Run()
	})
	docker(t, slices.Concat([]string{"run", "-d", "--name", name, "-v", tool(t, "hog") + ":/hog:ro"}, args)...)
	return name
}

// statusOf is what init in a container says.
func statusOf(name string) (web, bot status.Process, err error) {
	out, err := exec.Command("docker", "exec", name, "/init", "status", "--json").CombinedOutput()
	var s status.Status
	if err != nil {
		return web, bot, fmt.Errorf("%w: %s", err, out)
	}
	if err = json.Unmarshal(out, &s); err == nil {
		web, _ = s.Process("web")
		bot, _ = s.Process("bot")
	}
	return web, bot, err
}

// stops wants a container to stop in order.
func stops(t *testing.T, name string) {
	t.Helper()
	docker(t, "stop", name)
	if code := docker(t, "inspect", "--format", "{{.State.ExitCode}}", name); code != "0" {
		t.Errorf("ended with %s", code)
	}
}

// The way of the README for a user each, with a pair of one's own: both are heard, write to /dev/stderr, read the
// status and leave words, and are who they should be, whatever the umask is. One has a directory that only its user may
// enter.
func TestTheReadmesUserEach(t *testing.T) {
	users := userEach(t)
	for _, umask := range []string{"000", "022", "077"} {
		name := runs(t, slices.Concat(asTheReadmeSays, []string{
			"-e", "WEB_COMMAND=/hog speak web", "-e", "BOT_COMMAND=/hog speak bot", "-e", "WEB_NOTIFY=true",
			"-e", "BOT_NOTIFY=true", "-e", "BOT_START_TIMEOUT=20s", "-w", "/srv/web", "-e", "BOT_RESTART_DELAY=1h",
			"-e", "BOT_RESTART_DELAY_MAX=1h", "--entrypoint", "/hog", users, "umask", umask, "/init"})...)
		eventually(t, "a web that runs, and a bot that may not enter the directory", func() error {
			web, bot, err := statusOf(name)
			if err == nil && (web.State != status.Running || web.StatusText != "web speaks" || bot.State != status.Failed ||
				!strings.Contains(bot.Reason, "working directory /srv/web")) {
				err = fmt.Errorf("%+v %+v", web, bot)
			}
			return err
		})
		stops(t, name)
		name = runs(t, slices.Concat(asTheReadmeSays, []string{
			"-e", "WEB_COMMAND=/hog speak web", "-e", "BOT_COMMAND=/hog speak bot", "-e", "WEB_NOTIFY=true",
			"-e", "BOT_NOTIFY=true", "-e", "BOT_START_TIMEOUT=20s", "--entrypoint", "/hog", users, "umask", umask, "/init"})...)
		eventually(t, "both run", func() error {
			web, bot, err := statusOf(name)
			if err == nil && (web.State != status.Running || web.StatusText != "web speaks" || bot.State != status.Running ||
				bot.StatusText != "bot speaks" || bot.Restarts > 0) {
				err = fmt.Errorf("umask %s: %+v %+v", umask, web, bot)
			}
			return err
		})
		var log string
		eventually(t, "what they have to say", func() error {
			out, err := exec.Command("docker", "logs", name).CombinedOutput()
			if log = string(out); !strings.Contains(log, "web ready") || !strings.Contains(log, "bot ready") {
				err = fmt.Errorf("%s", log)
			}
			return err
		})
		for _, want := range []string{"web writes to /dev/stderr", "bot writes to /dev/stderr",
			"web reads the status: <nil>", "bot reads the status: <nil>", "bot leaves words: <nil>",
			"web is web web /home/web in /app", "bot is bot bot /home/bot in /app",
			"web CapEff 0000000000000000", "bot CapEff 0000000000000000"} {
			if !strings.Contains(log, want) {
				t.Errorf("umask %s: no %q in %s", umask, want, log)
			}
		}
		stops(t, name)
	}
}

// The same with our own pair, whose directory in the image belongs to the image's user, and PostgreSQL.
func TestOurPairWithAUserEach(t *testing.T) {
	image(t)
	_, api := telegram(t)
	db := runs(t, "-e", "POSTGRES_PASSWORD=secret", "postgres:17-bookworm")
	url := "postgres://postgres:secret@" +
		docker(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", db) + ":5432/postgres?sslmode=disable"
	for _, umask := range []string{"000", "022", "077"} {
		start := func(token string) string {
			return runs(t, slices.Concat(asTheReadmeSays, []string{"--user", "0", "-e", "WEB_USER=4711", "-e", "BOT_USER=4712",
				"-e", "DATABASE_URL=" + url, "-e", "TELEGRAM_API_URL=" + api, "-e", "TELEGRAM_BOT_TOKEN=" + token,
				"--entrypoint", "/hog", imageName, "umask", umask, "/init"})...)
		}
		name := start(token)
		eventually(t, "both run", func() error {
			web, bot, err := statusOf(name)
			if err == nil && (web.State != status.Running || bot.State != status.Running || bot.StatusText == "") {
				err = fmt.Errorf("umask %s: %+v %+v", umask, web, bot)
			}
			return err
		})
		stops(t, name)
		name = start("1:refused")
		eventually(t, "the last words of a bot whose token is wrong", func() error {
			out, err := exec.Command("docker", "exec", name, "/init", "status", "bot").CombinedOutput()
			if err == nil && (!strings.Contains(string(out), "failed") || !strings.Contains(string(out), "TELEGRAM_BOT_TOKEN")) {
				err = fmt.Errorf("umask %s: %s", umask, out)
			}
			return err
		})
		stops(t, name)
	}
}
