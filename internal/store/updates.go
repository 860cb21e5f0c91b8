package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"tandem/internal/inbox"
)

// StoreUpdates stores updates, what they mean and the next offset in one transaction; see inbox.BotStore.
func (s *Store) StoreUpdates(ctx context.Context, t inbox.Tenure, updates []inbox.Update, nextOffset int64) error {
	err := s.storeUpdates(ctx, t, updates, nextOffset, false)
	if err == nil || ctx.Err() != nil || errors.Is(err, inbox.ErrUnavailable) || errors.Is(err, inbox.ErrFenced) {
		return err
	}
	// One of them cannot be stored as what it means. It must not hold up the others, nor itself be lost.
	s.log.Error("an update cannot be stored as what it means, keeping it raw", "error", err)
	return s.storeUpdates(ctx, t, updates, nextOffset, true)
}

// storeUpdates, if careful, applies each update in a savepoint of its own, and keeps raw what cannot be applied. Else
// it asks beforehand for what the updates have to do with.
func (s *Store) storeUpdates(
	ctx context.Context, t inbox.Tenure, updates []inbox.Update, nextOffset int64, careful bool,
) error {
	return s.changeKnowing(ctx, "store updates", func(l *ledger) error {
		if err := l.askFence(t); err != nil || careful {
			return err
		}
		return l.askKnown(t.BotID, updates)
	}, func(l *ledger) error {
		if !careful {
			if err := l.addChats(t.BotID, updates); err != nil {
				return err
			}
		}
		for _, u := range updates {
			if err := l.storeUpdate(t.BotID, u, careful); err != nil {
				return fmt.Errorf("update %d: %w", u.ID, err)
			}
		}
		return l.later(`UPDATE bots SET next_offset = $1 WHERE id = $2`, nextOffset, t.BotID)
	})
}

func (l *ledger) storeUpdate(botID int64, u inbox.Update, careful bool) error {
	isNew, err := l.isNew(botID, u)
	if err != nil || !isNew {
		return err
	}
	if !careful {
		conversation, message, err := l.applyUpdate(botID, u)
		if err == nil {
			l.keepRaw(botID, u, conversation, message)
		}
		return err
	}
	event, lastMessage, events := l.lastEvent, l.lastMessage, len(l.events)
	if err := l.later(`SAVEPOINT one_update`); err != nil {
		return err
	}
	if err := l.flush(); err != nil {
		return err
	}
	conversation, message, cause := l.applyUpdate(botID, u)
	if cause == nil {
		cause = l.flush() // what fails of it fails here
	}
	if cause == nil {
		l.keepRaw(botID, u, conversation, message)
		return l.later(`RELEASE SAVEPOINT one_update`)
	}
	l.pending.drop()
	if _, err := l.exec(`ROLLBACK TO SAVEPOINT one_update`); err != nil {
		return errors.Join(cause, err) // the connection is gone: nothing is wrong with the update
	}
	for _, e := range l.events[events:] {
		e.Seq = 0
		delete(l.seen, e)
	}
	l.lastEvent, l.lastMessage, l.events = event, lastMessage, l.events[:events]
	u.Problem = "cannot be stored: " + cause.Error()
	l.keepRaw(botID, u, 0, 0)
	return nil
}

// isNew says whether an update is to be stored. An id that comes again with other content is another update: Telegram
// begins anew at random after a week without updates (docs/telegram.md).
func (l *ledger) isNew(botID int64, u inbox.Update) (bool, error) {
	raw, found, err := l.rawOf(botID, u.ID)
	if err != nil || !found {
		return err == nil, err
	}
	if bytes.Equal(raw, u.Raw) {
		return false, nil
	}
	return true, l.later(`UPDATE updates SET superseded = TRUE
		WHERE bot_id = $1 AND update_id = $2 AND NOT superseded`, botID, u.ID)
}

// keepRaw stores the update as it came, and what it led to.
func (l *ledger) keepRaw(botID int64, u inbox.Update, conversation, message int64) {
	if u.Raw == nil {
		u.Raw = []byte{}
	}
	l.pending.updates = append(l.pending.updates, []any{botID, u.ID, false, inbox.CleanText(u.Kind), u.Raw,
		inbox.CleanText(u.Problem), l.now, orNull(conversation), orNull(message)})
	if l.known != nil {
		l.known.raw[u.ID] = u.Raw
	}
}

// applyUpdate stores what an update means.
func (l *ledger) applyUpdate(botID int64, u inbox.Update) (conversationID, messageID int64, err error) {
	var thread int64
	reply := u.Reply
	switch {
	case u.Message != nil:
		var added bool
		thread = u.Message.ThreadID
		conversationID, messageID, added, err = l.addIncoming(botID, *u.Message)
		if !added {
			reply = "" // the same message by another update, or after its edit: it has been answered
		}
	case u.Edit != nil:
		var added bool
		thread = u.Edit.ThreadID
		conversationID, messageID, added, err = l.edit(botID, u)
		if !added {
			reply = ""
		}
	case u.Reacted != nil:
		conversationID, err = l.react(botID, *u.Reacted)
	case u.Blocked != nil:
		conversationID, err = l.block(botID, *u.Blocked)
	}
	if err != nil || conversationID == 0 || inbox.Blank(reply) {
		return conversationID, messageID, err
	}
	return conversationID, messageID, l.reply(botID, conversationID, messageID, thread, reply, u.Greeting)
}

// block notes that a customer has blocked the bot, or does so no more.
func (l *ledger) block(botID int64, b inbox.BlockedChange) (conversationID int64, err error) {
	c, err := l.conversationOf(botID, b.ChatID, b.Customer)
	if err != nil {
		return 0, err
	}
	why := inbox.Reachable
	if b.Blocked {
		why = inbox.BlockedBot
	}
	c.blocked = b.Blocked
	return c.id, l.setReachable(botID, c.id, why)
}

// reply stores what the bot says to a message by itself.
func (l *ledger) reply(botID, conversationID, messageID, thread int64, text string, greeting bool) error {
	var banned bool
	err := l.one(to(&banned), `SELECT banned FROM conversations WHERE id = $1`, conversationID)
	if err != nil || banned {
		return err
	}
	if greeting {
		if due, err := l.greets(conversationID, messageID); err != nil || !due {
			return err
		}
	}
	author := inbox.Author{Kind: inbox.ByBot, ID: strconv.FormatInt(botID, 10)}
	if err := l.one(to(&author.Name), `SELECT name FROM bots WHERE id = $1`, botID); err != nil {
		return err
	}
	return l.addOut(&outgoing{bot: botID, conversation: conversationID, author: author, text: inbox.CleanText(text),
		to: destination{thread: thread}})
}

// greets says whether a greeting is due for the message, and notes that it was given: the first one, and another where
// nobody has written for long. A bot that was down may be asked for many at once.
func (l *ledger) greets(conversationID, messageID int64) (bool, error) {
	var greeted, last int64
	err := l.one(to(&greeted, &last), `SELECT c.greeted_at, COALESCE((SELECT m.created_at FROM messages m
			WHERE m.conversation_id = c.id AND m.id < $1 ORDER BY m.id DESC LIMIT 1), 0)
		FROM conversations c WHERE c.id = $2`, messageID, conversationID)
	if err != nil || greeted != 0 && l.now-last < inbox.GreetAgainAfter.Microseconds() {
		return false, err
	}
	err = l.later(`UPDATE conversations SET greeted_at = $1 WHERE id = $2`, l.now, conversationID)
	return true, err
}

// conversationOf finds or makes the conversation of a chat and keeps what is known of the customer up to date.
func (l *ledger) conversationOf(botID, chatID int64, customer inbox.Customer) (*chat, error) {
	c, err := l.chatOf(botID, chatID)
	if err != nil {
		return nil, err
	}
	switch {
	case c == nil:
		c = newChat(customer)
		row := l.chatRow(botID, chatID, c)
		if c.id, err = l.insert(insertChat+` VALUES (`+places(0, len(row))+`)`, row...); err != nil {
			return nil, err
		}
		if l.known != nil {
			l.known.chats[chatID] = c
		}
	case c.isNew:
		c.isNew = false
	default:
		is, former := cleanCustomer(customer).Known(c.customer, c.former)
		is.Nameless = false
		if is == c.customer {
			return c, nil
		}
		c.customer, c.former = is, former
		err := l.later(`UPDATE conversations SET customer_id = $1, customer_name = $2, customer_username = $3,
			customer_language = $4, search = $5, updated_at = $6, former_names = $7 WHERE id = $8`,
			is.ID, is.Name, is.Username, is.Language, fold(is.SearchText(former)), l.now, inbox.EncodeNames(former), c.id)
		if err != nil {
			return nil, err
		}
	}
	l.event(inbox.ConversationUpdated, botID, c.id, 0)
	return c, nil
}

// addIncoming stores a customer's message unless it is there. The message opens the conversation again, and shows that
// he has not blocked the bot.
func (l *ledger) addIncoming(botID int64, m inbox.IncomingMessage) (conversationID, id int64, added bool, err error) {
	c, err := l.conversationOf(botID, m.ChatID, m.Customer)
	if err != nil {
		return 0, 0, false, err
	}
	if m.MessageID != 0 {
		id, err := l.messageOf(c, telegramMessage{m.ChatID, m.MessageID})
		if err != nil || id != 0 {
			return c.id, id, false, err
		}
	}
	replyTo, err := l.resolve(c.id, m.ReplyTo)
	if err == nil && replyTo != 0 {
		err = l.wordReply(m.Content.Reply, replyTo)
	}
	if err != nil {
		return 0, 0, false, err
	}
	quiet := inbox.Quiet(m.Kind) || m.Content.Older
	// The newest message is the one with the highest id, and each moves its conversation, which triggers look at. So what
	// is to be written down of one comes before the next one.
	if quiet || l.pending.newest.seen[c.id] {
		if err := l.pending.settle(l.ctx); err != nil {
			return 0, 0, false, err
		}
	}
	id = l.nextMessage()
	m = cleanMessage(m)
	edited, forward := microsPtr(m.EditedAt), forwardOf(m)
	var seen int64
	if edited != nil {
		seen = *edited
	}
	l.pending.messages = append(l.pending.messages, []any{
		id, botID, c.id, string(inbox.In), m.Kind, m.Text, fold(m.SearchText()), string(inbox.ByCustomer),
		strconv.FormatInt(m.Customer.ID, 10), inbox.CleanText(m.Customer.Name),
		l.now, microsPtr(&m.Date), orNull(m.MessageID), edited, seen, orNull(replyTo), m.ThreadID,
		inbox.CleanText(m.AlbumID), "", "", m.Details, forward.Kind, forward.Name, m.Content.Encode(), seen})
	if l.known != nil {
		l.known.messages[telegramMessage{m.ChatID, m.MessageID}] = id
	}
	if len(m.Attachments) > 0 {
		if err := l.addAttachments(botID, id, m.Attachments); err != nil {
			return 0, 0, false, err
		}
		if _, err := l.queueFiles(id); err != nil {
			return 0, 0, false, err
		}
	}
	if err := l.nameTopic(c.id, m); err != nil {
		return 0, 0, false, err
	}
	if quiet {
		return c.id, id, true, l.aside(botID, c.id, id)
	}
	if c.status != inbox.Open || c.blocked {
		c.status, c.blocked = inbox.Open, false
		err := l.later(`UPDATE conversations SET status = 'open', blocked = FALSE, unreachable = '' WHERE id = $1`, c.id)
		if err != nil {
			return 0, 0, false, err
		}
		l.event(inbox.ConversationUpdated, botID, c.id, 0)
	}
	l.event(inbox.MessageCreated, botID, c.id, id)
	l.pending.newest.add(c.id)
	return c.id, id, true, nil
}

// aside puts a quiet message into its conversation: it moves nothing, but shows a conversation that had none.
func (l *ledger) aside(botID, conversationID, id int64) error {
	l.event(inbox.MessageCreated, botID, conversationID, id)
	err := l.later(`UPDATE conversations SET last_message_id = $1, updated_at = $2
		WHERE id = $3 AND last_message_id = 0`, id, l.now, conversationID)
	if err == nil { // nobody wrote it, so nobody waits
		err = l.later(`UPDATE conversations SET waiting_from = 0, waiting_since = 0 WHERE id = $1 AND waiting_from = $2`,
			conversationID, id)
	}
	return err
}

// cleanMessage is m with all that is stored of it fit for that.
func cleanMessage(m inbox.IncomingMessage) inbox.IncomingMessage {
	m.Kind, m.Text, m.Details = inbox.CleanText(m.Kind), inbox.CleanText(m.Text), inbox.CleanText(m.Details)
	if m.Forwarded != nil {
		f := forwardOf(m)
		m.Forwarded = &f
	}
	m.Attachments = cleanAttachments(m.Attachments)
	return m
}

// forwardOf is what two columns hold. The kind is "" for the customer's own words.
func forwardOf(m inbox.IncomingMessage) inbox.Forward {
	if m.Forwarded == nil {
		return inbox.Forward{}
	}
	f := inbox.Forward{Kind: inbox.CleanText(m.Forwarded.Kind), Name: inbox.CleanText(m.Forwarded.Name)}
	if f.Kind == "" {
		f.Kind = "unknown"
	}
	return f
}

func cleanAttachments(list []inbox.Attachment) []inbox.Attachment {
	list = slices.Clone(list)
	for i := range list {
		a := &list[i]
		for _, s := range []*string{&a.Kind, &a.Name, &a.MediaType, &a.FileID, &a.FileUniqueID, &a.Preview.FileID} {
			*s = inbox.CleanText(*s)
		}
	}
	return list
}

func (l *ledger) addAttachments(botID, messageID int64, list []inbox.Attachment) error {
	for _, a := range cleanAttachments(list) {
		err := l.later(`INSERT INTO attachments (bot_id, message_id, kind, name, media_type, size, file_id, file_unique_id,
				width, height, duration, preview_id, preview_size)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
			botID, messageID, a.Kind, a.Name, a.MediaType, a.Size, a.FileID, a.FileUniqueID,
			a.Width, a.Height, a.Duration, a.Preview.FileID, a.Preview.Size)
		if err != nil {
			return err
		}
	}
	return nil
}

// resolve finds the message of a conversation by Telegram's id, the customer's or ours; 0 if it is not stored.
func (l *ledger) resolve(conversationID, telegramID int64) (int64, error) {
	if telegramID == 0 {
		return 0, nil
	}
	var id *int64
	err := l.one(to(&id), `SELECT COALESCE(
		(SELECT id FROM messages WHERE conversation_id = $1 AND telegram_message_id = $2),
		(SELECT message_id FROM deliveries WHERE conversation_id = $1 AND telegram_message_id = $2 ORDER BY id LIMIT 1))`,
		conversationID, telegramID)
	if err != nil || id == nil {
		return 0, err
	}
	return *id, nil
}

// wordReply gives a reply the words of the message that is stored, where Telegram gave none.
func (l *ledger) wordReply(r *inbox.Reply, to int64) error {
	if r == nil || r.Text != "" || r.Notice != "" {
		return nil
	}
	m, err := message(l.tx, to)
	if err == nil {
		*r = inbox.ReplyTo(m)
	}
	return err
}

// orNull is NULL for 0.
func orNull(id int64) *int64 {
	if id == 0 {
		return nil
	}
	return &id
}
