package store

import (
	"context"
	"io"

	"tandem/internal/inbox"
	"tandem/internal/store/driver"
	"tandem/internal/store/postgres"
	"tandem/internal/store/sqlite"
)

// Backup makes a new file at path, with mode 0600: a copy of the SQLite database that url names as of one moment, which
// was checked. Others may go on using the database. There must be room where path is. A file that is there is not
// touched.
func Backup(ctx context.Context, url, path string) error {
	file, err := databaseFile(url)
	if err != nil {
		return err
	}
	return sqlite.Backup(ctx, file, path)
}

// BackupTo writes such a copy to w. The room that it needs meanwhile is beside the database.
func BackupTo(ctx context.Context, url string, w io.Writer) error {
	file, err := databaseFile(url)
	if err != nil {
		return err
	}
	return sqlite.BackupTo(ctx, file, w)
}

// Restore puts the copy that r gives, which Backup made, in the place of the SQLite database that url names. Nobody may
// use that meanwhile: it is an error if anybody has it open. What was there is kept beside it under the name that is
// returned, "" where there was nothing. A copy that is damaged, no database of ours or of a later schema changes
// nothing.
func Restore(ctx context.Context, url string, r io.Reader) (kept string, err error) {
	file, err := databaseFile(url)
	if err != nil {
		return "", err
	}
	return sqlite.Restore(ctx, file, r)
}

// databaseFile is the true path of the database that url names. Only SQLite's is a file that we have to copy.
func databaseFile(url string) (string, error) {
	switch {
	case sqlite.Is(url):
		return sqlite.File(url)
	case postgres.Is(url):
		return "", postgres.ErrOwnTools
	}
	return "", &driver.BadURL{Rule: driver.Rule}
}

// fromBackup is what an operator reads about an answer that was not sent yet when a backup was made.
const fromBackup = "the database was restored from a backup, which does not tell whether this was sent since"

// Restored says that the database was put back from a backup. What waited to be sent in it may have been sent since. So
// it becomes Unknown, for a person to decide. It returns how many messages that are. Nobody may use the database
// meanwhile.
func (s *Store) Restored(ctx context.Context) (messages int, err error) {
	err = s.change(ctx, "look through what was restored", func(l *ledger) error {
		messages = 0
		type open struct{ bot, conversation, message int64 }
		list, err := all(l.tx, func(scan func(...any) error) (d open, err error) {
			return d, scan(&d.bot, &d.conversation, &d.message)
		}, `SELECT DISTINCT bot_id, conversation_id, message_id FROM deliveries WHERE state IN ('queued', 'sending')`)
		if err != nil {
			return err
		}
		_, err = l.exec(`UPDATE deliveries SET state = $1, error = $2, turn = FALSE, updated_at = $3
			WHERE state IN ('queued', 'sending')`, string(inbox.Unknown), fromBackup, l.now)
		if err != nil {
			return err
		}
		for _, d := range list {
			if err := l.sumUp(d.bot, d.conversation, d.message); err != nil {
				return err
			}
		}
		messages = len(list)
		return nil
	})
	return messages, err
}
