package test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/status"
)

// nothingLost sees every text once, in order, and every answer once.
func (r *rig) nothingLost(chatID int64, texts []string) {
	r.t.Helper()
	c := r.conversation(chatID)
	proctest.Eventually(r.t, soon, "every message is in the inbox once, in order", func() bool {
		return strings.Join(r.texts(c.ID, inbox.In), "|") == strings.Join(texts, "|")
	})
}

func TestPostgresThatComesLater(t *testing.T) {
	t.Parallel()
	pg := pgtest.Server(t)
	pg.Stop()
	r := newRig(t, pg.URL()).start()
	stays := r.webMustStay()
	r.waitBot(status.Running)
	r.waitReadyz(503)
	r.tg.Customer(7, "while the database is away")
	if p := r.tg.Polls(0); p.Requests != 0 {
		t.Errorf("it polled without a database: %+v", p)
	}
	pg.Start()
	r.waitPolling()
	r.waitReady()
	r.nothingLost(7, []string{"while the database is away"})
	if p := r.process("bot"); p.Restarts != 0 {
		t.Errorf("the bot was started again: %+v", p)
	}
	stays()
	r.stop()
}

func TestAHostNameThatResolvesLater(t *testing.T) {
	t.Parallel()
	good := pgtest.URL(t)
	pg, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	const name = "tandem-db.invalid"
	pg.Host = net.JoinHostPort(name, pg.Port())
	// Names as the container has them: from a file, and from a server that answers nothing.
	dir := t.TempDir()
	hosts, resolver := filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")
	for path, text := range map[string]string{
		hosts:    "127.0.0.1 localhost\n",
		resolver: "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t, pg.String(), "WEB_OPS_ADDR="+proctest.FreeAddr(t))
	r.mounts = []proctest.Mount{
		{Source: hosts, Target: "/etc/hosts", Flags: syscall.MS_BIND},
		{Source: resolver, Target: "/etc/resolv.conf", Flags: syscall.MS_BIND},
	}
	r.start()
	r.env = append(r.env, "DATABASE_URL="+good) // of the test's own commands, which have other names
	stays := r.webMustStay()
	r.waitBot(status.Running)
	proctest.Eventually(t, soon, "/readyz on the operations port says why", func() bool {
		code, body := r.readiness()
		return code == 503 && strings.Contains(body, name)
	})
	if p := r.process("bot"); p.State != status.Running || p.Restarts != 0 {
		t.Errorf("the bot: %+v, want it to wait", p)
	}
	proctest.Eventually(t, soon, "init status says so of web", func() bool {
		return strings.Contains(r.process("web").StatusText, name)
	})
	r.tg.Customer(7, "while the name is unknown")
	f, err := os.OpenFile(hosts, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "127.0.0.1", name)
	f.Close()
	r.waitPolling()
	proctest.Eventually(t, soon, "init status says no more of it", func() bool {
		return r.process("web").StatusText == "listens on "+r.addr
	})
	r.nothingLost(7, []string{"while the name is unknown"})
	if p := r.process("bot"); p.Restarts != 0 {
		t.Errorf("the bot was started again: %+v", p)
	}
	stays()
	r.stop()
}

func TestPostgresThatGoesAwayInTheMiddle(t *testing.T) {
	for name, kill := range map[string]func(*pgtest.Instance){
		"stopped": (*pgtest.Instance).Stop,
		"killed":  (*pgtest.Instance).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg := pgtest.Server(t, "fsync=on")
			r := newRig(t, pg.URL()).start().waitWeb().waitPolling()
			stays := r.webMustStay()
			var texts []string
			write := func(text string) { r.tg.Customer(7, text); texts = append(texts, text) }
			write("before")
			c := r.conversation(7)
			for round := range 3 {
				m := r.answer(c.ID, fmt.Sprintf("answer %d", round))
				write(fmt.Sprintf("just before outage %d", round))
				kill(pg)
				write(fmt.Sprintf("during outage %d", round))
				r.waitReadyz(503)
				// The message from before the outage may have been stored, and be acknowledged now.
				if p := r.tg.Polls(0); p.Pending == 0 {
					t.Errorf("an update was acknowledged without a database: %+v", p)
				}
				if code, _, _ := r.tryAPI("GET", "/conversations", nil, nil); code != 503 {
					t.Errorf("the API answers %d without a database, want 503", code)
				}
				pg.Start()
				r.waitPolling()
				write(fmt.Sprintf("after outage %d", round))
				r.waitDelivery(m, inbox.Sent, inbox.Unknown)
			}
			r.nothingLost(7, texts)
			r.roundTrip(7, "in the end")
			if d := r.tg.Duplicates(); len(d) > 0 {
				t.Errorf("sent more than once: %+v", d)
			}
			neverTwo(t, r.tg)
			stays()
			r.stop()
		})
	}
}

func TestSQLiteLockedForLong(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sqlite").start().waitWeb().waitPolling()
	stays := r.webMustStay()
	r.roundTrip(7, "before")
	db, err := sql.Open("sqlite", strings.TrimPrefix(r.database, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	proctest.Eventually(t, soon, "the test has the write lock", func() bool {
		_, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
		return err == nil
	})
	r.tg.Customer(7, "while it is locked")
	locked := 30 * time.Second
	if testing.Short() {
		locked = 6 * time.Second
	}
	time.Sleep(locked) // the length of the outage itself
	if p := r.tg.Polls(0); p.Pending == 0 {
		t.Errorf("an update was acknowledged that could not be stored: %+v", p)
	}
	if p := r.process("bot"); p.Restarts != 0 {
		t.Errorf("the bot was started again: %+v", p)
	}
	if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	r.nothingLost(7, []string{"before", "while it is locked"})
	r.waitReady() // reading went on all the while, so it tells nothing of writing
	r.roundTrip(7, "after")
	stays()
	r.stop()
}

func TestADiskThatIsFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sqlite")
	data := filepath.Join(r.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	r.mounts = []proctest.Mount{{Type: "tmpfs", Source: "tmpfs", Target: data, Data: "size=4m"}}
	r.database = "sqlite:" + filepath.Join(data, "tandem.db")
	r.env = append(r.env, "DATABASE_URL="+r.database)
	r.start().waitWeb().waitPolling()
	stays := r.webMustStay()
	inside := fmt.Sprintf("/proc/%d/root%s/filler", r.PID, data)
	filler, err := os.Create(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	block := make([]byte, 4096)
	for {
		if _, err := filler.Write(block); err != nil {
			break // full
		}
	}
	var texts []string
	confirmed := r.tg.Polls(0).Confirmed
	for i := range 20 { // more than what the write-ahead log has room for in blocks that it has already
		text := fmt.Sprintf("message %d %s", i, strings.Repeat("x", 3000))
		texts = append(texts, text)
		r.tg.Customer(7, text)
	}
	r.WaitLine(soon, `"process":"bot"`, "full")
	if p := r.tg.Polls(0); p.Pending == 0 || p.Confirmed > confirmed+20 {
		t.Errorf("every update was acknowledged on a full disk: %+v", p)
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	r.tg.NeedConfirmed(time.Minute)
	// A copy, because the file system is the program's own and SQLite follows no link into it; of programs that have
	// stopped writing.
	stays()
	processes := r.Tree()
	for _, p := range processes {
		proctest.Freeze(t, p.PID)
	}
	copied := filepath.Join(r.dir, "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s%s", r.PID, strings.TrimPrefix(r.database, "sqlite:"), suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range processes {
		kill(t, p.PID, syscall.SIGCONT)
	}
	db, err := sql.Open("sqlite", copied)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n, distinct int
	if err := db.QueryRow("SELECT count(*), count(DISTINCT text) FROM messages").Scan(&n, &distinct); err != nil {
		t.Fatal(err)
	}
	if n != len(texts) || distinct != len(texts) {
		t.Errorf("%d messages are stored (%d different), want %d", n, distinct, len(texts))
	}
	r.stop()
}

func TestASQLiteFileThatIsReplacedUnderUs(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"deleted":  os.Remove,
		"replaced": func(path string) error { return replaceFile(path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "sqlite", "WEB_OPS_ADDR="+proctest.FreeAddr(t)).start().waitWeb().waitPolling()
			stays := r.webMustStay()
			r.roundTrip(7, "before")
			path := strings.TrimPrefix(r.database, "sqlite:")
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			r.tg.Customer(7, "after")
			proctest.Eventually(t, soon, "/readyz on the operations port says that the file is another one", func() bool {
				code, body := r.readiness()
				return code == 503 && regexp.MustCompile("replaced|deleted|removed").MatchString(body)
			})
			if p := r.tg.Polls(0); p.Pending != 1 {
				t.Errorf("the update was acknowledged though it could not be stored: %+v", p)
			}
			stays()
			r.stop()
		})
	}
}

func replaceFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
