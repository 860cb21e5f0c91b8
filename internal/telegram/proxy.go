package telegram

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// refusedByProxy is a proxy's answer in place of a way to the server.
type refusedByProxy struct{ status string }

func (e *refusedByProxy) Error() string { return "it answered " + e.status }

// connected is asked about each answer of a proxy to CONNECT. net/http would report no more of it than its words, like
// "Forbidden", which nobody could tell from Telegram's.
func connected(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	// With our words for the code: the proxy's may be anything.
	status := strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", http.StatusText(resp.StatusCode)))
	if resp.StatusCode == http.StatusProxyAuthRequired {
		status += ": it wants a user and a password, in front of its name, as in http://USER:PASSWORD@HOST:PORT"
	}
	return &refusedByProxy{status}
}

// blame names the proxy in a response that came to nothing. Before there is a connection nothing but the proxy can be
// at fault. Later it is one of two.
func (e *endpoint) blame(resp response, noConnection bool) response {
	switch {
	case e.proxy == nil || resp.class != broken:
	case resp.status == http.StatusProxyAuthRequired:
		resp.description = e.theProxy() + " wants a user and a password: " + resp.description
	case noConnection:
		resp.description = e.theProxy() + " cannot be used: " + resp.description
	default:
		resp.description += ", by way of " + e.theProxy()
	}
	return resp
}

// theProxy is the proxy without its password.
func (e *endpoint) theProxy() string { return "the proxy at " + e.proxy.Host }

// causeOf is what kept a connection from being made, without the words of net/http for a proxy.
func causeOf(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "proxyconnect" {
		return op.Err
	}
	return err
}
