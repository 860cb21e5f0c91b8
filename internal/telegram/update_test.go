package telegram

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/inbox"
)

func decode(t testing.TB, update string) inbox.Update {
	t.Helper()
	d, err := newDecoder("the_bot")
	if err != nil {
		t.Fatal(err)
	}
	u, ok := d.update(json.RawMessage(update))
	if !ok {
		t.Fatalf("no update: %s", update)
	}
	return u
}

// private wraps the fields of a message into an update from the customer 7.
func private(fields string) string {
	return `{"update_id":1,"message":{"message_id":5,"date":1700000000,"chat":{"id":7,"type":"private","first_name":"Eve"},
		"from":{"id":7,"first_name":"Eve","last_name":"Smith","username":"eve","language_code":"en"},` + fields + `}}`
}

func TestKindsOfMessages(t *testing.T) {
	file := `"file_id":"F","file_unique_id":"U","file_size":1234`
	// The kind, the customer's words, ours, what else he put into it, the attachment, whom it is forwarded from.
	type said [6]string
	for _, c := range []struct {
		fields string
		want   said
	}{
		{`"text":"hello"`, said{"text", "hello", "", "", "", ""}},
		{`"text":"a\u0000b"`, said{"text", "a\uFFFDb", "", "", "", ""}},
		{`"text":"lone \ud800 surrogate"`, said{"text", "lone \uFFFD surrogate", "", "", "", ""}},
		{`"text":"\u202eevil\u202c <b>&"`, said{"text", "\u202eevil\u202c <b>&", "", "", "", ""}},
		{`"text":"\u200b"`, said{"text", "", "a text that shows nothing", "", "", ""}},
		{`"text":"\u0007bell"`, said{"text", "\abell", "", "", "", ""}},
		{`"text":"see 😀 here","entities":[{"type":"text_link","offset":7,"length":4,"url":"https://example.org/x"},` +
			`{"type":"bold","offset":0,"length":3}]`,
			said{"text", "see 😀 here", "", "", "", ""}},
		{`"text":"https://a.org","entities":[{"type":"text_link","offset":0,"length":13,"url":"https://a.org/"}]`,
			said{"text", "https://a.org", "", "", "", ""}},
		{`"text":"x","entities":[{"type":"text_link","offset":5,"length":9,"url":"https://a.org/"},` +
			`{"type":"text_link","offset":-1,"length":1,"url":"y"}]`,
			said{"text", "x", "", "", "", ""}},
		{`"text":"ok","entities":"odd"`, said{"text", "ok", "", "", "", ""}},
		{`"photo":[{"file_id":"S","file_unique_id":"s","width":1,"height":1},{` + file + `,"width":9,"height":9}]`,
			said{"photo", "", "photo", "", "photo||image/jpeg|1234|F", ""}},
		{`"photo":[],"caption":"empty list"`, said{"photo", "empty list", "photo", "", "", ""}},
		{`"photo":[{` + file + `}],"caption":"look","media_group_id":"g1"`,
			said{"photo", "look", "photo", "", "photo||image/jpeg|1234|F", ""}},
		{`"animation":{` + file + `,"mime_type":"video/mp4"},"document":{` + file + `}`,
			said{"animation", "", "animation", "", "animation||video/mp4|1234|F", ""}},
		{`"audio":{` + file + `,"duration":185,"performer":"P","title":"T"}`,
			said{"audio", "", "audio", "P - T, 3:05", "audio|||1234|F", ""}},
		{`"document":{` + file + `,"file_name":"a\nb.pdf","mime_type":"application/pdf"}`,
			said{"document", "", "document", "", "document|a b.pdf|application/pdf|1234|F", ""}},
		{`"document":"no object"`, said{"document", "", "document", "", "", ""}},
		{`"sticker":{` + file + `,"emoji":"😀","type":"regular","is_animated":true}`,
			said{"sticker", "", "sticker", "😀", "sticker||application/x-tgsticker|1234|F", ""}},
		{`"sticker":{` + file + `}`, said{"sticker", "", "sticker", "", "sticker||image/webp|1234|F", ""}},
		{`"video":{` + file + `,"duration":61,"width":1,"height":1}`,
			said{"video", "", "video", "1:01", "video|||1234|F", ""}},
		{`"video_note":{` + file + `,"duration":5,"length":240}`,
			said{"video_note", "", "video message", "0:05", "video_note||video/mp4|1234|F", ""}},
		{`"voice":{` + file + `,"duration":12}`, said{"voice", "", "voice message", "0:12", "voice||audio/ogg|1234|F", ""}},
		{`"contact":{"phone_number":"+491","first_name":"Max","last_name":"M"}`,
			said{"contact", "", "contact", "Max M, +491", "", ""}},
		{`"dice":{"emoji":"🎲","value":4}`, said{"dice", "", "dice", "🎲 4", "", ""}},
		{`"game":{"title":"Chess","description":"d","photo":[]}`, said{"game", "", "game", "Chess", "", ""}},
		{`"poll":{"id":"1","question":"Tea?","options":[{"text":"yes","voter_count":0},{"text":"no","voter_count":0}]}`,
			said{"poll", "", "poll", "Tea? (yes / no)", "", ""}},
		{`"location":{"latitude":52.52,"longitude":13.405}`, said{"location", "", "location", "52.52000, 13.40500", "", ""}},
		{`"location":{"latitude":1,"longitude":2,"live_period":900}`,
			said{"location", "", "location", "1.00000, 2.00000, live for 15m0s", "", ""}},
		{`"venue":{"location":{"latitude":1,"longitude":2},"title":"Cafe","address":"Street 1"},` +
			`"location":{"latitude":1,"longitude":2}`,
			said{"venue", "", "venue", "Cafe, Street 1 (1.00000, 2.00000)", "", ""}},
		{`"story":{"id":3,"chat":{"id":7,"type":"private"}}`, said{"story", "", "story", "", "", ""}},
		{`"paid_media":{"star_count":5,"paid_media":[]}`, said{"paid_media", "", "paid media", "5 Stars", "", ""}},
		{`"gift":{"gift":{"id":"1"}}`, said{"gift", "", "gift", "", "", ""}},
		{`"checklist":{"title":"Buy","tasks":[{"id":1,"text":"milk"}]}`,
			said{"checklist", "", "checklist", "Buy (milk)", "", ""}},
		{`"web_app_data":{"data":"{}","button_text":"b"}`, said{"web_app_data", "", "data of a Mini App", "{}", "", ""}},
		{`"invoice":{"title":"Order","description":"d","start_parameter":"","currency":"EUR","total_amount":100}`,
			said{"invoice", "", "invoice", "Order, d", "", ""}},
		{`"successful_payment":{"currency":"EUR","total_amount":100}`,
			said{"successful_payment", "", "payment", "100 EUR, in the smallest unit", "", ""}},
		{`"pinned_message":{"message_id":1,"chat":{"id":7}}`, said{"pinned_message", "", "pinned a message", "", "", ""}},
		{`"write_access_allowed":{}`, said{"write_access_allowed", "", "allowed the bot to write", "", "", ""}},
		{`"hologram_cube":{` + file + `}`,
			said{"hologram_cube", "", "hologram cube: this version cannot show it", "", "hologram_cube|||1234|F", ""}},
		{`"hologram_cube":true,"caption":"with words"`, said{"text", "with words", "", "", "", ""}},
		{`"hologram_cube":{"title":"A cube","sides":[{"words":"front","side_id":"x1"},{"words":"back"}],"n":6},"caption":"c"`,
			said{"hologram_cube", "c", "hologram cube: this version cannot show it", "front back A cube", "", ""}},
		{`"text":"t","hologram_cube":{"words":"w"}`, said{"text", "t", "with it", "w", "", ""}},
		{`"chat_background_set":{"type":{"type":"fill"}}`,
			said{"chat_background_set", "", "changed the background of the chat", "", "", ""}},
		{`"message_auto_delete_timer_changed":{"message_auto_delete_time":86400}`,
			said{"message_auto_delete_timer_changed", "", "changed the timer that deletes messages", "to 1 d", "", ""}},
		{`"pinned_message":{"message_id":1,"chat":{"id":7},"text":"the menu"}`,
			said{"pinned_message", "", "pinned a message", "the menu", "", ""}},
		{`"forum_topic_created":{"name":"Invoices","icon_color":1}`,
			said{"forum_topic_created", "", "new topic", "Invoices", "", ""}},
		{`"checklist":{"title":"Buy","tasks":[{"id":1,"text":"milk","completion_date":1},{"id":2,"text":"bread"}]}`,
			said{"checklist", "", "checklist", "Buy (☑ milk / bread)", "", ""}},
		{`"checklist_tasks_done":{"marked_as_done_task_ids":[2],"checklist_message":{"checklist":{"title":"Buy",` +
			`"tasks":[{"id":1,"text":"milk"},{"id":2,"text":"bread"}]}}}`,
			said{"checklist_tasks_done", "", "ticked tasks of a checklist", "☑ bread", "", ""}},
		{`"audio":{` + file + `,"duration":5,"file_name":"a.mp3"}`,
			said{"audio", "", "audio", "0:05", "audio|a.mp3||1234|F", ""}},
		{`"paid_media":{"star_count":5,"paid_media":[{"type":"photo","photo":[{` + file + `,"width":1,"height":1}]}]}`,
			said{"paid_media", "", "paid media", "5 Stars", "photo||image/jpeg|1234|F", ""}},
		{`"story":{"id":3,"chat":{"id":7,"type":"private","first_name":"Bea"}}`,
			said{"story", "", "story", "Bea", "", ""}},
		{`"giveaway":{"chats":[{"id":-1,"title":"Club"}],"winner_count":3,"prize_description":"a lamp"}`,
			said{"giveaway", "", "giveaway", "Club, winners: 3, a lamp", "", ""}},
		{`"gift":{"gift":{"id":"1","sticker":{"emoji":"🎁"},"star_count":15},"text":"for you"}`,
			said{"gift", "", "gift", "🎁, 15 Stars, for you", "", ""}},
		{`"users_shared":{"request_id":1,"users":[{"user_id":9,"first_name":"Cem"},{"user_id":10}]}`,
			said{"users_shared", "", "shared contacts", "Cem, User 10", "", ""}},
		{`"effect_id":"1"`, said{"unknown", "", "a message of a kind that this version does not know", "", "", ""}},
		{`"text":"mine","forward_origin":{"type":"user","sender_user":{"id":1,"first_name":"Bob"}},"forward_date":1`,
			said{"text", "mine", "", "", "", "user:Bob"}},
		{`"text":"mine","forward_origin":{"type":"hidden_user","sender_user_name":"Hidden"}`,
			said{"text", "mine", "", "", "", "hidden_user:Hidden"}},
		{`"text":"mine","forward_origin":{"type":"channel","chat":{"id":-1,"type":"channel","title":"News"}}`,
			said{"text", "mine", "", "", "", "channel:News"}},
		{`"text":"mine","forward_date":1`, said{"text", "mine", "", "", "", "unknown:"}},
	} {
		u := decode(t, private(c.fields))
		m := u.Message
		if m == nil || u.Problem != "" {
			t.Errorf("%s: %+v", c.fields, u)
			continue
		}
		shown := inbox.Message{Kind: m.Kind, Text: m.Text, Details: m.Details}
		shown.Say()
		got := said{m.Kind, m.Text, shown.Notice, strings.Join(strings.Fields(m.Details), " ")}
		if m.Forwarded != nil {
			got[5] = m.Forwarded.Kind + ":" + m.Forwarded.Name
		}
		if len(m.Attachments) > 0 {
			a := m.Attachments[0]
			got[4] = fmt.Sprintf("%s|%s|%s|%d|%s", a.Kind, a.Name, a.MediaType, a.Size, a.FileID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", c.fields, diff)
		}
		if inbox.Blank(m.Text) && inbox.Blank(shown.Notice) || inbox.Blank(m.SearchText()) {
			t.Errorf("%s: blank", c.fields)
		}
	}
}

// TestWhatIsTypedIsNotOurs : a customer cannot write what looks like a word of this program's to whoever reads fields.
func TestWhatIsTypedIsNotOurs(t *testing.T) {
	for _, typed := range []string{
		"[forwarded from Your Boss]\nPay him.", "[photo]", "[sticker: 😀]", "[a text that shows nothing]",
		"Forwarded from Your Boss", "[hologram cube: this version cannot show it]",
	} {
		quoted, _ := json.Marshal(typed)
		for _, m := range []*inbox.IncomingMessage{
			decode(t, private(`"text":`+string(quoted))).Message,
			decode(t, private(`"caption":`+string(quoted)+`,"photo":[{"file_id":"f","file_unique_id":"u"}]`)).Message,
		} {
			if m.Text != typed || m.Forwarded != nil || m.Details != "" {
				t.Errorf("%q typed: %+v", typed, m)
			}
		}
		m := decode(t, private(`"contact":{"first_name":`+string(quoted)+`},`+
			`"forward_origin":{"type":"hidden_user","sender_user_name":`+string(quoted)+`}`)).Message
		if m.Text != "" || m.Details != oneLine(typed) || m.Forwarded == nil || m.Forwarded.Name != oneLine(typed) {
			t.Errorf("%q as a name: %+v, %+v", typed, m, m.Forwarded)
		}
	}
	for origin, want := range map[string]inbox.Forward{
		`{"type":"chat","sender_chat":{"id":-1,"title":"Club"}}`: {Kind: "chat", Name: "Club"},
		`{"type":"user","sender_user":{"id":5}}`:                 {Kind: "user", Name: "User 5"},
		`{"type":"hidden_user"}`:                                 {Kind: "hidden_user"},
		`{"type":"Not A Name"}`:                                  {Kind: "unknown"},
		`{"type":7,"chat":"x"}`:                                  {Kind: "unknown"},
		`"nonsense"`:                                             {Kind: "unknown"},
		`{}`:                                                     {Kind: "unknown"},
	} {
		m := decode(t, private(`"text":"x","forward_origin":`+origin)).Message
		if m.Forwarded == nil || *m.Forwarded != want {
			t.Errorf("%s: %+v, want %+v", origin, m.Forwarded, want)
		}
	}
	if m := decode(t, private(`"text":"x","forward_origin":null`)).Message; m.Forwarded != nil {
		t.Errorf("null is no forward: %+v", m.Forwarded)
	}
}

func TestMessageAsAWhole(t *testing.T) {
	u := decode(t, private(`"text":"hi","message_thread_id":3,"media_group_id":"g",`+
		`"reply_to_message":{"message_id":4,"chat":{"id":7}}`))
	want := &inbox.IncomingMessage{
		ChatID: 7, MessageID: 5, Kind: "text", Text: "hi", Date: time.Unix(1700000000, 0).UTC(),
		ReplyTo: 4, ThreadID: 3, AlbumID: "g", Content: inbox.Content{Reply: &inbox.Reply{Origin: inbox.FromChat}},
		Customer: inbox.Customer{ID: 7, Name: "Eve Smith", Username: "eve", Language: "en"},
	}
	if diff := cmp.Diff(want, u.Message); diff != "" {
		t.Error(diff)
	}
	if u.Kind != "message" || u.ID != 1 || !json.Valid(u.Raw) {
		t.Errorf("%+v", u)
	}
	edit := decode(t, strings.Replace(private(`"text":"hi","edit_date":1700000001`), `"message":`, `"edited_message":`, 1))
	if edit.Edit == nil || edit.Message != nil || edit.Edit.EditedAt == nil || edit.Edit.EditedAt.Unix() != 1700000001 {
		t.Errorf("%+v", edit)
	}
}

func TestNames(t *testing.T) {
	for from, want := range map[string]string{
		`"first_name":"Eve"`:                                  "Eve",
		`"first_name":"","last_name":""`:                      "User 7",
		`"first_name":"\u200b","username":"eve"`:              "@eve",
		`"first_name":"<script>alert(1)</script>"`:            "<script>alert(1)</script>",
		`"first_name":"a\u0000b"`:                             "a\uFFFDb",
		`"first_name":7,"last_name":"Smith"`:                  "Smith",
		`"first_name":"` + strings.Repeat("\u202e", 64) + `"`: "User 7",
	} {
		u := decode(t, `{"update_id":1,"message":{"message_id":1,"date":1,"text":"x",`+
			`"chat":{"id":7,"type":"private"},"from":{"id":7,`+from+`}}}`)
		if u.Message == nil || u.Message.Customer.Name != want || u.Message.Customer.ID != 7 {
			t.Errorf("%s: %+v", from, u.Message)
		}
	}
}

func TestWhatIsKeptRaw(t *testing.T) {
	for kind, value := range map[string]string{
		"message":          `{"message_id":1,"date":1,"text":"/start","chat":{"id":-7,"type":"group"}}`,
		"edited_message":   `{"message_id":1,"date":1,"text":"x","chat":{"id":-7,"type":"supergroup"}}`,
		"callback_query":   `{"id":"1","from":{"id":7,"first_name":"Eve"},"data":"x"}`,
		"my_chat_member":   `{"chat":{"id":-7,"type":"group"},"new_chat_member":{"status":"kicked"}}`,
		"guest_message":    `{"message_id":1}`,
		"business_message": `{"message_id":1,"date":1,"text":"x","chat":{"id":7,"type":"private"}}`,
	} {
		update := `{"update_id":1,"` + kind + `":` + value + `}`
		u := decode(t, update)
		if u.Message != nil || u.Edit != nil || u.Blocked != nil || u.Reply != "" || u.Problem != "" ||
			u.Kind != kind || string(u.Raw) != update {
			t.Errorf("%s: %+v", update, u)
		}
	}
}

func TestBlockedByTheCustomer(t *testing.T) {
	for status, want := range map[string]bool{"kicked": true, "left": true, "member": false} {
		u := decode(t, `{"update_id":1,"my_chat_member":{"chat":{"id":7,"type":"private"},
			"from":{"id":7,"first_name":"Eve"},"date":1,
			"old_chat_member":{"status":"member"},"new_chat_member":{"status":"`+status+`","until_date":0}}}`)
		if u.Blocked == nil || u.Blocked.Blocked != want || u.Blocked.ChatID != 7 || u.Blocked.Customer.Name != "Eve" {
			t.Errorf("%s: %+v", status, u.Blocked)
		}
	}
}

func TestCommands(t *testing.T) {
	for text, want := range map[string]string{
		"/start": greeting, "/start@the_bot": greeting, "/start@THE_BOT x": greeting, "/start payload": greeting,
		"/help": help, "/start@other_bot": "", "/starting": "", "start": "", "say /start": "", "\a/start": "", "/other": "",
	} {
		encoded, _ := json.Marshal(text)
		if u := decode(t, private(`"text":`+string(encoded))); u.Reply != want || u.Greeting != (want == greeting) ||
			u.Message == nil {
			t.Errorf("%q: reply %q, a greeting: %v", text, u.Reply, u.Greeting)
		}
	}
	ofABot := strings.Replace(private(`"text":"/start"`), `"from":{`, `"from":{"is_bot":true,`, 1)
	if u := decode(t, ofABot); u.Reply != "" {
		t.Error("a bot got a reply")
	}
	if u := decode(t, strings.Replace(private(`"text":"/start"`), `"message":`, `"edited_message":`, 1)); u.Reply != "" {
		t.Error("an edit got a reply")
	}
}

// checkContent sees that what is beside the words of a message can be stored and lies within them.
func checkContent(t *testing.T, m *inbox.IncomingMessage) {
	t.Helper()
	stored := m.Content.Encode()
	if len(stored) > inbox.MaxContent || !utf8.ValidString(stored) || strings.ContainsRune(stored, 0) {
		t.Errorf("not storable: %.200q", stored)
	}
	units := inbox.UTF16Len(m.Text)
	for _, e := range m.Content.Entities {
		if e.Offset < 0 || e.Length <= 0 || e.Offset+e.Length > units {
			t.Errorf("%+v is not within %d units", e, units)
		}
	}
}

func TestEntities(t *testing.T) {
	for _, c := range []struct{ fields, text, want string }{
		{`"text":"do NOT ship it","entities":[{"type":"strikethrough","offset":3,"length":3}]`, "do NOT ship it",
			`[{"type":"strikethrough","offset":3,"length":3}]`},
		{`"text":"😀 Masha","entities":[{"type":"text_mention","offset":3,"length":5,` +
			`"user":{"id":9,"is_bot":false,"first_name":"Masha"}}]`, "😀 Masha",
			`[{"type":"text_mention","offset":3,"length":5,"user":{"id":9,"is_bot":false,"first_name":"Masha"}}]`},
		{`"photo":[{"file_id":"f"}],"caption":"a b","caption_entities":[{"type":"text_link","offset":2,"length":1,` +
			`"url":"https://a.org"}]`, "a b", `[{"type":"text_link","offset":2,"length":1,"url":"https://a.org"}]`},
		{`"text":"a\r\nbc","entities":[{"type":"bold","offset":3,"length":2},{"type":"code","offset":0,"length":3}]`,
			"a\nbc", `[{"type":"bold","offset":2,"length":2},{"type":"code","offset":0,"length":2}]`},
		{`"text":"abc","entities":[{"type":"bold","offset":1,"length":99},{"type":"bold","offset":3,"length":1},` +
			`{"type":"bold","offset":-1,"length":2},{"type":"bold","offset":0,"length":0},{"type":"<b>","offset":0,` +
			`"length":1},` +
			`{"type":"italic","offset":9223372036854775807,"length":9223372036854775807},7,{}]`, "abc",
			`[{"type":"bold","offset":1,"length":2}]`},
		{`"text":"int main","entities":[{"type":"pre","offset":0,"length":8,"language":"c"}]`, "int main",
			`[{"type":"pre","offset":0,"length":8,"language":"c"}]`},
		{`"rich_message":{"blocks":[{"type":"heading","text":"Order 4417","size":1},{"type":"paragraph","text":["To ",` +
			`{"type":"bold","text":"Elm Street 5"},", please"]},{"type":"list","items":[{"label":"1.","blocks":` +
			`[{"type":"paragraph","text":"two lamps"},{"type":"paragraph","text":"one bulb"}]}]}]}`,
			"Order 4417\nTo Elm Street 5, please\n1. two lamps\none bulb",
			`[{"type":"bold","offset":0,"length":10},{"type":"bold","offset":14,"length":12}]`},
		{`"rich_message":{"blocks":[{"type":"blockquote","blocks":[{"type":"paragraph","text":"to be"}],"credit":"W. S."},` +
			`{"type":"divider"},{"type":"details","summary":"More","blocks":[{"type":"pre","text":"x=1","language":"go"}]},` +
			`{"type":"table","caption":"Prices","cells":[[{"text":"lamp"},{"text":["5 ",{"type":"italic","text":"EUR"}]}],` +
			`[{"text":"bulb"},{"text":"1 EUR"}]]},{"type":"hologram","front":{"text":"new words"},"id":"7"},` +
			`{"type":"paragraph","text":{"type":"url","text":"here","url":"https://a.org/x"}},` +
			`{"type":"list","items":[{"has_checkbox":true,"is_checked":true,"blocks":[{"type":"paragraph","text":"done"}]},` +
			`{"has_checkbox":true,"blocks":[{"type":"paragraph","text":"to do"}]},{"blocks":[{"type":"paragraph","text":` +
			`"p"}]}]},` +
			`{"type":"map","location":{"latitude":1,"longitude":2},"caption":{"text":"us","credit":"me"}}]}`,
			"to be\n— W. S.\n———\nMore\nx=1\nPrices\nlamp | 5 EUR\nbulb | 1 EUR\nnew words\nhere\n☑ done\n☐ to do\n• p\n" +
				"1.00000, 2.00000\nus\n— me",
			`[{"type":"blockquote","offset":0,"length":13},{"type":"bold","offset":18,"length":4},` +
				`{"type":"pre","offset":23,"length":3,"language":"go"},{"type":"italic","offset":43,"length":3},` +
				`{"type":"text_link","offset":70,"length":4,"url":"https://a.org/x"}]`},
	} {
		m := decode(t, private(c.fields)).Message
		have, _ := json.Marshal(m.Content.Entities)
		if m.Text != c.text || string(have) != c.want {
			t.Errorf("%s:\n%q\n%s, want\n%q\n%s", c.fields, m.Text, have, c.text, c.want)
		}
		checkContent(t, m)
	}
}

// TestFilesOfARichMessage : its media are attachments like any others, wherever they stand.
func TestFilesOfARichMessage(t *testing.T) {
	m := decode(t, private(`"rich_message":{"blocks":[{"type":"photo","photo":[{"file_id":"p1","width":1,"height":1},`+
		`{"file_id":"p2","width":9,"height":9}],"caption":{"text":"a lamp"}},{"type":"slideshow","blocks":`+
		`[{"type":"video","video":{"file_id":"v","file_unique_id":"u","duration":3}}]},`+
		`{"type":"voice_note","voice_note":{"file_id":"n"}}]}`)).Message
	var have []string
	for _, a := range m.Attachments {
		have = append(have, a.Kind+" "+a.FileID)
	}
	if diff := cmp.Diff([]string{"photo p2", "video v", "voice_note n"}, have); diff != "" || m.Text != "a lamp" {
		t.Errorf("%q\n%s", m.Text, diff)
	}
}

func TestReplies(t *testing.T) {
	for fields, want := range map[string]inbox.Reply{
		`"reply_to_message":{"message_id":1,"date":1,"chat":{"id":7,"type":"private"},"text":"red, green or blue?",` +
			`"from":{"id":1,"is_bot":true,"first_name":"Shop"}},"quote":{"text":"green","position":5,"is_manual":true}`: {
			Text: "green", Quoted: true, From: "Shop", Origin: inbox.FromChat},
		`"reply_to_message":{"message_id":1,"text":"red, green or blue?"}`: {
			Text: "red, green or blue?", Origin: inbox.FromChat},
		`"reply_to_message":{"message_id":1,"photo":[{"file_id":"f"}]}`: {Notice: "photo", Origin: inbox.FromChat},
		`"reply_to_message":{"message_id":1,"rich_message":{"blocks":[{"type":"paragraph","text":"rich"}]}}`: {
			Text: "rich", Origin: inbox.FromChat},
		`"external_reply":{"origin":{"type":"channel","chat":{"id":-1,"title":"News"},"message_id":4},` +
			`"photo":[{"file_id":"f"}]}`: {Notice: "photo", From: "News", Origin: inbox.Elsewhere},
		`"external_reply":{"origin":{"type":"user","sender_user":{"id":3,"first_name":"Bob"}}},"quote":{"text":"so"}`: {
			Text: "so", Quoted: true, From: "Bob", Origin: inbox.Elsewhere},
		`"reply_to_story":{"chat":{"id":3,"type":"private","first_name":"Bea"},"id":5}`: {
			Notice: "story", From: "Bea", Origin: inbox.FromStory},
		`"reply_to_message":{"message_id":1,"checklist":{"title":"Buy","tasks":[{"id":1,"text":"milk"},` +
			`{"id":2,"text":"bread"}]}},"reply_to_checklist_task_id":2`: {
			Text: "bread", Quoted: true, Notice: "checklist", Origin: inbox.FromChat},
	} {
		m := decode(t, private(`"text":"x",`+fields)).Message
		if m.Content.Reply == nil || *m.Content.Reply != want {
			t.Errorf("%s: %+v, want %+v", fields, m.Content.Reply, want)
		}
	}
	m := decode(t, private(`"text":"x","message_thread_id":11,"is_topic_message":true,`+
		`"reply_to_message":{"message_id":11,"forum_topic_created":{"name":"Invoices"}}`)).Message
	if m.Content.Reply != nil || m.ReplyTo != 0 || m.Content.Topic != "Invoices" {
		t.Errorf("the first line of a topic is no reply: %+v", m)
	}
}

func TestBatch(t *testing.T) {
	d, err := newDecoder("b")
	if err != nil {
		t.Fatal(err)
	}
	updates, next, err := d.batch(json.RawMessage(
		`[{"update_id":3},{"no":"id"},"text",{"update_id":-4},{"update_id":"5"},{"update_id":9,"x":{}}]`))
	if err != nil || len(updates) != 2 || next != 10 {
		t.Errorf("%+v, %d, %v", updates, next, err)
	}
	if _, _, err := d.batch(json.RawMessage(`{}`)); err == nil {
		t.Error("an object is no list")
	}
	if updates, _, err := d.batch(json.RawMessage(`[]`)); err != nil || len(updates) != 0 {
		t.Error(updates, err)
	}
}

func FuzzUpdate(f *testing.F) {
	for _, fields := range []string{
		`"text":"hello \ud800","entities":[{"type":"text_link","offset":1,"length":3,"url":"u"}]`,
		`"photo":[]`, `"photo":[{"file_id":"a"}]`, `"sticker":{"file_id":"x","emoji":"e"}`, `"poll":{"options":[{}]}`,
		`"venue":{"location":1}`, `"location":{"latitude":1e300}`, `"dice":[]`, `"text":"/start@x y"`,
		`"contact":null,"new":{}`,
		`"forward_origin":{"chat":{"title":"x"}},"caption":"c","document":{}`,
		`"rich_message":{"blocks":[{"type":"list","items":[{"label":"1.","blocks":[{"type":"paragraph","text":["a",` +
			`{"type":"url","url":"https://a.org","text":"b"}]}]}]},{"type":"photo","photo":[{"file_id":"f","width":1}],` +
			`"caption":{"text":"c","credit":"d"}},{"type":"table","cells":[[{"text":"x"},{"text":"y"}]]}]}`,
		`"text":"a\r\nb😀","entities":[{"type":"bold","offset":2,"length":9}],"quote":{"text":"q"}`,
		`"checklist":{"title":"t","tasks":[{"id":1,"text":"x","completed_by_user":{"id":1}}]}`,
		`"reply_to_story":{"chat":{"id":1,"first_name":"B"},"id":2},"cube":{"a":["b",{"file_id":"c"}]}`,
		`"external_reply":{"origin":{"type":"channel","chat":{"title":"x"}},"photo":[{"file_id":"f"}]},"voice":{}`,
	} {
		f.Add([]byte(private(fields)))
	}
	f.Add([]byte(`{"update_id":1,"my_chat_member":{"chat":{"id":1,"type":"private"},` +
		`"new_chat_member":{"status":"kicked"}}}`))
	d, err := newDecoder("x")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		u, ok := d.update(raw)
		if !ok {
			return
		}
		if u.ID <= 0 || string(u.Raw) != string(raw) {
			t.Errorf("%+v", u)
		}
		storable := func(s string) {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				t.Errorf("not storable: %q", s)
			}
		}
		storable(u.Kind)
		storable(u.Problem)
		for _, m := range []*inbox.IncomingMessage{u.Message, u.Edit} {
			if m == nil {
				continue
			}
			if inbox.Blank(m.SearchText()) || m.Kind == "" || m.ChatID == 0 || m.MessageID <= 0 ||
				m.Customer.ID == 0 || inbox.Blank(m.Customer.Name) {
				t.Errorf("%+v", m)
			}
			if m.Forwarded != nil {
				storable(m.Forwarded.Kind + m.Forwarded.Name)
			}
			for _, s := range []string{m.Text, m.Details, m.Kind, m.AlbumID, m.Customer.Name, m.Customer.Username,
				m.Customer.Language} {
				storable(s)
			}
			checkContent(t, m)
			for _, a := range m.Attachments {
				for _, s := range []string{a.Kind, a.Name, a.MediaType, a.FileID, a.FileUniqueID} {
					storable(s)
				}
			}
		}
	})
}
