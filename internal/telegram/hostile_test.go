package telegram

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"tandem/internal/backoff"
	"tandem/internal/inbox"
	"tandem/internal/simulator"
)

// many is n pieces with commas between them.
func many(n int, piece func(i int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(piece(i))
	}
	return b.String()
}

// hostile are updates whose size is about proportional to n. No Telegram sends such.
var hostile = map[string]func(n int) string{
	"links one after the other": func(n int) string {
		return private(`"text":"` + strings.Repeat("x", 2*n) + `","entities":[` +
			many(n, func(i int) string { return link(2*i, 1) }) + `]`)
	},
	"links in disorder": func(n int) string {
		return private(`"caption":"` + strings.Repeat("x", 2*n) + `","caption_entities":[` +
			many(n, func(i int) string { return link((i*7919)%(2*n), 1) }) + `]`)
	},
	"links over the whole text": func(n int) string {
		return private(`"text":"` + strings.Repeat("😀", n) + `","entities":[` +
			many(n, func(i int) string { return link(0, 2*n) }) + `]`)
	},
	"links at one place": func(n int) string {
		return private(`"text":"` + strings.Repeat("x", n) + `","entities":[` +
			many(n, func(i int) string { return link(n/2, 1) }) + `]`)
	},
	"links far outside": func(n int) string {
		return private(`"text":"x","entities":[` +
			many(n, func(i int) string { return link(9223372036854775800-i, 9223372036854775800) }) + `]`)
	},
	"a rich message, deep": func(n int) string {
		n = min(n, 3_000)
		return private(`"rich_message":{"blocks":` + strings.Repeat(`[{"type":"blockquote","blocks":`, n) + `[]` +
			strings.Repeat(`}]`, n) + `}`)
	},
	"a rich message, wide": func(n int) string {
		return private(`"rich_message":{"blocks":[` + many(n, func(i int) string {
			return `{"type":"paragraph","text":[{"type":"bold","text":"a"},{"type":"url","url":"https://a.org","text":"b"}]}`
		}) + `]}`)
	},
	"a rich message of new blocks": func(n int) string {
		return private(`"rich_message":{"blocks":[` + many(n, func(i int) string {
			return `{"type":"new","a":{"words":"b"},"photo":[{"file_id":"f","width":1}]}`
		}) + `]}`)
	},
	"a kind that nobody knows": func(n int) string {
		return private(`"cube":[` + many(n, func(i int) string { return `{"a":"b","c":["d"]}` }) + `]`)
	},
	"pins of pins": func(n int) string {
		n = min(n, 4_000)
		return private(`"pinned_message":` + strings.Repeat(`{"message_id":1,"pinned_message":`, n) + `{}` +
			strings.Repeat(`}`, n))
	},
	"tasks": func(n int) string {
		return private(`"checklist":{"title":"t","tasks":[` + many(n, func(i int) string { return `{"id":1,"text":"a"}` }) +
			`]}`)
	},
	"tasks that were ticked": func(n int) string {
		return private(`"checklist_tasks_done":{"marked_as_done_task_ids":[` +
			many(n, func(i int) string { return strconv.Itoa(i) }) + `],"checklist_message":{"checklist":{"tasks":[` +
			many(n, func(i int) string { return `{"id":-1,"text":"a"}` }) + `]}}}`)
	},
	"a long quote": func(n int) string {
		return private(`"text":"x","quote":{"text":"` + strings.Repeat("é ", 10*n) + `"},"reply_to_message":{"text":"` +
			strings.Repeat("é ", 10*n) + `"}`)
	},
	"line ends of two characters": func(n int) string {
		return private(`"text":"` + strings.Repeat(`\r\n`, 2*n) + `x","entities":[` +
			many(n, func(i int) string { return link(2*i, 2) }) + `]`)
	},
	"a long address": func(n int) string {
		return private(`"text":"` + strings.Repeat("x", 10*n) + `","entities":[{"type":"text_link","offset":0,"length":` +
			strconv.Itoa(10*n) + `,"url":"` + strings.Repeat("x", 10*n) + `"}]`)
	},
	"long names": func(n int) string {
		long := strings.Repeat("é ", 10*n)
		return `{"update_id":1,"message":{"message_id":5,"date":1,"text":"x","chat":{"id":7,"type":"private"},` +
			`"from":{"id":7,"first_name":"` + long +
			`","last_name":"` + long + `","username":"` + long + `","language_code":"` + long + `"}}}`
	},
	"photo sizes": func(n int) string {
		return private(`"photo":[` + many(n, func(i int) string {
			return `{"file_id":"f","file_unique_id":"u","file_size":` + strconv.Itoa(i) + `}`
		}) + `]`)
	},
	"options of a poll": func(n int) string {
		return private(`"poll":{"question":"q","options":[` + many(n, func(i int) string { return `{"text":"an option"}` }) +
			`]}`)
	},
	"fields without end": func(n int) string {
		return private(many(n, func(i int) string { return fmt.Sprintf(`"field_%d":{}`, i) }))
	},
	"one key again and again": func(n int) string {
		return private(many(n, func(i int) string { return `"text":"again"` }))
	},
	"replies to replies": func(n int) string {
		n = min(n, 9_900/2)
		return private(`"text":"x","reply_to_message":` + strings.Repeat(`{"message_id":1,"reply_to_message":`, n) + `{}` +
			strings.Repeat(`}`, n))
	},
	"a chat that pins a chat": func(n int) string {
		n = min(n, 9_900/3)
		return private(`"text":"x","forward_origin":{"type":"channel","chat":` +
			strings.Repeat(`{"pinned_message":{"photo":[],"chat":`, n) + `{}` + strings.Repeat(`}}`, n) + `}`)
	},
	"nested past all reading": func(n int) string {
		return private(`"text":"x","story":` + strings.Repeat(`[`, 10*n) + strings.Repeat(`]`, 10*n))
	},
	"a long command": func(n int) string { return private(`"text":"/start ` + strings.Repeat("x ", 10*n) + `"`) },
	"a long file's name": func(n int) string {
		return private(`"document":{"file_id":"f","file_name":"` + strings.Repeat("a b", 10*n) + `"}`)
	},
	"a long membership": func(n int) string {
		return `{"update_id":1,"my_chat_member":{"chat":{"id":7,"type":"private"},"new_chat_member":{"status":"` +
			strings.Repeat("x", 10*n) + `"}}}`
	},
}

func link(offset, length int) string {
	return fmt.Sprintf(`{"type":"text_link","offset":%d,"length":%d,"url":"https://a.org"}`, offset, length)
}

// TestAHostileUpdateCostsWhatItWeighs : ten times the size may take about ten times the work, never a hundred times.
func TestAHostileUpdateCostsWhatItWeighs(t *testing.T) {
	d, err := newDecoder("b")
	if err != nil {
		t.Fatal(err)
	}
	cost := func(update json.RawMessage) time.Duration {
		best := time.Hour
		for range 5 {
			began := processorTime(t)
			if u, ok := d.update(update); !ok || string(u.Raw) != string(update) {
				t.Fatalf("not an update, or not as it came: %.80s", update)
			}
			best = min(best, processorTime(t)-began)
		}
		return best
	}
	runtime.LockOSThread() // whose time is measured: that of the clock goes to others on a busy machine
	defer runtime.UnlockOSThread()
	for name, update := range hostile {
		few, lots := json.RawMessage(update(2_000)), json.RawMessage(update(20_000))
		small := cost(few)
		size := float64(len(lots)) / float64(len(few))
		// The second term is what the garbage collector and the kernel may do meanwhile.
		if large := cost(lots); large > time.Duration(4*size*float64(small))+20*time.Millisecond {
			t.Errorf("%s: %d bytes took %v, %d bytes %v", name, len(few), small, len(lots), large)
		}
	}
}

// processorTime is what this thread has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Nano())
}

// TestWhatIsShownOfAHostileUpdateIsBounded : what is past Telegram's own limits is kept raw alone.
func TestWhatIsShownOfAHostileUpdateIsBounded(t *testing.T) {
	for name, update := range hostile {
		u := decode(t, update(10_000))
		var c inbox.Customer
		for _, m := range []*inbox.IncomingMessage{u.Message, u.Edit} {
			if m == nil {
				continue
			}
			c = m.Customer
			if n := len(m.Text); n > 6*maxText || !utf8.ValidString(m.Text) {
				t.Errorf("%s: a text of %d bytes", name, n)
			}
			checkContent(t, m)
			if n := len(m.Details); n > 6*4_096 {
				t.Errorf("%s: details of %d bytes", name, n)
			}
			for _, a := range m.Attachments {
				if n := len(a.Name) + len(a.MediaType) + len(a.FileID) + len(a.FileUniqueID); n > 16_000 {
					t.Errorf("%s: an attachment of %d bytes", name, n)
				}
			}
		}
		if n := len(c.Name) + len(c.Username) + len(c.Language); n > 16*maxName {
			t.Errorf("%s: a customer of %d bytes", name, n)
		}
		if n := len(u.Problem); n > 4*maxWords {
			t.Errorf("%s: a problem of %d bytes", name, n)
		}
	}
	for nested, want := range map[int]string{500: "x", 9_000: "x", 20_000: "x", 1_000_000: "x"} {
		u := decode(t, private(`"text":"x","story":`+strings.Repeat(`[`, nested)+strings.Repeat(`]`, nested)))
		if u.Message == nil || u.Message.Text != want {
			t.Errorf("nested %d deep: %+v", nested, u.Message)
		}
	}
}

// TestAnUpdateNestedTooDeepCostsTheOthersNothing : encoding/json refuses the whole answer for it.
func TestAnUpdateNestedTooDeepCostsTheOthersNothing(t *testing.T) {
	deep := strings.Repeat(`[`, 50_000) + strings.Repeat(`]`, 50_000)
	body := `{"ok":true,"result":[{"update_id":1,"message":{"a":1}}, {"update_id":2,"x":` + deep +
		`} ,{"update_id":3,"message":{"b":"\\\"]"}}]}`
	resp := judge(200, nil, []byte(body))
	if resp.class != taken {
		t.Fatal(resp)
	}
	d, err := newDecoder("b")
	if err != nil {
		t.Fatal(err)
	}
	updates, next, err := d.batch(resp.result)
	if err != nil || len(updates) != 3 || next != 4 || !strings.Contains(string(updates[1].Raw), deep) ||
		updates[1].Kind != "x" {
		t.Errorf("%d updates, next %d, %v", len(updates), next, err)
	}
	for _, damaged := range []string{body[:len(body)-2], body + "x", `{"ok":true,"result":` + deep[1:] + `}`,
		`{"ok"` + deep + `}`, deep, ``, `{`, `{}`, `{"a":1,}`} {
		if resp := judge(200, nil, []byte(damaged)); resp.class != broken {
			t.Errorf("%.40s...: %v", damaged, resp.class)
		}
	}
}

func FuzzShallow(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\"]}"}],"c":{}}`))
	f.Add([]byte(` [1 , [2,3],"x,y:",{}] `))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// Deep enough to be read in this way, it must give what encoding/json gives of the rest.
		deep := strings.Repeat(`[`, tooDeep) + strings.Repeat(`]`, tooDeep)
		var want []json.RawMessage
		if json.Unmarshal([]byte(`[0,`+string(raw)+`]`), &want) != nil || len(want) < 2 {
			return
		}
		got, ok := list(json.RawMessage(`[` + deep + `,` + string(raw) + `]`))
		if !ok || len(got) != len(want) {
			t.Fatalf("%q: %d of %d", raw, len(got), len(want))
		}
		for i := range want[1:] {
			if string(got[i+1]) != string(want[i+1]) {
				t.Errorf("%q, want %q", got[i+1], want[i+1])
			}
		}
	})
}

// TestAHostileServer : whatever a server sends, the bot is done with it in a bounded time and within bounded memory,
// and says so in a line.
func TestAHostileServer(t *testing.T) {
	huge := strings.Repeat("x", 2<<20)
	var echo strings.Builder
	echo.WriteString(`{"ok":true,"result":{"message_id":5,"text":"` + huge[:900_000] + `"}}`)
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  class
	}{
		"a long description": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"ok":false,"error_code":400,"description":"%s"}`, huge[:900_000])
		}, refused},
		"a long echo": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, echo.String()) }, taken},
		"megabytes of an echo": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"ok":true,"result":"`+huge+`"}`)
		}, broken},
		"an echo that nests": {func(w http.ResponseWriter, r *http.Request) {
			deep := strings.Repeat(`{"photo":[],"reply_to_message":`, 9_000) + `{}` + strings.Repeat(`}`, 9_002)
			fmt.Fprint(w, `{"ok":true,"result":{"message_id":5,"chat":{"pinned_message":`+deep+`}`)
		}, taken},
		"megabytes of headers": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", huge)
			fmt.Fprint(w, `{"ok":true,"result":{}}`)
		}, broken},
		"a long redirect": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/"+huge[:50_000])
			w.WriteHeader(302)
		}, broken},
		"a long kind of content": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/"+huge[:50_000])
		}, broken},
		"a code out of range": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"ok":false,"error_code":1e300,"description":"x"}`)
		}, broken},
		"a gzip bomb": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				t.Error("the bot asks for a compressed answer")
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 64 {
				z.Write([]byte(huge))
			}
			z.Close()
		}, broken},
		"a trickle without end": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				backoff.Sleep(r.Context(), 10*time.Millisecond)
			}
		}, broken},
		"headers without end": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.WriteHeader(103)
				backoff.Sleep(r.Context(), 10*time.Millisecond)
			}
		}, broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.serve)
			defer server.Close()
			client := unfenced(newEndpoint(server.URL, mustToken(t), nil))
			defer client.close()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			if !strings.Contains(name, "without end") {
				ctx, cancel = context.WithTimeout(t.Context(), patience)
			}
			defer cancel()
			resp := client.send(ctx, inbox.Delivery{ChatID: 7, Text: "x"}, true, true)
			if resp.class != c.want || len(resp.Error()) > 400 {
				t.Errorf("%v: %.500s", resp.class, resp.Error())
			}
			if o := outcomeOf(inbox.Delivery{}, resp); len(o.Error) > 600 {
				t.Errorf("an operator reads %d bytes", len(o.Error))
			}
		})
	}
}

// TestABatchThatIsTooLongIsAskedForInPieces : what a server gives in one answer may be more than is taken at once.
func TestABatchThatIsTooLongIsAskedForInPieces(t *testing.T) {
	const batch = 64 << 10
	big := strings.Repeat("x", batch/4)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked getUpdates
		switch {
		case strings.HasSuffix(r.URL.Path, "/getMe"):
			fmt.Fprint(w, `{"ok":true,"result":{"id":1,"is_bot":true,"first_name":"b","username":"b"}}`)
		case json.NewDecoder(r.Body).Decode(&asked) != nil:
			t.Error("a request that is not JSON")
		default:
			first := max(asked.Offset, 1)
			fmt.Fprint(w, `{"ok":true,"result":[`+many(max(0, int(min(int64(asked.Limit), 7-first))), func(i int) string {
				id := first + int64(i)
				return fmt.Sprintf(`{"update_id":%d,"message":{"message_id":%d,"date":1,"text":"%d",`+
					`"chat":{"id":7,"type":"private"},"story":"%s"}}`, id, id, id, big)
			})+`]}`)
		}
	}))
	defer server.Close()
	r := start(t, nil, openStore(t, ""),
		rigOptions{apiURL: server.URL, timing: slower(func(q *timing) { q.maxBatchBytes = batch })})
	r.eventually("all of them", func() bool { return len(r.messages(7)) == 6 })
	for i, m := range r.messages(7) {
		if m.Text != strconv.Itoa(i+1) {
			t.Errorf("message %d: %q", i, m.Text)
		}
	}
	r.stopped() // before its server
}

// TestPollsGoOnAfterAHostileUpdate : it is stored, and so is what comes after it.
func TestPollsGoOnAfterAHostileUpdate(t *testing.T) {
	r := newRig(t, rigOptions{})
	for name, update := range hostile {
		answer := simulator.Fault{Kind: simulator.Raw, Method: "getUpdates", Status: 200,
			Body: `{"ok":true,"result":[` + update(10_000) + `]}`, Times: 1, Interrupt: true}
		polls := r.tg.Polls(0).Requests
		r.tg.AddFault(answer)
		r.eventually(name+" to be over", func() bool { return r.tg.Polls(0).Requests > polls })
		r.tg.Customer(8, name)
		r.eventually("what came after "+name, func() bool {
			m := r.messages(8)
			return m[len(m)-1].Text == name
		})
	}
}

func BenchmarkHostileLinks(b *testing.B) {
	d, err := newDecoder("b")
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{6_000, 60_000} {
		update := json.RawMessage(hostile["links one after the other"](n))
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.SetBytes(int64(len(update)))
			for b.Loop() {
				d.update(update)
			}
		})
	}
}
