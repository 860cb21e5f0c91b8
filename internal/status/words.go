package status

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"time"
)

// Words are what a process says of its own end, which its exit code cannot say. It may write them just before it ends,
// to the file NAME.words beside the status file. People find them in web's banner and in `init status`.
type Words struct {
	At     time.Time `json:"at"`
	Code   int       `json:"code"`
	Reason string    `json:"reason"` // without secrets
}

const (
	maxWordsBytes  = 16 << 10 // of the file
	maxReasonBytes = 2 << 10  // of the reason: as JSON it has at most six times as many
)

// WriteWords replaces the words of the process name in dir.
func WriteWords(dir, name string, w Words) error {
	if len(w.Reason) > maxReasonBytes {
		w.Reason = strings.ToValidUTF8(w.Reason[:maxReasonBytes], "") + "..."
	}
	d, err := OpenDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	file, text := WordsOf(name), marshal(w)
	if err = d.Write(file, text, 0o600); errors.Is(err, fs.ErrPermission) {
		// dir belongs to an init of another user, which may have made the file for this process.
		return d.Overwrite(file, text)
	}
	return err
}

// Words returns what the process said of its last end, or "". What lies in dir counts only if it has the exit code of
// that end, and was written in the ten seconds before it. An end by a signal has no words.
func (p Process) Words(dir string) string {
	if p.LastEnd == nil || p.LastEnd.Signal != "" {
		return ""
	}
	d, err := OpenDir(dir)
	if err != nil {
		return ""
	}
	defer d.Close()
	b, err := d.Read(WordsOf(p.Name))
	if err != nil || len(b) > maxWordsBytes {
		return ""
	}
	var w Words
	if json.Unmarshal(b, &w) != nil || w.Code != p.LastEnd.Code {
		return ""
	}
	// The status has microseconds, the words have more.
	if ago := p.LastEnd.At.Sub(w.At); ago < -10*time.Millisecond || ago > 10*time.Second {
		return ""
	}
	return w.Reason
}
