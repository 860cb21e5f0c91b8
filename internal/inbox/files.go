package inbox

import (
	"context"
	"strconv"
	"time"
)

// FileState is how far the bytes of an attachment are on their way here.
type FileState string

const (
	FileWaiting FileState = "waiting" // is being fetched, or will be
	FilePaused  FileState = "paused"  // a limit of ours holds it up
	FileStored  FileState = "stored"
	FileTooBig  FileState = "too_big" // larger than BOT_FILE_LIMIT, or than Telegram gives
	FileGone    FileState = "gone"    // Telegram has it no more, or KEEP_FILES has removed it
	FileFailed  FileState = "failed"
)

const (
	// ChunkBytes is how much of a file is stored in one transaction.
	ChunkBytes = 256 << 10
	// FilesPerDay is how many bytes of one customer's files are stored a day, and whatever file is then under way.
	FilesPerDay = 500 << 20
)

// Preview is what the thread shows of an attachment: a smaller size of a photo, the thumbnail of a video. Its FileID is
// "" where there is none.
type Preview struct {
	FileID string
	Size   int64
}

// pictures are the media types of what is shown as a picture, by its content.
var pictures = map[string]bool{"image/jpeg": true, "image/png": true, "image/gif": true, "image/webp": true}

// Picture says whether a media type, as the content of a file says it, is that of a raster picture.
func Picture(mediaType string) bool { return pictures[mediaType] }

// Link sets the paths at which the API serves the file, and what the thread shows of it if that is stored.
func (a *Attachment) Link(preview bool) {
	path := "/api/v1/files/" + strconv.FormatInt(a.ID, 10)
	if a.State == FileStored {
		a.URL = &path
	}
	if preview {
		thumbnail := path + "/thumbnail"
		a.ThumbnailURL = &thumbnail
	}
}

// FileFetch is a file to be fetched now.
type FileFetch struct {
	ID             int64
	ConversationID int64
	MessageID      int64
	Kind           string // of the attachment
	Preview        bool
	FileID         string
	Size           int64 // as Telegram said, 0 if it did not
	Attempt        int   // from 1
}

// FoundFile is what was found out about a file whose chunks are stored.
type FoundFile struct {
	Hash          []byte // SHA-256
	Size          int64
	MediaType     string // as its content says
	Width, Height int    // 0 where it is no picture
}

// FileOutcome is how a fetch ended that stored nothing: FileTooBig, FileGone and FileFailed for good, FileWaiting and
// FilePaused to try again.
type FileOutcome struct {
	State   FileState
	Error   string    // in plain words
	RetryAt time.Time // with FileWaiting and FilePaused
}

// FileStats says how much is waiting and how much room is taken.
type FileStats struct {
	Waiting int64
	Oldest  *time.Time // when the oldest of these came, nil for none
	Bytes   int64      // of all that is stored
	Paused  string     // why no file is fetched, "" while they are
}

// BotFiles is what the Telegram side asks of a store to fetch the files of customers. Each write checks the tenure, as
// in BotStore.
type BotFiles interface {
	// NextFiles lists up to limit files to be fetched now, without those that are busy. Customers take turns, of each
	// the newest file goes first. Files of a customer who has had FilesPerDay are held up until the next day. next is
	// when the earliest file that is not due yet becomes so, zero for none.
	NextFiles(ctx context.Context, t Tenure, busy []FileFetch, limit int) (files []FileFetch, next time.Time, err error)
	// BeginFile makes room for the chunks of a file, once what an earlier attempt left of it is removed.
	BeginFile(ctx context.Context, t Tenure, f FileFetch) (blob int64, err error)
	// AddChunk stores one chunk in a transaction of its own. n counts from 0.
	AddChunk(ctx context.Context, t Tenure, blob, n int64, data []byte) error
	// FileFetched says that all chunks are there. If the same bytes are stored already, the chunks are removed.
	FileFetched(ctx context.Context, t Tenure, f FileFetch, blob int64, found FoundFile) error
	// FileNotFetched says that they are not. What there is of it is removed.
	FileNotFetched(ctx context.Context, t Tenure, f FileFetch, o FileOutcome) error
	// PauseFiles says why no file is fetched, "" that they are.
	PauseFiles(ctx context.Context, t Tenure, why string) error
	// FileStats is as in OperatorFiles.
	FileStats(ctx context.Context) (FileStats, error)
	// FreeRoom is how much is free where the database keeps its data; not known where that is elsewhere.
	FreeRoom() (bytes int64, known bool)
}

// StoredFile is a file of an attachment, for whoever serves it.
type StoredFile struct {
	Attachment Attachment
	MediaType  string
	State      FileState
	Error      string
	Blob       int64
	Size       int64
	Hash       []byte
	StoredAt   time.Time
}

// OperatorFiles is what the web side asks of a store about files.
type OperatorFiles interface {
	// File is the file of an attachment, or what the thread shows of it. ErrNotFound where there is none.
	File(ctx context.Context, attachmentID int64, preview bool) (StoredFile, error)
	// FileChunk reads one chunk; ErrNotFound if it has been removed.
	FileChunk(ctx context.Context, blob, n int64) ([]byte, error)
	// RetryFile has the file of an attachment fetched again; ErrConflict if it is stored.
	RetryFile(ctx context.Context, attachmentID int64) (Attachment, error)
	// WantFiles has the files of these messages fetched that nobody has asked for yet.
	WantFiles(ctx context.Context, messageIDs []int64) error
	// FileStats counts what waits, and what there is.
	FileStats(ctx context.Context) (FileStats, error)
	// PruneFiles removes the bytes of files that were stored before a time, of none with the zero time, and what nothing
	// refers to.
	PruneFiles(ctx context.Context, before time.Time) error
}
