package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"tandem/internal/ops"
)

// access is who may use a route.
type access string

const (
	public   access = "anybody"
	operator access = "operator"          // signed in on the page
	reader   access = "operator or token" // signed in, or a program with an API token
)

// form is what a route responds with, errors included.
type form int

const (
	page     form = iota // a whole page
	fragment             // a piece of a page, for its script
	api                  // JSON
	stream               // like api, and without a limit of time
)

// What a request may cost at most, whoever makes it. The bound of the body holds before it is known who that is.
const (
	kB = 1 << 10
	mB = 1 << 20

	// Bodies in bytes. A larger one gets 413 without being read.
	smallBody = 1 * kB   // a few words, or what some clients send where nothing is wanted, like {}
	patchBody = 16 * kB  // every tag that a conversation may have, written as escapes
	noteBody  = 128 * kB // the longest note, the same way
	formBody  = 1 * mB   // an answer, percent-encoded; also one that is too long, which must come back to its author
	jsonBody  = 512 * kB // the longest answer with every character written as an escape

	// Time, from the end of the header to the last byte of the response.
	quick   = 10 * time.Second
	usual   = 30 * time.Second
	noLimit = -1 // a stream has limits of its own

	// Responses in bytes. A larger one is a fault of ours and is cut off.
	smallResponse   = 64 * kB
	messageResponse = 1 * mB
	allCanned       = 16 * mB // every canned answer that may be there, each as long as it may be
	listResponse    = 8 * mB  // a page or list, which the store ends at half a megabyte, with every letter an escape
)

// route is one line of the table from which the router is built: a route that is not in it does not exist.
type route struct {
	method  string // GET serves HEAD, too
	path    string
	who     access
	as      form
	maxBody int64         // 0 is never read, and refused by nobody: of what is no route
	maxTime time.Duration // or noLimit
	// maxResponse is in bytes, or noLimit.
	maxResponse int64
	// cache says whether a response may be given again from memory. Every change that a cached route shows makes an
	// event, or has its time in changesBy. A heartbeat makes no event, so what shows one is fresh.
	cache  caching
	handle func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) routes() []route {
	return []route{
		{"GET", "/healthz", public, api, smallBody, quick, smallResponse, fresh, plain(ops.Healthz)},
		{"GET", "/readyz", public, api, smallBody, quick, smallResponse, fresh, plain(ops.Readyz(s.readyForAll))},
		{"GET", "/static/{file}", public, page, smallBody, usual, smallResponse, fresh, serveStatic},

		{"GET", "/sign-in/{secret}", public, page, smallBody, quick, smallResponse, fresh, s.signInPage},
		{"POST", "/sign-in", public, page, smallBody, quick, smallResponse, fresh, s.signIn},
		{"POST", "/sign-out", operator, page, smallBody, quick, smallResponse, fresh, s.signOut},

		{"GET", "/", operator, page, smallBody, usual, listResponse, fresh, s.listPage},
		{"GET", "/conversations/{id:[0-9]+}", operator, page, smallBody, usual, listResponse, fresh, s.conversationPage},
		{"POST", "/conversations/{id:[0-9]+}/answers", operator, page, formBody, usual, listResponse, fresh, s.answerForm},
		{"POST", "/conversations/{id:[0-9]+}/status", operator, page, smallBody, usual, smallResponse, fresh, s.statusForm},
		{"POST", "/conversations/{id:[0-9]+}/change", operator, page, smallBody, usual, listResponse, fresh, s.deskForm},
		{"POST", "/conversations/{id:[0-9]+}/unread", operator, page, smallBody, usual, smallResponse, fresh, s.unreadForm},
		{"POST", "/conversations/{id:[0-9]+}/notes", operator, page, noteBody, usual, listResponse, fresh, s.noteForm},
		{"GET", "/canned", operator, page, smallBody, usual, allCanned, fresh, s.cannedPage},
		{"POST", "/canned", operator, page, formBody, usual, allCanned, fresh, s.cannedForm},
		{"POST", "/canned/{id:[0-9]+}/remove", operator, page, smallBody, usual, smallResponse, fresh, s.removeCannedForm},
		{"POST", "/messages/{id:[0-9]+}/take-back", operator, page, smallBody, usual, smallResponse, fresh, s.takeBackForm},
		{"POST", "/messages/{id:[0-9]+}/retry", operator, page, smallBody, usual, smallResponse, fresh, s.retryForm},

		{"GET", "/messages/{id:[0-9]+}/change", operator, page, smallBody, usual, messageResponse, fresh, s.changePage},
		{"POST", "/messages/{id:[0-9]+}/change", operator, page, formBody, usual, messageResponse, fresh, s.changeForm},
		{"GET", "/messages/{id:[0-9]+}/edits", operator, page, smallBody, usual, listResponse, fresh, s.editsPage},

		{"GET", "/files/{id:[0-9]+}/{name}", operator, page, smallBody, noLimit, noLimit, fresh, s.file},
		{"GET", "/files/{id:[0-9]+}/thumbnail/{name}", operator, page, smallBody, noLimit, noLimit, fresh, s.thumbnail},
		{"POST", "/files/{id:[0-9]+}/retry", operator, page, smallBody, usual, smallResponse, fresh, s.retryFileForm},

		{"GET", "/fragments/banner", operator, fragment, smallBody, usual, smallResponse, fresh, s.bannerFragment},
		{"GET", "/fragments/views", operator, fragment, smallBody, usual, smallResponse, fresh, s.viewsFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}/beside", operator, fragment, smallBody, usual, listResponse, fresh,
			s.besideFragment},
		{"GET", "/fragments/list", operator, fragment, smallBody, usual, listResponse, fresh, s.listFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}", operator, fragment, smallBody, usual, messageResponse, fresh,
			s.headFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}/desk", operator, fragment, smallBody, usual, messageResponse, fresh,
			s.deskFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}/messages", operator, fragment, smallBody, usual, listResponse, fresh,
			s.messagesFragment},
		{"GET", "/fragments/messages/{id:[0-9]+}/edits", operator, fragment, smallBody, usual, listResponse, fresh,
			s.editsFragment},

		{"GET", "/api/v1/conversations", reader, api, smallBody, usual, listResponse, cached,
			s.serveRead(s.listConversations)},
		{"GET", "/api/v1/search", reader, api, smallBody, usual, listResponse, fresh, s.serveRead(s.search)},
		{"GET", "/api/v1/conversations/{id:[0-9]+}", reader, api, smallBody, usual, messageResponse, cached,
			s.serveConversation},
		{"PATCH", "/api/v1/conversations/{id:[0-9]+}", reader, api, patchBody, usual, messageResponse, fresh,
			s.patchConversation},
		{"GET", "/api/v1/conversations/counts", reader, api, smallBody, usual, smallResponse, fresh, s.counts},
		{"POST", "/api/v1/conversations/{id:[0-9]+}/read", reader, api, smallBody, usual, smallResponse, fresh, s.postRead},
		{"GET", "/api/v1/conversations/{id:[0-9]+}/notes", reader, api, smallBody, usual, listResponse, fresh, s.listNotes},
		{"POST", "/api/v1/conversations/{id:[0-9]+}/notes", reader, api, noteBody, usual, messageResponse, fresh, s.postNote},
		{"GET", "/api/v1/canned", reader, api, smallBody, usual, allCanned, fresh, s.listCanned},
		{"POST", "/api/v1/canned", reader, api, jsonBody, usual, messageResponse, fresh, s.postCanned},
		{"PATCH", "/api/v1/canned/{id:[0-9]+}", reader, api, jsonBody, usual, messageResponse, fresh, s.patchCanned},
		{"DELETE", "/api/v1/canned/{id:[0-9]+}", reader, api, smallBody, usual, smallResponse, fresh, s.deleteCanned},
		{"GET", "/api/v1/operators", reader, api, smallBody, usual, messageResponse, fresh, s.listOperators},
		{"GET", "/api/v1/conversations/{id:[0-9]+}/messages", reader, api, smallBody, usual, listResponse, cached,
			s.serveRead(s.listMessages)},
		{"POST", "/api/v1/conversations/{id:[0-9]+}/messages", reader, api, jsonBody, usual, messageResponse, fresh,
			s.postMessage},
		{"GET", "/api/v1/messages/{id:[0-9]+}/edits", reader, api, smallBody, usual, listResponse, cached,
			s.serveRead(s.listEdits)},
		{"PATCH", "/api/v1/messages/{id:[0-9]+}", reader, api, jsonBody, usual, messageResponse, fresh, s.patchMessage},
		{"DELETE", "/api/v1/messages/{id:[0-9]+}", reader, api, smallBody, usual, messageResponse, fresh, s.deleteMessage},
		{"POST", "/api/v1/messages/{id:[0-9]+}/retry", reader, api, smallBody, usual, messageResponse, fresh, s.retryMessage},
		{"GET", "/api/v1/files/{id:[0-9]+}", reader, api, smallBody, noLimit, noLimit, fresh, s.file},
		{"GET", "/api/v1/files/{id:[0-9]+}/thumbnail", reader, api, smallBody, noLimit, noLimit, fresh, s.thumbnail},
		{"POST", "/api/v1/files/{id:[0-9]+}/retry", reader, api, smallBody, usual, smallResponse, fresh, s.retryFile},
		{"GET", "/api/v1/events", reader, stream, smallBody, noLimit, noLimit, fresh, s.events},
	}
}

// refusal is the route of a request that no route takes: it responds with an error.
func refusal(handle func(w http.ResponseWriter, r *http.Request) error) route {
	return route{path: "none", who: public, maxTime: quick, maxResponse: smallResponse, handle: handle}
}

func plain(h http.HandlerFunc) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		h(w, r)
		return nil
	}
}

func (s *Server) newRouter() *mux.Router {
	m := mux.NewRouter()
	for _, rt := range s.routes() {
		methods := []string{rt.method}
		if rt.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		m.Path(rt.path).Methods(methods...).Handler(s.wrap(rt))
	}
	m.NotFoundHandler = s.wrap(refusal(func(http.ResponseWriter, *http.Request) error {
		return &problem{Status: http.StatusNotFound, Detail: "there is nothing at this address"}
	}))
	m.MethodNotAllowedHandler = s.wrap(refusal(func(w http.ResponseWriter, r *http.Request) error {
		allowed := strings.Join(allowedMethods(m, r), ", ")
		w.Header().Set("Allow", allowed)
		return &problem{Status: http.StatusMethodNotAllowed, Detail: "this address takes " + allowed}
	}))
	return m
}

func allowedMethods(m *mux.Router, r *http.Request) []string {
	var allowed []string
	for _, method := range []string{"GET", "HEAD", "POST", "PATCH", "DELETE"} {
		try := r.Clone(r.Context())
		try.Method = method
		var match mux.RouteMatch
		if m.Match(try, &match) && match.MatchErr == nil {
			allowed = append(allowed, method)
		}
	}
	return allowed
}
