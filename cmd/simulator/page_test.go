package main

import (
	"bytes"
	"context"
	"image"
	"image/png"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tandem/internal/simulator"
	"tandem/internal/testenv"
)

// browser is a Chromium of a phone's size that ends with the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		testenv.Missing(t, "no Chromium: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(time.Minute))
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // starts it, without a deadline, which would stop it later
		t.Fatalf("starting %s: %v", path, err)
	}
	ctx, cancel = context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestPlayingTheCustomer goes through the page as a person does, with a bot that answers by hand.
func TestPlayingTheCustomer(t *testing.T) {
	telegram, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	telegram.AddBot(defaultToken)
	server := httptest.NewServer(handler(telegram))
	defer server.Close()
	defer telegram.Close()
	ctx := browser(t)
	do := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	texts := func() (out []string) {
		for _, m := range telegram.Messages(0, 1001) {
			out = append(out, m.Text)
		}
		return out
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		if err := telegram.WaitFor(30*time.Second, ok); err != nil {
			t.Fatalf("%s: %v; the chat holds %q", what, err, texts())
		}
	}
	shot := func(name string) { // to look at by eye
		if dir := os.Getenv("TANDEM_SCREENSHOTS"); dir != "" {
			png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(dir+"/simulator-"+name+".png", png, 0o644); err != nil {
				t.Error(err)
			}
		}
	}

	do("adding a customer", chromedp.EmulateViewport(390, 844), chromedp.Navigate(server.URL),
		chromedp.SendKeys("#name", "Ada\r"),
		chromedp.WaitVisible("#start"))
	shot("start")
	do("pressing START", chromedp.Click("#start"), chromedp.WaitVisible("#text"))
	wait("START", func() bool { return len(texts()) == 1 && texts()[0] == "/start" })
	do("writing", chromedp.SendKeys("#text", "Where is my parcel?\r"))
	wait("writing", func() bool { return len(texts()) == 2 && texts()[1] == "Where is my parcel?" })

	reply := `{"chat_id":1001,"text":"<b>On its way</b>","reply_to_message_id":2,
		"reply_markup":{"inline_keyboard":[[{"text":"Thanks","callback_data":"t"}]]}}`
	answerAsBot(t, telegram, reply)
	do("seeing the answer, as it was written",
		chromedp.WaitVisible(`//ol[@id="log"]//div[@class="body" and text()="<b>On its way</b>"]`))
	shot("answer")
	do("pressing a button", chromedp.Click(".keys button"))
	do("editing", chromedp.Click(`#log li.mine:nth-of-type(2) .foot button`), chromedp.SendKeys("#text", " It is late.\r"))
	wait("editing", func() bool { return texts()[1] == "Where is my parcel? It is late." })
	do("blocking", chromedp.Click("#block"))
	wait("blocking", func() bool { return telegram.State().Bots[0].Chats[0].Blocked })
	do("unblocking", chromedp.WaitVisible(`//button[@id="block" and text()="Unblock the bot"]`), chromedp.Click("#block"))
	wait("unblocking", func() bool { return !telegram.State().Bots[0].Chats[0].Blocked })

	do("breaking something", chromedp.Click("#trouble summary"), chromedp.Click(`[data-preset=conflict]`))
	wait("the fault", func() bool { f := telegram.Faults(); return len(f) == 1 && f[0].Label == "conflict" })
	do("the alarm", chromedp.WaitVisible("#alarm"), chromedp.WaitVisible(`[data-preset=conflict][aria-pressed=true]`))
	shot("trouble")
	do("mending it", chromedp.Click(`[data-preset=conflict]`))
	wait("no fault", func() bool { return len(telegram.Faults()) == 0 })
	do("a wide window", chromedp.Click("#trouble summary"), chromedp.EmulateViewport(1280, 800))
	shot("wide")
	if polls := telegram.Polls(0); polls.Pending != 6 { // two messages, a press, an edit, blocked, unblocked
		t.Errorf("%d updates wait for the bot, want 6", polls.Pending)
	}
}

// TestSendingFilesByHand chooses two pictures and sends them as an album.
func TestSendingFilesByHand(t *testing.T) {
	telegram, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	telegram.AddBot(defaultToken)
	server := httptest.NewServer(handler(telegram))
	defer server.Close()
	defer telegram.Close()
	if _, err := telegram.CustomerWrites(7, "hello"); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, name := range []string{"one.png", "two.png"} {
		var b bytes.Buffer
		if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 500, 300))); err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(t.TempDir(), name))
		if err := os.WriteFile(files[len(files)-1], b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx := browser(t)
	for _, a := range []chromedp.Action[chromedp.Void]{
		chromedp.Navigate(server.URL), chromedp.WaitVisible("#attach"), chromedp.SetUploadFiles("#file", files),
		chromedp.WaitVisible("#files"), chromedp.SendKeys("#text", "both"), chromedp.Click("#send"),
		chromedp.WaitVisible("#log img"),
	} {
		if err := chromedp.Do(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	err = telegram.WaitFor(10*time.Second, func() bool { return len(telegram.Messages(0, 7)) == 3 })
	if all := telegram.Messages(0, 7); err != nil || len(all[1].Photo) != 3 || all[1].Caption != "both" ||
		all[1].MediaGroupID == "" || all[2].MediaGroupID != all[1].MediaGroupID {
		t.Errorf("the album is %+v (%v)", all, err)
	}
}

// TestPlayingMore replies to a part of an answer, in a new topic, sends a rich message and reacts.
func TestPlayingMore(t *testing.T) {
	telegram, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	telegram.AddBot(defaultToken)
	server := httptest.NewServer(handler(telegram))
	defer server.Close()
	defer telegram.Close()
	if _, err := telegram.CustomerWrites(7, "hello"); err != nil {
		t.Fatal(err)
	}
	answerAsBot(t, telegram, `{"chat_id":7,"text":"red or blue?"}`)
	ctx := browser(t)
	do := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	last := func() simulator.Message {
		all := telegram.Messages(0, 7)
		return all[len(all)-1]
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		if err := telegram.WaitFor(30*time.Second, ok); err != nil {
			t.Fatalf("%s: %v; the last message is %+v", what, err, last())
		}
	}
	do("reacting", chromedp.Navigate(server.URL), chromedp.WaitVisible("#log li:not(.mine) .react"),
		chromedp.Click("#log li:not(.mine) .react"), chromedp.WaitVisible("#log .react[aria-pressed=true]"))
	selected := `(() => { const t = document.querySelector("#log li:not(.mine) .body").firstChild;
		getSelection().setBaseAndExtent(t, 7, t, 11); return true; })()`
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](selected)); err != nil {
		t.Fatal(err)
	}
	do("replying to a part, in a new topic", chromedp.Click("#log li:not(.mine) .foot button"),
		chromedp.Click("#more-button"), chromedp.SendKeys("#topic", "Colours"), chromedp.SendKeys("#text", "this one\r"))
	wait("the reply", func() bool { return last().Text == "this one" })
	if m := last(); m.Quote == nil || m.Quote.Text != "blue" || m.MessageThreadID != 3 || !m.IsTopicMessage {
		t.Errorf("the reply is %+v, its quote %+v", m, m.Quote)
	}
	do("a rich message in the same topic", chromedp.WaitVisible(`#log .topic`), chromedp.Click("#rich"),
		chromedp.SetValue("#text", "# Order\n- two lamps\n> soon"), chromedp.Click("#send"))
	wait("the rich message", func() bool { return last().RichMessage != nil })
	if m := last(); m.MessageThreadID != 3 || len(telegram.Messages(0, 7)) != 5 {
		t.Errorf("the rich message is %+v", m)
	}
	do("it can be read", chromedp.WaitVisible(`//ol[@id="log"]//div[@class="body" and contains(text(), "two lamps")]`))
	if dir := os.Getenv("TANDEM_SCREENSHOTS"); dir != "" {
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/simulator-more.png", png, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
