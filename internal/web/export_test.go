package web

import (
	"time"

	"github.com/gorilla/mux"
)

// Router is the router, for a test that walks it.
func (s *Server) Router() *mux.Router { return s.router }

// Outages are what anybody may know of a database that is away.
var Outages = outages

// Budget is what a request to the route "METHOD PATH" may cost.
func (s *Server) Budget(name string) (body int64, most time.Duration, answer int64) {
	for _, rt := range s.routes() {
		if rt.method+" "+rt.path == name {
			return rt.body, rt.time, rt.answer
		}
	}
	return 0, 0, 0
}

// LookGap is the least between two looks at rights.
const LookGap = lookGap

// Kept are the routes whose answers are given again from memory, as "METHOD PATH", and Fresh the others.
func (s *Server) Kept() (kept, fresh []string) {
	for _, rt := range s.routes() {
		if name := rt.method + " " + rt.path; rt.keep {
			kept = append(kept, name)
		} else {
			fresh = append(fresh, name)
		}
	}
	return kept, fresh
}

// Forget forgets all answers, and says how many there were.
func (s *Server) Forget() int {
	s.answers.mu.Lock()
	defer s.answers.mu.Unlock()
	n := len(s.answers.bodies)
	s.answers.bodies, s.answers.size = nil, 0
	return n
}
