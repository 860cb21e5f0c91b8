package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
)

// openFile is the condition of what is still to be fetched. Partial indexes want it word for word.
const openFile = `state IN ('waiting', 'paused')`

const (
	turnsAtOnce = 20  // customers who are looked at for files to fetch
	toldAtOnce  = 200 // messages that an event is made for when a pause begins or ends
	chunksGone  = 40  // chunks that are removed in one transaction: 10 MB
	filesGone   = 200 // files whose bytes are removed in one
)

// attachmentColumns are what scanAttachment reads of attachmentTables.
const attachmentColumns = `a.message_id, a.id, a.kind, a.name, a.media_type, a.size, a.file_id, a.file_unique_id,
	a.width, a.height, a.duration, a.preview_id, a.preview_size,
	COALESCE(f.state, ''), COALESCE(f.error, ''), COALESCE(f.media_type, ''), COALESCE(b.size, -1),
	COALESCE(p.state, ''), COALESCE(p.media_type, ''), COALESCE(bot.files_paused, '')`

const attachmentTables = `attachments a
	LEFT JOIN files f ON f.attachment_id = a.id AND f.preview = FALSE
	LEFT JOIN files p ON p.attachment_id = a.id AND p.preview = TRUE
	LEFT JOIN blobs b ON b.id = f.blob_id AND f.state = 'stored'
	LEFT JOIN bots bot ON bot.id = a.bot_id`

func scanAttachment(scan func(...any) error) (messageID int64, a inbox.Attachment, err error) {
	var mediaType, previewType, paused string
	var size int64
	var preview inbox.FileState
	err = scan(&messageID, &a.ID, &a.Kind, &a.Name, &a.MediaType, &a.Size, &a.FileID, &a.FileUniqueID,
		&a.Width, &a.Height, &a.Duration, &a.Preview.FileID, &a.Preview.Size,
		&a.State, &a.Error, &mediaType, &size, &preview, &previewType, &paused)
	a.MessageID, a.Asked = messageID, a.State != ""
	if a.State == "" {
		a.State = inbox.FileWaiting
	}
	a.State, a.Error = heldUp(a.State, a.Error, paused)
	if a.State == inbox.FileStored {
		a.MediaType, a.Size = cmp.Or(mediaType, a.MediaType), max(size, 0)
	}
	a.Link(preview == inbox.FileStored && inbox.Picture(previewType))
	return messageID, a, err
}

// heldUp is the state of a file whose bot may have paused.
func heldUp(state inbox.FileState, why, paused string) (inbox.FileState, string) {
	if state == inbox.FileWaiting && paused != "" {
		return inbox.FilePaused, paused
	}
	return state, why
}

// queueFiles has the files of a message fetched that nobody has asked for.
func (l *ledger) queueFiles(messageID int64) (queued int64, err error) {
	for _, part := range []struct{ preview, id, size string }{
		{"TRUE", "a.preview_id", "a.preview_size"},
		{"FALSE", "a.file_id", "a.size"},
	} {
		n, err := l.exec(`INSERT INTO files (bot_id, conversation_id, attachment_id, preview, file_id, size,
				state, error, attempt, not_before, media_type, created_at)
			SELECT a.bot_id, m.conversation_id, a.id, `+part.preview+`, `+part.id+`, `+part.size+`,
				'waiting', '', 0, 0, '', CAST($2 AS BIGINT)
			FROM attachments a JOIN messages m ON m.id = a.message_id
			WHERE a.message_id = $1 AND `+part.id+` <> '' AND NOT EXISTS
				(SELECT 1 FROM files f WHERE f.attachment_id = a.id AND f.preview = `+part.preview+`)`, messageID, l.now)
		if err != nil {
			return 0, err
		}
		queued += n
	}
	if queued == 0 {
		return 0, nil
	}
	var bot, conversation int64
	if err := l.one(to(&bot, &conversation),
		`SELECT bot_id, conversation_id FROM messages WHERE id = $1`, messageID); err != nil {
		return 0, err
	}
	return queued, l.giveFileTurn(bot, conversation)
}

// dropFiles forgets the files of a message whose attachments go. Their bytes are pruned if nothing else has them.
func (l *ledger) dropFiles(messageID int64) error {
	_, err := l.exec(`DELETE FROM files WHERE attachment_id IN (SELECT id FROM attachments WHERE message_id = $1)`,
		messageID)
	return err
}

// giveFileTurn writes down when the next file of a conversation may be fetched.
func (l *ledger) giveFileTurn(botID, conversationID int64) error {
	_, err := l.exec(`INSERT INTO file_turns (conversation_id, bot_id, due, served_at, day, bytes)
		SELECT id, CAST($2 AS BIGINT), NULL, 0, 0, 0 FROM conversations WHERE id = $1
			AND NOT EXISTS (SELECT 1 FROM file_turns WHERE conversation_id = $1)`, conversationID, botID)
	if err != nil {
		return err
	}
	_, err = l.exec(`UPDATE file_turns SET due =
		(SELECT MIN(not_before) FROM files WHERE conversation_id = $1 AND `+openFile+`)
		WHERE conversation_id = $1`, conversationID)
	return err
}

// NextFiles lists what is to be fetched now; see inbox.BotFiles.
func (s *Store) NextFiles(
	ctx context.Context, t inbox.Tenure, busy []inbox.FileFetch, limit int,
) (files []inbox.FileFetch, next time.Time, err error) {
	var full []int64 // conversations that have had their share of the day
	now := micros(time.Now())
	err = s.read(ctx, "look for files to fetch", func(r tx) error {
		files, full, next = nil, nil, time.Time{}
		type turn struct{ conversation, bytes int64 }
		turns, err := all(r, func(scan func(...any) error) (x turn, err error) {
			var day int64
			if err = scan(&x.conversation, &day, &x.bytes); day != dayOf(now) {
				x.bytes = 0
			}
			return x, err
		}, `SELECT conversation_id, day, bytes FROM file_turns
			WHERE bot_id = $1 AND due IS NOT NULL AND due <= $2 ORDER BY served_at LIMIT $3`,
			t.BotID, now, turnsAtOnce+len(busy))
		if err != nil {
			return err
		}
		var lists [][]inbox.FileFetch // of each customer, in the order of turns
		for _, x := range turns {
			if x.bytes >= inbox.FilesPerDay {
				full = append(full, x.conversation)
				continue
			}
			list, err := all(r, scanFetch, `SELECT f.id, f.conversation_id, a.message_id, a.kind, f.preview, f.file_id, f.size,
					f.attempt FROM files f JOIN attachments a ON a.id = f.attachment_id
				WHERE f.conversation_id = $1 AND f.`+openFile+` AND f.not_before <= $2
				ORDER BY f.attachment_id DESC, f.preview DESC LIMIT $3`, x.conversation, now, limit+len(busy))
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(f inbox.FileFetch) bool {
				return slices.ContainsFunc(busy, func(b inbox.FileFetch) bool { return b.ID == f.ID })
			})
			// Who has files under way comes after who has fewer.
			for _, b := range busy {
				if b.ConversationID == x.conversation {
					list = append([]inbox.FileFetch{{}}, list...)
				}
			}
			lists = append(lists, list)
		}
		files = inTurns(lists, limit)
		var due *int64
		if err := r.one(to(&due), `SELECT MIN(due) FROM file_turns WHERE bot_id = $1 AND due IS NOT NULL AND due > $2`,
			t.BotID, now); err != nil {
			return err
		}
		if due != nil {
			next = fromMicros(*due)
		}
		return nil
	})
	if err != nil || len(full) == 0 {
		return files, next, err
	}
	return files, next, s.change(ctx, "hold files up until tomorrow", func(l *ledger) error {
		if err := l.fence(t); err != nil {
			return err
		}
		for _, conversation := range full {
			if err := l.tomorrow(t.BotID, conversation); err != nil {
				return err
			}
		}
		return nil
	})
}

func scanFetch(scan func(...any) error) (f inbox.FileFetch, err error) {
	err = scan(&f.ID, &f.ConversationID, &f.MessageID, &f.Kind, &f.Preview, &f.FileID, &f.Size, &f.Attempt)
	f.Attempt++
	return f, err
}

// inTurns takes the first of each list, then the second of each. A zero one stands for what is under way.
func inTurns(lists [][]inbox.FileFetch, limit int) (files []inbox.FileFetch) {
	for i, more := 0, true; more && len(files) < limit; i++ {
		more = false
		for _, list := range lists {
			if i < len(list) {
				more = true
				if list[i].ID != 0 && len(files) < limit {
					files = append(files, list[i])
				}
			}
		}
	}
	return files
}

const day = 24 * time.Hour

func dayOf(us int64) int64 { return us / day.Microseconds() }

// tooManyToday is what the card says of a file that waits for the next day.
const tooManyToday = "this customer's files of today are at the limit of 500 MB; it is fetched tomorrow"

func (l *ledger) tomorrow(botID, conversationID int64) error {
	messages, err := all(l.tx, oneID, `SELECT DISTINCT a.message_id FROM files f
		JOIN attachments a ON a.id = f.attachment_id
		WHERE f.conversation_id = $1 AND f.`+openFile+` AND f.state = 'waiting'
		ORDER BY a.message_id DESC LIMIT $2`, conversationID, toldAtOnce)
	if err != nil {
		return err
	}
	_, err = l.exec(`UPDATE files SET state = 'paused', error = $1, not_before = $2
		WHERE conversation_id = $3 AND `+openFile, tooManyToday, (dayOf(l.now)+1)*day.Microseconds(), conversationID)
	if err != nil {
		return err
	}
	for _, m := range messages {
		l.event(inbox.MessageUpdated, botID, conversationID, m)
	}
	return l.giveFileTurn(botID, conversationID)
}

func oneID(scan func(...any) error) (id int64, err error) { return id, scan(&id) }

// BeginFile makes room for a file's chunks; see inbox.BotFiles.
func (s *Store) BeginFile(ctx context.Context, t inbox.Tenure, f inbox.FileFetch) (blob int64, err error) {
	for {
		var left int64
		err := s.change(ctx, "begin a file", func(l *ledger) error {
			left = 0
			if err := l.fence(t); err != nil {
				return err
			}
			var id *int64
			if err := l.one(to(&id), `SELECT blob_id FROM files WHERE id = $1 AND `+openFile, f.ID); err != nil {
				return err
			}
			if id != nil {
				left = *id
				return nil
			}
			var err error
			blob, err = l.insert(`INSERT INTO blobs (size, created_at) VALUES (0, $1)`, l.now)
			if err != nil {
				return err
			}
			_, err = l.exec(`UPDATE files SET blob_id = $1, attempt = $2 WHERE id = $3`, blob, f.Attempt, f.ID)
			return err
		})
		if err != nil {
			return 0, err
		}
		if left == 0 {
			return blob, nil
		}
		if err := s.removeBlob(ctx, &t, left); err != nil {
			return 0, err
		}
	}
}

// removeBlob removes a blob that is no file's, some chunks at a time. What refers to it as a part does so no more.
func (s *Store) removeBlob(ctx context.Context, t *inbox.Tenure, blob int64) error {
	for more := true; more; {
		err := s.change(ctx, "remove a file", func(l *ledger) error {
			more = false
			if t != nil {
				if err := l.fence(*t); err != nil {
					return err
				}
			}
			// From the end, so that size says what is there.
			n, err := l.exec(`DELETE FROM chunks WHERE blob_id = $1 AND n > COALESCE((SELECT MAX(n) FROM chunks
				WHERE blob_id = $1), 0) - CAST($2 AS BIGINT)`, blob, chunksGone)
			if err != nil {
				return err
			}
			if more = n == chunksGone; more {
				_, err := l.exec(`UPDATE blobs SET size = COALESCE((SELECT MAX(n) + 1 FROM chunks WHERE blob_id = $1), 0) *
					CAST($2 AS BIGINT) WHERE id = $1`, blob, inbox.ChunkBytes)
				return err
			}
			if _, err := l.exec(`UPDATE files SET blob_id = NULL WHERE blob_id = $1`, blob); err != nil {
				return err
			}
			_, err = l.exec(`DELETE FROM blobs WHERE id = $1`, blob)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// AddChunk stores a chunk; see inbox.BotFiles.
func (s *Store) AddChunk(ctx context.Context, t inbox.Tenure, blob, n int64, data []byte) error {
	return s.change(ctx, "store a piece of a file", func(l *ledger) error {
		if err := l.fence(t); err != nil {
			return err
		}
		if _, err := l.exec(`INSERT INTO chunks (blob_id, n, data) VALUES ($1, $2, $3)`, blob, n, data); err != nil {
			return err
		}
		_, err := l.exec(`UPDATE blobs SET size = size + $1 WHERE id = $2`, len(data), blob)
		return err
	})
}

// FileFetched makes the chunks a file; see inbox.BotFiles.
func (s *Store) FileFetched(
	ctx context.Context, t inbox.Tenure, f inbox.FileFetch, blob int64, found inbox.FoundFile,
) error {
	left := int64(0)
	err := s.change(ctx, "store a file", func(l *ledger) error {
		left = 0
		if err := l.fence(t); err != nil {
			return err
		}
		keep := blob
		same, err := l.row(to(&keep), `SELECT id FROM blobs WHERE hash = $1`, found.Hash)
		if err != nil {
			return err
		}
		if same && keep != blob {
			left = blob
		} else if _, err := l.exec(`UPDATE blobs SET hash = $1, size = $2 WHERE id = $3`,
			found.Hash, found.Size, blob); err != nil {
			return err
		}
		n, err := l.exec(`UPDATE files SET state = 'stored', error = '', blob_id = $1, media_type = $2, stored_at = $3
			WHERE id = $4 AND `+openFile, keep, inbox.CleanText(found.MediaType), l.now, f.ID)
		if err != nil || n == 0 { // the message was edited meanwhile: its bytes are pruned
			return err
		}
		if found.Width > 0 && !f.Preview {
			_, err := l.exec(`UPDATE attachments SET width = $1, height = $2
				WHERE id = (SELECT attachment_id FROM files WHERE id = $3)`, found.Width, found.Height, f.ID)
			if err != nil {
				return err
			}
		}
		return l.fileServed(t.BotID, f, found.Size)
	})
	if err == nil && left != 0 {
		err = s.removeBlob(ctx, &t, left)
	}
	return err
}

// fileServed writes down that a customer has had his turn, and that a message shows something else now.
func (l *ledger) fileServed(botID int64, f inbox.FileFetch, bytes int64) error {
	today := dayOf(l.now)
	_, err := l.exec(`UPDATE file_turns SET served_at = $1, bytes = CASE WHEN day = $2 THEN bytes ELSE 0 END + $3, day = $2
		WHERE conversation_id = $4`, l.now, today, bytes, f.ConversationID)
	if err != nil {
		return err
	}
	l.event(inbox.MessageUpdated, botID, f.ConversationID, f.MessageID)
	return l.giveFileTurn(botID, f.ConversationID)
}

// FileNotFetched says why a file is not stored; see inbox.BotFiles.
func (s *Store) FileNotFetched(ctx context.Context, t inbox.Tenure, f inbox.FileFetch, o inbox.FileOutcome) error {
	var left *int64
	err := s.change(ctx, "tell of a file that was not fetched", func(l *ledger) error {
		left = nil
		if err := l.fence(t); err != nil {
			return err
		}
		found, err := l.row(to(&left), `SELECT blob_id FROM files WHERE id = $1 AND `+openFile, f.ID)
		if err != nil || !found {
			return err
		}
		_, err = l.exec(`UPDATE files SET state = $1, error = $2, attempt = $3, not_before = $4 WHERE id = $5`,
			string(o.State), inbox.CleanText(o.Error), f.Attempt, microsOrZero(o.RetryAt), f.ID)
		if err != nil {
			return err
		}
		return l.fileServed(t.BotID, f, 0)
	})
	if err == nil && left != nil {
		err = s.removeBlob(ctx, &t, *left)
	}
	return err
}

// PauseFiles says why no file is fetched; see inbox.BotFiles.
func (s *Store) PauseFiles(ctx context.Context, t inbox.Tenure, why string) error {
	why = inbox.CleanText(why)
	return s.change(ctx, "pause files", func(l *ledger) error {
		if err := l.fence(t); err != nil {
			return err
		}
		n, err := l.exec(`UPDATE bots SET files_paused = $1 WHERE id = $2 AND files_paused <> $1`, why, t.BotID)
		if err != nil || n == 0 {
			return err
		}
		l.event(inbox.BotUpdated, t.BotID, 0, 0)
		type place struct{ conversation, message int64 }
		list, err := all(l.tx, func(scan func(...any) error) (p place, err error) {
			return p, scan(&p.conversation, &p.message)
		}, `SELECT DISTINCT f.conversation_id, a.message_id FROM files f JOIN attachments a ON a.id = f.attachment_id
			WHERE f.bot_id = $1 AND f.state IN ('waiting', 'paused') AND f.state = 'waiting'
			ORDER BY a.message_id DESC LIMIT $2`, t.BotID, toldAtOnce)
		for _, p := range list {
			l.event(inbox.MessageUpdated, t.BotID, p.conversation, p.message)
		}
		return err
	})
}

// FileStats counts what waits and what there is; see inbox.OperatorFiles.
func (s *Store) FileStats(ctx context.Context) (inbox.FileStats, error) {
	var stats inbox.FileStats
	err := s.read(ctx, "count files", func(t tx) error {
		var oldest *int64
		err := t.one(to(&stats.Waiting, &oldest, &stats.Bytes, &stats.Paused), `SELECT
			(SELECT COUNT(*) FROM files WHERE `+openFile+`), (SELECT MIN(created_at) FROM files WHERE `+openFile+`),
			(SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM blobs),
			COALESCE((SELECT MAX(files_paused) FROM bots), '')`)
		stats.Oldest = fromMicrosPtr(oldest)
		return err
	})
	return stats, err
}

// FreeRoom is what is free where the database is; see inbox.BotFiles.
func (s *Store) FreeRoom() (int64, bool) {
	if s.db == nil {
		return 0, false
	}
	return s.db.FreeRoom()
}

// File is a file of an attachment; see inbox.OperatorFiles.
func (s *Store) File(ctx context.Context, attachmentID int64, preview bool) (inbox.StoredFile, error) {
	var f inbox.StoredFile
	err := s.lookUp(ctx, "look a file up", func(t tx) (err error) {
		f = inbox.StoredFile{}
		if f.Attachment, err = attachment(t, attachmentID); err != nil {
			return err
		}
		var paused string
		var stored *int64
		err = t.one(to(&f.State, &f.Error, &f.MediaType, &stored, &f.Blob, &f.Size, &f.Hash, &paused),
			`SELECT f.state, f.error, f.media_type, f.stored_at, COALESCE(b.id, 0), COALESCE(b.size, 0), b.hash,
				bot.files_paused
			FROM files f LEFT JOIN blobs b ON b.id = f.blob_id AND f.state = 'stored' JOIN bots bot ON bot.id = f.bot_id
			WHERE f.attachment_id = $1 AND f.preview = $2`, attachmentID, preview)
		if err == inbox.ErrNotFound && !preview { // nobody has asked for it
			f.State = inbox.FileWaiting
			return nil
		}
		if stored != nil {
			f.StoredAt = fromMicros(*stored)
		}
		f.State, f.Error = heldUp(f.State, f.Error, paused)
		return err
	})
	return f, err
}

// attachment is one with what is known of its files. It is there while its message is.
func attachment(t tx, id int64) (inbox.Attachment, error) {
	list, err := all(t, func(scan func(...any) error) (inbox.Attachment, error) {
		_, a, err := scanAttachment(scan)
		return a, err
	}, `SELECT `+attachmentColumns+` FROM `+attachmentTables+`
		WHERE a.id = $1 AND EXISTS (SELECT 1 FROM messages m WHERE m.id = a.message_id)`, id)
	if err == nil && len(list) == 0 {
		err = inbox.ErrNotFound
	}
	if err != nil {
		return inbox.Attachment{}, err
	}
	return list[0], nil
}

// FileChunk reads a chunk; see inbox.OperatorFiles.
func (s *Store) FileChunk(ctx context.Context, blob, n int64) ([]byte, error) {
	var data []byte
	err := s.readBy(ctx, driver.Pages, "read a file", func(t tx) error {
		return t.one(to(&data), `SELECT data FROM chunks WHERE blob_id = $1 AND n = $2`, blob, n)
	})
	return data, err
}

// RetryFile has a file fetched again; see inbox.OperatorFiles.
func (s *Store) RetryFile(ctx context.Context, attachmentID int64) (inbox.Attachment, error) {
	var a inbox.Attachment
	err := s.change(ctx, "fetch a file again", func(l *ledger) (err error) {
		if a, err = attachment(l.tx, attachmentID); err != nil {
			return err
		}
		if a.State == inbox.FileStored {
			return conflict("this file is stored: there is nothing to fetch")
		}
		var bot, conversation, message int64
		err = l.one(to(&bot, &conversation, &message), `SELECT m.bot_id, m.conversation_id, m.id FROM attachments a
			JOIN messages m ON m.id = a.message_id WHERE a.id = $1`, attachmentID)
		if err != nil {
			return err
		}
		_, err = l.exec(`UPDATE files SET state = 'waiting', error = '', attempt = 0, not_before = 0, created_at = $1
			WHERE attachment_id = $2 AND state <> 'stored'`, l.now, attachmentID)
		if err != nil {
			return err
		}
		if _, err := l.queueFiles(message); err != nil {
			return err
		}
		if err := l.giveFileTurn(bot, conversation); err != nil {
			return err
		}
		l.event(inbox.MessageUpdated, bot, conversation, message)
		a, err = attachment(l.tx, attachmentID)
		return err
	})
	return a, err
}

// WantFiles has files of older messages fetched; see inbox.OperatorFiles.
func (s *Store) WantFiles(ctx context.Context, messageIDs []int64) error {
	return s.change(ctx, "ask for files", func(l *ledger) error {
		for _, id := range messageIDs {
			n, err := l.queueFiles(id)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			var bot, conversation int64 // the event wakes the bot
			if err := l.one(to(&bot, &conversation), `SELECT bot_id, conversation_id FROM messages WHERE id = $1`,
				id); err != nil {
				return err
			}
			l.event(inbox.MessageUpdated, bot, conversation, id)
		}
		return nil
	})
}

// keptNoLonger is what the card says of a file that KEEP_FILES has removed.
const keptNoLonger = "it was removed here after the time that files are kept"

// PruneFiles removes bytes; see inbox.OperatorFiles.
func (s *Store) PruneFiles(ctx context.Context, before time.Time) error {
	for more := !before.IsZero(); more; {
		err := s.change(ctx, "remove old files", func(l *ledger) error {
			type old struct{ id, bot, conversation, message int64 }
			list, err := all(l.tx, func(scan func(...any) error) (o old, err error) {
				return o, scan(&o.id, &o.bot, &o.conversation, &o.message)
			}, `SELECT f.id, f.bot_id, f.conversation_id, COALESCE(a.message_id, 0) FROM files f
				LEFT JOIN attachments a ON a.id = f.attachment_id
				WHERE f.state = 'stored' AND f.stored_at < $1 ORDER BY f.stored_at LIMIT $2`, micros(before), filesGone)
			if err != nil {
				return err
			}
			more = len(list) == filesGone
			for _, o := range list {
				_, err := l.exec(`UPDATE files SET state = 'gone', error = $1, blob_id = NULL, stored_at = NULL WHERE id = $2`,
					keptNoLonger, o.id)
				if err != nil {
					return err
				}
				if o.message != 0 {
					l.event(inbox.MessageUpdated, o.bot, o.conversation, o.message)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	// What is left of attachments that an edit has replaced.
	for more := true; more; {
		err := s.change(ctx, "forget files without a message", func(l *ledger) error {
			n, err := l.exec(`DELETE FROM files WHERE id IN (SELECT f.id FROM files f WHERE NOT EXISTS
				(SELECT 1 FROM attachments a WHERE a.id = f.attachment_id) LIMIT $1)`, filesGone)
			more = n == filesGone
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.pruneBlobs(ctx)
}

// pruneBlobs removes what no file refers to. Before that a blob loses its hash, so that no file begins to.
func (s *Store) pruneBlobs(ctx context.Context) error {
	for {
		var blobs []int64
		err := s.change(ctx, "look for files that nothing refers to", func(l *ledger) (err error) {
			blobs, err = all(l.tx, oneID, `SELECT b.id FROM blobs b WHERE NOT EXISTS
				(SELECT 1 FROM files f WHERE f.blob_id = b.id) ORDER BY b.id LIMIT $1`, filesGone)
			for _, id := range blobs {
				if _, err := l.exec(`UPDATE blobs SET hash = NULL WHERE id = $1`, id); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil || len(blobs) == 0 {
			return err
		}
		for _, id := range blobs {
			if err := s.removeBlob(ctx, nil, id); err != nil {
				return err
			}
		}
	}
}
