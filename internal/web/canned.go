package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"tandem/internal/inbox"
)

// operatorOf is who asks, 0 for a program.
func operatorOf(r *http.Request) int64 {
	if p := who(r); p.kind == inbox.ByOperator {
		return p.id
	}
	return 0
}

// cannedView is the page on which canned answers are kept.
type cannedView struct {
	layout
	Items []inbox.Canned
	Typed inbox.Canned // what was refused
	Error string
	Max   int
}

func (s *Server) cannedPage(w http.ResponseWriter, r *http.Request) error {
	return s.showCanned(w, r, http.StatusOK, inbox.Canned{}, "")
}

func (s *Server) showCanned(
	w http.ResponseWriter, r *http.Request, status int, typed inbox.Canned, wrong string,
) error {
	items, err := s.store.Canned(r.Context(), operatorOf(r))
	if err != nil {
		return err
	}
	size := 0
	for _, c := range items {
		size += inHTML * len(c.Text)
	}
	return s.renderLarge(w, r, status, "saved", cannedView{layout{Title: "Canned answers", Operator: who(r).name},
		items, typed, sentence(wrong), inbox.MaxCannedText}, size)
}

// cannedForm stores a canned answer that was written on its page.
func (s *Server) cannedForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	c := inbox.Canned{Name: r.PostForm.Get("name"), Folder: r.PostForm.Get("folder"), Text: r.PostForm.Get("text"),
		Shared: r.PostForm.Get("shared") != "", Owner: operatorOf(r), Then: inbox.CannedThen{Tags: []string{}}}
	_, err := (&cannedChange{Name: &c.Name, Folder: &c.Folder, Text: &c.Text}).clean()
	if err == nil {
		_, err = s.store.AddCanned(r.Context(), c)
	}
	if why, _ := problemOf(err); err != nil && why.Status >= 400 && why.Status < 500 {
		return s.showCanned(w, r, why.Status, c, why.Detail)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/canned", http.StatusSeeOther)
	return nil
}

func (s *Server) removeCannedForm(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	if err := s.store.DeleteCanned(r.Context(), operatorOf(r), id); err != nil && !errors.Is(err, inbox.ErrNotFound) {
		return err
	}
	http.Redirect(w, r, "/canned", http.StatusSeeOther)
	return nil
}

func (s *Server) listCanned(w http.ResponseWriter, r *http.Request) error {
	items, err := s.store.Canned(r.Context(), operatorOf(r))
	if err != nil {
		return err
	}
	return s.writeLarge(w, r, newList(items, nil, func(c *inbox.Canned) int { return 500 + len(c.Text) }))
}

// cannedChange is what a request says of a canned answer.
type cannedChange struct {
	Name   *string `json:"name"`
	Folder *string `json:"folder"`
	Text   *string `json:"text"`
	Shared *bool   `json:"shared"`
	Then   *struct {
		Tags     []string                  `json:"tags"`
		Assignee *int64                    `json:"assignee"`
		Status   *inbox.ConversationStatus `json:"status"`
	} `json:"then"`
}

// clean makes what was sent fit to be stored.
func (in *cannedChange) clean() (ch inbox.CannedChange, err error) {
	ch = inbox.CannedChange{Name: in.Name, Folder: in.Folder, Text: in.Text, Shared: in.Shared}
	for name, field := range map[string]*string{"name": ch.Name, "folder": ch.Folder} {
		if field == nil {
			continue
		}
		*field = strings.Join(strings.Fields(inbox.CleanText(*field)), " ")
		if n := utf8.RuneCountInString(*field); n > inbox.MaxCannedName {
			return ch, unprocessable("%s: want at most %d characters, have %d", name, inbox.MaxCannedName, n)
		}
	}
	if ch.Name != nil && inbox.Blank(*ch.Name) {
		return ch, unprocessable("name: it is empty")
	}
	if ch.Text != nil {
		*ch.Text = inbox.CleanText(*ch.Text)
		if inbox.Blank(*ch.Text) {
			return ch, unprocessable("text: it is empty")
		}
		if n := utf8.RuneCountInString(*ch.Text); n > inbox.MaxCannedText {
			return ch, unprocessable("text: want at most %d characters, have %d", inbox.MaxCannedText, n)
		}
	}
	if in.Then == nil {
		return ch, nil
	}
	then := inbox.CannedThen{Assignee: in.Then.Assignee, Status: in.Then.Status}
	if then.Tags, err = inbox.CleanTags(in.Then.Tags); err != nil {
		return ch, unprocessable("then.tags: %v", err)
	}
	if then.Assignee != nil && *then.Assignee < 0 {
		return ch, unprocessable("then.assignee: want the id of an operator, 0 for nobody, or null")
	}
	if s := then.Status; s != nil && !slices.Contains([]inbox.ConversationStatus{inbox.Open, inbox.Closed}, *s) {
		return ch, unprocessable(`then.status: want "open", "closed" or null`)
	}
	ch.Then = &then
	return ch, nil
}

func readCanned(r *http.Request) (inbox.CannedChange, error) {
	var in cannedChange
	if err := readJSON(r, &in); err != nil {
		return inbox.CannedChange{}, err
	}
	ch, err := in.clean()
	if err == nil && operatorOf(r) == 0 && ch.Shared != nil && !*ch.Shared {
		err = unprocessable("shared: a token has no canned answers of its own; want true")
	}
	return ch, err
}

func (s *Server) postCanned(w http.ResponseWriter, r *http.Request) error {
	ch, err := readCanned(r)
	if err != nil {
		return err
	}
	if ch.Name == nil || ch.Text == nil {
		return unprocessable("name and text: one of them is missing")
	}
	c := inbox.Canned{Name: *ch.Name, Text: *ch.Text, Owner: operatorOf(r), Then: inbox.CannedThen{Tags: []string{}}}
	c.Shared = c.Owner == 0
	if ch.Shared != nil {
		c.Shared = *ch.Shared
	}
	if ch.Folder != nil {
		c.Folder = *ch.Folder
	}
	if ch.Then != nil {
		c.Then = *ch.Then
	}
	if c, err = s.store.AddCanned(r.Context(), c); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, c)
}

func (s *Server) patchCanned(w http.ResponseWriter, r *http.Request) error {
	ch, err := readCanned(r)
	if err != nil {
		return err
	}
	id, err := pathID(r)
	if err != nil {
		return err
	}
	c, err := s.store.ChangeCanned(r.Context(), operatorOf(r), id, ch)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c)
}

func (s *Server) deleteCanned(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	if err := s.store.DeleteCanned(r.Context(), operatorOf(r), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
