package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The control API: JSON in and out, mistakes are 400 with {"error": "..."}.
//
//	POST   /control/bots            {"token"}                        make a token valid; the bot
//	DELETE /control/bots            {"token"}                        revoke it
//	POST   /control/customers       Customer                         add or change a chat
//	POST   /control/messages        Incoming, with "file" or, as     {"message", "update_id"}
//	                                an album, "files"; with "quote",
//	                                "topic" or "rich_message"
//	GET    /control/file            ?file_id=&bot_id=                the bytes of a file
//	GET    /control/messages        ?chat_id=&bot_id=                the chat as it stands
//	POST   /control/batch           {"messages":[Incoming]} or       many messages as one response to a waiting poll;
//	                                {"count","chat_ids","text"}      %d in text is the number, from 1
//	POST   /control/edits           {"chat_id","message_id","text"}  the customer edits
//	POST   /control/reactions       {"chat_id","message_id",         the customer reacts: all that
//	                                "emoji":["👍"]}                   he has put there now
//	POST   /control/presses         {"chat_id","message_id","data"}  the customer presses a button
//	POST   /control/block, unblock  {"chat_id"}                      with my_chat_member
//	POST   /control/updates         any update                       {"update_id"}
//	POST   /control/next_update_id  {"id"}                           as after a week without updates
//	GET    /control/sent            ?n=&within=5s                    accepted messages, after waiting for n of them
//	GET    /control/calls           ?method=                         recorded calls
//	GET    /control/counts, duplicates, leaks, state
//	GET    /control/polls           ?bot_id=                         PollStats
//	DELETE /control/records                                          empty the recorder
//	GET    /control/faults, presets
//	POST   /control/faults          Fault, or {"preset", ...}        {"id"}
//	DELETE /control/faults          ?id=                             one, or all
//	GET    /control/events                                           server-sent events: "change" after changes
//
// bot_id may be left out where there is one bot.
func (s *Server) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	on := func(pattern string, serve func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			out, err := serve(r)
			if err != nil {
				writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
				return
			}
			if out == nil {
				out = map[string]bool{"ok": true}
			}
			writeJSON(w, http.StatusOK, out)
		})
	}
	on("POST /control/bots", func(r *http.Request) (any, error) {
		token, err := readToken(r)
		if err != nil {
			return nil, err
		}
		return s.AddBot(token), nil
	})
	on("DELETE /control/bots", func(r *http.Request) (any, error) {
		token, err := readToken(r)
		if err == nil {
			s.RevokeToken(token)
		}
		return nil, err
	})
	on("POST /control/customers", func(r *http.Request) (any, error) {
		c, err := read[Customer](r)
		if err != nil {
			return nil, err
		}
		return nil, s.Put(c)
	})
	on("POST /control/messages", func(r *http.Request) (any, error) {
		in, err := read[Incoming](r)
		if err != nil {
			return nil, err
		}
		m, id, err := s.Receive(in)
		return map[string]any{"message": m, "update_id": id}, err
	})
	on("GET /control/messages", func(r *http.Request) (any, error) {
		return s.shown(number(r, "bot_id"), number(r, "chat_id")), nil
	})
	on("POST /control/batch", s.controlBatch)
	on("POST /control/edits", func(r *http.Request) (any, error) {
		t, err := read[target](r)
		if err != nil {
			return nil, err
		}
		return s.Edit(t.BotID, t.ChatID, t.MessageID, t.Text)
	})
	on("POST /control/reactions", func(r *http.Request) (any, error) {
		t, err := read[struct {
			BotID     int64    `json:"bot_id"`
			ChatID    int64    `json:"chat_id"`
			MessageID int64    `json:"message_id"`
			Emoji     []string `json:"emoji"`
		}](r)
		if err != nil {
			return nil, err
		}
		id, err := s.React(t.BotID, t.ChatID, t.MessageID, t.Emoji)
		return map[string]int64{"update_id": id}, err
	})
	on("POST /control/presses", func(r *http.Request) (any, error) {
		t, err := read[target](r)
		if err != nil {
			return nil, err
		}
		id, err := s.Press(t.BotID, t.ChatID, t.MessageID, t.Data)
		return map[string]string{"callback_query_id": id}, err
	})
	on("POST /control/block", func(r *http.Request) (any, error) {
		t, err := read[target](r)
		if err != nil {
			return nil, err
		}
		return nil, s.Block(t.BotID, t.ChatID)
	})
	on("POST /control/unblock", func(r *http.Request) (any, error) {
		t, err := read[target](r)
		if err != nil {
			return nil, err
		}
		return nil, s.Unblock(t.BotID, t.ChatID)
	})
	on("POST /control/updates", func(r *http.Request) (any, error) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		id, err := s.Push(number(r, "bot_id"), raw)
		return map[string]int64{"update_id": id}, err
	})
	on("POST /control/next_update_id", func(r *http.Request) (any, error) {
		t, err := read[struct {
			BotID int64 `json:"bot_id"`
			ID    int64 `json:"id"`
		}](r)
		if err != nil {
			return nil, err
		}
		return nil, s.SetNextUpdateID(t.BotID, t.ID)
	})
	on("GET /control/sent", func(r *http.Request) (any, error) {
		within, _ := time.ParseDuration(r.URL.Query().Get("within")) // 0 when it is missing
		sent, err := s.WaitSent(int(number(r, "n")), within)
		if err != nil && number(r, "n") > 0 {
			return nil, fmt.Errorf("%d messages were sent: %w", len(sent), err)
		}
		return orEmpty(sent), nil
	})
	on("GET /control/calls", func(r *http.Request) (any, error) {
		return orEmpty(s.Calls(r.URL.Query().Get("method"))), nil
	})
	on("GET /control/counts", func(*http.Request) (any, error) { return s.Counts(), nil })
	on("GET /control/duplicates", func(*http.Request) (any, error) { return orEmpty(s.Duplicates()), nil })
	on("GET /control/leaks", func(*http.Request) (any, error) { return orEmpty(s.Leaks()), nil })
	on("GET /control/polls", func(r *http.Request) (any, error) { return s.Polls(number(r, "bot_id")), nil })
	on("GET /control/state", func(*http.Request) (any, error) { return s.State(), nil })
	on("DELETE /control/records", func(*http.Request) (any, error) { s.Forget(); return nil, nil })
	on("GET /control/faults", func(*http.Request) (any, error) { return s.Faults(), nil })
	on("GET /control/presets", func(*http.Request) (any, error) { return Presets(), nil })
	on("POST /control/faults", s.controlFault)
	on("DELETE /control/faults", func(r *http.Request) (any, error) {
		if r.URL.Query().Has("id") {
			s.ClearFault(number(r, "id"))
		} else {
			s.ClearFaults()
		}
		return nil, nil
	})
	mux.HandleFunc("GET /control/events", s.serveEvents)
	mux.HandleFunc("GET /control/file", s.controlFile)
	// A page of somebody else in the same browser must not play the customer.
	return http.NewCrossOriginProtection().Handler(mux)
}

// target is a message of a chat, for the calls that need no more.
type target struct {
	BotID     int64  `json:"bot_id"`
	ChatID    int64  `json:"chat_id"`
	MessageID int64  `json:"message_id"`
	Text      string `json:"text"`
	Data      string `json:"data"`
}

func (s *Server) controlBatch(r *http.Request) (any, error) {
	in, err := read[struct {
		Messages []Incoming `json:"messages"`
		Count    int        `json:"count"`
		ChatIDs  []int64    `json:"chat_ids"`
		Text     string     `json:"text"`
	}](r)
	if err != nil {
		return nil, err
	}
	for i := range in.Count {
		if len(in.ChatIDs) == 0 {
			return nil, errors.New("count needs chat_ids")
		}
		text := strings.ReplaceAll(in.Text, "%d", strconv.Itoa(i+1))
		in.Messages = append(in.Messages, Incoming{ChatID: in.ChatIDs[i%len(in.ChatIDs)], Text: text})
	}
	ids := []int64{}
	err = s.Batch(func() error {
		for _, m := range in.Messages {
			_, id, err := s.Receive(m)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	})
	return map[string]any{"update_ids": ids}, err
}

func (s *Server) controlFault(r *http.Request) (any, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var named struct {
		Preset string `json:"preset"`
	}
	if err := json.Unmarshal(raw, &named); err != nil {
		return nil, err
	}
	var f Fault
	if named.Preset != "" {
		preset := presets[named.Preset]
		if preset == nil {
			return nil, fmt.Errorf("there is no preset %q, only %s", named.Preset, strings.Join(Presets(), ", "))
		}
		f = preset()
	}
	if err := json.Unmarshal(raw, &f); err != nil { // what is given beside the preset narrows it
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return map[string]int64{"id": s.AddFault(f)}, nil
}

func readToken(r *http.Request) (string, error) {
	in, err := read[struct {
		Token string `json:"token"`
	}](r)
	if err == nil {
		_, err = tokenBotID(in.Token)
	}
	return in.Token, err
}

func read[T any](r *http.Request) (T, error) {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields() // a misspelt field would silently do nothing
	err := d.Decode(&v)
	return v, err
}

func number(r *http.Request, name string) int64 {
	n, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64) // 0 when it is missing
	return n
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client may have hung up
}

// eventPause gathers changes into one event.
const eventPause = 30 * time.Millisecond

// serveEvents says that something has changed; what, the reader asks for.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		s.mu.Lock()
		changed, version := s.changed, s.version
		s.mu.Unlock()
		if _, err := fmt.Fprintf(w, "event: change\ndata: %d\n\n", version); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-changed:
		case <-time.After(15 * time.Second): // keeps a proxy from closing it
		case <-r.Context().Done():
			return
		case <-s.closed:
			return
		}
		pause.Reset(eventPause)
		select {
		case <-pause.C:
		case <-s.closed:
			return
		}
	}
}
