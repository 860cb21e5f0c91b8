package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
)

// teamConversation is a conversation as the API tells it.
type teamConversation struct {
	ID           int64            `json:"id"`
	Version      int64            `json:"version"`
	Status       string           `json:"status"`
	Assignee     *inbox.Colleague `json:"assignee"`
	Tags         []string         `json:"tags"`
	SnoozedUntil *time.Time       `json:"snoozed_until"`
	WaitingSince *time.Time       `json:"waiting_since"`
	Banned       bool             `json:"banned"`
	CameFrom     string           `json:"came_from"`
	Unread       *int64           `json:"unread"`
}

func (r *rig) operatorID(name string) int64 {
	r.t.Helper()
	var team struct{ Items []inbox.Colleague }
	r.api("GET", "/operators", nil).into(r.t, &team)
	i := slices.IndexFunc(team.Items, func(c inbox.Colleague) bool { return c.Name == name })
	if i < 0 {
		r.t.Fatalf("%s is not among %v", name, team.Items)
	}
	return team.Items[i].ID
}

func TestATeamThroughTheAPI(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRigOn(t, openStore(t, database))
		alice := r.signIn("alice")
		r.customer(7, "Ann", "/start shop")
		path := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
		get := func() (c teamConversation, tag string) {
			a := r.api("GET", path, nil)
			a.into(t, &c)
			return c, a.Header.Get("ETag")
		}
		first, tag := get()
		if tag != fmt.Sprintf(`"%d"`, first.Version) || first.WaitingSince == nil || first.CameFrom != "shop" ||
			first.Unread != nil || first.Assignee != nil || first.Tags == nil {
			t.Errorf("ETag %s of %+v", tag, first)
		}
		id := r.operatorID("alice")

		// Each field can be left out, and set, and taken back.
		var c teamConversation
		patch := func(body string, status int, header ...string) response {
			t.Helper()
			a := r.api("PATCH", path, body, header...)
			if a.StatusCode != status {
				t.Errorf("PATCH %s: %s %s, want %d", body, a.Status, a.body, status)
			}
			c = teamConversation{}
			if status == http.StatusOK || status == http.StatusPreconditionFailed {
				a.into(t, &c)
			}
			return a
		}
		later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		a := patch(fmt.Sprintf(`{"assignee_id":%d,"tags":["VIP"," billing "],"snoozed_until":%q}`,
			id, later.Format(time.RFC3339)), 200, "If-Match", tag)
		if c.Assignee == nil || c.Assignee.Name != "alice" || !slices.Equal(c.Tags, []string{"VIP", "billing"}) ||
			c.SnoozedUntil == nil || !c.SnoozedUntil.Equal(later) {
			t.Errorf("after a change: %s", a.body)
		}
		if a.Header.Get("ETag") == tag {
			t.Error("a change leaves the ETag")
		}
		a = patch(`{"status":"closed"}`, 412, "If-Match", tag)
		if c.Status != "open" || c.Assignee == nil || a.Header.Get("ETag") != fmt.Sprintf(`"%d"`, c.Version) {
			t.Errorf("a late change is told %s", a.body)
		}
		patch(`{"status":"closed"}`, 412, "If-Match", `W/"1"`)
		patch(`{"assignee_id":null,"snoozed_until":null,"tags":[],"banned":true}`, 200, "If-Match", "*")
		if c.Assignee != nil || c.SnoozedUntil != nil || len(c.Tags) != 0 || !c.Banned {
			t.Errorf("taken back: %+v", c)
		}
		patch(`{"banned":false}`, 200)
		for _, wrong := range []string{`{}`, `{"assignee_id":999}`, `{"assignee_id":-1}`, `{"status":"gone"}`,
			`{"tags":["  "]}`, `{"snoozed_until":"tomorrow"}`, `{"snoozed_until":"2001-01-01T00:00:00Z"}`,
			`{"snoozed_until":"2999-01-01T00:00:00Z"}`, `{"tags":["` + strings.Repeat("x", inbox.MaxTag+1) + `"]}`} {
			patch(wrong, 422)
		}

		// Views, and what each counts.
		views := func(query string) (ids []int64) {
			t.Helper()
			var list struct{ Items []teamConversation }
			r.api("GET", "/conversations"+query, nil).into(t, &list)
			for _, c := range list.Items {
				ids = append(ids, c.ID)
			}
			return ids
		}
		patch(`{"tags":["vip"]}`, 200)
		for query, n := range map[string]int{"?view=open": 1, "?view=unassigned": 1, "?view=waiting": 1, "?view=all": 1,
			"?view=closed": 0, "?view=snoozed": 0, "?tag=VIP": 1, "?view=open&tag=other": 0, "?status=open": 1} {
			if have := views(query); len(have) != n {
				t.Errorf("%s has %v, want %d", query, have, n)
			}
		}
		for _, wrong := range []string{"?view=mine", "?view=other", "?tag=" + strings.Repeat("x", 100)} {
			if a := r.api("GET", "/conversations"+wrong, nil); a.StatusCode != 400 {
				t.Errorf("%s: %s", wrong, a.Status)
			}
		}
		var counts map[string]int64
		r.api("GET", "/conversations/counts", nil).into(t, &counts)
		if counts["open"] != 1 || counts["mine"] != 0 || counts["waiting"] != 1 || len(counts) != len(inbox.Views) {
			t.Errorf("counts: %v", counts)
		}

		// What an operator has read is his alone, and no matter of reading the API.
		own := func() int64 {
			t.Helper()
			var c teamConversation
			r.call(alice, "GET", "/api/v1"+path, nil).into(t, &c)
			if c.Unread == nil {
				t.Fatal("an operator is not told what is unread")
			}
			var list struct{ Items []teamConversation }
			r.call(alice, "GET", "/api/v1/conversations?view=open", nil).into(t, &list)
			if len(list.Items) != 1 || list.Items[0].Unread == nil || *list.Items[0].Unread != *c.Unread {
				t.Errorf("the list has %+v", list.Items)
			}
			return *c.Unread
		}
		r.customer(7, "Ann", "more")
		if n := own(); n != 2 {
			t.Errorf("%d are unread, want 2", n)
		}
		origin := []string{"Origin", r.http.URL, "Content-Type", "application/json"}
		read := func(c *http.Client, message int64) int {
			return r.call(c, "POST", "/api/v1"+path+"/read", fmt.Sprintf(`{"message_id":%d}`, message), origin...).StatusCode
		}
		last := r.conversation(7).LastMessageID
		if status := read(alice, last); status != http.StatusNoContent {
			t.Errorf("reading: %d", status)
		}
		if n := own(); n != 0 {
			t.Errorf("%d are unread after reading", n)
		}
		if status := read(alice, last+999); status != 422 {
			t.Errorf("reading what is not there: %d", status)
		}
		if a := r.api("POST", path+"/read", `{"message_id":1}`); a.StatusCode != http.StatusForbidden {
			t.Errorf("a token reads: %s", a.Status)
		}

		// Answering from the page's session assigns.
		a = r.call(alice, "POST", "/api/v1"+path+"/messages", `{"text":"there you are"}`, origin...)
		if a.StatusCode != http.StatusAccepted {
			t.Fatalf("answering: %s %s", a.Status, a.body)
		}
		if c, _ := get(); c.Assignee == nil || c.Assignee.ID != id || c.WaitingSince != nil {
			t.Errorf("after an answer: %+v", c)
		}
		r.call(alice, "GET", "/api/v1/conversations/counts", nil).into(t, &counts)
		if counts["mine"] != 1 || counts["waiting"] != 0 {
			t.Errorf("counts of alice: %v", counts)
		}
	})
}

func TestNotesThroughTheAPI(t *testing.T) {
	r := newRig(t)
	r.signIn("alice")
	r.customer(7, "Ann", "hello")
	path := fmt.Sprintf("/conversations/%d/notes", r.conversation(7).ID)
	events := r.stream("", "Authorization", "Bearer "+r.token())
	defer events.close()
	a := r.api("POST", path, `{"text":"ask @alice"}`)
	var n inbox.Note
	a.into(t, &n)
	if a.StatusCode != http.StatusCreated || n.ID == 0 || len(n.Mentions) != 1 || n.Author.Kind != inbox.ByAPI {
		t.Errorf("%s %s", a.Status, a.body)
	}
	if e, _ := events.next(); e.name != "note.created" || !strings.Contains(e.data, fmt.Sprintf(`"note_id":%d`, n.ID)) {
		t.Errorf("the event is %+v", e)
	}
	for i := range 3 {
		r.api("POST", path, fmt.Sprintf(`{"text":"note %d"}`, i))
	}
	var texts []string
	for cursor := ""; ; {
		var list struct {
			Items      []inbox.Note
			NextCursor *string `json:"next_cursor"`
		}
		r.api("GET", path+"?limit=3"+cursor, nil).into(t, &list)
		for _, n := range list.Items {
			texts = append(texts, n.Text)
		}
		if list.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + *list.NextCursor
	}
	if !slices.Equal(texts, []string{"note 2", "note 1", "note 0", "ask @alice"}) {
		t.Errorf("notes: %q", texts)
	}
	for _, wrong := range []string{`{}`, `{"text":" "}`, `{"text":"` + strings.Repeat("x", inbox.MaxNote+1) + `"}`} {
		if a := r.api("POST", path, wrong); a.StatusCode != 422 {
			t.Errorf("a note of %.20s: %s", wrong, a.Status)
		}
	}
	if a := r.api("GET", "/conversations/99/notes", nil); a.StatusCode != 404 {
		t.Errorf("notes of no conversation: %s", a.Status)
	}
	if items, _, _ := r.store.Messages(t.Context(), r.conversation(7).ID, 10, 0); len(items) != 1 {
		t.Errorf("%d messages, want the customer's alone", len(items))
	}
}

// A snooze ends by itself, and everybody who looks is told.
func TestASnoozeEnds(t *testing.T) {
	r := newRig(t)
	r.customer(7, "Ann", "hello")
	path := fmt.Sprintf("/conversations/%d", r.conversation(7).ID)
	a := r.api("PATCH", path, fmt.Sprintf(`{"snoozed_until":%q}`, time.Now().Add(2*time.Second).Format(time.RFC3339Nano)))
	if a.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	proctest.Eventually(t, soon, "the snooze is over", func() bool {
		var c teamConversation
		r.api("GET", path, nil).into(t, &c)
		return c.SnoozedUntil == nil
	})
}
