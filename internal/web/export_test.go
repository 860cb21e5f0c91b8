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
