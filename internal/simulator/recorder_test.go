package simulator_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

func TestDuplicatesAreFound(t *testing.T) {
	tg := simtest.Start(t)
	tg.Customer(7, "hello")
	tg.Customer(8, "hello")
	for _, params := range []p{{"chat_id": 7, "text": "a"}, {"chat_id": 8, "text": "a"}, {"chat_id": 7, "text": " a "},
		{"chat_id": 7, "text": "b"}} {
		ask(t, tg, "sendMessage", params)
	}
	got := tg.Duplicates()
	if len(got) != 1 || got[0].ChatID != 7 || got[0].Text != "a" || len(got[0].MessageIDs) != 2 {
		t.Errorf("duplicates %+v, want a to 7 twice", got)
	}
}

// TestTokenOutsideThePathIsFound uses a server of its own, since simtest fails a test with a leak.
func TestTokenOutsideThePathIsFound(t *testing.T) {
	s, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.AddBot(simtest.Token)
	path := "/bot" + simtest.Token + "/getMe"
	for where, change := range map[string]func(*http.Request){
		"query":          func(r *http.Request) { r.URL.RawQuery = "token=" + simtest.Token },
		"header Referer": func(r *http.Request) { r.Header.Set("Referer", "http://h"+path); r.URL.Path = "/elsewhere" },
		"header Cookie":  func(r *http.Request) { r.Header.Set("Cookie", "t="+strings.Split(simtest.Token, ":")[1]) },
	} {
		s.Forget()
		req := httptest.NewRequest("GET", path, nil)
		change(req)
		s.ServeHTTP(httptest.NewRecorder(), req)
		leaks := s.Leaks()
		if len(leaks) != 1 || leaks[0].Where != where || strings.Contains(leaks[0].Path, "simulated-token") {
			t.Errorf("%s: found %+v", where, leaks)
		}
	}
	s.Forget()
	req := httptest.NewRequest("POST", path, strings.NewReader(`{"text":"`+simtest.Token+`"}`))
	s.ServeHTTP(httptest.NewRecorder(), req)
	if leaks := s.Leaks(); len(leaks) != 1 || leaks[0].Where != "body" {
		t.Errorf("body: found %+v", leaks)
	}
}

// TestFollowedRedirectGivesTheTokenAway shows why a bot must not follow one, and that the recorder sees it.
func TestFollowedRedirectGivesTheTokenAway(t *testing.T) {
	s, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.AddBot(simtest.Token)
	s.AddFault(simulator.Redirect("/elsewhere"))
	server := httptest.NewServer(s)
	defer server.Close()
	resp, err := server.Client().Get(server.URL + "/bot" + simtest.Token + "/getMe")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if leaks := s.Leaks(); len(leaks) != 1 || leaks[0].Where != "header Referer" || leaks[0].Path != "/elsewhere" {
		t.Errorf("found %+v, want the Referer", leaks)
	}
}
