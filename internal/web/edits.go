package web

import (
	"context"
	"fmt"
	"html/template"
	"net/http"

	"tandem/internal/inbox"
)

// What a message said before it was edited.

type editsPage struct {
	layout
	Back  string // address of the message as it is now
	Items []wordingView
	More  string // address of the page with later ones, "" when there are none
	Some  bool   // not all are kept
}

type wordingView struct {
	Until   timeView
	Notice  string        // what is ours to say of it
	Details string        // the sender's
	Text    template.HTML // the sender's
}

func viewWording(w inbox.Wording) wordingView {
	v := wordingView{Until: at(w.Until), Notice: capital(w.Notice), Details: w.Details}
	v.Text = richText(w.Text, w.Entities)
	return v
}

func sizeOfWording(w *inbox.Wording) int {
	n := 200 + len(w.Text) + len(w.Details)
	for i := range w.Entities {
		n += 250 + 2*len(w.Entities[i].URL)
	}
	return n
}

func (s *Server) listEdits(r *http.Request) (readRequest, error) {
	id, limit, after, err := pageOf(r, "cursor", "e")
	return readRequest{fmt.Sprintf("edits %d %d %d", id, limit, after), false, func(ctx context.Context) (any, error) {
		items, next, err := s.store.Edits(ctx, id, limit, after)
		if err != nil {
			return nil, err
		}
		return newList(items, toCursor("e", next), sizeOfWording), nil
	}}, err
}

// edits is what the page and its script show. Both say what is missing.
func (s *Server) edits(r *http.Request) (view editsPage, size int, err error) {
	id, err := pathID(r)
	if err != nil {
		return view, 0, err
	}
	after, err := fromCursor("cursor", "e", r.URL.Query().Get("cursor"))
	if err != nil {
		return view, 0, err
	}
	m, err := s.store.Message(r.Context(), id)
	if err != nil {
		return view, 0, err
	}
	items, next, err := s.store.Edits(r.Context(), id, pageSize, after)
	if err != nil {
		return view, 0, err
	}
	view.layout = layout{Title: "What this message said before", Operator: who(r).name}
	view.Back, view.Some = messageLink(m.ConversationID, id, ""), m.Edits > inbox.MaxWordings
	for i := range items {
		size += inHTML * sizeOfWording(&items[i])
		view.Items = append(view.Items, viewWording(items[i]))
	}
	if cursor := toCursor("e", next); cursor != nil {
		view.More = fmt.Sprintf("/messages/%d/edits?cursor=%s", id, *cursor)
	}
	return view, size, nil
}

func (s *Server) editsPage(w http.ResponseWriter, r *http.Request) error {
	view, size, err := s.edits(r)
	if err != nil {
		return err
	}
	return s.renderLarge(w, r, http.StatusOK, "edits", view, size)
}

func (s *Server) editsFragment(w http.ResponseWriter, r *http.Request) error {
	view, size, err := s.edits(r)
	if err != nil {
		return err
	}
	return s.renderLarge(w, r, http.StatusOK, "wordings", view, size)
}
