package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
)

// raw is a message as a program sees it that knows only the documents.
type raw = map[string]any

// TestAMessageHasTheFieldsOfTheContract takes each kind of message from Telegram to the API.
func TestAMessageHasTheFieldsOfTheContract(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRig(t, database).start().waitWeb().waitPolling()
		receive := func(in simulator.Incoming) simulator.Message {
			t.Helper()
			m, _, err := r.tg.Receive(in)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		first := receive(simulator.Incoming{ChatID: 7, Text: "first"})
		receive(simulator.Incoming{ChatID: 7, Text: "look", File: &simulator.IncomingFile{
			Name: "receipt.pdf", MediaType: "application/pdf", Data: []byte("%PDF-1.4 nothing"),
		}})
		c := r.conversation(7)
		answer := r.answer(c.ID, "an answer")
		r.waitDelivery(answer, inbox.Sent)
		receive(simulator.Incoming{ChatID: 7, Text: "about the first", ReplyTo: first.MessageID})
		if _, err := r.tg.Edit(0, 7, first.MessageID, "first, corrected"); err != nil {
			t.Fatal(err)
		}
		proctest.Eventually(t, soon, "the reply is there", func() bool {
			return count(r.texts(c.ID, inbox.In), "about the first") == 1
		})
		r.tg.AddFault(simulator.Blocked())
		r.waitDelivery(r.answer(c.ID, "to nobody"), inbox.Failed)

		var list []raw
		proctest.Eventually(t, soon, "all messages and the edit are there", func() bool {
			var page struct{ Items []raw }
			r.api("GET", fmt.Sprintf("/conversations/%d/messages", c.ID), nil, &page)
			list = page.Items
			slices.Reverse(list) // newest first becomes oldest first
			return len(list) == 5 && list[0]["edited_at"] != nil &&
				list[1]["attachments"].([]any)[0].(raw)["state"] == "stored"
		})
		always := []string{
			"attachments", "author", "change", "conversation_id", "created_at", "deleted_at", "direction", "edited_at", "edits",
			"entities", "forwarded_from", "id", "kind", "parts", "pressed", "reactions", "reply", "reply_to", "service", "text",
			"topic_id", "waits",
		}
		customer := raw{"kind": "customer", "id": "7", "name": "Customer 7"}
		program := raw{"kind": "api", "id": "1", "name": "test"}
		for i, want := range []struct {
			direction, kind, text string
			author                raw
			also                  []string
		}{
			{"in", "text", "first, corrected", customer, []string{"telegram_date"}},
			{"in", "document", "look", customer, []string{"notice", "telegram_date"}},
			{"out", "text", "an answer", program, []string{"delivery"}},
			{"in", "text", "about the first", customer, []string{"telegram_date"}},
			{"out", "text", "to nobody", program, []string{"delivery", "error"}},
		} {
			m := list[i]
			keys := append(slices.Clone(always), want.also...)
			slices.Sort(keys)
			if have := slices.Sorted(maps.Keys(m)); !slices.Equal(have, keys) {
				t.Errorf("message %d has the fields %q, want %q", i, have, keys)
			}
			if m["direction"] != want.direction || m["kind"] != want.kind || m["text"] != want.text ||
				!maps.Equal(m["author"].(raw), want.author) {
				t.Errorf("message %d: %v, want %+v", i, m, want)
			}
			if m["conversation_id"] != float64(c.ID) || (m["edited_at"] != nil) != (i == 0) {
				t.Errorf("message %d: %v", i, m)
			}
		}
		files := list[1]["attachments"].([]any)
		if len(files) != 1 || len(list[0]["attachments"].([]any)) != 0 {
			t.Fatalf("attachments: %v", files)
		}
		wantFile := raw{"kind": "document", "name": "receipt.pdf", "media_type": "application/pdf", "size": 16.0,
			"width": 0.0, "height": 0.0, "duration": 0.0, "state": "stored", "error": "", "thumbnail_url": nil,
			"url": fmt.Sprintf("/api/v1/files/%v", files[0].(raw)["id"])}
		file := maps.Clone(files[0].(raw))
		if wantFile["id"] = file["id"]; file["id"] == nil || !maps.Equal(file, wantFile) {
			t.Errorf("the attachment: %v, want %v", file, wantFile)
		}
		if list[3]["reply_to"] != list[0]["id"] || list[0]["reply_to"] != nil {
			t.Errorf("reply_to: %v, want %v", list[3]["reply_to"], list[0]["id"])
		}
		if list[2]["delivery"] != "sent" || list[4]["delivery"] != "failed" ||
			!strings.Contains(fmt.Sprint(list[4]["error"]), "blocked") {
			t.Errorf("deliveries: %v, %v", list[2], list[4])
		}
		r.stop()
	})
}

// TestErrorsAreProblemDocuments asks the real thing for what it refuses; see RFC 9457.
func TestErrorsAreProblemDocuments(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sqlite", "ENABLE_TELEGRAM_BOT=no").start().waitReady()
	r.bearer = strings.TrimSpace(r.web("token", "create", "test"))
	for _, c := range []struct {
		method, path, bearer, body string
		status                     int
	}{
		{"GET", "/conversations", "", "", 401},
		{"GET", "/conversations", "wrong", "", 401},
		{"GET", "/conversations/1", r.bearer, "", 404},
		{"GET", "/nothing", r.bearer, "", 404},
		{"DELETE", "/conversations", r.bearer, "", 405},
		{"GET", "/conversations?limit=1000", r.bearer, "", 400},
		{"GET", "/conversations?cursor=x", r.bearer, "", 400},
		{"POST", "/conversations/1/messages", r.bearer, `{"text":`, 400},
		{"POST", "/conversations/1/messages", r.bearer, `{"text":" "}`, 422},
		{"PATCH", "/conversations/1", r.bearer, `{"status":"lost"}`, 422},
		{"POST", "/messages/1/retry", r.bearer, "", 404},
		{"GET", "/events?after=x", r.bearer, "", 400},
	} {
		request, err := http.NewRequest(c.method, "http://"+r.addr+"/api/v1"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		if c.bearer != "" {
			request.Header.Set("Authorization", "Bearer "+c.bearer)
		}
		response, err := patient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var problem struct {
			Type, Title, Detail string
			Status              int
		}
		err = json.NewDecoder(response.Body).Decode(&problem)
		response.Body.Close()
		if err != nil || response.StatusCode != c.status || problem.Status != c.status ||
			problem.Type == "" || problem.Title == "" || problem.Detail == "" ||
			response.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s, %v, %+v, want a problem document with %d",
				c.method, c.path, response.Status, response.Header, problem, c.status)
		}
		if (response.Header.Get("WWW-Authenticate") != "") != (c.status == 401) ||
			(response.Header.Get("Allow") != "") != (c.status == 405) {
			t.Errorf("%s %s: the headers are %v", c.method, c.path, response.Header)
		}
	}
	r.stop()
}
