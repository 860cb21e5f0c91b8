package web_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Who sends half of a body and closes that direction is told so, and the connection is closed at once: there is no rest
// that would have to be thrown away before.
func TestHalfABodyIsRefusedAtOnce(t *testing.T) {
	r := newRig(t)
	closed := make(chan time.Time, 100)
	server := httptest.NewUnstartedServer(r.web)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- time.Now()
		}
	}
	server.Start()
	defer server.Close()
	const form = "POST /sign-in HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	for what, request := range map[string]string{
		"a form":         form + "Content-Length: 900\r\n",
		"a chunked form": form + "Transfer-Encoding: chunked\r\n",
		"JSON": "POST /api/v1/conversations/1/messages HTTP/1.1\r\nContent-Type: application/json\r\n" +
			"Content-Length: 900\r\nAuthorization: Bearer " + r.token() + "\r\n",
	} {
		var fastest time.Duration
		for range 5 { // one that is held up by a busy machine says nothing
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			r.ok(err)
			body := `{"text":"x`
			if strings.Contains(request, "chunked") {
				body = "ff\r\n" + body
			}
			fmt.Fprintf(conn, "%sHost: x\r\n\r\n%s", request, body)
			begun := time.Now()
			r.ok(conn.(*net.TCPConn).CloseWrite())
			answer, err := io.ReadAll(conn)
			if took := (<-closed).Sub(begun); fastest == 0 || took < fastest {
				fastest = took
			}
			conn.Close()
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
				t.Fatalf("%s: %.300s %v", what, answer, err)
			}
		}
		if fastest > 400*time.Millisecond { // net/http lingers for half a second where there may be a rest
			t.Errorf("%s: the connection was closed after %v", what, fastest)
		}
	}
}
