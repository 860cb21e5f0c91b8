package simulator

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxDownload = 20 << 20
	maxFiles    = 10_000 // the newest are kept
	maxFileRoom = 1 << 30
)

// file is one that the bot can fetch by getFile.
type file struct {
	ID        string `json:"file_id"`
	UniqueID  string `json:"file_unique_id"`
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Photo     bool   `json:"photo,omitempty"`
	Path      string `json:"path"`
	Size      int    `json:"size"`
	Data      []byte `json:"data,omitempty"` // nil where the bytes are in a file beside the state
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
		Size: len(u.data), Data: u.data}
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
	if s.saver != nil {
		// The state is written at each change, and bytes never change.
		if err := s.putBeside(f); err == nil {
			f.Data = nil
		} else if s.opts.OnStateError != nil {
			s.opts.OnStateError(err)
		}
	}
	room := f.Size
	for _, old := range b.Files {
		room += old.Size
	}
	for len(b.Files) > 0 && (len(b.Files) >= maxFiles || room > maxFileRoom) {
		room -= b.Files[0].Size
		_ = os.Remove(s.beside(b.Files[0])) // one that stays does no harm
		b.Files = slices.Delete(b.Files, 0, 1)
	}
	b.Files = append(b.Files, f)
	return f
}

// beside is where the bytes of a file are while there is a state file.
func (s *Server) beside(f *file) string { return filepath.Join(s.opts.StateFile+".files", f.UniqueID) }

func (s *Server) putBeside(f *file) error {
	if err := os.MkdirAll(s.opts.StateFile+".files", 0o700); err != nil {
		return err
	}
	return os.WriteFile(s.beside(f), f.Data, 0o600)
}

// bytes of the file, wherever they are.
func (s *Server) bytes(f *file) ([]byte, error) {
	if f.Data != nil || f.Size == 0 {
		return f.Data, nil
	}
	return os.ReadFile(s.beside(f))
}

func (b *bot) file(match func(*file) bool) *file {
	if i := slices.IndexFunc(b.Files, match); i >= 0 {
		return b.Files[i]
	}
	return nil
}

// attach puts a file that the bot has sent into a message.
func (f *file) attach(m *Message) {
	if f.Photo {
		m.Photo = []PhotoSize{{FileID: f.ID, FileUniqueID: f.UniqueID, Width: 320, Height: 240, FileSize: f.Size}}
		return
	}
	m.Document = &Media{FileID: f.ID, FileUniqueID: f.UniqueID, FileName: f.Name, MIMEType: f.MediaType,
		FileSize: f.Size}
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
	case f.Size > maxDownload && s.opts.FilesDir == "":
		return badRequest("file is too big")
	}
	path := f.Path
	if s.opts.FilesDir != "" {
		var err error
		if path, err = s.putLocal(c.bot, f); err != nil {
			return failure(http.StatusInternalServerError, "Internal Server Error: "+err.Error())
		}
	}
	return success(map[string]any{
		"file_id": f.ID, "file_unique_id": f.UniqueID, "file_size": f.Size, "file_path": path,
	})
}

// putLocal puts the file where a server with --local has it: in a folder that is named by the token.
func (s *Server) putLocal(b *bot, f *file) (string, error) {
	data, err := s.bytes(f)
	if err != nil {
		return "", err
	}
	for token := range b.tokens {
		path := filepath.Join(s.opts.FilesDir, token, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		return path, os.WriteFile(path, data, 0o644)
	}
	return "", os.ErrNotExist
}

// FileMethod is the name under which downloads are recorded, and by which a Fault finds them: its Text is looked for in
// the path. ResetAfter and HangAfter come in the middle of the bytes.
const FileMethod = "file"

// serveFile answers GET /file/bot<token>/<file_path>.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	token, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/file/bot"), "/")
	s.noteLeaks(r, nil, token)
	p := params{"text": path}
	rec := Call{At: s.now(), Token: tokenName(token), Method: FileMethod, Params: p, Remote: r.RemoteAddr,
		UserAgent: r.UserAgent()}
	note := func(out response) {
		rec.Status, rec.Description = out.status, out.description
		s.record(rec, start)
	}
	f := s.fault(r.Context(), FileMethod, p)
	if f != nil {
		rec.Fault = f.Name()
	}
	data, out := s.download(token, path)
	if f != nil && out.status != http.StatusOK || f != nil && f.Kind != Late && f.Kind != Slow && f.Kind != ResetAfter &&
		f.Kind != HangAfter {
		f.serve(r.Context(), w, s.closed, func() response { return out }, note)
		return
	}
	note(out)
	if out.status != http.StatusOK {
		out.write(w)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	half := len(data) / 2
	switch {
	case f == nil || f.Kind == Late:
		_, _ = w.Write(data) // the client may have hung up
		return
	case f.Kind == Slow:
		f.trickle(r.Context(), w, data, s.closed)
		return
	}
	_, _ = w.Write(data[:half])
	_ = http.NewResponseController(w).Flush()
	if f.Kind == HangAfter {
		select {
		case <-f.cleared:
		case <-r.Context().Done():
		case <-s.closed:
		}
	}
	reset(w)
}

// download is the bytes of a path, or why there are none.
func (s *Server) download(token, path string) ([]byte, response) {
	s.mu.Lock()
	b := s.botByToken(token)
	var f *file
	if b != nil {
		f = b.file(func(f *file) bool { return f.Path == path })
	}
	s.mu.Unlock()
	switch {
	case b == nil:
		return nil, failure(http.StatusUnauthorized, "Unauthorized")
	case f == nil || s.opts.FilesDir != "": // with --local there is nothing but the folder
		return nil, failure(http.StatusNotFound, "Not Found")
	}
	data, err := s.bytes(f)
	if err != nil {
		return nil, failure(http.StatusNotFound, "Not Found")
	}
	return data, response{status: http.StatusOK}
}

// controlFile gives the bytes of a file to whoever plays. Of another kind than a picture it is never shown.
func (s *Server) controlFile(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	var f *file
	if b := s.botByID(number(r, "bot_id")); b != nil {
		f = b.file(func(f *file) bool { return f.ID == r.URL.Query().Get("file_id") })
	}
	s.mu.Unlock()
	if f == nil {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "there is no such file"})
		return
	}
	data, err := s.bytes(f)
	if err != nil {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": err.Error()})
		return
	}
	kind := http.DetectContentType(data)
	if kind != "image/jpeg" && kind != "image/png" && kind != "image/gif" && kind != "image/webp" {
		kind = "application/octet-stream"
		w.Header().Set("Content-Disposition", "attachment")
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'")
	_, _ = w.Write(data)
}
