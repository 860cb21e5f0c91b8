package web

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"tandem/internal/inbox"
)

//go:embed templates/*.html
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"static": staticURL}).
	ParseFS(templateFiles, "templates/*.html"))

// render writes a template, whole or not at all.
func render(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
	return nil
}

// renderLarge is render for what may be large, about size bytes: it is in memory until the reader has it.
func (s *Server) renderLarge(
	w http.ResponseWriter, r *http.Request, status int, name string, data any, size int,
) error {
	release, err := s.inFlight.acquire(r.Context(), who(r), size)
	if err != nil {
		return err
	}
	defer release()
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = s.inChunks(w, r, b.Len()).Write(b.Bytes())
	return nil
}

// errorPage says what is wrong, and nothing else.
type errorPage struct {
	layout
	Text   string
	Reason string // what is wrong with the database, as far as whoever reads it may know
	Draft  *draft // an answer that could not be stored: it must not be lost
}

// failPage answers a request for a page with an error.
func (s *Server) failPage(w http.ResponseWriter, r *http.Request, p *problem, err error) {
	view := errorPage{
		layout: layout{Title: http.StatusText(p.Status), Operator: who(r).name}, Text: sentence(p.Detail),
	}
	d, release := s.draftOf(w, r, p)
	defer release()
	view.Draft = d
	name := "error"
	switch {
	case p.Status == http.StatusUnauthorized && r.Method == http.MethodPost:
		view.Title = "You are not signed in"
		view.Text = "Nothing was changed. Sign in, go back to the page before this one, and try again."
		if d != nil {
			view.Text = "Nothing was changed."
		}
	case p.Status == http.StatusUnauthorized:
		w.Header().Del("WWW-Authenticate")
		if r.URL.Path != "/" {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		name, view.Title, p = "welcome", "Sign in", &problem{Status: http.StatusOK}
	case busyBanner(err) != nil:
		b := busyBanner(err)
		view.Title, view.Text = b.Title, b.Text
	case errors.Is(err, inbox.ErrUnavailable) && inbox.CanRead(err):
		b := storingBanner(p.Detail)
		view.Title, view.Reason = b.Title, b.Text
		view.Text = "Nothing was changed. Reading goes on; try again when this is mended."
	case errors.Is(err, inbox.ErrUnavailable):
		down := databaseBanner(p.Detail)
		view.Title, view.Reason = down.Title, down.Text
		view.Text = "Nothing can be read or answered until it is back. What was stored is safe."
		if r.Method == http.MethodGet {
			view.Refresh = 5
		}
	}
	if err := render(w, p.Status, name, view); err != nil {
		s.log.Error("a page with an error failed", "error", err)
		http.Error(w, p.Detail, http.StatusInternalServerError)
	}
}

// failFragment answers the page's script, which shows the words where they belong.
func (s *Server) failFragment(w http.ResponseWriter, p *problem, err error) {
	b := busyBanner(err)
	switch {
	case b != nil:
	case p.Status == http.StatusUnauthorized:
		b = &banner{Level: "warning", Title: "You are signed out", Text: "What you typed is kept in this window. " +
			"Sign in with a new link in another tab, then reload this page."}
	case p.Status == http.StatusServiceUnavailable && errors.Is(err, inbox.ErrUnavailable) && inbox.CanRead(err):
		b = storingBanner(p.Detail)
	case p.Status == http.StatusServiceUnavailable && errors.Is(err, inbox.ErrUnavailable):
		b = databaseBanner(p.Detail)
	default:
		writeProblem(w, p)
		return
	}
	w.Header().Set("X-Banner", "1")
	if err := render(w, p.Status, "banner", b); err != nil {
		s.log.Error("a banner failed", "error", err)
	}
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request) error {
	secret := mux.Vars(r)["secret"]
	op, err := s.store.SignInOperator(r.Context(), hashOf(secret))
	if errors.Is(err, inbox.ErrNotFound) {
		return s.deadLink(w)
	}
	if err != nil {
		return err
	}
	s.probe(w)
	return render(w, http.StatusOK, "signin", struct {
		layout
		Name, Secret string
		Probed       bool
	}{layout{Title: "Sign in"}, op.Name, secret, s.https()})
}

func (s *Server) deadLink(w http.ResponseWriter) error {
	return render(w, http.StatusGone, "deadlink", layout{Title: "This link does not work any more"})
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	if secret := r.PostForm.Get("secret"); s.keepsNoCookie(r) {
		base := s.config.BaseURL.Scheme + "://" + s.config.BaseURL.Host
		return render(w, http.StatusBadRequest, "elsewhere", struct {
			layout
			Base, Link string
		}{layout{Title: "Sign in elsewhere"}, base, base + "/sign-in/" + url.PathEscape(secret)})
	}
	op, err := s.store.RedeemSignIn(r.Context(), hashOf(r.PostForm.Get("secret")), keepsOthers(r.PostForm["others"]))
	if errors.Is(err, inbox.ErrNotFound) {
		return s.deadLink(w)
	}
	if err != nil {
		return err
	}
	if err := s.beginSession(w, r, op); err != nil {
		return fmt.Errorf("begin a session: %w", err)
	}
	s.log.Info("signed in", "operator", op.Name)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// keepsOthers says whether the operator's sessions elsewhere go on. The page's form says keep, and end where the box is
// ticked. Who says nothing, like a page of the version before, gets what protects a lost device.
func keepsOthers(others []string) bool {
	return slices.Contains(others, "keep") && !slices.Contains(others, "end")
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	if err := s.endSession(w, who(r)); err != nil {
		return err
	}
	w.Header().Set("Clear-Site-Data", `"cache"`) // files of customers are kept there
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

const (
	pageSize = 50
	// fragmentBytes ends a fragment of messages early.
	fragmentBytes = 512 << 10
	// inHTML is how often a text is there while it is drawn: itself, and in a buffer that grows, in which a quotation
	// mark has five bytes.
	inHTML = 5
)

// filter is which conversations the list shows; it travels in the address.
type filter struct {
	view   inbox.View
	tag    string
	query  string
	cursor string
}

func filterOf(r *http.Request) filter {
	q := r.URL.Query()
	f := filter{view: inbox.View(q.Get("view")), tag: strings.Join(strings.Fields(inbox.CleanText(q.Get("tag"))), " "),
		query: inbox.CleanText(strings.TrimSpace(q.Get("q"))), cursor: q.Get("cursor")}
	if status := q.Get("status"); f.view == "" && (status == "closed" || status == "all") { // a link of the version before
		f.view = inbox.View(status)
	}
	if !slices.Contains(inbox.Views, f.view) {
		f.view = inbox.ViewOpen
	}
	if runes := []rune(f.query); len(runes) > maxQuery {
		f.query = string(runes[:maxQuery])
	}
	if runes := []rune(f.tag); len(runes) > inbox.MaxTag {
		f.tag = string(runes[:inbox.MaxTag])
	}
	return f
}

// encode is the filter as "?view=...", "" for the usual one.
func (f filter) encode(more ...string) string {
	q := url.Values{}
	if f.view != inbox.ViewOpen {
		q.Set("view", string(f.view))
	}
	if f.tag != "" {
		q.Set("tag", f.tag)
	}
	if f.query != "" {
		q.Set("q", f.query)
	}
	if f.cursor != "" {
		q.Set("cursor", f.cursor)
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// list is the list; with an error of the store it is empty.
func (s *Server) list(r *http.Request, f filter, current int64) (*listView, error) {
	if f.query != "" {
		return s.found(r, f, current)
	}
	before, err := fromCursor("cursor", cursorOf(f.view, ""), f.cursor)
	if err != nil {
		return nil, err
	}
	want := inbox.ConversationFilter{View: f.view, Tag: f.tag, Limit: pageSize, Before: before, Brief: true}
	if f.view == inbox.ViewMine {
		want.Operator = who(r).id
	}
	items, next, err := s.store.Conversations(r.Context(), want)
	newest := f
	newest.cursor = ""
	v := &listView{View: string(f.view), Tag: f.tag, Paged: before != 0, First: "/" + newest.encode(),
		Source: "/fragments/list" + f.encode("current", strconv.FormatInt(current, 10)),
		Views:  s.viewTabs(r, f)}
	if err != nil {
		return v, err
	}
	unread, err := s.unreadOf(r, items)
	for _, c := range items {
		item := viewItem(c, fmt.Sprintf("/conversations/%d%s", c.ID, f.encode()), c.ID == current)
		item.team(c, unread[c.ID], f)
		v.Items = append(v.Items, item)
	}
	if cursor := toCursor(cursorOf(f.view, ""), next); cursor != nil {
		older := newest
		older.cursor = *cursor
		v.Next = "/" + older.encode()
	}
	return v, err
}

// found is the list of what a search found, in open and closed conversations: a hit leads to its message.
func (s *Server) found(r *http.Request, f filter, current int64) (*listView, error) {
	before, err := fromCursor("cursor", "s", f.cursor)
	if err != nil {
		return nil, err
	}
	first := filter{view: f.view, query: f.query}
	v := &listView{Query: f.query, View: string(f.view), Paged: before != 0, First: "/" + first.encode(),
		Source: "/fragments/list" + f.encode("current", strconv.FormatInt(current, 10)),
		Leave:  "/" + filter{view: f.view}.encode(), Views: s.viewTabs(r, filter{view: noView})}
	p, err := s.store.Search(r.Context(), inbox.SearchQuery{Words: f.query, Limit: pageSize, Before: before})
	if err != nil {
		return v, err
	}
	for _, h := range p.Hits {
		item := viewHit(h, first.encode(), current)
		item.ID = h.Conversation.ID
		v.Items = append(v.Items, item)
	}
	if cursor := toCursor("s", p.Next); cursor != nil {
		v.Next = "/" + filter{view: f.view, query: f.query, cursor: *cursor}.encode()
	}
	if !p.Complete {
		v.Incomplete = true
		if p.ReachesBackTo != nil {
			back := at(*p.ReachesBackTo)
			v.ReachesBackTo = &back
		}
	}
	return v, nil
}

// frame begins an inbox page. The number of the newest event is read before anything else, so that what is
// committed while the page is drawn comes with its stream.
func (s *Server) frame(r *http.Request, title string) (layout, error) {
	event, err := s.store.LastEvent(r.Context())
	if err != nil {
		return layout{}, err
	}
	b, err := s.banner(r)
	return layout{Title: title, Operator: who(r).name, Me: who(r).id, Banner: b, Event: event, Live: true}, err
}

func (s *Server) banner(r *http.Request) (*banner, error) {
	if err := s.store.Ready(); err != nil && inbox.CanRead(err) {
		return storingBanner(cmp.Or(reason(err), err.Error())), nil
	}
	v, err := s.botView(r.Context())
	if err != nil {
		return nil, err
	}
	b := v.banner()
	if b == nil {
		return nil, nil
	}
	queue, err := s.store.Queue(r.Context())
	if err != nil {
		return nil, err
	}
	b.waiting(queue.Queued + queue.Sending)
	return b, nil
}

func (s *Server) listPage(w http.ResponseWriter, r *http.Request) error {
	frame, err := s.frame(r, "Inbox")
	if err != nil {
		return err
	}
	frame.Screen = "list"
	l, err := s.list(r, filterOf(r), 0)
	if err != nil {
		return err
	}
	return s.renderLarge(w, r, http.StatusOK, "inbox", inboxPage{frame, l, nil}, 0)
}

func (s *Server) conversationPage(w http.ResponseWriter, r *http.Request) error {
	return s.showConversation(w, r, http.StatusOK, "", "", "")
}

// showConversation draws a conversation, with what was typed and what is wrong with it after a refused answer. A key
// stays that of an answer that may be stored already, "" makes a new one.
func (s *Server) showConversation(w http.ResponseWriter, r *http.Request, status int, typed, key, wrong string) error {
	frame, err := s.frame(r, "")
	if err != nil {
		return err
	}
	f := filterOf(r)
	c, err := s.head(r, f)
	if err != nil {
		return err
	}
	frame.Screen, frame.Title = "conversation", c.Name
	l, err := s.list(r, f, c.ID)
	if b := busyBanner(err); b != nil && l != nil {
		l.Trouble = b // the conversation is to be read all the same
	} else if err != nil {
		return err
	}
	before, err := fromCursor("before", "m", r.URL.Query().Get("before"))
	if err != nil {
		return err
	}
	messages, next, err := s.store.Messages(r.Context(), c.ID, pageSize, before)
	if err != nil {
		return err
	}
	at, _ := strconv.ParseInt(r.URL.Query().Get("at"), 10, 64)
	if at > 0 && before == 0 && next != 0 && at < messages[len(messages)-1].ID { // older than the newest page
		before = at + 1
		if messages, next, err = s.store.Messages(r.Context(), c.ID, pageSize, before); err != nil {
			return err
		}
	}
	s.wantFiles(messages)
	here := fmt.Sprintf("/conversations/%d", c.ID)
	size := 0
	for i := len(messages) - 1; i >= 0; i-- {
		size += inHTML * sizeOfMessage(&messages[i])
		c.Messages = append(c.Messages, viewMessage(messages[i], c.Query))
	}
	groupAlbums(c.Messages)
	if cursor := toCursor("m", next); cursor != nil {
		c.Older = here + f.encode("before", *cursor)
	}
	if before != 0 {
		c.Newest = here + f.encode()
	}
	if err := s.composeTo(r, c, messages); err != nil {
		return err
	}
	c.Key, c.Text, c.Error, c.Max = cmp.Or(key, rand.Text()), typed, sentence(wrong), inbox.MaxAnswer
	more, err := s.putBeside(r, c, next == 0, before == 0)
	if err != nil {
		return err
	}
	size += more
	if err := s.addDesk(r, c); err != nil {
		return err
	}
	if before == 0 && len(messages) > 0 {
		s.shown(r, c.ID, messages[0].ID)
	}
	return s.renderLarge(w, r, status, "inbox", inboxPage{frame, l, c}, size)
}

// composeTo says where an answer from the page goes: to the message that was chosen, which a refused form says as well,
// and to the topic of the customer's last message on it.
func (s *Server) composeTo(r *http.Request, c *conversationView, shown []inbox.Message) error {
	for i := range shown { // newest first
		if shown[i].ThreadID != 0 {
			c.Topics = true
		}
	}
	if c.Topics {
		last := slices.IndexFunc(shown, func(m inbox.Message) bool { return m.Direction == inbox.In && !m.Service })
		if last >= 0 {
			c.TopicID, c.Topic = shown[last].ThreadID, topicName(shown[last])
		} else {
			c.Topics = false
		}
	}
	if _, topic := answerTo(r); topic != nil { // as when it was written
		c.Topics, c.TopicID, c.Topic = true, *topic, topicName(inbox.Message{ThreadID: *topic})
		for i := range shown {
			if shown[i].ThreadID == *topic && shown[i].Topic != "" {
				c.Topic = shown[i].Topic
			}
		}
	}
	chosen := cmp.Or(r.PostForm.Get("reply_to"), r.URL.Query().Get("reply"))
	id, err := strconv.ParseInt(chosen, 10, 64)
	if err != nil || id <= 0 {
		return nil
	}
	m, err := s.store.Message(r.Context(), id)
	if errors.Is(err, inbox.ErrNotFound) || err == nil && m.ConversationID != c.ID {
		return nil
	}
	if err != nil {
		return err
	}
	reply := inbox.ReplyTo(m)
	c.ReplyTo = &replyView{ID: id, From: reply.From, Label: capital(reply.Notice),
		Text: strings.Join(strings.Fields(reply.Text), " ")}
	return nil
}

// head is what the page says of a conversation above its messages.
func (s *Server) head(r *http.Request, f filter) (*conversationView, error) {
	c, err := s.conversation(r)
	if err != nil {
		return nil, err
	}
	name := customerName(c.Customer)
	here := fmt.Sprintf("/conversations/%d", c.ID)
	v := &conversationView{
		ID: c.ID, Name: name, Username: c.Customer.Username, Initial: initial(name), Hue: hue(c.Customer.ID),
		Closed: c.Status == inbox.Closed, Unreachable: unreachable(c).long, Former: c.FormerNames,
		Back: "/" + f.encode(), Query: f.encode(),
		HeadSource: "/fragments" + here + f.encode(), DeskSource: "/fragments" + here + "/desk" + f.encode(),
		MessagesSource: "/fragments" + here + "/messages" + f.encode(),
	}
	v.team(c)
	return v, nil
}

func (s *Server) bannerFragment(w http.ResponseWriter, r *http.Request) error {
	event, err := s.store.LastEvent(r.Context())
	if err != nil {
		return err
	}
	b, err := s.banner(r)
	if err != nil {
		return err
	}
	w.Header().Set("X-Banner", "1")
	w.Header().Set("X-Last-Event", strconv.FormatInt(event, 10))
	return render(w, http.StatusOK, "banner", b)
}

func (s *Server) listFragment(w http.ResponseWriter, r *http.Request) error {
	current, _ := strconv.ParseInt(r.URL.Query().Get("current"), 10, 64)
	l, err := s.list(r, filterOf(r), current)
	if err != nil {
		return err
	}
	return s.renderLarge(w, r, http.StatusOK, "items", l, 0)
}

func (s *Server) headFragment(w http.ResponseWriter, r *http.Request) error {
	c, err := s.head(r, filterOf(r))
	if err != nil {
		return err
	}
	return render(w, http.StatusOK, "head", c)
}

// deskFragment is the forms about a conversation.
func (s *Server) deskFragment(w http.ResponseWriter, r *http.Request) error {
	c, err := s.head(r, filterOf(r))
	if err == nil {
		err = s.addDesk(r, c)
	}
	if err != nil {
		return err
	}
	return render(w, http.StatusOK, "desk", c)
}

// messagesFragment is the messages with the ids that are asked for, of those that belong to the conversation.
func (s *Server) messagesFragment(w http.ResponseWriter, r *http.Request) error {
	c, err := s.head(r, filterOf(r))
	if err != nil {
		return err
	}
	ids := r.URL.Query()["id"]
	if len(ids) > pageSize {
		return bad("id: want at most %d of them", pageSize)
	}
	size := 0
	for _, text := range ids {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return bad("id: want the number of a message")
		}
		m, err := s.store.Message(r.Context(), id)
		if errors.Is(err, inbox.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if m.ConversationID != c.ID {
			continue
		}
		if size += sizeOfMessage(&m); size > fragmentBytes && len(c.Messages) > 0 {
			w.Header().Set("X-Next", text) // from which on they are to be asked for again
			break
		}
		c.Messages = append(c.Messages, viewMessage(m, c.Query))
	}
	groupAlbums(c.Messages)
	return s.renderLarge(w, r, http.StatusOK, "messages", c.Messages, inHTML*size)
}
