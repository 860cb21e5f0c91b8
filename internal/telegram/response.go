package telegram

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// class is what a call came to.
type class int

const (
	taken        class = iota // done; result is there
	refused                   // by Telegram, and it would refuse it again
	flooded                   // 429: not before retryAfter
	unauthorized              // the server does not know the token
	conflict                  // 409: another program polls, or a webhook is set
	broken                    // nothing of a Bot API server, or its word that it could not work
	lapsed                    // not sent: the lock is not known to be held any more
)

func (c class) String() string {
	return [...]string{"ok", "refused", "flooded", "unauthorized", "conflict", "broken", "lapsed"}[c]
}

// response is what came of a call. description is in words and without secrets.
type response struct {
	class       class
	status      int // of HTTP, 0 when nothing came
	code        int // error_code
	description string
	retryAfter  time.Duration // 0 when nothing was said
	maybeTaken  bool          // with broken: Telegram may have done it all the same
	tooLong     bool          // with broken: more came than is taken
	result      json.RawMessage
}

func (r response) Error() string {
	switch {
	case r.code != 0:
		return fmt.Sprintf("%s (%d)", r.description, r.code)
	case r.class == taken:
		return "ok"
	}
	return r.description
}

// has says whether the description contains one of the texts, in lower case. By the documentation codes are "subject to
// change", and texts have changed as well. So both are looked at.
func (r response) has(texts ...string) bool {
	d := strings.ToLower(r.description)
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(d, text) })
}

// changedAlready says that a message says already what it was to say, or is deleted.
func (r response) changedAlready() bool {
	return r.has("message is not modified", "message to delete not found")
}

// unchangeable is why a message can be neither edited nor deleted, "" for no reason that is known.
func (r response) unchangeable() string {
	switch {
	case r.has("message to edit not found", "message_id_invalid"):
		return "the customer's chat does not have it any more"
	case r.has("can't be deleted", "message_delete_forbidden"):
		return "Telegram does not delete it: it was sent more than 48 hours ago, or it is not the bot's"
	case r.has("can't be edited"):
		return "Telegram does not let it be edited any more"
	}
	return ""
}

// fileTooLarge says that getFile gives no file as large as this.
func (r response) fileTooLarge() bool { return r.has("file is too big") }

// fileUnknown says that Telegram does not know the file, or does not have it now.
func (r response) fileUnknown() bool {
	return r.has("temporarily unavailable", "wrong file", "invalid file", "file not found")
}

// maxDescription is how much of an error's description is looked at. People get less of it.
const maxDescription = 16 << 10

// judge reads an HTTP response. What is no well-formed response of a Bot API server is broken.
func judge(status int, header http.Header, body []byte) response {
	f := object(body)
	done, ok := get[bool](f, "ok")
	if !ok && slowDown(status) { // a gateway before Telegram may say it too
		return response{class: flooded, status: status, code: status, retryAfter: retryAfter(nil, header, ""),
			description: fmt.Sprintf("HTTP %d with %s", status, shape(header, body))}
	}
	if !ok {
		came := " with " + shape(header, body)
		if status >= 300 && status < 400 {
			came = ", a redirect,"
		}
		return response{class: broken, status: status, maybeTaken: status < 300 || status >= 500,
			description: fmt.Sprintf("HTTP %d%s instead of an answer of a Bot API server", status, came)}
	}
	if done {
		return response{class: taken, status: status, result: f["result"]}
	}
	resp := response{class: refused, status: status, code: int(min(max(number(f["error_code"]), 0), 1e6))}
	resp.code = cmp.Or(resp.code, status)
	description, _ := get[string](f, "description")
	resp.description = cmp.Or(short(description, maxDescription), "no reason given")
	switch {
	case resp.code == http.StatusUnauthorized, resp.code == http.StatusNotFound,
		resp.code == http.StatusMisdirectedRequest:
		resp.class = unauthorized
	case resp.code == http.StatusConflict:
		resp.class = conflict
	case slowDown(resp.code):
		resp.class = flooded
		parameters, _ := get[fields](f, "parameters")
		resp.retryAfter = retryAfter(parameters["retry_after"], header, resp.description)
	case resp.code == http.StatusBadRequest && resp.has("logged out"):
		resp.class = broken // the bot was moved to another server, and this one takes it back in ten minutes
	case resp.code < 400 || resp.code >= 500:
		resp.class = broken
		// "restart" comes before the request is looked at (Client.cpp); a gateway's word says nothing.
		resp.maybeTaken = !(resp.code == http.StatusInternalServerError && resp.has("restart"))
	}
	return resp
}

// shape says in words what came in place of JSON of the Bot API.
func shape(header http.Header, body []byte) string {
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	switch trimmed := bytes.TrimSpace(body); {
	case len(trimmed) == 0:
		return "an empty body"
	case trimmed[0] == '<':
		return "a page of HTML"
	case strings.Contains(kind, "json") || trimmed[0] == '{':
		return "damaged JSON"
	}
	return "foreign text"
}

var retryText = regexp.MustCompile(`(?i)retry after (\d+)`)

// retryAfter takes the wait from wherever it was said. telebot's parser panics where it is not a number.
func retryAfter(parameter json.RawMessage, header http.Header, description string) time.Duration {
	seconds := number(parameter)
	if said := header.Get("Retry-After"); seconds <= 0 && said != "" {
		var err error
		if seconds, err = strconv.ParseFloat(said, 64); err != nil {
			if at, err := http.ParseTime(said); err == nil {
				seconds = time.Until(at).Seconds()
			}
		}
	}
	if m := retryText.FindStringSubmatch(description); seconds <= 0 && m != nil {
		seconds, _ = strconv.ParseFloat(m[1], 64)
	}
	if !(seconds > 0) {
		return 0
	}
	return time.Duration(min(seconds, 30*24*3600) * float64(time.Second))
}

// slowDown says whether a code asks for a pause: 429, or 420, which is Telegram's own FLOOD_WAIT.
func slowDown(code int) bool { return code == http.StatusTooManyRequests || code == 420 }

// number reads a JSON number, or one in a string; 0 for anything else.
func number(raw json.RawMessage) float64 {
	s := strings.Trim(string(raw), `" `)
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// madeResponse is what telebot gets in place of what a server sent. Its parser would do work of its own on that, and
// panic at some of it. What it makes of this is not used.
func madeResponse(req *http.Request) *http.Response {
	const body = `{"ok":true,"result":true}`
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  http.Header{"Content-Type": {"application/json"}},
		Body:    io.NopCloser(strings.NewReader(body)),
		Request: req, ContentLength: int64(len(body)),
	}
}

// plain says what went wrong on the line in words for people.
func plain(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "stopped while it was under way"
	case errors.As(err, &dns):
		return "the name " + dns.Name + " cannot be resolved: " + dns.Err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there (connection refused)"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without an answer"
	}
	return err.Error()
}
