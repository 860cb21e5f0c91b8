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
func (s *Server) Budget(name string) (maxBody int64, maxTime time.Duration, maxResponse int64) {
	for _, rt := range s.routes() {
		if rt.method+" "+rt.path == name {
			return rt.maxBody, rt.maxTime, rt.maxResponse
		}
	}
	return 0, 0, 0
}

// Cached are the routes whose responses are given again from memory, as "METHOD PATH", and Fresh the others.
func (s *Server) Cached() (cached, fresh []string) {
	for _, rt := range s.routes() {
		if name := rt.method + " " + rt.path; rt.cache {
			cached = append(cached, name)
		} else {
			fresh = append(fresh, name)
		}
	}
	return cached, fresh
}

// ClearCache forgets all responses, and says how many there were.
func (s *Server) ClearCache() int {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	n := len(s.cache.entries)
	s.cache.entries, s.cache.bytes = nil, 0
	return n
}
