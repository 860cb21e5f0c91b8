package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// response is one of the Bot API. result is JSON; a failure has a description instead.
type response struct {
	status      int
	result      json.RawMessage
	description string
	parameters  json.RawMessage
	retryAfter  string       // the HTTP header, beside what parameters say
	interrupt   *activeFault // cut a waiting poll short; serves the response
}

func success(result any) response {
	b, err := json.Marshal(result)
	if err != nil {
		return failure(http.StatusInternalServerError, "Internal Server Error: "+err.Error())
	}
	return response{status: http.StatusOK, result: b}
}

func failure(status int, description string) response {
	return response{status: status, description: description}
}

func badRequest(description string) response {
	return failure(http.StatusBadRequest, "Bad Request: "+description)
}

func forbidden(description string) response {
	return failure(http.StatusForbidden, "Forbidden: "+description)
}

// tooMany is a 429 in Telegram's form: the seconds are in the text, in the parameters and in the header.
func tooMany(seconds int) response {
	n := strconv.Itoa(seconds)
	return response{
		status:      http.StatusTooManyRequests,
		description: "Too Many Requests: retry after " + n,
		parameters:  json.RawMessage(`{"retry_after":` + n + `}`),
		retryAfter:  n,
	}
}

func (r response) ok() bool { return r.status == http.StatusOK }

// body is the JSON that is sent.
func (r response) body() []byte {
	out := struct {
		OK          bool            `json:"ok"`
		Result      json.RawMessage `json:"result,omitempty"`
		ErrorCode   int             `json:"error_code,omitempty"`
		Description string          `json:"description,omitempty"`
		Parameters  json.RawMessage `json:"parameters,omitempty"`
	}{OK: r.ok(), Result: r.result, Description: r.description, Parameters: r.parameters}
	if !r.ok() {
		out.ErrorCode = r.status
	}
	b, err := json.Marshal(out)
	if err != nil { // a fault's parameters are no JSON
		return []byte(`{"ok":false,"error_code":500,"description":"Internal Server Error"}`)
	}
	return b
}

func (r response) write(w http.ResponseWriter) {
	b := r.body()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if r.retryAfter != "" {
		w.Header().Set("Retry-After", r.retryAfter)
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(b) // the client may have hung up
}
