package web_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tandem/internal/filetype"
	"tandem/internal/inbox"
)

// sends has a customer send a file, whose bytes are stored as the bot stores them. It returns what the API says of it.
func (r *rig) sends(
	customer int64, a inbox.Attachment, data []byte, change ...func(*inbox.IncomingMessage),
) inbox.Attachment {
	r.t.Helper()
	a.FileID, a.FileUniqueID = fmt.Sprint("f", r.update), fmt.Sprint("u", r.update)
	r.customer(customer, "Ann", "", append([]func(*inbox.IncomingMessage){func(m *inbox.IncomingMessage) {
		m.Kind, m.Attachments = a.Kind, []inbox.Attachment{a}
	}}, change...)...)
	if data != nil {
		r.fetch(data)
	}
	list, _, err := r.store.Messages(r.t.Context(), r.conversation(customer).ID, 1, 0)
	r.ok(err)
	return list[0].Attachments[0]
}

// fetch stores the bytes of all files that wait.
func (r *rig) fetch(data []byte) {
	r.t.Helper()
	ctx := r.t.Context()
	files, _, err := r.store.NextFiles(ctx, r.tenure(), nil, 10)
	r.ok(err)
	for _, f := range files {
		blob, err := r.store.BeginFile(ctx, r.tenure(), f)
		r.ok(err)
		n := int64(0)
		for piece := range slices.Chunk(data, inbox.ChunkBytes) {
			r.ok(r.store.AddChunk(ctx, r.tenure(), blob, n, piece))
			n++
		}
		hash := sha256.Sum256(data)
		found := inbox.FoundFile{Hash: hash[:], Size: int64(len(data)), MediaType: filetype.Of(data, f.Kind)}
		found.Width, found.Height = filetype.Size(data)
		r.ok(r.store.FileFetched(ctx, r.tenure(), f, blob, found))
	}
}

func testPicture(width, height int) []byte {
	var b bytes.Buffer
	_ = png.Encode(&b, image.NewRGBA(image.Rect(0, 0, width, height)))
	return b.Bytes()
}

func TestFilesOfTheAPI(t *testing.T) {
	r := newRig(t)
	data := make([]byte, 2*inbox.ChunkBytes+100)
	for i := range data {
		data[i] = byte(i / 251)
	}
	a := r.sends(7, inbox.Attachment{Kind: "document", Name: "list.bin"}, data)
	if a.URL == nil {
		t.Fatalf("it is %+v", a)
	}
	get := func(header ...string) response { return r.api("GET", belowAPI(*a.URL), nil, header...) }
	whole := get()
	if whole.StatusCode != 200 || whole.body != string(data) {
		t.Fatalf("%d with %d bytes", whole.StatusCode, len(whole.body))
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Cache-Control": "private, max-age=31536000, immutable",
		"Vary": "Authorization, Cookie", "X-Content-Type-Options": "nosniff",
		"Content-Disposition": `attachment; filename="list.bin"; filename*=UTF-8''list.bin`,
		"Accept-Ranges":       "bytes",
	} {
		if got := whole.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if csp := whole.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "sandbox; default-src 'none'") {
		t.Errorf("the policy is %q", csp)
	}
	tag := whole.Header.Get("ETag")
	if tag == "" {
		t.Error("there is no ETag")
	}
	for _, c := range []struct {
		header []string
		status int
		body   string
	}{
		{[]string{"If-None-Match", tag}, 304, ""},
		{[]string{"Range", "bytes=0-9"}, 206, string(data[:10])},
		{[]string{"Range", fmt.Sprintf("bytes=%d-%d", inbox.ChunkBytes-3, inbox.ChunkBytes+3)}, 206,
			string(data[inbox.ChunkBytes-3 : inbox.ChunkBytes+4])},
		{[]string{"Range", "bytes=-5"}, 206, string(data[len(data)-5:])},
		{[]string{"Range", "bytes=0-9", "If-Range", `"another"`}, 200, string(data)},
	} {
		if got := get(c.header...); got.StatusCode != c.status || got.body != c.body {
			t.Errorf("%q: %d with %d bytes, want %d with %d", c.header, got.StatusCode, len(got.body), c.status, len(c.body))
		}
	}
	far := get("Range", "bytes=99999999-")
	if far.StatusCode != 416 || far.Header.Get("Content-Type") != "application/problem+json" ||
		far.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", len(data)) ||
		far.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a range that is not there: %d %v", far.StatusCode, far.Header)
	}
	if head := r.api("HEAD", belowAPI(*a.URL), nil); head.StatusCode != 200 || head.body != "" ||
		head.Header.Get("Content-Length") != fmt.Sprint(len(data)) {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	for path, status := range map[string]int{
		"/api/v1/files/999999": 404, "/api/v1/files/99999999999999999999999": 404, *a.URL + "/thumbnail": 404,
		*a.URL + "/x": 404,
	} {
		if got := r.api("GET", belowAPI(path), nil); got.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, got.StatusCode, status)
		}
	}
	if got := r.api("POST", belowAPI(*a.URL)+"/retry", nil); got.StatusCode != 409 {
		t.Errorf("asked for again while it is there: %d", got.StatusCode)
	}
}

func TestAFileThatIsNotHere(t *testing.T) {
	r := newRig(t)
	a := r.sends(7, inbox.Attachment{Kind: "document", Name: "late.bin"}, nil)
	path := fmt.Sprintf("/api/v1/files/%d", a.ID)
	if got := r.api("GET", belowAPI(path), nil); got.StatusCode != 409 || !strings.Contains(got.body, "being fetched") {
		t.Errorf("while it waits: %d %s", got.StatusCode, got.body)
	}
	outcome := func(state inbox.FileState) {
		files, _, err := r.store.NextFiles(t.Context(), r.tenure(), nil, 1)
		r.ok(err)
		r.ok(r.store.FileNotFetched(t.Context(), r.tenure(), files[0], inbox.FileOutcome{State: state, Error: "this is why"}))
	}
	for state, status := range map[inbox.FileState]int{inbox.FileTooBig: 409, inbox.FileFailed: 409, inbox.FileGone: 410} {
		outcome(state)
		if got := r.api("GET", belowAPI(path), nil); got.StatusCode != status || !strings.Contains(got.body, "this is why") {
			t.Errorf("%s: %d %s, want %d", state, got.StatusCode, got.body, status)
		}
		alice := r.signIn("alice")
		c := r.conversation(7).ID
		page := r.call(alice, "GET", fmt.Sprintf("/conversations/%d", c), nil)
		if !strings.Contains(page.body, "This is why") ||
			!strings.Contains(page.body, fmt.Sprintf(`action="/files/%d/retry"`, a.ID)) {
			t.Errorf("%s: the card does not say it: %s", state, page.body)
		}
		got := r.api("POST", belowAPI(path)+"/retry", nil)
		if got.StatusCode != 202 || !strings.Contains(got.body, `"state":"waiting"`) {
			t.Errorf("%s: again is %d %s", state, got.StatusCode, got.body)
		}
	}
}

// What is shown is what the content says, whatever it is called and whatever its sender says of it.
func TestOnlyAFewKindsAreShown(t *testing.T) {
	r := newRig(t)
	alice := r.signIn("alice")
	const html = "<!DOCTYPE html><script>alert(1)</script>"
	for _, c := range []struct {
		a                 inbox.Attachment
		data              string
		media, as, called string
	}{
		{inbox.Attachment{Kind: "photo", Name: "a.png", MediaType: "image/png"}, html, "application/octet-stream",
			"attachment", "a.png"},
		{inbox.Attachment{Kind: "document", Name: "x.svg", MediaType: "image/svg+xml"},
			"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "application/octet-stream",
			"attachment", "x.svg"},
		{inbox.Attachment{Kind: "document", Name: "evil.html", MediaType: "text/html"}, string(testPicture(3, 3)) + html,
			"image/png", "inline", "evil.html.png"},
		{inbox.Attachment{Kind: "document", Name: "../../\"a\"\r\nSet-Cookie: x=1;\u202egnp.exe", MediaType: "a\r\nb/c"},
			"MZ", "application/octet-stream", "attachment", "_.._'a' Set-Cookie_ x=1;gnp.exe"},
		{inbox.Attachment{Kind: "voice", MediaType: "text/html"}, "OggS\x00\x02", "audio/ogg", "inline", ""},
		{inbox.Attachment{Kind: "document", Name: "счёт.pdf", MediaType: "application/pdf"}, "%PDF-1.4",
			"application/octet-stream", "attachment", ""},
		{inbox.Attachment{Kind: "sticker"}, "\x1f\x8b\x08", "application/octet-stream", "attachment", ""},
	} {
		a := r.sends(7, c.a, []byte(c.data))
		got := r.call(alice, "GET", fmt.Sprintf("/files/%d/any%%20name.html", a.ID), nil)
		disposition := got.Header.Get("Content-Disposition")
		if got.StatusCode != 200 || got.Header.Get("Content-Type") != c.media || !strings.HasPrefix(disposition, c.as+";") ||
			got.Header.Get("X-Content-Type-Options") != "nosniff" || got.Header.Get("Set-Cookie") == "x=1" {
			t.Errorf("%q: %d %s, %s", c.a.Name, got.StatusCode, got.Header.Get("Content-Type"), disposition)
		}
		if called := strings.ReplaceAll(c.called, "'", "_"); !strings.Contains(disposition, `filename="`+called) {
			t.Errorf("%q is saved by %s, want %q", c.a.Name, disposition, called)
		}
	}
	a := r.sends(7, inbox.Attachment{Kind: "document", Name: "счёт.pdf"}, []byte("%PDF-1.4"))
	if got := r.api("GET", belowAPI(*a.URL), nil).Header.Get("Content-Disposition"); !strings.HasSuffix(got,
		"filename*=UTF-8''%D1%81%D1%87%D1%91%D1%82.pdf") {
		t.Errorf("a name beyond ASCII: %s", got)
	}
}

// belowAPI is a path of the API as api wants it.
func belowAPI(path string) string { return strings.TrimPrefix(path, "/api/v1") }

func TestFilesAreForThoseWhoMayRead(t *testing.T) {
	r := newRig(t)
	a := r.sends(7, inbox.Attachment{Kind: "photo"}, testPicture(3, 3))
	if got := r.call(browser(t), "GET", *a.URL, nil); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger gets %d for %s", got.StatusCode, *a.URL)
	}
	alice := r.signIn("alice")
	path := fmt.Sprintf("/files/%d/photo", a.ID)
	if got := r.call(browser(t), "GET", path, nil); got.StatusCode != http.StatusSeeOther {
		t.Errorf("a stranger gets %d for %s", got.StatusCode, path)
	}
	if got := r.call(alice, "GET", path, nil); got.StatusCode != 200 || got.body != string(testPicture(3, 3)) {
		t.Errorf("an operator gets %d", got.StatusCode)
	}
	out := r.call(alice, "POST", "/sign-out", nil)
	if out.Header.Get("Clear-Site-Data") != `"cache"` {
		t.Errorf("signing out leaves the browser's cache: %v", out.Header)
	}
	if got := r.call(alice, "GET", path, nil); got.StatusCode != http.StatusSeeOther {
		t.Errorf("after signing out: %d", got.StatusCode)
	}
}

// Files of messages that an older version stored are asked for when somebody opens the conversation.
func TestFilesOfOlderMessages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "older.db")
	r := newRigOn(t, openStore(t, "sqlite:"+path))
	a := r.sends(7, inbox.Attachment{Kind: "photo"}, testPicture(3, 3))
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	r.ok(err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), `DELETE FROM files`)
	r.ok(err)
	if stats, err := r.store.FileStats(t.Context()); err != nil || stats.Waiting != 0 {
		t.Fatalf("%+v (%v)", stats, err)
	}
	alice := r.signIn("alice")
	r.call(alice, "GET", fmt.Sprintf("/conversations/%d", r.conversation(7).ID), nil)
	eventually(t, "its files are asked for", func() bool {
		stats, err := r.store.FileStats(t.Context())
		return err == nil && stats.Waiting == 1
	})
	r.fetch(testPicture(3, 3))
	if got := r.api("GET", fmt.Sprintf("/files/%d", a.ID), nil); got.StatusCode != 200 {
		t.Errorf("then it is %d", got.StatusCode)
	}
}

func TestAFileThatGoesWhileItIsRead(t *testing.T) {
	r := newRig(t)
	a := r.sends(7, inbox.Attachment{Kind: "document"}, make([]byte, 40*inbox.ChunkBytes))
	f, err := r.store.File(t.Context(), a.ID, false)
	r.ok(err)
	r.ok(r.store.PruneFiles(t.Context(), time.Now().Add(time.Hour)))
	if _, err := r.store.FileChunk(t.Context(), f.Blob, 0); err == nil {
		t.Error("a chunk is there after its file went")
	}
	if got := r.api("GET", fmt.Sprintf("/files/%d", a.ID), nil); got.StatusCode != http.StatusGone {
		t.Errorf("then it is %d", got.StatusCode)
	}
}

// TestFilesInABrowser shows files of customers to an operator: pictures keep their room, the viewer goes through them,
// an album stands together, and nothing that a customer made runs, wherever it is opened.
func TestFilesInABrowser(t *testing.T) {
	tab := newTab(t)
	complaints := watch(t, tab)
	r := newRig(t)
	album := func(m *inbox.IncomingMessage) { m.AlbumID = "a1" }
	hostile := `"><img src=x onerror="window.ran=1"><script>window.ran=1</script>.html`
	script := "<!DOCTYPE html><script>window.ran=1;parent.ran=1</script>"
	r.sends(7, inbox.Attachment{Kind: "photo", Width: 1000, Height: 500}, testPicture(1000, 500))
	r.sends(7, inbox.Attachment{Kind: "photo", Width: 400, Height: 400}, testPicture(400, 400), album)
	r.sends(7, inbox.Attachment{Kind: "photo", Width: 300, Height: 600}, testPicture(300, 600), album)
	page := r.sends(7, inbox.Attachment{Kind: "document", Name: hostile, MediaType: hostile}, []byte(script))
	svg := r.sends(7, inbox.Attachment{Kind: "photo", Name: "a.svg", MediaType: "image/svg+xml"},
		[]byte("<svg xmlns='http://www.w3.org/2000/svg' onload='window.ran=1'><script>window.ran=1</script></svg>"))
	both := r.sends(7, inbox.Attachment{Kind: "document", Name: "poly.html"}, append(testPicture(9, 9), script...))
	r.sends(7, inbox.Attachment{Kind: "voice", Duration: 3}, []byte("OggS\x00\x02 no voice"))
	r.sends(7, inbox.Attachment{Kind: "photo", Width: 800, Height: 600}, nil)
	c := r.conversation(7)
	s := screen{t, tab}
	s.do(chromedp.Navigate(r.http.URL+"/sign-in/"+r.link("alice")), chromedp.Click(chromedp.CSS("button.primary")),
		chromedp.WaitReady(chromedp.CSS("#list .item")))
	s.do(chromedp.Navigate(fmt.Sprintf("%s/conversations/%d", r.http.URL, c.ID)))
	s.eventually("the stream is open", "#live", "Live")
	js := func(script string) bool { return run(t, tab, chromedp.Evaluate[bool](script)) }
	eventually(t, "all pictures are there", func() bool {
		return js(`[...document.querySelectorAll("#messages img")].every((i) => {
			i.loading = "eager"; return i.complete && i.naturalWidth > 0; })`)
	})
	if n := s.count("#messages img"); n != 4 {
		t.Errorf("%d pictures are shown, want 4", n)
	}
	if !js(`(() => { const i = document.querySelector("#messages img"); const b = i.getBoundingClientRect();
		return i.width === 320 && Math.abs(b.height - b.width / 2) < 1; })()`) {
		t.Error("a picture does not have the room that was reserved")
	}
	if !js(`(() => { const [a, b] = [...document.querySelectorAll(".group .picture")]
			.map((e) => e.getBoundingClientRect());
		return Math.abs(a.top - b.top) < 8 && b.left > a.left; })()`) {
		t.Error("an album does not stand together")
	}
	if n := s.count("#messages audio[controls]"); n != 1 {
		t.Errorf("%d players, want 1", n)
	}
	s.eventually("a picture that comes says so", "#messages > li:last-child", "is being fetched")
	height := func() float64 {
		const last = `document.querySelector("#messages > li:last-child .picture")`
		return run(t, tab, chromedp.Evaluate[float64](last+`.getBoundingClientRect().height`))
	}
	before := height()
	r.fetch(testPicture(800, 600))
	eventually(t, "it comes without a reload", func() bool { return s.count("#messages > li:last-child img") == 1 })
	if after := height(); before != after {
		t.Errorf("it had room for %v and takes %v", before, after)
	}
	screenshots(t, tab, "files")

	s.click("#messages li:nth-child(1) a[data-view]")
	s.eventually("the viewer opens", ".viewer", "1 of 5")
	s.do(chromedp.KeyEvent(kb.ArrowRight))
	s.eventually("it goes on", ".viewer", "2 of 5")
	s.do(chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft))
	s.eventually("and back, and not beyond", ".viewer", "1 of 5")
	screenshots(t, tab, "viewer")
	s.do(chromedp.KeyEvent(kb.Escape))
	eventually(t, "it closes", func() bool { return js(`!document.querySelector(".viewer").open`) })
	if !js(`document.activeElement?.matches("#messages li:nth-child(1) a[data-view]")`) {
		t.Error("after the viewer the focus is somewhere else")
	}
	if js(`"ran" in window`) {
		t.Error("something that a customer made ran on the page")
	}
	// Opened alone, and in a frame: a download, or a picture in a sandbox.
	for _, a := range []inbox.Attachment{page, svg, both} {
		path := fmt.Sprintf("/files/%d/x.html", a.ID)
		s.do(chromedp.Navigate("about:blank"))                   // a download leaves the page as it was
		_ = chromedp.Do(tab, chromedp.Navigate(r.http.URL+path)) // a download ends it with an error
		if js(`"ran" in window || document.scripts.length > 0`) {
			t.Errorf("%s runs when it is opened", path)
		}
	}
	if found := complaints(); len(found) > 0 {
		t.Errorf("the browser complains: %v", found)
	}
}

// screenshots are for people to look at, where somebody asks for them.
func screenshots(t *testing.T, tab context.Context, name string) {
	t.Helper()
	dir := os.Getenv("TANDEM_SCREENSHOTS")
	if dir == "" {
		return
	}
	for _, width := range []int64{390, 1440} {
		for _, scheme := range []string{"light", "dark"} {
			do(t, tab, chromedp.EmulateViewport(width, 900))
			colours(t, tab, scheme)
			shot, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme))
			if err := os.WriteFile(path, shot, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	do(t, tab, chromedp.EmulateViewport(1440, 900))
	colours(t, tab, "light")
}

func colours(t *testing.T, tab context.Context, scheme string) {
	t.Helper()
	must(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}
