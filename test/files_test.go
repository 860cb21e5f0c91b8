package test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"

	"tandem/internal/proctest"
	"tandem/internal/simulator"
)

// TestFilesOfCustomers takes files from Telegram to the API: the same bytes come out, also of a large one, and also
// when the bot is killed in the middle.
func TestFilesOfCustomers(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		r := newRig(t, database).start().waitWeb().waitPolling()
		data := make([]byte, 3<<20)
		for i := range data {
			data[i] = byte(i * i >> 7)
		}
		hang := r.tg.AddFault(simulator.Fault{Kind: simulator.HangAfter, Method: simulator.FileMethod})
		if _, _, err := r.tg.Receive(simulator.Incoming{ChatID: 7, Text: "here", File: &simulator.IncomingFile{
			Name: "big.bin", Data: data}}); err != nil {
			t.Fatal(err)
		}
		c := r.conversation(7)
		first := func() raw {
			var page struct{ Items []raw }
			r.api("GET", fmt.Sprintf("/conversations/%d/messages", c.ID), nil, &page)
			if len(page.Items) == 0 {
				return nil
			}
			return page.Items[len(page.Items)-1]["attachments"].([]any)[0].(raw)
		}
		if state := first()["state"]; state != "waiting" {
			t.Errorf("while it is fetched it is %v", state)
		}
		proctest.Eventually(t, soon, "the download has begun", func() bool {
			return len(r.tg.Calls(simulator.FileMethod)) == 1
		})
		if err := syscall.Kill(r.process("bot").PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.tg.ClearFault(hang)
		proctest.Eventually(t, soon, "the file is stored", func() bool { return first()["state"] == "stored" })
		got := r.bytes(first()["url"].(string))
		if sha256.Sum256(got) != sha256.Sum256(data) {
			t.Errorf("%d bytes came out, %d went in; equal: %v", len(got), len(data), bytes.Equal(got, data))
		}
		r.stop()
	})
}

// bytes are what the API gives at a path.
func (r *rig) bytes(path string) []byte {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.addr+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.bearer)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %d (%v)", path, resp.StatusCode, err)
	}
	return b
}
