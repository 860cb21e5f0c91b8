package web

import "github.com/gorilla/mux"

// Router is the router, for a test that walks it.
func (s *Server) Router() *mux.Router { return s.router }

// Outages are what anybody may know of a database that is away.
var Outages = outages
