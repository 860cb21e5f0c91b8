package simulator

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	maxDownload = 20 << 20
	maxFiles    = 100 // the newest are kept
)

// file is one that the bot can fetch by getFile.
type file struct {
	ID        string `json:"file_id"`
	UniqueID  string `json:"file_unique_id"`
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Photo     bool   `json:"photo,omitempty"`
	Path      string `json:"path"`
	Data      []byte `json:"data"`
}

// keep stores a file for the bot. The lock is held.
func (s *Server) keep(b *bot, u upload, photo bool) *file {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	random := func(n int) string {
		out := make([]byte, n)
		for i := range out {
			out[i] = letters[s.rng.IntN(len(letters))]
		}
		return string(out)
	}
	f := &file{ID: "BQACAg" + random(64), UniqueID: random(16), Name: u.name, MediaType: u.mediaType, Photo: photo,
		Data: u.data}
	folder, extension := "documents", ""
	if photo {
		f.ID, folder, extension = "AgACAg"+f.ID[6:], "photos", ".jpg"
	} else if i := strings.LastIndexByte(u.name, '.'); i >= 0 {
		extension = strings.Map(func(r rune) rune {
			if r == '.' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
				return r
			}
			return -1
		}, u.name[i:])
	}
	f.Path = folder + "/file_" + strconv.FormatInt(s.rng.Int64N(1<<40), 10) + extension
	if len(b.Files) >= maxFiles {
		b.Files = slices.Delete(b.Files, 0, 1)
	}
	b.Files = append(b.Files, f)
	return f
}

func (b *bot) file(match func(*file) bool) *file {
	if i := slices.IndexFunc(b.Files, match); i >= 0 {
		return b.Files[i]
	}
	return nil
}

// attach puts the file into a message.
func (f *file) attach(m *Message) {
	if f.Photo {
		m.Photo = []PhotoSize{{FileID: f.ID, FileUniqueID: f.UniqueID, Width: 320, Height: 240, FileSize: len(f.Data)}}
		return
	}
	m.Document = &Document{FileID: f.ID, FileUniqueID: f.UniqueID, FileName: f.Name, MIMEType: f.MediaType,
		FileSize: len(f.Data)}
}

func (s *Server) sendPhoto(c call) response { return s.sendFile(c, "photo", "sendPhoto") }

func (s *Server) sendDocument(c call) response { return s.sendFile(c, "document", "sendDocument") }

// sendFile takes a file that came with the call (in its own field, or attach://field), or one by its id.
func (s *Server) sendFile(c call, field, method string) response {
	caption, refused := plain(c.params, "caption", "")
	if refused != nil {
		return *refused
	}
	ch, m, refused := s.newMessage(c)
	if refused != nil {
		return *refused
	}
	given := c.params[field]
	part := field
	if rest, ok := strings.CutPrefix(given, "attach://"); ok {
		part = rest
	}
	u, uploaded := c.files[part]
	var f *file
	switch {
	case uploaded && len(u.data) == 0:
		return badRequest("file must be non-empty")
	case uploaded && field == "photo" && len(u.data) > 10<<20:
		return badRequest("file is too big")
	case uploaded:
	case given == "":
		return badRequest("there is no " + field + " in the request")
	default:
		if f = c.bot.file(func(f *file) bool { return f.ID == given }); f == nil {
			return badRequest("wrong file identifier/HTTP URL specified")
		}
	}
	m.Caption = normalise(caption)
	if length(m.Caption) > maxCaption {
		return badRequest("message caption is too long")
	}
	if f == nil {
		f = s.keep(c.bot, u, field == "photo")
	}
	f.attach(m)
	return s.deliver(c, ch, m, Sent{Method: method, Text: m.Caption, FileID: f.ID})
}

func (s *Server) getFile(c call) response {
	id := c.params["file_id"]
	if id == "" {
		return badRequest("file_id not specified")
	}
	f := c.bot.file(func(f *file) bool { return f.ID == id })
	switch {
	case f == nil:
		return badRequest("wrong file_id or the file is temporarily unavailable")
	case len(f.Data) > maxDownload:
		return badRequest("file is too big")
	}
	return success(map[string]any{
		"file_id": f.ID, "file_unique_id": f.UniqueID, "file_size": len(f.Data), "file_path": f.Path,
	})
}

// serveFile answers GET /file/bot<token>/<file_path>.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	token, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/file/bot"), "/")
	s.noteLeaks(r, nil, token)
	s.mu.Lock()
	b := s.botByToken(token)
	var f *file
	if b != nil {
		f = b.file(func(f *file) bool { return f.Path == path })
	}
	s.mu.Unlock()
	switch {
	case b == nil:
		failure(http.StatusUnauthorized, "Unauthorized").write(w)
	case f == nil:
		failure(http.StatusNotFound, "Not Found").write(w)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(f.Data)))
		_, _ = w.Write(f.Data) // the client may have hung up
	}
}
