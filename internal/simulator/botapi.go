package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// call is one Bot API call being served.
type call struct {
	ctx    context.Context
	bot    *bot
	params params
	files  map[string]upload
}

// locked are the methods of the Bot API that run under the server's lock, by their names in lower case. Telegram does
// not care about case either.
var locked = map[string]func(*Server, call) response{
	"getme":               (*Server).getMe,
	"sendmessage":         (*Server).sendMessage,
	"sendphoto":           (*Server).sendPhoto,
	"senddocument":        (*Server).sendDocument,
	"sendchataction":      (*Server).sendChatAction,
	"editmessagetext":     (*Server).editMessageText,
	"deletemessage":       (*Server).deleteMessage,
	"deletemessages":      (*Server).deleteMessages,
	"editmessagecaption":  (*Server).editMessageCaption,
	"answercallbackquery": (*Server).answerCallbackQuery,
	"getchat":             (*Server).getChat,
	"getfile":             (*Server).getFile,
	"setmycommands":       (*Server).setMyCommands,
	"getmycommands":       (*Server).getMyCommands,
	"deletemycommands":    (*Server).deleteMyCommands,
	"setwebhook":          (*Server).setWebhook,
	"deletewebhook":       (*Server).deleteWebhook,
	"getwebhookinfo":      (*Server).getWebhookInfo,
	"logout":              (*Server).yes,
	"close":               (*Server).yes,
}

func (s *Server) serveBotAPI(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	token, method, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/bot"), "/")
	p, files, body, err := readParams(r)
	s.noteLeaks(r, body, token)
	rec := Call{
		At: s.now(), Token: tokenName(token), Method: method, Params: p, Remote: r.RemoteAddr,
		UserAgent: r.UserAgent(),
	}
	note := func(out response) { // before the response, so that whoever has it finds the call
		rec.Status, rec.Description = out.status, out.description
		if r.Context().Err() != nil {
			rec.Status, rec.Description = 0, "the client hung up"
		}
		s.record(rec, start)
	}
	if f := s.fault(r.Context(), strings.ToLower(method), p); f != nil {
		rec.Fault = f.Name()
		accept := func() response { return s.dispatch(r.Context(), token, method, p, files, err) }
		f.serve(r.Context(), w, s.closed, accept, note)
		return
	}
	out := failure(http.StatusNotFound, "Not Found")
	if ok && !strings.Contains(method, "/") {
		out = s.dispatch(r.Context(), token, method, p, files, err)
	}
	if f := out.interrupt; f != nil {
		rec.Fault = f.Name()
		f.serve(r.Context(), w, s.closed, func() response { return updatesResponse(nil) }, note)
		return
	}
	note(out)
	out.write(w)
}

func (s *Server) dispatch(ctx context.Context, token, method string, p params, files map[string]upload,
	bad error) response {
	select {
	case <-s.closed:
		return failure(http.StatusInternalServerError, "Internal Server Error: restart")
	default:
	}
	if number, _, ok := strings.Cut(token, ":"); !ok || !digits(number) || method == "" {
		return failure(http.StatusNotFound, "Not Found") // by the front end, which sees no token in it
	}
	if _, err := tokenBotID(token); err != nil {
		return failure(http.StatusUnauthorized, "Unauthorized: invalid token specified")
	}
	s.mu.Lock()
	b := s.botByToken(token)
	s.mu.Unlock()
	switch {
	case b == nil:
		return failure(http.StatusUnauthorized, "Unauthorized")
	case errors.Is(bad, errTooLarge):
		return failure(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	case bad != nil:
		return badRequest(bad.Error())
	}
	c := call{ctx: ctx, bot: b, params: p, files: files}
	method = strings.ToLower(method)
	if method == "getupdates" {
		return s.getUpdates(ctx, b, p)
	}
	serve := locked[method]
	if serve == nil {
		return failure(http.StatusNotFound, "Not Found: method not found")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return serve(s, c)
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func (s *Server) newBot(id int64) *bot {
	return &bot{
		ID:       id,
		Username: "tandem_" + strconv.FormatInt(id, 10) + "_bot",
		// TQueue starts a queue at a random id of this range.
		NextUpdate: 2*maxQueue + 1 + s.rng.Int64N(1<<29),
		tokens:     map[string]bool{},
		callbacks:  map[string]time.Time{},
		lastOffset: -1,
	}
}

func (b *bot) user() User {
	return User{ID: b.ID, IsBot: true, FirstName: "Tandem", Username: b.Username}
}

func (s *Server) getMe(c call) response {
	return success(struct {
		User
		CanJoinGroups           bool `json:"can_join_groups"`
		CanReadAllGroupMessages bool `json:"can_read_all_group_messages"`
		SupportsInlineQueries   bool `json:"supports_inline_queries"`
	}{User: c.bot.user(), CanJoinGroups: true})
}

func (s *Server) yes(call) response { return success(true) }

func (s *Server) getChat(c call) response {
	ch, refused := s.chatOf(c)
	if refused != nil {
		return *refused
	}
	return success(ch.Chat)
}

func (s *Server) setMyCommands(c call) response {
	var commands []struct {
		Command     string `json:"command"`
		Description string `json:"description"`
	}
	if err := json.Unmarshal([]byte(c.params["commands"]), &commands); err != nil {
		return badRequest("can't parse commands: expected an Array of commands")
	}
	for _, cmd := range commands {
		if cmd.Command == "" || strings.Trim(cmd.Command, "abcdefghijklmnopqrstuvwxyz0123456789_/") != "" ||
			len(cmd.Command) > 32 {
			return badRequest("BOT_COMMAND_INVALID")
		}
		if cmd.Description == "" {
			return badRequest("BOT_COMMAND_DESCRIPTION_INVALID")
		}
	}
	c.bot.Commands = json.RawMessage(c.params["commands"])
	s.touch()
	return success(true)
}

func (s *Server) getMyCommands(c call) response {
	if c.bot.Commands == nil {
		return success([]string{})
	}
	return success(c.bot.Commands)
}

func (s *Server) deleteMyCommands(c call) response {
	c.bot.Commands = nil
	return success(true)
}

func (s *Server) setWebhook(c call) response {
	url := c.params["url"]
	if url == "" {
		return s.deleteWebhook(c)
	}
	if !strings.HasPrefix(strings.ToLower(url), "https://") {
		return badRequest("bad webhook: An HTTPS URL must be provided for webhook")
	}
	if c.params.bool("drop_pending_updates") {
		c.bot.Queue = nil
	}
	c.bot.allow(c.params)
	out := success(true)
	out.description = "Webhook was set"
	if c.bot.Webhook == url {
		out.description = "Webhook is already set"
	}
	c.bot.Webhook = url
	if w := c.bot.waiting; w != nil {
		w.finish(failure(http.StatusConflict, "Conflict: terminated by setWebhook request"))
		c.bot.waiting = nil
	}
	s.touch()
	return out
}

func (s *Server) deleteWebhook(c call) response {
	if c.params.bool("drop_pending_updates") {
		c.bot.Queue = nil
	}
	out := success(true)
	out.description = "Webhook was deleted"
	if c.bot.Webhook == "" {
		out.description = "Webhook is already deleted"
	}
	c.bot.Webhook = ""
	s.touch()
	return out
}

func (s *Server) getWebhookInfo(c call) response {
	info := map[string]any{
		"url":                    c.bot.Webhook,
		"has_custom_certificate": false,
		"pending_update_count":   len(c.bot.Queue),
	}
	if c.bot.Allowed != nil {
		info["allowed_updates"] = c.bot.Allowed
	}
	if c.bot.Webhook != "" {
		info["max_connections"] = 40
	}
	return success(info)
}
