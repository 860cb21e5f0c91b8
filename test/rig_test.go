// Package test runs the three executables together, as a container would: init as PID 1 in a namespace of its
// own, web and bot under it, a simulated Telegram and a real database. One test for each thing that can go
// wrong; each says in its name what then holds.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
	"tandem/internal/status"
)

// helpers are those of the siege.
var helpers = proctest.Helpers{}

func TestMain(m *testing.M) {
	_, proctest.Secret, _ = strings.Cut(simtest.Token, ":")
	proctest.Main(m, helpers)
}

// soon is the limit for what takes a moment on an idle machine and may take long on a busy one.
const soon = 30 * time.Second

// rig is Tandem as a user runs it.
type rig struct {
	*proctest.Process // init
	t                 *testing.T
	tg                *simtest.Telegram
	dir               string // has the run directory and the SQLite file
	runDir            string
	database          string // DATABASE_URL
	addr              string // of web
	env               []string
	bearer            string       // an API token, made at its first use
	client            *http.Client // nil: one with much patience
	under             proctest.Under
	mounts            []proctest.Mount
	shipped           bool // never with the race detector
}

// newRig prepares a rig on the database; extra settings win over the usual ones, and one that is empty unsets.
func newRig(t *testing.T, database string, extra ...string) *rig {
	t.Helper()
	return newRigWith(t, simtest.Start(t), database, extra...)
}

func newRigWith(t *testing.T, tg *simtest.Telegram, database string, extra ...string) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{
		t: t, tg: tg, dir: dir, runDir: filepath.Join(dir, "run"), database: database, addr: proctest.FreeAddr(t),
		under: proctest.PID1,
	}
	if database == "sqlite" {
		r.database = "sqlite:" + filepath.Join(dir, "tandem.db")
	}
	r.env = append([]string{
		"RUN_DIR=" + r.runDir, "DATABASE_URL=" + r.database, "WEB_ADDR=" + r.addr, "WEB_OPS_ADDR=off", "BOT_OPS_ADDR=off",
		"TELEGRAM_API_URL=" + tg.URL, "TELEGRAM_BOT_TOKEN=" + simtest.Token, "BOT_PACE=false",
		"LOG_FORMAT=json", "LOG_LEVEL=debug",
		"WEB_COMMAND=" + bin(t, "web"), "BOT_COMMAND=" + bin(t, "bot"), "WEB_NOTIFY=true", "BOT_NOTIFY=true",
		"BOT_RESTART_DELAY=100ms", "BOT_CONFLICT_DELAY=500ms",
	}, extra...)
	return r
}

// start starts init. It may be called again when the one before has ended.
func (r *rig) start() *rig {
	r.t.Helper()
	r.Process = proctest.Start(r.t, proctest.Options{Path: r.bin("init"), Env: r.env, Under: r.under, Mounts: r.mounts})
	return r
}

// bin is our executable, built with the race detector where the tests are.
func bin(t testing.TB, name string) string {
	if raceEnabled {
		return proctest.RaceBin(t, name)
	}
	return proctest.Bin(t, name)
}

// readiness is what web says of it on its operations port, for which the rig has a WEB_OPS_ADDR.
func (r *rig) readiness() (code int, body string) {
	response, err := patient.Get("http://" + setting(r.env, "WEB_OPS_ADDR=") + "/readyz")
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	b, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(b)
}

func (r *rig) bin(name string) string {
	if r.shipped {
		return proctest.Bin(r.t, name)
	}
	return bin(r.t, name)
}

// stop asks init to end and wants status 0.
func (r *rig) stop() {
	r.t.Helper()
	r.Signal(15)
	if end := r.Wait(soon); end.Code != 0 {
		r.t.Errorf("init ended with %d, want 0", end.Code)
	}
}

// status is the file that init keeps; nil while there is none.
func (r *rig) status() *status.Status {
	s, err := status.Read(filepath.Join(r.runDir, "status.json"))
	if err != nil {
		return nil
	}
	return s
}

func (r *rig) process(name string) status.Process {
	if s := r.status(); s != nil {
		p, _ := s.Process(name)
		return p
	}
	return status.Process{}
}

// waitBot waits until the bot is in the state.
func (r *rig) waitBot(state status.State) status.Process {
	r.t.Helper()
	return r.await("bot", "is "+string(state), func(p status.Process) bool { return p.State == state })
}

// await waits until init says of a process what ok wants, and returns what that was.
func (r *rig) await(name, what string, ok func(p status.Process) bool) status.Process {
	r.t.Helper()
	var p status.Process
	proctest.Eventually(r.t, soon, name+" "+what, func() bool { p = r.process(name); return ok(p) })
	return p
}

// waitWeb waits until web answers.
func (r *rig) waitWeb() *rig {
	r.t.Helper()
	proctest.Eventually(r.t, soon, "web answers /healthz", func() bool {
		code, _ := r.get("/healthz")
		return code == 200
	})
	return r
}

// waitReady waits until web has its database and writes into it.
func (r *rig) waitReady() *rig {
	r.t.Helper()
	return r.waitReadyz(200)
}

func (r *rig) waitReadyz(want int) *rig {
	r.t.Helper()
	proctest.Eventually(r.t, 2*soon, fmt.Sprintf("/readyz says %d", want), func() bool {
		code, _ := r.get("/readyz")
		return code == want
	})
	return r
}

// waitPolling waits until exactly one poll waits at Telegram.
func (r *rig) waitPolling() *rig {
	r.t.Helper()
	proctest.Eventually(r.t, soon, "a poll waits at Telegram", func() bool { return r.tg.Polls(0).Waiting == 1 })
	return r
}

// webMustStay asks /healthz until the returned function is called, which fails the test for any answer but 200,
// and for an init that is not the one it was.
func (r *rig) webMustStay() func() {
	r.t.Helper()
	r.waitWeb()
	ctx, cancel := context.WithCancel(context.Background())
	var wrong []string
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if code, body := r.get("/healthz"); code != 200 {
					wrong = append(wrong, fmt.Sprintf("%d %s", code, body))
				}
			}
		}
	})
	done := sync.OnceFunc(func() {
		r.t.Helper()
		cancel()
		wg.Wait()
		if len(wrong) > 0 {
			r.t.Errorf("web did not stay up: %d times something else than 200, first %s", len(wrong), wrong[0])
		}
		if n := r.process("web").Restarts; n != 0 {
			r.t.Errorf("web was started again %d times", n)
		}
	})
	r.t.Cleanup(func() { cancel(); wg.Wait() })
	return done
}

var patient = &http.Client{Timeout: soon}

func (r *rig) http() *http.Client {
	if r.client != nil {
		return r.client
	}
	return patient
}

func (r *rig) get(path string) (int, string) {
	response, err := r.http().Get("http://" + r.addr + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// api calls the API, decodes a good answer into out (unless nil), and returns the status and the body.
func (r *rig) api(method, path string, in, out any, header ...string) (int, string) {
	r.t.Helper()
	code, body, err := r.tryAPI(method, path, in, out, header...)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return code, body
}

func (r *rig) tryAPI(method, path string, in, out any, header ...string) (int, string, error) {
	if r.bearer == "" {
		r.bearer = strings.TrimSpace(r.web("token", "create", "test"))
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, "", err
		}
		body = bytes.NewReader(b)
	}
	request, err := http.NewRequest(method, "http://"+r.addr+"/api/v1"+path, body)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Authorization", "Bearer "+r.bearer)
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := r.http().Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err == nil && out != nil && response.StatusCode < 300 {
		err = json.Unmarshal(b, out)
	}
	return response.StatusCode, string(b), err
}

// web runs a command of the web executable and returns its standard output.
func (r *rig) web(args ...string) string {
	r.t.Helper()
	cmd := exec.Command(r.bin("web"), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, r.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("web %v: %v\n%s", args, err, errs.String())
	}
	return out.String()
}

type conversations struct {
	Items      []inbox.Conversation `json:"items"`
	NextCursor string               `json:"next_cursor"`
}

type messages struct {
	Items      []inbox.Message `json:"items"`
	NextCursor string          `json:"next_cursor"`
}

// conversation waits for the conversation with the customer of a chat, by the name that the simulator gave him.
func (r *rig) conversation(chatID int64) inbox.Conversation {
	r.t.Helper()
	var found inbox.Conversation
	proctest.Eventually(r.t, soon, fmt.Sprintf("a conversation with customer %d", chatID), func() bool {
		for _, c := range r.conversations() {
			if c.Customer.ID == chatID {
				found = c
				return true
			}
		}
		return false
	})
	return found
}

func (r *rig) conversations() []inbox.Conversation {
	r.t.Helper()
	var all []inbox.Conversation
	for cursor := ""; ; {
		var page conversations
		if code, _, err := r.tryAPI("GET", "/conversations?limit=200&cursor="+cursor, nil, &page); code != 200 || err != nil {
			return nil
		}
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}

// messages are those of a conversation, oldest first; nil while they cannot be read.
func (r *rig) messages(conversationID int64) []inbox.Message {
	r.t.Helper()
	var all []inbox.Message
	for before := ""; ; {
		var page messages
		path := fmt.Sprintf("/conversations/%d/messages?limit=200&before=%s", conversationID, before)
		if code, _, err := r.tryAPI("GET", path, nil, &page); code != 200 || err != nil {
			return nil
		}
		all = append(all, page.Items...)
		if before = page.NextCursor; before == "" {
			break
		}
	}
	slices.Reverse(all)
	return all
}

// texts of a conversation's messages in one direction, oldest first.
func (r *rig) texts(conversationID int64, d inbox.Direction) []string {
	var texts []string
	for _, m := range r.messages(conversationID) {
		if m.Direction == d {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

// answer writes to the customer through the API.
func (r *rig) answer(conversationID int64, text string, header ...string) inbox.Message {
	r.t.Helper()
	var m inbox.Message
	path := fmt.Sprintf("/conversations/%d/messages", conversationID)
	if code, body := r.api("POST", path, map[string]string{"text": text}, &m, header...); code != 202 {
		r.t.Fatalf("answering: %d %s", code, body)
	}
	return m
}

// waitDelivery waits until the answer is in one of the states.
func (r *rig) waitDelivery(m inbox.Message, want ...inbox.DeliveryState) inbox.Message {
	r.t.Helper()
	var found inbox.Message
	proctest.Eventually(r.t, 2*soon, fmt.Sprintf("answer %d is %v", m.ID, want), func() bool {
		for _, other := range r.messages(m.ConversationID) {
			if other.ID == m.ID {
				found = other
				return slices.Contains(want, other.Delivery)
			}
		}
		return false
	})
	return found
}

// allDelivered says whether nothing of the conversations is on its way any more, in either direction.
func (r *rig) allDelivered(conversations []inbox.Conversation) bool {
	if r.tg.Polls(0).Pending > 0 {
		return false
	}
	for _, c := range conversations {
		all := r.messages(c.ID)
		if len(all) == 0 { // it could not be read
			return false
		}
		for _, m := range all {
			if m.Delivery == inbox.Queued || m.Delivery == inbox.Sending {
				return false
			}
		}
	}
	return true
}

// roundTrip is the main job: a message in is stored once, and the answer to it arrives once.
func (r *rig) roundTrip(chatID int64, text string) {
	r.t.Helper()
	r.tg.Customer(chatID, text)
	c := r.conversation(chatID)
	proctest.Eventually(r.t, soon, "the message is in the inbox", func() bool {
		return count(r.texts(c.ID, inbox.In), text) == 1
	})
	m := r.answer(c.ID, "re: "+text)
	r.waitDelivery(m, inbox.Sent)
	if n := sentTo(r.tg, chatID, "re: "+text); n != 1 {
		r.t.Errorf("the answer to %q arrived %d times", text, n)
	}
}

func sentTo(tg *simtest.Telegram, chatID int64, text string) int {
	n := 0
	for _, s := range tg.Sent() {
		if s.ChatID == chatID && s.Text == text {
			n++
		}
	}
	return n
}

func count(all []string, one string) int {
	n := 0
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// onBoth runs the test on both databases.
func onBoth(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, "sqlite") })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, pgtest.URL(t)) })
}

// signedIn is the browser of an operator.
func (r *rig) signedIn() *http.Client {
	r.t.Helper()
	return signIn(r.t, "http://"+r.addr, strings.TrimSpace(lastLine(r.web("operator", "add", "alice"))))
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
		t.Fatalf("send %s to process %d: %v", sig, pid, err)
	}
}

func fault(tg *simtest.Telegram, f simulator.Fault, change func(*simulator.Fault)) int64 {
	if change != nil {
		change(&f)
	}
	return tg.AddFault(f)
}

func port(addr string) int {
	_, p, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(p)
	return n
}
