package test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

// TestAStopLosesNothing stops while a request is half sent, an update is in hand and a send waits for Telegram.
func TestAStopLosesNothing(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT,
		"SIGQUIT": syscall.SIGQUIT} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, database string) {
				r := newRig(t, database).start().waitWeb().waitPolling()
				r.roundTrip(7, "before")
				c := r.conversation(7)

				// A send that Telegram answers only once the stop is under way.
				waits := fault(r.tg, simulator.Delay(60_000), func(f *simulator.Fault) {
					f.Method, f.Times = "sendMessage", 1
				})
				slow := r.answer(c.ID, "slow answer")
				r.waitDelivery(slow, inbox.Sending)

				// A request whose body is on its way.
				conn, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				body := `{"text":"written while stopping"}`
				fmt.Fprintf(conn, "POST /api/v1/conversations/%d/messages HTTP/1.1\r\n"+
					"Host: %s\r\nAuthorization: Bearer %s\r\n"+
					"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
					c.ID, r.addr, r.bearer, len(body))
				answers := bufio.NewReader(conn)
				if line, err := answers.ReadString('\n'); !strings.Contains(line, "100 Continue") {
					t.Fatalf("the handler does not read the body: %q %v", line, err)
				}
				_, _ = answers.ReadString('\n')
				fmt.Fprint(conn, body[:10])

				r.tg.Customer(7, "in hand")
				start := time.Now()
				r.Signal(sig)
				r.WaitLine(soon, `"process":"init"`, "stop")
				fmt.Fprint(conn, body[10:])
				r.tg.ClearFault(waits)
				response, err := http.ReadResponse(answers, nil)
				if err != nil || response.StatusCode != 202 {
					t.Errorf("the request in flight got %v, %v", response, err)
				}
				end := r.Wait(soon)
				if end.Code != 0 {
					t.Errorf("init ended with %d", end.Code)
				}
				if took := time.Since(start); took > 5*time.Second { // 6 s is web's own limit, 8 s init's
					t.Errorf("the stop took %s", took)
				} else {
					t.Logf("stopped after %s", took)
				}

				// The next container finds everything.
				r.start().waitWeb().waitPolling()
				texts := func() []string { return r.texts(c.ID, inbox.In) }
				proctest.Eventually(t, soon, "the update is in the inbox", func() bool { return count(texts(), "in hand") == 1 })
				if m := r.waitDelivery(slow, inbox.Sent); m.Error != "" || sentTo(r.tg, 7, "slow answer") != 1 {
					t.Errorf("the slow answer: %+v, sent %d times", m, sentTo(r.tg, 7, "slow answer"))
				}
				proctest.Eventually(t, soon, "the answer written while stopping arrives", func() bool {
					return sentTo(r.tg, 7, "written while stopping") == 1
				})
				r.stop()
			})
		})
	}
}

func TestAnIdleStopIsPrompt(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRig(t, database).start().waitWeb().waitPolling()
		start := time.Now()
		r.stop()
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("an idle stop took %s, want well under a second", took)
		} else {
			t.Logf("stopped after %s", took)
		}
	})
}

func TestAStopAtAnyMoment(t *testing.T) {
	t.Run("during start", func(t *testing.T) {
		t.Parallel()
		for i := range 10 {
			r := newRig(t, "sqlite").start()
			r.WaitLine(soon, "process started", `"name":"web"`)
			time.Sleep(time.Duration(i) * 10 * time.Millisecond) // moments of the start, not a wait for something
			r.Signal(syscall.SIGTERM)
			// A web that has no handler yet is ended by the signal itself, which is what its status then says.
			if end := r.Wait(soon); end.Code != 0 && end.Code != 143 {
				t.Errorf("%d ms after web was started init ended with %d", i*10, end.Code)
			}
		}
	})
	t.Run("during backoff", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, "sqlite", "BOT_COMMAND=/bin/false", "BOT_RESTART_DELAY=1m").start().waitWeb()
		r.waitBot(status.Waiting)
		start := time.Now()
		r.stop()
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the backoff was waited for: %s", took)
		}
	})
	t.Run("during standby", func(t *testing.T) {
		t.Parallel()
		first, second := twoRigs(t, "sqlite")
		second.waitBot(status.Standby)
		second.stop()
		first.stop()
	})
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, "sqlite", "WEB_COMMAND=sh -c 'trap \"\" TERM; while :; do sleep 1; done'", "WEB_NOTIFY=false",
			"ENABLE_TELEGRAM_BOT=off", "STOP_TIMEOUT=1m").start()
		proctest.Eventually(t, soon, "web runs", func() bool { return r.process("web").State == status.Running })
		ignoresTERM(t, r)
		r.Signal(syscall.SIGTERM)
		r.WaitLine(soon, `"process":"init"`, "stop")
		time.Sleep(300 * time.Millisecond) // init takes a second signal within 250 ms for the first one
		r.Signal(syscall.SIGTERM)
		if end := r.Wait(soon); end.Code != 137 {
			t.Errorf("init ended with %d, want 137: web was killed", end.Code)
		}
	})
}

// ignoresTERM waits until the shell that plays web has its trap.
func ignoresTERM(t *testing.T, r *rig) {
	t.Helper()
	proctest.Eventually(t, soon, "web ignores SIGTERM", func() bool {
		p, ok := r.Find(r.process("web").PID)
		return ok && hasSignal(p.PID, "SigIgn", syscall.SIGTERM)
	})
}

// hasSignal says whether sig is in a mask of /proc/PID/status (see proc(5)).
func hasSignal(pid int, mask string, sig syscall.Signal) bool {
	for line := range strings.Lines(readFile(fmt.Sprintf("/proc/%d/status", pid))) {
		if hex, ok := strings.CutPrefix(line, mask+":"); ok {
			var bits uint64
			_, _ = fmt.Sscanf(strings.TrimSpace(hex), "%x", &bits)
			return bits&(1<<(sig-1)) != 0
		}
	}
	return false
}

// TestAForeignWebThatEndsByItsSignal is about uvicorn's way to end a clean stop.
func TestAForeignWebThatEndsByItsSignal(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		testenv.Missing(t, "python3 is not installed")
	}
	web := python + ` -c "
import http.server, os, signal, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'ok')
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', %d), H)
def stop(*a):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
signal.signal(signal.SIGTERM, stop)
s.serve_forever()
"`
	for _, c := range []struct {
		success string
		want    int
	}{{"", 143}, {"143", 0}} {
		r := newRig(t, "sqlite", "WEB_SUCCESS_EXIT="+c.success)
		r.env = append(r.env, "WEB_COMMAND="+fmt.Sprintf(web, port(r.addr)))
		r.start().waitWeb().waitPolling()
		r.Signal(syscall.SIGTERM)
		if end := r.Wait(soon); end.Code != c.want {
			t.Errorf("with WEB_SUCCESS_EXIT=%q init ended with %d, want %d", c.success, end.Code, c.want)
		}
	}
}
