package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/lockfile"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

func TestMain(m *testing.M) {
	proctest.Secret = secretHalf
	proctest.Main(m, nil)
}

const patience = 15 * time.Second

var secretHalf = strings.SplitN(simtest.Token, ":", 2)[1]

// bot starts one with the usual settings, of which env changes some: a line NAME= unsets one.
func bot(t *testing.T, dir, api string, env ...string) *proctest.Process {
	t.Helper()
	p := proctest.Start(t, proctest.Options{Path: proctest.Bin(t, "bot"), Env: append([]string{
		"TELEGRAM_BOT_TOKEN=" + simtest.Token, "TELEGRAM_API_URL=" + api,
		"DATABASE_URL=sqlite:" + filepath.Join(dir, "inbox.db"), "RUN_DIR=" + dir, "BOT_OPS_ADDR=127.0.0.1:0",
	}, env...)})
	return p
}

func ends(t *testing.T, p *proctest.Process, code int) string {
	t.Helper()
	if end := p.Wait(patience); end.Code != code {
		t.Fatalf("ended with %d, want %d; its lines:\n%s", end.Code, code, strings.Join(p.Lines(), "\n"))
	}
	lines := p.Lines()
	if len(lines) == 0 {
		t.Fatal("ended without a word")
	}
	return lines[len(lines)-1]
}

func TestSignalsEndItWell(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		tg := simtest.Start(t)
		p := bot(t, t.TempDir(), tg.URL)
		p.WaitLine(patience, `"msg":"ready"`)
		tg.Customer(7, "/start")
		tg.NeedSent(1, patience)
		began := time.Now()
		p.Signal(sig)
		ends(t, p, exitcode.OK)
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("%v took %v", sig, took)
		}
	}
}

func TestBadSettingsAreToldAllAtOnce(t *testing.T) {
	dir := t.TempDir()
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte("123456:"+secretHalf+"/slash\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ env, words []string }{
		"nothing": {[]string{"TELEGRAM_BOT_TOKEN=", "DATABASE_URL="},
			[]string{"TELEGRAM_BOT_TOKEN", "not set", "@BotFather", "DATABASE_URL", "postgres://"}},
		"garbage": {[]string{"TELEGRAM_BOT_TOKEN=" + secretHalf, "TELEGRAM_API_URL=ftp://x",
			"DATABASE_URL=mysql://" + secretHalf, "BOT_OPS_ADDR=nine",
			"POLL_LOCK_FD=one", "LOG_LEVEL=loud", "LOG_FORMAT=yaml"},
			[]string{"TELEGRAM_BOT_TOKEN", "TELEGRAM_API_URL", "DATABASE_URL", "BOT_OPS_ADDR", "POLL_LOCK_FD",
				"LOG_LEVEL", "LOG_FORMAT"}},
		"no port, no token": {[]string{"TELEGRAM_BOT_TOKEN=" + secretHalf,
			"DATABASE_URL=postgres://u:" + secretHalf + "@h:port/d"},
			[]string{"TELEGRAM_BOT_TOKEN", "DATABASE_URL: want postgres://"}},
		"token in the address": {[]string{"TELEGRAM_API_URL=https://api.telegram.org/bot" + simtest.Token},
			[]string{"without the token"}},
		"twice": {[]string{"TELEGRAM_BOT_TOKEN_FILE=" + tokenFile},
			[]string{"TELEGRAM_BOT_TOKEN_FILE", "not both"}},
		"bad token in a file": {[]string{"TELEGRAM_BOT_TOKEN=", "TELEGRAM_BOT_TOKEN_FILE=" + tokenFile},
			[]string{"a number, a colon"}},
		"lock in no directory": {[]string{"POLL_LOCK_FILE=" + dir + "/none/bot.lock"},
			[]string{"bot.lock", "POLL_LOCK_FILE"}},
		"lock is in use": {[]string{"POLL_LOCK_FILE=" + tokenFile}, []string{tokenFile, "left as it was"}},
		"lock is the database": {[]string{"DATABASE_URL=sqlite:" + dir + "/inbox.db", "POLL_LOCK_FILE=" + dir + "/inbox.db"},
			[]string{dir + "/inbox.db", "the database of DATABASE_URL"}},
		"lock is init's": {[]string{"RUN_DIR=" + dir, "POLL_LOCK_FILE=" + dir + "/bot.json"},
			[]string{dir + "/bot.json", "RUN_DIR", "POLL_LOCK_FILE"}},
		"lock is a device":      {[]string{"POLL_LOCK_FILE=/dev/null"}, []string{"/dev/null", "not a regular file"}},
		"lock is a directory":   {[]string{"POLL_LOCK_FILE=" + dir}, []string{dir}},
		"descriptor of no lock": {[]string{"POLL_LOCK_FD=99"}, nil}, // closed by a launcher: taken here instead
		"no run directory":      {[]string{"RUN_DIR=/proc/none"}, []string{"RUN_DIR"}},
		"no directory for a db": {[]string{"DATABASE_URL=sqlite:" + dir + "/none/inbox.db"}, []string{"none"}},
		"sqlite without a path": {[]string{"DATABASE_URL=sqlite:"},
			[]string{"DATABASE_URL: sqlite: wants the path of a file"}},
	} {
		t.Run(name, func(t *testing.T) {
			tg := simtest.Start(t)
			p := bot(t, t.TempDir(), tg.URL, c.env...)
			if c.words == nil {
				p.WaitLine(patience, `"msg":"ready"`)
				return
			}
			last := ends(t, p, exitcode.Config)
			for _, w := range c.words {
				if !strings.Contains(last, w) {
					t.Errorf("%q is not in %s", w, last)
				}
			}
			if n := p.Count(`"level":"ERROR"`); n != 1 {
				t.Errorf("%d error lines:\n%s", n, strings.Join(p.Lines(), "\n"))
			}
		})
	}
}

func TestTokenFromAFile(t *testing.T) {
	tg := simtest.Start(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	if err := os.WriteFile(path, []byte("\ufeff"+simtest.Token+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bot(t, dir, tg.URL, "TELEGRAM_BOT_TOKEN=", "TELEGRAM_BOT_TOKEN_FILE="+path).WaitLine(patience, `"msg":"ready"`)
}

func TestEndsThatTelegramCauses(t *testing.T) {
	for name, c := range map[string]struct {
		fault simulator.Fault
		code  int
		words string
	}{
		"conflict": {simulator.Conflict(), exitcode.TempFail, "another program polls"},
		"401":      {simulator.Unauthorized(), exitcode.Config, "@BotFather"},
		"404":      {simulator.NotFound(), exitcode.Config, "@BotFather"},
	} {
		t.Run(name, func(t *testing.T) {
			tg := simtest.Start(t)
			tg.AddFault(c.fault)
			p := bot(t, t.TempDir(), tg.URL)
			if last := ends(t, p, c.code); !strings.Contains(last, c.words) {
				t.Errorf("%q is not in %s", c.words, last)
			}
			if n := p.Count(`"level":"ERROR"`); n != 1 {
				t.Errorf("%d error lines", n)
			}
		})
	}
}

func TestSecondStandsByAndTakesOver(t *testing.T) {
	tg := simtest.Start(t)
	dir := t.TempDir()
	first := bot(t, dir, tg.URL)
	first.WaitLine(patience, `"msg":"ready"`)
	second := bot(t, dir, tg.URL)
	line := second.WaitLine(patience, "standing by")
	if !strings.Contains(line, "bot.lock") || !strings.Contains(line, `"holder":"bot `) {
		t.Errorf("it does not say who holds the lock: %s", line)
	}
	if status, body := get(t, second, "/readyz"); status != http.StatusOK {
		t.Errorf("standing by is not ready: %d %s", status, body)
	}
	stopped := bot(t, dir, tg.URL)
	stopped.WaitLine(patience, "standing by")
	stopped.Signal(syscall.SIGTERM)
	ends(t, stopped, exitcode.OK)

	tg.Customer(7, "hello")
	first.Kill()
	second.WaitLine(patience, `"msg":"ready"`)
	tg.Customer(7, "/start")
	tg.NeedSent(1, patience)
	if p := tg.Polls(0); p.MaxOpen > 1 || p.Conflicts > 0 {
		t.Errorf("two polled at once: %+v", p)
	}
}

func TestReplacedLockFileEndsIt(t *testing.T) {
	tg := simtest.Start(t)
	dir := t.TempDir()
	p := bot(t, dir, tg.URL)
	p.WaitLine(patience, `"msg":"ready"`)
	if err := os.Remove(filepath.Join(dir, "bot.lock")); err != nil {
		t.Fatal(err)
	}
	tg.Customer(7, "wakes the poll up")
	if last := ends(t, p, exitcode.TempFail); !strings.Contains(last, "removed") {
		t.Error(last)
	}
}

func TestInheritedLock(t *testing.T) {
	tg := simtest.Start(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "bot.lock")
	lock, err := lockfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if ok, err := lock.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for _, fd := range []string{"3", "9"} { // Go's runtime has a file of its own at 3 where that is free
		closed := bot(t, dir, tg.URL, "POLL_LOCK_FD="+fd)
		closed.WaitLine(patience, "closed on the way")
		closed.WaitLine(patience, `"msg":"ready"`)
		closed.Signal(syscall.SIGTERM)
		ends(t, closed, exitcode.OK)
	}

	other, err := os.Create(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	env := []string{"TELEGRAM_BOT_TOKEN=" + simtest.Token, "TELEGRAM_API_URL=" + tg.URL,
		"DATABASE_URL=sqlite:" + filepath.Join(dir, "inbox.db"),
		"RUN_DIR=" + dir, "BOT_OPS_ADDR=off", "POLL_LOCK_FD=3"}
	wrong := proctest.Start(t, proctest.Options{Path: proctest.Bin(t, "bot"), Env: env, Files: []*os.File{other}})
	if last := ends(t, wrong, exitcode.Config); !strings.Contains(last, "POLL_LOCK_FD") {
		t.Error(last)
	}

	handed := proctest.Start(t, proctest.Options{Path: proctest.Bin(t, "bot"), Env: env, Files: []*os.File{lock.File()}})
	handed.WaitLine(patience, `"msg":"ready"`)
	lock.Close()
	if mine, err := lockfile.Open(path); err != nil {
		t.Fatal(err)
	} else {
		defer mine.Close()
		if ok, err := mine.TryLock(); ok || err != nil {
			t.Errorf("the bot does not hold what it was handed: %v, %v", ok, err)
		}
	}
}

func TestOperationsPort(t *testing.T) {
	tg := simtest.Start(t)
	p := bot(t, t.TempDir(), tg.URL)
	p.WaitLine(patience, `"msg":"ready"`)
	tg.Customer(7, "/start")
	tg.NeedSent(1, patience)
	for path, words := range map[string][]string{
		"/healthz": {"ok"},
		"/readyz":  {`"ready":true`},
		"/metrics": {`tandem_bot_state{state="polling"} 1`, "tandem_bot_last_poll_timestamp_seconds",
			`tandem_bot_polls_total{outcome="ok"}`, "tandem_queue_deliveries", "go_goroutines"},
	} {
		var status int
		var body string
		// What Telegram and the log know already, the operations port may know a moment later.
		if !proctest.Within(patience, func() bool {
			status, body = get(t, p, path)
			return status == http.StatusOK &&
				!slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(body, w) })
		}) {
			t.Errorf("%s is %d, want 200 with %q:\n%s", path, status, words, body)
		}
		if strings.Contains(body, secretHalf) {
			t.Errorf("the token is on %s", path)
		}
	}
	tg.AddFault(simulator.BadGateway())
	proctest.Eventually(t, patience, "not ready", func() bool {
		status, body := get(t, p, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "Telegram cannot be reached")
	})

	// One that finds the port taken goes on without it.
	addr := opsAddr(t, p)
	tg.ClearFaults()
	other := bot(t, t.TempDir(), tg.URL, "BOT_OPS_ADDR="+addr)
	other.WaitLine(patience, "no operations port", addr)
	other.WaitLine(patience, `"msg":"ready"`)
	if !other.Running() {
		t.Error("a taken port ended the bot")
	}
}

var addrField = regexp.MustCompile(`"addr":"([^"]+)"`)

func opsAddr(t *testing.T, p *proctest.Process) string {
	t.Helper()
	m := addrField.FindStringSubmatch(p.WaitLine(patience, `"msg":"operations port"`))
	if m == nil {
		t.Fatal("no address in the line")
	}
	return m[1]
}

func get(t *testing.T, p *proctest.Process, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + opsAddr(t, p) + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestDatabaseThatIsLate(t *testing.T) {
	tg := simtest.Start(t)
	p := bot(t, t.TempDir(), tg.URL, "DATABASE_URL=postgres://u:"+"pass-word@127.0.0.1:1/x")
	p.WaitLine(patience, "database not available")
	proctest.Eventually(t, patience, "/readyz says 503 for the database, and all that is known of it", func() bool {
		status, body := get(t, p, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "no PostgreSQL listens at 127.0.0.1:1")
	})
	if n := tg.Polls(0).Requests; n != 0 {
		t.Errorf("%d polls before there is a database", n)
	}
	began := time.Now()
	p.Signal(syscall.SIGTERM)
	ends(t, p, exitcode.OK)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		arg   string
		code  int
		words []string
	}{
		{"-version", 0, []string{"bot "}},
		{"--version", 0, []string{"bot "}},
		{"-help", 0, []string{"TELEGRAM_BOT_TOKEN", "TELEGRAM_API_URL", "BOT_OPS_ADDR", "DATABASE_URL", "POLL_LOCK_FILE",
			"POLL_LOCK_FD", "RUN_DIR",
			"LOG_LEVEL", "LOG_FORMAT", "75", "78", "_FILE"}},
		{"-nonsense", exitcode.Usage, []string{"-nonsense", "-help"}},
	} {
		var out, errs strings.Builder
		if code := explain([]string{c.arg}, &out, &errs); code != c.code {
			t.Errorf("%s: %d", c.arg, code)
		}
		for _, w := range c.words {
			if !strings.Contains(out.String()+errs.String(), w) {
				t.Errorf("%s does not say %q", c.arg, w)
			}
		}
	}
}

// TestThePaceOfABot : what waits for it leaves no faster than Telegram allows, and not much slower.
func TestThePaceOfABot(t *testing.T) {
	tg := simtest.Start(t, simulator.Options{BotRate: 30, ChatRate: 1})
	const customers = 90
	for c := int64(1); c <= customers; c++ {
		tg.Customer(c, "/start")
	}
	bot(t, t.TempDir(), tg.URL)
	sent := tg.NeedSent(customers, 2*patience)
	for _, c := range tg.Calls("sendMessage") {
		if c.Status == http.StatusTooManyRequests {
			t.Errorf("Telegram had to ask for a pause: %+v", c)
		}
	}
	if took := sent[customers-1].At.Sub(sent[0].At); took < 2*time.Second {
		t.Errorf("they took %v, want 2 seconds at least", took)
	} else {
		t.Logf("%d messages took %v", customers, took)
	}
}
