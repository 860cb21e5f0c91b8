package web

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/internal/inbox"
)

// The part of the page that a team works with: views and what each counts, whose a conversation is, its tags, what was
// said among operators, and what was done. All of it works without the page's script.

// viewsView is the views above the list.
type viewsView struct {
	Source string
	Tabs   []tab
}

type tab struct {
	Label, Link string
	Count       int64
	Current     bool
	Key         string // which leads there, behind g
}

var viewKeys = map[inbox.View]string{inbox.ViewOpen: "o", inbox.ViewMine: "m", inbox.ViewUnassigned: "u",
	inbox.ViewWaiting: "w", inbox.ViewSnoozed: "s", inbox.ViewClosed: "c", inbox.ViewAll: "a"}

// noView is where a search is, which looks into all.
const noView inbox.View = "none"

// viewTabs has no counts where the database does not give them in time: the list is worth more.
func (s *Server) viewTabs(r *http.Request, f filter) viewsView {
	counts, err := s.store.Counts(r.Context(), who(r).id)
	if err != nil {
		counts = nil
	}
	shown := f
	shown.cursor = ""
	v := viewsView{Source: "/fragments/views" + shown.encode()}
	for _, view := range inbox.Views {
		shown.view = view
		v.Tabs = append(v.Tabs,
			tab{capital(string(view)), "/" + shown.encode(), counts[view], view == f.view, viewKeys[view]})
	}
	return v
}

func (s *Server) viewsFragment(w http.ResponseWriter, r *http.Request) error {
	f := filterOf(r)
	if r.URL.Query().Get("view") == string(noView) {
		f.view = noView
	}
	return render(w, http.StatusOK, "views", s.viewTabs(r, f))
}

// unreadOf counts what the operator who looks has not read.
func (s *Server) unreadOf(r *http.Request, items []inbox.Conversation) (map[int64]int64, error) {
	if len(items) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(items))
	for i := range items {
		ids[i] = items[i].ID
	}
	return s.store.UnreadBy(r.Context(), who(r).id, ids)
}

// itemTeam is what the list says of a conversation for a team.
type itemTeam struct {
	ID       int64
	Unread   string // how many, "" for none
	Tags     []tagView
	Assignee string
	Waiting  *timeView // since when
	Snoozed  *timeView // until when
	Woken    bool
	Banned   bool
}

type tagView struct{ Name, Hue, Link string }

// tagHue is the colour of a tag, which is its own wherever it stands.
func tagHue(name string) string {
	var sum int64
	for _, r := range strings.ToLower(name) {
		sum = (sum*31 + int64(r)) % 1_000_003
	}
	return hue(sum)
}

func unreadWords(n int64) string {
	switch {
	case n <= 0:
		return ""
	case n >= inbox.MaxUnread:
		return fmt.Sprintf("%d+", inbox.MaxUnread-1)
	}
	return strconv.FormatInt(n, 10)
}

func (v *itemView) team(c inbox.Conversation, unread int64, f filter) {
	v.itemTeam = itemTeam{ID: c.ID, Unread: unreadWords(unread), Tags: tagViews(c.Tags), Woken: c.WokenAt != nil,
		Banned: c.Banned}
	if c.Assignee != nil {
		v.Assignee = c.Assignee.Name
	}
	if c.WaitingSince != nil && f.view == inbox.ViewWaiting {
		t := at(*c.WaitingSince)
		v.Waiting = &t
	}
	if c.SnoozedUntil != nil {
		t := at(*c.SnoozedUntil)
		v.Snoozed = &t
	}
}

func tagViews(tags []string) []tagView {
	var list []tagView
	for _, name := range tags {
		list = append(list, tagView{name, tagHue(name), "/?" + url.Values{"view": {"all"}, "tag": {name}}.Encode()})
	}
	return list
}

// conversationTeam is what stands above a conversation for a team, and the forms for it.
type conversationTeam struct {
	Version      int64
	Assignee     string
	AssigneeID   int64
	Tags         []tagView
	SnoozedUntil *timeView
	Woken        bool
	WaitingSince *timeView
	Banned       bool
	CameFrom     string
	Me           int64
	Team         []inbox.Colleague
	KnownTags    []string
	BesideSource string
	Note         string // that was refused
	NoteError    string
	MaxNote      int
}

func (v *conversationView) team(c inbox.Conversation) {
	v.Version, v.Tags, v.Woken, v.Banned, v.CameFrom = c.Version, tagViews(c.Tags), c.WokenAt != nil, c.Banned, c.CameFrom
	if c.Assignee != nil {
		v.Assignee, v.AssigneeID = c.Assignee.Name, c.Assignee.ID
	}
	if c.SnoozedUntil != nil {
		t := at(*c.SnoozedUntil)
		v.SnoozedUntil = &t
	}
	if c.WaitingSince != nil {
		t := at(*c.WaitingSince)
		v.WaitingSince = &t
	}
}

// tagsOffered is how many tags a form offers.
const tagsOffered = 200

// addDesk adds what the forms need.
func (s *Server) addDesk(r *http.Request, c *conversationView) (err error) {
	c.Me, c.MaxNote = who(r).id, inbox.MaxNote
	if strings.HasSuffix(r.URL.Path, "/notes") { // a note that was refused
		c.Note = r.PostForm.Get("text")
		c.NoteError = fmt.Sprintf("The note was not stored: want at most %d characters, and not none.", inbox.MaxNote)
	}
	if c.Team, err = s.colleagues(r.Context()); err != nil {
		return err
	}
	c.KnownTags, err = s.store.KnownTags(r.Context(), tagsOffered)
	return err
}

// memoView is a note in the thread.
type memoView struct {
	ID     int64
	After  int64
	Author string
	Label  string
	Text   template.HTML
	Time   timeView
}

// deedView is a line that says what was done.
type deedView struct {
	ID    int64
	After int64
	Who   string
	Words string
	Name  string // of a person or a tag
	Until *timeView
	Time  timeView
}

// besideAtOnce is how many notes, and how many of what was done, a page shows at most.
const besideAtOnce = 100

// putBeside puts what stands between messages among those that are shown, and says how many bytes more that are.
func (s *Server) putBeside(r *http.Request, c *conversationView, first, newest bool) (size int, err error) {
	var from int64
	if !first && len(c.Messages) > 0 {
		from = c.Messages[0].ID
	}
	c.BesideSource = fmt.Sprintf("/fragments/conversations/%d/beside?from=%d", c.ID, from)
	list, size, err := s.beside(r, c.ID, from)
	if err != nil {
		return 0, err
	}
	merged := make([]messageView, 0, len(c.Messages)+len(list))
	for _, m := range c.Messages {
		for len(list) > 0 && list[0].place() < m.ID {
			merged, list = append(merged, list[0]), list[1:]
		}
		merged = append(merged, m)
	}
	if newest {
		merged = append(merged, list...)
	}
	c.Messages = merged
	return size, nil
}

// place is the message behind which it stands.
func (m messageView) place() int64 {
	switch {
	case m.Memo != nil:
		return m.Memo.After
	case m.Deed != nil:
		return m.Deed.After
	}
	return m.ID
}

func (s *Server) beside(r *http.Request, conversation, from int64) (list []messageView, size int, err error) {
	notes, did, err := s.store.Beside(r.Context(), conversation, from, besideAtOnce)
	if err != nil {
		return nil, 0, err
	}
	for len(notes) > 0 || len(did) > 0 {
		if len(did) == 0 || len(notes) > 0 && notes[0].CreatedAt.Before(did[0].CreatedAt) {
			size += inHTML * len(notes[0].Text)
			list, notes = append(list, messageView{Memo: viewNote(notes[0])}), notes[1:]
		} else {
			list, did = append(list, messageView{Deed: viewActivity(did[0])}), did[1:]
		}
	}
	return list, size, nil
}

func viewNote(n inbox.Note) *memoView {
	v := &memoView{ID: n.ID, After: n.AfterMessage, Text: richText(n.Text, nil), Time: at(n.CreatedAt)}
	v.Author, v.Label = author(n.Author)
	return v
}

var activityWords = map[inbox.ActivityKind]string{
	inbox.Assigned: "assigned this to", inbox.Unassigned: "took this from whoever had it",
	inbox.WasClosed: "closed this", inbox.WasOpened: "opened this again", inbox.Tagged: "added the tag",
	inbox.Untagged: "took away the tag", inbox.Snoozed: "snoozed this until", inbox.Woken: "ended the snooze",
	inbox.WasBanned: "banned this customer", inbox.Unbanned: "lifted the ban",
}

func viewActivity(a inbox.Activity) *deedView {
	v := &deedView{ID: a.ID, After: a.AfterMessage, Words: activityWords[a.Kind], Name: a.Detail, Time: at(a.CreatedAt)}
	if v.Words == "" { // of a later version
		v.Words = string(a.Kind)
	}
	switch {
	case a.Author.Kind == "" && a.Kind == inbox.Woken:
		v.Words = "The snooze is over"
	case a.Author.Kind == "":
		v.Who = "Somebody"
	default:
		v.Who, _ = author(a.Author)
	}
	if a.Kind == inbox.Assigned && a.Detail == a.Author.Name {
		v.Words, v.Name = "took this", ""
	}
	if until, err := time.Parse(time.RFC3339, a.Detail); a.Kind == inbox.Snoozed && err == nil {
		t := at(until)
		v.Until, v.Name = &t, ""
	}
	return v
}

func (s *Server) besideFragment(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	from, _ := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	list, size, err := s.beside(r, id, from)
	if err != nil {
		return err
	}
	return s.renderLarge(w, r, http.StatusOK, "messages", list, size)
}

// shown notes that an operator has been shown the newest message. What cannot be noted stays unread, which is no harm.
func (s *Server) shown(r *http.Request, conversation, message int64) {
	unread, err := s.store.UnreadBy(r.Context(), who(r).id, []int64{conversation})
	if err == nil && unread[conversation] > 0 && r.Method != http.MethodHead {
		err = s.store.MarkRead(r.Context(), who(r).id, conversation, message, true)
	}
	if err != nil && !inbox.TryLater(err) {
		s.log.Warn("what was read cannot be noted", "error", err)
	}
}

// unreadForm takes back what was read: from a message on, else from the last one of the customer.
func (s *Server) unreadForm(w http.ResponseWriter, r *http.Request) error {
	c, err := s.conversation(r)
	if err != nil {
		return err
	}
	messages, _, err := s.store.Messages(r.Context(), c.ID, pageSize, 0)
	if err != nil {
		return err
	}
	from, _ := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	i := slices.IndexFunc(messages, func(m inbox.Message) bool {
		return m.Direction == inbox.In && !m.Service && (from == 0 || m.ID == from)
	})
	if i >= 0 {
		var before int64
		if i+1 < len(messages) {
			before = messages[i+1].ID
		}
		if err := s.store.MarkRead(r.Context(), who(r).id, c.ID, before, false); err != nil {
			return err
		}
	}
	http.Redirect(w, r, "/"+filterOf(r).encode(), http.StatusSeeOther)
	return nil
}

// deskForm makes what one of the forms beside a conversation asks for.
func (s *Server) deskForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	id, err := pathID(r)
	if err != nil {
		return err
	}
	ch, err := changeOf(r.PostForm)
	if err != nil {
		return err
	}
	ch.By = who(r).author()
	_, err = s.store.ChangeConversation(r.Context(), id, ch)
	switch {
	case errors.Is(err, inbox.ErrStale):
		return s.showConversation(w, r, http.StatusPreconditionFailed, "", "",
			"nothing was changed: somebody else has changed this conversation, or the customer has written. "+
				"Here it is as it stands now")
	case errors.Is(err, inbox.ErrNoOperator):
		return unprocessable("this operator is not there any more: go back and load the page again")
	case err != nil:
		return err
	}
	http.Redirect(w, r, fmt.Sprintf("/conversations/%d%s", id, filterOf(r).encode()), http.StatusSeeOther)
	return nil
}

// changeOf is the change that a form asks for.
func changeOf(form url.Values) (ch inbox.ConversationChange, err error) {
	if v := form.Get("version"); v != "" {
		if ch.Version, err = strconv.ParseInt(v, 10, 64); err != nil || ch.Version < 0 {
			return ch, bad("version: want that of the page")
		}
	}
	if v := form.Get("assignee_id"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return ch, bad("assignee_id: want the number of an operator, or 0")
		}
		ch.Assignee = &n
	}
	for name, to := range map[string]*string{"add_tag": &ch.AddTag, "remove_tag": &ch.RemoveTag} {
		if v := form.Get(name); v != "" {
			if *to, err = inbox.CleanTag(v); err != nil {
				return ch, unprocessable("%v", err)
			}
		}
	}
	if v := form.Get("snooze"); v != "" { // for so long, 0 to end it
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 || d > inbox.MaxSnooze {
			return ch, bad("snooze: want a time like 4h")
		}
		var until time.Time
		if d > 0 {
			until = time.Now().Add(d)
		}
		ch.SnoozedUntil = &until
	}
	if v := form.Get("banned"); v != "" {
		banned := v == "true"
		ch.Banned = &banned
	}
	return ch, nil
}

// noteForm stores a note that was written without the page's script.
func (s *Server) noteForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	n, err := s.addNote(r, r.PostForm.Get("text"))
	var refused *problem
	if errors.As(err, &refused) && refused.Status == http.StatusUnprocessableEntity {
		return s.showConversation(w, r, refused.Status, "", "", "")
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, fmt.Sprintf("/conversations/%d%s#n%d", n.ConversationID, filterOf(r).encode(), n.ID),
		http.StatusSeeOther)
	return nil
}
