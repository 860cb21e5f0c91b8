package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/testenv"
)

// process is what the test binary does as a process of its own: SQLite's locks and flock are between processes.
// It says "ready" once the store is, does its job, and ends with its standard input.
func process(job string) int {
	s := Open(os.Getenv("STORE_TEST_URL"), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	io.WriteString(os.Stdout, "up\n")
	input := bufio.NewReader(os.Stdin)
	if _, err := input.ReadString('\n'); err != nil { // the starting shot
		return 3
	}
	go func() {
		io.Copy(io.Discard, input)
		cancel()
	}()
	switch job {
	case "connect":
		if err := s.Connect(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		io.WriteString(os.Stdout, "ready\n")
		return 0
	case "write":
		return writeForEver(ctx, s)
	}
	return 2
}

// writeForEver stores one message after another and says the id of each that was committed.
func writeForEver(ctx context.Context, s *Store) int {
	go s.Run(ctx)
	if err := s.WaitReady(ctx); err != nil {
		return 1
	}
	io.WriteString(os.Stdout, "ready\n")
	tenure, err := s.TakeOver(ctx, 1, "writer")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for id := tenure.NextOffset; ctx.Err() == nil; id++ {
		u := inbox.Update{ID: id, Raw: fmt.Appendf(nil, "raw %d", id), Reply: "reply",
			Message: &inbox.IncomingMessage{ChatID: 7, MessageID: id, Kind: "text", Text: fmt.Sprint(id), Date: time.Now()}}
		if err := s.StoreUpdates(ctx, tenure, []inbox.Update{u}, id+1); err != nil {
			if ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return 0
		}
		fmt.Println(id)
	}
	return 0
}

// helper is such a process.
type helper struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	errs  strings.Builder
	ended sync.Once
	err   error
}

func startHelper(t *testing.T, job, url string) *helper {
	t.Helper()
	h := &helper{t: t, cmd: exec.Command(os.Args[0])}
	h.cmd.Env = append(os.Environ(), "STORE_TEST_PROCESS="+job, "STORE_TEST_URL="+url, "GORACE=atexit_sleep_ms=0")
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.cmd.Stderr = &h.errs
	var err error
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.out = bufio.NewReader(out)
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.cmd.Process.Kill(); h.wait() })
	h.expect("up")
	return h
}

func (h *helper) shoot() { io.WriteString(h.in, "go\n") }

func (h *helper) line() string {
	line, err := h.out.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSpace(line)
}

func (h *helper) expect(want string) {
	h.t.Helper()
	if have := h.line(); have != want {
		h.cmd.Process.Kill()
		h.wait()
		h.t.Fatalf("the process said %q, not %q: %s", have, want, h.errs.String())
	}
}

func (h *helper) wait() error {
	h.ended.Do(func() { h.err = h.cmd.Wait() })
	return h.err
}

// TestFirstStartOfTwoProcesses has two processes come to a missing file at the same moment, as web and bot do.
func TestFirstStartOfTwoProcesses(t *testing.T) {
	t.Parallel()
	rounds := 15
	if testenv.MustHaveAll() {
		rounds = 100
	}
	for i := range rounds {
		url := databases["sqlite"].url(t)
		a, b := startHelper(t, "connect", url), startHelper(t, "connect", url)
		a.shoot()
		b.shoot()
		for _, h := range []*helper{a, b} {
			h.expect("ready")
			if err := h.wait(); err != nil {
				t.Fatalf("start %d: %v: %s", i, err, h.errs.String())
			}
		}
	}
}

// TestFirstStartOnPostgres does the same with many sessions, each time in a new schema.
func TestFirstStartOnPostgres(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	rounds := 15
	if testenv.MustHaveAll() {
		rounds = 100
	}
	for i := range rounds {
		schema := fmt.Sprintf("s%d", i)
		if _, err := admin.Exec(t.Context(), "CREATE SCHEMA "+schema); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 2 {
			s := Open(url+"&search_path="+schema, slog.New(slog.DiscardHandler))
			wg.Go(func() {
				defer s.Close()
				if err := s.Connect(t.Context()); err != nil {
					t.Errorf("start %d: %v", i, err)
				}
			})
		}
		wg.Wait()
	}
}

// TestKilledWriter ends a process that writes with SIGKILL, again and again: what it said was committed is
// there, and the next one goes on from the offset that belongs to it.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, _ database, url string) {
		s := running(t, url)
		var want []string
		for round := range 5 {
			h := startHelper(t, "write", url)
			h.shoot()
			h.expect("ready")
			for range 5 + round {
				want = append(want, h.line())
			}
			h.cmd.Process.Kill()
			for line := h.line(); line != ""; line = h.line() { // before wait, which closes the pipe
				want = append(want, line)
			}
			h.wait()
			// A commit that was on its way is done or will never be, once another one has had the lock.
			if err := s.change(t.Context(), "test", func(*ledger) error { return nil }); err != nil {
				t.Fatal(err)
			}
			// The last one can be there without having been said.
			bots, err := s.Bots(t.Context())
			if err != nil || len(bots) != 1 {
				t.Fatalf("bots: %v, %v", bots, err)
			}
			have := customerTexts(t, s)
			if len(have) == len(want)+1 {
				want = append(want, have[len(want)])
			}
			if strings.Join(have, " ") != strings.Join(want, " ") {
				t.Fatalf("have %v\nwant %v", have, want)
			}
		}
	})
}

// customerTexts is all that customers wrote, oldest first.
func customerTexts(t *testing.T, s *Store) []string {
	t.Helper()
	list, _, err := s.Conversations(t.Context(), inbox.ConversationFilter{Limit: 200})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, c := range list {
		for from := int64(0); ; {
			page, next, err := s.Messages(t.Context(), c.ID, 200, from)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page {
				if m.Direction == inbox.In {
					texts = append([]string{m.Text}, texts...)
				}
			}
			if from = next; next == 0 {
				break
			}
		}
	}
	return texts
}

// TestDirectoryErrors : an error of the configuration (exit code 78), in words that say what to do.
func TestDirectoryErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantConfigError(t, "sqlite:"+filepath.Join(dir, "missing", "x.db"), fmt.Sprintf("chown %d", os.Geteuid()))
	wantConfigError(t, "sqlite:"+filepath.Join(dir, "file", "x.db"), "not a directory")
	s := Open("sqlite:"+dir, slog.New(slog.DiscardHandler)) // a directory where the file should be: waited for
	defer s.Close()
	if err := s.Connect(t.Context()); !errors.Is(err, inbox.ErrUnavailable) {
		t.Errorf("a directory: %v", err)
	}
}

// TestDirectoryOfAnother is the volume that belongs to root while the process does not.
func TestDirectoryOfAnother(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		wantConfigError(t, "sqlite:"+dir+"/x.db", fmt.Sprintf("chown %d", os.Geteuid()))
		return
	}
	const nobody = 65534
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "test")
	content, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(program, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "STORE_TEST_PROCESS=connect", "STORE_TEST_URL=sqlite:"+dir+"/x.db",
		"GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Stdin = strings.NewReader("go\n")
	out, err := cmd.CombinedOutput()
	want := fmt.Sprintf("user %d cannot write the directory %s: chown %d %s", nobody, dir, nobody, dir)
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: want %q in: %s", err, want, out)
	}
}
