-- What stood in a message before a customer edited it. Where an edit put its conversation in the list: moved is a
-- number from the counter of messages, and the place in the list is the greater of it and last_message_id. So the list
-- is right also while a program writes that knows last_message_id alone.

-- +goose Up

CREATE TABLE wordings (
    message_id BIGINT NOT NULL REFERENCES messages (id),
    n          BIGINT NOT NULL, -- from 1, in the order in which they stood; not all are kept
    kind       TEXT NOT NULL,
    text       TEXT NOT NULL,
    details    TEXT NOT NULL,
    content    TEXT NOT NULL, -- as in messages, of which it has the entities
    until      BIGINT NOT NULL, -- when others took their place
    PRIMARY KEY (message_id, n)
);
ALTER TABLE messages ADD COLUMN edits BIGINT NOT NULL DEFAULT 0; -- how often the words changed
ALTER TABLE conversations ADD COLUMN moved BIGINT NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN moved_by BIGINT NOT NULL DEFAULT 0; -- the message that was edited
CREATE INDEX conversations_place ON conversations
    ((CASE WHEN moved > last_message_id THEN moved ELSE last_message_id END));
CREATE INDEX conversations_place_by_status ON conversations
    (status, (CASE WHEN moved > last_message_id THEN moved ELSE last_message_id END));
