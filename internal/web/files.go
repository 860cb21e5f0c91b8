package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tandem/internal/filetype"
	"tandem/internal/inbox"
)

const (
	// fileInFlight is what one download has in memory: a chunk as the store gives it, and copies on its way out.
	fileInFlight = 2*inbox.ChunkBytes - 1
	// fileName is how many characters of a name are passed on.
	fileName = 120
)

// fileCSP is for the file itself, should somebody open it alone: it may show itself, and run nothing.
const fileCSP = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"

func (s *Server) file(w http.ResponseWriter, r *http.Request) error { return s.serveFile(w, r, false) }

func (s *Server) thumbnail(w http.ResponseWriter, r *http.Request) error {
	return s.serveFile(w, r, true)
}

// serveFile gives the bytes of an attachment, or what the thread shows of it. What they are is what their content says,
// and only a few kinds are shown: everything else is to be saved.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, preview bool) error {
	id, err := pathID(r)
	if err != nil {
		return errNoFile
	}
	f, err := s.store.File(r.Context(), id, preview)
	switch {
	case errors.Is(err, inbox.ErrNotFound):
		return errNoFile
	case err != nil:
		return err
	case f.State == inbox.FileGone:
		return &problem{http.StatusGone, "this file is gone: " + f.Error}
	case f.State != inbox.FileStored:
		return &problem{http.StatusConflict, notHere(f.State, f.Error)}
	}
	release, err := s.inFlight.acquire(r.Context(), who(r), fileInFlight)
	if err != nil {
		return err
	}
	defer release()
	inline := filetype.Inline(f.MediaType)
	h := w.Header()
	disposition := "attachment"
	media := filetype.Unknown
	if inline {
		disposition, media = "inline", f.MediaType
	}
	h.Set("Content-Type", media)
	h.Set("Content-Disposition", disposition+named(savedAs(f, preview)))
	h.Set("Content-Security-Policy", fileCSP)
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Set("Vary", "Authorization, Cookie")
	h.Set("ETag", fmt.Sprintf(`"%x"`, f.Hash))
	h.Set("Accept-Ranges", "bytes")
	out := &rangeWriter{ResponseWriter: chunked{w, s.chunks(w, r)}}
	http.ServeContent(out, r, "", time.Time{}, &chunkReader{ctx: r.Context(), store: s.store, blob: f.Blob, size: f.Size})
	if out.refused {
		h.Set("Cache-Control", "no-store")
		return &problem{http.StatusRequestedRangeNotSatisfiable,
			fmt.Sprintf("Range: the file has %d bytes, and none of those that were asked for", f.Size)}
	}
	return nil
}

var errNoFile = &problem{http.StatusNotFound, "there is no such file"}

// notHere is why a file cannot be had now.
func notHere(state inbox.FileState, why string) string {
	switch state {
	case inbox.FileWaiting:
		why = strings.TrimSuffix("it is being fetched; "+why, "; ")
	case inbox.FilePaused:
		why = "it is not fetched for now: " + why
	}
	return "this file is not here: " + why
}

// rangeWriter keeps net/http from answering for itself where a range cannot be had.
type rangeWriter struct {
	http.ResponseWriter
	refused bool
}

func (w *rangeWriter) WriteHeader(status int) {
	if w.refused = status == http.StatusRequestedRangeNotSatisfiable; !w.refused {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *rangeWriter) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// chunkReader reads a file with one chunk of it in memory.
type chunkReader struct {
	ctx   context.Context
	store inbox.OperatorStore
	blob  int64
	size  int64
	at    int64

	n    int64 // of the chunk that is in data
	data []byte
}

func (c *chunkReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, errors.New("seek to before the beginning")
	}
	c.at = offset
	return offset, nil
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.at >= c.size {
		return 0, io.EOF
	}
	if n := c.at / inbox.ChunkBytes; c.data == nil || n != c.n {
		data, err := c.store.FileChunk(c.ctx, c.blob, n)
		if err != nil {
			return 0, err
		}
		c.data, c.n = data, n
	}
	from := c.at % inbox.ChunkBytes
	if from >= int64(len(c.data)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, c.data[from:])
	c.at += int64(n)
	return n, nil
}

// extensions are those of what is shown, the first one for a name that has none of them.
var extensions = map[string][]string{
	"image/jpeg": {".jpg", ".jpeg"}, "image/png": {".png"}, "image/gif": {".gif"}, "image/webp": {".webp"},
	"audio/mpeg": {".mp3"}, "audio/ogg": {".ogg", ".oga", ".opus"}, "audio/mp4": {".m4a", ".mp4"}, "audio/aac": {".aac"},
	"audio/wav": {".wav"}, "audio/flac": {".flac"}, "audio/webm": {".weba", ".webm"},
	"video/mp4": {".mp4", ".m4v", ".mov"}, "video/webm": {".webm"}, "video/ogg": {".ogv", ".ogg"},
}

// savedAs is the name under which a browser saves a file: the sender's without what would mislead, and with the ending
// of what it is where that is known.
func savedAs(f inbox.StoredFile, preview bool) string {
	name := plainName(f.Attachment.Name)
	if preview || name == "" {
		name = plainName(fmt.Sprintf("%s-%d", f.Attachment.Kind, f.Attachment.ID))
	}
	endings := extensions[f.MediaType]
	for _, ending := range endings {
		if strings.EqualFold(path.Ext(name), ending) {
			return name
		}
	}
	if endings != nil {
		name += endings[0]
	}
	return name
}

// plainName is a name that is one part of a path and shows all of itself; "" if nothing is left of it.
func plainName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(`/\:*?"<>|%`, r):
			return '_'
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar,
			unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return -1
		}
		return r
	}, name)
	name = strings.Trim(strings.Join(strings.Fields(name), " "), ". ")
	if r := []rune(name); len(r) > fileName {
		ending := []rune(path.Ext(name))
		if len(ending) > 16 {
			ending = nil
		}
		name = strings.TrimRight(string(r[:fileName-len(ending)]), ". ") + string(ending)
	}
	return name
}

// named is the name as parameters of Content-Disposition: in ASCII, and as RFC 5987 has it.
func named(name string) string {
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '_'
		}
		return r
	}, name)
	var encoded strings.Builder
	for _, b := range []byte(name) {
		if b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || strings.IndexByte("!#$&+-.^_`|~", b) >= 0 {
			encoded.WriteByte(b)
		} else {
			fmt.Fprintf(&encoded, "%%%02X", b)
		}
	}
	return `; filename="` + ascii + `"; filename*=UTF-8''` + encoded.String()
}

// filePath is where the page finds a file. The name in it is for people, and for nothing else.
func filePath(a inbox.Attachment, preview bool) string {
	at := "/files/" + strconv.FormatInt(a.ID, 10) + "/"
	if preview {
		at += "thumbnail/"
	}
	name := plainName(a.Name)
	if name == "" || preview {
		name = plainName(a.Kind)
	}
	if name == "" {
		name = "file"
	}
	return at + url.PathEscape(name)
}

func (s *Server) retryFile(w http.ResponseWriter, r *http.Request) error {
	a, err := s.fetchAgain(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, a)
}

// retryFileForm is retryFile without the page's script.
func (s *Server) retryFileForm(w http.ResponseWriter, r *http.Request) error {
	a, err := s.fetchAgain(r)
	if err != nil {
		return err
	}
	m, err := s.store.Message(r.Context(), a.MessageID)
	if err != nil {
		return err
	}
	toMessage(w, r, m)
	return nil
}

func (s *Server) fetchAgain(r *http.Request) (inbox.Attachment, error) {
	id, err := pathID(r)
	if err != nil {
		return inbox.Attachment{}, errNoFile
	}
	a, err := s.store.RetryFile(r.Context(), id)
	if errors.Is(err, inbox.ErrNotFound) {
		err = errNoFile
	}
	return a, err
}

const (
	wantsWaiting = 64 // lists of messages whose files nobody has asked for
	wantLimit    = 20 * time.Second
)

// wantFiles has files fetched that messages of older versions have. Who reads them waits for nothing: what cannot be
// asked for now is asked for the next time.
func (s *Server) wantFiles(messages []inbox.Message) {
	var ids []int64
	for _, m := range messages {
		for _, a := range m.Attachments {
			if !a.Asked && a.FileID != "" {
				ids = append(ids, m.ID)
				break
			}
		}
	}
	if ids == nil {
		return
	}
	select {
	case s.wanted <- ids:
	default:
	}
}

// askForFiles passes on what wantFiles was given, until ctx ends.
func (s *Server) askForFiles(ctx context.Context) {
	for {
		select {
		case ids := <-s.wanted:
			limited, cancel := context.WithTimeout(ctx, wantLimit)
			if err := s.store.WantFiles(limited, ids); err != nil && ctx.Err() == nil {
				s.log.Debug("files of older messages cannot be asked for now", "error", err)
			}
			cancel()
		case <-ctx.Done():
			return
		}
	}
}
