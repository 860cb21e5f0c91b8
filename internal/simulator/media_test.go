package simulator_test

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/simulator"
	"tandem/internal/simulator/simtest"
)

func picture(t *testing.T, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func getFile(t *testing.T, tg *simtest.Telegram, id string) (path string, a response) {
	t.Helper()
	a = ask(t, tg, "getFile", p{"file_id": id})
	var f struct {
		Path string `json:"file_path"`
	}
	_ = json.Unmarshal(a.Result, &f) // of an error there is none
	return f.Path, a
}

func download(t *testing.T, tg *simtest.Telegram, path string) ([]byte, error) {
	t.Helper()
	resp, err := http.Get(tg.URL + "/file/bot" + simtest.Token + "/" + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func TestACustomerSendsEveryKindOfFile(t *testing.T) {
	tg := simtest.Start(t)
	full := picture(t, 1000, 500)
	m, _, err := tg.Receive(simulator.Incoming{ChatID: 7, File: &simulator.IncomingFile{Kind: "photo", Data: full}})
	if err != nil || len(m.Photo) != 4 {
		t.Fatalf("a photo has the sizes %+v (%v), want four", m.Photo, err)
	}
	if s := m.Photo[1]; s.Width != 320 || s.Height != 160 {
		t.Errorf("its second size is %+v", s)
	}
	path, _ := getFile(t, tg, m.Photo[3].FileID)
	if got, err := download(t, tg, path); err != nil || !bytes.Equal(got, full) {
		t.Errorf("the largest size is not what was sent (%v)", err)
	}
	for kind, field := range map[string]func(simulator.Message) *simulator.Media{
		"document":   func(m simulator.Message) *simulator.Media { return m.Document },
		"voice":      func(m simulator.Message) *simulator.Media { return m.Voice },
		"audio":      func(m simulator.Message) *simulator.Media { return m.Audio },
		"video":      func(m simulator.Message) *simulator.Media { return m.Video },
		"video_note": func(m simulator.Message) *simulator.Media { return m.VideoNote },
		"animation":  func(m simulator.Message) *simulator.Media { return m.Animation },
		"sticker":    func(m simulator.Message) *simulator.Media { return m.Sticker },
	} {
		m, _, err := tg.Receive(simulator.Incoming{ChatID: 7, File: &simulator.IncomingFile{
			Kind: kind, Data: []byte(kind), Duration: 3, Thumbnail: picture(t, 8, 8)}})
		if err != nil || field(m) == nil || field(m).FileSize != len(kind) || field(m).Thumbnail == nil {
			t.Errorf("%s came as %+v (%v)", kind, m, err)
		}
	}
	if _, _, err := tg.Receive(simulator.Incoming{ChatID: 7, File: &simulator.IncomingFile{Kind: "scent"}}); err == nil {
		t.Error("there is a file of the kind scent")
	}
}

func TestAnAlbum(t *testing.T) {
	tg := simtest.Start(t)
	album := simulator.Incoming{ChatID: 7, Text: "both", Files: []simulator.IncomingFile{
		{Kind: "photo", Data: picture(t, 4, 4)}, {Kind: "video", Data: []byte("v")}}}
	if _, _, err := tg.Receive(album); err != nil {
		t.Fatal(err)
	}
	all := tg.Messages(0, 7)
	if len(all) != 2 || all[0].MediaGroupID == "" || all[0].MediaGroupID != all[1].MediaGroupID ||
		all[0].Caption != "both" || all[1].Caption != "" {
		t.Fatalf("the album is %+v", all)
	}
	for _, wrong := range [][]simulator.IncomingFile{
		album.Files[:1],
		{{Kind: "photo"}, {Kind: "document"}},
		{{Kind: "voice"}, {Kind: "voice"}},
		make([]simulator.IncomingFile, 11),
	} {
		if _, _, err := tg.Receive(simulator.Incoming{ChatID: 7, Files: wrong}); err == nil {
			t.Errorf("%d files are an album: %+v", len(wrong), wrong)
		}
	}
}

func TestAFileThatIsTooBigAndOneWithLocal(t *testing.T) {
	tg, dir := simtest.Start(t), t.TempDir()
	send := func(tg *simtest.Telegram, n int) string {
		m, _, err := tg.Receive(simulator.Incoming{ChatID: 7, File: &simulator.IncomingFile{Data: make([]byte, n)}})
		if err != nil {
			t.Fatal(err)
		}
		return m.Document.FileID
	}
	if _, a := getFile(t, tg, send(tg, 20<<20+1)); a.String() != "400 Bad Request: file is too big" {
		t.Errorf("a byte above the limit: %v", a)
	}
	if path, a := getFile(t, tg, send(tg, 20<<20)); path == "" {
		t.Errorf("at the limit: %v", a)
	}
	local := simtest.Start(t, simulator.Options{Seed: 2, FilesDir: dir})
	path, a := getFile(t, local, send(local, 20<<20+1))
	if !filepath.IsAbs(path) || !strings.HasPrefix(path, dir) {
		t.Fatalf("with --local the path is %q (%v)", path, a)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 20<<20+1 {
		t.Errorf("there is %v (%v)", info, err)
	}
}

func TestAFileOutlivesARestartAndIsNotInTheState(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state.json")
	tg := simtest.Start(t, simulator.Options{Seed: 1, StateFile: state})
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	m, _, err := tg.Receive(simulator.Incoming{ChatID: 7, File: &simulator.IncomingFile{Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	if err := tg.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(state); err != nil || info.Size() > 100_000 {
		t.Errorf("the state has %d bytes (%v)", info.Size(), err)
	}
	again := simtest.Start(t, simulator.Options{Seed: 3, StateFile: state})
	path, _ := getFile(t, again, m.Document.FileID)
	if got, err := download(t, again, path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after a restart it has %d bytes (%v)", len(got), err)
	}
}

func TestADownloadBreaksOff(t *testing.T) {
	tg := simtest.Start(t)
	data := make([]byte, 1<<20)
	m, _, err := tg.Receive(simulator.Incoming{ChatID: 7, File: &simulator.IncomingFile{Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	path, _ := getFile(t, tg, m.Document.FileID)
	tg.AddFault(simulator.Fault{Kind: simulator.ResetAfter, Method: simulator.FileMethod, Times: 1})
	if got, err := download(t, tg, path); err == nil || len(got) >= len(data) {
		t.Errorf("%d bytes of a broken download (%v)", len(got), err)
	}
	if got, err := download(t, tg, path); err != nil || len(got) != len(data) {
		t.Errorf("%d bytes of the next one (%v)", len(got), err)
	}
	if err := tg.WaitFor(5*time.Second, func() bool { return len(tg.Calls(simulator.FileMethod)) == 2 }); err != nil {
		t.Errorf("downloads are recorded: %v", err)
	}
}
