package store

import (
	"context"

	"tandem/internal/store/driver"
)

// pending is the connection of a ledger that keeps rows back, so that many are added by one statement. Whatever else
// the database is given comes after them. So a statement finds what was to be added before it.
type pending struct {
	driver.Conn
	now      int64
	messages [][]any
	updates  [][]any // which refer to messages
	newest   values  // conversations whose last message is the newest of them
}

const (
	incomingRow = `INSERT INTO messages
		(id, bot_id, conversation_id, direction, kind, text, search, author_kind, author_id, author_name,
			created_at, telegram_date, telegram_message_id, edited_at, edit_seen, reply_to, thread_id, album_id, delivery, error,
			details, forward_kind, forward_name, content, content_of)`
	updateRow = `INSERT INTO updates
		(bot_id, update_id, superseded, kind, raw, problem, received_at, conversation_id, message_id)`
	newestOf = `UPDATE conversations SET updated_at = $1, last_message_id =
		(SELECT MAX(m.id) FROM messages m WHERE m.conversation_id = conversations.id) WHERE id IN `
)

// settle adds what was kept back.
func (p *pending) settle(ctx context.Context) error {
	messages, updates, newest := p.messages, p.updates, p.newest
	if len(messages)+len(updates)+len(newest.list) == 0 {
		return nil
	}
	p.drop()
	t := tx{ctx, p.Conn}
	if err := t.addRows(incomingRow, messages); err != nil {
		return err
	}
	if err := t.addRows(updateRow, updates); err != nil {
		return err
	}
	return t.updateThose(newestOf, newest, p.now)
}

// drop forgets what was kept back.
func (p *pending) drop() { p.messages, p.updates, p.newest = nil, nil, values{} }

func (p *pending) Query(ctx context.Context, sql string, args ...any) (driver.Rows, error) {
	if err := p.settle(ctx); err != nil {
		return nil, err
	}
	return p.Conn.Query(ctx, sql, args...)
}

func (p *pending) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := p.settle(ctx); err != nil {
		return 0, err
	}
	return p.Conn.Exec(ctx, sql, args...)
}

func (p *pending) Insert(ctx context.Context, sql string, args ...any) (int64, error) {
	if err := p.settle(ctx); err != nil {
		return 0, err
	}
	return p.Conn.Insert(ctx, sql, args...)
}

func (p *pending) Later(ctx context.Context, got func(driver.Rows) error, sql string, args ...any) error {
	if err := p.settle(ctx); err != nil {
		return err
	}
	return p.Conn.Later(ctx, got, sql, args...)
}

func (p *pending) Flush(ctx context.Context) error {
	if err := p.settle(ctx); err != nil {
		return err
	}
	return p.Conn.Flush(ctx)
}
