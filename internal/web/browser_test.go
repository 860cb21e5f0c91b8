package web_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/testenv"
	"tandem/internal/web"
)

// screen is a tab with helpers to ask about the page in it.
type screen struct {
	t   *testing.T
	tab context.Context
}

func (s screen) do(steps ...chromedp.Action[chromedp.Void]) {
	s.t.Helper()
	do(s.t, s.tab, steps...)
}

// says is whether the element has all the words.
func (s screen) says(selector string, words ...string) bool {
	s.t.Helper()
	script := fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector)
	text := run(s.t, s.tab, chromedp.Evaluate[string](script))
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

func (s screen) eventually(what, selector string, words ...string) {
	s.t.Helper()
	if !proctest.Within(soon, func() bool { return s.says(selector, words...) }) {
		s.t.Fatalf("%s: %s does not say %q but %q", what, selector, words,
			run(s.t, s.tab, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector(%q)?.innerText ?? "(not there)"`,
				selector))))
	}
}

// click presses the element in the middle, as a person does. The page puts a new element in its place whenever there is
// news of it; one that was replaced between looking and pressing is looked for again.
func (s screen) click(selector string) {
	s.t.Helper()
	var err error
	proctest.Within(soon, func() bool {
		err = chromedp.Do(s.tab, chromedp.Click(chromedp.CSS(selector)))
		// -32000: there is no such node, or it has no place on the page any more.
		return err == nil || !strings.Contains(err.Error(), "(-32000)")
	})
	if err != nil {
		s.t.Fatalf("click %s: %v", selector, err)
	}
}

func (s screen) count(selector string) int {
	s.t.Helper()
	return run(s.t, s.tab, chromedp.Evaluate[int](fmt.Sprintf(`document.querySelectorAll(%q).length`, selector)))
}

// The page in a browser: signed in by the button, a message appears, an answer is sent once and followed to its
// end, the banner comes and goes, all without a reload; and after web was away, with a 503 in between, the stream
// comes back by itself.
func TestThePageInABrowser(t *testing.T) {
	tab := newTab(t)
	complaints := watch(t, tab)
	r := newRig(t)
	r.customer(7, "Ana", "first message")
	r.customer(8, "Ben", "from somebody else")
	c := r.conversation(7)
	s := screen{t, tab}

	s.do(chromedp.Navigate(r.http.URL+"/sign-in/"+r.link("alice")), chromedp.Click(chromedp.CSS("button.primary")),
		chromedp.WaitReady(chromedp.CSS("#list .item")))
	s.do(chromedp.Navigate(fmt.Sprintf("%s/conversations/%d", r.http.URL, c.ID)))
	s.eventually("the stream is open", "#live", "Live")
	run(t, tab, chromedp.Evaluate[bool](`window.mark = true`))

	r.customer(7, "Ana", "a live message")
	s.eventually("a message appears", "#messages", "first message", "a live message")
	s.eventually("the list follows", "#list li:first-child", "Ana", "a live message")
	r.customer(9, "Cleo", "hello from a new customer")
	s.eventually("a new conversation appears", "#list li:first-child", "Cleo")

	// Blank is refused in words; then Ctrl+Enter, twice.
	s.do(chromedp.SendKeys(chromedp.CSS("#compose-text"), "   "))
	s.click("#compose button")
	s.eventually("a blank answer is refused", "#compose-error", "answer is empty")
	s.do(chromedp.SendKeys(chromedp.CSS("#compose-text"), "It is on its way, Ana."))
	s.do(chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(kb.ModifierCtrl)),
		chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(kb.ModifierCtrl)))
	s.eventually("the answer is shown", "#messages li:last-child", "alice", "It is on its way, Ana.", "waiting to be sent")
	eventually(t, "the form is empty again", func() bool {
		return run(t, tab, chromedp.Evaluate[string](`document.querySelector("#compose-text").value`)) == ""
	})
	if n := s.count("#messages li.out"); n != 1 {
		t.Errorf("%d answers are shown after two presses, want 1", n)
	}
	r.deliver(inbox.Unknown, "the line broke")
	s.eventually("its state follows", "#messages li:last-child", "may have been delivered", "Send again")
	s.click("#messages li:last-child button")
	s.eventually("it waits again", "#messages li:last-child", "waiting to be sent")
	r.deliver(inbox.Sent, "")
	s.eventually("it is sent", "#messages li:last-child .state", "sent")

	r.says(inbox.BotConflict, "another program polls with this token")
	s.eventually("the banner comes", "#banner", "Another program", "kept")
	r.says(inbox.BotPolling, "")
	eventually(t, "the banner goes", func() bool { return s.count(".banner") == 0 })

	s.click("#head form button")
	s.eventually("closed", "#head", "Reopen")
	eventually(t, "closed, it leaves the list of open ones", func() bool { return !s.says("#list", "Ana") })

	// Web ends, comes back with no database, and then with it.
	s.do(chromedp.SendKeys(chromedp.CSS("#compose-text"), "half a sentence"))
	address := r.http.Listener.Addr().String()
	r.web.StopStreams()
	r.http.CloseClientConnections()
	r.http.Close()
	s.eventually("the page notices", "#live", "Reconnecting")
	down := serveAt(t, address, web.New(web.Config{Store: downStore{r.store}, Log: discard}))
	s.eventually("the page says what is wrong", "#banner", "The database is not available", "cannot be reached",
		"operations port")
	r.customer(7, "Ana", "written while web was away")
	down()
	back := web.New(web.Config{Store: r.store, Log: discard})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { back.Run(ctx) })
	up := serveAt(t, address, back)
	defer func() {
		back.StopStreams()
		up()
		cancel()
		wg.Wait()
	}()
	s.eventually("the stream is back", "#live", "Live")
	s.eventually("what was missed is there", "#messages li:last-child", "written while web was away")
	s.eventually("the customer's message has opened the conversation again", "#head", "Close")
	eventually(t, "the banner goes", func() bool { return s.count(".banner") == 0 })
	r.customer(7, "Ana", "and live again")
	s.eventually("live again", "#messages li:last-child", "and live again")
	typed := chromedp.Evaluate[string](`document.querySelector("#compose-text").value`)
	if got := run(t, tab, typed); got != "half a sentence" {
		t.Errorf("what was typed became %q", got)
	}
	if !run(t, tab, chromedp.Evaluate[bool](`window.mark === true`)) {
		t.Error("the page was loaded again; all of this should come without that")
	}
	for _, c := range complaints() {
		t.Errorf("the browser complains: %s", c)
	}
	do(t, tab, chromedp.Navigate("about:blank"))
}

// A message that changes again while the page fetches it is fetched again, and one that could not be fetched is tried
// again with the stream.
func TestAChangeDuringAFetch(t *testing.T) {
	tab := newTab(t)
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	c := r.conversation(7)
	r.answer(c.ID, "On its way.")
	s := screen{t, tab}
	s.do(chromedp.Navigate(r.http.URL+"/sign-in/"+r.link("alice")), chromedp.Click(chromedp.CSS("button.primary")),
		chromedp.WaitReady(chromedp.CSS("#list .item")))
	s.do(chromedp.Navigate(fmt.Sprintf("%s/conversations/%d", r.http.URL, c.ID)))
	s.eventually("the stream is open", "#live", "Live")
	// The first fetch of messages stands still between its answer and the page; those of the list are counted.
	run(t, tab, chromedp.Evaluate[bool](`(() => {
		const real = window.fetch;
		window.lists = 0;
		window.fetch = async (...args) => {
			const response = await real(...args), url = String(args[0]);
			if (url.includes("/messages") && !window.release) await new Promise((ok) => { window.release = ok; });
			if (url.includes("/fragments/list")) window.lists++;
			return response;
		};
		return true;
	})()`))
	is := func(expression string) func() bool {
		return func() bool { return run(t, tab, chromedp.Evaluate[bool](expression)) }
	}
	claimed, _, err := r.store.ClaimDeliveries(t.Context(), r.tenure(), 1, nil)
	r.ok(err)
	eventually(t, "the page has the answer as it is being sent, and holds it",
		is(`!!window.release && window.lists === 1`))
	r.ok(r.store.RecordOutcome(t.Context(), r.tenure(), inbox.Outcome{
		DeliveryID: claimed[0].ID, Attempt: claimed[0].Attempt, State: inbox.Unknown, Error: "the line broke",
	}))
	eventually(t, "the page knows of the second change", is(`window.lists === 2`))
	run(t, tab, chromedp.Evaluate[bool](`window.release(), true`))
	s.eventually("the second change is shown", "#messages li:last-child", "may have been delivered")

	run(t, tab, chromedp.Evaluate[bool](`(() => {
		const real = window.fetch;
		window.broken = 0;
		window.fetch = async (...args) => {
			if (String(args[0]).includes("/messages") && window.broken++ === 0) throw new TypeError("no network");
			return real(...args);
		};
		return true;
	})()`))
	r.customer(7, "Ana", "are you there?")
	eventually(t, "a fetch failed", is(`window.broken >= 1`))
	r.http.CloseClientConnections()
	s.eventually("the message is there all the same", "#messages li:last-child", "are you there?")
	do(t, tab, chromedp.Navigate("about:blank"))
}

// serveAt serves on an address that was used before; the function returned ends it.
func serveAt(t *testing.T, address string, h http.Handler) func() {
	t.Helper()
	var listener net.Listener
	eventually(t, address+" is free", func() (ok bool) {
		var err error
		listener, err = net.Listen("tcp", address)
		return err == nil
	})
	server := &http.Server{Handler: h}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	return func() {
		server.Close()
		wg.Wait()
	}
}

// watch collects what a page should never have: exceptions, and what the browser refuses for the page's policy.
func watch(t *testing.T, tab context.Context) func() []string {
	t.Helper()
	ctx, cancel := context.WithCancel(tab)
	messages := chromedp.Console(ctx)
	var mu sync.Mutex
	var found []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Source == "security" || strings.Contains(m.Text, "Content Security Policy") {
				mu.Lock()
				found = append(found, m.String())
				mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return found
	}
}

// newTab is a tab of a headless browser; a machine without one skips the test.
func newTab(t *testing.T) context.Context {
	t.Helper()
	needChromium(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	limited, stopTime := context.WithTimeout(allocator, 6*time.Minute)
	tab, stopTab := chromedp.NewContext(limited)
	t.Cleanup(func() {
		if err := chromedp.Cancel(tab); err != nil && !errors.Is(err, context.Canceled) {
			t.Log("closing the browser:", err)
		}
		stopTab()
		stopTime()
		stopAllocator()
	})
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("start chromium: %s", strings.TrimSpace(err.Error()))
	}
	return tab
}

func needChromium(t *testing.T) {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
		"headless_shell", "headless-shell"} {
		if _, err := exec.LookPath(name); err == nil {
			return
		}
	}
	testenv.Missing(t, "no Chromium: install chromium to test the page in a browser")
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func must[P, R any](t *testing.T, tab context.Context, command cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(tab, command, params); err != nil {
		t.Fatalf("%s: %v", command.Method, err)
	}
}

func do(t *testing.T, tab context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(tab, steps...); err != nil {
		t.Fatal(err)
	}
}

func run[T any](t *testing.T, tab context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(tab, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Who works with the keyboard keeps the focus when a piece of the page is replaced under it.
func TestTheKeyboardKeepsItsPlace(t *testing.T) {
	tab := newTab(t)
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	r.customer(8, "Ben", "hello, too")
	c := r.conversation(7)
	r.answer(c.ID, "On its way.")
	r.deliver(inbox.Failed, "the customer has blocked the bot")
	s := screen{t, tab}
	s.do(chromedp.EmulateViewport(1280, 800)) // with the list beside the conversation
	s.do(chromedp.Navigate(r.http.URL+"/sign-in/"+r.link("alice")), chromedp.Click(chromedp.CSS("button.primary")),
		chromedp.WaitReady(chromedp.CSS("#list .item")))
	s.do(chromedp.Navigate(fmt.Sprintf("%s/conversations/%d?view=all", r.http.URL, c.ID)))
	s.eventually("the stream is open", "#live", "Live")
	focus := func(selector string) {
		run(t, tab, chromedp.Evaluate[bool](fmt.Sprintf(`document.querySelector(%q).focus(), true`, selector)))
	}
	focused := func(what, expression string) {
		t.Helper()
		eventually(t, "the focus is on "+what, func() bool { return run(t, tab, chromedp.Evaluate[bool](expression)) })
	}
	focus("#head form button")
	s.do(chromedp.KeyEvent(kb.Enter))
	s.eventually("closed", "#head", "Reopen")
	focused("Reopen", `document.activeElement.innerText === "Reopen"`)

	focus("#messages .trouble button")
	s.do(chromedp.KeyEvent(kb.Enter))
	s.eventually("it waits again", "#messages li.out", "waiting to be sent")
	focused("the messages", `document.activeElement === document.querySelector(".thread")`)

	focus(".item.current")
	r.customer(8, "Ben", "news")
	s.eventually("the list follows", "#list li:first-child", "Ben")
	focused("the same conversation", `document.activeElement.classList.contains("current")`)
	do(t, tab, chromedp.Navigate("about:blank"))
}

// On a phone a conversation has the whole screen, but for the word that nothing comes in any more.
func TestAPhoneSaysThatTheLineIsDown(t *testing.T) {
	tab := newTab(t)
	r := newRig(t)
	r.customer(7, "Ana", "hello")
	s := screen{t, tab}
	s.do(chromedp.EmulateViewport(390, 844))
	s.do(chromedp.Navigate(r.http.URL+"/sign-in/"+r.link("alice")), chromedp.Click(chromedp.CSS("button.primary")),
		chromedp.WaitReady(chromedp.CSS("#list .item")))
	s.do(chromedp.Navigate(fmt.Sprintf("%s/conversations/%d", r.http.URL, r.conversation(7).ID)))
	s.eventually("the stream is open", "#live", "Live")
	seen := func() bool {
		return run(t, tab, chromedp.Evaluate[bool](`document.querySelector("#live").checkVisibility()`))
	}
	if seen() {
		t.Error("the bar takes room while all is well")
	}
	r.web.StopStreams() // and refuses new ones
	s.eventually("the page notices", "#live", "Reconnecting")
	eventually(t, "the word is seen", seen)
	do(t, tab, chromedp.Navigate("about:blank"))
}
