// Package filetype says what a file is by its content alone: what it was called, and what its sender said of it, count
// for nothing. It reads headers and never a pixel.
package filetype

import (
	"bytes"
	"image"
	_ "image/gif" // so that DecodeConfig knows them
	_ "image/jpeg"
	_ "image/png"
	"mime"
	"net/http"

	_ "golang.org/x/image/webp"
)

// HeadBytes is how much of the beginning is worth showing: a JPEG can have much before its size.
const HeadBytes = 256 << 10

// Unknown is the media type of a file whose content tells nothing.
const Unknown = "application/octet-stream"

// Of is the media type of a file that begins so. kind, which is Telegram's word, decides where a container can hold
// sound alone: a voice is never a video.
func Of(head []byte, kind string) string {
	sound := kind == "voice" || kind == "audio"
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xd8\xff")):
		return "image/jpeg"
	case bytes.HasPrefix(head, []byte("\x89PNG\r\n\x1a\n")):
		return "image/png"
	case bytes.HasPrefix(head, []byte("GIF87a")), bytes.HasPrefix(head, []byte("GIF89a")):
		return "image/gif"
	case form(head, "RIFF", "WEBP"):
		return "image/webp"
	case form(head, "RIFF", "WAVE"):
		return "audio/wav"
	case bytes.HasPrefix(head, []byte("OggS")):
		return ogg(head, sound)
	case bytes.HasPrefix(head, []byte("fLaC")):
		return "audio/flac"
	case bytes.HasPrefix(head, []byte("ID3")):
		return "audio/mpeg"
	case bytes.HasPrefix(head, []byte("\x1aE\xdf\xa3")):
		return matroska(head, sound)
	case len(head) >= 12 && string(head[4:8]) == "ftyp":
		return mp4(head, sound)
	case sound && len(head) >= 2 && head[0] == 0xff && head[1]&0xf6 == 0xf0:
		return "audio/aac"
	case sound && len(head) >= 2 && head[0] == 0xff && head[1]&0xe0 == 0xe0:
		return "audio/mpeg" // too little to know it by where nobody says that it is one
	case kind == "sticker" && bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "application/x-tgsticker"
	}
	// What this calls a picture, a sound or a video is none of those above.
	if text := bytes.ToLower(head[:min(len(head), 1024)]); bytes.Contains(text, []byte("<svg")) {
		return "image/svg+xml"
	}
	media, _, err := mime.ParseMediaType(http.DetectContentType(head))
	if err != nil || Inline(media) {
		return Unknown
	}
	return media
}

// Inline says whether a browser may show a file of that type, which Of has given, instead of saving it. All of these
// are pictures without scripts, sounds and videos.
func Inline(mediaType string) bool {
	switch mediaType {
	case "image/jpeg", "image/png", "image/gif", "image/webp",
		"audio/mpeg", "audio/ogg", "audio/mp4", "audio/aac", "audio/wav", "audio/flac", "audio/webm",
		"video/mp4", "video/webm", "video/ogg":
		return true
	}
	return false
}

func form(head []byte, outer, inner string) bool {
	return len(head) >= 12 && string(head[:4]) == outer && string(head[8:12]) == inner
}

// firstPage is where the names of what a container holds stand.
func firstPage(head []byte) []byte { return head[:min(len(head), 512)] }

func ogg(head []byte, sound bool) string {
	page := firstPage(head)
	switch {
	case bytes.Contains(page, []byte("theora")) && !sound:
		return "video/ogg"
	case sound, bytes.Contains(page, []byte("OpusHead")), bytes.Contains(page, []byte("\x01vorbis")),
		bytes.Contains(page, []byte("\x7fFLAC")), bytes.Contains(page, []byte("Speex   ")):
		return "audio/ogg"
	}
	return "application/ogg"
}

func matroska(head []byte, sound bool) string {
	switch {
	case !bytes.Contains(firstPage(head), []byte("webm")):
		return "video/x-matroska"
	case sound:
		return "audio/webm"
	}
	return "video/webm"
}

// mp4 looks at the brand. Pictures come in this container, too, which not every browser shows.
func mp4(head []byte, sound bool) string {
	switch brand := string(head[8:12]); brand {
	case "avif", "avis":
		return "image/avif"
	case "heic", "heix", "heim", "heis", "hevc", "mif1", "msf1":
		return "image/heic"
	case "qt  ":
		return "video/quicktime"
	case "M4A ", "M4B ", "M4P ":
		return "audio/mp4"
	}
	if sound {
		return "audio/mp4"
	}
	return "video/mp4"
}

// maxSide is more than any browser shows.
const maxSide = 1 << 16

// Size is how large the picture looks that begins so; 0 where that is not known.
func Size(head []byte) (width, height int) {
	defer func() {
		if recover() != nil { // a header that its reader does not bear
			width, height = 0, 0
		}
	}()
	c, _, err := image.DecodeConfig(bytes.NewReader(head))
	if err != nil || c.Width <= 0 || c.Height <= 0 || c.Width > maxSide || c.Height > maxSide {
		return 0, 0
	}
	return c.Width, c.Height
}
