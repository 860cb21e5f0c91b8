package telegram

import (
	"cmp"
	"encoding/json"

	"tandem/internal/inbox"
)

// The thread shows a picture about this many pixels wide, or high, on a screen that has two for each of its own.
const previewSide = 640

// No picture of Telegram has as many pixels on a side, and no recording as many seconds.
const (
	maxSide     = 1 << 16
	maxDuration = 1 << 24
)

// fileShape is a file, or a size of a photo, as far as it says how large it looks and how long it takes.
type fileShape struct {
	ID        string     `json:"file_id"`
	Size      float64    `json:"file_size"`
	Width     float64    `json:"width"`
	Height    float64    `json:"height"`
	Length    float64    `json:"length"` // of a video message: both sides
	Duration  float64    `json:"duration"`
	Thumbnail *fileShape `json:"thumbnail"`
	Thumb     *fileShape `json:"thumb"` // its name in older versions of the Bot API
}

// addShape fills in how large a file looks, how long it takes, and what the thread shows of it: of a photo the smallest
// size that is large enough, of another file its thumbnail.
func addShape(a *inbox.Attachment, raw json.RawMessage) {
	var sizes []fileShape
	if json.Unmarshal(raw, &sizes) != nil {
		var one fileShape
		if json.Unmarshal(raw, &one) != nil {
			return
		}
		sizes = []fileShape{one}
	}
	if len(sizes) == 0 {
		return
	}
	full := sizes[len(sizes)-1]
	side := func(n float64) int { return int(min(max(n, 0), maxSide)) }
	a.Width, a.Height = side(cmp.Or(full.Width, full.Length)), side(cmp.Or(full.Height, full.Length))
	a.Duration = int(min(max(full.Duration, 0), maxDuration))
	preview := cmp.Or(full.Thumbnail, full.Thumb)
	for i := range sizes[:len(sizes)-1] {
		if s := &sizes[i]; max(s.Width, s.Height) >= previewSide {
			preview = s
			break
		}
	}
	if preview != nil && preview.ID != "" && preview.ID != full.ID && len(preview.ID) <= maxFileID {
		a.Preview = inbox.Preview{FileID: inbox.CleanText(preview.ID), Size: int64(min(max(preview.Size, 0), 1<<40))}
	}
}
