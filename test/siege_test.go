package test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/simulator/simtest"
	"tandem/internal/testenv"
)

const (
	siegeLatency = time.Second     // its p99, at most
	siegeMemory  = 200 << 20       // of web, at most, at any time
	siegeLeft    = 20 << 20        // of web, over what it began with, once the attack is over ...
	siegeForget  = 5 * time.Minute // ... for so long
	siegeFiles   = 4096            // that web and the bot may have open
)

// TestSiege attacks web, the bot's operations port and init's control socket. Meanwhile a well-behaved client,
// customers and an operator go on with their work. None of them notices, nothing is lost, and memory is bounded and
// comes back.
//
// SIEGE is how long the attacks take in all; `make siege` sets it. Below a minute it is the short one of `make check`:
// each round has the whole time, SQLite is the only database, and the client's latency is printed and fails nothing.
func TestSiege(t *testing.T) {
	if os.Getenv("SIEGE") == "" {
		testenv.Untested(t, "minutes of attack, which want the whole machine: make siege. "+
			"make check has a short one at its end")
	}
	attack, err := time.ParseDuration(os.Getenv("SIEGE"))
	if err != nil || attack < time.Second {
		t.Fatalf("SIEGE: %q is no time of a second or more, like 10m", os.Getenv("SIEGE"))
	}
	rounds := []siegeRound{{"sqlite", false}, {"sqlite", true}, {"postgres", false}, {"postgres", true}}
	short := attack < time.Minute
	if short {
		rounds = rounds[:2]
	} else {
		attack /= time.Duration(len(rounds))
	}
	manyFiles(t, 8192)
	var turn sync.Mutex // one attacks while the other one's memory comes back
	for _, round := range rounds {
		t.Run(round.String(), func(t *testing.T) {
			t.Parallel()
			round.run(t, &turn, attack, short)
		})
	}
}

type siegeRound struct {
	database   string
	everywhere bool
}

func (s siegeRound) String() string {
	return s.database + map[bool]string{false: "-from-one-address", true: "-from-many-addresses"}[s.everywhere]
}

func (s siegeRound) run(t *testing.T, turn *sync.Mutex, attack time.Duration, short bool) {
	turn.Lock()
	over := sync.OnceFunc(turn.Unlock)
	defer over()
	database := s.database
	if database == "postgres" {
		database = pgtest.URL(t)
	}
	files := strconv.Itoa(siegeFiles)
	r := newRig(t, database, "LOG_LEVEL=info", "WEB_NOFILE="+files, "BOT_NOFILE="+files,
		"WEB_OPS_ADDR="+proctest.FreeAddr(t), "BOT_OPS_ADDR="+proctest.FreeAddr(t),
		"WEB_COMMAND="+proctest.Bin(t, "web"), "BOT_COMMAND="+proctest.Bin(t, "bot"))
	r.shipped = true
	r.start().waitWeb().waitPolling()
	lure := seedSiege(t, r)
	c := newWellBehaved(t, r)
	tokens := []string{r.web("token", "create", "hostile"), r.web("token", "create", "hostile too")}

	c.begin()
	time.Sleep(attack / 5)
	before := c.end()
	pids := map[string]int{"init": r.PID}
	for _, name := range siegeProcesses[1:] {
		p, _ := r.Find(r.process(name).PID)
		pids[name] = p.PID
	}
	memory := func(name, figure string) int { return memoryOf(t, pids[name], figure) }
	resident := map[string]int{}
	for _, name := range siegeProcesses {
		resident[name] = memory(name, "VmRSS")
	}
	watched := map[string]int{"init": r.PID, "web": pids["web"], "bot": pids["bot"], "the rest": os.Getpid()}
	cpu := map[string]time.Duration{}
	for name, pid := range watched {
		cpu[name] = -cpuOf(t, pid)
	}
	endAttack := beginAttack(t, target{
		Web: r.addr, WebOps: setting(r.env, "WEB_OPS_ADDR="), BotOps: setting(r.env, "BOT_OPS_ADDR="),
		Socket: filepath.Join(r.runDir, "init.sock"), Everywhere: s.everywhere, Lure: lure, Tokens: tokens,
	})
	c.begin()
	time.Sleep(attack)
	during := c.end()
	attackers := endAttack()
	for name, pid := range watched {
		cpu[name] += cpuOf(t, pid)
	}
	began, most := time.Now(), map[string]int{}
	for _, name := range siegeProcesses {
		most[name] = memory(name, "VmHWM")
	}
	t.Logf("before the attack: %s", before)
	t.Logf("beside it: %s", during)
	for _, name := range siegeProcesses {
		t.Logf("%s: %.0f MB before, at most %.0f MB", name, mb(resident[name]), mb(most[name]))
	}
	t.Logf("processor time beside it: %v", cpu)
	t.Logf("beside it, by request:\n%s\nthe attackers' connections:\n%s", during.table(), attackers)
	if n := most["web"]; n > siegeMemory {
		t.Errorf("web had %.0f MB, want at most %.0f", mb(n), mb(siegeMemory))
	}
	if n := len(before.wrong) + len(during.wrong); n > 0 {
		t.Errorf("the well-behaved client failed %d times, %d of them beside the attack, %v:\n%s",
			n, len(during.wrong), during.kinds, first(10, append(before.wrong, during.wrong...)))
	}
	if p99 := during.quantile(.99); p99 > siegeLatency && !short {
		t.Errorf("the well-behaved client's p99 was %s beside the attack and %s before it, want at most %s",
			p99, before.quantile(.99), siegeLatency)
	}

	c.nothingIsLost()
	over()
	back := resident["web"] + siegeLeft
	proctest.Eventually(t, siegeForget-time.Since(began), fmt.Sprintf("web is back to %.0f MB", mb(back)), func() bool {
		time.Sleep(100 * time.Millisecond)
		return memory("web", "VmRSS") <= back
	})
	t.Logf("web: %.0f MB %.1f s after the attack", mb(memory("web", "VmRSS")), time.Since(began).Seconds())
	if n := r.process("web").Restarts + r.process("bot").Restarts; n != 0 {
		t.Errorf("web and bot were started again %d times", n)
	}
	r.stop()
}

var siegeProcesses = []string{"init", "web", "bot"}

func mb(bytes int) float64 { return float64(bytes) / (1 << 20) }

// memoryOf is a figure of a process from /proc/PID/status, in bytes.
func memoryOf(t *testing.T, pid int, figure string) int {
	t.Helper()
	m := regexp.MustCompile(figure + `:\s+(\d+) kB`).FindStringSubmatch(readFile("/proc/" + strconv.Itoa(pid) + "/status"))
	if m == nil {
		t.Fatalf("there is no %s of process %d", figure, pid)
	}
	n, _ := strconv.Atoi(m[1])
	return n << 10
}

// cpuOf is the processor time that a process has used.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	_, after, _ := strings.Cut(readFile("/proc/"+strconv.Itoa(pid)+"/stat"), ") ")
	f := strings.Fields(after)
	if len(f) < 13 {
		t.Fatalf("process %d has no times", pid)
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * time.Second / 100
}

// manyFiles lets this process have n files open.
func manyFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= n {
		return
	}
	if limit.Max < n {
		testenv.Missing(t, fmt.Sprintf("the attackers need %d open files, this process may have %d: ulimit -Hn %[1]d",
			n, limit.Max))
	}
	limit.Cur = n
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// lure is what attackers can read that costs much.
type lure struct {
	Large int64  // a conversation of 25 MB
	Slow  string // a search that compares 200 characters with each of 8 million
}

// seedSiege writes what hostile customers and an operator have left behind, and what is usual, into the database.
func seedSiege(t *testing.T, r *rig) lure {
	t.Helper()
	driver, source := "pgx", r.database
	if path, ok := strings.CutPrefix(r.database, "sqlite:"); ok {
		driver, source = "sqlite", "file:"+path+"?_pragma=busy_timeout(20000)"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := tx.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatalf("seed: %v\n%s", err, query)
		}
	}
	numbers := func(n int) string {
		return fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) ", n)
	}
	now := time.Now().UnixMicro()
	// fill makes so many conversations with so many messages each, and gives the id of one of them.
	fill := func(first, conversations, messages int, direction, text string) (id int64) {
		t.Helper()
		author, delivery := "customer", ""
		if direction == "out" {
			author, delivery = "operator", "sent"
		}
		exec(numbers(conversations) + fmt.Sprintf(`
			INSERT INTO conversations (bot_id, chat_id, customer_id, customer_name, customer_username, customer_language,
				search, status, blocked, last_message_id, created_at, updated_at)
			SELECT %d, %d + i, %[2]d + i, 'Somebody', '', '', 'somebody', 'open', FALSE, 0, %[3]d, %[3]d
			FROM n`, simtest.BotID, first, now))
		exec(numbers(messages)+fmt.Sprintf(`
			INSERT INTO messages (id, bot_id, conversation_id, direction, kind, text, search, author_kind, author_id,
				author_name, created_at, edit_seen, thread_id, album_id, delivery, error)
			SELECT (SELECT last_message FROM counters) + ROW_NUMBER() OVER (ORDER BY n.i, c.id), c.bot_id, c.id,
				'%s', 'text', CAST($1 AS TEXT), CAST($1 AS TEXT), '%s', '1', 'Somebody', %d, 0, 0, '', '%s', ''
			FROM n CROSS JOIN conversations c WHERE c.chat_id > %d AND c.chat_id <= %d`,
			direction, author, now, delivery, first, first+conversations), text)
		exec(`UPDATE counters SET last_message = (SELECT MAX(id) FROM messages)`)
		exec(`UPDATE conversations
			SET last_message_id = (SELECT MAX(id) FROM messages WHERE conversation_id = conversations.id)
			WHERE last_message_id = 0`)
		if err := tx.QueryRowContext(t.Context(), `SELECT MAX(id) FROM conversations`).Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	l := lure{
		Slow:  strings.Repeat("a", 199) + "b",
		Large: fill(1_000_000, 1, 200, "out", strings.Repeat("\U0001F600", inbox.MaxAnswer)),
	}
	fill(2_000_000, 2, 1000, "in", strings.Repeat("a", 4000))
	fill(3_000_000, 100, 20, "in", "Where is my parcel? It was to be here on Monday.")
	// What deaf readers ask for from the beginning.
	exec(numbers(20_000) + fmt.Sprintf(`INSERT INTO events (seq, type, bot_id, conversation_id, message_id, at)
		SELECT (SELECT last_event FROM counters) + i, 'conversation.updated', %d, 1, 0, %d FROM n`, simtest.BotID, now))
	exec(`UPDATE counters SET last_event = (SELECT MAX(seq) FROM events)`)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return l
}
