package docker

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/testenv"
)

// A bot makes its standard output non-blocking, as Node.js does. Not one of 5,000 lines of web is lost by that, however
// slowly they are taken.
func TestTheBotCostsWebNoLine(t *testing.T) {
	image(t)
	program := filepath.Join(t.TempDir(), "lines")
	if out, err := exec.Command("cc", "-static", "-o", program, "lines/lines.c").CombinedOutput(); err != nil {
		testenv.Missing(t, "a C compiler with a static library: "+string(out))
	}
	const lines = 5000
	for _, tty := range []string{"-t=false", "-t"} {
		name := uniqueName()
		t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", "-v", name).Run() })
		docker(t, "run", "-d", tty, "--name", name, "--network", "none", "-v", program+":/lines:ro",
			"--tmpfs", "/flags:mode=1777", "-e", fmt.Sprintf("WEB_COMMAND=/lines /flags/set %d", lines),
			"-e", "BOT_COMMAND=/lines /flags/set", imageName)
		var log string
		eventually(t, "web has written all", func() error {
			out, _ := exec.Command("docker", "logs", name).CombinedOutput()
			if log = string(out); !strings.Contains(log, "web done") {
				return fmt.Errorf("%s: %d bytes so far", tty, len(log))
			}
			return nil
		})
		if have := strings.Count(log, "web line "); have != lines {
			t.Errorf("%s: %d of %d lines came", tty, have, lines)
		}
		if strings.Contains(log, "handed on") {
			t.Errorf("%s: init says that it could not open the log anew", tty)
		}
		docker(t, "rm", "-f", "-v", name)
	}
}
