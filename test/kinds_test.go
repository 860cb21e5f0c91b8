package test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"tandem/internal/simulator"
)

// kinds are messages of every kind, as the fields of a Message beside those that all have.
var kinds = []struct{ name, fields string }{
	{"text", `"text":"hello <script>alert(1)</script> & \"you\""`},
	{"formatted", `"text":"do NOT ship it","entities":[{"type":"strikethrough","offset":3,"length":3}]`},
	{"all formats", `"text":"bold italic under spoiler code\nquoted\nx := 1\nMasha","entities":[` +
		`{"type":"bold","offset":0,"length":4},{"type":"italic","offset":5,"length":6},{"type":"underline","offset":` +
		`12,"length":5},` +
		`{"type":"spoiler","offset":18,"length":7},{"type":"code","offset":26,"length":4},` +
		`{"type":"blockquote","offset":31,"length":6},{"type":"pre","offset":38,"length":6,"language":"go"},` +
		`{"type":"text_mention","offset":45,"length":5,"user":{"id":9,"is_bot":false,"first_name":"Mary <b>",` +
		`"username":"mk"}}]`},
	{"links", `"text":"see https://e.example/a or here or me@e.example","entities":[{"type":"url","offset":4,` +
		`"length":19},` +
		`{"type":"text_link","offset":27,"length":4,"url":"https://other.example/x?a=1&b=2"},` +
		`{"type":"email","offset":35,"length":12}]`},
	{"a plain address", `"text":"see https://e.example/a"`},
	{"bad links", `"text":"here there","entities":[{"type":"text_link","offset":0,"length":4,"url":"javascript:` +
		`alert(1)"},` +
		`{"type":"text_link","offset":5,"length":5,"url":"data:text/html,<script>alert(1)</script>"}]`},
	{"rich message", `"rich_message":{"blocks":[{"type":"heading","text":"Order 4417","size":1},{"type":"paragraph",` +
		`"text":["To ",{"type":"bold","text":"Elm Street 5"},", please"]},{"type":"list","items":[{"label":"1.","blocks":` +
		`[{"type":"paragraph","text":"two lamps"}]}]},{"type":"photo","photo":[{"file_id":"p","file_unique_id":"q",` +
		`"width":9,` +
		`"height":9}],"caption":{"text":"like this"}},{"type":"table","cells":[[{"text":"lamp"},{"text":"5 EUR"}]]},` +
		`{"type":"blockquote","blocks":[{"type":"paragraph","text":"soon"}]},{"type":"hologram","words":"new ` +
		`<i>words</i>"}]}`},
	{"photo", `"photo":[{"file_id":"f","file_unique_id":"u","file_size":183000,"width":9,"height":9}],"caption":"look"`},
	{"document whose caption is its name", `"document":{"file_id":"f","file_unique_id":"u","file_name":"a<b>.pdf",` +
		`"mime_type":"application/pdf","file_size":48211},"caption":"a<b>.pdf"`},
	{"voice", `"voice":{"file_id":"f","file_unique_id":"u","duration":12,"mime_type":"audio/ogg"}`},
	{"video", `"video":{"file_id":"f","file_unique_id":"u","duration":61,"width":1,"height":1}`},
	{"video note", `"video_note":{"file_id":"f","file_unique_id":"u","duration":5,"length":240}`},
	{"audio", `"audio":{"file_id":"f","file_unique_id":"u","duration":185,"performer":"P","title":"T","file_name":` +
		`"t.mp3"}`},
	{"sticker", `"sticker":{"file_id":"f","file_unique_id":"u","emoji":"😀","type":"regular"}`},
	{"animation", `"animation":{"file_id":"f","file_unique_id":"u","file_name":"a.mp4"},"document":{"file_id":"f"}`},
	{"location", `"location":{"latitude":52.52,"longitude":13.405}`},
	{"venue", `"venue":{"location":{"latitude":1,"longitude":2},"title":"Cafe <b>","address":"Street 1"},` +
		`"location":{"latitude":1,"longitude":2}`},
	{"contact", `"contact":{"phone_number":"+491","first_name":"Max <b>"}`},
	{"poll", `"poll":{"id":"1","question":"Tea?","options":[{"text":"yes <b>","voter_count":2},{"text":"no",` +
		`"voter_count":0}]}`},
	{"dice", `"dice":{"emoji":"🎲","value":4}`},
	{"checklist", `"checklist":{"title":"Buy","tasks":[{"id":1,"text":"milk","completed_by_user":{"id":7},` +
		`"completion_date":1796000000},{"id":2,"text":"bread <b>"}]}`},
	{"story", `"story":{"id":3,"chat":{"id":9,"type":"private","first_name":"Bea"}}`},
	{"paid media", `"paid_media":{"star_count":5,"paid_media":[{"type":"photo","photo":[{"file_id":"f","width":1}]}]}`},
	{"giveaway", `"giveaway":{"chats":[{"id":-1,"title":"Club"}],"winner_count":3,"prize_description":"a lamp"}`},
	{"gift", `"gift":{"gift":{"id":"1","sticker":{"emoji":"🎁"},"star_count":15},"text":"for <b>you"}`},
	{"invoice", `"invoice":{"title":"Order","description":"two lamps","currency":"EUR","total_amount":100}`},
	{"payment", `"successful_payment":{"currency":"EUR","total_amount":100}`},
	{"forwarded", `"text":"mine","forward_origin":{"type":"channel","chat":{"id":-1,"type":"channel","title":"News ` +
		`<b>"}}`},
	{"via a bot", `"text":"made","via_bot":{"id":9,"is_bot":true,"first_name":"G","username":"gif_bot"}`},
	{"quote", `"text":"this one please","reply_to_message":{"message_id":1,"date":1,"chat":{"id":101,"type":"private"},` +
		`"text":"red, green or blue?"},"quote":{"text":"green <b>","position":5,"is_manual":true}`},
	{"reply", `"text":"yes","reply_to_message":{"message_id":99,"from":{"id":1,"is_bot":true,"first_name":"Shop"},` +
		`"text":"the blue one?"}`},
	{"reply elsewhere", `"text":"that","external_reply":{"origin":{"type":"channel","chat":{"id":-1,"title":"News"}},` +
		`"photo":[{"file_id":"f"}]}`},
	{"reply to a story", `"text":"nice","reply_to_story":{"chat":{"id":9,"type":"private","first_name":"Bea"},"id":3}`},
	{"topic", `"text":"invoice?","message_thread_id":11,"is_topic_message":true,` +
		`"reply_to_message":{"message_id":11,"forum_topic_created":{"name":"Invoices <b>"}}`},
	{"wallpaper", `"chat_background_set":{"type":{"type":"fill"}}`},
	{"timer", `"message_auto_delete_timer_changed":{"message_auto_delete_time":86400}`},
	{"pin", `"pinned_message":{"message_id":1,"chat":{"id":7},"text":"the <b>menu"}`},
	{"new topic", `"forum_topic_created":{"name":"Invoices <b>","icon_color":1},"message_thread_id":11`},
	{"tasks that were done", `"checklist_tasks_done":{"marked_as_done_task_ids":[2],"checklist_message":{"checklist":` +
		`{"title":"Buy","tasks":[{"id":1,"text":"milk"},{"id":2,"text":"bread"}]}}}`},
	{"a kind that nobody has met", `"hologram_cube":{"title":"A <b>cube","sides":[{"words":"front"},{"words":"back"}],` +
		`"model":{"file_id":"f","file_unique_id":"u","file_name":"cube.glb","mime_type":"model/gltf-binary"}}`},
	{"nothing at all", `"effect_id":"1"`},
}

// TestEveryKindOnPageAndAPI compares what page and API give of each kind with a file. TANDEM_GOLDEN=write writes it.
func TestEveryKindOnPageAndAPI(t *testing.T) {
	const golden = "testdata/kinds.txt"
	r := newRig(t, "sqlite").start().waitWeb().waitPolling()
	r.tg.AddFault(simulator.Fault{Kind: simulator.Hang, Method: "getFile"}) // none comes, nor is known as gone
	for i, k := range kinds {
		r.push(fmt.Sprintf(`{"message":{"message_id":%d,"date":1796000000,"from":{"id":%d,"is_bot":false,"first_name":`+
			`"Ann"},`+
			`"chat":{"id":%d,"type":"private","first_name":"Ann"},%s}}`, 1000+i, 100+i, 100+i, k.fields))
	}
	kinds := append(kinds, struct{ name, fields string }{"button", ""})
	last := int64(100 + len(kinds) - 1)
	r.push(fmt.Sprintf(`{"callback_query":{"id":"4382bf","from":{"id":%[1]d,"is_bot":false,"first_name":"Pia"},"message":`+
		`{"message_id":5001,"date":1796000000,"chat":{"id":%[1]d,"type":"private","first_name":"Pia"}},"chat_instance":"-1",`+
		`"data":"rate:<b>5"}}`, last))
	alice := r.signedIn()
	r.conversation(last)
	var out strings.Builder
	for i, k := range kinds {
		c := r.conversation(int64(100 + i))
		var list struct{ Items []map[string]any }
		code, body := r.api("GET", fmt.Sprintf("/conversations/%d/messages", c.ID), nil, &list)
		if code != 200 || len(list.Items) != 1 {
			t.Fatalf("%s: %d %s", k.name, code, body)
		}
		m := list.Items[0]
		for _, name := range []string{"id", "conversation_id", "created_at", "telegram_date", "author", "direction"} {
			delete(m, name)
		}
		for _, a := range m["attachments"].([]any) {
			for _, name := range []string{"id", "state", "error", "url", "thumbnail_url"} { // how far its bytes are
				delete(a.(map[string]any), name)
			}
		}
		encoded, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		response, err := alice.Get(fmt.Sprintf("http://%s/conversations/%d", r.addr, c.ID))
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "## %s\n%s\n%s\n\n", k.name, encoded, bareMessage(t, string(page)))
	}
	if os.Getenv("TANDEM_GOLDEN") == "write" {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	have, wanted := strings.Split(out.String(), "\n## "), strings.Split(string(want), "\n## ")
	for i := range max(len(have), len(wanted)) {
		if i >= len(have) || i >= len(wanted) || have[i] != wanted[i] {
			t.Errorf("have\n%s\nwant\n%s", at(have, i), at(wanted, i))
		}
	}
	r.stop()
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(nothing)"
}

// push hands the simulator an update, and waits until the bot has taken it.
func (r *rig) push(update string) {
	r.t.Helper()
	if _, err := r.tg.Push(0, []byte(update)); err != nil {
		r.t.Fatal(err)
	}
}

var (
	drawings = regexp.MustCompile(`(?s)<svg.*?</svg>`)
	moments  = regexp.MustCompile(`(?s)<div class="meta">.*?</div>|<span class="meta">.*?</span>`)
	numbers  = regexp.MustCompile(`(id|data-id|value|href|data-message)="(m?\d+|/conversations/[^"]*)"`)
	gaps     = regexp.MustCompile(`>\s*\n\s*<`)
	fetching = regexp.MustCompile(`(?s)<div class="why \w+">.*?</div>|` + // how far the bytes of a file are
		`<span class="(over|detail)">(is being fetched|waits|too big|not available any more|could not be fetched)</span>`)
)

// bareMessage is the one message of a page, without what differs from run to run.
func bareMessage(t *testing.T, page string) string {
	t.Helper()
	_, list, ok := strings.Cut(page, `<ol id="messages"`)
	list, _, ok2 := strings.Cut(list, "</ol>")
	_, list, ok3 := strings.Cut(list, ">")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("no messages on the page:\n%s", page)
	}
	list = fetching.ReplaceAllString(list, "")
	list = moments.ReplaceAllString(drawings.ReplaceAllString(list, ""), "")
	return gaps.ReplaceAllString(numbers.ReplaceAllString(list, `$1="…"`), "><")
}
