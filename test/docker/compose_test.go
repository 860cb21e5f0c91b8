package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"tandem/internal/testenv"
)

const (
	withPostgres = "../../docker-compose.yml"
	withSQLite   = "../../docker-compose.sqlite.yml"
)

func load(t *testing.T, file string, env ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithEnv(env), cli.WithName("tandem"))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

func service(t *testing.T, file, name string, env ...string) types.ServiceConfig {
	t.Helper()
	project, err := load(t, file, append(env, "POSTGRES_PASSWORD=secret")...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := project.GetService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestComposeServicesAreHardened(t *testing.T) {
	for _, c := range []struct{ file, service, user string }{
		{withPostgres, "app", "65532:65532"}, {withPostgres, "db", "postgres"}, {withSQLite, "app", "65532:65532"},
	} {
		s := service(t, c.file, c.service)
		check := func(ok bool, what string, got any) {
			t.Helper()
			if !ok {
				t.Errorf("%s, %s: %s; it has %v", filepath.Base(c.file), c.service, what, got)
			}
		}
		check(s.User == c.user, "must run as "+c.user, s.User)
		check(s.ReadOnly, "must have a read-only root", s.ReadOnly)
		check(slices.Equal(s.CapDrop, []string{"ALL"}) && len(s.CapAdd) == 0, "must have no capability", s.CapDrop)
		check(slices.Contains(s.SecurityOpt, "no-new-privileges:true"), "must not gain privileges", s.SecurityOpt)
		check(s.Restart == "unless-stopped", "must come back by itself", s.Restart)
		check(s.PidsLimit > 0 && s.MemLimit > 0, "must have limits", s.PidsLimit)
		check(!s.Privileged && s.Pid == "" && s.NetworkMode == "", "must share nothing with the host", s.NetworkMode)
		probe := s.HealthCheck
		check(probe != nil && probe.Test[0] == "CMD", "must have a health check without a shell", probe)
		check(len(s.Ulimits) == 0, "must not ask for limits above those of the daemon", s.Ulimits)
		for _, port := range s.Ports {
			check(port.HostIP == "127.0.0.1", "must publish on loopback only", port.HostIP)
			check(port.Target == 8080, "must publish the page and nothing of operations", port.Target)
		}
		for _, v := range s.Volumes {
			check(v.Type == types.VolumeTypeVolume, "must mount named volumes only", v.Type)
		}
	}
}

func TestComposeAppKeepsItsContract(t *testing.T) {
	for _, file := range []string{withPostgres, withSQLite} {
		app := service(t, file, "app")
		if lock := app.Environment["POLL_LOCK_FILE"]; lock == nil || !strings.HasPrefix(*lock, "/data/") {
			t.Errorf("%s: POLL_LOCK_FILE is %v, which is not on the volume", file, lock)
		}
		if len(app.Volumes) != 1 || app.Volumes[0].Target != "/data" {
			t.Errorf("%s: volumes are %v, want one on /data", file, app.Volumes)
		}
		if grace := app.StopGracePeriod; grace == nil || time.Duration(*grace) < 10*time.Second {
			t.Errorf("%s: stop_grace_period %v leaves init no time for STOP_TIMEOUT (8 s)", file, grace)
		}
		if got, want := []string(app.HealthCheck.Test), []string{"CMD", "/web", "healthcheck"}; !slices.Equal(got, want) {
			t.Errorf("%s: health check %q, want %q", file, got, want)
		}
		if tmpfs := app.Tmpfs; len(tmpfs) != 1 || !strings.HasPrefix(tmpfs[0], "/run/tandem:") ||
			!strings.Contains(tmpfs[0], "uid=65532") {
			t.Errorf("%s: tmpfs %q, want /run/tandem for user 65532 alone", file, app.Tmpfs)
		}
		// Without a token the page must run all the same: empty, which counts as not set.
		if v := app.Environment["TELEGRAM_BOT_TOKEN"]; v == nil || *v != "" {
			t.Errorf("%s: without a token TELEGRAM_BOT_TOKEN is %v, want it empty", file, v)
		}
	}
	app := service(t, withPostgres, "app")
	if c := app.DependsOn["db"].Condition; c != types.ServiceConditionHealthy {
		t.Errorf("app starts when db is %q, want healthy", c)
	}
	if url := *app.Environment["DATABASE_URL"]; url != "postgres://tandem:secret@db:5432/tandem?sslmode=disable" {
		t.Errorf("DATABASE_URL is %s", url)
	}
	if url := *service(t, withSQLite, "app").Environment["DATABASE_URL"]; url != "sqlite:/data/tandem.db" {
		t.Errorf("DATABASE_URL is %s", url)
	}
}

func TestComposeFilesDifferInTheDatabaseAlone(t *testing.T) {
	a, b := service(t, withPostgres, "app"), service(t, withSQLite, "app")
	a.DependsOn = nil
	delete(a.Environment, "DATABASE_URL")
	delete(b.Environment, "DATABASE_URL")
	a.CustomLabels, b.CustomLabels = nil, nil
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("app in docker-compose.yml (-) and docker-compose.sqlite.yml (+):\n%s", diff)
	}
}

func TestComposeWithoutADatabasePasswordSaysWhatToDo(t *testing.T) {
	_, err := load(t, withPostgres)
	if err == nil || !strings.Contains(err.Error(), "set POSTGRES_PASSWORD in .env") {
		t.Errorf("got %v, want a sentence that says to set POSTGRES_PASSWORD in .env", err)
	}
}

// The checks above would be worth little if a mistyped key went through.
func TestComposeRefusesAnUnknownKey(t *testing.T) {
	text, err := os.ReadFile(withSQLite)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "docker-compose.yml")
	broken := strings.Replace(string(text), "read_only:", "readonly:", 1)
	if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, file); err == nil {
		t.Error("a file with readonly: for read_only: was taken")
	}
}

func TestInstalledComposeTakesTheFiles(t *testing.T) {
	compose := composeCommand(t)
	for _, file := range []string{withPostgres, withSQLite} {
		args := append(compose[1:], "-f", file, "config")
		cmd := exec.Command(compose[0], args...)
		cmd.Env = append(os.Environ(), "POSTGRES_PASSWORD=secret")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s %s: %v\n%s", compose[0], strings.Join(args, " "), err, out)
		}
	}
}

// The file that people copy names each setting that the compose files read, and no other.
func TestEnvExampleNamesEverySetting(t *testing.T) {
	used := map[string]bool{}
	for _, file := range []string{withPostgres, withSQLite} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(string(text), -1) {
			used[m[1]] = true
		}
	}
	example, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=`).FindAllStringSubmatch(string(example), -1) {
		named[m[1]] = true
	}
	if diff := cmp.Diff(used, named); diff != "" {
		t.Errorf("settings of the compose files (-) and of .env.example (+):\n%s", diff)
	}
}

// scripts/base-images would make stand-ins of images that nobody asks for.
func TestBaseImagesAreThoseOfTheFiles(t *testing.T) {
	script, err := os.ReadFile("../../scripts/base-images")
	if err != nil {
		t.Fatal(err)
	}
	dockerfile, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{service(t, withPostgres, "db").Image}
	for _, m := range regexp.MustCompile(`(?m)^FROM (?:--\S+ )?(\S+)`).FindAllStringSubmatch(string(dockerfile), -1) {
		if m[1] != "scratch" {
			wanted = append(wanted, m[1])
		}
	}
	for _, image := range wanted {
		if !regexp.MustCompile(`(?m)^[A-Z]+=` + regexp.QuoteMeta(image) + `$`).Match(script) {
			t.Errorf("scripts/base-images does not make %s", image)
		}
	}
}

// composeCommand is Compose as this machine has it: the plugin, else docker-compose.
func composeCommand(t *testing.T) []string {
	t.Helper()
	if exec.Command("docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}
	}
	if path, err := exec.LookPath("docker-compose"); err == nil {
		return []string{path}
	}
	testenv.Missing(t, "Docker Compose is not installed (Debian: apt-get install docker-compose)")
	return nil
}
