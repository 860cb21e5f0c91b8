-- What a message has beside its words, as JSON: the entities of its text, what it replies to, the items of a list
-- (inbox.Content). content_of is the edit_seen of the update from which content was read. Where another number stands,
-- a program that knows no content has written or edited the message: its content counts as none until it is read anew.
-- Under which names a customer was known before, as a JSON list, the latest first. The names of topics, which a chat
-- tells once. What customers put to messages, as a JSON list, by Telegram's number of the message.

-- +goose Up

ALTER TABLE messages ADD COLUMN content TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN content_of BIGINT NOT NULL DEFAULT -1;
CREATE INDEX messages_unread ON messages (bot_id, id) WHERE direction = 'in' AND content_of <> edit_seen;
ALTER TABLE conversations ADD COLUMN former_names TEXT NOT NULL DEFAULT '';
CREATE TABLE topics (
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    thread_id       BIGINT NOT NULL,
    name            TEXT NOT NULL,
    PRIMARY KEY (conversation_id, thread_id)
);
CREATE TABLE reactions (
    conversation_id     BIGINT NOT NULL REFERENCES conversations (id),
    telegram_message_id BIGINT NOT NULL,
    list                TEXT NOT NULL,
    seen                BIGINT NOT NULL, -- when, by Telegram's clock
    PRIMARY KEY (conversation_id, telegram_message_id)
);
