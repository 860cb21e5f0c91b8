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

	// A batch of updates is cut by Telegram at about 4 MiB, all other answers are small.
	maxUpdatesAnswer = 16 << 20
	maxAnswer        = 1 << 20
)

// client speaks to one Bot API server with one token. It uses no http.Client: that would follow redirects,
// which hands the path with the token on as a referrer, and put the address into every error.
type client struct {
	base      string // address without a slash at its end
	token     Token
	transport *http.Transport
	held      func() bool // whether requests may still be sent; nil: always
}

func newClient(base string, token Token) *client {
	dialer := tcp.Dialer()
	dialer.Timeout = 10 * time.Second
	// Over HTTP/1 it is known whether a request had left when its line broke, and one broken connection takes
	// nothing else with it.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &client{
		base:  strings.TrimRight(base, "/"),
		token: token,
		transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			// A bot that was killed has said its last word: what its kernel would still send might arrive after its
			// successor's next answer.
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return tcp.DialAndDrop(ctx, dialer, network, address)
			},
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: sendWorkers + 2,
			// Well below what servers keep a silent connection for: one that the server closes in the moment
			// in which a message is written to it leaves that message unknown.
			IdleConnTimeout: 15 * time.Second,
			// A compressed answer could be small on the line and huge in memory.
			DisableCompression: true,
			// Telegram's headers are under a kilobyte.
			MaxResponseHeaderBytes: 64 << 10,
			Protocols:              &protocols,
		},
	}
}

// while is the client for as long as held is true. That is asked in the moment in which a request is written: between its
// beginning and that moment lies the making of a connection, in which a program can be frozen too.
func (c *client) while(held func() bool) *client {
	during := *c
	during.held = held
	return &during
}

// errLapsed keeps a request that was not written whole from being sent.
var errLapsed = errors.New("the bot was held up, and another may have taken over")

// heldBody can be read while held is true. Whoever has read all of it is not asked any more: net/http writes each piece to
// the line at once and then looks whether there is more than it was told, and an error then would say of a request that the
// server has whole that it was never sent.
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

// guard puts the question of held before each byte of the body. All requests have one, whose length is known.
func (c *client) guard(req *http.Request) {
	if c.held == nil {
		return
	}
	again := req.GetBody
	req.Body = &heldBody{req.Body, c.held, req.ContentLength}
	req.GetBody = func() (io.ReadCloser, error) {
		body, err := again()
		return &heldBody{body, c.held, req.ContentLength}, err
	}
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// call asks method with params, encoded as JSON, and returns whatever came of it.
func (c *client) call(ctx context.Context, method string, params any, limit int64) answer {
	body, err := json.Marshal(params)
	if err != nil {
		return answer{class: refused, description: "encode the request: " + err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/bot"+c.token.wire()+"/"+method, bytes.NewReader(body))
	if err != nil {
		return answer{class: refused, description: c.scrub("make the request: " + err.Error())}
	}
	req.Header.Set("Content-Type", "application/json")
	return c.exchange(req, limit)
}

// send delivers one part of an answer by telebot. Of what telebot reports only a failure before the request
// is used: the answer is judged as it came.
func (c *client) send(ctx context.Context, d inbox.Delivery, withReply, withThread bool) answer {
	line := &line{client: c, ctx: ctx}
	bot, err := tele.NewBot(tele.Settings{
		URL: c.base, Token: telebotToken, Updates: 1, Offline: true,
		Client: &http.Client{Transport: line, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
	if err != nil {
		return answer{class: refused, description: c.scrub(err.Error())}
	}
	options := &tele.SendOptions{AllowWithoutReply: true}
	if withReply && d.ReplyTo != 0 {
		options.ReplyTo = &tele.Message{ID: int(d.ReplyTo)}
	}
	if withThread && d.ThreadID > 1 { // 1 is the general topic, which must not be named
		options.ThreadID = int(d.ThreadID)
	}
	_, err = bot.Send(&tele.Chat{ID: d.ChatID}, d.Text, options)
	if line.answer == nil {
		return answer{class: refused, description: c.scrub(fmt.Sprint("telebot: ", err))}
	}
	return *line.answer
}

// line is the way of one call of telebot to the server.
type line struct {
	client *client
	ctx    context.Context // ends the call; telebot has none of its own
	answer *answer
}

// RoundTrip puts the token into the path, keeps what came, and tells telebot nothing of it.
func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := l.ctx.Err(); err != nil {
		l.answer = &answer{class: broken, description: plain(err)}
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	defer context.AfterFunc(l.ctx, func() { cancel(l.ctx.Err()) })()
	out := req.Clone(ctx)
	out.URL.Path = strings.Replace(out.URL.Path, "bot"+telebotToken, "bot"+l.client.token.wire(), 1)
	out.URL.RawPath = ""
	a := l.client.exchange(out, maxAnswer)
	l.answer = &a
	return response(req), nil
}

// The progress of a request, for what a broken line means.
const (
	notSent  int32 = iota
	sending        // has a connection; cannot be told apart from sent
	sent           // written as a whole
	writeErr       // the system did not take all of it: the server cannot have a whole request
)

// exchange sends req and judges what comes back. It ends with the request's context at the latest.
func (c *client) exchange(req *http.Request, limit int64) answer {
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
	resp, err := c.transport.RoundTrip(req)
	if errors.Is(err, errLapsed) {
		return answer{class: lapsed, description: errLapsed.Error()}
	}
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			err = cause
		}
		at := progress.Load()
		return answer{class: broken, maybeTaken: at == sending || at == sent, description: c.scrub(plain(err))}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	a := judge(resp.StatusCode, resp.Header, body)
	switch {
	case err != nil:
		a = answer{class: broken, status: resp.StatusCode, maybeTaken: true, description: "the answer broke off: " + plain(err)}
	case int64(len(body)) > limit:
		a = answer{class: broken, status: resp.StatusCode, maybeTaken: true, tooLong: true, description: fmt.Sprintf("the answer is longer than %d bytes", limit)}
	}
	a.description = c.scrub(a.description)
	return a
}

// scrub makes foreign text fit for a log and a page: without the token, which servers like to echo with the
// path, in one line and not long.
func (c *client) scrub(s string) string {
	s = strings.ReplaceAll(s, c.token.wire(), "[token]")
	s = strings.ReplaceAll(s, *c.token.secret, "[token]")
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
