// Package telegram is the bot's side of the inbox: it takes updates from Telegram into a store and answers
// from the store to Telegram.
//
// It promises that an update is acknowledged only after it was stored; that an answer is sent in its
// conversation's order and never twice by itself; that a broken line, a wrong response or an outage neither
// ends it nor makes it spin; and that the token is in nothing but the path of a request: telebot, which gives
// the types, the routing of commands and the sending, never gets it. telebot's own poll loop and its Stop are
// not used (docs/adr/0020-poll-loop.md). docs/telegram.md has the facts about Telegram and telebot that it stands on.
//
// An answer is what an operator writes to a customer. What the Bot API gives to a request is a response.
//
// It leaves to others who may poll: the caller holds the lock on a file, the store the lock between hosts.
package telegram
