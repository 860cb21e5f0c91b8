package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
)

const (
	siegeRate      = 200              // requests a second
	siegePatience  = 10 * time.Second // with a request, which has failed then
	siegePeople    = 5                // who ask, operators and as many programs, from one address as behind a proxy
	siegeCustomers = 20
	siegeWriting   = 100 * time.Millisecond // between two messages of customers
)

// wellBehaved are the people and programs that do nothing wrong: browsers and a program that ask, answer and follow the
// events, customers, and whoever watches the bot and init.
type wellBehaved struct {
	t             *testing.T
	r             *rig
	browsers      [siegePeople]*http.Client
	program       *http.Client
	tokens        [siegePeople]string
	conversations [siegeCustomers]inbox.Conversation

	stop   context.CancelFunc
	all    sync.WaitGroup
	follow sync.WaitGroup

	mu      sync.Mutex
	figures figures
	in, out [siegeCustomers][]string // what was written, and what was answered and taken by web
	perhaps map[string]bool          // answers of which web did not say whether it took them
	started int                      // requests
	wrote   int                      // messages of customers
	told    map[int64]int            // how often the stream told of a message
}

// figures are what came of requests.
type figures struct {
	took  map[string][]time.Duration
	wrong []string
	kinds map[string]int // of what failed, and how often
}

func (f *figures) failed(kind, how string) {
	f.kinds[kind]++
	f.wrong = append(f.wrong, fmt.Sprintf("%s %s %s", time.Now().Format("15:04:05.000"), kind, how))
}

func (f figures) all() []time.Duration {
	var all []time.Duration
	for _, took := range f.took {
		all = append(all, took...)
	}
	return all
}

func (f figures) quantile(q float64) time.Duration { return quantile(f.all(), q) }

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(q*float64(len(all)-1))].Round(100 * time.Microsecond)
}

func (f figures) String() string {
	all := f.all()
	return fmt.Sprintf("%d requests, %d failures, p50 %s, p99 %s, at most %s",
		len(all), len(f.wrong), quantile(all, .5), quantile(all, .99), quantile(all, 1))
}

func (f figures) table() string {
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(f.took)) {
		took := f.took[kind]
		fmt.Fprintf(&b, "%-20s %6d  p50 %-8s p99 %-8s at most %s\n",
			kind, len(took), quantile(took, .5), quantile(took, .99), quantile(took, 1))
	}
	return b.String()
}

func first(n int, lines []string) string { return strings.Join(lines[:min(n, len(lines))], "\n") }

func newWellBehaved(t *testing.T, r *rig) *wellBehaved {
	t.Helper()
	// As browsers and a reverse proxy do: connections are kept and used again.
	keeping := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(keeping.CloseIdleConnections)
	c := &wellBehaved{
		t: t, r: r, program: &http.Client{Transport: keeping, Timeout: siegePatience},
		told: map[int64]int{}, perhaps: map[string]bool{},
		figures: figures{kinds: map[string]int{}},
	}
	for i := range siegePeople {
		name := fmt.Sprintf("person %d", i)
		c.tokens[i] = strings.TrimSpace(r.web("token", "create", name))
		c.browsers[i] = signIn(t, "http://"+r.addr, lastLine(r.web("operator", "add", name)))
		c.browsers[i].Transport, c.browsers[i].Timeout = keeping, siegePatience
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); c.follow.Wait() })
	ready := make(chan struct{})
	c.follow.Go(func() { c.stream(ctx, sync.OnceFunc(func() { close(ready) })) })
	select {
	case <-ready:
	case <-time.After(soon):
		t.Fatal("there is no stream")
	}
	for i := range c.conversations {
		c.in[i] = []string{"hello"}
		r.tg.Customer(chatID(i), "hello")
		c.conversations[i] = r.conversation(chatID(i))
	}
	return c
}

// begin begins the work. It keeps its pace whatever the answers are.
func (c *wellBehaved) begin() {
	c.mu.Lock()
	c.figures = figures{took: map[string][]time.Duration{}, kinds: map[string]int{}}
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.t.Cleanup(func() { cancel(); c.all.Wait() })
	every := func(pause time.Duration, work func()) {
		c.all.Go(func() {
			begun := time.Now()
			for n := 1; ctx.Err() == nil; n++ {
				c.all.Go(work)
				time.Sleep(time.Until(begun.Add(time.Duration(n) * pause)))
			}
		})
	}
	every(time.Second/siegeRate, c.ask)
	every(siegeWriting, c.write)
	botHealth := "http://" + setting(c.r.env, "BOT_OPS_ADDR=") + "/healthz"
	every(time.Second, func() { c.get("bot /healthz", botHealth, c.program, "ok") })
	every(time.Second, func() { c.note("init status", time.Now(), c.initStatus()) })
}

// end ends the work and says what came of it.
func (c *wellBehaved) end() figures {
	c.stop()
	c.all.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.figures
}

func (c *wellBehaved) note(kind string, begun time.Time, err error) {
	took := time.Since(begun)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.figures.took[kind] = append(c.figures.took[kind], took)
	if err != nil {
		c.figures.failed(kind, fmt.Sprintf("after %s: %v", took.Round(time.Millisecond), err))
	}
}

// ask makes the next request of the mix.
func (c *wellBehaved) ask() {
	c.mu.Lock()
	n := c.started
	c.started++
	c.mu.Unlock()
	base, i, browser := "http://"+c.r.addr, n/20%siegeCustomers, c.browsers[n/20%siegePeople]
	id := c.conversations[i].ID
	switch n % 20 {
	case 0:
		text := fmt.Sprintf("answer %d", n)
		path := fmt.Sprintf("%s/api/v1/conversations/%d/messages", base, id)
		taken := c.do("answer", "POST", path, c.program, map[string]string{"text": text}, 202, text)
		c.mu.Lock()
		if taken {
			c.out[i] = append(c.out[i], text)
		} else {
			c.perhaps[text] = true
		}
		c.mu.Unlock()
	case 1, 6, 11, 16:
		c.get("list page", base+"/", browser, "Sign out")
	case 2, 12:
		c.get("conversation page", fmt.Sprintf("%s/conversations/%d", base, id), browser, "Sign out")
	case 3, 8, 13, 18:
		c.get("list", base+"/api/v1/conversations?status=open", c.program, `"next_cursor"`)
	case 4, 9, 14:
		c.get("messages", fmt.Sprintf("%s/api/v1/conversations/%d/messages", base, id), c.program, `"direction"`)
	case 5:
		c.get("/readyz", base+"/readyz", c.program, "true")
	default:
		c.get("/healthz", base+"/healthz", c.program, "ok")
	}
}

func (c *wellBehaved) get(kind, url string, by *http.Client, want string) {
	c.do(kind, "GET", url, by, nil, 200, want)
}

// do makes a request and wants an answer with that status and those words in it.
func (c *wellBehaved) do(kind, method, url string, by *http.Client, in any, status int, want string) bool {
	begun := time.Now()
	err := func() error {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		request, err := http.NewRequest(method, url, nil)
		if in != nil {
			request, err = http.NewRequest(method, url, bytes.NewReader(body))
		}
		if err != nil {
			return err
		}
		if in != nil {
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Idempotency-Key", want)
		}
		if by == c.program {
			request.Header.Set("Authorization", "Bearer "+c.tokens[begun.UnixNano()%siegePeople])
		}
		response, err := by.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err == nil && (response.StatusCode != status || !strings.Contains(string(answer), want)) {
			err = fmt.Errorf("%s %q", response.Status, answer[:min(len(answer), 300)])
		}
		return err
	}()
	c.note(kind, begun, err)
	return err == nil
}

// write has the next customer write.
func (c *wellBehaved) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, text := c.wrote%siegeCustomers, fmt.Sprintf("message %d", c.wrote)
	c.wrote++
	if _, err := c.r.tg.CustomerWrites(chatID(i), text); err != nil {
		c.t.Errorf("customer %d: %v", i, err)
		return
	}
	c.in[i] = append(c.in[i], text)
}

// initStatus asks init for its status, as `init status` does.
func (c *wellBehaved) initStatus() error {
	conn, err := net.DialTimeout("unix", filepath.Join(c.r.runDir, "init.sock"), siegePatience)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(siegePatience))
	if _, err := conn.Write([]byte("status\n")); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && !json.Valid(answer) {
		err = fmt.Errorf("%q", answer)
	}
	return err
}

// stream follows the events from now on. It calls ready when it does. A stream that is cut goes on from there and is a
// failure.
func (c *wellBehaved) stream(ctx context.Context, ready func()) {
	last := ""
	for ctx.Err() == nil {
		err := func() error {
			request, err := http.NewRequestWithContext(ctx, "GET", "http://"+c.r.addr+"/api/v1/events", nil)
			if err != nil {
				return err
			}
			request.Header.Set("Authorization", "Bearer "+c.tokens[0])
			if last != "" {
				request.Header.Set("Last-Event-ID", last)
			}
			response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != 200 {
				return fmt.Errorf("%s", response.Status)
			}
			ready()
			event, lines := "", bufio.NewScanner(response.Body)
			for lines.Scan() {
				name, value, _ := strings.Cut(lines.Text(), ": ")
				switch {
				case name == "id":
					last = value
				case name == "event":
					event = value
				case name == "data" && event == string(inbox.MessageCreated):
					var data struct {
						MessageID int64 `json:"message_id"`
					}
					if err := json.Unmarshal([]byte(value), &data); err != nil {
						return err
					}
					c.mu.Lock()
					c.told[data.MessageID]++
					c.mu.Unlock()
				}
			}
			return fmt.Errorf("the stream was cut: %w", lines.Err())
		}()
		if ctx.Err() == nil {
			c.mu.Lock()
			c.figures.failed("stream", fmt.Sprint(err))
			c.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// nothingIsLost waits until all is delivered, and looks for each message and each answer: once, and once in the stream.
func (c *wellBehaved) nothingIsLost() {
	c.t.Helper()
	proctest.Eventually(c.t, 2*soon, "every update is stored and nothing is queued", func() bool {
		time.Sleep(50 * time.Millisecond) // the machine has more to do than to be asked this
		return c.r.allDelivered(c.conversations[:])
	})
	arrived := map[int64][]string{}
	for _, s := range c.r.tg.Sent() {
		arrived[s.ChatID] = append(arrived[s.ChatID], s.Text)
	}
	once := func(what string, have, want []string) {
		c.t.Helper()
		seen := map[string]bool{}
		have = slices.DeleteFunc(have, func(text string) bool {
			perhaps := c.perhaps[text] && !seen[text]
			seen[text] = true
			return perhaps
		})
		have, want = slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(want))
		if !slices.Equal(have, want) {
			c.t.Errorf("%s: want %d, each once, and have %d:\n%q\n%q", what, len(want), len(have), want, have)
		}
	}
	ids := map[int64]bool{}
	for i, conversation := range c.conversations {
		var in, out []string
		for _, m := range c.r.messages(conversation.ID) {
			ids[m.ID] = true
			if m.Direction == inbox.In {
				in = append(in, m.Text)
			} else if out = append(out, m.Text); m.Delivery != inbox.Sent {
				c.t.Errorf("customer %d: %q is %s (%s)", i, m.Text, m.Delivery, m.Error)
			}
		}
		once(fmt.Sprintf("messages of customer %d", i), in, c.in[i])
		once(fmt.Sprintf("answers to customer %d in the inbox", i), out, c.out[i])
		once(fmt.Sprintf("answers to customer %d at Telegram", i), arrived[chatID(i)], c.out[i])
	}
	proctest.Eventually(c.t, soon, "the stream has told of every message", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.told) >= len(ids)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range ids {
		if n := c.told[id]; n != 1 {
			c.t.Errorf("the stream told %d times of message %d", n, id)
		}
	}
}
