package web

import (
	"net/http"
	"strings"

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

// form is in what a route answers, errors included.
type form int

const (
	page     form = iota // a whole page
	fragment             // a piece of a page, for its script
	api                  // JSON
	stream               // like api, and without a limit of time
)

// route is one line of the table from which the router is built: a route that is not in it does not exist.
type route struct {
	method string // GET answers HEAD, too
	path   string
	who    access
	as     form
	handle func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) routes() []route {
	return []route{
		{"GET", "/healthz", public, api, plain(ops.Healthz)},
		{"GET", "/readyz", public, api, plain(ops.Readyz(s.readyForAll))},
		{"GET", "/static/{file}", public, page, serveStatic},

		{"GET", "/sign-in/{secret}", public, page, s.signInPage},
		{"POST", "/sign-in", public, page, s.signIn},
		{"POST", "/sign-out", operator, page, s.signOut},

		{"GET", "/", operator, page, s.listPage},
		{"GET", "/conversations/{id:[0-9]+}", operator, page, s.conversationPage},
		{"POST", "/conversations/{id:[0-9]+}/answers", operator, page, s.answerForm},
		{"POST", "/conversations/{id:[0-9]+}/status", operator, page, s.statusForm},
		{"POST", "/messages/{id:[0-9]+}/retry", operator, page, s.retryForm},

		{"GET", "/fragments/banner", operator, fragment, s.bannerFragment},
		{"GET", "/fragments/list", operator, fragment, s.listFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}", operator, fragment, s.headFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}/messages", operator, fragment, s.messagesFragment},

		{"GET", "/api/v1/conversations", reader, api, s.asOf(s.listConversations)},
		{"GET", "/api/v1/conversations/{id:[0-9]+}", reader, api, s.asOf(s.getConversation)},
		{"PATCH", "/api/v1/conversations/{id:[0-9]+}", reader, api, s.patchConversation},
		{"GET", "/api/v1/conversations/{id:[0-9]+}/messages", reader, api, s.asOf(s.listMessages)},
		{"POST", "/api/v1/conversations/{id:[0-9]+}/messages", reader, api, s.postMessage},
		{"POST", "/api/v1/messages/{id:[0-9]+}/retry", reader, api, s.retryMessage},
		{"GET", "/api/v1/events", reader, stream, s.events},
	}
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
	m.NotFoundHandler = s.wrap(route{path: "none", who: public, handle: func(http.ResponseWriter, *http.Request) error {
		return &problem{Status: http.StatusNotFound, Detail: "there is nothing at this address"}
	}})
	m.MethodNotAllowedHandler = s.wrap(route{path: "none", who: public, handle: func(w http.ResponseWriter, r *http.Request) error {
		allowed := strings.Join(allowedMethods(m, r), ", ")
		w.Header().Set("Allow", allowed)
		return &problem{Status: http.StatusMethodNotAllowed, Detail: "this address takes " + allowed}
	}})
	return m
}

func allowedMethods(m *mux.Router, r *http.Request) []string {
	var allowed []string
	for _, method := range []string{"GET", "HEAD", "POST", "PATCH"} {
		try := r.Clone(r.Context())
		try.Method = method
		var match mux.RouteMatch
		if m.Match(try, &match) && match.MatchErr == nil {
			allowed = append(allowed, method)
		}
	}
	return allowed
}
