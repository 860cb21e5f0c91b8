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
	handle func(w http.ResponseWriter, r *http.Request) error
}

func (s *Server) routes() []route {
	return []route{
		{"GET", "/healthz", public, api, bare, quick, fewWords, plain(ops.Healthz)},
		{"GET", "/readyz", public, api, bare, quick, fewWords, plain(ops.Readyz(s.readyForAll))},
		{"GET", "/static/{file}", public, page, bare, usual, fewWords, serveStatic},

		{"GET", "/sign-in/{secret}", public, page, bare, quick, fewWords, s.signInPage},
		{"POST", "/sign-in", public, page, bare, quick, fewWords, s.signIn},
		{"POST", "/sign-out", operator, page, bare, quick, fewWords, s.signOut},

		{"GET", "/", operator, page, bare, usual, manyWords, s.listPage},
		{"GET", "/conversations/{id:[0-9]+}", operator, page, bare, usual, manyWords, s.conversationPage},
		{"POST", "/conversations/{id:[0-9]+}/answers", operator, page, textForm, usual, manyWords, s.answerForm},
		{"POST", "/conversations/{id:[0-9]+}/status", operator, page, bare, usual, fewWords, s.statusForm},
		{"POST", "/messages/{id:[0-9]+}/retry", operator, page, bare, usual, fewWords, s.retryForm},

		{"GET", "/fragments/banner", operator, fragment, bare, usual, fewWords, s.bannerFragment},
		{"GET", "/fragments/list", operator, fragment, bare, usual, manyWords, s.listFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}", operator, fragment, bare, usual, oneMessage, s.headFragment},
		{"GET", "/fragments/conversations/{id:[0-9]+}/messages", operator, fragment, bare, usual, manyWords, s.messagesFragment},

		{"GET", "/api/v1/conversations", reader, api, bare, usual, manyWords, s.asOf(s.listConversations)},
		{"GET", "/api/v1/conversations/{id:[0-9]+}", reader, api, bare, usual, oneMessage, s.asOf(s.getConversation)},
		{"PATCH", "/api/v1/conversations/{id:[0-9]+}", reader, api, bare, usual, oneMessage, s.patchConversation},
		{"GET", "/api/v1/conversations/{id:[0-9]+}/messages", reader, api, bare, usual, manyWords, s.asOf(s.listMessages)},
		{"POST", "/api/v1/conversations/{id:[0-9]+}/messages", reader, api, textJSON, usual, oneMessage, s.postMessage},
		{"POST", "/api/v1/messages/{id:[0-9]+}/retry", reader, api, bare, usual, oneMessage, s.retryMessage},
		{"GET", "/api/v1/events", reader, stream, bare, untilCut, untilCut, s.events},
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
