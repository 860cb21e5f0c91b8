package simulator

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // what a customer's app can make smaller pictures of
	"image/jpeg"
	_ "image/png"
	"strconv"
)

// PhotoSize is one size of a photo.
type PhotoSize struct {
	FileID       string `json:"file_id"`
	FileUniqueID string `json:"file_unique_id"`
	Width        int    `json:"width"`
	Height       int    `json:"height"`
	FileSize     int    `json:"file_size"`
}

// Media is every file but a photo. Which fields it has is a matter of its kind, as in the Bot API.
type Media struct {
	FileID       string     `json:"file_id"`
	FileUniqueID string     `json:"file_unique_id"`
	FileName     string     `json:"file_name,omitempty"`
	MIMEType     string     `json:"mime_type,omitempty"`
	FileSize     int        `json:"file_size"`
	Width        int        `json:"width,omitempty"`
	Height       int        `json:"height,omitempty"`
	Length       int        `json:"length,omitempty"` // of a video note
	Duration     int        `json:"duration,omitempty"`
	Performer    string     `json:"performer,omitempty"`
	Title        string     `json:"title,omitempty"`
	Emoji        string     `json:"emoji,omitempty"`
	Type         string     `json:"type,omitempty"` // of a sticker
	IsAnimated   bool       `json:"is_animated,omitempty"`
	IsVideo      bool       `json:"is_video,omitempty"`
	Thumbnail    *PhotoSize `json:"thumbnail,omitempty"`
}

// IncomingFile is what comes with a message. Data is base64 in JSON.
type IncomingFile struct {
	// Kind is photo, document, voice, audio, video, video_note, animation or sticker; document when it is "".
	Kind      string `json:"kind,omitempty"`
	Photo     bool   `json:"photo,omitempty"` // the same as the kind photo
	Name      string `json:"name,omitempty"`
	MediaType string `json:"media_type,omitempty"`
	Data      []byte `json:"data"`

	// Thumbnail is a JPEG. Where it is missing, one is made of a picture that is sent as a document.
	Thumbnail []byte `json:"thumbnail,omitempty"`
	Width     int    `json:"width,omitempty"`
	Height    int    `json:"height,omitempty"`
	Duration  int    `json:"duration,omitempty"`
	Performer string `json:"performer,omitempty"`
	Title     string `json:"title,omitempty"`
	Emoji     string `json:"emoji,omitempty"`
}

func (f IncomingFile) kind() string {
	switch {
	case f.Photo:
		return "photo"
	case f.Kind == "":
		return "document"
	}
	return f.Kind
}

func (f IncomingFile) check() error {
	switch f.kind() {
	case "photo", "document", "voice", "audio", "video", "video_note", "animation", "sticker":
	default:
		return fmt.Errorf("there is no kind %q of a file, only photo, document, voice, audio, video, video_note, "+
			"animation and sticker", f.Kind)
	}
	return nil
}

// field is where a message has a file of that kind.
func (m *Message) field(kind string) **Media {
	switch kind {
	case "voice":
		return &m.Voice
	case "audio":
		return &m.Audio
	case "video":
		return &m.Video
	case "video_note":
		return &m.VideoNote
	case "animation":
		return &m.Animation
	case "sticker":
		return &m.Sticker
	}
	return &m.Document
}

// attach puts a customer's file into his message. The lock is held.
func (s *Server) attach(b *bot, m *Message, in IncomingFile) {
	kind := in.kind()
	if kind == "photo" {
		m.Photo = s.photo(b, in)
		return
	}
	f := s.keep(b, upload{name: in.Name, mediaType: in.MediaType, data: in.Data}, false)
	media := &Media{FileID: f.ID, FileUniqueID: f.UniqueID, FileName: in.Name, MIMEType: in.MediaType, FileSize: f.Size,
		Width: in.Width, Height: in.Height, Duration: in.Duration, Performer: in.Performer, Title: in.Title, Emoji: in.Emoji}
	switch kind {
	case "video_note":
		media.Length, media.Width, media.Height, media.FileName = in.Width, 0, 0, ""
	case "sticker":
		media.Type, media.FileName, media.MIMEType = "regular", "", ""
		media.IsVideo = bytes.HasPrefix(in.Data, []byte("\x1aE\xdf\xa3"))
		media.IsAnimated = bytes.HasPrefix(in.Data, []byte("\x1f\x8b"))
		if media.Width == 0 {
			media.Width, media.Height = 512, 512
		}
	case "voice":
		media.FileName = ""
	}
	if thumbnail := in.Thumbnail; thumbnail != nil || kind == "document" {
		if thumbnail == nil {
			thumbnail = in.Data
		}
		if picture, ok := decode(thumbnail); ok {
			small := scaled(picture, 320)
			t := s.keep(b, upload{data: encode(small)}, true)
			media.Thumbnail = &PhotoSize{t.ID, t.UniqueID, small.Bounds().Dx(), small.Bounds().Dy(), t.Size}
		}
	}
	*m.field(kind) = media
	if kind == "animation" { // for programs that know no animations
		m.Document = media
	}
}

// photo is the sizes of a photo, the smallest first. The largest has the bytes that were given.
func (s *Server) photo(b *bot, in IncomingFile) []PhotoSize {
	var sizes []PhotoSize
	add := func(data []byte, width, height int) {
		f := s.keep(b, upload{name: in.Name, mediaType: in.MediaType, data: data}, true)
		sizes = append(sizes, PhotoSize{f.ID, f.UniqueID, width, height, f.Size})
	}
	picture, ok := decode(in.Data)
	if !ok {
		add(in.Data, 320, 240)
		return sizes
	}
	width, height := picture.Bounds().Dx(), picture.Bounds().Dy()
	for _, side := range []int{90, 320, 800, 1280} {
		if side < max(width, height) {
			small := scaled(picture, side)
			add(encode(small), small.Bounds().Dx(), small.Bounds().Dy())
		}
	}
	add(in.Data, width, height)
	return sizes
}

// decode is the picture of a file, as far as it is one of reasonable size.
func decode(data []byte) (image.Image, bool) {
	c, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil || c.Width*c.Height > 40_000_000 {
		return nil, false
	}
	picture, _, err := image.Decode(bytes.NewReader(data))
	return picture, err == nil
}

// scaled is the picture with that many pixels on its longer side, or as it is if it has no more.
func scaled(from image.Image, side int) image.Image {
	b := from.Bounds()
	longer := max(b.Dx(), b.Dy())
	if longer <= side {
		return from
	}
	out := image.NewRGBA(image.Rect(0, 0, max(b.Dx()*side/longer, 1), max(b.Dy()*side/longer, 1)))
	for y := range out.Bounds().Dy() {
		for x := range out.Bounds().Dx() {
			out.Set(x, y, from.At(b.Min.X+x*longer/side, b.Min.Y+y*longer/side))
		}
	}
	return out
}

func encode(picture image.Image) []byte {
	var b bytes.Buffer
	_ = jpeg.Encode(&b, picture, nil) // a buffer takes everything
	return b.Bytes()
}

// receiveAlbum sends a message for each file, all in one response to a waiting poll.
func (s *Server) receiveAlbum(in Incoming) (first Message, id int64, err error) {
	if n := len(in.Files); in.File != nil || n < 2 || n > 10 {
		return first, 0, errors.New("an album has two to ten files, and no other one beside them")
	}
	shape := map[string]string{"photo": "visual", "video": "visual", "document": "document", "audio": "audio"}
	for _, f := range in.Files {
		if k := shape[f.kind()]; k == "" || k != shape[in.Files[0].kind()] {
			return first, 0, errors.New("an album has photos and videos, or documents, or audio")
		}
	}
	files := in.Files
	in.Files = nil
	if in.MediaGroupID == "" {
		s.mu.Lock()
		in.MediaGroupID = strconv.FormatInt(s.rng.Int64N(1<<53), 10)
		s.mu.Unlock()
	}
	err = s.Batch(func() error {
		for i, f := range files {
			in.File = &f
			m, update, err := s.Receive(in)
			if err != nil {
				return err
			}
			if i == 0 {
				first, id = m, update
			}
			in.Text, in.ReplyTo, in.Quote, in.Topic, in.ThreadID = "", 0, "", "", m.MessageThreadID
		}
		return nil
	})
	return first, id, err
}
