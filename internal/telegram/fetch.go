package telegram

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/internal/backoff"
	"tandem/internal/filetype"
	"tandem/internal/inbox"
)

const (
	// fetchWorkers is how many files come at once. Each has one chunk in memory.
	fetchWorkers = 5
	// A file that breaks off, or that Telegram calls wrong, is tried so often. What an outage costs does not count.
	maxFetches    = 8
	maxWrongFiles = 3 // "wrong file_id or the file is temporarily unavailable" is said of both
	maxFilePath   = 1024
)

// FileOptions are the limits of what is fetched. The zero value of each is the usual one, or none.
type FileOptions struct {
	Limit   int64  // bytes of a file
	Dir     string // of a Bot API server with --local, as the bot sees it; "" refuses its paths
	MinFree int64  // bytes that stay free on the disk
	Max     int64  // bytes of all files together, 0 for no limit
}

// UsualFileLimit is what Telegram's own server gives at most.
const UsualFileLimit = 20 << 20

// fetcher fetches what customers have sent. It has workers of its own, so neither polls nor answers wait for it.
type fetcher struct {
	*tenure

	ended   chan struct{} // gets a word whenever a fetch has ended
	fatal   chan error
	workers sync.WaitGroup
	buffers sync.Pool

	mu      sync.Mutex
	busy    []inbox.FileFetch
	pauseTo time.Time // nothing is begun before
	backoff *backoff.Backoff

	// used by the loop alone
	paused  string // why, as the database knows it
	near    bool   // the limit is near, which was said
	stats   inbox.FileStats
	countAt time.Time // when stats are to be read anew
}

// fetch fetches files until run ends. What is under way ends with it, and is begun anew by the next bot.
func (x *tenure) fetch() error {
	run := x.life.run
	hints, cancel := x.Store.Subscribe()
	defer cancel()
	f := &fetcher{
		tenure: x, ended: make(chan struct{}, 1), fatal: make(chan error, 1), backoff: x.times.backoff(),
		buffers: sync.Pool{New: func() any { b := make([]byte, inbox.ChunkBytes); return &b }},
		paused:  "?", // not known yet
	}
	defer f.workers.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for x.breaker.pass(run) {
		due, err := f.begin(run)
		if err != nil {
			return err
		}
		timer.Reset(min(max(due, 0), x.times.claimEvery))
		select {
		case <-hints:
		case <-f.ended:
		case <-timer.C:
		case err := <-f.fatal:
			return err
		case <-run.Done():
		}
	}
	return nil
}

// begin begins as many fetches as there are workers for. due is when to look again at the latest.
func (f *fetcher) begin(run context.Context) (due time.Duration, err error) {
	due = f.times.claimEvery
	f.mu.Lock()
	busy := append([]inbox.FileFetch{}, f.busy...)
	wait := time.Until(f.pauseTo)
	f.mu.Unlock()
	switch {
	case wait > 0:
		return wait, nil
	case len(busy) >= fetchWorkers || f.Store.Ready() != nil:
		return due, nil
	}
	why, err := f.limit(run)
	if err == nil && why != f.paused {
		if err = f.Store.PauseFiles(run, f.Tenure, why); err == nil {
			f.paused = why
		}
	}
	var files []inbox.FileFetch
	var next time.Time
	if err == nil && why == "" {
		files, next, err = f.Store.NextFiles(run, f.Tenure, busy, fetchWorkers-len(busy))
	}
	switch {
	case errors.Is(err, inbox.ErrFenced):
		return due, endFenced(err)
	case err != nil:
		if run.Err() == nil {
			f.Log.Warn("files to fetch cannot be read, trying again", "error", err)
		}
		return due, nil
	}
	for _, file := range files {
		f.mu.Lock()
		f.busy = append(f.busy, file)
		f.mu.Unlock()
		f.workers.Go(func() { f.work(run, file) })
	}
	if !next.IsZero() {
		due = min(due, time.Until(next))
	}
	return due, nil
}

// limit says why nothing may be fetched now, "" if it may. A pause ends a little beyond the limit at which it began.
func (f *fetcher) limit(ctx context.Context) (why string, err error) {
	slack := int64(0)
	if f.paused != "" {
		slack = 1
	}
	free, known := f.Store.FreeRoom()
	if f.Files.Max > 0 && !time.Now().Before(f.countAt) {
		if f.stats, err = f.Store.FileStats(ctx); err != nil {
			return "", err
		}
		f.countAt = time.Now().Add(f.times.claimEvery / 2)
	}
	minFree, most, taken := f.Files.MinFree, f.Files.Max, f.stats.Bytes
	switch {
	case known && free < minFree+slack*minFree/20:
		why = "less than " + megabytes(minFree) + " of the disk is free (FILES_MIN_FREE)"
	case most > 0 && taken >= most-slack*most/20:
		why = "files take " + megabytes(most) + " already (FILES_MAX)"
	}
	near := known && free < 2*minFree || most > 0 && taken > most/10*9
	switch {
	case why != "" && (f.paused == "" || f.paused == "?"):
		f.Log.Warn("files of customers are not fetched for now", "reason", why)
	case why == "" && near && !f.near:
		f.Log.Warn("files of customers will soon not be fetched any more: the room for them is nearly used up",
			"free", free, "min_free", minFree, "stored", taken, "max", most)
	case why == "" && f.paused != "" && f.paused != "?":
		f.Log.Info("files of customers are fetched again")
	}
	f.near = near
	return why, nil
}

// ending is how a fetch ends that stored nothing and is no failure of its file.
type ending struct {
	wait time.Duration // before any other is begun, 0 for the usual pause after trouble
	err  error
}

func (e *ending) Error() string { return e.err.Error() }

// work fetches a file and writes down how that went. One that makes us panic fails for itself.
func (f *fetcher) work(run context.Context, file inbox.FileFetch) {
	defer func() {
		if r := recover(); r != nil {
			f.Log.Error("a file broke the fetcher", "file", file.ID, "panic", f.client.scrub(fmt.Sprint(r)))
			_ = f.Store.FileNotFetched(run, f.Tenure, file, inbox.FileOutcome{State: inbox.FileFailed,
				Error: "an error in this program kept it from fetching this"})
		}
		f.mu.Lock()
		for i := range f.busy {
			if f.busy[i].ID == file.ID {
				f.busy = append(f.busy[:i], f.busy[i+1:]...)
				break
			}
		}
		f.mu.Unlock()
		select {
		case f.ended <- struct{}{}:
		default:
		}
	}()
	o, err := f.take(run, file)
	if err == nil && o.State != inbox.FileStored {
		err = f.Store.FileNotFetched(run, f.Tenure, file, o)
		if err == nil && o.State != inbox.FileWaiting {
			f.Log.Info("a file of a customer is not here", "conversation", file.ConversationID, "message", file.MessageID,
				"state", o.State, "reason", o.Error)
		}
	}
	outcome := o.State
	var end *ending
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		f.backoff.Reset()
	case errors.Is(err, inbox.ErrFenced):
		f.die(endFenced(err))
	case errors.Is(err, errLost):
		f.die(errLost)
	case errors.Is(err, inbox.ErrNotFound), run.Err() != nil: // an edit took it away, or we stop
	default:
		wait := f.backoff.Next()
		if errors.As(err, &end) && end.wait > 0 {
			wait = end.wait
		}
		if f.backoff.Failures == 1 {
			f.Log.Warn("files cannot be fetched, trying again", "reason", f.client.scrub(err.Error()), "wait", wait)
		}
		f.pauseTo = time.Now().Add(wait)
		outcome = inbox.FileWaiting
	}
	if outcome != "" {
		f.metrics.files.WithLabelValues(string(outcome)).Inc()
	}
}

func (f *fetcher) die(err error) {
	select {
	case f.fatal <- err:
	default:
	}
}

// take fetches a file. An error says that the trouble is none of this file: another attempt costs it nothing.
func (f *fetcher) take(run context.Context, file inbox.FileFetch) (o inbox.FileOutcome, err error) {
	if o := f.tooMuch(file.Size); o.State != "" {
		return o, nil
	}
	ctx, cancel := context.WithCancel(run)
	defer cancel()
	stalled := time.AfterFunc(f.times.sendLimit, cancel)
	defer stalled.Stop()
	resp := f.client.call(ctx, "getFile", map[string]string{"file_id": file.FileID}, maxResponseBytes)
	if resp.class != taken {
		return f.notTaken(file, resp)
	}
	path, _ := get[string](object(resp.result), "file_path")
	size := int64(number(object(resp.result)["file_size"]))
	if o := f.tooMuch(size); o.State != "" {
		return o, nil
	}
	body, o, err := f.open(ctx, file, path)
	if err != nil || body == nil {
		return o, err
	}
	defer body.Close()
	return f.store(run, file, size, &lively{body, stalled, f.times.sendLimit})
}

// tooMuch is the outcome of a file that is too large, or for which there is no room. Its State is "" for any other.
func (f *fetcher) tooMuch(size int64) (o inbox.FileOutcome) {
	later := time.Now().Add(10 * time.Minute)
	free, known := f.Store.FreeRoom()
	switch {
	case size > f.Files.Limit:
		return f.tooBig(megabytes(size))
	case known && free-size < f.Files.MinFree:
		return inbox.FileOutcome{State: inbox.FilePaused, RetryAt: later, Error: "with its " + megabytes(size) +
			" less than " + megabytes(f.Files.MinFree) + " of the disk would be free (FILES_MIN_FREE)"}
	case f.Files.Max > 0 && size > f.Files.Max:
		return inbox.FileOutcome{State: inbox.FilePaused, RetryAt: later, Error: "with its " + megabytes(size) +
			" files would take more than " + megabytes(f.Files.Max) + " (FILES_MAX)"}
	}
	return o
}

func (f *fetcher) tooBig(size string) inbox.FileOutcome {
	return inbox.FileOutcome{State: inbox.FileTooBig, Error: "it has " + size + ", and files of more than " +
		megabytes(f.Files.Limit) + " stay at Telegram (BOT_FILE_LIMIT)"}
}

// notTaken says what a refused getFile means for the file.
func (f *fetcher) notTaken(file inbox.FileFetch, resp response) (o inbox.FileOutcome, err error) {
	switch {
	case resp.class == lapsed:
		return o, errLost
	case resp.class == flooded:
		return o, &ending{wait: f.times.wait(resp, f.times.backoff()), err: resp}
	case resp.class != refused:
		return o, &ending{err: resp}
	case resp.fileTooLarge():
		return inbox.FileOutcome{State: inbox.FileTooBig,
			Error: "Telegram gives bots no file as large as this: 20 MB is its limit"}, nil
	case resp.fileUnknown():
		if file.Attempt < maxWrongFiles {
			return f.again(file, "Telegram does not have it now"), nil
		}
		return inbox.FileOutcome{State: inbox.FileGone, Error: "Telegram does not have it any more"}, nil
	}
	return f.again(file, "Telegram refused it: "+resp.Error()), nil
}

// again is the outcome of an attempt that failed for something about this file.
func (f *fetcher) again(file inbox.FileFetch, why string) inbox.FileOutcome {
	why = f.client.scrub(why)
	if file.Attempt >= maxFetches {
		return inbox.FileOutcome{State: inbox.FileFailed, Error: why}
	}
	pause := backoff.Backoff{Min: 4 * f.times.backoffFirst, Max: 20 * f.times.backoffMost, Failures: file.Attempt - 1}
	return inbox.FileOutcome{State: inbox.FileWaiting, Error: why + "; it is tried again",
		RetryAt: time.Now().Add(pause.Next())}
}

// open begins to read the file at the path that getFile gave; body is nil with an outcome.
func (f *fetcher) open(
	ctx context.Context, file inbox.FileFetch, path string,
) (body io.ReadCloser, o inbox.FileOutcome, err error) {
	switch {
	case path == "" || len(path) > maxFilePath:
		return nil, f.again(file, "Telegram does not say where it is"), nil
	case isLocal(path):
		local, err := openLocal(f.Files.Dir, f.Token, path)
		if err != nil {
			return nil, inbox.FileOutcome{State: inbox.FileFailed, Error: f.client.scrub(err.Error())}, nil
		}
		return local, o, nil
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if part == "" || part == "." || part == ".." {
			return nil, f.again(file, "Telegram says that it is at a strange place"), nil
		}
		parts[i] = url.PathEscape(part)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		f.client.base+"/file/bot"+f.client.token.wire()+"/"+strings.Join(parts, "/"), nil)
	if err != nil {
		return nil, f.again(file, "its address cannot be used"), nil
	}
	if !f.client.held() {
		return nil, o, errLost
	}
	// A round trip follows no redirect, which would hand the token on.
	resp, err := f.client.transport.RoundTrip(req)
	if err != nil {
		return nil, o, &ending{err: errors.New(f.client.scrub(plain(err)))}
	}
	if resp.StatusCode == http.StatusOK && resp.Header.Get("Content-Encoding") == "" {
		return resp.Body, o, nil
	}
	defer resp.Body.Close()
	switch status := resp.StatusCode; {
	case slowDown(status):
		flood := response{class: flooded, status: status, retryAfter: retryAfter(nil, resp.Header, ""),
			description: "HTTP " + strconv.Itoa(status)}
		return nil, o, &ending{wait: f.times.wait(flood, f.times.backoff()), err: flood}
	case status == http.StatusUnauthorized, status >= 500, status >= 300 && status < 400:
		return nil, o, &ending{err: fmt.Errorf("HTTP %d for a file", status)}
	case status == http.StatusOK:
		return nil, f.again(file, "it came in an encoding that nobody asked for"), nil
	case status == http.StatusNotFound || status == http.StatusGone:
		if file.Attempt >= maxWrongFiles {
			return nil, inbox.FileOutcome{State: inbox.FileGone, Error: "Telegram does not have it any more"}, nil
		}
	}
	return nil, f.again(file, fmt.Sprintf("Telegram answers with HTTP %d", resp.StatusCode)), nil
}

// store takes the bytes chunk by chunk. size is what Telegram said, 0 if it did not.
func (f *fetcher) store(
	run context.Context, file inbox.FileFetch, size int64, body io.Reader,
) (o inbox.FileOutcome, err error) {
	blob, err := f.Store.BeginFile(run, f.Tenure, file)
	if err != nil {
		return o, err
	}
	buffer := f.buffers.Get().(*[]byte)
	defer f.buffers.Put(buffer)
	var found inbox.FoundFile
	hash := sha256.New()
	for n := int64(0); ; n++ {
		got, err := io.ReadFull(body, *buffer)
		data := (*buffer)[:got]
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			if run.Err() != nil {
				return o, run.Err()
			}
			return f.again(file, "it broke off: "+plain(err)), nil
		}
		end := err != nil
		if found.Size += int64(got); found.Size > f.Files.Limit {
			return f.tooBig("more than that"), nil
		}
		if n == 0 {
			found.MediaType = filetype.Of(data, file.Kind)
			if inbox.Picture(found.MediaType) {
				found.Width, found.Height = filetype.Size(data)
			}
		}
		hash.Write(data)
		if got > 0 {
			if err := f.Store.AddChunk(run, f.Tenure, blob, n, data); err != nil {
				return o, err
			}
			f.metrics.fileBytes.Add(float64(got))
		}
		if end {
			break
		}
	}
	if size > 0 && found.Size != size {
		return f.again(file, fmt.Sprintf("it has %d bytes, and %d came", size, found.Size)), nil
	}
	found.Hash = hash.Sum(nil)
	return inbox.FileOutcome{State: inbox.FileStored}, f.Store.FileFetched(run, f.Tenure, file, blob, found)
}

// lively puts off the end of a download that has stalled for as long as bytes come.
type lively struct {
	io.ReadCloser
	stalled *time.Timer
	limit   time.Duration
}

func (l *lively) Read(p []byte) (int, error) {
	l.stalled.Reset(l.limit)
	n, err := l.ReadCloser.Read(p)
	l.stalled.Reset(24 * time.Hour) // while the database takes its time
	if err == io.ErrUnexpectedEOF {
		err = errBrokenOff // to io.ReadFull that would be the end
	}
	return n, err
}

var errBrokenOff = errors.New("the connection was closed before its end")

// megabytes is a size for people. One MB is 2^20 bytes, as in the settings.
func megabytes(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GB", n>>30)
	case n%(1<<20) == 0 || n >= 100<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n < 1<<20:
		return fmt.Sprintf("%.1f kB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}
