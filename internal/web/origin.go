package web

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// refuseOtherSite says why a request was taken for another site's. A page that names itself otherwise than the request
// does may be this inbox, behind a proxy that changes Host. A browser that says for itself that it is another site's
// leaves no doubt.
func (s *Server) refuseOtherSite(r *http.Request) error {
	p := &problem{Status: http.StatusForbidden,
		Detail: "this request came from another site and was refused; open the inbox itself and try again"}
	origin := r.Header.Get("Origin")
	if r.Header.Get("Sec-Fetch-Site") != "" || origin == "" || origin == "null" {
		return p
	}
	origin, host := short(origin), short(r.Host)
	now := "not set"
	if b := s.config.BaseURL; b != nil {
		now = b.Scheme + "://" + b.Host
	}
	p.Detail = fmt.Sprintf("this request came from another site and was refused: from a page at %s, to an inbox at %s. "+
		"If both are this inbox, whoever runs it sets WEB_BASE_URL=%s (it is %s), or has the proxy before it pass Host on. "+
		"If not, open the inbox itself and try again", origin, host, origin, now)
	if last := s.refusedAt.Load(); time.Since(time.Unix(0, last)) > 10*time.Second &&
		s.refusedAt.CompareAndSwap(last, time.Now().UnixNano()) { // strangers must not fill the log
		s.log.Warn("a request was refused as another site's: if it came from the inbox's own page, set WEB_BASE_URL to "+
			"the address of that page, or have the proxy pass Host on",
			"origin", origin, "host", host, "web_base_url", now)
	}
	return p
}

// short is as much of what somebody else has chosen as is told.
func short(s string) string {
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

const (
	probeCookie = "__Host-tandem-probe"
	probeAge    = 24 * time.Hour // as long as a link works
)

// probe finds out whether this browser keeps the cookies of an inbox with https: it does not on a page that came over
// plain http. The form of the page says that it was tried.
func (s *Server) probe(w http.ResponseWriter) {
	if s.https() {
		http.SetCookie(w, &http.Cookie{Name: probeCookie, Value: "1", Path: "/", MaxAge: int(probeAge.Seconds()),
			Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
}

// keepsNoCookie says whether signing in would use the link up and leave the browser without a session.
func (s *Server) keepsNoCookie(r *http.Request) bool {
	if !s.https() {
		return false
	}
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Origin")), "http://") { // as a browser says it
		return true
	}
	_, err := r.Cookie(probeCookie)
	return err != nil && r.PostForm.Has("probed")
}
