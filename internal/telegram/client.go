package telegram

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	tele "gopkg.in/telebot.v3"

	"tandem/internal/inbox"
	"tandem/internal/tcp"
)

const (
	// telebotToken stands where the token would be in all that telebot sees.
	telebotToken = "0:token"

	// Telegram cuts a batch of updates at about 4 MiB. All other responses are small.
	maxUpdatesBytes  = 16 << 20
	maxResponseBytes = 1 << 20
)

// endpoint is a Bot API server and the token for it. It can send nothing: only a client can, and that has a fence.
// So nobody who holds an endpoint polls or sends by accident without one.
//
// It uses no http.Client. That would follow redirects, which hands the path with the token on as a referrer. It would
// also put the address into every error.
type endpoint struct {
	base      string // address without a slash at its end
	token     Token
	proxy     *url.URL // by way of which; nil for none
	transport *http.Transport
}

func newEndpoint(base string, token Token, proxy *url.URL) *endpoint {
	dialer := tcp.Dialer()
	dialer.Timeout = 10 * time.Second
	// Over HTTP/1 it is known whether a request had left when its line broke, and one broken connection takes
	// nothing else with it.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &endpoint{
		base:  strings.TrimRight(base, "/"),
		token: token,
		proxy: proxy,
		transport: &http.Transport{
			Proxy:                  http.ProxyURL(proxy),
			OnProxyConnectResponse: connected,
			// A bot that was killed has said its last word. What its kernel would still send might arrive after
			// what its successor sends next.
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return tcp.DialAndDrop(ctx, dialer, network, address)
			},
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: sendWorkers + 2,
			// Well below what servers keep a silent connection for: one that the server closes in the moment
			// in which a message is written to it leaves that message unknown.
			IdleConnTimeout: 15 * time.Second,
			// A compressed response could be small on the line and huge in memory.
			DisableCompression: true,
			// Telegram's headers are under a kilobyte.
			MaxResponseHeaderBytes: 64 << 10,
			Protocols:              &protocols,
		},
	}
}

func (e *endpoint) close() { e.transport.CloseIdleConnections() }

// client speaks to an endpoint. Its fence is held, which is asked in the moment in which a request is written: a
// request that begins while it is true may have to make a connection first, and the program can be frozen in that time.
type client struct {
	*endpoint
	held func() bool // whether requests may still be sent
}

// while is a client that sends for as long as held is true.
func (e *endpoint) while(held func() bool) *client { return &client{e, held} }

// errLapsed keeps a request that was not written whole from being sent.
var errLapsed = errors.New("the bot was held up, and another may have taken over")

// heldBody can be read while held is true. Once all of it was read, held is not asked any more: net/http writes each
// piece to the line at once, and then looks whether there is more than it was told. An error then would say of a
// request that the server has whole that it was never sent.
type heldBody struct {
	io.ReadCloser
	held func() bool
	left int64 // bytes
}

func (b *heldBody) Read(p []byte) (int, error) {
	if b.left > 0 && !b.held() {
		return 0, errLapsed
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

// guard asks held before each byte of the body. All requests have a body, and its length is known.
func (c *client) guard(req *http.Request) {
	again := req.GetBody
	req.Body = &heldBody{req.Body, c.held, req.ContentLength}
	req.GetBody = func() (io.ReadCloser, error) {
		body, err := again()
		return &heldBody{body, c.held, req.ContentLength}, err
	}
}

// call asks method with params, encoded as JSON, and returns whatever came of it.
func (c *client) call(ctx context.Context, method string, params any, maxBytes int64) response {
	body, err := json.Marshal(params)
	if err != nil {
		return response{class: refused, description: "encode the request: " + err.Error()}
	}
	url := c.base + "/bot" + c.token.wire() + "/" + method
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return response{class: refused, description: c.scrub("make the request: " + err.Error())}
	}
	req.Header.Set("Content-Type", "application/json")
	return c.exchange(req, maxBytes)
}

// send delivers one part of an answer by telebot. Of what telebot reports only a failure before the request
// is used: the response is judged as it came.
func (c *client) send(ctx context.Context, d inbox.Delivery, withReply, withThread bool) response {
	line := &line{client: c, ctx: ctx}
	bot, err := tele.NewBot(tele.Settings{
		URL: c.base, Token: telebotToken, Updates: 1, Offline: true,
		Client: &http.Client{
			Transport:     line,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return response{class: refused, description: c.scrub(err.Error())}
	}
	options := &tele.SendOptions{AllowWithoutReply: true, DisableNotification: d.Silent}
	if withReply && d.ReplyTo != 0 {
		options.ReplyTo = &tele.Message{ID: int(d.ReplyTo)}
	}
	if withThread && d.ThreadID > 1 { // 1 is the general topic, which must not be named
		options.ThreadID = int(d.ThreadID)
	}
	_, err = bot.Send(&tele.Chat{ID: d.ChatID}, d.Text, options)
	if line.resp == nil {
		return response{class: refused, description: c.scrub(fmt.Sprint("telebot: ", err))}
	}
	return *line.resp
}

// line is the way of one call of telebot to the server.
type line struct {
	client *client
	ctx    context.Context // ends the call; telebot has none of its own
	resp   *response
}

// RoundTrip puts the token into the path, keeps what came, and tells telebot nothing of it.
func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := l.ctx.Err(); err != nil {
		l.resp = &response{class: broken, description: plain(err)}
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	defer context.AfterFunc(l.ctx, func() { cancel(l.ctx.Err()) })()
	out := req.Clone(ctx)
	out.URL.Path = strings.Replace(out.URL.Path, "bot"+telebotToken, "bot"+l.client.token.wire(), 1)
	out.URL.RawPath = ""
	resp := l.client.exchange(out, maxResponseBytes)
	l.resp = &resp
	return madeResponse(req), nil
}

// The progress of a request, for what a broken line means.
const (
	notSent  int32 = iota
	sending        // has a connection; cannot be told apart from sent
	sent           // written as a whole
	writeErr       // the system did not take all of it: the server cannot have a whole request
)

// exchange sends req and judges what comes back. It ends with the request's context at the latest.
func (c *client) exchange(req *http.Request, maxBytes int64) response {
	var progress atomic.Int32
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { progress.Store(notSent) },
		GotConn: func(httptrace.GotConnInfo) { progress.Store(sending) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				progress.Store(sent)
			} else {
				progress.Store(writeErr)
			}
		},
	}
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
	c.guard(req)
	httpResp, err := c.transport.RoundTrip(req)
	if errors.Is(err, errLapsed) {
		return response{class: lapsed, description: errLapsed.Error()}
	}
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			err = cause
		}
		at := progress.Load()
		resp := response{class: broken, maybeTaken: at == sending || at == sent, description: plain(causeOf(err))}
		resp = c.blame(resp, at == notSent)
		resp.description = c.scrub(resp.description)
		return resp
	}
	defer httpResp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(httpResp.Body, maxBytes+1))
	resp := judge(httpResp.StatusCode, httpResp.Header, body)
	switch {
	case err != nil:
		resp = response{class: broken, status: httpResp.StatusCode, maybeTaken: true,
			description: "the answer broke off: " + plain(err)}
	case int64(len(body)) > maxBytes:
		resp = response{class: broken, status: httpResp.StatusCode, maybeTaken: true, tooLong: true,
			description: fmt.Sprintf("the answer is longer than %d bytes", maxBytes)}
	}
	resp = c.blame(resp, false)
	resp.description = c.scrub(resp.description)
	return resp
}

// scrub makes foreign text fit for a log and a page: without the token, which servers like to echo with the
// path, in one line and not long.
func (e *endpoint) scrub(s string) string {
	s = strings.ReplaceAll(s, e.token.wire(), "[token]")
	s = strings.ReplaceAll(s, *e.token.secret, "[token]")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, inbox.CleanText(s))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}
