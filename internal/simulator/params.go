package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// params are the parameters of a call, each as the text that a form would hold: JSON strings without their
// quotes, every other JSON value as it stands.
type params map[string]string

// upload is a file that came with a call.
type upload struct {
	name, mediaType string
	data            []byte
}

const maxUpload = 50 << 20

var errTooLarge = errors.New("request entity too large")

// readParams takes the parameters out of the query and the body, whatever the body's form is, and returns the
// body too, for the recorder.
func readParams(r *http.Request) (params, map[string]upload, []byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxUpload+1<<20))
	if err != nil {
		return nil, nil, body, err
	}
	if len(body) > maxUpload {
		return nil, nil, body, errTooLarge
	}
	p, files := params{}, map[string]upload{}
	p.addForm(r.URL.Query())
	mediaType, options, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch mediaType {
	case "application/json":
		err = p.addJSON(body)
	case "application/x-www-form-urlencoded":
		var form url.Values
		if form, err = url.ParseQuery(string(body)); err == nil {
			p.addForm(form)
		}
	case "multipart/form-data":
		err = p.addMultipart(multipart.NewReader(bytes.NewReader(body), options["boundary"]), files)
	}
	for name, value := range p {
		if !utf8.ValidString(value) {
			p[name] = strings.ToValidUTF8(value, "")
			return p, files, body, errors.New("strings must be encoded in UTF-8")
		}
	}
	return p, files, body, err
}

func (p params) addForm(form url.Values) {
	for name, values := range form {
		p[strings.ToLower(name)] = values[0]
	}
}

func (p params) addJSON(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	var fields map[string]json.RawMessage // null is no parameters: telebot's getMe
	if json.Unmarshal(body, &fields) != nil {
		return errors.New("can't parse JSON object")
	}
	for name, value := range fields {
		var text string
		if json.Unmarshal(value, &text) != nil || string(value) == "null" {
			text = string(value)
		}
		p[strings.ToLower(name)] = text
	}
	return nil
}

func (p params) addMultipart(parts *multipart.Reader, files map[string]upload) error {
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return errors.New("can't parse multipart form")
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return errors.New("can't parse multipart form")
		}
		if name := part.FileName(); name != "" {
			files[part.FormName()] = upload{name: name, mediaType: part.Header.Get("Content-Type"), data: data}
		} else {
			p[strings.ToLower(part.FormName())] = string(data)
		}
	}
}

// int is the parameter as a number; def when it is missing. As with Telegram, what is no number counts as 0.
func (p params) int(name string, def int64) int64 {
	v := p[name]
	if v == "" {
		return def
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	return n
}

// bool is true for the words that Telegram takes for it.
func (p params) bool(name string) bool {
	switch strings.ToLower(strings.TrimSpace(p[name])) {
	case "true", "yes", "1":
		return true
	}
	return false
}

// replyTo is the message that this one replies to, and whether it may be missing: by reply_parameters, or by
// the older names that telebot v3 sends.
func (p params) replyTo() (id int64, optional bool) {
	var given struct {
		MessageID json.Number `json:"message_id"`
		Optional  bool        `json:"allow_sending_without_reply"`
	}
	if json.Unmarshal([]byte(p["reply_parameters"]), &given) == nil && given.MessageID != "" {
		id, _ = given.MessageID.Int64()
		return id, given.Optional
	}
	return p.int("reply_to_message_id", 0), p.bool("allow_sending_without_reply")
}
