package storetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tandem/internal/inbox"
)

// file is an update with a message that has a file.
func file(chat, message, size int64) inbox.Update {
	m := incoming(chat, message, "")
	m.Kind = "photo"
	m.Attachments = []inbox.Attachment{{Kind: "photo", MediaType: "image/jpeg", Size: size,
		FileID: fmt.Sprintf("F%d-%d", chat, message), FileUniqueID: fmt.Sprintf("U%d-%d", chat, message)}}
	return inbox.Update{Kind: "message", Message: m}
}

func (f *fixture) next(limit int, busy ...inbox.FileFetch) []inbox.FileFetch {
	f.t.Helper()
	files, _, err := f.NextFiles(f.t.Context(), f.tenure, busy, limit)
	must(f.t, err)
	return files
}

// fetch stores the bytes of a file that is next.
func (f *fixture) fetch(x inbox.FileFetch, data []byte) {
	f.t.Helper()
	blob, err := f.BeginFile(f.t.Context(), f.tenure, x)
	must(f.t, err)
	n := int64(0)
	for piece := range slices.Chunk(data, inbox.ChunkBytes) {
		must(f.t, f.AddChunk(f.t.Context(), f.tenure, blob, n, piece))
		n++
	}
	hash := sha256.Sum256(data)
	must(f.t, f.FileFetched(f.t.Context(), f.tenure, x, blob,
		inbox.FoundFile{Hash: hash[:], Size: int64(len(data)), MediaType: "image/png", Width: 30, Height: 20}))
}

func (f *fixture) bytesOf(attachment int64, preview bool) []byte {
	f.t.Helper()
	s, err := f.File(f.t.Context(), attachment, preview)
	must(f.t, err)
	var all []byte
	for n := int64(0); int64(len(all)) < s.Size; n++ {
		piece, err := f.FileChunk(f.t.Context(), s.Blob, n)
		must(f.t, err)
		all = append(all, piece...)
	}
	return all
}

func (f *fixture) attachment(chat int64) inbox.Attachment {
	f.t.Helper()
	list, _, err := f.Messages(f.t.Context(), f.conversation(chat).ID, 1, 0)
	must(f.t, err)
	return list[0].Attachments[0]
}

func (f *fixture) bytesStored() int64 {
	f.t.Helper()
	stats, err := f.FileStats(f.t.Context())
	must(f.t, err)
	return stats.Bytes
}

func filesIn(t *testing.T, open Open) {
	f := setUp(t, open)
	photo := file(7, 1, 10)
	photo.Message.Attachments[0].Preview = inbox.Preview{FileID: "small", Size: 3}
	f.receive(photo)
	if a := f.attachment(7); a.State != inbox.FileWaiting || a.URL != nil {
		t.Errorf("before it is fetched it is %+v", a)
	}
	stats, err := f.FileStats(t.Context())
	if must(t, err); stats.Waiting != 2 || stats.Oldest == nil {
		t.Errorf("the figures are %+v", stats)
	}
	files := f.next(5)
	if len(files) != 2 || !files[0].Preview || files[0].FileID != "small" || files[1].FileID != "F7-1" {
		t.Fatalf("next are %+v, want what the thread shows and the photo", files)
	}
	full := bytes.Repeat([]byte("abcdefgh"), inbox.ChunkBytes/4+1)
	f.fetch(files[0], []byte("abc"))
	before, err := f.LastEvent(t.Context())
	must(t, err)
	f.fetch(files[1], full)
	events, err := f.Events(t.Context(), before, 10)
	if must(t, err); len(events) != 1 || events[0].Type != inbox.MessageUpdated {
		t.Errorf("a file that is there made the events %+v", events)
	}
	a := f.attachment(7)
	if a.State != inbox.FileStored || a.MediaType != "image/png" || a.Size != int64(len(full)) || a.Width != 30 ||
		a.URL == nil || a.ThumbnailURL == nil {
		t.Errorf("it is stored as %+v", a)
	}
	if !bytes.Equal(f.bytesOf(a.ID, false), full) || string(f.bytesOf(a.ID, true)) != "abc" {
		t.Error("what is read is not what was stored")
	}
	if files := f.next(5); len(files) != 0 {
		t.Errorf("next are still %+v", files)
	}
	if _, err := f.File(t.Context(), a.ID+100, false); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("a file that is not there: %v", err)
	}
	// The same edit again changes nothing, another photo replaces the bytes.
	m := file(7, 1, 10).Message
	m.Attachments[0].FileUniqueID = "other"
	when := at(60)
	m.EditedAt = &when
	f.receive(inbox.Update{Kind: "edited_message", Edit: m})
	if _, err := f.File(t.Context(), a.ID, false); !errors.Is(err, inbox.ErrNotFound) {
		t.Errorf("after the edit the old file is there: %v", err)
	}
	must(t, f.PruneFiles(t.Context(), time.Time{}))
	if n := f.bytesStored(); n != 0 {
		t.Errorf("after pruning there are %d bytes", n)
	}
}

// Equal files are kept once, and what a broken attempt left of one is removed before the next.
func filesOnce(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(file(7, 1, 10), file(8, 1, 10))
	files := f.next(5)
	data := bytes.Repeat([]byte("x"), 3*inbox.ChunkBytes)
	blob, err := f.BeginFile(t.Context(), f.tenure, files[0])
	must(t, err)
	must(t, f.AddChunk(t.Context(), f.tenure, blob, 0, data[:inbox.ChunkBytes]))
	must(t, f.PruneFiles(t.Context(), time.Time{})) // a part is no waste
	if n := f.bytesStored(); n != inbox.ChunkBytes {
		t.Errorf("a part has %d bytes", n)
	}
	f.takeOver() // the next bot begins anew
	if _, err := f.BeginFile(t.Context(), f.tenure, files[0]); err != nil {
		t.Fatal(err)
	}
	if n := f.bytesStored(); n != 0 {
		t.Errorf("what was begun has left %d bytes", n)
	}
	f.fetch(files[0], data)
	f.fetch(files[1], data)
	if n := f.bytesStored(); n != int64(len(data)) {
		t.Errorf("twice the same takes %d bytes, want %d", n, len(data))
	}
	one, two := f.attachment(7), f.attachment(8)
	must(t, f.PruneFiles(t.Context(), time.Now().Add(time.Hour)))
	if n := f.bytesStored(); n != 0 {
		t.Errorf("after the time that files are kept there are %d bytes", n)
	}
	for _, a := range []inbox.Attachment{one, two} {
		if s, err := f.File(t.Context(), a.ID, false); err != nil || s.State != inbox.FileGone || s.Error == "" {
			t.Errorf("then the file is %+v (%v)", s, err)
		}
	}
	// It can be asked for again.
	a, err := f.RetryFile(t.Context(), one.ID)
	if must(t, err); a.State != inbox.FileWaiting {
		t.Errorf("asked for again it is %+v", a)
	}
	if files := f.next(5); len(files) != 1 || files[0].Attempt != 1 {
		t.Errorf("next are %+v", files)
	}
}

func filesFenced(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(file(7, 1, 10))
	x := f.next(1)[0]
	blob, err := f.BeginFile(t.Context(), f.tenure, x)
	must(t, err)
	old := f.tenure
	f.takeOver()
	for what, err := range map[string]error{
		"a chunk":   f.AddChunk(t.Context(), old, blob, 0, []byte("late")),
		"a file":    f.FileFetched(t.Context(), old, x, blob, inbox.FoundFile{Hash: []byte("h")}),
		"a failure": f.FileNotFetched(t.Context(), old, x, inbox.FileOutcome{State: inbox.FileFailed}),
		"a pause":   f.PauseFiles(t.Context(), old, "late"),
	} {
		if !errors.Is(err, inbox.ErrFenced) {
			t.Errorf("a bot that was followed stores %s: %v", what, err)
		}
	}
	if _, err := f.BeginFile(t.Context(), old, x); !errors.Is(err, inbox.ErrFenced) {
		t.Errorf("a bot that was followed begins a file: %v", err)
	}
	if n := f.bytesStored(); n != 0 {
		t.Errorf("it stored %d bytes", n)
	}
}

// Customers take turns, and of each the newest file goes first.
func filesInTurns(t *testing.T, open Open) {
	f := setUp(t, open)
	for i := int64(1); i <= 5; i++ {
		f.receive(file(7, i, 10))
	}
	f.receive(file(8, 1, 10))
	ids := func(files []inbox.FileFetch) (out []string) {
		for _, x := range files {
			out = append(out, x.FileID)
		}
		slices.Sort(out)
		return out
	}
	if got := ids(f.next(3)); !slices.Equal(got, []string{"F7-4", "F7-5", "F8-1"}) {
		t.Errorf("the first three are %v", got)
	}
	first := f.next(1)
	if got := f.next(5, first...); len(got) != 5 || got[0].ConversationID == first[0].ConversationID {
		t.Errorf("while %v is under way next are %v", ids(first), ids(got))
	}
	again := time.Now().Add(time.Hour)
	for _, x := range f.next(1) {
		must(t, f.FileNotFetched(t.Context(), f.tenure, x,
			inbox.FileOutcome{State: inbox.FileWaiting, Error: "later", RetryAt: again}))
	}
	files, _, err := f.NextFiles(t.Context(), f.tenure, nil, 10)
	if must(t, err); len(files) != 5 {
		t.Errorf("one waits for its next attempt, and there are %v", ids(files))
	}
	for _, x := range files {
		must(t, f.FileNotFetched(t.Context(), f.tenure, x, inbox.FileOutcome{State: inbox.FileGone, Error: "gone"}))
	}
	if _, next, err := f.NextFiles(t.Context(), f.tenure, nil, 10); err != nil || next.UnixMicro() != again.UnixMicro() {
		t.Errorf("the next is due at %v, want %v (%v)", next, again, err)
	}
}

func filesOfADay(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(file(7, 1, 10), file(7, 2, 10), file(8, 1, 10))
	for _, x := range f.next(1, f.next(3)[1:]...) {
		blob, err := f.BeginFile(t.Context(), f.tenure, x)
		must(t, err)
		must(t, f.FileFetched(t.Context(), f.tenure, x, blob,
			inbox.FoundFile{Hash: []byte(x.FileID), Size: inbox.FilesPerDay}))
	}
	one := f.next(5)
	two := f.next(5) // after the limit was found
	if len(one) != len(two) || len(two) == 0 || len(two) == 3 {
		t.Errorf("a customer who has had his share gets %+v, then %+v", one, two)
	}
	paused := 0
	for _, chat := range []int64{7, 8} {
		list, _, err := f.Messages(t.Context(), f.conversation(chat).ID, 10, 0)
		must(t, err)
		for _, m := range list {
			if a := m.Attachments[0]; a.State == inbox.FilePaused && a.Error != "" {
				paused++
			}
		}
	}
	if paused+len(two) != 2 {
		t.Errorf("%d are held up and %d next, of two", paused, len(two))
	}
}

func filesPaused(t *testing.T, open Open) {
	f := setUp(t, open)
	f.receive(file(7, 1, 10))
	before, err := f.LastEvent(t.Context())
	must(t, err)
	must(t, f.PauseFiles(t.Context(), f.tenure, "the disk is nearly full"))
	if a := f.attachment(7); a.State != inbox.FilePaused || a.Error != "the disk is nearly full" {
		t.Errorf("while files pause it is %+v", a)
	}
	must(t, f.PauseFiles(t.Context(), f.tenure, "the disk is nearly full"))
	events, err := f.Events(t.Context(), before, 10)
	if must(t, err); len(events) != 2 {
		t.Errorf("a pause made the events %+v, want one for the bot and one for the message", events)
	}
	stats, err := f.FileStats(t.Context())
	if must(t, err); stats.Paused != "the disk is nearly full" {
		t.Errorf("the figures are %+v", stats)
	}
	must(t, f.PauseFiles(t.Context(), f.tenure, ""))
	if a := f.attachment(7); a.State != inbox.FileWaiting || a.Error != "" {
		t.Errorf("after the pause it is %+v", a)
	}
}
