package telegram

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tandem/internal/inbox"
	"tandem/internal/proctest"
	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// sends has a customer send a file.
func (r *rig) sends(chat int64, file simulator.IncomingFile) {
	r.t.Helper()
	if _, _, err := r.tg.Receive(simulator.Incoming{ChatID: chat, File: &file}); err != nil {
		r.t.Fatal(err)
	}
}

// attachments of a chat, the oldest first.
func (r *rig) attachments(chat int64) (list []inbox.Attachment) {
	r.t.Helper()
	for _, m := range r.messages(chat) {
		list = append(list, m.Attachments...)
	}
	return list
}

// waitFile waits until the chat's only attachment is in a state.
func (r *rig) waitFile(chat int64, state inbox.FileState) inbox.Attachment {
	r.t.Helper()
	var last []inbox.Attachment
	proctest.Eventually(r.t, patience, fmt.Sprintf("the file is %s", state), func() bool {
		last = r.attachments(chat)
		return len(last) == 1 && last[0].State == state
	})
	return last[0]
}

func (r *rig) bytesOf(a inbox.Attachment, preview bool) []byte {
	r.t.Helper()
	f, err := r.db.File(r.t.Context(), a.ID, preview)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []byte
	for n := int64(0); int64(len(all)) < f.Size; n++ {
		piece, err := r.db.FileChunk(r.t.Context(), f.Blob, n)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, piece...)
	}
	return all
}

func TestAFileIsFetched(t *testing.T) {
	r := newRig(t, rigOptions{})
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1000, 400))); err != nil {
		t.Fatal(err)
	}
	r.sends(7, simulator.IncomingFile{Kind: "photo", Data: b.Bytes()})
	a := r.waitFile(7, inbox.FileStored)
	if !bytes.Equal(r.bytesOf(a, false), b.Bytes()) || a.MediaType != "image/png" || a.Width != 1000 || a.Height != 400 {
		t.Errorf("the photo is %+v", a)
	}
	proctest.Eventually(t, patience, "what the thread shows is there", func() bool {
		return r.attachments(7)[0].ThumbnailURL != nil
	})
	if small := r.bytesOf(a, true); bytes.Equal(small, b.Bytes()) || !bytes.HasPrefix(small, []byte("\xff\xd8")) {
		t.Error("the thread shows no size of its own")
	}
	data := noise(3*inbox.ChunkBytes + 17)
	r.sends(8, simulator.IncomingFile{Kind: "voice", MediaType: "audio/ogg", Data: append([]byte("OggS"), data...),
		Duration: 9})
	a = r.waitFile(8, inbox.FileStored)
	if a.MediaType != "audio/ogg" || a.Duration != 9 || !bytes.Equal(r.bytesOf(a, false)[4:], data) {
		t.Errorf("the voice is %+v", a)
	}
	r.sends(9, simulator.IncomingFile{Name: "none.txt", Data: []byte{}})
	if a := r.waitFile(9, inbox.FileStored); a.Size != 0 {
		t.Errorf("an empty file is %+v", a)
	}
}

func TestWhyAFileIsNotHere(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.sends(7, simulator.IncomingFile{Data: make([]byte, 20<<20+1)})
	if a := r.waitFile(7, inbox.FileTooBig); !strings.Contains(a.Error, "BOT_FILE_LIMIT") {
		t.Errorf("too big says %q", a.Error)
	}
	// Nothing is known of its size before it comes.
	gone := `{"message":{"message_id":900,"date":1796000000,"from":{"id":8,"first_name":"Ann"},
		"chat":{"id":8,"type":"private","first_name":"Ann"},"document":{"file_id":"none","file_unique_id":"none"}}}`
	if _, err := r.tg.Push(0, []byte(gone)); err != nil {
		t.Fatal(err)
	}
	if a := r.waitFile(8, inbox.FileGone); a.Error == "" {
		t.Error("gone says nothing")
	}
	if n := len(r.tg.Calls("getFile")); n != maxWrongFiles {
		t.Errorf("a file that is gone was asked for %d times, want %d", n, maxWrongFiles)
	}
	r.tg.AddFault(simulator.Fault{Kind: simulator.Answer, Method: "getFile", Status: 400,
		Description: "Bad Request: file is too big", Times: 1})
	r.sends(9, simulator.IncomingFile{Data: []byte("small")})
	a := r.waitFile(9, inbox.FileTooBig)
	if _, err := r.db.RetryFile(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	r.waitFile(9, inbox.FileStored)
	if _, err := r.db.RetryFile(t.Context(), a.ID); inbox.KindOf(err) != inbox.Conflict {
		t.Errorf("a file that is stored can be asked for again: %v", err)
	}
}

// Trouble with the way to a file costs it nothing; trouble with its bytes does.
func TestADownloadThatFails(t *testing.T) {
	for name, fault := range map[string]simulator.Fault{
		"breaks off":      {Kind: simulator.ResetAfter},
		"is refused":      {Kind: simulator.Answer, Status: 404, Description: "Not Found"},
		"is reset":        {Kind: simulator.Reset},
		"has a gateway":   simulator.BadGateway(),
		"is redirected":   simulator.Redirect("/elsewhere"),
		"is another page": simulator.CaptivePortal(),
		"is empty":        simulator.Empty(),
		"must wait":       {Kind: simulator.Answer, Status: 429, Description: "Too Many Requests: retry after 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{})
			fault.Method, fault.Times = simulator.FileMethod, 2
			r.tg.AddFault(fault)
			data := noise(2 * inbox.ChunkBytes)
			r.sends(7, simulator.IncomingFile{Data: data})
			r.tg.Customer(8, "and nobody waits")
			proctest.Eventually(t, patience, "the message is there", func() bool { return len(r.messages(8)) == 1 })
			if a := r.waitFile(7, inbox.FileStored); !bytes.Equal(r.bytesOf(a, false), data) {
				t.Error("it has other bytes")
			}
			stats, err := r.db.FileStats(t.Context())
			if err != nil || stats.Bytes != int64(len(data)) {
				t.Errorf("%d bytes are stored, want %d (%v)", stats.Bytes, len(data), err)
			}
		})
	}
}

// A bot that ends in the middle leaves a part; the next one begins anew and takes no more room.
func TestAFetchAfterARestart(t *testing.T) {
	tg := simtest.Start(t)
	db := openStore(t, "")
	hang := tg.AddFault(simulator.Fault{Kind: simulator.HangAfter, Method: simulator.FileMethod})
	first := start(t, tg, db, rigOptions{})
	data := noise(8 * inbox.ChunkBytes)
	first.sends(7, simulator.IncomingFile{Data: data})
	proctest.Eventually(t, patience, "a part is stored", func() bool {
		stats, err := db.FileStats(t.Context())
		return err == nil && stats.Bytes >= 2*inbox.ChunkBytes
	})
	first.stop()
	<-first.ended
	tg.ClearFault(hang)
	second := start(t, tg, db, rigOptions{})
	a := second.waitFile(7, inbox.FileStored)
	stats, err := db.FileStats(t.Context())
	if err != nil || stats.Bytes != int64(len(data)) || !bytes.Equal(second.bytesOf(a, false), data) {
		t.Errorf("%d bytes are stored, want %d (%v)", stats.Bytes, len(data), err)
	}
}

func TestTheRoomForFiles(t *testing.T) {
	for name, c := range map[string]struct {
		files FileOptions
		says  string
	}{
		"free": {FileOptions{MinFree: 1 << 60}, "FILES_MIN_FREE"},
		"all":  {FileOptions{Max: 1000}, "FILES_MAX"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{files: c.files})
			r.sends(6, simulator.IncomingFile{Data: make([]byte, 999)})
			r.sends(7, simulator.IncomingFile{Data: make([]byte, 1001)})
			a := r.waitFile(7, inbox.FilePaused)
			if !strings.Contains(a.Error, c.says) {
				t.Errorf("it says %q", a.Error)
			}
			r.tg.Customer(8, "hello") // messages go on
			proctest.Eventually(t, patience, "the message is there", func() bool { return len(r.messages(8)) == 1 })
		})
	}
}

func TestAFileOfALocalServer(t *testing.T) {
	dir := t.TempDir()
	tg := simtest.Start(t, simulator.Options{Seed: 1, FilesDir: dir})
	data := noise(21 << 20)
	for name, files := range map[string]FileOptions{
		"as the server sees it": {Dir: dir, Limit: 100 << 20},
		"under another name":    {Dir: elsewhere(t, dir), Limit: 100 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, tg, openStore(t, ""), rigOptions{files: files})
			r.sends(7, simulator.IncomingFile{Data: data})
			if a := r.waitFile(7, inbox.FileStored); !bytes.Equal(r.bytesOf(a, false), data) {
				t.Error("it has other bytes")
			}
			r.stopped()
		})
	}
	r := start(t, tg, openStore(t, ""), rigOptions{})
	r.sends(8, simulator.IncomingFile{Data: []byte("x")})
	if a := r.waitFile(8, inbox.FileFailed); !strings.Contains(a.Error, "BOT_FILES_DIR") ||
		strings.Contains(a.Error, dir) || strings.Contains(a.Error, secretHalf) {
		t.Errorf("without BOT_FILES_DIR it says %q", a.Error)
	}
}

// elsewhere is the same folder on another path, as a container has it.
func elsewhere(t *testing.T, dir string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), "mounted")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	return link
}

func TestOnlyRegularFilesBelowTheFolder(t *testing.T) {
	token, err := ParseToken(simtest.Token)
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	dir := filepath.Join(base, "files")
	own := filepath.Join(dir, token.wire(), "documents")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(own, 0o700))
	secret := filepath.Join(base, "secret")
	must(os.WriteFile(secret, []byte("secret"), 0o600))
	must(os.WriteFile(filepath.Join(own, "plain"), []byte("plain"), 0o600))
	must(os.Symlink(secret, filepath.Join(own, "out")))
	must(os.Symlink("plain", filepath.Join(own, "in")))
	must(os.Symlink(base, filepath.Join(own, "up")))
	must(os.Symlink(own, filepath.Join(dir, token.wire(), "same")))
	must(syscall.Mkfifo(filepath.Join(own, "pipe"), 0o600))
	open := func(path string) error {
		f, err := openLocal(dir, token, path)
		if err == nil {
			f.Close()
		}
		return err
	}
	for _, path := range []string{filepath.Join(own, "plain"), "/var/lib/bot-api/" + token.wire() + "/documents/plain"} {
		if err := open(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{
		secret, "/etc/passwd", own, filepath.Join(own, "out"), filepath.Join(own, "in"), filepath.Join(own, "up", "secret"),
		filepath.Join(dir, token.wire(), "same", "plain"), filepath.Join(own, "pipe"), filepath.Join(own, "none"),
		own + "/../../../secret", dir + "/../secret", "/x/" + token.wire() + "/../../secret", dir, dir + "/",
		`C:\files\plain`, "/x/" + token.wire() + "/", dir + "x/plain",
	} {
		if err := open(path); err == nil {
			t.Errorf("%s was opened", path)
		} else if strings.Contains(err.Error(), secretHalf) || strings.Contains(err.Error(), base) {
			t.Errorf("%s: the error has the path in it: %v", path, err)
		}
	}
}

// The poll waits for no file, however slow it is.
func TestAPollWaitsForNoFile(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.tg.AddFault(simulator.Fault{Kind: simulator.Hang, Method: "getFile"})
	for chat := int64(1); chat <= 2*fetchWorkers; chat++ {
		r.sends(chat, simulator.IncomingFile{Data: []byte("x")})
	}
	proctest.Eventually(t, patience, "all workers wait for Telegram", func() bool {
		f := r.tg.Faults()
		return len(f) == 1 && f[0].Seen == fetchWorkers
	})
	r.tg.Customer(100, "hello")
	proctest.Eventually(t, patience, "the message is there", func() bool { return len(r.messages(100)) == 1 })
	r.tg.ClearFaults()
	for chat := int64(1); chat <= 2*fetchWorkers; chat++ {
		r.waitFile(chat, inbox.FileStored)
	}
}
