package supervise

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tandem/internal/testenv"
)

func TestSignalNames(t *testing.T) {
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		name := SignalName(sig)
		if sig == 32 || sig == 33 {
			if _, err := ParseSignal(strconv.Itoa(int(sig))); err == nil || name != "signal "+strconv.Itoa(int(sig)) {
				t.Errorf("%d: %s, %v", sig, name, err)
			}
			continue
		}
		for _, written := range []string{name, strings.ToLower(name), strings.TrimPrefix(name, "SIG"),
			strconv.Itoa(int(sig))} {
			if have, err := ParseSignal(written); have != sig || err != nil {
				t.Errorf("%s: %d, %v; want %d", written, have, err, sig)
			}
		}
	}
	for written, want := range map[string]syscall.Signal{"iot": 6, "CLD": 17, "SIGPOLL": 29, "RTMIN+30": 64,
		"SIGRTMAX-30": 34} {
		if have, err := ParseSignal(written); have != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", written, have, err, want)
		}
	}
	for _, written := range []string{"", "0", "65", "-1", "SIG", "SIGSIGTERM", "TERMINATE", "RTMIN+31", "RTMIN-1",
		"RTMAX+1", "RTMIN+", "RTMIN3", "15.", "signal 32"} {
		if have, err := ParseSignal(written); err == nil {
			t.Errorf("%q: %d", written, have)
		}
	}
}

// The numbers of real-time signals are those that people's tools mean.
func TestSignalNamesAreThoseOfBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		testenv.Missing(t, "bash is not installed")
	}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if sig == 32 || sig == 33 {
			continue
		}
		out, err := exec.Command(bash, "-c", "kill -l "+strconv.Itoa(int(sig))).Output()
		if have := SignalName(sig); err != nil || have != "SIG"+strings.TrimSpace(string(out)) {
			t.Errorf("%d: %s, bash says %s (%v)", sig, have, out, err)
		}
	}
}
