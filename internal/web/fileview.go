package web

import (
	"fmt"
	"strings"

	"tandem/internal/filetype"
	"tandem/internal/inbox"
)

// What the thread shows is at most this large, in pixels of the page.
const (
	pictureSide = 320
	stickerSide = 160
	leastSide   = 48
)

// A browser needs four bytes for each pixel. A picture that has more than these, and no smaller size, is a card.
const (
	maxPixels       = 40_000_000
	maxPictureBytes = 10 << 20
)

// attachmentView is a file in the thread. Of Picture, Video, Audio and none at most one is set; the card says the rest.
type attachmentView struct {
	Name, Detail string
	Said         string // the sender's
	Link         string // of the file, "" while it is not here
	Save         bool   // the browser saves it instead of showing it

	Picture       bool
	Video, Audio  bool
	Sticker, Loop bool
	Image         string // what the thread shows, or a video before it runs; "" for nothing yet
	Width, Height int    // reserved for it
	Alt           string

	State           string // that of the file, "" once it is here
	Words, Why      string
	Retry, RetryAPI string // addresses, "" when it is not to be asked for
	Message         int64
}

var fileWords = map[inbox.FileState]string{
	inbox.FileWaiting: "is being fetched",
	inbox.FilePaused:  "waits",
	inbox.FileTooBig:  "too big",
	inbox.FileGone:    "not available any more",
	inbox.FileFailed:  "could not be fetched",
}

func viewAttachment(m inbox.Message, a inbox.Attachment, query string) attachmentView {
	kind := capital(inbox.KindName(a.Kind))
	v := attachmentView{Name: a.Name, Message: m.ID, Sticker: a.Kind == "sticker", Loop: a.Kind == "animation"}
	detail := []string{kind}
	if inbox.Blank(v.Name) {
		v.Name, detail = kind, nil
	}
	v.Alt = v.Name
	if v.Sticker && !inbox.Blank(m.Details) {
		v.Alt = kind + " " + m.Details
	}
	stored := a.State == inbox.FileStored
	if stored {
		v.Link = filePath(a, false)
		v.Save = !filetype.Inline(a.MediaType)
	}
	if a.ThumbnailURL != nil {
		v.Image = filePath(a, true)
	}
	v.shape(a, stored)
	if a.MediaType != "" {
		detail = append(detail, a.MediaType)
	}
	if a.Size > 0 {
		detail = append(detail, sizeWords(a.Size))
	}
	if a.Duration > 0 && inbox.Blank(m.Details) { // else the message says it
		detail = append(detail, fmt.Sprintf("%d:%02d", a.Duration/60, a.Duration%60))
	}
	v.Detail = strings.Join(detail, " · ")
	if stored {
		return v
	}
	v.State, v.Words, v.Why = string(a.State), fileWords[a.State], sentence(a.Error)
	switch a.State {
	case inbox.FileTooBig, inbox.FileGone, inbox.FileFailed:
		v.Retry = fmt.Sprintf("/files/%d/retry%s", a.ID, query)
		v.RetryAPI = fmt.Sprintf("/api/v1/files/%d/retry", a.ID)
	}
	return v
}

// shape says how the thread shows a file. Until it is here, Telegram's word for its kind decides what room is kept.
func (v *attachmentView) shape(a inbox.Attachment, stored bool) {
	picture := inbox.Picture(a.MediaType)
	side := pictureSide
	switch {
	case v.Sticker:
		v.Picture, side = v.Image != "" || !stored || picture, stickerSide
	case stored && picture:
		v.Picture = v.Image != "" || a.Width*a.Height <= maxPixels && a.Width > 0 && a.Size <= maxPictureBytes
	case stored:
		v.Video = strings.HasPrefix(a.MediaType, "video/") && !v.Save
		v.Audio = strings.HasPrefix(a.MediaType, "audio/") && !v.Save
		v.Picture = !v.Video && !v.Audio && a.Kind == "photo" && v.Image != ""
	default:
		switch a.Kind {
		case "photo", "video", "animation", "video_note", "live_photo":
			v.Picture = v.Image != "" || a.State == inbox.FileWaiting || a.State == inbox.FilePaused
		default:
			v.Picture = picture && v.Image != ""
		}
	}
	if v.Picture && v.Image == "" && stored {
		v.Image = v.Link
	}
	v.Width, v.Height = within(a.Width, a.Height, side)
}

// within is the size at which a picture fits into a square.
func within(width, height, side int) (int, int) {
	if width <= 0 || height <= 0 {
		return side, side * 3 / 4
	}
	longer := max(width, height)
	if longer > side {
		width, height = width*side/longer, height*side/longer
	}
	return max(width, leastSide), max(height, leastSide)
}

// inAlbum says whether a message is one picture of several that were sent together.
func (v messageView) inAlbum() bool {
	return len(v.Attachments) == 1 && (v.Attachments[0].Picture || v.Attachments[0].Video) && !v.Attachments[0].Sticker
}

func sizeWords(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1000_000:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
