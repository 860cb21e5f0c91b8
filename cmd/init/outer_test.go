package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/proctest"
	"tandem/internal/status"
)

// supervisor is who supervises init: what came so far on the socket at address.
type supervisor struct {
	t    *testing.T
	conn *net.UnixConn
	all  string
}

func superviseAt(t *testing.T, address string) *supervisor {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &supervisor{t: t, conn: conn}
}

// hears reads until a line is there that begins with want.
func (s *supervisor) hears(want string) {
	s.t.Helper()
	buf := make([]byte, 4096)
	_ = s.conn.SetReadDeadline(time.Now().Add(soon))
	for !strings.Contains("\n"+s.all, "\n"+want) {
		n, err := s.conn.Read(buf)
		if err != nil {
			s.t.Fatalf("no %q in %q: %v", want, s.all, err)
		}
		s.all += string(buf[:n]) + "\n"
	}
}

func (s *supervisor) count(line string) int { return strings.Count("\n"+s.all, "\n"+line+"\n") }

// Whoever supervises init is told when web is ready, what the processes are doing, and that init stops, at a path and
// at an abstract address. No process of init's learns that address.
func TestOuterSupervisor(t *testing.T) {
	t.Parallel()
	for name, abstract := range map[string]bool{"path": false, "abstract": true} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, under proctest.Under) {
				address := filepath.Join(runDir(t, 0), "outer")
				if abstract {
					address = "@" + address
				}
				outer := superviseAt(t, address)
				web, say := speaks(t)
				bot := `sh -c 'echo "bot has <$NOTIFY_SOCKET>"; exit 78'`
				i := start(t, under, web, bot, "WEB_NOTIFY=true", "NOTIFY_SOCKET="+address)
				i.WaitLine(soon, "speaker ready "+i.dir+"/notify-web.sock None None")
				i.WaitLine(soon, "bot has <>")
				outer.hears("STATUS=web starting; bot failed (78: cannot run as configured")
				if outer.count("READY=1") > 0 {
					t.Errorf("ready before web: %q", outer.all)
				}
				p := i.awaitState("web", status.Starting)
				if q, ok := i.Find(p.PID); !ok {
					t.Errorf("no process %d", p.PID)
				} else if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", q.PID)); err != nil ||
					strings.Contains(string(b), address) {
					t.Errorf("web has the outer address: %q %v", b, err)
				}
				say("READY=1")
				outer.hears("READY=1")
				outer.hears("STATUS=web running; bot failed (78")
				i.Signal(syscall.SIGTERM)
				outer.hears("STOPPING=1")
				i.Wait(soon)
				outer.hears("STATUS=web stopped")
				if outer.count("READY=1") != 1 || outer.count("STOPPING=1") != 1 {
					t.Errorf("have %q", outer.all)
				}
			})
		})
	}
}

// The same from an init of one process. One of the bot alone is ready although its bot cannot run. One whose web ends
// by itself says that it stops.
func TestOuterSupervisorOfOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ command, first, last string }{
		"web": {`sh -c 'echo ready; read x < $RUN_DIR/fifo; exit 3'`, "STATUS=web running", "STATUS=web stopped"},
		"bot": {`sh -c 'echo ready; exit 78'`, "STATUS=bot failed (78", "STATUS=bot failed (78"},
	} {
		dir := runDir(t, 0)
		fifo := filepath.Join(dir, "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		outer := superviseAt(t, filepath.Join(dir, "outer"))
		i := startWith(t, proctest.Options{Under: proctest.PID1, Args: []string{name}}, c.command, c.command,
			"RUN_DIR="+dir, "NOTIFY_SOCKET="+filepath.Join(dir, "outer"))
		outer.hears("READY=1")
		outer.hears(c.first)
		if name == "web" {
			if err := os.WriteFile(fifo, []byte("\n"), 0); err != nil {
				t.Fatal(err)
			}
		} else {
			i.Signal(syscall.SIGTERM)
		}
		outer.hears("STOPPING=1")
		outer.hears(c.last)
		i.Wait(soon)
	}
}

// A supervisor that takes nothing, or is not there, holds up neither web nor the stop.
func TestOuterSupervisorThatIsDeaf(t *testing.T) {
	t.Parallel()
	address := filepath.Join(runDir(t, 0), "outer")
	outer := superviseAt(t, address)
	client, err := net.Dial("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for err == nil { // until its queue is full
		_, err = client.Write([]byte("X=1"))
	}
	for _, at := range []string{address, address + "-of-nobody", "vsock:2:1", "relative"} {
		i := start(t, proctest.PID1, goodWeb, goodBot, "NOTIFY_SOCKET="+at)
		i.awaitState("web", status.Running)
		began := time.Now()
		i.Signal(syscall.SIGTERM)
		i.ends(0)
		takes(t, began, 0, 4*time.Second)
	}
	_ = outer
}
