package telegram

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	tele "gopkg.in/telebot.v3"

	"tandem/internal/inbox"
)

// How many characters are taken of what an update says: Telegram's own limits, and more than that where none are known.
// What is longer came from nobody's Telegram. It is shown as far as this, and kept whole in the raw update.
const (
	maxText   = 32_768 // a rich message; a text has 4,096, a caption 1,024
	maxName   = 256    // a name has 64, a username 32
	maxWords  = 500    // anything that is said in a line
	maxFileID = 1_024  // a file_id has about 100
)

// short is text fit to be stored, cut after a number of characters. Nothing of ours is put there.
func short(s string, characters int) string {
	if len(s) > characters { // else it has no more characters either
		n := 0
		for i := range s {
			if n == characters {
				s = s[:i]
				break
			}
			n++
		}
	}
	return inbox.CleanText(s)
}

const (
	greeting = "Hello! Write your message here, and a person will answer you in this chat."
	help     = "Just write: everything you send here reaches a person, who answers you in this chat. " +
		"Pictures, voice messages and files are fine too."
)

// decoder says what updates mean for the inbox. It sends nothing: a reply is part of what the update means, and is
// queued in the transaction that stores it. A decoder is not for use by several goroutines.
type decoder struct {
	bot   *tele.Bot
	reply string // what the command's handler wants to say
	greet bool   // that is a greeting
}

// newDecoder makes a decoder for the bot of that username, to whom /start@username is addressed.
func newDecoder(username string) (*decoder, error) {
	d := &decoder{}
	bot, err := tele.NewBot(tele.Settings{
		Token: telebotToken, Updates: 1, Offline: true, Synchronous: true,
		OnError: func(error, tele.Context) {},
	})
	if err != nil {
		return nil, fmt.Errorf("make the router of commands: %w", err)
	}
	bot.Me = &tele.User{Username: username}
	bot.Handle("/start", d.say(greeting, true))
	bot.Handle("/help", d.say(help, false))
	d.bot = bot
	return d, nil
}

// named says under which name the bot is known, once that is known.
func (d *decoder) named(username string) { d.bot.Me.Username = username }

func (d *decoder) say(text string, greet bool) tele.HandlerFunc {
	return func(tele.Context) error {
		d.reply, d.greet = text, greet
		return nil
	}
}

// update decodes one update. It is not ok without an id; whatever else is wrong with it is its Problem.
func (d *decoder) update(raw json.RawMessage) (u inbox.Update, ok bool) {
	fields := object(raw)
	if id, ok := get[int64](fields, "update_id"); ok && id > 0 && id < math.MaxInt64 {
		u.ID = id
	} else {
		return u, false
	}
	u.Raw = bytes.Clone(raw)
	u.Kind = updateKind(fields)
	defer func() {
		if r := recover(); r != nil {
			u = inbox.Update{ID: u.ID, Kind: u.Kind, Raw: u.Raw,
				Problem: short(fmt.Sprintf("decoding it broke: %v", r), maxWords)}
		}
	}()
	var err error
	switch u.Kind {
	case "message":
		if u.Message, err = message(fields[u.Kind]); u.Message != nil && err == nil {
			u.Reply, u.Greeting = d.command(fields[u.Kind], u.Message)
		}
	case "edited_message":
		u.Edit, err = message(fields[u.Kind])
		u.Reread = reread
	case "callback_query":
		u.Press, u.Message = press(fields[u.Kind])
	case "message_reaction":
		u.Reacted, err = reacted(fields[u.Kind])
	case "my_chat_member":
		u.Blocked, err = blocked(fields[u.Kind])
	case "":
		err = errors.New("it has no content")
	}
	if err != nil {
		u.Problem = short(err.Error(), maxWords)
	}
	return u, true
}

// reread reads the message that an earlier update had, nil for none.
func reread(raw []byte) (m *inbox.IncomingMessage) {
	defer func() {
		if recover() != nil {
			m = nil
		}
	}()
	f := object(raw)
	for _, kind := range []string{"edited_message", "message"} {
		if f.has(kind) {
			m, _ = message(f[kind])
			return m
		}
	}
	return nil
}

// updateKind is the name of the one field beside the id. An Update has at most one (Bot API: Update).
func updateKind(f fields) string {
	var kinds []string
	for name, value := range f {
		if name != "update_id" && string(value) != "null" && fieldName.MatchString(name) {
			kinds = append(kinds, name)
		}
	}
	slices.Sort(kinds)
	for _, known := range allowedUpdates {
		if slices.Contains(kinds, known) {
			return known
		}
	}
	if len(kinds) == 0 {
		return ""
	}
	return kinds[0]
}

// command lets telebot find the handler of a command, and returns what that wants to say.
func (d *decoder) command(raw json.RawMessage, m *inbox.IncomingMessage) (reply string, greeting bool) {
	f := object(raw)
	text, ok := get[string](f, "text")
	if !ok || m.Kind != "text" || !strings.HasPrefix(text, "/") {
		return "", false
	}
	from, _ := get[fields](f, "from")
	sender := user(from)
	if sender.IsBot { // two bots that greet each other would never stop
		return "", false
	}
	d.reply, d.greet = "", false
	d.bot.ProcessUpdate(tele.Update{Message: &tele.Message{
		Text: short(text, maxName), Sender: &sender, Chat: &tele.Chat{ID: m.ChatID, Type: tele.ChatPrivate},
	}})
	return d.reply, d.greet
}

// message reads a Message of a private chat; nil without an error for one of a group or a channel.
func message(raw json.RawMessage) (*inbox.IncomingMessage, error) {
	f := object(raw)
	if f == nil {
		return nil, errors.New("the message is no object")
	}
	chat, err := chatOf(f)
	if err != nil || chat.Type != tele.ChatPrivate {
		return nil, err
	}
	id, ok := get[int64](f, "message_id")
	if !ok || id <= 0 {
		return nil, errors.New("the message has no message_id")
	}
	m := &inbox.IncomingMessage{ChatID: chat.ID, MessageID: id, Customer: customer(f, "from", chat)}
	m.Date = date(f, "date")
	if f.has("edit_date") {
		at := date(f, "edit_date")
		m.EditedAt = &at
	}
	m.ThreadID, _ = get[int64](f, "message_thread_id")
	album, _ := get[string](f, "media_group_id")
	m.AlbumID = short(album, maxName)
	content(f, m)
	replyOf(f, m)
	if via, ok := get[fields](f, "via_bot"); ok {
		m.Content.ViaBot = oneLine(user(via).Username)
	}
	m.Forwarded = forwardedFrom(f)
	return m, nil
}

// press reads a CallbackQuery. The message is nil where the button was in no private chat: such a press is answered and
// kept raw.
func press(raw json.RawMessage) (query string, m *inbox.IncomingMessage) {
	f := object(raw)
	if query, _ = get[string](f, "id"); len(query) > maxFileID {
		query = ""
	}
	at, _ := get[fields](f, "message")
	chat, err := chatOf(at)
	if err != nil || chat.Type != tele.ChatPrivate {
		return query, nil
	}
	data, ok := get[string](f, "data")
	if !ok {
		data, _ = get[string](f, "game_short_name")
	}
	data = short(data, maxWords)
	m = &inbox.IncomingMessage{ChatID: chat.ID, Kind: inbox.KindPressed, Details: oneLine(data)}
	m.Customer = customer(f, "from", chat)
	m.Content.Pressed, m.Content.Button = &data, buttonWords(at, data)
	m.ThreadID, _ = get[int64](at, "message_thread_id")
	if m.ReplyTo, _ = get[int64](at, "message_id"); m.ReplyTo > 0 {
		reply := firstWords(at)
		reply.Origin, reply.From = inbox.FromChat, senderOf(at)
		m.Content.Reply = &reply
	}
	return query, m
}

// buttonWords is what stands on the button with that data.
func buttonWords(message fields, data string) string {
	markup, _ := get[fields](message, "reply_markup")
	rows, _ := get[[][]fields](markup, "inline_keyboard")
	for _, row := range rows {
		for _, button := range row {
			if have, ok := get[string](button, "callback_data"); ok && short(have, maxWords) == data {
				words, _ := get[string](button, "text")
				return oneLine(words)
			}
		}
	}
	return ""
}

func chatOf(f fields) (tele.Chat, error) {
	var chat tele.Chat
	c, ok := get[fields](f, "chat")
	if ok {
		chat.ID, ok = get[int64](c, "id")
	}
	if !ok || chat.ID == 0 {
		return chat, errors.New("it does not say in which chat it is")
	}
	chat.Type, _ = get[tele.ChatType](c, "type")
	chat.FirstName, _ = get[string](c, "first_name")
	chat.LastName, _ = get[string](c, "last_name")
	chat.Username, _ = get[string](c, "username")
	return chat, nil
}

// customer is the person of a private chat, whose id is that of the chat. Deleted accounts have no name.
func customer(f fields, field string, chat tele.Chat) inbox.Customer {
	u := tele.User{ID: chat.ID, FirstName: chat.FirstName, LastName: chat.LastName, Username: chat.Username}
	if from, ok := get[fields](f, field); ok {
		if id, ok := get[int64](from, "id"); ok && id == chat.ID {
			u = user(from)
		}
	}
	return inbox.Customer{
		ID: u.ID, Name: personName(u), Nameless: inbox.Blank(u.FirstName),
		Username: short(u.Username, maxName), Language: short(u.LanguageCode, maxName),
	}
}

// user reads a User field by field.
func user(f fields) (u tele.User) {
	u.ID, _ = get[int64](f, "id")
	u.IsBot, _ = get[bool](f, "is_bot")
	u.FirstName, _ = get[string](f, "first_name")
	u.LastName, _ = get[string](f, "last_name")
	u.Username, _ = get[string](f, "username")
	u.LanguageCode, _ = get[string](f, "language_code")
	return u
}

// personName is the name as the person wrote it, or what else tells him from others.
func personName(u tele.User) string {
	name := strings.TrimSpace(short(u.FirstName, maxName) + " " + short(u.LastName, maxName))
	if !inbox.Blank(name) {
		return name
	}
	return inbox.PlainName(u.ID, short(u.Username, maxName))
}

// date reads Unix seconds. A database's time has limits, and a time that is no time is none.
func date(f fields, name string) time.Time {
	seconds, ok := get[int64](f, name)
	if !ok || seconds <= 0 || seconds > 1<<34 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// blocked reads a my_chat_member of a private chat: the customer blocked the bot or took it back.
func blocked(raw json.RawMessage) (*inbox.BlockedChange, error) {
	f := object(raw)
	if f == nil {
		return nil, errors.New("the change of membership is no object")
	}
	chat, err := chatOf(f)
	if err != nil || chat.Type != tele.ChatPrivate {
		return nil, err
	}
	now, _ := get[fields](f, "new_chat_member")
	role, _ := get[tele.MemberStatus](now, "status")
	change := &inbox.BlockedChange{ChatID: chat.ID, Customer: customer(f, "from", chat)}
	switch role {
	case tele.Kicked, tele.Left:
		change.Blocked = true
	case tele.Member, tele.Administrator, tele.Creator, tele.Restricted:
	default:
		return nil, fmt.Errorf("the change of membership is to %q, which is not known", short(string(role), maxName))
	}
	return change, nil
}

// reacted reads a MessageReactionUpdated of a private chat.
func reacted(raw json.RawMessage) (*inbox.ReactionChange, error) {
	f := object(raw)
	if f == nil {
		return nil, errors.New("the reaction is no object")
	}
	chat, err := chatOf(f)
	if err != nil || chat.Type != tele.ChatPrivate {
		return nil, err
	}
	change := &inbox.ReactionChange{ChatID: chat.ID, Customer: customer(f, "user", chat), Date: date(f, "date")}
	if change.MessageID, _ = get[int64](f, "message_id"); change.MessageID <= 0 {
		return nil, errors.New("the reaction does not say to which message")
	}
	list, _ := get[[]json.RawMessage](f, "new_reaction")
	for _, raw := range list[:min(len(list), inbox.MaxReactions)] {
		r := object(raw)
		kind, _ := get[string](r, "type")
		emoji, _ := get[string](r, "emoji")
		id, _ := get[string](r, "custom_emoji_id")
		one := inbox.Reaction{Emoji: oneLine(short(emoji, 64)), CustomEmojiID: oneLine(short(id, 64)),
			By: change.Customer.Name}
		switch {
		case kind == "paid":
			one.Emoji, one.Name = "⭐", "paid star"
		case one.CustomEmojiID != "":
			one.Name = "custom emoji"
		case one.Emoji == "":
			one.Name = oneLine(strings.ReplaceAll(short(kind, 64), "_", " "))
		}
		if one.Emoji+one.Name != "" {
			change.Reactions = append(change.Reactions, one)
		}
	}
	return change, nil
}

// messageID is the id of the message in the result of sendMessage.
func messageID(result json.RawMessage) int64 {
	id, _ := get[int64](object(result), "message_id")
	return id
}
