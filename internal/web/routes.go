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

// form is in what a route answers, errors included.
type form int

const (
	page     form = iota // a whole page
	fragment             // a piece of a page, for its script
	api                  // JSON
	stream               // like api, and without a limit of time
)

// What a request may cost at most. It is kept whoever asks, and the body's before it is known who that is.
const (
	kB = 1 << 10
	mB = 1 << 20

	// Bodies in bytes. A larger one gets 413 without being read.
	bare     = 1 * kB   // a few words, or what some clients send where nothing is wanted, like {}
	textForm = 1 * mB   // an answer, percent-encoded; also one that is too long, which must come back to its author
	textJSON = 512 * kB // the longest answer with every character written as an escape

	// Time, from the end of the header to the last byte of the answer.
	quick    = 10 * time.Second
	usual    = 30 * time.Second
	untilCut = -1 // a stream has limits of its own

	// Answers in bytes. A larger one is a fault of ours and is cut off.
	fewWords   = 64 * kB
	oneMessage = 1 * mB
	manyWords  = 8 * mB // a page or list, which the store ends at half a megabyte, with every letter an escape
)

// route is one line of the table from which the router is built: a route that is not in it does not exist.
type route struct {
	method string // GET answers HEAD, too
	path   string
	who    access
	as     form
	body   int64         // largest body; 0 is never read, and refused by nobody: of what is no route
	time   time.Duration // most time, or untilCut
	answer int64         // largest answer, or untilCut
	// keep says whether an answer may be given again from memory. Every change that a kept route shows makes an event, or
	// has its time in changesBy; a heartbeat makes none, so what shows one is fresh.
	keep   keeping
	handle func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) routes() []route {
	return []route{
		{"GET", "/healthz", public, api, bare, quick, fewWords, fresh, plain(ops.Healthz)},
		{"GET", "/readyz", public, api, bare, quick, fewWords, fresh, plain(ops.Readyz(s.readyForAll))},
		{"GET", "/static/{file}", public, page, bare, usual, fewWords, fresh, serveStatic},

		{"GET", "/sign-in/{secret}", public, page, bare, quick, fewWords, fresh, s.signInPage},
		{"POST", "/sign-in", public, page, bare, quick, fewWords, fresh, s.signIn},
		{"POST", "/sign-out", operator, page, bare, quick, fewWords, fresh, s.signOut},

		{"GET", "/", operator, page, bare, usual, manyWords, fresh, s.listPage},
		{"GET", "/conversations/{id:[0-9]+}", operator, page, bare, usual, manyWords, fresh, s.conversationPage},
		{"POST", "/conversations/{id:[0-9]+}/answers", operator, page, textForm, usual, manyWords, fresh, s.answerForm},
		{"POST", "/conversations/{id:[0-9]+}/status", operator, page, bare, usual, fewWords, fresh, s.statusForm},
		{"POST", "/messages/{id:[0-9]+}/retry", operator, page, bare, usual, fewWords, fresh, s.retryForm},

		{"GET", "/fragments/banner", operator, fragment, bare, usual, fewWords, fresh, s.bannerFragment},
		{"GET", "/fragments/list", operator, fragment, bare, usual, manyWords, fresh, s.listFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}", operator, fragment, bare, usual, oneMessage, fresh, s.headFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}/messages", operator, fragment, bare, usual, manyWords, fresh, s.messagesFragment},

		{"GET", "/api/v1/conversations", reader, api, bare, usual, manyWords, kept, s.reading(s.listConversations)},
		{"GET", "/api/v1/conversations/{id:[0-9]+}", reader, api, bare, usual, oneMessage, kept, s.reading(s.getConversation)},
		{"PATCH", "/api/v1/conversations/{id:[0-9]+}", reader, api, bare, usual, oneMessage, fresh, s.patchConversation},
		{"GET", "/api/v1/conversations/{id:[0-9]+}/messages", reader, api, bare, usual, manyWords, kept, s.reading(s.listMessages)},
		{"POST", "/api/v1/conversations/{id:[0-9]+}/messages", reader, api, textJSON, usual, oneMessage, fresh, s.postMessage},
		{"POST", "/api/v1/messages/{id:[0-9]+}/retry", reader, api, bare, usual, oneMessage, fresh, s.retryMessage},
		{"GET", "/api/v1/events", reader, stream, bare, untilCut, untilCut, fresh, s.events},
	}
}

// refusal is what answers with an error where no route does.
func refusal(handle func(w http.ResponseWriter, r *http.Request) error) route {
	return route{path: "none", who: public, time: quick, answer: fewWords, handle: handle}
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
